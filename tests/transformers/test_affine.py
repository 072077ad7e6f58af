"""Transformers and their scale maps."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfp_genext as gx

t = gx.transformers
MAPS = [t.ExpScale, t.SoftplusScale, t.SigmoidScale, t.PlainScale]

FORMULAS = {
    t.ExpScale: np.exp,
    t.SoftplusScale: lambda raw: np.log1p(np.exp(raw + np.log(np.e - 1.0))),
    t.SigmoidScale: lambda raw: 1.0 / (1.0 + np.exp(-raw - 2.0)),
    t.PlainScale: lambda raw: 1.0 + raw,
}


def _scale(scale_map, raw):
    return scale_map.bijector(tf.constant(raw)).forward(tf.ones_like(raw)).numpy()


@pytest.mark.parametrize("kind", MAPS)
def test_is_its_formula_well_inside_the_bound(kind):
    raw = np.linspace(-1.9, 3.0, 40)
    expected = FORMULAS[kind](raw)
    bound = 20.0
    squashed = np.sign(expected) * np.exp(bound * np.tanh(np.log(np.abs(expected)) / bound))
    np.testing.assert_allclose(_scale(kind(bound=bound), raw), squashed, rtol=1e-9)
    np.testing.assert_allclose(_scale(kind(bound=bound), raw), expected, rtol=0.06)


@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stays_within_the_bound_and_finite_everywhere(kind, dtype):
    raw = tf.constant([-1e30, -1e6, -1e3, -30.0, -1.0, 0.0, 1.0, 1e3, 1e6, 1e30], dtype)
    with tf.GradientTape() as tape:
        tape.watch(raw)
        bijector = kind(bound=3.0).bijector(raw)
        scale, log_det = (
            bijector.forward(tf.ones_like(raw)),
            bijector.forward_log_det_jacobian(tf.ones_like(raw), 0),
        )
        total = tf.reduce_sum(scale) + tf.reduce_sum(log_det)
    size = np.abs(scale)
    assert (size >= np.exp(-3.0) * 0.999).all() and (size <= np.exp(3.0) * 1.001).all()
    np.testing.assert_allclose(log_det, np.log(size), rtol=1e-4, atol=1e-5)
    assert np.isfinite(tape.gradient(total, raw)).all()


@pytest.mark.parametrize("kind", [t.ExpScale, t.SoftplusScale, t.PlainScale])
def test_starts_at_the_identity(kind):
    np.testing.assert_allclose(_scale(kind(), np.zeros(3)), 1.0, rtol=1e-12)


def test_sigmoid_starts_near_the_identity_as_its_docstring_says():
    np.testing.assert_allclose(_scale(t.SigmoidScale(bound=30.0), np.zeros(1)), 0.88, atol=0.005)


def test_the_plain_scale_takes_both_signs():
    scale = _scale(t.PlainScale(bound=10.0), np.array([-3.0, -1.5, -0.5, 2.0]))
    np.testing.assert_array_equal(np.sign(scale), [-1.0, -1.0, 1.0, 1.0])
    assert (np.abs(_scale(t.PlainScale(), np.array([-1.0]))) > 0.1).all()


def test_transformers_are_values():
    assert t.Affine() == t.Affine() and hash(t.Affine()) == hash(t.Affine())
    assert t.Affine(scale_map=t.ExpScale(bound=3.0)) != t.Affine()
    assert t.Affine(scale_map=t.SoftplusScale()) != t.Affine()
    assert t.Additive().params_size == 1 and t.Affine().params_size == 2


@pytest.mark.parametrize("bound", [0.0, -1.0, np.inf, np.nan, "5", 40.0])
def test_refuses_bounds_out_of_range(bound):
    with pytest.raises(
        ValueError, match=r"`bound` must be a number in \(0, 40\). Received: bound="
    ):
        t.ExpScale(bound=bound)
