"""Masks and orders: pure functions that say which coordinates may look at which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfp_genext import checks


def prefix_mask(size: int, num_masked: int) -> np.ndarray:
    """Returns the coupling mask of a signed count: True where a unit is kept and looked at.

    Args:
      size: the event size `D`.
      num_masked: how many units are masked, that is passed on unchanged; the first ones where it is
        positive, the last ones where it is negative.

    Returns:
      Boolean array `[D]`.
    """
    positions = np.arange(size)
    return positions < num_masked if num_masked >= 0 else positions >= size + num_masked


def coupling_mask(mask: Any) -> np.ndarray:
    """Returns a user's coupling mask as a checked boolean vector `[D]`.

    Raises:
      TypeError: where `mask` is not boolean.
      ValueError: where it is not a vector, or leaves one of the two sides empty.
    """
    expected = "a boolean vector with at least one True and one False"
    array = np.asarray(mask)
    if array.dtype != np.bool_:
        raise TypeError(checks.message("mask", expected, mask))
    if array.ndim != 1 or array.all() or not array.any():
        raise ValueError(checks.message("mask", expected, mask))
    return array


def reversed_order(size: int, step: int) -> Sequence[int]:
    """Returns the permutation that turns a vector round; the same at every step."""
    del step
    return list(range(size - 1, -1, -1))


def random_order(seed: int) -> Callable[[int, int], Sequence[int]]:
    """Returns a function that draws one fixed permutation for each step from `seed`."""

    def order(size: int, step: int) -> Sequence[int]:
        return np.random.default_rng([seed, step]).permutation(size).tolist()

    return order
