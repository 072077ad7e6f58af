"""Common parts of the tutorials: command-line options, MNIST, and writing of pictures."""

from __future__ import annotations

import argparse
import io
import pathlib
import sys
from typing import NamedTuple

import keras
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent

# A notebook shows its pictures. A program only writes them, which needs no screen.
if "ipykernel" not in sys.modules:
    matplotlib.use("Agg")


class Digits(NamedTuple):
    """Images `[N, 28, 28]`, bytes, and their labels `[N]`."""

    images: np.ndarray
    labels: np.ndarray


def options(description: str, *, data: bool = False) -> argparse.Namespace:
    """Returns the common options `short` and `output`, and creates the output directory.

    Args:
      description: what the tutorial shows.
      data: whether it has an option `data` too, for `mnist`.
    """
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument(
        "--short", action="store_true", help="a few seconds of training, to try the program out"
    )
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=HERE / "output",
        metavar="DIR",
        help="where pictures and models are written (default: %(default)s)",
    )
    if data:
        parser.add_argument(
            "--data",
            type=pathlib.Path,
            metavar="FILE",
            help="MNIST as Keras' own mnist.npz (default: Keras downloads it)",
        )
    # A notebook's kernel has other arguments on its command line.
    arguments, unknown = parser.parse_known_args()
    if unknown and "ipykernel" not in sys.modules:
        parser.error(f"unknown arguments: {' '.join(unknown)}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    return arguments


def mnist(path: pathlib.Path | None) -> tuple[Digits, Digits]:
    """Returns training and held-out images of MNIST, from a file or downloaded by Keras."""
    if path is None:
        train, test = keras.datasets.mnist.load_data()
        return Digits(*train), Digits(*test)
    with np.load(path) as arrays:
        return (
            Digits(arrays["x_train"], arrays["y_train"]),
            Digits(arrays["x_test"], arrays["y_test"]),
        )


def save(figure: Figure, path: pathlib.Path, *, palette: bool = False) -> None:
    """Writes a picture and prints its path; a palette reduces the size if colours are few."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90)
    picture = Image.open(drawn).convert("RGB")
    if palette:
        picture = picture.quantize(256, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    print(f"picture written to {path}")
