"""Argument checks with a common form of error messages.

Each message names the argument, states what is expected and ends in "Received: ...".
"""

from __future__ import annotations

import contextvars
import difflib
import numbers
import operator
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf

# Runs a trial of a part of a model. While a file is loaded, its sizes are checked before it runs.
trial: contextvars.ContextVar[Callable[[Callable[[], Any]], Any]] = contextvars.ContextVar(
    "trial", default=lambda make: make()
)


def run_trial(make: Callable[[], Any]) -> Any:
    """Runs a function of a part of a model on dummy inputs, and returns the result."""
    return trial.get()(make)


def finfo(dtype: tf.DType) -> Any:
    """Returns the limits of a floating dtype, including bfloat16, which NumPy does not know."""
    return ml_dtypes.finfo(dtype.as_numpy_dtype)


def message(name: str, expected: str, received: Any) -> str:
    """Returns an error message with the argument, the expectation and the received value."""
    return f"`{name}` must be {expected}. Received: {name}={received!r}"


def near_matches(name: str, known: Sequence[str]) -> str:
    """Returns the known names most similar to a name, joined by "or"; empty if there are none."""
    return " or ".join(map(repr, difflib.get_close_matches(name, known, n=3)))


def unknown_keyword(keyword: str, owner: str, known: Sequence[str]) -> str:
    """Returns the error message for an unknown keyword argument.

    Args:
      keyword: name of the keyword argument.
      owner: name of the callee.
      known: names of the keyword arguments that it takes.
    """
    taken = f"takes {list(known)}" if known else "takes no keyword arguments"
    near = near_matches(keyword, known)
    hint = f"; did you mean {near}?" if near else "."
    return f"`{keyword}` must not be given: `{owner}` {taken}{hint} Received: {keyword}"


# Limit of dimensions and counts, because TensorFlow stores them in 32 bits.
_LARGEST = 2**31 - 1


def positive_int(name: str, value: Any, *, minimum: int = 1, maximum: int | None = _LARGEST) -> int:
    """Returns `value` as an `int` from `minimum` to `maximum`; `None` means no upper limit."""
    expected = f"an integer of at least {minimum}"
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(message(name, expected, value))
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(message(name, expected, value)) from error
    if number < minimum:
        raise ValueError(message(name, expected, value))
    if maximum is not None and number > maximum:
        raise ValueError(message(name, f"{expected} and at most {maximum}", value))
    return number


def any_int(name: str, value: Any) -> int:
    """Returns `value`, a seed of any size, as a non-negative `int`."""
    return positive_int(name, value, minimum=0, maximum=None)


def optional_int(name: str, value: Any, *, minimum: int = 1) -> int | None:
    """Returns `value` as an `int` of at least `minimum`, or `None` for `None`."""
    return None if value is None else positive_int(name, value, minimum=minimum)


def odd(name: str, value: Any, *, minimum: int = 1) -> int:
    """Returns `value` as an odd `int` of at least `minimum`."""
    if positive_int(name, value) % 2 == 0:
        raise ValueError(message(name, "odd", value))
    return positive_int(name, value, minimum=minimum)


def multiple(name: str, value: Any, of: int) -> int:
    """Returns `value` as a positive `int` that is a multiple of another."""
    found = positive_int(name, value)
    if found % of:
        raise ValueError(message(name, f"a multiple of {of}", value))
    return found


def number(name: str, value: Any, expected: str, holds: Callable[[float], bool]) -> float:
    """Returns `value`, a number for which a condition holds.

    Args:
      name: name of the argument.
      value: the number.
      expected: the condition in words.
      holds: the condition.
    """
    expected = f"a number {expected}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(message(name, expected, value))
    if not holds(float(value)):
        raise ValueError(message(name, expected, value))
    return float(value)


def positive_number(name: str, value: Any) -> float:
    """Returns `value`, a finite number above 0."""
    return number(name, value, "above 0", lambda n: 0.0 < n < float("inf"))


def non_negative_number(name: str, value: Any) -> float:
    """Returns `value`, a finite number of at least 0."""
    return number(name, value, "of at least 0", lambda n: 0.0 <= n < float("inf"))


