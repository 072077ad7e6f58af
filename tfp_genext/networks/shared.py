"""Common functions of networks: contexts, parameters and convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import tensorflow as tf
from keras import ops

from tfp_genext.core import checks


def from_keras(name: str, module: ModuleType, value: Any) -> Any:
    """Looks up a Keras object by name, function or instance.

    Args:
      name: what to call it.
      module: of Keras, as `keras.activations`.
      value: the argument.

    Raises:
      ValueError: if Keras does not know it.
    """
    try:
        return module.get(value)
    except (TypeError, ValueError) as error:
        kind = module.__name__.rpartition(".")[2]
        near = checks.near_matches(value, dir(module)) if isinstance(value, str) else ""
        hint = f" (did you mean {near}?)" if near else ""
        expected = f"the name of one of `keras.{kind}`{hint}, or a function or object such as these"
        raise ValueError(checks.message(name, expected, value)) from error


def flat_context(value: Any, expected: Sequence[int] | None) -> Any:
    """Returns a checked context `[N, *expected]` as `[N, C]`; `None` if none is expected."""
    context = checks.conditional_input(value, expected)
    if context is None:
        return None
    return ops.reshape(context, (-1, math.prod(context.shape[1:])))


def convolved(x: tf.Tensor, kernel: tf.Tensor, padding: str = "VALID") -> tf.Tensor:
    """Convolves images `[N, H, W, C]`; supports empty batches."""
    if x.shape[0] not in (0, None):
        return tf.nn.conv2d(x, kernel, strides=1, padding=padding)
    # Without rows TensorFlow's convolution fails, or its gradient gives what the memory holds.
    rows, *image = tf.unstack(tf.shape(x))
    spare = tf.zeros([tf.cast(rows == 0, tf.int32), *image], x.dtype)
    y = tf.nn.conv2d(tf.concat([x, spare], axis=0), kernel, strides=1, padding=padding)
    return y[:rows]


def in_shape(flat: Any, params_shape: Sequence[int], *, unstacked: bool) -> Any:
    """Reshapes flat parameters.

    Args:
      flat: `[..., prod(params_shape)]`.
      params_shape: of the parameters.
      unstacked: whether to give the parameters along the last axis as a tuple. Those of one place
        then stand together in `flat`; it spares a copy.

    Returns:
      `[..., *params_shape]`, or `params_shape[-1]` tensors `[..., *params_shape[:-1]]`.
    """
    leading = ops.shape(flat)[:-1]
    if not unstacked:
        return ops.reshape(flat, (*leading, *params_shape))
    parts = ops.split(flat, params_shape[-1], axis=-1)
    if len(params_shape) == 2:
        return tuple(parts)
    return tuple(ops.reshape(part, (*leading, *params_shape[:-1])) for part in parts)
