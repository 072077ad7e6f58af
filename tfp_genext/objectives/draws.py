"""Random draws that do not depend on the number of replicas that share a batch.

Under `tf.distribute` each replica has a part of the rows, and all replicas have the same seed. A
replica therefore draws the noise of the whole batch and keeps that of its rows, so that a step on
several devices equals the step on one. Drawing noise is cheap compared to the networks.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext.core import replicas


def sample(distribution: tfd.Distribution, number: Any, seed: Any) -> tf.Tensor:
    """Returns samples `[number, *batch, *event]`, for this replica's rows of the batch."""
    if replicas.count() == 1:
        return _sample(distribution, [number], seed)
    own = replicas.own_rows(distribution.batch_shape_tensor()[0])
    normal = entries(distribution)
    if isinstance(normal, tfd.Normal):
        shape = tf.concat([[number, own.total], distribution.event_shape_tensor()], axis=0)
        noise = _normal(shape, seed, distribution.dtype)
        return normal.loc + normal.scale * noise[:, own.before : own.before + own.rows]
    # Other distributions match the draws of a single device only if all parts have equal size.
    # Otherwise each replica gets its own seed.
    even = own.total == replicas.count() * own.rows
    seed = tf.where(even, seed, tf.random.experimental.stateless_fold_in(seed, own.before + 1))
    drawn = _sample(distribution, [number, replicas.count()], seed)
    return drawn[:, tf.where(even, own.before // tf.maximum(own.rows, 1), 0)]


def sample_rows(distribution: tfd.Distribution, rows: Any, seed: Any) -> tf.Tensor:
    """Returns samples `[rows, *event]` of a single distribution, for this replica's rows."""
    own = replicas.own_rows(rows)
    # Drawing more rows keeps the first ones, because generators produce numbers in order.
    return _sample(distribution, [own.before + own.rows], seed)[own.before :]


def sample_and_log_prob(
    distribution: tfd.Distribution, number: Any, seed: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns samples as `sample` does, and their log-densities `[number, *batch]`."""
    if _is_flow(distribution):
        # From the base upwards, because the inverse of a flow may be expensive.
        z, log_prob = sample_and_log_prob(distribution.distribution, number, seed)
        event_ndims = len(distribution.distribution.event_shape)
        x = distribution.bijector.forward(z)
        return x, log_prob - distribution.bijector.forward_log_det_jacobian(z, event_ndims)
    x = sample(distribution, number, seed)
    return x, distribution.log_prob(x)


def entries(distribution: tfd.Distribution) -> tfd.Distribution | None:
    """Returns the scalar distributions of an event's entries if these are independent."""
    if is_independent(distribution):
        return distribution.distribution
    if isinstance(distribution, tfd.MultivariateNormalDiag):
        return tfd.Normal(distribution.mean(), distribution.stddev())
    if isinstance(distribution, tfd.Sample) and distribution.distribution.batch_shape == []:
        return distribution.distribution
    return None


def is_independent(distribution: tfd.Distribution) -> bool:
    """Tells whether a distribution is a `tfd.Independent`; TFP has two such classes."""
    return hasattr(distribution, "reinterpreted_batch_ndims")


def _sample(distribution: tfd.Distribution, shape: list[Any], seed: Any) -> tf.Tensor:
    normal = entries(distribution)
    if not isinstance(normal, tfd.Normal):
        return distribution.sample(shape, seed=seed)
    whole = tf.concat(
        [shape, distribution.batch_shape_tensor(), distribution.event_shape_tensor()], axis=0
    )
    noise = _normal(whole, seed, distribution.dtype)
    samples = normal.loc + normal.scale * noise
    batch_and_event = distribution.batch_shape.concatenate(distribution.event_shape)
    return tf.ensure_shape(samples, [*[None] * len(shape), *batch_and_event])


def _is_flow(distribution: tfd.Distribution) -> bool:
    bijector = getattr(distribution, "bijector", None)
    if not isinstance(bijector, tfb.Bijector):
        return False
    return distribution.distribution.batch_shape.is_compatible_with(distribution.batch_shape)


def _normal(shape: tf.Tensor, seed: Any, dtype: tf.DType) -> tf.Tensor:
    # Explicit, because XLA's default generator is some fifty times slower on CPUs.
    return tf.random.stateless_normal(shape, seed, dtype=dtype, alg="philox")
