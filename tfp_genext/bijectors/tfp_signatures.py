"""Replacements of `tfb.RealNVP` and `tfb.MaskedAutoregressiveFlow` with TFP's arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext import masks
from tfp_genext.bijectors.autoregressive import Autoregressive
from tfp_genext.bijectors.conditioner_checks import refuse_tf_keras
from tfp_genext.bijectors.coupling import Coupling
from tfp_genext.bijectors.signed_mask import choose_mask
from tfp_genext.core import checks, tracking
from tfp_genext.transformers import Affine, Transformer
from tfp_genext.transformers.base import checked_transformer


class AffineCoupling(Coupling):
    """Affine coupling layer of Real NVP with Keras 3 networks; replaces `tfb.RealNVP`.

    With x split into the masked part x0 and the rest x1 (Dinh et al., 2017, arXiv:1605.08803):

        forward   y0 = x0,  y1 = exp(log_scale(x0)) * x1 + shift(x0)
        inverse   x0 = y0,  x1 = (y1 - shift(y0)) * exp(-log_scale(y0))
        log-det   sum(log_scale(x0))

    Both directions cost one evaluation of the network.

    Code for `tfb.RealNVP` works after changing the name, as all keywords have the same meaning.
    `shift_and_log_scale_fn` may also be a Keras 3 layer, called as `layer(x0, **condition)`, whose
    variables the bijector tracks. Variables inside a TensorFlow 1 template or a Python function are
    not tracked, as in TFP, and cause a UserWarning. `gx.bijectors.Coupling` is the same layer
    without TFP's arguments.

    Args:
      num_masked: number of unchanged units: the first ones, or the last ones if it is negative.
      fraction_masked: the same as a fraction of the event size, in (-1, 1).
      shift_and_log_scale_fn: a Keras 3 layer that returns `[..., n, transformer.params_size]`, or a
        tuple of tensors `[..., n]`, with n the number of transformed units; or any callable with
        TFP's signature `(x0, n, **condition) -> (shift, log_scale)`, whose log-scale is not
        bounded.
      bijector_fn: a Keras 3 layer as above, or any callable with TFP's signature
        `(x0, n, **condition) -> tfb.Bijector`.
      is_constant_jacobian: whether the log-scale does not depend on x0. Default: `False`.
      validate_args: whether to check the bijector that `bijector_fn` returns. Default: `False`.
      name: name of the bijector. Default: `"real_nvp"`, as in TFP.
      mask: as in `gx.bijectors.Coupling`, instead of `num_masked`.
      transformer: transformer of the parameters that a Keras layer returns. Default:
        `gx.transformers.Affine()`, a shift and the exponential of a bounded log-scale.
      event_ndims: rank of an event, 3 for images. Default: 1.

    Raises:
      ValueError: if not exactly one mask and one of the two functions are given, the mask does not
        fit the event, or a network returns another size.
      TypeError: if `num_masked` is not an integer, `fraction_masked` not a float, `mask` not
        boolean or `transformer` not a transformer.

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
        function = _choose_function(
            shift_and_log_scale_fn, bijector_fn, transformer, takes_units=True
        )
        self._gives_bijector = bijector_fn is not None
        super().__init__(
            choose_mask(num_masked, fraction_masked, mask),
            function,
            Affine() if transformer is None else transformer,
            event_ndims=event_ndims,
            is_constant_jacobian=is_constant_jacobian,
            validate_args=validate_args,
            parameters=parameters,
            name=name or "real_nvp",
        )

    @property
    def _masked_size(self) -> int:
        # TFP's name of the signed mask size, which its users and tests read.
        return self._mask.masked_size

    def _bijector(self, visible: tf.Tensor, num_units: int, **conditions: Any) -> tfb.Bijector:
        function = self._conditioner
        if isinstance(function, tracking.KerasNetwork):
            return super()._bijector(visible, num_units, **conditions)
        output = function(visible, num_units, **conditions)
        if self._gives_bijector:
            return _checked_inner(output, most=1) if self.validate_args else output
        return _shift_and_scale(*_unpacked_pair(output, self._argument, visible, axis=0))