def fraction(name: str, value: Any) -> float:
    """Returns `value`, a number in [0, 1)."""
    return number(name, value, "of at least 0 and below 1", lambda n: 0.0 <= n < 1.0)


def positive_ints(name: str, values: Any) -> tuple[int, ...]:
    """Returns `values`, a possibly empty sequence of positive integers, as a tuple."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(message(name, "a sequence of positive integers", values))
    return tuple(positive_int(f"{name}[{i}]", value) for i, value in enumerate(values))


def one_or_each(name: str, value: Any, number: int, each: str) -> tuple[int, ...]:
    """Returns `number` positive integers, from a sequence or by repeating one.

    Args:
      name: name of the argument.
      value: an integer, or a sequence of `number` integers.
      number: the number of integers.
      each: the word for an item in the message, such as "level".
    """
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return (positive_int(name, value),) * number
    values = positive_ints(name, value)
    if len(values) != number:
        raise ValueError(message(name, f"an integer, or {number}, one for each {each}", value))
    return values


def vector_shape(name: str, shape: Any, *, minimum: int = 1) -> tuple[int, ...]:
    """Returns the shape `[D]` of vector events, `D >= minimum`, as a tuple."""
    dimensions = shape_tuple(name, shape)
    if len(dimensions) != 1 or dimensions[0] < minimum:
        raise ValueError(message(name, f"a shape [D] with D of at least {minimum}", shape))
    return dimensions


def image_shape(name: str, shape: Any) -> tuple[int, ...]:
    """Returns the shape `[H, W, C]` of images as a tuple."""
    dimensions = shape_tuple(name, shape)
    if len(dimensions) != 3:
        raise ValueError(message(name, "a shape [H, W, C]", shape))
    return dimensions


def shape_tuple(name: str, shape: Any) -> tuple[int, ...]:
    """Returns a fully known shape as a tuple of positive integers."""
    if isinstance(shape, tf.TensorShape):
        shape = shape.as_list() if shape.rank is not None else None
    if isinstance(shape, (int, np.integer)) and not isinstance(shape, bool):
        shape = [shape]
    return positive_ints(name, shape)


def optional_shape(name: str, shape: Any) -> tuple[int, ...] | None:
    """Returns a fully known shape as a tuple, or `None` for `None`."""
    return None if shape is None else shape_tuple(name, shape)


ONE_CONTEXT = (
    "the known shape of one tensor. For several tensors, or sequences of varying length, put a "
    "network that makes a vector of them in front: gx.distributions.Conditional(network, flow)"
)


def context_shape(name: str, shape: Any) -> tuple[int, ...] | None:
    """Returns the shape of a conditioner's context, or `None` for no context."""
    several = isinstance(shape, dict) or (
        isinstance(shape, (list, tuple))
        and any(size is None or isinstance(size, (list, tuple)) for size in shape)
    )
    if several:
        raise ValueError(message(name, ONE_CONTEXT, shape))
    return optional_shape(name, shape)


def float_dtype(name: str, dtype: Any) -> tf.DType:
    """Returns `dtype` as a floating point `tf.DType`."""
    try:
        result = tf.as_dtype(dtype)
    except TypeError as error:
        raise TypeError(message(name, "a floating point dtype", dtype)) from error
    if not result.is_floating:
        raise TypeError(message(name, "a floating point dtype", dtype))
    return result


def path(name: str, value: Any) -> str:
    """Returns the path of a file or directory as a string."""
    try:
        text = os.fspath(value)
    except TypeError as error:
        raise TypeError(message(name, "a path", value)) from error
    if not isinstance(text, str):
        raise TypeError(message(name, "a path that is text", value))
    if not text or "\0" in text:
        raise ValueError(message(name, "a path", value))
    return text


def versioned_path(name: str, path: str) -> None:
    """Raises `ValueError` unless the name of a directory is an integer version."""
    leaf = path.rstrip("/").rsplit("/", maxsplit=1)[-1]
    if not (leaf.isascii() and leaf.isdecimal() and leaf == str(int(leaf)) and int(leaf) < 2**63):
        expected = (
            "a directory whose last part is an integer version of 64 bits without leading zeros, "
            "as in 'flow/1'"
        )
        raise ValueError(message(name, expected, path))


