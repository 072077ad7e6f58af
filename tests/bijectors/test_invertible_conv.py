"""Learned mixing of channels against matrices, and TFP's own."""

from __future__ import annotations

import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

C = 6


def conv():
    made = gx.bijectors.Invertible1x1Conv.random(C, seed=1, dtype="float64")
    registry.perturb(made)
    return made


def matrix(bijector):
    """W, column by column, from what the inverse does to unit vectors."""
    return bijector.inverse(tf.eye(C, dtype=tf.float64)).numpy().T


def test_a_new_one_is_a_rotation():
    rotation = matrix(gx.bijectors.Invertible1x1Conv.random(C, seed=1, dtype="float64"))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(C), atol=1e-12)
    assert np.abs(rotation - np.eye(C)).max() > 0.5
    other = matrix(gx.bijectors.Invertible1x1Conv.random(C, seed=2, dtype="float64"))
    assert np.abs(rotation - other).max() > 0.1


def test_is_its_matrix_on_every_pixel():
    bijector, x = conv(), np.random.default_rng(0).normal(size=[2, 3, 4, C])
    w = matrix(bijector)
    np.testing.assert_allclose(bijector.inverse(x), np.einsum("ij,nhwj->nhwi", w, x), rtol=1e-9)
    expected = np.einsum("ij,nhwj->nhwi", np.linalg.inv(w), x)
    np.testing.assert_allclose(bijector.forward(x), expected, rtol=1e-9, atol=1e-9)
    log_det = bijector.inverse_log_det_jacobian(x, event_ndims=3)
    expected = 3 * 4 * np.linalg.slogdet(w)[1]
    np.testing.assert_allclose(np.broadcast_to(log_det, [2]), [expected] * 2, rtol=1e-9)


def test_equals_the_bijector_of_tfp():
    bijector, x = conv(), np.random.default_rng(0).normal(size=[3, C])
    packed, order = tf.linalg.lu(matrix(bijector))
    theirs = tfp.bijectors.ScaleMatvecLU(packed, order)
    np.testing.assert_allclose(bijector.inverse(x), theirs.forward(x), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        bijector.inverse_log_det_jacobian(x), theirs.forward_log_det_jacobian(x), rtol=1e-9
    )


@pytest.mark.parametrize(
    "changes, error, pattern",
    [
        ({"sign": [1.0, 2.0]}, ValueError, "`sign` must be of 1 and -1.*Received"),
        ({"sign": [1.0] * 3}, ValueError, "must be of shapes.*Received"),
        ({"permutation": [0, 0]}, ValueError, "`permutation` must hold each.*Received"),
        ({"log_scale": tf.zeros([2])}, TypeError, "`log_scale` must be a tf.Variable.*Received"),
    ],
)
def test_refuses_what_makes_no_matrix(changes, error, pattern):
    good = {
        "lower_upper": tf.Variable(tf.eye(2)),
        "log_scale": tf.Variable(tf.zeros([2])),
        "sign": [1.0, -1.0],
        "permutation": [1, 0],
    }
    gx.bijectors.Invertible1x1Conv(**good)
    with pytest.raises(error, match=pattern):
        gx.bijectors.Invertible1x1Conv(**{**good, **changes})
