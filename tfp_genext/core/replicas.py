"""What the replicas of `tf.distribute` know of one another.

A replica holds a part of the rows of a batch. With what is here, a step on several of them, however
the rows are divided, is the step of one. Outside of replicas, and for one, nothing is exchanged.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Share:
    """A replica's rows among those of all replicas.

    Args:
      before: how many rows come before them.
      rows: how many they are.
      total: how many all replicas have.
    """

    before: Any
    rows: Any
    total: Any


def number() -> int:
    """Returns how many replicas work in step, as seen from one of them; else 1."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def total(value: tf.Tensor) -> tf.Tensor:
    """Returns the sum of a value over replicas; gradients pass."""
    if number() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def share(rows: Any) -> Share:
    """Returns how a replica's number of rows stands among the others'."""
    if number() == 1:
        return Share(0, rows, rows)
    own = tf.distribute.get_replica_context().replica_id_in_sync_group
    counts = of_all(rows)
    return Share(tf.reduce_sum(counts[:own]), rows, tf.reduce_sum(counts))


def of_all(value: Any) -> tf.Tensor:
    """Returns the whole numbers that replicas have, `[replicas]`."""
    context = tf.distribute.get_replica_context()
    own = tf.one_hot(context.replica_id_in_sync_group, number(), dtype=tf.int32)
    return total(own * value)


def uniform(shape: tf.Tensor, seed: tf.Tensor, dtype: tf.DType, *, axis: int = 0) -> tf.Tensor:
    """Returns numbers in [0, 1) for a replica's rows: its part of what one would draw for all.

    Args:
      shape: what is wanted.
      seed: stateless, the same on all replicas.
      dtype: of the numbers.
      axis: along which the rows stand, 0 or 1. Default: 0.
    """
    own = share(shape[axis])
    whole = tf.concat([shape[:axis], [own.total], shape[axis + 1 :]], axis=0)
    # Named, as XLA's own choice of generator is some fifty times slower on processors.
    drawn = tf.random.stateless_uniform(whole, seed, dtype=dtype, alg="philox")
    if number() == 1:
        return drawn
    rows = slice(own.before, own.before + own.rows)
    return drawn[:, rows] if axis else drawn[rows]


def moments(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns mean and variance of each channel `[C]` of `[..., C]`, over the rows of all."""
    axes = list(range(len(x.shape) - 1))
    if number() == 1:
        return tf.nn.moments(x, axes)
    entries = total(tf.cast(tf.reduce_prod(tf.shape(x)[:-1]), x.dtype))
    mean = total(tf.reduce_sum(x, axes)) / entries
    return mean, total(tf.reduce_sum((x - mean) ** 2, axes)) / entries