def event(name: str, value: Any, event_shape: Sequence[int], dtype: tf.DType | None) -> None:
    """Checks static shape and dtype of a batch `[N, ...]` of events.

    Args:
      name: name of the argument.
      value: the batch.
      event_shape: shape of one event.
      dtype: dtype of the events; `None` for any numbers.
    """
    if dtype is None:
        context(name, value, event_shape)
        return
    sizes = ", ".join(["N", *map(str, event_shape)])
    expected = f"of shape [{sizes}] and dtype {dtype.name}"
    kind = _numeric_dtype(name, value, expected)
    if kind.is_floating != dtype.is_floating:
        hint = ": cast it, and give counts noise (x + u) first" if dtype.is_floating else ""
        raise TypeError(f"`{name}` must be {expected}{hint}. Received: dtype {kind.name}")
    _check_shape(name, value, event_shape, expected)


def context(name: str, value: Any, event_shape: Sequence[int | None]) -> None:
    """Checks static shape and dtype of a batch `[N, ...]` of contexts."""
    expected = f"numbers of shape [{', '.join(['N', *map(str, event_shape)])}]"
    _numeric_dtype(name, value, expected)
    _check_shape(name, value, event_shape, expected)


def context_part(name: str, event_shape: Sequence[int | None], value: Any) -> None:
    """Checks one tensor `[N, ...]` of a context as `context` does; `None` matches any size."""
    context(name, value, event_shape)


def weights(name: str, value: Any) -> None:
    """Checks static shape and dtype of the sample weights `[N]` of a batch."""
    if value is not None:
        context(name, value, [])


def same_rows(name: str, value: Any, other: str, reference: Any) -> None:
    """Raises `ValueError` if two batches are known to differ in length."""
    rows, expected = value.shape[0], reference.shape[0]
    if rows is not None and expected is not None and rows != expected:
        raise ValueError(
            f"`{name}` and `{other}` must have as many rows. Received: {rows} and {expected}"
        )


def broadcasts(name: str, leading: tf.TensorShape, batch: tf.TensorShape) -> None:
    """Raises `ValueError` if leading dimensions do not broadcast against a batch shape."""
    try:
        tf.broadcast_static_shape(leading, batch)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must have leading dimensions that go with the batch shape {batch}. "
            f"Received: leading dimensions {leading}"
        ) from error


def not_symbolic(name: str, value: Any) -> None:
    """Raises `TypeError` for a symbolic Keras tensor, which has no values to compute with."""
    for part in tf.nest.flatten(value):
        symbolic = isinstance(getattr(part, "shape", None), tuple)
        if symbolic and not isinstance(part, (np.ndarray, np.generic)):
            raise TypeError(
                f"`{name}` must be a tensor of TensorFlow. One of `keras.Input` is symbolic and "
                "has no values: call the flow inside the `call` of a Keras layer or model, as "
                f"`gx.models.DensityModel` does. Received: {name}={part!r}"
            )


def event_rank(name: str, value: tf.Tensor, event_ndims: int) -> None:
    """Raises `ValueError` if a tensor is known to have fewer dimensions than an event."""
    if value.shape.rank is not None and value.shape.rank < event_ndims:
        event = {1: "D", 3: "H, W, C"}.get(event_ndims, "*event")
        received = "a scalar" if value.shape.rank == 0 else f"shape {value.shape}"
        raise ValueError(f"`{name}` must be of shape [..., {event}]. Received: {received}")


def event_after_batch(name: str, value: tf.Tensor, event: Sequence[int]) -> tf.Tensor:
    """Returns a tensor `[..., *event]`, with the static event shape set.

    Raises:
      ValueError: if its last dimensions differ from `event`, or its rank is unknown.
    """
    ends_in(name, value.shape, event)
    first = value.shape.rank - len(event)
    return tf.ensure_shape(value, value.shape[:first].concatenate(event))


