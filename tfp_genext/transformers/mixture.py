"""Mixtures of Gaussians as transformers: a conditional density made a rising function."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import numerics
from tfp_genext.core import checks
from tfp_genext.transformers.base import Transformer, aligned, log_softmax, spread
from tfp_genext.transformers.monotone import Rising

_LOG_SCALE_BOUND = 5.0
_SPREAD = 1.0
# logit(Phi(u)) rises at least this fast: 4 / sqrt(2 pi) = 1.596 at u = 0, and faster elsewhere.
_LEAST_SLOPE = 1.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureOfGaussians(Transformer):
    """The distribution function of a mixture of Gaussians, behind a logit.

    With J components of means m_j, scales s_j and weights w_j, and Phi the normal distribution
    function:

        inverse   x = logit(sum_j w_j Phi((y - m_j) / s_j))
        forward   y = the root, found in a bracket made of what each component would give alone
        log-det   of the inverse: log(sum_j w_j normal(y; m_j, s_j)) - log(sigmoid(x) sigmoid(-x))

    On standard logistic noise the density of y is that of the mixture itself: an autoregressive
    layer of it is MADE with mixtures as outputs, the base of MAF MoG (Papamakarios et al., 2017
    [1]). Log-scales are bounded softly to (-5, 5). 3 J parameters a dimension.

    Args:
      num_components: J. Default: 8.

    Raises:
      TypeError: where `num_components` is no integer.
      ValueError: where it is below 1.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    mixture = gx.transformers.MixtureOfGaussians(num_components=3)
    start = mixture.bijector([tf.zeros([2])] * mixture.params_size)
    x = start.inverse([-2.0, 3.0])
    tf.debugging.assert_near(start.forward(tf.identity(x)), [-2.0, 3.0], atol=1e-4)
    ```

    #### References

    [1]: George Papamakarios, Theo Pavlakou, Iain Murray. Masked Autoregressive Flow for Density
         Estimation. 2017. https://arxiv.org/abs/1705.07057
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
            means + spread(count, _SPREAD, means),
            numerics.soft_bound(log_scales, _LOG_SCALE_BOUND),
            log_softmax(logits, axis=0),
        )


class _Mixture(Rising):
    """Components stand on the first axis."""

    def __init__(self, means: tf.Tensor, log_scales: tf.Tensor, log_weights: tf.Tensor) -> None:
        self._means, self._log_scales, self._log_weights = means, log_scales, log_weights
        super().__init__("mixture_of_gaussians")

    def _evaluate(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        normal = tfd.Normal(tf.zeros([], y.dtype), tf.ones([], y.dtype))
        means, log_scales, log_weights = self._aligned(y)

        def averaged(values: tf.Tensor) -> tf.Tensor:
            return tf.reduce_logsumexp(log_weights + values, axis=0)

        u = (y - means) * tf.exp(-log_scales)
        on, off = averaged(normal.log_cdf(u)), averaged(normal.log_cdf(-u))
        return on - off, averaged(normal.log_prob(u) - log_scales) - on - off

    def _aligned(self, x: tf.Tensor) -> list[tf.Tensor]:
        return [aligned(p, x) for p in (self._means, self._log_scales, self._log_weights)]

    def _bracket(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        ends = tf.minimum(x, 0.0) / _LEAST_SLOPE, tf.maximum(x, 0.0) / _LEAST_SLOPE
        means, log_scales, _ = self._aligned(x)
        low, high = (means + tf.exp(log_scales) * u for u in ends)
        return tf.reduce_min(low, axis=0), tf.reduce_max(high, axis=0)
