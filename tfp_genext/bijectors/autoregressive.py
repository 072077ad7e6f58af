"""The autoregressive layer: each dimension is transformed given the dimensions before it."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from tfp_genext.core import checks, tracking
from tfp_genext.core.bijector import ConditionerBijector, ValueAndLogDet, known_log_det
from tfp_genext.transformers.base import Transformer, checked_transformer


class Autoregressive(ConditionerBijector):
    """Autoregressive layer with any conditioner and transformer.

    With a bijector g of scalars whose parameters for dimension k come from y_1 ... y_(k-1)
    (Papamakarios et al., 2017, arXiv:1705.07057):

        forward   y_k = g(x_k; y_1 ... y_(k-1))        for k = 1 ... D, one after the other
        inverse   x_k = g^-1(y_k; y_1 ... y_(k-1))     all at once
        log-det   sum_k log|dg/dx_k|

    The inverse, which the density needs, costs one evaluation of the conditioner. The forward
    direction costs a few with `gx.networks.MADE`, which solves the triangular system, with the
    result of D passes. Other conditioners need D passes. `tfb.Invert` exchanges the two directions,
    as in an inverse autoregressive flow.

    Args:
      conditioner: a Keras 3 layer, called as `layer(y, **condition)`, preferably a
        `gx.networks.MADE`; or a callable `(y, D, **condition)`. It must return parameters
        `[..., D, transformer.params_size]`, or a tuple of tensors `[..., D]`. A conditioner other
        than MADE must be autoregressive, which is not checked.
      transformer: map from parameters to g, one of `gx.transformers`, or any object with
        `params_size` and `bijector(params)`.
      event_ndims: rank of an event. Default: 1.
      tolerance: relative change below which the forward direction treats a block of dimensions as
        solved, if there are more than 64. Default: 0, exact.
      unroll_loop: whether the D passes of other conditioners are unrolled. Default: `False`.
      is_constant_jacobian: whether the Jacobian is known not to depend on y. Default: `False`.
      parameters: arguments of a subclass's constructor, as in TFP. Default: those of this one.
      validate_args, name: as in `tfb.Bijector`. The default name is `"autoregressive"`.

    Raises:
      ValueError: if the conditioner is not callable, or returns another size.
      TypeError: if `transformer` is not a transformer.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    spline = gx.transformers.Spline(num_bins=4)
    network = gx.networks.MADE(3, spline.params_size, hidden_units=[32])
    layer = gx.bijectors.Autoregressive(network, spline)
    y = layer.forward(tf.ones([5, 3]))
    tf.debugging.assert_near(layer.inverse(tf.identity(y)), tf.ones([5, 3]), atol=1e-4)
    ```
    """

    _network = "gx.networks.MADE"

    def __init__(
        self,
        conditioner: Any,
        transformer: Transformer,
        *,
        event_ndims: int = 1,
        tolerance: float = 0.0,
        unroll_loop: bool = False,
        is_constant_jacobian: bool = False,
        validate_args: bool = False,
        parameters: dict[str, Any] | None = None,
        name: str = "autoregressive",
    ) -> None:
        parameters = dict(locals()) if parameters is None else parameters
        if not callable(conditioner):
            expected = "a Keras layer or callable"
            raise ValueError(checks.message("conditioner", expected, conditioner))
        with tf.name_scope(name) as name:
            self._unroll_loop = unroll_loop
            self._tolerance = checks.non_negative_number("tolerance", tolerance)
            super().__init__(
                conditioner,
                checked_transformer(transformer),
                event_ndims=checks.positive_int("event_ndims", event_ndims),
                is_constant_jacobian=is_constant_jacobian,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )
        self._check_params_size()

    def _check_params_size(self) -> None:
        if not isinstance(self._conditioner, tracking.KerasNetwork):
            return
        given = getattr(self._conditioner.network, "params_size", self._transformer.params_size)
        if given != self._transformer.params_size:
            raise ValueError(
                f"`{self._argument}` must return parameters of shape [..., D, "
                f"{self._transformer.params_size}], as many as `transformer` needs. "
                f"Received: params_size={given}"
            )

    @property
    def static_event_shape(self) -> tf.TensorShape:
        return tf.TensorShape(tracking.event_shape(self._conditioner))

    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        checks.event_rank("y", y, self._event_ndims)
        g = self._conditioned(y, y.shape[-1], **conditions)
        return g.inverse(y), known_log_det(g.inverse_log_det_jacobian, y, self._event_ndims)

    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        checks.event_rank("x", x, self._event_ndims)
        if isinstance(self._conditioner, tracking.KerasNetwork) and self._conditioner.solves:
            return self._solve(x, conditions)
        y = self._all_but_one_pass(x, conditions)
        g = self._conditioned(y, y.shape[-1], **conditions)
        return g.forward(x), known_log_det(g.forward_log_det_jacobian, x, self._event_ndims)

    def _solve(self, x: tf.Tensor, conditions: dict[str, Any]) -> ValueAndLogDet:
        """Returns y = g(x; y) and the log-determinant, by the network's method `solve`."""
        options = {"tolerance": self._tolerance}
        update = _Forward(self._transformer)
        y, params = self._conditioner.solve(update, x, options, **conditions)
        g = self._transformer.bijector(_by_parameter(params))
        # At y, because all inverses are in closed form. At x it may need a root finder.
        return y, -g.inverse_log_det_jacobian(y, self._event_ndims)

    def _all_but_one_pass(self, x: tf.Tensor, conditions: dict[str, Any]) -> tf.Tensor:
        """Returns y after D - 1 passes, which leave only its last dimension to compute."""

        def one_pass(y: tf.Tensor) -> tf.Tensor:
            return self._conditioned(y, y.shape[-1], **conditions).forward(x)

        event = x.shape[-self._event_ndims :] if x.shape.rank is not None else x.shape
        size = event.num_elements()
        if self._unroll_loop:
            if not size:
                raise ValueError(
                    f"The final {self._event_ndims} dimensions of `x` must be known at graph "
                    f"construction time if `unroll_loop=True`. `x.shape: {x.shape!r}`. "
                    f"Received: shape {x.shape}"
                )
            y = tf.zeros_like(x)
            for _ in range(size - 1):
                y = one_pass(y)
            return y
        # The first pass is outside the loop, where a function may still create its variables.
        most = size if size is not None else tf.reduce_prod(tf.shape(x)[-self._event_ndims :])
        (y,) = tf.while_loop(
            lambda _: True,
            lambda y: (one_pass(y),),
            (one_pass(tf.zeros_like(x)),),
            maximum_iterations=tf.maximum(most - 2, 0),
        )
        return y


@dataclasses.dataclass(frozen=True)
class _Forward:
    """The forward direction of a transformer as a function of parameters and noise."""

    transformer: Any

    @property
    def heavy(self) -> bool:
        """Whether tracing it is slow."""
        return getattr(self.transformer, "heavy", False)

    def __call__(self, params: Any, x: tf.Tensor) -> tf.Tensor:
        return self.transformer.bijector(_by_parameter(params)).forward(x)


def _by_parameter(params: Any) -> Any:
    """Returns the parameters of a network's `solve` as one tensor of the shape of x each."""
    return tf.unstack(params, axis=-1) if tf.is_tensor(params) else params
