"""Bounded maps and units."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from tfp_genext import numerics


def test_soft_bound_has_slope_one_at_zero_and_keeps_within():
    x = tf.constant([-1e30, -1.0, 0.0, 1.0, 1e30], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = numerics.soft_bound(x, 3.0)
    assert (np.abs(y) <= 3.0).all()
    np.testing.assert_array_equal(np.sign(y), np.sign(x))
    assert tape.gradient(y, x)[2] == 1.0


def test_log_softplus_by_high_precision():
    from decimal import Decimal, getcontext

    getcontext().prec = 500
    for x in (-800.0, -100.0, -16.0, -14.9, -1.0, 0.0, 1.0, 50.0):
        exact = float((1 + Decimal(x).exp()).ln().ln())
        np.testing.assert_allclose(
            numerics.log_softplus(tf.constant(x, tf.float64)), exact, rtol=2e-7
        )


def test_bits_per_dim_by_hand():
    """A uniform distribution over 256 values costs 8 bits a dimension, whatever the shape."""
    for shape in ([1], [3, 5], [2, 2, 3]):
        nll = math.prod(shape) * math.log(256.0)
        np.testing.assert_allclose(numerics.bits_per_dim(nll, shape), 8.0, rtol=1e-12)
