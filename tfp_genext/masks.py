"""Coupling masks, and orders and degrees of masked autoregressive networks, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfp_genext.core import checks
from tfp_genext.core.public_names import module_hooks

__all__ = [
    "autoregressive_degrees",
    "checkerboard",
    "prefix_mask",
    "random_degrees",
    "random_order",
    "reversed_order",
]

__getattr__, __dir__ = module_hooks(__name__, __all__)


def prefix_mask(size: int, num_masked: int) -> np.ndarray:
    """Returns the coupling mask of a signed count, True for masked units.

    Args:
      size: the event size `D`.
      num_masked: number of masked units, which are unchanged and are the input of the network. If
        it is positive, the first units are masked. If it is negative, the last units.

    Returns:
      Boolean array `[D]`.

    Raises:
      ValueError: if `size` is below 1, or the absolute value of `num_masked` exceeds `size`.
      TypeError: if `size` or `num_masked` is not an integer.
    """
    size = checks.positive_int("size", size)
    num_masked = checks.positive_int("num_masked", num_masked, minimum=-size)
    if num_masked > size:
        expected = f"at most {size}, the number of units"
        raise ValueError(checks.message("num_masked", expected, num_masked))
    positions = np.arange(size)
    return positions < num_masked if num_masked >= 0 else positions >= size + num_masked


def coupling_mask(mask: Any, event_ndims: int = 1, *, may_be_empty: bool = False) -> np.ndarray:
    """Returns a user's coupling mask as a checked boolean array.

    Args:
      mask: booleans, for the last axis of an event or for the whole event.
      event_ndims: rank of an event. Default: 1.
      may_be_empty: whether a mask without any True is accepted. Default: `False`.

    Raises:
      TypeError: if `mask` is not boolean.
      ValueError: if `mask` has another rank, or all its entries are equal.
    """
    event_ndims = checks.positive_int("event_ndims", event_ndims)
    shape = "vector" if event_ndims == 1 else f"vector, or array of rank {event_ndims},"
    expected = f"a boolean {shape} with at least one True and one False"
    array = np.asarray(mask)
    if array.dtype != np.bool_:
        raise TypeError(checks.message("mask", expected, mask))
    if array.ndim > event_ndims:
        raise ValueError(
            f"`mask` must be {expected}; of whole images it takes `event_ndims=3`. "
            f"Received: shape {array.shape} with event_ndims={event_ndims}"
        )
    if array.ndim not in (1, event_ndims) or array.all() or not (array.any() or may_be_empty):
        raise ValueError(checks.message("mask", expected, mask))
    return array


def hashable(mask: Any, event_ndims: int = 1, *, may_be_empty: bool = False) -> tuple | None:
    """Returns a coupling mask as nested tuples, which TFP can compare; `None` for `None`."""
    if mask is None:
        return None
    return _tuples(coupling_mask(mask, event_ndims, may_be_empty=may_be_empty).tolist())


def _tuples(values: Any) -> Any:
    return tuple(map(_tuples, values)) if isinstance(values, list) else values


def checkerboard(height: int, width: int, *, first: bool = True) -> np.ndarray:
    """Returns the checkerboard mask of images (Dinh et al., 2017, arXiv:1605.08803).

    Args:
      height: number of rows, H.
      width: number of columns, W.
      first: whether the upper left pixel is masked, which means unchanged. Default: `True`.

    Returns:
      Boolean array `[H, W, 1]`, the same for all channels.
    """
    height = checks.positive_int("height", height)
    width = checks.positive_int("width", width)
    even = (np.arange(height)[:, None] + np.arange(width)[None, :]) % 2 == 0
    return (even == first)[..., np.newaxis]


def reversed_order(size: int, step: int) -> Sequence[int]:
    """Returns the permutation that reverses the order of the dimensions, for every step."""
    del step
    return list(range(size - 1, -1, -1))


def random_order(seed: int) -> Callable[[int, int], Sequence[int]]:
    """Returns a function that draws a fixed permutation for each step from `seed`."""
    seed = checks.any_int("seed", seed)

    def order(size: int, step: int) -> Sequence[int]:
        return np.random.default_rng([seed, step]).permutation(size).tolist()

    return order


def random_degrees(
    size: int, hidden_units: Sequence[int], *, seed: Sequence[int], first: int = 1
) -> list[np.ndarray]:
    """Returns random degrees of the hidden layers of a MADE.

    Each degree is uniform between the smallest degree of the layer before and `size - 1`, as in the
    paper (Germain et al., 2015, arXiv:1502.03509).

    Args:
      size: number of inputs, D.
      hidden_units: widths of the hidden layers.
      seed: integers, the seed of NumPy's generator.
      first: smallest degree of the first layer, as in `autoregressive_degrees`. Default: 1.

    Returns:
      Integer arrays `[H_1]`, `[H_2]`, ..., not sorted.

    Raises:
      TypeError, ValueError: if a size is not an integer of at least 1.
    """
    size = checks.positive_int("size", size)
    hidden_units = checks.positive_ints("hidden_units", hidden_units)
    rng = np.random.default_rng(seed)
    degrees: list[np.ndarray] = []
    for units in hidden_units:
        lowest = degrees[-1].min() if degrees else min(first, size - 1)
        degrees.append(rng.integers(lowest, max(size - 1, lowest), units, endpoint=True))
    return degrees


def autoregressive_degrees(
    size: int, hidden_units: Sequence[int], *, first: int = 1
) -> list[np.ndarray]:
    """Returns sorted degrees of the inputs and of each hidden layer of a MADE.

    Inputs have degrees 1 to `size`, in the order of generation. A hidden unit of degree d depends
    on inputs of degree at most d. An output of degree d depends on hidden units of degree less than
    d (Germain et al., 2015, arXiv:1502.03509). Hidden degrees are evenly spaced, as in
    `tfb.AutoregressiveNetwork`.

    Args:
      size: number of inputs, D.
      hidden_units: widths of the hidden layers.
      first: smallest hidden degree: 1, or 0 for units that depend on a context only. Default: 1.

    Returns:
      Integer arrays `[D]`, `[H_1]`, ..., each ascending.

    Raises:
      TypeError, ValueError: if a size is not an integer of at least 1.
    """
    size = checks.positive_int("size", size)
    hidden_units = checks.positive_ints("hidden_units", hidden_units)
    degrees = [np.arange(1, size + 1)]
    for units in hidden_units:
        steps = np.arange(1, units + 1)
        if first == 0:
            spread: np.ndarray = steps * size // (units + 1)
        else:
            spread = -(-steps * (size - 1) // (units + 1))
        lowest = first if len(degrees) == 1 else degrees[-1].min()
        degrees.append(np.maximum(min(lowest, size - 1), spread))
    return degrees
