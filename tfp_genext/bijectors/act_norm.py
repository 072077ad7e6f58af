"""Activation normalisation, as in Glow."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.core.bijector import OneEvaluationBijector, ValueAndLogDet


class ActNorm(OneEvaluationBijector):
    """Activation normalisation: scale and shift of each dimension, initialised from a batch.

        forward   y = exp(log_scale) * x + shift
        inverse   x = (y - shift) * exp(-log_scale)
        log-det   sum(log_scale)

    Both directions are cheap. Calls never change the variables. The explicit initialisation
    `gx.flows.initialize` does, and `DensityModel.fit` calls it on the first batch (Kingma and
    Dhariwal, 2018, arXiv:1807.03039).

    Args:
      shift: `tf.Variable` `[D]`.
      log_scale: `tf.Variable` `[D]`.
      initialized: boolean `tf.Variable`, saved with the weights, true after initialisation.
        Default: `None`, which means that no initialisation is needed.
      validate_args, name: as in `tfb.Bijector`. The default name is `"act_norm"`.

    Raises:
      ValueError: if `shift` and `log_scale` differ in shape or are not vectors.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    norm = gx.bijectors.ActNorm(tf.Variable([0.0, 0.0]), tf.Variable([0.0, 0.0]))
    norm.initialize(tf.constant([[1.0, 10.0], [3.0, 30.0]]))
    tf.debugging.assert_near(norm.inverse([[1.0, 30.0]]), [[-1.0, 1.0]])
    ```
    """

    def __init__(
        self,
        shift: tf.Variable,
        log_scale: tf.Variable,
        *,
        initialized: tf.Variable | None = None,
        validate_args: bool = False,
        name: str | None = None,
    ) -> None:
        parameters = dict(locals())
        checks.scale_vectors(shift, log_scale)
        name = name or "act_norm"
        with tf.name_scope(name) as name:
            self._shift = shift
            self._log_scale = log_scale
            self._initialized = initialized
            super().__init__(
                forward_min_event_ndims=1,
                is_constant_jacobian=True,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )

    @property
    def shift(self) -> tf.Variable:
        """The shift, `[D]`."""
        return self._shift

    @property
    def log_scale(self) -> tf.Variable:
        """The logarithm of the scale, `[D]`."""
        return self._log_scale

    @property
    def initialized(self) -> bool:
        """Whether it is initialised; `True` without the variable `initialized`. Eager only."""
        return self._initialized is None or bool(self._initialized.numpy())

    def initialize(self, values: tf.Tensor, *, forward: bool = False) -> None:
        """Sets shift and scale so that the outputs of a batch have mean 0 and standard deviation 1.

        Args:
          values: `[..., D]`, at least one row. A constant column gets scale 1.
          forward: whether the values are inputs of `forward` instead of `inverse`. Default:
            `False`.
        """
        rows = tf.reshape(values, [-1, values.shape[-1]])
        mean, variance = tf.nn.moments(rows, axes=[0])
        # Treats variation below the rounding error of the mean as zero.
        rounding = 100.0 * checks.finfo(rows.dtype).eps * tf.reduce_max(tf.abs(rows), 0)
        varies = variance > tf.square(rounding)
        log_std = 0.5 * tf.math.log(tf.where(varies, variance, tf.ones_like(variance)))
        self._shift.assign(-mean * tf.exp(-log_std) if forward else mean)
        self._log_scale.assign(-log_std if forward else log_std)
        if self._initialized is not None:
            self._initialized.assign(True)

    def initialize_from(
        self, values: tf.Tensor, *, forward: bool = False, **conditions: Any
    ) -> tf.Tensor:
        self.initialize(values, forward=forward)
        return super().initialize_from(values, forward=forward, **conditions)

    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        log_scale = self._checked_log_scale(x)
        return tf.exp(log_scale) * x + self._shift, tf.reduce_sum(log_scale)

    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        log_scale = self._checked_log_scale(y)
        return (y - self._shift) * tf.exp(-log_scale), -tf.reduce_sum(log_scale)

    def _checked_log_scale(self, x: tf.Tensor) -> tf.Tensor:
        size = self._log_scale.shape[-1]
        if x.shape.rank == 0 or x.shape[-1] not in (None, size):
            raise ValueError(
                f"The event of `{self.name}` must be of size {size}. Received: shape {x.shape}"
            )
        return tf.convert_to_tensor(self._log_scale)
