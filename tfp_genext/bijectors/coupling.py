"""The coupling layer: masked units are unchanged and parameterise the others' transformation."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_genext import masks
from tfp_genext.bijectors.conditioner_checks import checked_conditioner
from tfp_genext.core import checks, leading_dims, tracking
from tfp_genext.core.bijector import ConditionerBijector, ValueAndLogDet, known_log_det
from tfp_genext.transformers.base import Transformer, checked_transformer


class Coupling(ConditionerBijector):
    """Coupling layer with any mask, conditioner and transformer.

    With x split into the masked part x0 and the rest x1, and a bijector g of scalars whose
    parameters the conditioner computes from x0 (Dinh et al., 2017, arXiv:1605.08803):

        forward   y0 = x0,  y1 = g(x1; x0)
        inverse   x0 = y0,  x1 = g^-1(y1; y0)
        log-det   sum(log|dg/dx1|)

    Both directions cost one evaluation of the conditioner.

    Args:
      mask: boolean vector `[D]`, True for unchanged units, on the last axis of the event. It may
        also be an array for the whole event, such as `gx.masks.checkerboard`. The conditioner then
        gets zeros for the transformed units, and returns parameters for all units. If no entry is
        True, the conditioner must take a context. If the size D is not known yet, the mask may be a
        function from D to a vector.
      conditioner: a Keras 3 layer, called as `layer(x0, **condition)`, or a callable `(x0, n,
        **condition)`. It must return parameters `[..., n, transformer.params_size]` for the n
        transformed units, or a tuple of tensors `[..., n]`.
      transformer: map from parameters to g, one of `gx.transformers`, or any object with
        `params_size` and `bijector(params)`.
      event_ndims: rank of an event, 3 for images. Default: 1.
      is_constant_jacobian: whether the Jacobian is known not to depend on x. Default: `False`.
      parameters: arguments of a subclass's constructor, as in TFP. Default: those of this one.
      validate_args, name: as in `tfb.Bijector`. The default name is `"coupling"`.

    Raises:
      ValueError: if the mask does not fit the event, or the conditioner returns another size.
      TypeError: if the mask is not boolean, or `transformer` is not a transformer.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    spline = gx.transformers.Spline(num_bins=4)
    network = gx.networks.MLP([2, spline.params_size], hidden_units=[32])
    coupling = gx.bijectors.Coupling([True, False, False], network, spline)
    y = coupling.forward(tf.zeros([5, 3]))
    assert y.shape == [5, 3] and coupling.inverse_log_det_jacobian(y, 1).shape == [5]
    ```
    """

    _network = "gx.networks.MLP"

    def __init__(
        self,
        mask: Any,
        conditioner: Any,
        transformer: Transformer,
        *,
        event_ndims: int = 1,
        is_constant_jacobian: bool = False,
        validate_args: bool = False,
        parameters: dict[str, Any] | None = None,
        name: str = "coupling",
    ) -> None:
        event_ndims = checks.positive_int("event_ndims", event_ndims)
        if not callable(mask):
            mask = masks.hashable(mask, event_ndims, may_be_empty=_takes_context(conditioner))
        parameters = dict(locals()) if parameters is None else parameters
        with tf.name_scope(name) as name:
            self._mask: Any = mask if callable(mask) else np.array(mask)
            super().__init__(
                checked_conditioner("conditioner", conditioner),
                checked_transformer(transformer),
                event_ndims=event_ndims,
                is_constant_jacobian=is_constant_jacobian,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )

    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        parts = self._parts("x", x)
        x0, x1 = parts.split(x)
        g = self._conditioned(x0, x1.shape[-1], **conditions)
        y = parts.merge(x0, g.forward(x1), widened=bool(conditions))
        return y, parts.log_det(g.forward_log_det_jacobian, x1)

    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        parts = self._parts("y", y)
        y0, y1 = parts.split(y)
        g = self._conditioned(y0, y1.shape[-1], **conditions)
        x = parts.merge(y0, g.inverse(y1), widened=bool(conditions))
        return x, parts.log_det(g.inverse_log_det_jacobian, y1)

    def _parts(self, name: str, x: tf.Tensor) -> _Parts:
        checks.event_rank(name, x, self._event_ndims)
        if callable(self._mask):
            size = x.shape[-1] if x.shape.rank else None
            return _AxisParts(self._mask(size), self._event_ndims)
        event = x.shape[-self._mask.ndim :] if x.shape.rank else tf.TensorShape(self._mask.shape)
        if self._mask.ndim > 1:
            return _GridParts(self._mask, event)
        if event[-1] not in (None, self._mask.size):
            raise ValueError(
                f"`{name}` must have events of size {self._mask.size}, that of `mask`. "
                f"Received: shape {x.shape}"
            )
        return _AxisParts(self._mask, self._event_ndims)

    @property
    def static_event_shape(self) -> tf.TensorShape:
        sides = [None] * (self._event_ndims - 1)
        seen = tracking.input_units(self._conditioner)
        if callable(self._mask):
            moved = tracking.output_units(self._conditioner)
            size = None if seen is None or moved is None else seen + moved
            return tf.TensorShape([*sides, size])
        if self._mask.ndim == 1:
            return tf.TensorShape([*sides, self._mask.size])
        # The mask of a grid may have a single channel. The network's input has all channels.
        return tf.TensorShape([*self._mask.shape[:-1], seen])


def _takes_context(conditioner: Any) -> bool:
    return callable(conditioner) and tracking.takes(conditioner, "conditional_input")


class _Parts(abc.ABC):
    """Base class of ways to divide an event into a masked and a transformed part."""

    @abc.abstractmethod
    def split(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the input of the conditioner, and the units to transform."""

    @abc.abstractmethod
    def merge(self, masked: tf.Tensor, moved: tf.Tensor, *, widened: bool) -> tf.Tensor:
        """Returns the event; a context may have added batch dimensions to the transformed units."""

    @abc.abstractmethod
    def log_det(self, method: Callable, x: tf.Tensor) -> tf.Tensor | None:
        """Returns the log-determinant by a method of the transformer's bijector."""


class _AxisParts(_Parts):
    """A split of the last axis; the transformer is only evaluated at the transformed units."""

    def __init__(self, mask: np.ndarray, event_ndims: int) -> None:
        self._event_ndims = event_ndims
        self._masked, self._moved = np.flatnonzero(mask), np.flatnonzero(~mask)
        count = len(self._masked)
        self._first = bool(mask[:count].all())
        self._last = bool(mask[len(mask) - count :].all())

    def split(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # `tf.split` instead of slices, because its gradient is a single concatenation.
        if self._first:
            masked, moved = tf.split(x, [len(self._masked), len(self._moved)], axis=-1)
            return masked, moved
        if self._last:
            moved, masked = tf.split(x, [len(self._moved), len(self._masked)], axis=-1)
            return masked, moved
        return tf.gather(x, self._masked, axis=-1), tf.gather(x, self._moved, axis=-1)

    def merge(self, masked: tf.Tensor, moved: tf.Tensor, *, widened: bool) -> tf.Tensor:
        if widened:
            masked = leading_dims.with_batch_of(masked, moved)
        if not self._first and self._last:
            return tf.concat([moved, masked], axis=-1)
        merged = tf.concat([masked, moved], axis=-1)
        if self._first:
            return merged
        return tf.gather(merged, np.argsort(np.r_[self._masked, self._moved]), axis=-1)

    def log_det(self, method: Callable, x: tf.Tensor) -> tf.Tensor | None:
        return known_log_det(method, x, self._event_ndims)


class _GridParts(_Parts):
    """A mask of any entries of an event; the transformer is evaluated at all, elementwise."""

    def __init__(self, mask: np.ndarray, event: tf.TensorShape) -> None:
        # Masks broadcast over channels only. A side of 1 would match images of any size.
        sides, channels = zip(mask.shape[:-1], event[:-1], strict=True), event[-1]
        fits = all(m == e or e is None for m, e in sides)
        if not fits or mask.shape[-1] not in (1, channels or mask.shape[-1]):
            raise ValueError(
                f"`mask` must broadcast to events of shape {event}, along their last axis. "
                f"Received: shape {mask.shape}"
            )
        self._mask = mask

    def split(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.where(self._mask, x, tf.zeros_like(x)), x

    def merge(self, masked: tf.Tensor, moved: tf.Tensor, *, widened: bool) -> tf.Tensor:
        return tf.where(self._mask, masked, moved)

    def log_det(self, method: Callable, x: tf.Tensor) -> tf.Tensor | None:
        log_det = known_log_det(method, x, 0)
        if log_det is None:
            return None
        # A bijector with a constant Jacobian returns one number for all entries.
        log_det = tf.where(self._mask, tf.zeros_like(log_det + x), log_det)
        return tf.reduce_sum(log_det, axis=list(range(-self._mask.ndim, 0)))
