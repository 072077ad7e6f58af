"""Arrays of numbers in a configuration."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_genext.core import checks


def number_dtype(name: Any) -> np.dtype:
    """Returns the dtype of this name; raises `ValueError` unless it is one of numbers."""
    dtype = tf.as_dtype(name)
    if not isinstance(name, str) or not (
        dtype.is_floating or dtype.is_integer or dtype.is_bool or dtype.is_complex
    ):
        raise ValueError(checks.message("dtype", "one of numbers", name))
    return np.dtype(dtype.as_numpy_dtype)


def encode(value: Any, path: str) -> dict[str, Any]:
    """Returns a tensor, a variable or an array as plain data, to the bit.

    Raises:
      ValueError: for a tensor without a value, or an array of strings or objects.
    """
    if not isinstance(value, (np.ndarray, np.generic)) and not hasattr(value, "numpy"):
        raise ValueError(checks.message(path, "a tensor with a value, not of a graph", value))
    array = np.asarray(value)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.hasobject or array.dtype.kind in "SU":
        raise ValueError(checks.message(path, "an array of numbers", value))
    return {
        "kind": "tensor" if tf.is_tensor(value) else "array",
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "bytes": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii"),
    }


def decode(node: dict[str, Any], path: str) -> np.ndarray:
    """Returns the array that `encode` wrote.

    Raises:
      ValueError: if the bytes are not those of an array of this dtype and shape.
    """
    dtype = number_dtype(node["dtype"])
    data = base64.b64decode(node["bytes"], validate=True)
    if len(data) != math.prod(node["shape"]) * dtype.itemsize:
        expected = f"{dtype.name} numbers of shape {node['shape']}"
        raise ValueError(checks.message(path, expected, f"{len(data)} bytes"))
    return np.frombuffer(data, dtype).reshape(node["shape"])
