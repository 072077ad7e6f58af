"""Coupling layers: the masked half stays, and says how the other half moves."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext import checks, masks, tracking
from tfp_genext.bijectors import conditioner as conditioners
from tfp_genext.bijectors.base import OneEvaluationBijector
from tfp_genext.transformers import Additive, Affine, Transformer


class Coupling(OneEvaluationBijector):
    """The masking shared by all coupling layers; abstract.

    With x split into the masked part x0 and the rest x1, and a bijector g whose parameters come
    from x0 alone:

        forward   y0 = x0,  y1 = g(x1; x0)
        inverse   x0 = y0,  x1 = g^-1(y1; y0)
        log-det   that of g(.; x0)

    Both directions cost one evaluation of the conditioner.
    """

    def __init__(
        self,
        num_masked: int | None,
        fraction_masked: float | None,
        mask: Any,
        conditioner: Any,
        **kwargs: Any,
    ) -> None:
        if mask is not None:
            if num_masked is not None or fraction_masked is not None:
                raise ValueError(
                    "Exactly one of `num_masked`, `fraction_masked` and `mask` should be specified."
                    f" Received: {num_masked=}, {fraction_masked=}, {mask=}"
                )
            mask = masks.coupling_mask(mask)
        else:
            _check_mask_size(num_masked, fraction_masked)
        self._num_masked = None if num_masked is None else int(num_masked)
        self._fraction_masked = None if fraction_masked is None else float(fraction_masked)
        self._mask = mask
        self._input_depth: int | None = None
        self._conditioner = conditioner
        super().__init__(forward_min_event_ndims=1, **kwargs)

    @abc.abstractmethod
    def _bijector(self, x0: tf.Tensor, num_units: int, **conditions: Any) -> tfb.Bijector:
        """Returns the bijector of the `num_units` units that are not masked."""

    @property
    def conditional_event_shape(self) -> tuple[int, ...] | None:
        return tracking.conditional_event_shape(self._conditioner)

    def takes(self, condition: str) -> bool:
        return tracking.takes(self._conditioner, condition)

    def mask(self, size: int) -> np.ndarray:
        """Returns the boolean mask `[size]`: True where a unit stays and is looked at.

        Raises:
          ValueError: where the mask does not fit events of that size.
        """
        if self._mask is not None:
            if self._mask.shape != (size,):
                raise ValueError(
                    f"`mask` must be of the event size {size}. Received: size {self._mask.size}"
                )
            return self._mask
        self._input_depth = size
        masked = self._masked_size
        if abs(masked) >= size:
            raise ValueError(
                f"Number of masked units {masked} must be smaller than the event size {size}. "
                f"Received: num_masked={self._num_masked}, fraction_masked={self._fraction_masked}"
            )
        return masks.prefix_mask(size, masked)

    @property
    def _masked_size(self) -> int:
        # The signed mask size under TFP's name: its users and tests read it.
        if self._num_masked is not None:
            return self._num_masked
        return int(np.round((self._input_depth or 0) * (self._fraction_masked or 0.0)))

    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> tuple[tf.Tensor, tf.Tensor]:
        parts, x0, x1 = self._split(x)
        inner = self._bijector(x0, x1.shape[-1], **conditions)
        return parts.merge(x0, inner.forward(x1)), inner.forward_log_det_jacobian(x1, 1)

    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> tuple[tf.Tensor, tf.Tensor]:
        parts, y0, y1 = self._split(y)
        inner = self._bijector(y0, y1.shape[-1], **conditions)
        return parts.merge(y0, inner.inverse(y1)), inner.inverse_log_det_jacobian(y1, 1)

    def _split(self, x: tf.Tensor) -> tuple[_Parts, tf.Tensor, tf.Tensor]:
        if x.shape.rank == 0:
            raise ValueError("`x` must be of shape [..., D]. Received: a scalar")
        size = None if x.shape.rank is None else x.shape[-1]
        if size is None:
            raise NotImplementedError(
                "Rightmost dimension must be known prior to graph execution. "
                f"Received: shape {x.shape}"
            )
        parts = _Parts(self.mask(size))
        return parts, *parts.split(x)


class _Parts:
    """Splits the last axis by a mask, and puts the two halves together again."""

    def __init__(self, mask: np.ndarray) -> None:
        self._masked = np.flatnonzero(mask)
        self._moved = np.flatnonzero(~mask)
        count = len(self._masked)
        self._first = bool(mask[:count].all())
        self._last = bool(mask[len(mask) - count :].all())

    def split(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if self._first:
            return x[..., : len(self._masked)], x[..., len(self._masked) :]
        if self._last:
            return x[..., len(self._moved) :], x[..., : len(self._moved)]
        return tf.gather(x, self._masked, axis=-1), tf.gather(x, self._moved, axis=-1)

    def merge(self, masked: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
        masked = _match_batch(masked, moved)
        if not self._first and self._last:
            return tf.concat([moved, masked], axis=-1)
        merged = tf.concat([masked, moved], axis=-1)
        if self._first:
            return merged
        return tf.gather(merged, np.argsort(np.r_[self._masked, self._moved]), axis=-1)


def _match_batch(masked: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
    # A context with more leading dimensions than x widens what moves, and so what stays.
    if masked.shape.rank is None or moved.shape.rank is None:
        return masked
    batch = moved.shape[:-1]
    if masked.shape[:-1].is_compatible_with(batch) and masked.shape.rank == moved.shape.rank:
        return masked
    return tf.broadcast_to(masked, tf.concat([tf.shape(moved)[:-1], masked.shape[-1:]], axis=0))


class AffineCoupling(Coupling):
    """Affine coupling layer of Real NVP, on Keras 3 networks; a drop-in for `tfb.RealNVP`.

    With x split into the masked part x0 and the rest x1 (Dinh et al., 2017 [1]):

        forward   y0 = x0,  y1 = exp(log_scale(x0)) * x1 + shift(x0)
        inverse   x0 = y0,  x1 = (y1 - shift(y0)) * exp(-log_scale(y0))
        log-det   sum(log_scale(x0))

    Both directions cost one evaluation of the network.

    Code written for `tfb.RealNVP` works after changing the name: every keyword means the same.
    What is new is that `shift_and_log_scale_fn` may be a Keras 3 layer, called as
    `layer(x0, **condition)`, whose variables the bijector shows and trains.

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
      mask: boolean vector `[D]`, True where a unit stays; instead of `num_masked`.
      transformer: what the parameters of a Keras layer mean. Default: `gx.transformers.Affine()`,
        a shift and the exponential of a bounded log-scale.

    Raises:
      ValueError: where not exactly one way of masking and one of the two functions is given; where
        the mask does not fit the event; where a network returns another size.
      TypeError: where `num_masked` is no integer, `fraction_masked` no float or `mask` not boolean.

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
    ) -> None:
        parameters = dict(locals())
        name = name or "real_nvp"
        with tf.name_scope(name) as name:
            self._gives_bijector = bijector_fn is not None
            super().__init__(
                num_masked,
                fraction_masked,
                mask,
                _one_function(shift_and_log_scale_fn, bijector_fn, transformer),
                is_constant_jacobian=is_constant_jacobian,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )
            self._transformer = transformer or Affine()

    def _bijector(self, x0: tf.Tensor, num_units: int, **conditions: Any) -> tfb.Bijector:
        function = self._conditioner
        if isinstance(function, tracking.KerasNetwork):
            return conditioners.transformed_params(
                function, self._transformer, x0, num_units, **conditions
            )
        if self._gives_bijector:
            inner = function(x0, num_units, **conditions)
            return _check_inner(inner) if self.validate_args else inner
        return conditioners.shift_and_scale(*function(x0, num_units, **conditions))


