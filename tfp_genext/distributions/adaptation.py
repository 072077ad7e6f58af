"""Adaptation of densities to the scale of the data, for all supports that have one."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext.distributions import Autoregressive, Conditional, binding
from tfp_genext.distributions.distribution_head import DistributionHead
from tfp_genext.distributions.scale_place import ScalePlace, in_bijector, in_distribution

# A large argument, at which a bounded bijector is close to its bounds.
_FAR = 30.0


class Support(enum.Enum):
    """Kinds of supports of the entries of a distribution."""

    REAL = "all real numbers"
    POSITIVE = "positive numbers"
    BOUNDED = "numbers within bounds"
    DISCRETE = "discrete values"


def support(distribution: tfd.Distribution) -> Support:
    """Returns the kind of support of the entries of an unconditional distribution."""
    # Recognised by their public properties, because TFP has two classes for each of them.
    if hasattr(distribution, "reinterpreted_batch_ndims") or hasattr(distribution, "sample_shape"):
        return support(distribution.distribution)
    if hasattr(distribution, "components_distribution"):
        return support(distribution.components_distribution)
    if isinstance(distribution, tfd.Mixture):
        return _common(distribution.components)
    if isinstance(distribution, tfd.Blockwise):
        return _common(distribution.distributions)
    if isinstance(distribution, Autoregressive):
        entry = distribution.head.entry()
        dtype = distribution.dtype if distribution.dtype.is_floating else tf.float32
        return support(entry(tf.zeros([entry.params_size], dtype)))
    if binding.is_transformed(distribution):
        # Fixed outer bijectors bound the data. Trained bijectors map real numbers to real numbers.
        bounded = bool(in_distribution(distribution).outer)
        return Support.BOUNDED if bounded else support(distribution.distribution)
    try:
        to_support = distribution.experimental_default_event_space_bijector()
    except NotImplementedError:
        return Support.BOUNDED  # Unknown, so the strictest kind is assumed.
    if to_support is None:
        return Support.DISCRETE
    return _image(to_support)


def _common(parts: Iterable[tfd.Distribution]) -> Support:
    kinds = {support(part) for part in parts}
    if len(kinds) == 1:
        return kinds.pop()
    return Support.DISCRETE if Support.DISCRETE in kinds else Support.BOUNDED


def _image(bijector: tfb.Bijector) -> Support:
    if bijector.forward_min_event_ndims != 0:
        return Support.BOUNDED
    dtype = bijector.dtype or tf.float32
    low = bijector.forward(tf.constant(-_FAR, dtype)).numpy().max()
    high = bijector.forward(tf.constant(_FAR, dtype)).numpy().min()
    if high < 0.5 * _FAR:
        return Support.BOUNDED
    return Support.REAL if low < -0.5 * _FAR else Support.POSITIVE


def is_continuous(distribution: Any) -> bool:
    """Tells whether a distribution or conditional distribution is continuous."""
    return base_support(distribution) is not Support.DISCRETE


def base_support(distribution: Any) -> Support:
    """Returns the support of the innermost base distribution, beneath all bijectors."""
    if isinstance(distribution, Conditional):
        head = distribution.head
        if isinstance(head, DistributionHead):
            return support(head.distribution)
        return support(head(tf.zeros([head.params_size], distribution.variable_dtype)))
    while binding.is_transformed(distribution):
        distribution = distribution.distribution
    return support(distribution)


def residuals(distribution: tfd.Distribution, x: tf.Tensor) -> tf.Tensor | None:
    """Returns standardised residuals of data under a density, or under the base of a flow.

    Args:
      distribution: an unconditional distribution.
      x: events `[N, *event_shape]`.

    Returns:
      Residuals `[N, ...]`; `None` if the mean or the standard deviation is unknown or does not
      exist.
    """
    while binding.is_transformed(distribution):
        x = distribution.bijector.inverse(x)
        distribution = distribution.distribution
    try:
        return (x - distribution.mean()) / distribution.stddev()
    except (NotImplementedError, ValueError, tf.errors.InvalidArgumentError):
        return None  # TFP raises if a moment does not exist, as for a Cauchy distribution.


def scale_place(distribution: Any) -> ScalePlace:
    """Returns the place of the data's scale in a distribution or conditional distribution.

    Raises:
      ValueError: if there is no such place, because the values are discrete or bounded.
    """
    if isinstance(distribution, Conditional):
        return _in_conditional(distribution)
    place = in_distribution(distribution)
    if not binding.is_transformed(distribution):
        check_scalable(support(distribution))
    return place


def can_shift(distribution: Any) -> bool:
    """Tells whether adaptation may shift the data; positive data are only rescaled."""
    if isinstance(distribution, Conditional):
        bare = distribution.bijector is None
    else:
        bare = not binding.is_transformed(distribution)
    return not bare or base_support(distribution) is Support.REAL


def _in_conditional(distribution: Conditional) -> ScalePlace:
    if distribution.bijector is None:
        check_scalable(base_support(distribution))
        return ScalePlace([], distribution.with_bijector)
    inner = in_bijector(distribution.bijector)
    return ScalePlace(
        inner.outer, lambda scale: distribution.with_bijector(inner.build(scale)), inner.present
    )


def check_scalable(found: Support) -> None:
    """Raises `ValueError` if the support fixes the scale of the values."""
    if found in (Support.BOUNDED, Support.DISCRETE):
        raise ValueError(
            "`adapt` must be called on a density of real or positive numbers, whose units can "
            f"change. Received: a distribution of {found.value}"
        )
