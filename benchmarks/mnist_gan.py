"""Digits drawn by an unconditional GAN of MNIST, counted by a classifier.

A convolutional GAN is trained for a given processor time, which does not depend on other load of
the machine. A small classifier, trained on the same images and their labels, then counts the digits
in samples. A class is covered if its share of the samples is at least half of its share of the
training images. The file is Keras' `mnist.npz`, or any with its arrays `x_train`, `y_train`,
`x_test` and `y_test`. Test images only measure the accuracy of the classifier.

python benchmarks/mnist_gan.py DATA.npz OUTPUT [--minutes 20] [--seed 0]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import pathlib
import time
from typing import NamedTuple

import clocks
import harness
import keras
import matplotlib.pyplot as plt
import numpy as np
import pictures
from keras import layers
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

_CLASSES = 10
_HEADER = (
    "seed",
    "parameters",
    "minutes",
    "epochs",
    "classifier right, %",
    "sure, %",
    *(str(digit) for digit in range(_CLASSES)),
    "classes",
)
_SHAPE = (28, 28, 1)
_NOISE = 64
_CHANNELS = 32
_BATCH_SIZE = 60
_LEARNING_RATE = 5e-4
_SURE = 0.9
_COLUMNS, _ROWS = 10, 20


class Digits(NamedTuple):
    """Images `[N, 28, 28, 1]` between 0 and 1, and labels `[N]`."""

    images: np.ndarray
    labels: np.ndarray


def main() -> None:
    """Trains GAN and classifier, and prints and draws the classes of samples."""
    arguments = _options().parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    train, test = _load(arguments.data)
    keras.utils.set_random_seed(arguments.seed)
    print(harness.table([], _HEADER), flush=True)
    gan = _gan(arguments.seed)
    played = _played(gan, train.images, arguments.minutes)
    samples = gan.sample(arguments.samples, seed=[arguments.seed, 1]).numpy()
    classifier = _classifier(train)
    read, real = classifier.predict(samples, verbose=0), classifier.predict(test.images, verbose=0)
    right = np.mean(real.argmax(axis=1) == test.labels)
    found, wanted = shares(read.argmax(axis=1)), shares(train.labels)
    cells = [
        str(arguments.seed),
        f"{sum(int(np.prod(v.shape)) for v in gan.trainable_variables):,}",
        *played,
        f"{100.0 * right:.1f}",
        _pair(*(np.mean(p.max(axis=1) >= _SURE) for p in (read, real))),
        *(_pair(*pair) for pair in zip(found, wanted, strict=True)),
        f"{covered(found, wanted)} of {_CLASSES}",
    ]
    print(f"| {' | '.join(cells)} |", flush=True)
    _draw(samples, train.images, found, wanted, arguments.output / "mnist_gan.png")


def shares(labels: np.ndarray) -> np.ndarray:
    """Returns the share of each class."""
    return np.bincount(labels, minlength=_CLASSES) / len(labels)


def covered(found: np.ndarray, wanted: np.ndarray) -> int:
    """Returns the number of classes with at least half of their expected share."""
    return int(np.sum(found >= 0.5 * wanted))


def _pair(found: float, wanted: float) -> str:
    return f"{100.0 * found:.1f} / {100.0 * wanted:.1f}"


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=pathlib.Path, help="the .npz file")
    parser.add_argument("output", type=pathlib.Path, help="directory for the picture")
    parser.add_argument(
        "--minutes", type=float, default=20.0, help="processor time of the training"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=10_000, help="that the classifier reads")
    return parser


def _load(path: pathlib.Path) -> tuple[Digits, Digits]:
    with np.load(path) as arrays:
        train, test = (
            Digits(
                arrays[f"x_{part}"].reshape([-1, *_SHAPE]).astype(np.float32) / 255.0,
                arrays[f"y_{part}"],
            )
            for part in ("train", "test")
        )
    return train, test


def _gan(seed: int) -> gx.models.GAN:
    return gx.models.GAN(
        keras.Sequential(
            [
                layers.Dense(7 * 7 * 2 * _CHANNELS, activation="relu"),
                layers.Reshape([7, 7, 2 * _CHANNELS]),
                layers.Conv2DTranspose(_CHANNELS, 4, 2, "same", activation="relu"),
                layers.Conv2DTranspose(1, 4, 2, "same", activation="sigmoid"),
            ]
        ),
        keras.Sequential(
            [
                layers.Conv2D(_CHANNELS, 4, 2, "same", activation="leaky_relu"),
                layers.Conv2D(2 * _CHANNELS, 4, 2, "same", activation="leaky_relu"),
                layers.Flatten(),
                layers.Dense(8 * _CHANNELS, activation="leaky_relu"),
                layers.Dense(1),
            ]
        ),
        prior=tfd.Sample(tfd.Normal(0.0, 1.0), _NOISE),
        seed=seed,
    )


def _played(gan: gx.models.GAN, images: np.ndarray, minutes: float) -> list[str]:
    """Trains a GAN for a given time, and returns the minutes and epochs it took."""
    players = [keras.optimizers.Adam(_LEARNING_RATE, beta_1=0.0, beta_2=0.99) for _ in range(2)]
    gan.compile(*players, jit_compile=False, steps_per_execution=5)
    start = time.process_time()
    history = gan.fit(
        images,
        batch_size=_BATCH_SIZE,
        epochs=100_000,
        callbacks=[clocks.Clock(minutes, _LEARNING_RATE, players, time.process_time)],
        verbose=0,
    )
    return [f"{(time.process_time() - start) / 60.0:.1f}", str(len(history.epoch))]


def _classifier(train: Digits) -> keras.Model:
    classifier = keras.Sequential(
        [
            layers.Conv2D(32, 3, 2, activation="relu"),
            layers.Conv2D(64, 3, 2, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(128, activation="relu"),
            layers.Dense(_CLASSES, activation="softmax"),
        ]
    )
    classifier.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    classifier.fit(*train, batch_size=128, epochs=4, verbose=0)
    return classifier


def _draw(
    samples: np.ndarray,
    images: np.ndarray,
    found: np.ndarray,
    wanted: np.ndarray,
    path: pathlib.Path,
) -> None:
    """Draws samples and real images, and a histogram of the classes of all samples."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 7))
    for axis, drawn, title in ((left, samples, "samples"), (middle, images, "real images")):
        sheet = pictures.sheet(drawn[: _COLUMNS * _ROWS, ..., 0], _COLUMNS)
        axis.imshow(sheet, cmap="gray_r", vmin=0.0, vmax=1.0)
        axis.set_title(title)
        axis.axis("off")
    digits = np.arange(_CLASSES)
    right.barh(digits - 0.2, 100.0 * found, 0.4, label="samples, as the classifier reads them")
    right.barh(digits + 0.2, 100.0 * wanted, 0.4, label="real images, as they are labelled")
    right.set(yticks=digits, xlabel="share, %", ylabel="digit", ylim=(_CLASSES - 0.5, -0.5))
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    pictures.save(figure, path)


if __name__ == "__main__":
    main()
