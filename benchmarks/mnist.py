"""Bits/dim of image flows on MNIST after a given training time, with samples and curves.

There are 50,000 training images, 10,000 validation images and 10,000 test images. Pixels are made
continuous by uniform noise, and images are padded with black to 32 x 32 pixels. The file is Keras'
`mnist.npz`, or any with its arrays `x_train` and `x_test`.

python benchmarks/mnist.py DATA.npz OUTPUT [--flows glow nice] [--minutes 25] [--rows 50000]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import json
import math
import pathlib
import time
from typing import Any

import clocks
import harness
import keras
import matplotlib.pyplot as plt
import numpy as np
import pictures
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

_HEADER = (
    "flow",
    "parameters",
    "minutes",
    "epochs",
    "validation, bits/dim",
    "test, bits/dim",
    "test, bits a pixel of 28 x 28",
)
_PADDING = 2
_SHAPE = (32, 32, 1)
_PIXELS = 28 * 28
_TEMPERATURES = (0.7, 0.85, 1.0)
_BATCH_SIZE = 64
_EVALUATED = 250
_LEARNING_RATE = 1e-3
_ALPHA = 3e-4
_LEVELS = 3
_STEPS = 8
_HIDDEN = (32, 64, 128)


def main() -> None:
    """Trains each flow for the same time, and prints the table line by line."""
    arguments = _options().parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    images = _load(arguments.data, arguments.rows)
    print(harness.table([], _HEADER), flush=True)
    for name in arguments.flows:
        print(f"| {' | '.join(_trained(name, images, arguments))} |", flush=True)
        _draw_curves(arguments.output)


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
    around = [[0, 0], [_PADDING] * 2, [_PADDING] * 2, [0, 0]]
    train, test = (np.pad(images, around) for images in (train, test))
    watched = min(10_000, len(train) // 5)
    return train[:-watched][:rows], train[-watched:][:rows], test[:rows]


def _pixels() -> tfp.bijectors.Bijector:
    return gx.flows.pixels(256, alpha=_ALPHA)


def _glow() -> tfd.Distribution:
    return gx.flows.glow(
        _SHAPE,
        num_levels=_LEVELS,
        num_steps=_STEPS,
        hidden_channels=_HIDDEN,
        data_bijector=_pixels(),
    )


def _tfp_glow() -> tfd.Distribution:
    """Returns TFP's Glow of the same levels, steps and widths."""

    def network(input_shape: tuple[int, int, int]) -> Any:
        level = int(math.log2(_SHAPE[0] // input_shape[0])) - 1
        return tfp.bijectors.GlowDefaultNetwork(input_shape, num_hidden=_HIDDEN[level])

    glow = tfp.bijectors.Glow(
        _SHAPE,
        num_glow_blocks=_LEVELS,
        num_steps_per_block=_STEPS,
        coupling_bijector_fn=network,
        exit_bijector_fn=tfp.bijectors.GlowDefaultExitNetwork,
        seed=0,
    )
    noise = tfd.Sample(tfd.Normal(0.0, 1.0), [math.prod(_SHAPE)])
    return tfd.TransformedDistribution(noise, tfp.bijectors.Chain([_pixels(), glow]))


def _real_nvp() -> tfd.Distribution:
    # Its networks run at full resolution and are deeper. Narrower ones allow more epochs.
    return gx.flows.real_nvp_images(
        _SHAPE,
        num_levels=_LEVELS,
        hidden_channels=[16, 32, 64],
        num_blocks=1,
        data_bijector=_pixels(),
    )


def _nice() -> tfd.Distribution:
    return gx.flows.nice(
        _SHAPE, num_layers=4, hidden_units=[512, 512], act_norm=True, data_bijector=_pixels()
    )


_FLOWS = {"glow": _glow, "tfp_glow": _tfp_glow, "real_nvp": _real_nvp, "nice": _nice}


def _trained(name: str, images: tuple, arguments: argparse.Namespace) -> list[str]:
    train, watched, test = images
    keras.utils.set_random_seed(0)
    flow = _FLOWS[name]()
    noise = gx.layers.Dequantize(256)
    model = gx.models.DensityModel(flow, preprocessing=noise, bits_per_dim=True)
    model.compile(optimizer=keras.optimizers.Adam(_LEARNING_RATE, clipnorm=100.0))
    clock = clocks.Clock(arguments.minutes, _LEARNING_RATE)
    start = time.perf_counter()
    history = model.fit(
        _batches(train, _BATCH_SIZE, shuffled=True),
        validation_data=_batches(watched[:1000], _EVALUATED),
        epochs=10_000,
        callbacks=[clock],
        verbose=0,
    )
    minutes = (time.perf_counter() - start) / 60.0
    curve = {"minutes": clock.minutes, **history.history}
    (arguments.output / f"{name}.json").write_text(json.dumps(curve, default=float))
    _draw(flow, arguments.output / f"{name}.png")
    bits = [
        model.evaluate(_batches(x, _EVALUATED), verbose=0, return_dict=True)["bits_per_dim"]
        for x in (watched, test)
    ]
    number = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    bits.append(bits[-1] * math.prod(_SHAPE) / _PIXELS)
    found = [f"{minutes:.1f}", str(len(history.epoch)), *(f"{b:.4f}" for b in bits)]
    return [name, f"{number:,}", *found]


def _batches(images: np.ndarray, size: int, *, shuffled: bool = False) -> tf.data.Dataset:
    """Returns batches of a fixed, static size, which TFP's Glow requires."""
    dataset = tf.data.Dataset.from_tensor_slices(images)
    if shuffled:
        dataset = dataset.shuffle(len(images), seed=0)
    return dataset.batch(min(size, len(images)), drop_remainder=True).prefetch(2)


def _draw(flow: tfd.Distribution, path: pathlib.Path) -> None:
    """Draws samples at several temperatures, one panel each."""
    figure, axes = plt.subplots(1, len(_TEMPERATURES), figsize=(4 * len(_TEMPERATURES), 4.3))
    for axis, temperature in zip(axes, _TEMPERATURES, strict=True):
        noise = temperature * flow.distribution.sample(64, seed=[0, 1])
        samples = np.clip(flow.bijector.forward(noise), 0.0, 255.0)
        axis.imshow(pictures.sheet(samples[..., 0], 8), cmap="gray")
        axis.set_title(f"temperature {temperature}")
        axis.axis("off")
    pictures.save(figure, path)


def _draw_curves(directory: pathlib.Path) -> None:
    """Draws the validation bits/dim of all flows over time."""
    figure, axis = plt.subplots(figsize=(6, 4))
    for path in sorted(directory.glob("*.json")):
        curve = json.loads(path.read_text())
        axis.plot(curve["minutes"], curve["val_bits_per_dim"], marker=".", label=path.stem)
    axis.set_xlabel("minutes")
    axis.set_ylabel("validation, bits/dim")
    axis.legend()
    pictures.save(figure, directory / "curves.png")


if __name__ == "__main__":
    main()
