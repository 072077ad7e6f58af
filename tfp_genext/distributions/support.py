"""Distributions with density 0 outside their support, for which TFP's formulas give NaN."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext.bijectors import Squeeze, conditioning
from tfp_genext.core import checks, hosts
from tfp_genext.core.bijector import OneEvaluationBijector
from tfp_genext.saving.classes import register


def log_prob_inside(
    log_prob: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, inside: tf.Tensor, interior: Any
) -> tf.Tensor:
    """Returns log-densities that are -inf outside the support, with gradient 0, and NaN for NaN.

    Args:
      log_prob: log-density of entries inside the support.
      x: entries.
      inside: booleans of the shape of x, true inside the support.
      interior: an entry inside the support, which replaces those outside in the formula.
    """
    interior = tf.cast(interior, x.dtype)
    value = log_prob(tf.where(inside, x, interior))
    outside = tf.where(tf.math.is_nan(x), np.nan, -np.inf)
    return tf.where(inside, value, tf.cast(outside, value.dtype))


class _ZeroOutside(hosts.TransformedDistribution):
    """A transformed distribution with a log-density of -inf outside the image of its bijector.

    An entry is outside the image, or on its boundary, if the inverse of a fixed outer bijector,
    such as `tfb.Exp` or `tfb.Sigmoid`, is not finite there.
    """

    def _log_prob(self, y: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        if y.shape.rank is not None:
            checks.ends_in("value", y.shape, self.event_shape.as_list())
        log_prob = functools.partial(super()._log_prob, **kwargs)
        return log_prob_of_image(log_prob, fixed_outer(self.bijector), y, len(self.event_shape))

    def _prob(self, y: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        return tf.exp(self._log_prob(y, **kwargs))


ZeroOutside = register("gx.support.ZeroOutside")(_ZeroOutside)


def log_prob_of_image(
    log_prob: Callable[[tf.Tensor], tf.Tensor],
    outer: list[tfb.Bijector],
    y: tf.Tensor,
    event_ndims: int,
) -> tf.Tensor:
    """Returns log-densities of events: -inf outside the image of fixed outer bijectors.

    Args:
      log_prob: log-density of events inside the image.
      outer: the fixed outer bijectors, outermost first.
      y: events `[..., *event]`.
      event_ndims: rank of an event.
    """
    inside, safe = _inside_image(outer, y, event_ndims)
    value = log_prob(safe)
    unknown = tf.reduce_any(tf.math.is_nan(y), axis=list(range(-event_ndims, 0)))
    outside = tf.cast(tf.where(unknown, np.nan, -np.inf), value.dtype)
    return tf.where(inside, value, outside)


def transformed(
    base: tfd.Distribution, bijector: tfb.Bijector, **options: Any
) -> tfd.TransformedDistribution:
    """Returns a transformed distribution whose density is 0 outside the image of its bijector.

    If no fixed outer bijector bounds the image, the result is a `tfd.TransformedDistribution`.

    Args:
      base: the distribution of noise.
      bijector: the map from noise to data.
      **options: further arguments of `tfd.TransformedDistribution`.
    """
    kind = ZeroOutside if fixed_outer(bijector) else tfd.TransformedDistribution
    return kind(base, bijector, **options)


def fixed_outer(bijector: tfb.Bijector) -> list[tfb.Bijector]:
    """Returns the outer members of a bijector that have no variables and bound its image.

    They are in order, outermost first. The list is empty if all of them map onto the real numbers.
    """
    return _up_to_a_bound(_without_variables(bijector))


def fixed_outer_of(distribution: Any) -> list[tfb.Bijector]:
    """Returns the fixed outer bijectors of a distribution and of its bases."""
    outer: list[tfb.Bijector] = []
    while isinstance(getattr(distribution, "bijector", None), tfb.Bijector):
        outer += _without_variables(distribution.bijector)
        if distribution.bijector.variables:
            break
        distribution = distribution.distribution
    return _up_to_a_bound(outer)


def _up_to_a_bound(outer: list[tfb.Bijector]) -> list[tfb.Bijector]:
    while outer and not _bounds(outer[-1]):
        outer = outer[:-1]
    return outer


def _without_variables(bijector: tfb.Bijector) -> list[tfb.Bijector]:
    if not bijector.variables:
        return [bijector]
    outer: list[tfb.Bijector] = []
    for member in bijector.bijectors if isinstance(bijector, hosts.Chain) else []:
        outer += _without_variables(member)
        if member.variables:
            break
    return outer


def _bounds(bijector: tfb.Bijector) -> bool:
    """Tells whether the image of a bijector may be smaller than the real numbers."""
    inner = conditioning.members(bijector)
    if inner:
        return any(map(_bounds, inner))
    whole = (OneEvaluationBijector, Squeeze, tfb.Permute, tfb.Reshape, tfb.Shift, tfb.Scale)
    return not isinstance(bijector, (*whole, tfb.Identity))


def _inside_image(
    outer: list[tfb.Bijector], y: tf.Tensor, event_ndims: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the mask of events inside the image, and events with those outside replaced."""
    z, ndims, inside = y, event_ndims, tf.ones(tf.shape(y)[: tf.rank(y) - event_ndims], tf.bool)
    for bijector in outer:
        # On the border, as that of `tfb.Square`, the inverse may be finite and its slope not.
        inside &= tf.math.is_finite(bijector.inverse_log_det_jacobian(z, ndims))
        z, ndims = bijector.inverse(z), bijector.inverse_event_ndims(ndims)
        inside &= tf.reduce_all(tf.math.is_finite(z), axis=list(range(-ndims, 0)))
    interior = tf.zeros_like(z)
    for bijector in reversed(outer):
        interior = bijector.forward(interior)
    mask = tf.reshape(inside, tf.concat([tf.shape(inside), [1] * event_ndims], axis=0))
    return inside, tf.where(mask, y, interior)


@register("gx.support.LogNormal")
class LogNormal(tfd.LogNormal):
    """A `tfd.LogNormal` with a log-density of -inf at and below 0."""

    def _log_prob(self, x: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        return log_prob_inside(lambda y: super(LogNormal, self)._log_prob(y), x, x > 0.0, 1.0)


@register("gx.support.Gamma")
class Gamma(tfd.Gamma):
    """A `tfd.Gamma` with a log-density of -inf at and below 0."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        return log_prob_inside(super()._log_prob, x, (x > 0.0) & (x < np.inf), 1.0)


@register("gx.support.Beta")
class Beta(tfd.Beta):
    """A `tfd.Beta` with a log-density of -inf outside (0, 1)."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        return log_prob_inside(super()._log_prob, x, (x > 0.0) & (x < 1.0), 0.5)


@register("gx.support.NegativeBinomial")
class NegativeBinomial(tfd.NegativeBinomial):
    """A `tfd.NegativeBinomial` with a log-probability of -inf for all numbers except counts."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        inside = (x >= 0.0) & (x < np.inf) & (x == tf.floor(x))
        return log_prob_inside(super()._log_prob, x, inside, 0.0)


@register("gx.support.Bernoulli")
class Bernoulli(tfd.Bernoulli):
    """A `tfd.Bernoulli` with a log-probability of -inf for all numbers except 0 and 1."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        return log_prob_inside(super()._log_prob, x, (x == 0.0) | (x == 1.0), 0.0)
