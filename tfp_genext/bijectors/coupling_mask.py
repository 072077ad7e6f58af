"""The masking that all coupling layers share."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext import masks
from tfp_genext.bijectors.hidden_variables import ShowsVariables
from tfp_genext.bijectors.parts import AxisParts, GridParts, Parts
from tfp_genext.core import checks, tracking
from tfp_genext.core.bijector import OneEvaluationBijector, ValueAndLogDet, log_det_if_any


class Coupling(OneEvaluationBijector, ShowsVariables):
    """The masking shared by all coupling layers; abstract.

    With x split into the masked part x0 and the rest x1, and a bijector g whose parameters come
    from x0 alone:

        forward   y0 = x0,  y1 = g(x1; x0)
        inverse   x0 = y0,  x1 = g^-1(y1; y0)
        log-det   that of g(.; x0)

    Both directions cost one evaluation of the conditioner.
    """

    _network = "gx.networks.MLP"

    def __init__(
        self,
        num_masked: int | None,
        fraction_masked: float | None,
        mask: Any,
        conditioner: Any,
        *,
        event_ndims: int = 1,
        **kwargs: Any,
    ) -> None:
        if mask is not None:
            if num_masked is not None or fraction_masked is not None:
                raise ValueError(
                    "Exactly one of `num_masked`, `fraction_masked` and `mask` should be specified."
                    f" Received: {num_masked=}, {fraction_masked=}, {mask=}"
                )
            mask = masks.coupling_mask(mask, event_ndims)
        else:
            _check_mask_size(num_masked, fraction_masked)
        self._num_masked = None if num_masked is None else int(num_masked)
        self._fraction_masked = None if fraction_masked is None else float(fraction_masked)
        self._mask = mask
        self._input_depth: int | None = None
        self._conditioner = conditioner
        self._event_ndims = event_ndims
        super().__init__(forward_min_event_ndims=event_ndims, **kwargs)
        self._watch(conditioner)

    @abc.abstractmethod
    def _bijector(self, x0: tf.Tensor, num_units: int, **conditions: Any) -> tfb.Bijector:
        """Returns the bijector of the `num_units` units that are not masked."""

    @property
    def conditional_event_shape(self) -> tuple[int, ...] | None:
        return tracking.conditional_event_shape(self._conditioner)

    def takes(self, condition: str) -> bool:
        return tracking.takes(self._conditioner, condition)

    @property
    def static_event_shape(self) -> tf.TensorShape:
        sides = [None] * (self._event_ndims - 1)
        seen = tracking.seen_units(self._conditioner)
        if self._mask is None:
            moved = tracking.moved_units(self._conditioner)
            size = None if seen is None or moved is None else seen + moved
            return tf.TensorShape([*sides, size])
        if self._mask.ndim == 1:
            return tf.TensorShape([*sides, self._mask.size])
        # The mask of a grid may have one channel for all of them; the network sees them all.
        return tf.TensorShape([*self._mask.shape[:-1], seen])

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

    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        parts, x0, x1 = self._split("x", x)
        inner = self._conditioned(x0, x1.shape[-1], **conditions)
        y = parts.merge(x0, inner.forward(x1), x, widened=bool(conditions))
        return y, log_det_if_any(lambda: parts.log_det(inner.forward_log_det_jacobian, x1))

    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        parts, y0, y1 = self._split("y", y)
        inner = self._conditioned(y0, y1.shape[-1], **conditions)
        x = parts.merge(y0, inner.inverse(y1), y, widened=bool(conditions))
        return x, log_det_if_any(lambda: parts.log_det(inner.inverse_log_det_jacobian, y1))

    def _split(self, name: str, x: tf.Tensor) -> tuple[Parts, tf.Tensor, tf.Tensor]:
        checks.event_rank(name, x, self._event_ndims)
        parts = self._parts(x)
        return parts, *parts.split(x)

    def _parts(self, x: tf.Tensor) -> Parts:
        if self._mask is not None and self._mask.ndim > 1:
            return GridParts(self._mask, x)
        size = None if x.shape.rank is None else x.shape[-1]
        if size is None:
            # As in TFP, the size that an earlier call has seen.
            size = self._input_depth if self._mask is None else len(self._mask)
            if size is None:
                raise NotImplementedError(
                    "Rightmost dimension must be known prior to graph execution. "
                    f"Received: shape {x.shape}"
                )
        return AxisParts(self.mask(size), self._event_ndims)


def _check_mask_size(num_masked: Any, fraction_masked: Any) -> None:
    received = f"Received: num_masked={num_masked!r}, fraction_masked={fraction_masked!r}"
    if num_masked is not None and fraction_masked is not None:
        raise ValueError(
            f"Exactly one of `num_masked` and `fraction_masked` should be specified. {received}"
        )
    if num_masked is not None:
        if not _is_whole(num_masked):
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


def _is_whole(value: Any) -> bool:
    """Tells whether a value is a whole number; a float may be one, as in TFP."""
    if isinstance(value, (bool, np.bool_, str, bytes)):
        return False
    try:
        return bool(int(value) == value)
    except (TypeError, ValueError, OverflowError):
        return False
