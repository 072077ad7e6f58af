"""The base class of transformers, and functions that they share."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext.core import checks


class Transformer(abc.ABC):
    """Base class of maps from parameters to scalar bijectors.

    A transformer is a value, preferably a frozen dataclass: two with equal options compare equal
    and have the same hash. It has no variables. Its bijector acts elementwise and is the same
    function for all dimensions, so that it can be applied to any subset of them, in any layout.
    Zero parameters must give the identity, or the bijector nearest to it: a network whose last
    layer is initialised to zero then starts as the identity.

    The base class is optional: any object with `params_size` and `bijector` is a transformer. To be
    saved with a model, a class of your own must be a dataclass under `gx.saving.register`.
    """

    # Whether the bijector has so many operations that tracing one copy for each dimension would be
    # slow. Samplers then process the dimensions of a block together, in several passes.
    heavy: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def params_size(self) -> int:
        """Number of parameters of one dimension."""

    @abc.abstractmethod
    def bijector(self, params: Sequence[tf.Tensor]) -> tfb.Bijector:
        """Returns the scalar bijector of `params_size` parameter tensors of equal shape."""


def checked_transformer(transformer: Any) -> Any:
    """Returns `transformer`, which may be any object with `params_size` and `bijector(params)`.

    Raises:
      TypeError: if it is not one.
    """
    is_one = callable(getattr(transformer, "bijector", None))
    if isinstance(transformer, type) or not (is_one and hasattr(transformer, "params_size")):
        expected = "a gx.transformers.Transformer, or an object with `params_size` and `bijector`"
        raise TypeError(checks.message("transformer", expected, transformer))
    return transformer


def unit_offsets(number: int, width: float, like: tf.Tensor) -> tf.Tensor:
    """Returns constants from -width to width, `[number, 1, ...]`, that break the symmetry of units.

    Args:
      number: number of units.
      width: the largest constant. A single unit gets 0.
      like: stacked parameters `[number, ...]`.
    """
    values = np.linspace(-width, width, number) if number > 1 else np.zeros(1)
    return tf.constant(values.reshape([-1, *[1] * (like.shape.rank - 1)]), like.dtype)


def log_softmax(raw: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns the logarithms of softmax weights along an axis.

    `tf.nn.log_softmax` transposes the axis to the end and back, which under XLA can cost a third of
    the time of a training step.
    """
    return raw - tf.reduce_logsumexp(raw, axis=axis, keepdims=True)


def insert_axes(stacked: tf.Tensor, x: tf.Tensor, *, axes: int = 1) -> tf.Tensor:
    """Returns stacked parameters with axes inserted so that they broadcast against `x`.

    Args:
      stacked: `[..., *shape]`, `axes` leading axes followed by the shape of the points that the
        parameters belong to.
      x: points `[..., *shape]`, which may have more leading axes.
      axes: number of leading axes of `stacked`. Default: 1.
    """
    for _ in range(x.shape.rank - (stacked.shape.rank - axes)):
        stacked = tf.expand_dims(stacked, axes)
    return stacked
