"""What a transformer is."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext.core import checks


class Transformer(abc.ABC):
    """A rule that turns parameters into a bijector of scalars.

    A transformer is a value, best a frozen dataclass: two with equal options are equal and hash
    alike. It has no variables. Its bijector is elementwise: it treats all dimensions alike, and may
    be asked for any part of them, in any layout.
    Zero parameters give the identity, or what is nearest to it, so that a network whose last layer
    starts at zero starts as the identity.
    """

    # Whether its bijector is made of so many operations that one for each dimension would take long
    # to trace: then samplers take dimensions together, and go over them several times.
    heavy: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def params_size(self) -> int:
        """How many parameters one dimension needs."""

    @abc.abstractmethod
    def bijector(self, params: Sequence[tf.Tensor]) -> tfb.Bijector:
        """Returns the scalar bijector of `params_size` tensors of one shape, whatever shape."""


def checked_transformer(transformer: Any) -> Any:
    """Returns a transformer: any object with `params_size` and `bijector(params)`.

    Raises:
      TypeError: if it is not one.
    """
    is_one = callable(getattr(transformer, "bijector", None))
    if isinstance(transformer, type) or not (is_one and hasattr(transformer, "params_size")):
        expected = "a gx.transformers.Transformer, or an object with `params_size` and `bijector`"
        raise TypeError(checks.message("transformer", expected, transformer))
    return transformer


def spread(number: int, width: float, like: tf.Tensor) -> tf.Tensor:
    """Returns what tells units apart at zero parameters: -width to width, `[number, 1, ...]`.

    Args:
      number: of units.
      width: largest of the numbers; a single unit gets 0.
      like: stacked parameters `[number, ...]`.
    """
    values = np.linspace(-width, width, number) if number > 1 else np.zeros(1)
    return tf.constant(values.reshape([-1, *[1] * (like.shape.rank - 1)]), like.dtype)


def log_softmax(raw: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns logarithms of weights that sum to 1 along an axis.

    `tf.nn.log_softmax` brings the axis to the end and back, which under XLA can cost a training
    step a third of its time.
    """
    return raw - tf.reduce_logsumexp(raw, axis=axis, keepdims=True)


def aligned(stacked: tf.Tensor, x: tf.Tensor, *, axes: int = 1) -> tf.Tensor:
    """Returns stacked parameters `[..., *shape]` that broadcast against `x`.

    Args:
      stacked: `axes` leading axes, then the shape of the points that the parameters are for.
      x: points, perhaps of more axes than the parameters are for.
      axes: number of leading axes. Default: 1.
    """
    for _ in range(x.shape.rank - (stacked.shape.rank - axes)):
        stacked = tf.expand_dims(stacked, axes)
    return stacked
