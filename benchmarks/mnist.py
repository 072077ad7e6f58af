"""MNIST: bits/dim that flows of images reach in a given time, with samples.

50,000 images to train on, 10,000 to watch and 10,000 to test on, whole numbers made continuous by
uniform noise, 28 x 28 pixels. The file is Keras' own `mnist.npz`, or any with its four arrays.

python benchmarks/mnist.py DATA.npz OUTPUT [--flows glow nice] [--minutes 25] [--rows 50000]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import json
import pathlib
import time
from typing import Any

import harness
import keras
import matplotlib.pyplot as plt
import numpy as np
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

_HEADER = ("flow", "parameters", "minutes", "epochs", "validation", "test, bits/dim")
_SHAPE = (28, 28, 1)
_TEMPERATURES = (0.7, 0.85, 1.0)
_BATCH_SIZE = 64
_LEARNING_RATE = 1e-3


class Clock(keras.callbacks.Callback):
    """Lowers the learning rate to nothing over a given time, and ends the training then."""

    def __init__(self, minutes: float) -> None:
        super().__init__()
        self._seconds = 60.0 * minutes

    def on_train_begin(self, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        share = min(1.0, (time.perf_counter() - self._start) / self._seconds)
        warm = min(1.0, share / 0.02)
        rate = _LEARNING_RATE * warm * 0.5 * (1.0 + np.cos(np.pi * share))
        self.model.optimizer.learning_rate.assign(max(rate, 1e-6))
        if share >= 1.0:
            self.model.stop_training = True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if time.perf_counter() - self._start >= self._seconds:
            self.model.stop_training = True


def main() -> None:
    """Trains each flow for as long, a line of the table at a time."""
    arguments = _options().parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    images = _load(arguments.data, arguments.rows)
    print(harness.table([], _HEADER), flush=True)
    for name in arguments.flows:
        print(f"| {' | '.join(_trained(name, images, arguments))} |", flush=True)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=pathlib.Path, help="the .npz file")
    parser.add_argument("output", type=pathlib.Path, help="directory for curves and pictures")
    parser.add_argument("--flows", nargs="+", choices=_FLOWS, default=list(_FLOWS))
    parser.add_argument("--minutes", type=float, default=25.0, help="time of each training")
    parser.add_argument("--rows", type=int, default=50_000, help="most images to train on")
    return parser


def _load(path: pathlib.Path, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.load(path) as arrays:
        train, test = (arrays[f"x_{part}"][..., np.newaxis] for part in ("train", "test"))
    watched = min(10_000, len(train) // 5)
    return train[:-watched][:rows], train[-watched:][:rows], test[:rows]


def _glow() -> tfd.Distribution:
    return gx.flows.glow(
        _SHAPE,
        num_levels=2,
        num_steps=8,
        hidden_channels=64,
        data_bijector=gx.flows.pixels(256),
    )


def _real_nvp() -> tfd.Distribution:
    return gx.flows.real_nvp_images(
        _SHAPE,
        num_levels=2,
        hidden_channels=32,
        data_bijector=gx.flows.pixels(256, alpha=0.05),
    )


def _nice() -> tfd.Distribution:
    return gx.flows.nice(
        _SHAPE,
        num_layers=4,
        hidden_units=[512, 512],
        act_norm=True,
        data_bijector=gx.flows.pixels(256),
    )


_FLOWS = {"glow": _glow, "real_nvp": _real_nvp, "nice": _nice}


def _trained(name: str, images: tuple, arguments: argparse.Namespace) -> list[str]:
    train, watched, test = images
    keras.utils.set_random_seed(0)
    flow = _FLOWS[name]()
    noise = gx.layers.Dequantize(256)
    model = gx.models.DensityModel(flow, preprocessing=noise, bits_per_dim=True)
    model.compile(optimizer=keras.optimizers.Adam(_LEARNING_RATE, clipnorm=100.0))
    clock = Clock(arguments.minutes)
    start = time.perf_counter()
    history = model.fit(
        train,
        validation_data=watched[:1000],
        batch_size=_BATCH_SIZE,
        epochs=10_000,
        callbacks=[clock],
        verbose=0,
    )
    minutes = (time.perf_counter() - start) / 60.0
    curve = {
        k: [float(v) for v in history.history[k]] for k in ("bits_per_dim", "val_bits_per_dim")
    }
    (arguments.output / f"{name}.json").write_text(json.dumps(curve))
    _draw(flow, arguments.output / f"{name}.png")
    bits = [
        model.evaluate(x, batch_size=250, verbose=0, return_dict=True)["bits_per_dim"]
        for x in (watched, test)
    ]
    number = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    found = [f"{minutes:.1f}", str(len(history.epoch)), *(f"{b:.4f}" for b in bits)]
    return [name, f"{number:,}", *found]


def _draw(flow: tfd.Distribution, path: pathlib.Path) -> None:
    """Draws samples at several temperatures, a row of panels."""
    figure, axes = plt.subplots(1, len(_TEMPERATURES), figsize=(4 * len(_TEMPERATURES), 4.3))
    for axis, temperature in zip(axes, _TEMPERATURES, strict=True):
        noise = temperature * flow.distribution.sample(64, seed=[0, 1])
        samples = np.clip(flow.bijector.forward(noise), 0.0, 255.0).reshape([8, 8, 28, 28])
        axis.imshow(samples.transpose([0, 2, 1, 3]).reshape([224, 224]), cmap="gray")
        axis.set_title(f"temperature {temperature}")
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
