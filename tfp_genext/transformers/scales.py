"""Maps from an unbounded network output to a scale that stays finite both ways.

Each map gives a raw log-scale (and a sign), which is then bounded softly:

    log_scale = bound * tanh(raw_log_scale / bound)

so that neither the scale nor its reciprocal leaves [exp(-bound), exp(bound)], however far the
network's input lies from the data it was trained on.
"""

from __future__ import annotations

import abc
import dataclasses
import math

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext import checks, numerics

_INVERSE_SOFTPLUS_OF_ONE = math.log(math.e - 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaleMap(abc.ABC):
    """Base of the scale maps; `bound` limits the absolute log-scale, in nats."""

    bound: float = 2.0

    def __post_init__(self) -> None:
        if not (isinstance(self.bound, (int, float)) and 0.0 < self.bound < 40.0):
            raise ValueError(checks.message("bound", "a number in (0, 40)", self.bound))

    def bijector(self, raw: tf.Tensor) -> tfb.Bijector:
        """Returns the scalar bijector that multiplies by the scale of `raw`, `[..., D]`."""
        return tfb.Scale(log_scale=numerics.soft_bound(self._raw_log_scale(raw), self.bound))

    @abc.abstractmethod
    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        """Returns the log-scale before it is bounded."""


class ExpScale(ScaleMap):
    """scale = exp(raw), the map of Real NVP and MAF; 1 at raw = 0."""

    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        return raw


class SoftplusScale(ScaleMap):
    """scale = softplus(raw + log(e - 1)); 1 at raw = 0, linear for large raw."""

    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        return numerics.log_softplus(raw + _INVERSE_SOFTPLUS_OF_ONE)


class SigmoidScale(ScaleMap):
    """scale = sigmoid(raw + 2), the map of IAF and Glow; below 1, and 0.88 at raw = 0."""

    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        return tf.math.log_sigmoid(raw + 2.0)


class PlainScale(ScaleMap):
    """scale = 1 + raw, of either sign, with log|scale|; 1 at raw = 0.

    The sign is that of 1 + raw and the size is bounded away from zero and infinity.
    """

    def bijector(self, raw: tf.Tensor) -> tfb.Bijector:
        size = tf.exp(numerics.soft_bound(self._raw_log_scale(raw), self.bound))
        return tfb.Scale(scale=tf.where(1.0 + raw < 0.0, -size, size))

    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        floor = tf.cast(math.exp(-2.0 * self.bound), raw.dtype)
        return tf.math.log(tf.maximum(tf.abs(1.0 + raw), floor))