class AdditiveCoupling(Coupling):
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
      mask: boolean vector `[D]`, True where a unit stays; instead of `num_masked`.

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
    ) -> None:
        parameters = dict(locals())
        name = name or "additive_coupling"
        if not callable(conditioner):
            raise ValueError(
                checks.message("conditioner", "a Keras layer or callable", conditioner)
            )
        with tf.name_scope(name) as name:
            super().__init__(
                num_masked,
                fraction_masked,
                mask,
                tracking.track(conditioner),
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )

    def _bijector(self, x0: tf.Tensor, num_units: int, **conditions: Any) -> tfb.Bijector:
        function = self._conditioner
        if isinstance(function, tracking.KerasNetwork):
            return conditioners.transformed_params(
                function, Additive(), x0, num_units, **conditions
            )
        return conditioners.shift_and_scale(function(x0, num_units, **conditions), None)


def _check_mask_size(num_masked: Any, fraction_masked: Any) -> None:
    received = f"Received: num_masked={num_masked!r}, fraction_masked={fraction_masked!r}"
    if num_masked is not None and fraction_masked is not None:
        raise ValueError(
            f"Exactly one of `num_masked` and `fraction_masked` should be specified. {received}"
        )
    if num_masked is not None:
        if int(num_masked) != num_masked:
            raise TypeError(
                f"`num_masked` must be an integer. Got: {num_masked} of type {type(num_masked)}. "
                f"{received}"
            )
        return
    if not np.issubdtype(type(fraction_masked), np.floating):
        raise TypeError(
            f"`fraction_masked` must be a float. Got: {fraction_masked} of type "
            f"{type(fraction_masked)}. {received}"
        )
    if not abs(fraction_masked) < 1.0:
        raise ValueError(
            f"`fraction_masked` must be in (-1, 1), but is {fraction_masked}. {received}"
        )


def _one_function(shift_and_log_scale_fn: Any, bijector_fn: Any, transformer: Any) -> Any:
    given = [f for f in (shift_and_log_scale_fn, bijector_fn) if f is not None]
    if len(given) != 1:
        raise ValueError(
            "Exactly one of `shift_and_log_scale_fn` and `bijector_fn` should be specified. "
            f"Received: {shift_and_log_scale_fn=}, {bijector_fn=}"
        )
    function = tracking.track(given[0])
    if transformer is not None and not isinstance(function, tracking.KerasNetwork):
        raise ValueError(
            "`transformer` must be None unless the function is a Keras layer: a callable's "
            f"parameters are used as they are given. Received: {transformer=}"
        )
    return function


def _check_inner(inner: tfb.Bijector) -> tfb.Bijector:
    if inner.forward_min_event_ndims != inner.inverse_min_event_ndims:
        raise ValueError(
            "Bijectors which alter `event_ndims` are not supported. "
            f"Received: {inner.forward_min_event_ndims=}, {inner.inverse_min_event_ndims=}"
        )
    if inner.forward_min_event_ndims > 1:
        raise ValueError(
            "Bijectors with `forward_min_event_ndims` > 1 are not supported. "
            f"Received: {inner.forward_min_event_ndims=}"
        )
    return inner
