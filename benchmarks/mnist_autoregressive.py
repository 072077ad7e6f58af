"""Log-likelihoods of autoregressive distributions on binarised MNIST after equal training times.

There are 50,000 training images, which are binarised again in each epoch, 10,000 validation images,
which select the best epoch, and 10,000 test images, binarised once. The file is Keras' `mnist.npz`,
or any with its arrays `x_train` and `x_test`.

python benchmarks/mnist_autoregressive.py DATA.npz OUTPUT [--models made pixel_cnn] [--minutes 30]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import dataclasses
import math
import pathlib
import time
from collections.abc import Callable

import clocks
import harness
import keras
import matplotlib.pyplot as plt
import numpy as np
import pictures

import tfp_genext as gx

_HEADER = ("model", "parameters", "minutes", "epochs", "validation, NLL", "test, NLL (2 s.e.)")
_SHAPE = [28, 28, 1]
_EVALUATED = 500


@dataclasses.dataclass(frozen=True)
class Settings:
    """A model and the hyperparameters of its training.

    Args:
      build: function that creates the distribution.
      batch_size: number of rows of a step.
      learning_rate: initial learning rate of a cosine schedule.
      jit_compile: whether XLA compiles the step.
      weight_decay: weight decay of AdamW.
    """

    build: Callable[[], gx.distributions.Autoregressive]
    batch_size: int = 100
    learning_rate: float = 1e-3
    jit_compile: bool = True
    weight_decay: float = 1e-4


def _made(hidden_units: list[int], num_masks: int) -> gx.distributions.Autoregressive:
    return gx.autoregressive.made(_SHAPE, hidden_units=hidden_units, num_masks=num_masks)


def _pixel_cnn() -> gx.distributions.Autoregressive:
    # A large first kernel is cheap on one channel, and enlarges the receptive field.
    return gx.autoregressive.pixel_cnn(_SHAPE, num_layers=7, filters=20, first_kernel_size=21)


def _row_lstm() -> gx.distributions.Autoregressive:
    return gx.autoregressive.row_lstm(_SHAPE, num_layers=3, filters=24)


_MODELS = {
    "made": Settings(lambda: _made([500], 1)),
    "made_deep": Settings(lambda: _made([800, 800], 1)),
    "pixel_cnn": Settings(_pixel_cnn, batch_size=25, learning_rate=3e-3, jit_compile=False),
    "row_lstm": Settings(_row_lstm, batch_size=25, learning_rate=3e-3),
}


def main() -> None:
    """Trains each model, prints the table line by line, and draws samples."""
    arguments = _options().parse_args()
    images = _load(arguments.data, arguments.rows)
    arguments.output.mkdir(parents=True, exist_ok=True)
    print(harness.table([], _HEADER), flush=True)
    for name in arguments.models:
        print(f"| {' | '.join(_trained(name, images, arguments))} |", flush=True)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=pathlib.Path, help="the .npz file")
    parser.add_argument("output", type=pathlib.Path, help="directory for pictures of samples")
    parser.add_argument("--models", nargs="+", choices=_MODELS, default=list(_MODELS))
    parser.add_argument("--minutes", type=float, default=30.0, help="time of each training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=50_000, help="most images of each part")
    parser.add_argument("--samples", type=int, default=100, help="of the picture")
    return parser


def _load(path: pathlib.Path, rows: int) -> tuple[np.ndarray, ...]:
    with np.load(path) as arrays:
        train, test = (arrays[f"x_{part}"][..., np.newaxis] for part in ("train", "test"))
    held_out = min(10_000, len(train) // 5)
    return train[:-held_out][:rows], train[-held_out:][:rows], test[:rows]


def _trained(name: str, images: tuple[np.ndarray, ...], arguments: argparse.Namespace) -> list[str]:
    train, validation, test = images
    settings = _MODELS[name]
    keras.utils.set_random_seed(arguments.seed)
    model = gx.models.DensityModel(settings.build(), preprocessing=gx.layers.Binarize())
    model.compile(
        optimizer=keras.optimizers.AdamW(
            settings.learning_rate, weight_decay=settings.weight_decay
        ),
        jit_compile=settings.jit_compile,
        steps_per_execution=10,
    )
    start = time.perf_counter()
    history = model.fit(
        train,
        batch_size=settings.batch_size,
        epochs=100_000,
        callbacks=[clocks.Clock(arguments.minutes, settings.learning_rate)],
        verbose=0,
    )
    minutes = (time.perf_counter() - start) / 60.0
    found = [_nll(model, part) for part in (validation, test)]
    samples = model.sample(arguments.samples, seed=[0, 1]).numpy()
    _draw(samples, arguments.output / f"{name}.png")
    (on_validation, _), (on_test, error) = found
    number = sum(math.prod(v.shape) for v in model.trainable_variables)
    return [
        name,
        f"{number:,}",
        f"{minutes:.1f}",
        str(len(history.epoch)),
        f"{on_validation:.2f}",
        f"{on_test:.2f} ({error:.2f})",
    ]


def _nll(model: gx.models.DensityModel, images: np.ndarray) -> tuple[float, float]:
    """Returns the mean negative log-likelihood in nats, and two standard errors."""
    log_prob = model.predict(images, batch_size=_EVALUATED, verbose=0)
    return -float(log_prob.mean()), 2.0 * float(log_prob.std()) / math.sqrt(len(log_prob))


def _draw(samples: np.ndarray, path: pathlib.Path) -> None:
    tiles = np.pad(samples[..., 0], [[0, 0], [0, 1], [0, 1]])
    sheet = pictures.sheet(tiles, max(1, round(math.sqrt(len(samples)))))
    plt.imsave(path, 1.0 - sheet, cmap="gray")


if __name__ == "__main__":
    main()
