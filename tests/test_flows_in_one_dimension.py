"""Autoregressive flows of one dimension, and the range in which a NAF flow inverts."""

import numpy as np
import pytest
import tensorflow as tf

import tfp_genext as gx


def _perturbed(recipe, event_shape):
    flow = recipe(event_shape, num_layers=2, hidden_units=[8], dtype="float64")
    rng = np.random.default_rng(0)
    for variable in flow.trainable_variables:
        variable.assign_add(0.3 * rng.normal(size=variable.shape))
    return flow


@pytest.mark.parametrize("name", ["maf", "iaf", "naf", "nsf"])
def test_the_density_of_one_dimension_integrates_to_one_and_samples_agree(name):
    flow = _perturbed(getattr(gx.flows, name), [1])
    grid = np.linspace(-60.0, 60.0, 24001)
    density = np.exp(flow.log_prob(tf.constant(grid[:, np.newaxis])))
    np.testing.assert_allclose(np.trapezoid(density, grid), 1.0, atol=1e-5)
    samples, log_prob = flow.experimental_sample_and_log_prob(50, seed=[1, 2])
    np.testing.assert_allclose(flow.log_prob(tf.identity(samples)), log_prob, atol=1e-10)


def test_a_naf_flow_inverts_from_minus_to_plus_one_thousand():
    flow = _perturbed(gx.flows.naf, [2])
    x = np.linspace(-1e3, 1e3, 41)[:, np.newaxis] * [1.0, -1.0]
    z = flow.bijector.inverse(tf.constant(x))
    assert np.isfinite(z).all()
    np.testing.assert_allclose(flow.bijector.forward(tf.identity(z)), x, atol=1e-8)
