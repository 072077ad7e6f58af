"""Means, standard deviations and quantiles of single entries, if they can be computed.

Otherwise the functions raise `NotImplementedError`. The results are those of TFP, with two
exceptions. `tfd.Independent` and multivariate normals have quantiles here, of each entry. A
transformed distribution has a mean if its bijector is affine. TFP decides this by
`is_constant_jacobian`, which is also true for some bijectors that are not affine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext.bijectors import Autoregressive, Coupling
from tfp_genext.distributions import binding

# Bijectors that are not affine, but whose `is_constant_jacobian` may be true.
_NEVER_AFFINE = (
    tfb.AbsoluteValue,
    tfb.RealNVP,
    tfb.MaskedAutoregressiveFlow,
    Coupling,
    Autoregressive,
)


def mean(distribution: tfd.Distribution) -> tf.Tensor:
    """Returns the mean, `[*batch, *event]`."""
    if _is_independent(distribution):
        return mean(distribution.distribution)
    if _is_blockwise(distribution):
        return _blocks(distribution, mean)
    if not _is_plainly_transformed(distribution):
        return distribution.mean()
    _require(_is_affine(distribution.bijector), "mean", distribution)
    return distribution.bijector.forward(mean(distribution.distribution))


def stddev(distribution: tfd.Distribution) -> tf.Tensor:
    """Returns the standard deviation of each entry, `[*batch, *event]`."""
    if _is_independent(distribution):
        return stddev(distribution.distribution)
    if _is_blockwise(distribution):
        return _blocks(distribution, stddev)
    if not _is_plainly_transformed(distribution):
        return distribution.stddev()
    bijector = distribution.bijector
    known = _is_affine(bijector) and _acts_on_entries(bijector)
    _require(known, "stddev", distribution)
    # The slope from the log-determinant, because a difference of two values would lose digits.
    anywhere = tf.zeros_like(mean(distribution.distribution))
    slope = tf.exp(bijector.forward_log_det_jacobian(anywhere, event_ndims=0))
    return slope * stddev(distribution.distribution)


def quantiles(distribution: tfd.Distribution, probs: tf.Tensor) -> tf.Tensor:
    """Returns quantiles of each entry, `[Q, *batch, *event]`.

    Args:
      distribution: a distribution with a known event shape.
      probs: numbers in [0, 1], `[Q]`.
    """
    if _is_independent(distribution):
        return quantiles(distribution.distribution, probs)
    if _is_blockwise(distribution):
        return _blocks(distribution, lambda part: quantiles(part, probs), lead=1)
    if isinstance(distribution, tfd.MultivariateNormalLinearOperator):
        normal = tfd.Normal(distribution.mean(), distribution.stddev())
        return quantiles(normal, probs)
    if binding.is_transformed(distribution):
        return _transformed_quantiles(distribution, probs)
    _require(distribution.event_shape.rank == 0, "quantile", distribution)
    ones = [1] * distribution.batch_shape.rank
    return distribution.quantile(tf.reshape(probs, [-1, *ones]))


def _transformed_quantiles(distribution: Any, probs: tf.Tensor) -> tf.Tensor:
    bijector = distribution.bijector
    known = _acts_on_entries(bijector) and not _has(bijector, tfb.AbsoluteValue)
    _require(known, "quantile", distribution)
    base = distribution.distribution
    # A scalar bijector is increasing or decreasing.
    rank = distribution.batch_shape.rank + distribution.event_shape.rank

    def pushed(of: tf.Tensor) -> tf.Tensor:
        found = quantiles(base, of)
        # The bijector may have a batch shape that its base does not have.
        for _ in range(1 + rank - found.shape.rank):
            found = found[:, tf.newaxis]
        return bijector.forward(found)

    low, high = tf.unstack(pushed(tf.constant([0.25, 0.75], base.dtype)))
    return tf.where(high >= low, pushed(probs), pushed(1.0 - probs))


def _blocks(
    distribution: tfd.Blockwise, statistic: Callable[[tfd.Distribution], tf.Tensor], lead: int = 0
) -> tf.Tensor:
    """Returns a statistic of all parts, flattened and concatenated as the events are."""
    parts = []
    for part in distribution.distributions:
        value = statistic(part)
        batch = tf.shape(value)[: lead + part.batch_shape.rank]
        flat = tf.reshape(value, tf.concat([batch, [-1]], axis=0))
        parts.append(tf.cast(flat, distribution.dtype))
    return tf.concat(parts, axis=-1)


# TFP has two classes of some distributions, of which the second has no public name.


def _is_independent(distribution: Any) -> bool:
    return hasattr(distribution, "reinterpreted_batch_ndims")


def _is_blockwise(distribution: Any) -> bool:
    return hasattr(distribution, "distributions")


def _is_plainly_transformed(distribution: Any) -> bool:
    """Tells whether a transformed distribution is not of a TFP class with moments of its own."""
    kind = type(distribution)
    named = getattr(tfd, kind.__name__, None) is kind and kind is not tfd.TransformedDistribution
    return binding.is_transformed(distribution) and not named


def _is_affine(bijector: tfb.Bijector) -> bool:
    return bijector.is_constant_jacobian and not _has(bijector, _NEVER_AFFINE)


def _acts_on_entries(bijector: tfb.Bijector) -> bool:
    return bijector.forward_min_event_ndims == 0 and bijector.inverse_min_event_ndims == 0


def _has(bijector: tfb.Bijector, kinds: Any) -> bool:
    return any(isinstance(part, kinds) for part in (bijector, *bijector.submodules))


def _require(known: bool, what: str, distribution: tfd.Distribution) -> None:
    if not known:
        raise NotImplementedError(f"{what} of {distribution.name}")
