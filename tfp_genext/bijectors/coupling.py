"""Coupling layers: the masked half stays, and says how the other half moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext import masks
from tfp_genext.bijectors import conditioner as conditioners
from tfp_genext.bijectors.coupling_mask import Coupling
from tfp_genext.core import tracking
from tfp_genext.transformers import Additive, Affine, Spline, Transformer


class AffineCoupling(Coupling):
    """Affine coupling layer of Real NVP, on Keras 3 networks; a drop-in for `tfb.RealNVP`.

    With x split into the masked part x0 and the rest x1 (Dinh et al., 2017 [1]):

        forward   y0 = x0,  y1 = exp(log_scale(x0)) * x1 + shift(x0)
        inverse   x0 = y0,  x1 = (y1 - shift(y0)) * exp(-log_scale(y0))
        log-det   sum(log_scale(x0))

    Both directions cost one evaluation of the network.

    Code written for `tfb.RealNVP` works after changing the name: every keyword means the same.
    What is new is that `shift_and_log_scale_fn` may be a Keras 3 layer, called as
    `layer(x0, **condition)`, whose variables the bijector shows and trains. Variables inside a
    template of TensorFlow 1 or a Python function are not shown, here as in TFP: a UserWarning.

    Args:
      num_masked: how many units are masked, that is stay unchanged; the last ones where negative.
      fraction_masked: the same as a fraction of the event size, in (-1, 1).
      shift_and_log_scale_fn: a Keras 3 layer that returns `[..., n, transformer.params_size]`, or a
        tuple of tensors `[..., n]`, with n the number of units that move; or any callable with
        TFP's signature `(x0, n, **condition) -> (shift, log_scale)`, whose log-scale is used as it
        is given.
      bijector_fn: a Keras 3 layer as above, or any callable with TFP's signature
        `(x0, n, **condition) -> tfb.Bijector`.
      is_constant_jacobian: whether the log-scale does not depend on x0. Default: `False`.
      validate_args: whether to check the bijector that `bijector_fn` returns. Default: `False`.
      name: name of the bijector. Default: `"real_nvp"`, as in TFP.
      mask: boolean vector `[D]`, True where a unit stays; instead of `num_masked`. For events of
        higher rank, of their last axis, or of the whole event, as `gx.masks.checkerboard`: then the
        conditioner sees zeros for what moves, and gives parameters for all.
      transformer: what the parameters of a Keras layer mean. Default: `gx.transformers.Affine()`,
        a shift and the exponential of a bounded log-scale.
      event_ndims: rank of an event, 3 for images. Default: 1.

    Raises:
      ValueError: where not exactly one way of masking and one of the two functions is given; where
        the mask does not fit the event; where a network returns another size.
      TypeError: where `num_masked` is no integer, `fraction_masked` no float, `mask` not boolean or
        `transformer` not a transformer.

    Example:

    ```python
    import tensorflow as tf
    import tensorflow_probability as tfp
    import tfp_genext as gx

    network = gx.networks.MLP([2, 2], hidden_units=[32, 32])
    coupling = gx.bijectors.AffineCoupling(num_masked=1, shift_and_log_scale_fn=network)
    flow = tfp.distributions.TransformedDistribution(
        tfp.distributions.MultivariateNormalDiag(loc=tf.zeros([3])), coupling
    )
    assert flow.log_prob(tf.zeros([5, 3])).shape == [5]
    assert len(flow.trainable_variables) == 6
    ```

    #### References

    [1]: Laurent Dinh, Jascha Sohl-Dickstein, Samy Bengio. Density estimation using Real NVP. 2017.
         https://arxiv.org/abs/1605.08803
    """

    def __init__(
        self,
        num_masked: int | None = None,
        fraction_masked: float | None = None,
        shift_and_log_scale_fn: Callable | None = None,
        bijector_fn: Callable | None = None,
        is_constant_jacobian: bool = False,
        validate_args: bool = False,
        name: str | None = None,
        *,
        mask: Sequence[bool] | np.ndarray | None = None,
        transformer: Transformer | None = None,
        event_ndims: int = 1,
    ) -> None:
        mask = masks.hashable(mask, event_ndims)
        parameters = dict(locals())
        name = name or "real_nvp"
        with tf.name_scope(name) as name:
            self._gives_bijector = bijector_fn is not None
            super().__init__(
                num_masked,
                fraction_masked,
                mask,
                conditioners.one_function(
                    shift_and_log_scale_fn,
                    bijector_fn,
                    transformer,
                    event_ndims=event_ndims,
                    takes_units=True,
                ),
                is_constant_jacobian=is_constant_jacobian,
                event_ndims=event_ndims,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )
            self._transformer = Affine() if transformer is None else transformer

    def _bijector(self, x0: tf.Tensor, num_units: int, **conditions: Any) -> tfb.Bijector:
        function = self._conditioner
        if isinstance(function, tracking.KerasNetwork):
            return conditioners.transformed_params(
                function,
                self._transformer,
                x0,
                num_units,
                argument=self._argument,
                **conditions,
            )
        if self._gives_bijector:
            inner = function(x0, num_units, **conditions)
            return conditioners.checked_inner(inner, most=1) if self.validate_args else inner
        output = function(x0, num_units, **conditions)
        pair = conditioners.unpacked_pair(output, self._argument, x0, axis=0)
        return conditioners.shift_and_scale(*pair)


class TransformedCoupling(Coupling):
    """A coupling layer whose conditioner gives the parameters of a transformer; abstract."""

    def __init__(
        self,
        num_masked: int | None,
        fraction_masked: float | None,
        mask: Any,
        conditioner: Any,
        transformer: Transformer,
        *,
        event_ndims: int,
        **kwargs: Any,
    ) -> None:
        self._transformer = conditioners.checked_transformer(transformer)
        network = conditioners.checked_network(conditioner, event_ndims=event_ndims)
        super().__init__(
            num_masked, fraction_masked, mask, network, event_ndims=event_ndims, **kwargs
        )

    def _bijector(self, x0: tf.Tensor, num_units: int, **conditions: Any) -> tfb.Bijector:
        return conditioners.transformed_params(
            self._conditioner,
            self._transformer,
            x0,
            num_units,
            argument=self._argument,
            **conditions,
        )


class AdditiveCoupling(TransformedCoupling):
    """Additive coupling layer of NICE.

    With x split into the masked part x0 and the rest x1 (Dinh et al., 2015 [1]):

        forward   y0 = x0,  y1 = x1 + shift(x0)
        inverse   x0 = y0,  x1 = y1 - shift(y0)
        log-det   0

    Both directions cost one evaluation of the network. The Jacobian depends on x though its
    determinant does not, so `is_constant_jacobian` is `False`: TFP would otherwise take the layer
    for affine and return wrong means.

    Args:
      num_masked: how many units are masked, that is stay unchanged; the last ones where negative.
      fraction_masked: the same as a fraction of the event size, in (-1, 1).
      conditioner: a Keras 3 layer, called as `layer(x0, **condition)`, that returns the shift,
        `[..., n]` or `[..., n, 1]`; or a callable `(x0, n, **condition) -> shift`.
      validate_args: passed to `tfb.Bijector`. Default: `False`.
      name: name of the bijector. Default: `"additive_coupling"`.
      mask: boolean vector `[D]`, True where a unit stays; instead of `num_masked`. For events of
        higher rank, of their last axis, or of the whole event, as `gx.masks.checkerboard`: then the
        conditioner sees zeros for what moves, and gives parameters for all.
      event_ndims: rank of an event, 3 for images. Default: 1.

    Raises:
      ValueError: where not exactly one way of masking is given, the conditioner is missing, the
        mask does not fit the event, or the network returns another size.
      TypeError: where `num_masked` is no integer, `fraction_masked` no float or `mask` not boolean.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    nice = gx.bijectors.AdditiveCoupling(1, conditioner=lambda x0, n: tf.repeat(x0, n, axis=-1))
    assert nice.forward([1.0, 2.0, 3.0]).numpy().tolist() == [1.0, 3.0, 4.0]
    ```

    #### References

    [1]: Laurent Dinh, David Krueger, Yoshua Bengio. NICE: Non-linear Independent Components
         Estimation. 2015. https://arxiv.org/abs/1410.8516
    """

    def __init__(
        self,
        num_masked: int | None = None,
        fraction_masked: float | None = None,
        conditioner: Callable | None = None,
        validate_args: bool = False,
        name: str | None = None,
        *,
        mask: Sequence[bool] | np.ndarray | None = None,
        event_ndims: int = 1,
    ) -> None:
        mask = masks.hashable(mask, event_ndims)
        parameters = dict(locals())
        with tf.name_scope(name or "additive_coupling") as name:
            super().__init__(
                num_masked,
                fraction_masked,
                mask,
                conditioner,
                Additive(),
                event_ndims=event_ndims,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )


class SplineCoupling(TransformedCoupling):
    """Coupling layer of neural spline flows: the moved half goes through monotone splines.

    With x split into the masked part x0 and the rest x1, and a spline g whose bins and slopes come
    from x0 (Durkan et al., 2019 [1]):

        forward   y0 = x0,  y1 = g(x1; x0)
        inverse   x0 = y0,  x1 = g^-1(y1; y0)
        log-det   sum(log g'(x1; x0))

    Both directions cost one evaluation of the network, and are formulas. Outside the interval of
    the spline a unit stays as it is.

    Args:
      num_masked: how many units are masked, that is stay unchanged; the last ones where negative.
      fraction_masked: the same as a fraction of the event size, in (-1, 1).
      conditioner: a Keras 3 layer, called as `layer(x0, **condition)`, that returns
        `[..., n, transformer.params_size]` or a tuple of tensors `[..., n]`; or a callable
        `(x0, n, **condition)` that returns the same.
      validate_args: passed to `tfb.Bijector`. Default: `False`.
      name: name of the bijector. Default: `"spline_coupling"`.
      mask: boolean vector `[D]`, True where a unit stays; instead of `num_masked`. For events of
        higher rank, of their last axis, or of the whole event, as `gx.masks.checkerboard`: then the
        conditioner sees zeros for what moves, and gives parameters for all.
      transformer: the splines. Default: `gx.transformers.Spline()`.
      event_ndims: rank of an event, 3 for images. Default: 1.

    Raises:
      ValueError: where not exactly one way of masking is given, the conditioner is missing, the
        mask does not fit the event, or the network returns another size.
      TypeError: where `num_masked` is no integer, `fraction_masked` no float, `mask` not boolean or
        `transformer` no transformer.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    spline = gx.transformers.Spline(num_bins=4)
    network = gx.networks.MLP([2, spline.params_size], hidden_units=[32])
    coupling = gx.bijectors.SplineCoupling(1, conditioner=network, transformer=spline)
    assert coupling.forward(tf.zeros([5, 3])).shape == [5, 3]
    ```

    #### References

    [1]: Conor Durkan, Artur Bekasov, Iain Murray, George Papamakarios. Neural Spline Flows. 2019.
         https://arxiv.org/abs/1906.04032
    """

    def __init__(
        self,
        num_masked: int | None = None,
        fraction_masked: float | None = None,
        conditioner: Callable | None = None,
        validate_args: bool = False,
        name: str | None = None,
        *,
        mask: Sequence[bool] | np.ndarray | None = None,
        transformer: Transformer | None = None,
        event_ndims: int = 1,
    ) -> None:
        mask = masks.hashable(mask, event_ndims)
        parameters = dict(locals())
        with tf.name_scope(name or "spline_coupling") as name:
            super().__init__(
                num_masked,
                fraction_masked,
                mask,
                conditioner,
                Spline() if transformer is None else transformer,
                event_ndims=event_ndims,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )
