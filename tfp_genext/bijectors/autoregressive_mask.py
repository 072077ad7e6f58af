"""The masking that all autoregressive layers share."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext.bijectors import conditioner as conditioners
from tfp_genext.bijectors.hidden_variables import ShowsVariables
from tfp_genext.core import checks, tracking
from tfp_genext.core.bijector import OneEvaluationBijector, ValueAndLogDet, log_det_if_any
from tfp_genext.transformers import Transformer


@dataclasses.dataclass(frozen=True)
class _Forward:
    """The forward direction of a transformer; a value where the transformer is one."""

    transformer: Transformer

    @property
    def heavy(self) -> bool:
        """Whether it takes long to trace."""
        return self.transformer.heavy

    def __call__(self, params: Any, x: tf.Tensor) -> tf.Tensor:
        return self.transformer.bijector(conditioners.one_by_one(params)).forward(x)


class Autoregressive(OneEvaluationBijector, ShowsVariables):
    """The masking shared by all autoregressive layers; abstract.

    With a bijector g of scalars whose parameters for dimension k come from y_1 ... y_(k-1):

        forward   y_k = g(x_k; y_1 ... y_(k-1))        for k = 1 ... D, one after the other
        inverse   x_k = g^-1(y_k; y_1 ... y_(k-1))     all at once
        log-det   sum_k log|dg/dx_k|

    The inverse costs one evaluation of the conditioner. So does the forward direction of one that
    solves for its inputs itself, in a small multiple of the time; others take D passes.
    """

    _network = "gx.networks.MADE"

    def __init__(
        self,
        conditioner: Any,
        transformer: Transformer,
        *,
        event_ndims: int = 1,
        unroll_loop: bool = False,
        tolerance: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self._conditioner = conditioner
        self._transformer = conditioners.checked_transformer(transformer)
        self._event_ndims = event_ndims
        self._unroll_loop = unroll_loop
        self._tolerance = checks.non_negative_number("tolerance", tolerance)
        super().__init__(forward_min_event_ndims=event_ndims, **kwargs)
        self._check_params_size()
        self._watch(conditioner)

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
    def conditional_event_shape(self) -> tuple[int, ...] | None:
        return tracking.conditional_event_shape(self._conditioner)

    @property
    def static_event_shape(self) -> tf.TensorShape:
        return tf.TensorShape(tracking.event_shape(self._conditioner))

    def takes(self, condition: str) -> bool:
        return tracking.takes(self._conditioner, condition)

    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        checks.event_rank("y", y, self._event_ndims)
        inner = self._conditioned(y, **conditions)
        log_det = log_det_if_any(lambda: inner.inverse_log_det_jacobian(y, self._event_ndims))
        return inner.inverse(y), log_det

    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        network, ndims = self._conditioner, self._event_ndims
        checks.event_rank("x", x, ndims)
        if isinstance(network, tracking.KerasNetwork) and network.solves:
            options = {"tolerance": self._tolerance}
            y, params = network.solve(_Forward(self._transformer), x, options, **conditions)
            inner = self._transformer.bijector(conditioners.one_by_one(params))
            # At y, where it is a formula for all transformers; at x it may be a search.
            return y, -inner.inverse_log_det_jacobian(y, ndims)
        inner = self._conditioned(self._almost_all_passes(x, conditions), **conditions)
        return inner.forward(x), log_det_if_any(lambda: inner.forward_log_det_jacobian(x, ndims))

    def _bijector(self, y: tf.Tensor, **conditions: Any) -> tfb.Bijector:
        return conditioners.transformed_params(
            self._conditioner,
            self._transformer,
            y,
            y.shape[-1],
            argument=self._argument,
            **conditions,
        )

    def _almost_all_passes(self, x: tf.Tensor, conditions: dict[str, Any]) -> tf.Tensor:
        """Returns y after D - 1 passes: exact but for its last dimension, which nothing reads."""
        shape = x.shape[-self._event_ndims :] if x.shape.rank is not None else x.shape
        size = shape.num_elements()

        def one_pass(y: tf.Tensor) -> tf.Tensor:
            return self._conditioned(y, **conditions).forward(x)

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
