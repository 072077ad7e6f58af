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
import numbers
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext import numerics
from tfp_genext.core import checks

_INVERSE_SOFTPLUS_OF_ONE = math.log(math.e - 1.0)


class ScaleAndShift(tfb.Bijector):
    """Scales by a number of known logarithm, and shifts: `tfb.Shift` after `tfb.Scale` in one.

        forward   y = sign * exp(log_scale) * x + shift
        inverse   x = sign * exp(-log_scale) * (y - shift)
        log-det   log_scale

    One object instead of a chain of two: a flow makes one for each layer at each call.

    Args:
      log_scale: log|scale|, `[..., D]`.
      shift: `[..., D]`; `None`, the default, for none.
      negative: boolean, where the scale is negative; `None`, the default, for nowhere.
    """

    def __init__(
        self,
        log_scale: tf.Tensor,
        shift: tf.Tensor | None = None,
        negative: tf.Tensor | None = None,
    ) -> None:
        self._log_scale = log_scale
        self._shift = shift
        self._negative = negative
        # No `parameters`: each instance is its own, and TFP need not hash tensors to tell.
        super().__init__(forward_min_event_ndims=0, name="scale_and_shift")

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        scaled = self._signed(tf.exp(self._log_scale)) * x
        return scaled if self._shift is None else scaled + self._shift

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        shifted = y if self._shift is None else y - self._shift
        return self._signed(tf.exp(-self._log_scale)) * shifted

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        del x
        return self._log_scale

    def _inverse_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        del y
        return -self._log_scale

    def _signed(self, size: tf.Tensor) -> tf.Tensor:
        return size if self._negative is None else tf.where(self._negative, -size, size)

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        del dtype
        return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaleMap(abc.ABC):
    """Base of the scale maps; `bound` limits the absolute log-scale, in nats."""

    bound: float = 2.0

    def __post_init__(self) -> None:
        if isinstance(self.bound, bool) or not (
            isinstance(self.bound, numbers.Real) and 0.0 < self.bound < 40.0
        ):
            raise ValueError(checks.message("bound", "a number in (0, 40)", self.bound))

    def bijector(self, raw: tf.Tensor, shift: tf.Tensor | None = None) -> ScaleAndShift:
        """Returns the scalar bijector that scales by the scale of `raw`, `[..., D]`, and shifts."""
        log_scale = numerics.soft_bound(self._raw_log_scale(raw), self.bound)
        return ScaleAndShift(log_scale, shift, self._negative(raw))

    @abc.abstractmethod
    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        """Returns log|scale| before it is bounded."""

    def _negative(self, raw: tf.Tensor) -> tf.Tensor | None:
        """Returns where the scale is negative; `None` for nowhere."""
        del raw
        return None


class ExpScale(ScaleMap):
    """scale = exp(raw) before the bound, the map of Real NVP and MAF; 1 at raw = 0."""

    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        return raw


class SoftplusScale(ScaleMap):
    """scale = softplus(raw + log(e - 1)) before the bound; 1 at raw = 0."""

    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        return numerics.log_softplus(raw + _INVERSE_SOFTPLUS_OF_ONE)


class SigmoidScale(ScaleMap):
    """scale = sigmoid(raw + 2) before the bound, the map of IAF and Glow; 0.88 at raw = 0."""

    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        return tf.math.log_sigmoid(raw + 2.0)


class PlainScale(ScaleMap):
    """scale = 1 + raw before the bound, of either sign, with log|scale|; 1 at raw = 0.

    The sign is that of 1 + raw, and the bound keeps the size away from zero and infinity. So the
    scale jumps where 1 + raw changes sign, and with it the density.
    """

    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        floor = tf.cast(math.exp(-2.0 * self.bound), raw.dtype)
        return tf.math.log(tf.maximum(tf.abs(1.0 + raw), floor))

    def _negative(self, raw: tf.Tensor) -> tf.Tensor:
        return 1.0 + raw < 0.0
