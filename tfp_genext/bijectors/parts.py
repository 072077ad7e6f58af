"""How coupling layers take events apart and put them together again."""

from __future__ import annotations

import abc
from collections.abc import Callable

import numpy as np
import tensorflow as tf


class Parts(abc.ABC):
    """The two parts of an event: what stays and is looked at, and what moves."""

    @abc.abstractmethod
    def split(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns what is looked at, and what the inner bijector acts on."""

    @abc.abstractmethod
    def merge(
        self, masked: tf.Tensor, moved: tf.Tensor, x: tf.Tensor, *, widened: bool
    ) -> tf.Tensor:
        """Returns the event `x` with its moved part replaced.

        Args:
          masked: what was looked at.
          moved: what the inner bijector has made of the rest.
          x: the whole event before.
          widened: whether the moved part may have more leading dimensions than the event.
        """

    @abc.abstractmethod
    def log_det(self, log_det_jacobian: Callable, x: tf.Tensor) -> tf.Tensor:
        """Returns the inner bijector's log-determinant, summed over what moves of the event."""


class AxisParts(Parts):
    """Splits the last axis, and so keeps what does not move out of the inner bijector's work."""

    def __init__(self, mask: np.ndarray, event_ndims: int) -> None:
        self._event_ndims = event_ndims
        self._masked = np.flatnonzero(mask)
        self._moved = np.flatnonzero(~mask)
        count = len(self._masked)
        self._first = bool(mask[:count].all())
        self._last = bool(mask[len(mask) - count :].all())

    def split(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # tf.split, not slices: its gradient is a single concatenation.
        if self._first:
            masked, moved = tf.split(x, [len(self._masked), len(self._moved)], axis=-1)
            return masked, moved
        if self._last:
            moved, masked = tf.split(x, [len(self._moved), len(self._masked)], axis=-1)
            return masked, moved
        return tf.gather(x, self._masked, axis=-1), tf.gather(x, self._moved, axis=-1)

    def merge(
        self, masked: tf.Tensor, moved: tf.Tensor, x: tf.Tensor, *, widened: bool
    ) -> tf.Tensor:
        if widened:
            masked = _match_batch(masked, moved)
        if not self._first and self._last:
            return tf.concat([moved, masked], axis=-1)
        merged = tf.concat([masked, moved], axis=-1)
        if self._first:
            return merged
        return tf.gather(merged, np.argsort(np.r_[self._masked, self._moved]), axis=-1)

    def log_det(self, log_det_jacobian: Callable, x: tf.Tensor) -> tf.Tensor:
        return log_det_jacobian(x, self._event_ndims)


def _match_batch(masked: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
    # A context with more leading dimensions than x widens what moves, and so what stays.
    if masked.shape.rank is None or moved.shape.rank is None:
        return masked
    batch = moved.shape[:-1]
    if batch.is_fully_defined() and masked.shape[:-1] == batch:
        return masked
    return tf.broadcast_to(masked, tf.concat([tf.shape(moved)[:-1], masked.shape[-1:]], axis=0))


class GridParts(Parts):
    """Masks entries anywhere in an event: the rest is looked at as zeros.

    The inner bijector acts on whole events and must be elementwise; what it does where the mask is
    true is dropped.
    """

    def __init__(self, mask: np.ndarray, x: tf.Tensor) -> None:
        event = x.shape[-mask.ndim :]
        # Along channels alone: a side of 1 would take images of any size, and so would the noise.
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

    def merge(
        self, masked: tf.Tensor, moved: tf.Tensor, x: tf.Tensor, *, widened: bool
    ) -> tf.Tensor:
        return tf.where(self._mask, x, moved)

    def log_det(self, log_det_jacobian: Callable, x: tf.Tensor) -> tf.Tensor:
        log_det = log_det_jacobian(x, 0)
        # A bijector of constant Jacobian says it once for all entries.
        log_det = tf.where(self._mask, tf.zeros_like(log_det + x), log_det)
        return tf.reduce_sum(log_det, axis=list(range(-self._mask.ndim, 0)))
