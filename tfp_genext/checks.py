"""Argument checks, all with one form of message.

Every message names the argument, says what was expected and ends in "Received: ...".
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def message(name: str, expected: str, received: Any) -> str:
    """Returns the one form of message: argument, expectation, what came."""
    return f"`{name}` must be {expected}. Received: {name}={received!r}"


def positive_int(name: str, value: Any, *, minimum: int = 1) -> int:
    """Returns `value` as an `int` of at least `minimum`."""
    expected = f"an integer of at least {minimum}"
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(message(name, expected, value))
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(message(name, expected, value)) from error
    if number < minimum:
        raise ValueError(message(name, expected, value))
    return number


def positive_ints(name: str, values: Any) -> tuple[int, ...]:
    """Returns `values`, a possibly empty sequence of positive integers, as a tuple."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(message(name, "a sequence of positive integers", values))
    return tuple(positive_int(f"{name}[{i}]", value) for i, value in enumerate(values))


def vector_shape(name: str, shape: Any, *, minimum: int = 1) -> tuple[int, ...]:
    """Returns the shape `[D]` of vector events, `D >= minimum`, as a tuple."""
    dimensions = shape_tuple(name, shape)
    if len(dimensions) != 1 or dimensions[0] < minimum:
        raise ValueError(message(name, f"a shape [D] with D of at least {minimum}", shape))
    return dimensions


def shape_tuple(name: str, shape: Any) -> tuple[int, ...]:
    """Returns a fully known shape as a tuple of positive integers."""
    if isinstance(shape, tf.TensorShape):
        shape = shape.as_list() if shape.rank is not None else None
    if isinstance(shape, (int, np.integer)) and not isinstance(shape, bool):
        shape = [shape]
    return positive_ints(name, shape)


def float_dtype(name: str, dtype: Any) -> tf.DType:
    """Returns `dtype` as a floating point `tf.DType`."""
    try:
        result = tf.as_dtype(dtype)
    except TypeError as error:
        raise TypeError(message(name, "a floating point dtype", dtype)) from error
    if not result.is_floating:
        raise TypeError(message(name, "a floating point dtype", dtype))
    return result


def path_version(name: str, path: str) -> int:
    """Returns the integer that a versioned SavedModel directory ends in."""
    leaf = path.rstrip("/").rsplit("/", maxsplit=1)[-1]
    if not leaf.isdecimal():
        raise ValueError(
            message(name, "a directory whose last part is an integer version, as in 'flow/1'", path)
        )
    return int(leaf)


def event(name: str, value: Any, event_shape: Sequence[int], dtype: tf.DType) -> None:
    """Checks a batch `[N, ...]` of events by its static shape and dtype alone."""
    expected = f"of shape [N, {', '.join(map(str, event_shape))}] and dtype {dtype.name}"
    if len(event_shape) == 0:
        expected = f"of shape [N] and dtype {dtype.name}"
    kind = np.dtype(
        value.dtype.as_numpy_dtype if isinstance(value.dtype, tf.DType) else value.dtype
    )
    if not _kinds_agree(kind, np.dtype(dtype.as_numpy_dtype)):
        raise TypeError(f"`{name}` must be {expected}. Received: dtype {kind.name}")
    shape = tuple(value.shape) if getattr(value.shape, "rank", 0) is not None else None
    if shape is not None and not _shapes_agree(shape, event_shape):
        raise ValueError(f"`{name}` must be {expected}. Received: shape {list(shape)}")


def finite(name: str, value: np.ndarray) -> None:
    """Raises `ValueError` where an array holds NaN or infinite entries."""
    if value.dtype.kind != "f":
        return
    bad = np.count_nonzero(~np.isfinite(value))
    if bad:
        raise ValueError(
            f"`{name}` must be finite. Received: {bad} NaN or infinite of {value.size} entries"
        )


def _kinds_agree(received: np.dtype, expected: np.dtype) -> bool:
    if received.kind not in "biuf":
        return False
    return expected.kind != "f" or received.kind == "f"


def _shapes_agree(shape: tuple, event_shape: Sequence[int]) -> bool:
    if len(shape) != len(event_shape) + 1:
        return False
    return all(a is None or a == b for a, b in zip(shape[1:], event_shape, strict=True))


def rows(name: str, value: tf.Tensor) -> None:
    """Raises `ValueError` where an eager batch is empty or holds NaN or infinite entries."""
    if value.shape[0] == 0:
        raise ValueError(f"`{name}` must hold at least one row. Received: shape {value.shape}")
    finite(name, value.numpy())


def context(name: str, value: Any, event_shape: Sequence[int]) -> None:
    """Checks a batch `[N, ...]` of contexts by its static shape and dtype alone."""
    expected = f"numbers of shape [N, {', '.join(map(str, event_shape))}]"
    kind = np.dtype(
        value.dtype.as_numpy_dtype if isinstance(value.dtype, tf.DType) else value.dtype
    )
    if kind.kind not in "biuf":
        raise TypeError(f"`{name}` must be {expected}. Received: dtype {kind.name}")
    if getattr(value.shape, "rank", 0) is not None and not _shapes_agree(
        tuple(value.shape), event_shape
    ):
        raise ValueError(f"`{name}` must be {expected}. Received: shape {list(value.shape)}")


def permutation(name: str, order: Any, size: int) -> tuple[int, ...]:
    """Returns an order of the dimensions 0 to size - 1, each once, as a tuple."""
    indices = tuple(int(i) for i in order)
    if sorted(indices) != list(range(size)):
        raise ValueError(
            f"`{name}` must hold each of 0 to {size - 1} once. Received: {list(indices)}"
        )
    return indices


def conditional_input(value: Any, expected: Sequence[int] | None) -> Any:
    """Returns a network's context `[N, *expected]`; `None` exactly where none is expected."""
    if expected is None:
        if value is not None:
            raise ValueError(
                "`conditional_input` must be None: the network was built without "
                f"`conditional_event_shape`. Received: shape {list(value.shape)}"
            )
        return None
    if value is None or tuple(value.shape[1:]) != tuple(expected):
        received = None if value is None else list(value.shape)
        raise ValueError(
            f"`conditional_input` must be of shape [N, {', '.join(map(str, expected))}]. "
            f"Received: shape {received}"
        )
    return value
