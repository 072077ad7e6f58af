"""Flattening of leading dimensions to one, and their restoration."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def with_event_shape(x: tf.Tensor, event_shape: tf.TensorShape) -> tf.Tensor:
    """Returns a tensor whose static shape ends in `event_shape`.

    It is returned unchanged if its rank is unknown, its event shape is known, or another shape.
    """
    if x.shape.rank is None or event_shape.rank is None or x.shape.rank < event_shape.rank:
        return x
    first = x.shape.rank - event_shape.rank
    known = x.shape[first:]
    if known.is_fully_defined() or not known.is_compatible_with(event_shape):
        return x
    return tf.ensure_shape(x, x.shape[:first].concatenate(event_shape))


@dataclasses.dataclass(frozen=True)
class Batch:
    """Leading dimensions, as a static shape and as a tensor."""

    static: tf.TensorShape
    dynamic: tf.Tensor | list[int]

    def broadcast(self, other: Batch) -> Batch:
        """Returns the dimensions to which both batches broadcast."""
        static = tf.broadcast_static_shape(self.static, other.static)
        if static.is_fully_defined():
            return Batch(static, static.as_list())
        left, right = _tensor(self.dynamic), _tensor(other.dynamic)
        return Batch(static, tf.broadcast_dynamic_shape(left, right))

    @property
    def rows(self) -> tf.Tensor | int:
        """Number of events. It is not inferred by `tf.reshape`, which fails for empty events."""
        if isinstance(self.dynamic, list):
            return math.prod(self.dynamic)
        return tf.reduce_prod(self.dynamic)

    def restored(self, output: Any, dtype: tf.DType) -> Any:
        """Reshapes tensors `[N, ...]` to the leading dimensions of this batch, and casts them."""
        return tf.nest.map_structure(lambda t: self._restore(tf.cast(t, dtype)), output)

    def _restore(self, x: tf.Tensor) -> tf.Tensor:
        if self.static.rank == 1:
            return x
        event = x.shape[1:]
        shape = self.before(event.as_list() if event.is_fully_defined() else tf.shape(x)[1:])
        return tf.ensure_shape(tf.reshape(x, shape), self.static.concatenate(event))

    def before(self, event: tf.Tensor | list[int]) -> tf.Tensor | list[int]:
        """Returns the full shape of these leading dimensions and an event."""
        if isinstance(self.dynamic, list) and isinstance(event, list):
            return [*self.dynamic, *event]
        return tf.concat([_tensor(self.dynamic), _tensor(event)], axis=0)


class Events:
    """A tensor of leading batch dimensions followed by one event.

    Args:
      value: `[..., *event]`.
      event_ndims: rank of an event.
    """

    def __init__(self, value: tf.Tensor, event_ndims: int) -> None:
        if value.shape.rank is None:
            split, static, event = tf.rank(value) - event_ndims, value.shape, None
        else:
            split = value.shape.rank - event_ndims
            static, event = value.shape[:split], value.shape[split:]
        self.value = value
        self.static_event = tf.TensorShape([None] * event_ndims) if event is None else event
        self.event = _sizes(value, event, slice(split, None))
        self.batch = Batch(static, _sizes(value, static, slice(None, split)))

    def flatten(self, batch: Batch) -> tf.Tensor:
        """Returns the value broadcast to the leading dimensions `batch`, flattened to one."""
        value = self.value
        if self.batch is not batch and not _identical(self.batch.static, batch.static):
            value = tf.broadcast_to(value, batch.before(self.event))
        if batch.static.rank == 1:
            return value
        rows = tf.reshape(value, Batch(tf.TensorShape([None]), [batch.rows]).before(self.event))
        return with_event_shape(rows, self.static_event)


def flattened(inputs: Sequence[Events]) -> tuple[Batch, list[tf.Tensor]]:
    """Returns the common leading dimensions of all inputs, and each input as rows `[N, ...]`."""
    batch = functools.reduce(Batch.broadcast, [events.batch for events in inputs])
    return batch, [events.flatten(batch) for events in inputs]


def _sizes(value: tf.Tensor, static: tf.TensorShape | None, part: slice) -> tf.Tensor | list[int]:
    """Returns some dimensions of a tensor, as a list if all are known."""
    if static is not None and static.is_fully_defined():
        return static.as_list()
    return tf.shape(value)[part]


def _tensor(sizes: tf.Tensor | list[int]) -> tf.Tensor:
    return tf.convert_to_tensor(sizes, tf.int32)


def _identical(a: tf.TensorShape, b: tf.TensorShape) -> bool:
    return a.is_fully_defined() and b.is_fully_defined() and a.as_list() == b.as_list()


def with_batch_of(x: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Returns `[..., D]` broadcast to the leading dimensions of `[*batch, E]`."""
    if x.shape.rank is None or other.shape.rank is None:
        return x
    batch = other.shape[:-1]
    if batch.is_fully_defined() and x.shape[:-1] == batch:
        return x
    shape = tf.concat([tf.shape(other)[:-1], tf.shape(x)[-1:]], axis=0)
    return with_event_shape(tf.broadcast_to(x, shape), x.shape[-1:])
