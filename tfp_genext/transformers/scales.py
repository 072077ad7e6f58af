"""Maps from an unbounded network output to a scale with bounded logarithm.

Each map gives a raw log-scale (and a sign), to which a soft bound is applied:

    log_scale = bound * tanh(raw_log_scale / bound)

The scale therefore stays in [exp(-bound), exp(bound)], however far the network's input is from the
data that it was trained on.
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
    """The bijector of a scale with known logarithm and a shift.

        forward   y = sign * exp(log_scale) * x + shift
        inverse   x = sign * exp(-log_scale) * (y - shift)
        log-det   log_scale

    It replaces a chain of `tfb.Shift` and `tfb.Scale`, because a flow makes one bijector for each
    layer in each call.

    Args:
      log_scale: log|scale|, `[..., D]`.
      shift: `[..., D]`. Default: no shift.
      negative: booleans, true for negative scales. Default: all scales are positive.
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
        # Without `parameters` TFP compares instances by identity and need not hash tensors.
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
    """Base class of the scale maps."""

    bound: float = 2.0

    def __post_init__(self) -> None:
        if isinstance(self.bound, bool) or not (
            isinstance(self.bound, numbers.Real) and 0.0 < self.bound < 40.0
        ):
            raise ValueError(checks.message("bound", "a number in (0, 40)", self.bound))

    def bijector(self, raw: tf.Tensor, shift: tf.Tensor | None = None) -> ScaleAndShift:
        """Returns the bijector that scales by the map's value at `raw`, `[..., D]`, and shifts."""
        log_scale = numerics.soft_bound(self._raw_log_scale(raw), self.bound)
        return ScaleAndShift(log_scale, shift, self._negative(raw))

    @abc.abstractmethod
    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        """Returns log|scale| before the soft bound."""

    def _negative(self, raw: tf.Tensor) -> tf.Tensor | None:
        """Returns booleans, true for negative scales; `None` if all scales are positive."""
        del raw
        return None


class ExpScale(ScaleMap):
    """The exponential map of Real NVP and MAF.

    scale = exp(raw) before the soft bound; 1 at raw = 0
    """

    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        return raw


class SoftplusScale(ScaleMap):
    """The softplus map, which grows linearly.

    scale = softplus(raw + log(e - 1)) before the soft bound; 1 at raw = 0
    """

    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        return numerics.log_softplus(raw + _INVERSE_SOFTPLUS_OF_ONE)


class SigmoidScale(ScaleMap):
    """The sigmoid map of IAF and Glow.

    scale = sigmoid(raw + 2) before the soft bound; 0.88 at raw = 0
    """

    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        return tf.math.log_sigmoid(raw + 2.0)


class PlainScale(ScaleMap):
    """The identity map, whose scale may be negative.

        scale = 1 + raw, |scale| softly bounded; 1 at raw = 0

    The bound keeps the absolute scale away from zero and infinity. The scale, and with it the
    density, therefore jumps at the point where 1 + raw changes sign.
    """

    def _raw_log_scale(self, raw: tf.Tensor) -> tf.Tensor:
        floor = tf.cast(math.exp(-2.0 * self.bound), raw.dtype)
        return tf.math.log(tf.maximum(tf.abs(1.0 + raw), floor))

    def _negative(self, raw: tf.Tensor) -> tf.Tensor:
        return 1.0 + raw < 0.0
