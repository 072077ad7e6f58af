"""Autoregressive flows: each dimension moves by an amount that the ones before it decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext import checks, tracking
from tfp_genext.bijectors import conditioner as conditioners
from tfp_genext.one_evaluation import OneEvaluationBijector, ValueAndLogDet, log_det_if_any
from tfp_genext.transformers import Affine, Transformer


@dataclasses.dataclass(frozen=True)
class _Forward:
    """The forward direction of a transformer; a value where the transformer is one."""

    transformer: Transformer

    def __call__(self, params: Sequence[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
        return self.transformer.bijector(params).forward(x)


class MaskedAutoregressive(OneEvaluationBijector):
    """Masked autoregressive flow on Keras 3 networks; a drop-in for `tfb.MaskedAutoregressiveFlow`.

    With a bijector g of scalars whose parameters for dimension k come from y_1 ... y_(k-1)
    (Papamakarios et al., 2017 [1]):

        forward   y_k = g(x_k; y_1 ... y_(k-1))        for k = 1 ... D, one after the other
        inverse   x_k = g^-1(y_k; y_1 ... y_(k-1))     all at once
        log-det   sum_k log|dg/dx_k|,  for the affine g = exp(log_scale) * x + shift: sum(log_scale)

    The inverse, and so the density, costs one evaluation of the network. With `gx.networks.MADE`
    the forward direction costs a few: it solves the triangular system by halves, and the answer is
    that of D passes. Any other network or callable must be autoregressive itself, which nobody
    checks, and takes D passes, as in TFP. `tfb.Invert` gives an inverse autoregressive flow [2],
    with the cheap and the dear direction exchanged.

    Code written for `tfb.MaskedAutoregressiveFlow` works after changing the name: every keyword
    means the same. What is new is that the functions may be Keras 3 layers, called as
    `layer(y, **condition)`, whose variables the bijector shows and trains.

    Args:
      shift_and_log_scale_fn: a Keras 3 layer that returns `[..., D, transformer.params_size]`, or a
        tuple of tensors `[..., D]`; or any callable with TFP's signature, whose log-scale is used
        as it is given.
      bijector_fn: a Keras 3 layer as above, or any callable `(y, **condition) -> tfb.Bijector`.
      is_constant_jacobian: whether the log-scale does not depend on y. Default: `False`.
      validate_args: whether to check the bijector that `bijector_fn` returns. Default: `False`.
      unroll_loop: whether the D passes of a callable are unrolled. Default: `False`.
      event_ndims: rank of an event. Default: 1.
      name: name of the bijector. Default: `"masked_autoregressive_flow"`, as in TFP.
      transformer: what the parameters of a Keras layer mean. Default: `gx.transformers.Affine()`.
      tolerance: relative change below which the forward direction takes a block of dimensions for
        solved, where there are more than 64. Default: 0, exact.

    Raises:
      ValueError: where not exactly one of the two functions is given, or a network returns another
        size.

    Example:

    ```python
    import tensorflow as tf
    import tensorflow_probability as tfp
    import tfp_genext as gx

    network = gx.networks.MADE(3, 2, hidden_units=[32, 32])
    flow = tfp.distributions.TransformedDistribution(
        tfp.distributions.MultivariateNormalDiag(loc=tf.zeros([3])),
        gx.bijectors.MaskedAutoregressive(network),
    )
    x, log_prob = flow.experimental_sample_and_log_prob(5, seed=[1, 2])
    tf.debugging.assert_near(flow.log_prob(tf.identity(x)), log_prob, atol=1e-4)
    ```

    #### References

    [1]: George Papamakarios, Theo Pavlakou, Iain Murray. Masked Autoregressive Flow for Density
         Estimation. 2017. https://arxiv.org/abs/1705.07057
    [2]: Diederik P. Kingma et al. Improving Variational Inference with Inverse Autoregressive Flow.
         2016. https://arxiv.org/abs/1606.04934
    """

    def __init__(
        self,
        shift_and_log_scale_fn: Callable | None = None,
        bijector_fn: Callable | None = None,
        is_constant_jacobian: bool = False,
        validate_args: bool = False,
        unroll_loop: bool = False,
        event_ndims: int = 1,
        name: str | None = None,
        *,
        transformer: Transformer | None = None,
        tolerance: float = 0.0,
    ) -> None:
        parameters = dict(locals())
        tolerance = checks.tolerance("tolerance", tolerance)
        name = name or "masked_autoregressive_flow"
        with tf.name_scope(name) as name:
            self._gives_bijector = bijector_fn is not None
            self._conditioner = conditioners.one_function(
                shift_and_log_scale_fn, bijector_fn, transformer, event_ndims=event_ndims
            )
            self._transformer = transformer or Affine()
            self._check_transformer()
            self._unroll_loop = unroll_loop
            self._event_ndims = event_ndims
            self._tolerance = tolerance
            super().__init__(
                forward_min_event_ndims=event_ndims,
                is_constant_jacobian=is_constant_jacobian,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )

    def _check_transformer(self) -> None:
        if not isinstance(self._transformer, Transformer):
            expected = "a gx.transformers.Transformer"
            raise TypeError(checks.message("transformer", expected, self._transformer))
        if not isinstance(self._conditioner, tracking.KerasNetwork):
            return
        given = getattr(self._conditioner.network, "params_size", self._transformer.params_size)
        if given != self._transformer.params_size:
            raise ValueError(
                f"The network must return parameters of shape [..., D, "
                f"{self._transformer.params_size}], as many as `transformer` needs. "
                f"Received: params_size={given}"
            )

    @property
    def conditional_event_shape(self) -> tuple[int, ...] | None:
        return tracking.conditional_event_shape(self._conditioner)

    def takes(self, condition: str) -> bool:
        return tracking.takes(self._conditioner, condition)

    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        inner = self._bijector(y, **conditions)
        log_det = log_det_if_any(lambda: inner.inverse_log_det_jacobian(y, self._event_ndims))
        return inner.inverse(y), log_det

    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        network = self._conditioner
        if isinstance(network, tracking.KerasNetwork) and network.solves:
            y, params = network.solve(_Forward(self._transformer), x, self._tolerance, **conditions)
            inner = self._transformer.bijector(params)
        else:
            inner = self._bijector(self._almost_all_passes(x, conditions), **conditions)
            y = inner.forward(x)
        log_det = log_det_if_any(lambda: inner.forward_log_det_jacobian(x, self._event_ndims))
        return y, log_det

    def _bijector(self, y: tf.Tensor, **conditions: Any) -> tfb.Bijector:
        function = self._conditioner
        if isinstance(function, tracking.KerasNetwork):
            size = y.shape[-1]
            return conditioners.transformed_params(
                function, self._transformer, y, size, **conditions
            )
        output = function(y, **conditions)
        if self._gives_bijector:
            return conditioners.checked_inner(output, most=0) if self.validate_args else output
        if tf.is_tensor(output):
            output = tf.unstack(output, num=2, axis=-1)
        return conditioners.shift_and_scale(*output)

    def _almost_all_passes(self, x: tf.Tensor, conditions: dict[str, Any]) -> tf.Tensor:
        """Returns y after D - 1 passes: exact but for its last dimension, which nothing reads."""
        shape = x.shape[-self._event_ndims :] if x.shape.rank is not None else x.shape
        size = shape.num_elements()

        def one_pass(y: tf.Tensor) -> tf.Tensor:
            return self._bijector(y, **conditions).forward(x)

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
        # The first pass stands outside the loop, where a function may still make its variables.
        most = size if size is not None else tf.reduce_prod(tf.shape(x)[-self._event_ndims :])
        (y,) = tf.while_loop(
            lambda _: True,
            lambda y: (one_pass(y),),
            (one_pass(tf.zeros_like(x)),),
            maximum_iterations=tf.maximum(most - 2, 0),
        )
        return y
