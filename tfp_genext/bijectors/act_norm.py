"""Activation normalisation, and its data-dependent initialisation."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability.python.bijectors.chain import _Chain

from tfp_genext.bijectors import conditioning
from tfp_genext.bijectors.partial import Partial
from tfp_genext.core import checks
from tfp_genext.core.bijector import OneEvaluationBijector, ValueAndLogDet


class ActNorm(OneEvaluationBijector):
    """Scales and shifts each dimension, so that a first batch of data comes out standardised.

        forward   y = exp(log_scale) * x + shift
        inverse   x = (y - shift) * exp(-log_scale)
        log-det   sum(log_scale)

    Both directions are cheap. Calls never assign: initialisation is the explicit step
    `gx.flows.initialize`, which `DensityModel.fit` takes on its first batch (Kingma and Dhariwal,
    2018 [1]).

    Args:
      shift: `tf.Variable` `[D]`.
      log_scale: `tf.Variable` `[D]`.
      initialized: boolean `tf.Variable`, kept with the weights, that says whether it has been
        initialised; `None`, the default, where that is nobody's concern.
      validate_args: passed to `tfb.Bijector`. Default: `False`.
      name: name of the bijector. Default: `"act_norm"`.

    Raises:
      ValueError: where `shift` and `log_scale` differ in shape or are no vectors.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    norm = gx.bijectors.ActNorm(tf.Variable([0.0, 0.0]), tf.Variable([0.0, 0.0]))
    norm.initialize(tf.constant([[1.0, 10.0], [3.0, 30.0]]))
    tf.debugging.assert_near(norm.inverse([[1.0, 30.0]]), [[-1.0, 1.0]])
    ```

    #### References

    [1]: Diederik P. Kingma, Prafulla Dhariwal. Glow: Generative Flow with Invertible 1x1
         Convolutions. 2018. https://arxiv.org/abs/1807.03039
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
        """What is added, `[D]`."""
        return self._shift

    @property
    def log_scale(self) -> tf.Variable:
        """Logarithm of what is multiplied by, `[D]`."""
        return self._log_scale

    @property
    def initialized(self) -> bool:
        """Whether `initialize` has been called; `True` where that is not kept. Eager only."""
        return self._initialized is None or bool(self._initialized.numpy())

    def initialize(self, values: tf.Tensor, *, forward: bool = False) -> None:
        """Sets shift and scale so that a batch comes out with mean 0 and standard deviation 1.

        Args:
          values: `[..., D]`, at least one row. A column that does not vary keeps scale 1.
          forward: whether the values are inputs of `forward` rather than of `inverse`, the default.
        """
        rows = tf.reshape(values, [-1, values.shape[-1]])
        mean, variance = tf.nn.moments(rows, axes=[0])
        # What varies less than the rounding of its mean does not vary.
        rounding = 100.0 * checks.finfo(rows.dtype).eps * tf.reduce_max(tf.abs(rows), 0)
        varies = variance > tf.square(rounding)
        log_std = 0.5 * tf.math.log(tf.where(varies, variance, tf.ones_like(variance)))
        self._shift.assign(-mean * tf.exp(-log_std) if forward else mean)
        self._log_scale.assign(-log_std if forward else log_std)
        if self._initialized is not None:
            self._initialized.assign(True)

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


def initialize(
    bijector: tfb.Bijector, values: tf.Tensor, *, forward: bool = False, **conditions: Any
) -> tf.Tensor:
    """Initialises every `ActNorm` in a bijector by passing data through it, part by part.

    Args:
      bijector: the bijector, of any depth.
      values: a batch of data: inputs of `inverse`, or of `forward` where `forward` is true.
      forward: the direction of the pass. Default: `False`.
      **conditions: keyword arguments of the bijector, such as `conditional_input`.

    Returns:
      The values after the pass.
    """
    routed = conditioning.route(bijector, conditions)
    if isinstance(bijector, ActNorm):
        bijector.initialize(values, forward=forward)
    elif conditioning.is_inversion(bijector):
        return initialize(bijector.bijector, values, forward=not forward, **conditions)
    elif isinstance(bijector, conditioning.Conditioned):
        bound = {"conditional_input": tf.convert_to_tensor(bijector.conditional_input)}
        return initialize(bijector.bijector, values, forward=forward, **bound)
    elif isinstance(bijector, Partial):
        first, rest = bijector.split(values)
        first = initialize(bijector.bijector, first, forward=forward, **conditions)
        return tf.concat([first, rest], axis=-1)
    elif isinstance(bijector, _Chain):
        members = bijector.bijectors
        for member in reversed(members) if forward else members:
            values = initialize(member, values, forward=forward, **conditions)
        return values
    return (bijector.forward if forward else bijector.inverse)(values, **routed)


def uninitialized(module: tf.Module) -> list[ActNorm]:
    """Returns the `ActNorm`s anywhere in a bijector or distribution that wait for their data."""
    modules = (module, *module.submodules)
    return [m for m in modules if isinstance(m, ActNorm) and not m.initialized]