def ends_in(name: str, shape: tf.TensorShape, event: Sequence[int | None]) -> None:
    """Raises `ValueError` unless a shape is known to be `[..., *event]`."""
    first = (shape.rank or 0) - len(event)
    if shape.rank is None or first < 0 or not shape[first:].is_compatible_with(event):
        expected = ", ".join(map(str, ("...", *event)))
        received = shape if shape.rank is None else shape.as_list()
        raise ValueError(f"`{name}` must be of shape [{expected}]. Received: shape {received}")


def numeric(name: str, value: Any, dtype_hint: Any = None) -> tf.Tensor:
    """Returns numbers as a tensor, of dtype `dtype_hint` if possible."""
    try:
        tensor = tf.convert_to_tensor(value, dtype_hint=dtype_hint)
    except (TypeError, ValueError) as error:
        raise TypeError(message(name, "numbers", value)) from error
    _numeric_dtype(name, tensor, "numbers")
    return tensor


def finite(
    name: str,
    value: np.ndarray,
    dtype: tf.DType | None = None,
    places: Callable[[np.ndarray], str] | None = None,
) -> None:
    """Raises `ValueError` if an array holds entries that are not finite in `dtype`.

    Args:
      name: name of the argument.
      value: the array.
      dtype: dtype in which the entries must be finite. Default: that of the array.
      places: function from the mask of bad entries to a description of their positions. Default: no
        description.
    """
    if value.dtype.kind != "f":
        return
    largest = np.inf if dtype is None or not dtype.is_floating else float(dtype.max)
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(value) <= largest) | ~np.isfinite(value)
    if bad.any():
        where = "" if places is None else places(bad)
        raise ValueError(
            f"`{name}` must be finite. Received: {np.count_nonzero(bad)} NaN or infinite of "
            f"{value.size} entries{where}"
        )


def trial_call(
    name: str,
    source: str,
    part: Callable,
    *inputs: Any,
    explain: Callable[[], None] | None = None,
) -> Any:
    """Applies a part of a model to two rows of inputs, to check that their shapes fit.

    Args:
      name: name of the part in the message.
      source: the origin of its inputs, in words.
      part: the part.
      *inputs: inputs `[2, ...]`, and contexts `[2, ...]` if there are any.
      explain: function that raises a more specific error if it finds the cause of a failure.
        Default: none.

    Raises:
      ValueError: if the part does not accept inputs of these shapes.
    """
    try:
        return run_trial(lambda: part(*inputs))
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        if explain is not None:
            explain()
        shapes = " and a context ".join(
            str(tf.nest.map_structure(lambda tensor: tensor.shape.as_list(), given))
            for given in inputs
        )
        expected = f"`{name}` must take {source}, {shapes} for N = 2"
        raise ValueError(f"{expected}. Received: {error}") from error


def _numeric_dtype(name: str, value: Any, expected: str) -> tf.DType:
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        raise TypeError(f"`{name}` must be {expected}. Received: {type(value).__name__}")
    try:
        kind = tf.as_dtype(value.dtype)
    except TypeError as error:
        raise TypeError(f"`{name}` must be {expected}. Received: dtype {value.dtype}") from error
    if not (kind.is_floating or kind.is_integer or kind.is_bool):
        raise TypeError(f"`{name}` must be {expected}. Received: dtype {kind.name}")
    return kind


def _check_shape(name: str, value: Any, event_shape: Sequence[int | None], expected: str) -> None:
    if getattr(value.shape, "rank", 0) is None:
        return
    shape = tuple(value.shape)
    if not _shapes_agree(shape, event_shape):
        single = _shapes_agree((None, *shape), event_shape)
        hint = ", a single row: `.batch` a dataset, and give an array its first axis"
        raise ValueError(
            f"`{name}` must be {expected}. Received: shape {list(shape)}{hint if single else ''}"
        )


def _shapes_agree(shape: tuple, event_shape: Sequence[int | None]) -> bool:
    if len(shape) != len(event_shape) + 1:
        return False
    return all(
        a is None or b is None or a == b for a, b in zip(shape[1:], event_shape, strict=True)
    )


