"""Communication between the replicas of `tf.distribute`.

Each replica has a part of the rows of a batch. With these functions a step on several replicas
gives the same result as a step on one, however the rows are divided. With a single replica nothing
is communicated.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Share:
    """The position of a replica's rows among those of all replicas.

    Args:
      before: number of rows of the replicas before this one.
      rows: number of rows of this replica.
      total: number of rows of all replicas.
    """

    before: Any
    rows: Any
    total: Any


def count() -> int:
    """Returns the number of replicas in sync, as seen from one of them; 1 outside of replicas."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def total(value: tf.Tensor) -> tf.Tensor:
    """Returns the sum of a value over replicas, with gradients."""
    if count() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def own_rows(rows: Any) -> Share:
    """Returns the position of this replica's rows, given their number."""
    if count() == 1:
        return Share(0, rows, rows)
    own = tf.distribute.get_replica_context().replica_id_in_sync_group
    counts = gather(rows)
    return Share(tf.reduce_sum(counts[:own]), rows, tf.reduce_sum(counts))


def gather(value: Any) -> tf.Tensor:
    """Gathers an integer of each replica, `[replicas]`."""
    context = tf.distribute.get_replica_context()
    own = tf.one_hot(context.replica_id_in_sync_group, count(), dtype=tf.int32)
    return total(own * value)


def uniform(shape: tf.Tensor, seed: tf.Tensor, dtype: tf.DType, *, axis: int = 0) -> tf.Tensor:
    """Returns uniform numbers in [0, 1) for this replica's rows of the batch.

    They are the part of the numbers that a single device would draw for the whole batch.

    Args:
      shape: shape of the result.
      seed: stateless seed, the same on all replicas.
      dtype: dtype of the numbers.
      axis: axis of the rows, 0 or 1. Default: 0.
    """
    own = own_rows(shape[axis])
    whole = tf.concat([shape[:axis], [own.total], shape[axis + 1 :]], axis=0)
    # Explicit, because XLA's default generator is some fifty times slower on CPUs.
    drawn = tf.random.stateless_uniform(whole, seed, dtype=dtype, alg="philox")
    if count() == 1:
        return drawn
    rows = slice(own.before, own.before + own.rows)
    return drawn[:, rows] if axis else drawn[rows]


def moments(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns mean and variance `[C]` of each channel of `[..., C]`, over all replicas."""
    axes = list(range(len(x.shape) - 1))
    if count() == 1:
        return tf.nn.moments(x, axes)
    entries = total(tf.cast(tf.reduce_prod(tf.shape(x)[:-1]), x.dtype))
    mean = total(tf.reduce_sum(x, axes)) / entries
    return mean, total(tf.reduce_sum((x - mean) ** 2, axes)) / entries
