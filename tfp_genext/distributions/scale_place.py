"""The place of the data's scale inside a density."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext.bijectors import Compose, Standardize
from tfp_genext.core import checks, hosts
from tfp_genext.core.column_moments import ColumnMoments
from tfp_genext.distributions import binding, support


@dataclasses.dataclass(frozen=True)
class ScalePlace:
    """The place in a density or bijector where the scale of the data belongs.

    Fixed outer bijectors, which have no variables, stay outside the scale: they map the real
    numbers to the support of the data. Examples are `tfb.Exp`, `tfb.SoftmaxCentered` and
    `gx.flows.pixels`.

    Args:
      outer: fixed bijectors between the data and that place, outermost first.
      build: function from a `Standardize` to the density or bijector with it inserted at that
        place.
      present: the `Standardize` that is there already, if any.
    """

    outer: list[tfb.Bijector]
    build: Callable[[Standardize], Any]
    present: Standardize | None = None

    def values(self, x: tf.Tensor) -> tf.Tensor:
        """Maps data to the values at this place, through the outer bijectors."""
        for bijector in self.outer:
            x = bijector.inverse(x)
        return x


def in_bijector(bijector: tfb.Bijector) -> ScalePlace:
    """Returns the place of the scale in a bijector."""
    if isinstance(bijector, Standardize):
        return ScalePlace([], lambda scale: scale, bijector)
    if isinstance(bijector, hosts.Chain):
        return _in_chain(bijector)
    if _has_variables(bijector):
        return ScalePlace([], lambda scale: Compose([scale, bijector]))
    return ScalePlace([bijector], lambda scale: Compose([bijector, scale]))


def _in_chain(chain: hosts.Chain) -> ScalePlace:
    members = list(chain.bijectors)
    fixed = next((i for i, m in enumerate(members) if _has_variables(m)), len(members))
    outer, rest = members[:fixed], members[fixed:]
    if not rest or not isinstance(rest[0], (Standardize, hosts.Chain)):
        return ScalePlace(outer, lambda scale: Compose([*outer, scale, *rest]))
    inner = in_bijector(rest[0])
    return ScalePlace(
        [*outer, *inner.outer],
        lambda scale: Compose([*outer, inner.build(scale), *rest[1:]]),
        inner.present,
    )


def in_distribution(distribution: tfd.Distribution) -> ScalePlace:
    """Returns the place of the scale in a density."""
    if not binding.is_transformed(distribution):
        return ScalePlace([], lambda scale: tfd.TransformedDistribution(distribution, scale))
    bijector, base = distribution.bijector, distribution.distribution
    if _has_variables(bijector) or not _has_variables(base):
        inner = in_bijector(bijector)
        return dataclasses.replace(
            inner, build=lambda scale: _transformed(distribution, base, inner.build(scale))
        )
    inner = in_distribution(base)
    return ScalePlace(
        [bijector, *inner.outer],
        lambda scale: _transformed(distribution, inner.build(scale), bijector),
        inner.present,
    )


def loc_and_scale(
    moments: ColumnMoments, dtype: tf.DType, *, shifts: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Returns location and scale of data from their moments; constant columns get scale 1.

    Args:
      moments: moments of the data.
      dtype: dtype of the data, which determines their rounding.
      shifts: whether the location may differ from 0. If not, the scale is the root mean square.
    """
    constant = moments.constant(float(checks.finfo(dtype).eps))
    if not shifts:
        scale = moments.root_mean_square()
        return np.zeros_like(scale), np.where(scale > 0.0, scale, 1.0)
    return moments.mean, np.where(constant, 1.0, moments.stddev)


def new_scale(moments: ColumnMoments, dtype: tf.DType, *, shifts: bool = True) -> Standardize:
    """Returns a `Standardize` on new variables, initialised from moments of data."""
    return Standardize.of(*loc_and_scale(moments, dtype, shifts=shifts), dtype)


def set_scale(scale: Standardize, moments: ColumnMoments, *, shifts: bool = True) -> None:
    """Assigns moments of data to the variables of a `Standardize`."""
    loc, width = loc_and_scale(moments, scale.loc.dtype, shifts=shifts)
    scale.loc.assign(loc)
    scale.scale.assign(width)


def _transformed(
    old: tfd.Distribution, base: tfd.Distribution, bijector: tfb.Bijector
) -> tfd.Distribution:
    return support.transformed(base, bijector, validate_args=old.validate_args, name=old.name)


def _has_variables(part: Any) -> bool:
    return isinstance(part, tf.Module) and bool(part.variables)