def rows(name: str, value: tf.Tensor) -> None:
    """Raises `ValueError` if an eager batch is empty or holds NaN or infinite entries."""
    if value.shape[0] == 0:
        raise ValueError(f"`{name}` must hold at least one row. Received: shape {value.shape}")
    finite(name, value.numpy())


def permutation(name: str, order: Any, size: int) -> tuple[int, ...]:
    """Returns a permutation of the integers 0 to size - 1 as a tuple."""
    expected = f"a sequence of the integers 0 to {size - 1}"
    try:
        indices = tuple(operator.index(i) for i in order)
    except TypeError as error:
        raise TypeError(message(name, expected, order)) from error
    if any(isinstance(i, (bool, np.bool_)) for i in order):
        raise TypeError(message(name, expected, order))
    if sorted(indices) != list(range(size)):
        raise ValueError(
            f"`{name}` must hold each of 0 to {size - 1} once. Received: {list(indices)}"
        )
    return indices


def floating(name: str, value: tf.Tensor) -> None:
    """Raises `TypeError` if a tensor does not have a floating dtype."""
    if not value.dtype.is_floating:
        raise TypeError(f"`{name}` must be of a floating dtype. Received: {value.dtype.name}")


def scale_vectors(shift: Any, log_scale: Any) -> None:
    """Checks that shift and log-scale are variables `[D]` of equal size."""
    for name, value in (("shift", shift), ("log_scale", log_scale)):
        if not isinstance(value, tf.Variable):
            raise TypeError(message(name, "a tf.Variable", value))
    if shift.shape.rank != 1 or shift.shape != log_scale.shape:
        raise ValueError(
            "`shift` and `log_scale` must be of one shape [D]. "
            f"Received: {shift.shape} and {log_scale.shape}"
        )


def seed(name: str, value: Any) -> tf.Tensor | None:
    """Returns a stateless seed, a pair of integers; an integer s means `[0, s]`."""
    if value is None:
        return None
    expected = "an integer or a pair of signed integers of 32 bits"
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        value = [0, value]
    if not any(_is_symbolic(part) for part in tf.nest.flatten(value)):
        value = _int32(name, value, expected)
    pair = tf.convert_to_tensor(value)
    if not pair.dtype.is_integer:
        raise TypeError(message(name, expected, value))
    if pair.shape.rank is not None and pair.shape != [2]:
        raise ValueError(message(name, expected, value))
    return tf.cast(pair, tf.int32)


def _is_symbolic(value: Any) -> bool:
    """Tells whether a value is a graph tensor, whose numbers are unknown."""
    return tf.is_tensor(value) and not hasattr(value, "numpy")


def _int32(name: str, value: Any, expected: str) -> np.ndarray:
    try:
        numbers = np.asarray(value)
    except ValueError as error:
        raise TypeError(message(name, expected, value)) from error
    unsigned = numbers.dtype.kind == "u" and hasattr(value, "dtype")
    if unsigned or not (numbers.dtype.kind in "iu" or _all_ints(numbers)):
        raise TypeError(message(name, expected, value))
    info = np.iinfo(np.int32)
    if any(not info.min <= n <= info.max for n in numbers.ravel()):
        raise ValueError(message(name, expected, value))
    return numbers.astype(np.int32)


def _all_ints(numbers: np.ndarray) -> bool:
    """Tells whether all entries of an object array are integers, as beyond 64 bits."""
    return numbers.dtype == object and all(type(n) is int for n in numbers.ravel())


def conditional_input(value: Any, expected: Sequence[int] | None) -> Any:
    """Returns the context `[N, *expected]` of a network, or `None` if none is expected."""
    if expected is None:
        if value is not None:
            raise ValueError(
                "`conditional_input` must be None: the network was built without "
                f"`conditional_event_shape`. Received: shape {list(value.shape)}"
            )
        return None
    value = None if value is None else tf.convert_to_tensor(value)
    if value is None or tuple(value.shape[1:]) != tuple(expected):
        received = None if value is None else list(value.shape)
        raise ValueError(
            f"`conditional_input` must be of shape [N, {', '.join(map(str, expected))}]; a flow is "
            "given it by `gx.flows.condition`, or in `bijector_kwargs`. "
            f"Received: shape {received}"
        )
    return value
