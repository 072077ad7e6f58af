"""Batch normalisation as a bijector."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfp_genext.core import checks, tracking
from tfp_genext.core.bijector import OneEvaluationBijector, ValueAndLogDet
from tfp_genext.networks import MovingMoments

_EPSILON = 1e-4


class BatchNorm(OneEvaluationBijector):
    """Batch normalisation of each channel, as between the couplings of Real NVP.

    With mean m and variance v of a channel, and learned shift and log_scale:

        inverse   x = ((y - m) / sqrt(v + 1e-4) - shift) * exp(-log_scale)
        forward   y = (x * exp(log_scale) + shift) * sqrt(v + 1e-4) + m
        log-det   sum(log_scale + log(v + 1e-4) / 2)

    In `fit`, the inverse uses m and v of the batch, with gradients, and updates the moving
    averages. Otherwise both directions use the moving averages. A density thus does not depend on
    the other rows of the batch, and agrees with that of the samples. Before training the averages
    are 0 and 1 (Dinh et al., 2017, section 3.7, arXiv:1605.08803).

    Args:
      moments: a built `gx.networks.MovingMoments`, which holds the moving averages of m and v.
      shift: `tf.Variable` `[C]`.
      log_scale: `tf.Variable` `[C]`.
      validate_args, name: as in `tfb.Bijector`. The default name is `"batch_norm"`.

    Raises:
      TypeError: if an argument has another type.
      ValueError: if `shift` and `log_scale` differ in shape or are not vectors.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    moments = gx.networks.MovingMoments()
    moments.build((None, 2))
    norm = gx.bijectors.BatchNorm(moments, tf.Variable(tf.zeros([2])), tf.Variable(tf.zeros([2])))
    tf.debugging.assert_near(norm.forward([[1.0, 2.0]]), [[1.0, 2.0]], atol=1e-3)
    ```
    """

    def __init__(
        self,
        moments: MovingMoments,
        shift: tf.Variable,
        log_scale: tf.Variable,
        *,
        validate_args: bool = False,
        name: str | None = None,
    ) -> None:
        parameters = dict(locals())
        if not isinstance(moments, MovingMoments):
            raise TypeError(checks.message("moments", "a gx.networks.MovingMoments", moments))
        if not moments.built:
            raise ValueError(checks.message("moments", "built, as by `moments.build`", moments))
        checks.scale_vectors(shift, log_scale)
        self._moments = tracking.KerasNetwork(moments)
        self._shift, self._log_scale = shift, log_scale
        super().__init__(
            forward_min_event_ndims=1,
            validate_args=validate_args,
            parameters=parameters,
            name=name or "batch_norm",
        )

    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        # Always the moving averages, because samples must not change the moments of the data.
        self._check_size(x)
        mean, log_std = _mean_and_log_std(self._moments.network.remembered(), x.dtype)
        y = (x * tf.exp(self._log_scale) + self._shift) * tf.exp(log_std) + mean
        return y, tf.reduce_sum(self._log_scale + log_std)

    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        self._check_size(y)
        # Without `training`, so that Keras uses the value of the enclosing call of the model.
        mean, log_std = _mean_and_log_std(self._moments.network(y), y.dtype)
        x = ((y - mean) * tf.exp(-log_std) - self._shift) * tf.exp(-self._log_scale)
        return x, -tf.reduce_sum(self._log_scale + log_std)

    def _check_size(self, x: tf.Tensor) -> None:
        size = self._log_scale.shape[-1]
        if x.shape.rank == 0 or x.shape[-1] not in (None, size):
            raise ValueError(
                f"The event of `{self.name}` must be of size {size}. Received: shape {x.shape}"
            )


def _mean_and_log_std(
    moments: tuple[tf.Tensor, tf.Tensor], dtype: tf.DType
) -> tuple[tf.Tensor, tf.Tensor]:
    mean, variance = (tf.cast(m, dtype) for m in moments)
    return mean, 0.5 * tf.math.log(variance + _EPSILON)