class MaskedAutoregressive(Autoregressive):
    """Masked autoregressive flow with Keras 3 networks; replaces `tfb.MaskedAutoregressiveFlow`.

    With a bijector g of scalars whose parameters for dimension k come from y_1 ... y_(k-1)
    (Papamakarios et al., 2017, arXiv:1705.07057):

        forward   y_k = g(x_k; y_1 ... y_(k-1))        for k = 1 ... D, one after the other
        inverse   x_k = g^-1(y_k; y_1 ... y_(k-1))     all at once
        log-det   sum_k log|dg/dx_k|,  for the affine g = exp(log_scale) * x + shift: sum(log_scale)

    The inverse, which the density needs, costs one evaluation of the network. With
    `gx.networks.MADE` the forward direction costs a few. Other networks and callables must be
    autoregressive, which is not checked, and need D passes, as in TFP. `tfb.Invert` gives an
    inverse autoregressive flow (Kingma et al., 2016, arXiv:1606.04934), for which sampling is the
    fast direction.

    Code for `tfb.MaskedAutoregressiveFlow` works after changing the name, as all keywords have the
    same meaning. The functions may also be Keras 3 layers, called as `layer(y, **condition)`, whose
    variables the bijector tracks. Other variables are treated as in `gx.bijectors.AffineCoupling`.
    `gx.bijectors.Autoregressive` is the same layer without TFP's arguments.

    Args:
      shift_and_log_scale_fn: a Keras 3 layer that returns `[..., D, transformer.params_size]`, or a
        tuple of tensors `[..., D]`; or any callable with TFP's signature, whose log-scale is not
        bounded.
      bijector_fn: a Keras 3 layer as above, or any callable `(y, **condition) -> tfb.Bijector`.
      is_constant_jacobian: whether the log-scale does not depend on y. Default: `False`.
      validate_args: whether to check the bijector that `bijector_fn` returns. Default: `False`.
      unroll_loop: whether the D passes of a callable are unrolled. Default: `False`.
      event_ndims: rank of an event. Default: 1.
      name: name of the bijector. Default: `"masked_autoregressive_flow"`, as in TFP.
      transformer: transformer of the parameters that a Keras layer returns. Default:
        `gx.transformers.Affine()`.
      tolerance: as in `gx.bijectors.Autoregressive`. Default: 0, exact.

    Raises:
      ValueError: if not exactly one of the two functions is given, or a network returns another
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
        self._gives_bijector = bijector_fn is not None
        super().__init__(
            _choose_function(shift_and_log_scale_fn, bijector_fn, transformer, takes_units=False),
            Affine() if transformer is None else transformer,
            event_ndims=event_ndims,
            tolerance=tolerance,
            unroll_loop=unroll_loop,
            is_constant_jacobian=is_constant_jacobian,
            validate_args=validate_args,
            parameters=parameters,
            name=name or "masked_autoregressive_flow",
        )

    def _bijector(self, visible: tf.Tensor, num_units: int, **conditions: Any) -> tfb.Bijector:
        function = self._conditioner
        if isinstance(function, tracking.KerasNetwork):
            return super()._bijector(visible, num_units, **conditions)
        output = function(visible, **conditions)
        if self._gives_bijector:
            return _checked_inner(output, most=0) if self.validate_args else output
        return _shift_and_scale(*_unpacked_pair(output, self._argument, visible, axis=-1))


def _choose_function(
    shift_and_log_scale_fn: Any, bijector_fn: Any, transformer: Any, *, takes_units: bool
) -> Any:
    """Returns the one of two functions that is given.

    Raises:
      ValueError: if not exactly one is given, or a transformer is given with a callable.
      TypeError: if it is not callable, or `transformer` is not a transformer.
    """
    given = [f for f in (shift_and_log_scale_fn, bijector_fn) if f is not None]
    if len(given) != 1:
        raise ValueError(
            "Exactly one of `shift_and_log_scale_fn` and `bijector_fn` should be specified. "
            f"Received: {shift_and_log_scale_fn=}, {bijector_fn=}"
        )
    name = "bijector_fn" if shift_and_log_scale_fn is None else "shift_and_log_scale_fn"
    if not callable(given[0]):
        raise TypeError(checks.message(name, "a Keras layer or callable", given[0]))
    if takes_units:
        refuse_tf_keras(name, given[0])
    if transformer is not None:
        checked_transformer(transformer)
        if not isinstance(given[0], keras.Layer):
            raise ValueError(
                "`transformer` must be None unless the function is a Keras layer: a callable's "
                f"parameters are used as they are given. Received: {transformer=}"
            )
    return given[0]


def _shift_and_scale(shift: tf.Tensor | None, log_scale: tf.Tensor | None) -> tfb.Bijector:
    """Returns the bijector x -> exp(log_scale) * x + shift, as TFP builds it; `None` means zero."""
    parts: list[tfb.Bijector] = []
    if shift is not None:
        parts.append(tfb.Shift(shift))
    if log_scale is not None:
        parts.append(tfb.Scale(log_scale=log_scale))
    return tfb.Chain(parts)


def _unpacked_pair(output: Any, argument: str, visible: tf.Tensor, *, axis: int) -> Any:
    """Returns (shift, log_scale) from a pair, or from a tensor that TFP unstacks along an axis.

    Raises:
      ValueError: if the function returned anything else.
    """
    if tf.is_tensor(output) and _is_stacked(output, visible, axis):
        return tf.unstack(output, num=2, axis=axis)
    if isinstance(output, (list, tuple)) and len(output) == 2:
        return output
    received = f"shape {output.shape}" if tf.is_tensor(output) else type(output).__name__
    raise ValueError(
        f"`{argument}` must return a pair (shift, log_scale), as TFP's functions do. "
        "A network belongs here as a Keras 3 layer, such as gx.networks.MLP or gx.networks.MADE. "
        f"Received: {received}"
    )


def _is_stacked(output: tf.Tensor, visible: tf.Tensor, axis: int) -> bool:
    """Tells whether a tensor may be a stack of two tensors of another's shape."""
    if output.shape.rank is None:
        return True
    same = visible.shape.rank in (None, output.shape.rank - 1)
    return same and output.shape[axis] in (2, None)


def _checked_inner(inner: tfb.Bijector, *, most: int) -> tfb.Bijector:
    """Returns the bijector of a `bijector_fn` after checking its event ranks.

    Raises:
      ValueError: if it changes the rank, or acts on events of a rank above `most`.
    """
    if inner.forward_min_event_ndims != inner.inverse_min_event_ndims:
        raise ValueError(
            "Bijectors which alter `event_ndims` are not supported. "
            f"Received: {inner.forward_min_event_ndims=}, {inner.inverse_min_event_ndims=}"
        )
    if inner.forward_min_event_ndims > most:
        raise ValueError(
            f"Bijectors with `forward_min_event_ndims` > {most} are not supported. "
            f"Received: {inner.forward_min_event_ndims=}"
        )
    return inner
