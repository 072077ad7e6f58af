"""Mixtures of Gaussians as transformers: their distribution function is the bijector."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import numerics
from tfp_genext.core import checks
from tfp_genext.transformers.base import Transformer, insert_axes, log_softmax, unit_offsets
from tfp_genext.transformers.monotone_bijector import MonotoneBijector

_LOG_SCALE_BOUND = 5.0
_SPREAD = 1.0
# The slope of logit(Phi(u)) is at least this: 4 / sqrt(2 pi) = 1.596 at u = 0, larger elsewhere.
_LEAST_SLOPE = 1.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureOfGaussians(Transformer):
    """The logit of the distribution function of a mixture of Gaussians.

    With J components of means m_j, scales s_j and weights w_j, and Phi the normal distribution
    function:

        inverse   x = logit(sum_j w_j Phi((y - m_j) / s_j))
        forward   y = the root, bracketed by the inverses of the single components
        log-det   of the inverse: log(sum_j w_j normal(y; m_j, s_j)) - log(sigmoid(x) sigmoid(-x))

    If x is standard logistic noise, the density of y is that of the mixture itself. An
    autoregressive layer with this transformer is thus a MADE with mixtures as outputs, the base of
    MAF MoG (Papamakarios et al., 2017, arXiv:1705.07057). Log-scales are softly bounded to (-5, 5).
    Each dimension has 3 J parameters.

    Args:
      num_components: J. Default: 8.

    Raises:
      TypeError: if `num_components` is not an integer.
      ValueError: if `num_components` is below 1.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    mixture = gx.transformers.MixtureOfGaussians(num_components=3)
    start = mixture.bijector([tf.zeros([2])] * mixture.params_size)
    x = start.inverse([-2.0, 3.0])
    tf.debugging.assert_near(start.forward(tf.identity(x)), [-2.0, 3.0], atol=1e-4)
    ```
    """

    heavy: ClassVar[bool] = True

    num_components: int = 8

    def __post_init__(self) -> None:
        checks.positive_int("num_components", self.num_components)

    @property
    def params_size(self) -> int:
        return 3 * self.num_components

    def bijector(self, params: Sequence[tf.Tensor]) -> tfb.Bijector:
        count = self.num_components
        means, log_scales, logits = (
            tf.stack(params[i * count : (i + 1) * count]) for i in range(3)
        )
        return _Mixture(
            means + unit_offsets(count, _SPREAD, means),
            numerics.soft_bound(log_scales, _LOG_SCALE_BOUND),
            log_softmax(logits, axis=0),
        )


class _Mixture(MonotoneBijector):
    """The bijector of `MixtureOfGaussians`; parameters have the components on the first axis."""

    def __init__(self, means: tf.Tensor, log_scales: tf.Tensor, log_weights: tf.Tensor) -> None:
        self._means, self._log_scales, self._log_weights = means, log_scales, log_weights
        super().__init__("mixture_of_gaussians")

    def _evaluate(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        normal = tfd.Normal(tf.zeros([], y.dtype), tf.ones([], y.dtype))
        means, log_scales, log_weights = self._with_axes(y)

        def averaged(values: tf.Tensor) -> tf.Tensor:
            return tf.reduce_logsumexp(log_weights + values, axis=0)

        u = (y - means) * tf.exp(-log_scales)
        on, off = averaged(normal.log_cdf(u)), averaged(normal.log_cdf(-u))
        return on - off, averaged(normal.log_prob(u) - log_scales) - on - off

    def _with_axes(self, x: tf.Tensor) -> list[tf.Tensor]:
        return [insert_axes(p, x) for p in (self._means, self._log_scales, self._log_weights)]

    def _bracket(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        ends = tf.minimum(x, 0.0) / _LEAST_SLOPE, tf.maximum(x, 0.0) / _LEAST_SLOPE
        means, log_scales, _ = self._with_axes(x)
        low, high = (means + tf.exp(log_scales) * u for u in ends)
        return tf.reduce_min(low, axis=0), tf.reduce_max(high, axis=0)
