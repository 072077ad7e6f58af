"""Autoregressive flows: each dimension moves by an amount that the ones before it decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext.bijectors import conditioner as conditioners
from tfp_genext.bijectors.autoregressive_mask import Autoregressive
from tfp_genext.core import tracking
from tfp_genext.transformers import Affine, DeepSigmoidal, Transformer


class MaskedAutoregressive(Autoregressive):
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
    `layer(y, **condition)`, whose variables the bijector shows and trains. Variables inside a
    template of TensorFlow 1 or a Python function are not shown, here as in TFP: a UserWarning.

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
        with tf.name_scope(name or "masked_autoregressive_flow") as name:
            self._gives_bijector = bijector_fn is not None
            super().__init__(
                conditioners.one_function(
                    shift_and_log_scale_fn,
                    bijector_fn,
                    transformer,
                    event_ndims=event_ndims,
                    takes_units=False,
                ),
                Affine() if transformer is None else transformer,
                event_ndims=event_ndims,
                unroll_loop=unroll_loop,
                tolerance=tolerance,
                is_constant_jacobian=is_constant_jacobian,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )

    def _bijector(self, y: tf.Tensor, **conditions: Any) -> tfb.Bijector:
        function = self._conditioner
        if isinstance(function, tracking.KerasNetwork):
            return super()._bijector(y, **conditions)
        output = function(y, **conditions)
        if self._gives_bijector:
            return conditioners.checked_inner(output, most=0) if self.validate_args else output
        pair = conditioners.unpacked_pair(output, self._argument, y, axis=-1)
        return conditioners.shift_and_scale(*pair)


class NeuralAutoregressive(Autoregressive):
    """Neural autoregressive flow: each dimension goes through a monotone network of its own.

    With a rising function F of scalars whose parameters for dimension k come from y_1 ... y_(k-1)
    (Huang et al., 2018 [1]):

        inverse   x_k = F(y_k; y_1 ... y_(k-1))        all at once
        forward   y_k = F^-1(x_k; y_1 ... y_(k-1))     by root finding, one after the other
        log-det   of the inverse: sum_k log F'(y_k)

    The inverse, and so the density, costs one evaluation of the conditioner. F rises whatever the
    conditioner says: see `gx.transformers.DeepSigmoidal` and `DeepDenseSigmoidal`.

    Args:
      conditioner: a Keras 3 layer, called as `layer(y, **condition)`, that returns
        `[..., D, transformer.params_size]` or a tuple of tensors `[..., D]`, best a
        `gx.networks.MADE`; or a callable `(y, D, **condition)` that returns the same. Any other
        than MADE must be autoregressive itself, which nobody checks.
      validate_args: passed to `tfb.Bijector`. Default: `False`.
      name: name of the bijector. Default: `"neural_autoregressive"`.
      transformer: the family of F. Default: `gx.transformers.DeepSigmoidal()`.
      tolerance: as in `gx.bijectors.MaskedAutoregressive`. Default: 0.

    Raises:
      ValueError: where the conditioner is missing or returns another size.
      TypeError: where `transformer` is no transformer.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    sigmoidal = gx.transformers.DeepSigmoidal(num_units=4)
    network = gx.networks.MADE(3, sigmoidal.params_size, hidden_units=[16])
    layer = gx.bijectors.NeuralAutoregressive(network, transformer=sigmoidal)
    y = layer.forward(tf.ones([5, 3]))
    tf.debugging.assert_near(layer.inverse(tf.identity(y)), tf.ones([5, 3]), atol=1e-4)
    ```

    #### References

    [1]: Chin-Wei Huang, David Krueger, Alexandre Lacoste, Aaron Courville. Neural Autoregressive
         Flows. 2018. https://arxiv.org/abs/1804.00779
    """

    def __init__(
        self,
        conditioner: Callable,
        validate_args: bool = False,
        name: str | None = None,
        *,
        transformer: Transformer | None = None,
        tolerance: float = 0.0,
    ) -> None:
        parameters = dict(locals())
        with tf.name_scope(name or "neural_autoregressive") as name:
            super().__init__(
                conditioners.checked_network(conditioner),
                DeepSigmoidal() if transformer is None else transformer,
                tolerance=tolerance,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )
