"""Shapes of contexts, for one tensor or a structure of tensors.

A structure is a dictionary, tuple or list of shapes, as for the inputs of a functional Keras model.
A size of `None` may differ between batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_genext.core import checks

NAME = "conditional_input"


def is_shape(value: Any) -> bool:
    """Tells whether a value is the shape of one tensor, and not a structure of shapes."""
    if isinstance(value, tf.TensorShape):
        return True
    if isinstance(value, (int, np.integer)):
        return True
    return isinstance(value, (list, tuple)) and all(
        size is None or isinstance(size, (int, np.integer)) for size in value
    )


def is_structure(value: Any) -> bool:
    """Tells whether a context is a structure of tensors, and not numbers in lists."""
    if isinstance(value, Mapping):
        return True
    return isinstance(value, (list, tuple)) and any(hasattr(part, "shape") for part in value)


def checked(name: str, shapes: Any) -> Any:
    """Returns a shape as a tuple, a structure of shapes as a structure of tuples, `None` as `None`.

    Raises:
      TypeError: if it holds an object that is not a shape.
      ValueError: if a size is below 1.
    """
    if shapes is None:
        return None
    if is_shape(shapes):
        return _checked_shape(name, shapes)
    if isinstance(shapes, Mapping) and shapes:
        return {key: checked(f"{name}[{key!r}]", shape) for key, shape in sorted(shapes.items())}
    if isinstance(shapes, (list, tuple)):
        return type(shapes)(checked(f"{name}[{i}]", shape) for i, shape in enumerate(shapes))
    raise TypeError(checks.message(name, "a shape, or a dictionary or sequence of shapes", shapes))


def _checked_shape(name: str, shape: Any) -> tuple[int | None, ...]:
    if isinstance(shape, (list, tuple)) and None in shape:
        checks.shape_tuple(name, [size or 1 for size in shape])
        return tuple(None if size is None else int(size) for size in shape)
    return checks.shape_tuple(name, shape)


def mapped(function: Callable, shapes: Any, *values: Any, name: str = NAME) -> Any:
    """Returns the structure of `function(name, shape, *values)` for each shape.

    Args:
      function: function of the name of a tensor, its shape, and the corresponding values.
      shapes: a shape, or a structure of shapes.
      *values: values with the structure of the shapes. Lists and tuples are interchangeable.
      name: name of the whole structure.

    Raises:
      ValueError: if a value has another structure.
    """
    if is_shape(shapes):
        return function(name, shapes, *values)
    for value in values:
        _check_structure(name, shapes, value)
    if isinstance(shapes, Mapping):
        return {
            key: mapped(function, shape, *(v[key] for v in values), name=f"{name}[{key!r}]")
            for key, shape in shapes.items()
        }
    parts = zip(shapes, *values, strict=True)
    return type(shapes)(
        mapped(function, shape, *inner, name=f"{name}[{i}]")
        for i, (shape, *inner) in enumerate(parts)
    )


def flat(shapes: Any, value: Any) -> list[Any]:
    """Returns the tensors of a context in the order of the shapes."""
    found: list[Any] = []
    mapped(lambda name, shape, leaf: found.append(leaf), shapes, value)
    return found


def checked_context(shapes: Any, value: Any) -> Any:
    """Returns a batch of contexts in the structure of the shapes, after checks of static shapes.

    Args:
      shapes: shapes of one context event.
      value: tensors or arrays `[N, *shape]`.

    Raises:
      TypeError: if a part is not numeric.
      ValueError: if the structure, the shape of a part or its number of rows is wrong.
    """
    mapped(checks.context_part, shapes, value)
    names = flat(shapes, mapped(lambda name, shape: name, shapes))
    parts = flat(shapes, value)
    for name, part in zip(names[1:], parts[1:], strict=True):
        checks.same_rows(name, part, names[0], parts[0])
    return mapped(lambda name, shape, leaf: leaf, shapes, value)


def cast(shapes: Any, value: Any, dtype: Any) -> Any:
    """Casts contexts to a dtype, except integers in a structure, which may be ids."""

    def part(name: str, shape: Any, leaf: Any) -> tf.Tensor:
        tensor = checks.numeric(name, leaf)
        return tf.cast(tensor, dtype) if shape is shapes or tensor.dtype.is_floating else tensor

    return None if value is None else mapped(part, shapes, value)


def zeros(shapes: Any, rows: int, dtype: Any) -> Any:
    """Returns contexts of zeros, with size 2 for sizes of `None`."""
    return mapped(
        lambda name, shape: tf.zeros([rows, *(2 if n is None else n for n in shape)], dtype), shapes
    )


def number_of_rows(value: Any) -> tf.Tensor:
    """Returns the number of rows of a batch of contexts, int32 `[]`."""
    return tf.shape(tf.nest.flatten(value)[0])[0]


def repeated(value: Any, number: Any) -> Any:
    """Tiles rows `[N, ...]` to `[number * N, ...]`; `None` stays `None`."""

    def part(x: tf.Tensor) -> tf.Tensor:
        return tf.tile(x, [number, *[1] * (x.shape.rank - 1)])

    return None if value is None else tf.nest.map_structure(part, value)


def compatible(shapes: Any, others: Any) -> bool:
    """Tells whether two structures of shapes are equal; a size of `None` matches any."""
    if is_shape(shapes) and is_shape(others):
        return tf.TensorShape(shapes).is_compatible_with(others)
    if is_shape(shapes) or is_shape(others):
        return False
    if isinstance(shapes, Mapping) != isinstance(others, Mapping):
        return False
    if isinstance(shapes, Mapping):
        return shapes.keys() == others.keys() and all(
            compatible(shape, others[key]) for key, shape in shapes.items()
        )
    return len(shapes) == len(others) and all(map(compatible, shapes, others))


def specs(shapes: Any, dtype: tf.DType, named: Any = None) -> Any:
    """Returns the tensor specs of contexts `[N, *shape]` for signatures, with names.

    A context of one tensor is named `conditional_input`. The parts of a structure are named by the
    keys of dictionaries, else by the names of the network's inputs, else by their index.

    Args:
      shapes: shapes of one context event.
      dtype: dtype of the tensors that are not in `named`.
      named: structure of tensors with names and dtypes, the inputs of a network. Default: none.
    """
    if is_shape(shapes):
        return tf.TensorSpec([None, *shapes], dtype, name=NAME)
    if named is not None:
        spec = mapped(lambda name, shape, k: _spec(shape, k.dtype, k.name), shapes, named)
    else:
        spec = _numbered(shapes, dtype, NAME)
    return _with_names_of_keys(spec)


def _numbered(shapes: Any, dtype: tf.DType, name: str) -> Any:
    if is_shape(shapes):
        return _spec(shapes, dtype, name)
    if isinstance(shapes, Mapping):
        return {key: _numbered(shape, dtype, f"{name}_{key}") for key, shape in shapes.items()}
    return type(shapes)(_numbered(s, dtype, f"{name}_{i}") for i, s in enumerate(shapes))


def _with_names_of_keys(spec: Any) -> Any:
    if isinstance(spec, Mapping):
        return {
            key: _spec(part.shape[1:], part.dtype, key)
            if isinstance(part, tf.TensorSpec)
            else _with_names_of_keys(part)
            for key, part in spec.items()
        }
    if isinstance(spec, (list, tuple)):
        return type(spec)(map(_with_names_of_keys, spec))
    return spec


def _spec(shape: Any, dtype: Any, name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None, *shape], tf.as_dtype(dtype), name=name)


def _check_structure(name: str, shapes: Any, value: Any) -> None:
    if isinstance(shapes, Mapping):
        agrees = isinstance(value, Mapping) and value.keys() == shapes.keys()
        expected = f"a dictionary of {sorted(shapes)}"
    else:
        agrees = isinstance(value, (list, tuple)) and len(value) == len(shapes)
        expected = f"a sequence of {len(shapes)} tensors"
    if agrees:
        return
    if isinstance(value, Mapping):
        received = f"keys {sorted(value)}"
    elif isinstance(value, (list, tuple)):
        received = f"a {type(value).__name__} of {len(value)}"
    elif hasattr(value, "shape"):
        received = f"shape {list(value.shape)}"
    else:
        received = type(value).__name__
    raise ValueError(f"`{name}` must be {expected}. Received: {received}")
