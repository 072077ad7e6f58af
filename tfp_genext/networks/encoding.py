"""Encodings of the entries of an event: unchanged, scaled from a range, or one-hot."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfp_genext.core import checks


@dataclasses.dataclass(frozen=True)
class Encoding:
    """Scales entries from [low, high] to [-1, 1]; unchanged without a range.

    Args:
      low: smallest entry.
      high: largest entry.
    """

    low: float = -1.0
    high: float = 1.0

    @property
    def size(self) -> int:
        """Number of inputs per entry."""
        return 1

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the inputs `[D * size, ...]` for entries `[D, ...]`."""
        if (self.low, self.high) == (-1.0, 1.0):
            return x
        return (x - self.low) * (2.0 / (self.high - self.low)) - 1.0


@dataclasses.dataclass(frozen=True)
class OneHot:
    """One-hot encoding of entries from 0 to `num_classes - 1`."""

    num_classes: int

    @property
    def size(self) -> int:
        """Number of inputs per entry."""
        return self.num_classes

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the inputs `[D * num_classes, N]` for entries `[D, N]`."""
        classes = tf.one_hot(tf.cast(x, tf.int32), self.num_classes, axis=1, dtype=x.dtype)
        return tf.reshape(classes, [x.shape[0] * self.num_classes, tf.shape(x)[1]])


def in_range(input_range: Sequence[float] | None) -> Encoding:
    """Returns the encoding of a checked range of entries, `(low, high)`, or of none."""
    return Encoding() if input_range is None else Encoding(*input_range)


def optional_range(name: str, value: Any) -> tuple[float, float] | None:
    """Returns two finite numbers, the second above the first, or `None` for none."""
    if value is None:
        return None
    expected = "a pair of finite numbers, the second above the first"
    try:
        low, high = (float(v) for v in value)
    except (TypeError, ValueError) as error:
        raise TypeError(checks.message(name, expected, value)) from error
    if not -float("inf") < low < high < float("inf"):
        raise ValueError(checks.message(name, expected, value))
    return low, high
