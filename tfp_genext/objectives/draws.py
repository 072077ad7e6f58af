"""Random draws that do not depend on how many replicas share a batch.

Under `tf.distribute` each replica holds a part of the rows, and all of them the same seed. A
replica draws the noise of the whole batch and keeps what belongs to its rows: so a step on several
devices is the step of one. Noise is cheap beside the networks that it goes through.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd


def sample(distribution: tfd.Distribution, shape: list[Any], seed: Any) -> tf.Tensor:
    """Returns samples `[*shape, *batch, *event]`, the batch being this replica's rows."""
    replicas, own = _replica()
    if replicas == 1:
        return _sample(distribution, shape, seed)
    return tf.gather(_sample(distribution, [*shape, replicas], seed), own, axis=len(shape))


def sample_rows(distribution: tfd.Distribution, rows: Any, seed: Any) -> tf.Tensor:
    """Returns samples `[rows, *event]` of a single distribution, for this replica's rows."""
    replicas, own = _replica()
    if replicas == 1:
        return _sample(distribution, [rows], seed)
    return tf.gather(_sample(distribution, [replicas, rows], seed), own)


def sample_and_log_prob(
    distribution: tfd.Distribution, shape: list[Any], seed: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns what `sample` does, and log-densities `[*shape, *batch]`."""
    if _is_flow(distribution):
        # From below: a flow whose inverse is dear must not be asked for it.
        z, log_prob = sample_and_log_prob(distribution.distribution, shape, seed)
        event_ndims = len(distribution.distribution.event_shape)
        x = distribution.bijector.forward(z)
        return x, log_prob - distribution.bijector.forward_log_det_jacobian(z, event_ndims)
    x = sample(distribution, shape, seed)
    return x, distribution.log_prob(x)


def entries(distribution: tfd.Distribution) -> tfd.Distribution | None:
    """Returns the distributions of the entries of an event, where these are independent."""
    if is_independent(distribution):
        return distribution.distribution
    if isinstance(distribution, tfd.MultivariateNormalDiag):
        return tfd.Normal(distribution.mean(), distribution.stddev())
    if isinstance(distribution, tfd.Sample) and distribution.distribution.batch_shape == []:
        return distribution.distribution
    return None


def is_independent(distribution: tfd.Distribution) -> bool:
    """Tells whether a distribution is a `tfd.Independent`, whose class TFP makes in two kinds."""
    return hasattr(distribution, "reinterpreted_batch_ndims")


def _sample(distribution: tfd.Distribution, shape: list[Any], seed: Any) -> tf.Tensor:
    normal = entries(distribution)
    if not isinstance(normal, tfd.Normal):
        return distribution.sample(shape, seed=seed)
    whole = tf.concat(
        [shape, distribution.batch_shape_tensor(), distribution.event_shape_tensor()], axis=0
    )
    # Named, as XLA's own choice of generator is some fifty times slower on processors.
    noise = tf.random.stateless_normal(whole, seed, dtype=distribution.dtype, alg="philox")
    samples = normal.loc + normal.scale * noise
    batch_and_event = distribution.batch_shape.concatenate(distribution.event_shape)
    return tf.ensure_shape(samples, [*[None] * len(shape), *batch_and_event])


def _replica() -> tuple[int, Any]:
    context = tf.distribute.get_replica_context()
    if context is None:
        return 1, 0
    return context.num_replicas_in_sync, context.replica_id_in_sync_group


def _is_flow(distribution: tfd.Distribution) -> bool:
    bijector = getattr(distribution, "bijector", None)
    if not isinstance(bijector, tfb.Bijector):
        return False
    return distribution.distribution.batch_shape.is_compatible_with(distribution.batch_shape)
