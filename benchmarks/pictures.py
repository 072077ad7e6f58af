"""Writing of pictures."""

from __future__ import annotations

import pathlib

import matplotlib.pyplot as plt
import numpy as np


def sheet(images: np.ndarray, columns: int) -> np.ndarray:
    """Returns one image with many images in rows.

    Args:
      images: `[N, height, width]`. Images of an incomplete last row are left out.
      columns: number of images in a row.
    """
    _, height, width = images.shape
    rows = len(images) // columns
    grid = images[: rows * columns].reshape([rows, columns, height, width])
    return grid.transpose([0, 2, 1, 3]).reshape([rows * height, columns * width])


def save(figure: plt.Figure, path: pathlib.Path) -> None:
    """Writes a figure and closes it."""
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)
