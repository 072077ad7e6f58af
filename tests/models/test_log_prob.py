"""Tests of `model.log_prob` against `predict` and the distribution itself."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfd = tfp.distributions
FLOW = {"num_layers": 2, "hidden_units": [4]}
RNG = np.random.default_rng(0)
X = RNG.normal(size=[40, 3]).astype("float32")
C = RNG.normal(size=[40, 2]).astype("float32")


def _perturbed(distribution, **options):
    model = gx.models.DensityModel(distribution, **options)
    registry.perturb(distribution)
    return model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_what_predict_gives(dtype):
    model = _perturbed(gx.flows.maf([3], **FLOW, dtype=dtype))
    x = X.astype(dtype)
    log_prob = model.log_prob(x)
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(log_prob, model.predict(x, verbose=0), rtol=tolerance)
    np.testing.assert_allclose(log_prob, model.distribution.log_prob(x), rtol=tolerance)
    assert log_prob.shape == [40] and log_prob.dtype == dtype


def test_of_a_conditional_flow():
    model = _perturbed(gx.flows.real_nvp([3], **FLOW, conditional_event_shape=[2]))
    log_prob = model.log_prob(X, conditional_input=C)
    np.testing.assert_allclose(log_prob, model.predict((C, X), verbose=0), rtol=1e-5)
    with pytest.raises(ValueError, match="`conditional_input` must be given"):
        model.log_prob(X)
    with pytest.raises(ValueError, match=r"`conditional_input` must be numbers of shape \[N, 2\]"):
        model.log_prob(C, conditional_input=X)


def test_of_a_regression_whose_network_waits_for_its_contexts():
    head = gx.distributions.IndependentNormal([3])
    network = keras.layers.Dense(head.params_size)
    model = gx.models.DensityModel(gx.distributions.Conditional(network, head))
    log_prob = model.log_prob(X, conditional_input=C)
    np.testing.assert_allclose(log_prob, model.predict((C, X), verbose=0), rtol=1e-5)


@pytest.mark.parametrize("preprocessing", [None, gx.layers.Dequantize(4)])
def test_of_whole_numbers(preprocessing):
    x = RNG.integers(0, 2, [20, 3])
    if preprocessing is None:
        model = gx.models.DensityModel(gx.autoregressive.made([3], hidden_units=[4]))
    else:
        model = _perturbed(gx.flows.maf([3], **FLOW), preprocessing=preprocessing)
    np.testing.assert_allclose(model.log_prob(x), model.predict(x, verbose=0), rtol=1e-5)


def test_of_a_distribution_of_tfp_after_fit_and_adapt():
    flow = gx.flows.real_nvp([3], **FLOW)
    model = gx.models.DensityModel(flow)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    model.adapt(5.0 + 3.0 * X)
    model.fit(5.0 + 3.0 * X, epochs=2, verbose=0)
    x = 5.0 + 3.0 * X
    np.testing.assert_allclose(model.log_prob(x), model.predict(x, verbose=0), rtol=1e-5)


def test_gradients_by_the_data_are_those_of_the_density():
    model = gx.models.DensityModel(
        tfd.MultivariateNormalDiag(tf.Variable([1.0, -1.0]), tf.constant([2.0, 0.5]))
    )
    x = tf.Variable([[0.0, 0.0], [3.0, 1.0]])
    with tf.GradientTape() as tape:
        log_prob = model.log_prob(x)
    expected = -(x.numpy() - [1.0, -1.0]) / np.square([2.0, 0.5])
    np.testing.assert_allclose(tape.gradient(log_prob, x), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "x, error, pattern",
    [
        (X[:, :2], ValueError, r"`x` must be of shape \[N, 3\]"),
        (X[0], ValueError, r"`x` must be of shape \[N, 3\]"),
        (np.full([2, 3], np.nan, "float32"), ValueError, "`x` must be finite"),
        (tf.data.Dataset.from_tensors(X), TypeError, "`x` must be an array"),
        ("text", TypeError, "`x` must be an array of numbers"),
    ],
)
def test_wrong_events_are_refused(x, error, pattern):
    model = gx.models.DensityModel(gx.flows.maf([3], **FLOW))
    with pytest.raises(error, match=f"{pattern}.*Received"):
        model.log_prob(x)


def test_all_models_with_a_density_have_it():
    flow = gx.flows.real_nvp([3], **FLOW)
    gan = gx.models.GAN(flow, keras.layers.Dense(1), ema=0.0)
    np.testing.assert_allclose(gan.log_prob(X), flow.log_prob(X), rtol=1e-5)
    network = gx.models.GAN(
        keras.layers.Dense(3), keras.layers.Dense(1), prior=tfd.Sample(tfd.Normal(0.0, 1.0), 2)
    )
    with pytest.raises(NotImplementedError, match="`generator` must be a flow"):
        network.log_prob(X)
