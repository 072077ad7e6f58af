"""Splines against TFP's own, and where TFP's own gives up."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfb = tfp.bijectors


def params(spline, size, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    shape = [spline.params_size, 200]
    return list(tf.constant(size * rng.normal(size=shape), dtype))


def points(dtype="float64", seed=1):
    return tf.constant(np.random.default_rng(seed).uniform(-4.5, 4.5, 200), dtype)


def of_tfp(spline, given):
    """The same spline from TFP's class, with the parameters worked out in NumPy."""
    count = spline.num_bins
    raw = np.stack([p.numpy() for p in given], axis=-1)
    widths, heights, slopes = np.split(raw, [count, 2 * count], axis=-1)

    def bins(x):
        shares = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
        return 2.0 * spline.bound * (0.99 * shares + 0.01 / count)

    slopes = 0.01 + np.log1p(np.exp(slopes + np.log(np.expm1(0.99))))
    return tfb.RationalQuadraticSpline(bins(widths), bins(heights), slopes, -spline.bound)


@pytest.mark.parametrize("num_bins", [2, 8])
def test_equals_the_spline_of_tfp(num_bins):
    spline = gx.transformers.Spline(num_bins=num_bins)
    given, x = params(spline, 1.0), points()
    ours, theirs = spline.bijector(given), of_tfp(spline, given)
    for method in ("forward", "inverse", "forward_log_det_jacobian", "inverse_log_det_jacobian"):
        found, expected = (getattr(b, method)(tf.identity(x)) for b in (ours, theirs))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=method)


def test_one_bin_has_no_freedom():
    spline = gx.transformers.Spline(num_bins=1)
    given, x = params(spline, 1.0), points()
    assert spline.params_size == 2
    np.testing.assert_allclose(spline.bijector(given).forward(x), x, rtol=1e-12)


def test_zero_parameters_are_the_identity():
    spline = gx.transformers.Spline()
    start = spline.bijector([tf.zeros([200], tf.float64)] * spline.params_size)
    np.testing.assert_allclose(start.forward(points()), points(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1.0, 5.0, 50.0])
def test_rises_and_stays_finite_in_float32_whatever_the_parameters(size):
    spline = gx.transformers.Spline()
    bijector = spline.bijector(params(spline, size, "float32"))
    grid = np.linspace(-5.0, 5.0, 301, dtype="float32")[:, None]
    for direction in (bijector.forward, bijector.inverse):
        rows = direction(tf.constant(np.broadcast_to(grid, [301, 200]))).numpy()
        assert np.isfinite(rows).all() and (np.diff(rows, axis=0) >= -2e-6).all()
    x = points("float32")
    there = bijector.forward(tf.identity(bijector.inverse(x)))
    np.testing.assert_allclose(there, x, atol=2e-3)


def test_far_off_is_the_identity_with_its_gradient():
    spline = gx.transformers.Spline()
    given = params(spline, 3.0, "float32")
    x = tf.constant([1e30, -1e30] * 100, tf.float32)
    for direction in ("forward", "inverse"):
        with tf.GradientTape() as tape:
            tape.watch([x, *given])
            y = getattr(spline.bijector(given), direction)(x)
        np.testing.assert_array_equal(y, x)
        gradient, *others = tape.gradient(y, [x, *given], unconnected_gradients="zero")
        np.testing.assert_array_equal(gradient, np.ones(200))
        assert not np.any(others)
