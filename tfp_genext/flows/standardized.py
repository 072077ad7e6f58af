"""Flows with standardised data."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext.core import checks
from tfp_genext.core.column_moments import ColumnMoments
from tfp_genext.distributions.scale_place import in_distribution, new_scale, set_scale


def standardized(distribution: tfd.Distribution, x: Any) -> tfd.Distribution:
    """Returns the density of unscaled data, given a density of standardised data.

        log p(x) = log p_0((x - mean) / std) - sum(log(std))

    A `gx.bijectors.Standardize` with the mean and standard deviation of each column of `x` is
    inserted beneath fixed outer bijectors such as `tfb.Exp`. Columns are on the last axis. A
    constant column keeps the scale 1. `DensityModel.adapt` does the same for a model.

    Args:
      distribution: a flow, or another density of real numbers. It is not changed, and shares its
        variables with the result.
      x: data `[N, *event_shape]`.

    Returns:
      A `tfd.Distribution` of the same event shape.

    Raises:
      TypeError: if `distribution` is not a `tfd.Distribution`, or `x` has another dtype.
      ValueError: if `x` has another shape, is empty or is not finite.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    x = 1000.0 + 50.0 * tf.random.stateless_normal([200, 2], seed=[1, 2])
    flow = gx.flows.standardized(gx.flows.maf([2], num_layers=2, hidden_units=[8]), x)
    assert 900.0 < float(tf.reduce_mean(flow.sample(100, seed=[3, 4]))) < 1100.0
    ```
    """
    if not isinstance(distribution, tfd.Distribution):
        raise TypeError(checks.message("distribution", "a tfd.Distribution", distribution))
    x = tf.convert_to_tensor(x, dtype_hint=None if hasattr(x, "dtype") else distribution.dtype)
    checks.event("x", x, distribution.event_shape.as_list(), distribution.dtype)
    checks.rows("x", x)
    place = in_distribution(distribution)
    moments = ColumnMoments()
    moments.update(place.values(x).numpy())
    if place.present is not None:
        set_scale(place.present, moments)
        return distribution
    return place.build(new_scale(moments, distribution.dtype))
