"""Batch normalisation: statistics move in `fit` alone, and one density is left for all else."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions


def norm(momentum=0.9, size=3):
    moments = gx.networks.MovingMoments(momentum=momentum)
    moments.build((None, size))
    zeros = tf.zeros([size])
    return gx.bijectors.BatchNorm(moments, tf.Variable(zeros), tf.Variable(zeros))


def model_of(bijector):
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [3])
    model = gx.models.DensityModel(tfd.TransformedDistribution(base, tfb.Chain([bijector])))
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    return model


def data(rows=64):
    scale, loc = np.array([1.0, 3.0, 0.5]), np.array([5.0, -2.0, 0.0])
    return (registry.points((rows, 3), "float32").numpy() * scale + loc).astype("float32")


def moments_of(bijector):
    return [v.numpy() for v in bijector.variables if not v.trainable]


def test_statistics_move_in_fit_as_the_formula_says_and_nowhere_else():
    bijector, x = norm(momentum=0.75), data()
    model = model_of(bijector)
    model.predict(x, verbose=0)
    model.evaluate(x, verbose=0)
    model.distribution.log_prob(x)
    model.distribution.sample(5, seed=[1, 2])
    np.testing.assert_array_equal(moments_of(bijector), [np.zeros(3), np.ones(3)])
    model.fit(x, batch_size=64, verbose=0)
    expected = [0.25 * x.mean(axis=0), 0.75 + 0.25 * x.var(axis=0)]
    np.testing.assert_allclose(moments_of(bijector), expected, rtol=1e-4, atol=1e-4)


def test_training_sees_the_statistics_of_the_batch():
    bijector, x = norm(), data()
    history = model_of(bijector).fit(x, batch_size=64, verbose=0).history
    z = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-4)
    log_prob = tfd.Normal(0.0, 1.0).log_prob(z).numpy().sum(axis=1)
    log_prob -= 0.5 * np.log(x.var(axis=0) + 1e-4).sum()
    assert history["nll"][0] == pytest.approx(-log_prob.mean(), rel=1e-4)


def test_density_outside_training_does_not_depend_on_the_batch():
    bijector, x = norm(momentum=0.0), data()
    model = model_of(bijector)
    model.fit(x, verbose=0)
    whole = model.predict(x, verbose=0)
    np.testing.assert_allclose(model.predict(x[:3], verbose=0), whole[:3], rtol=1e-5)
    samples, log_prob = model.distribution.experimental_sample_and_log_prob(9, seed=[1, 2])
    found = model.distribution.log_prob(tf.identity(samples))
    np.testing.assert_allclose(found, log_prob, rtol=1e-4)


def test_gradients_go_through_the_statistics_of_the_batch():
    """A batch that is moved as a whole is the same to the density."""
    bijector, x = norm(), data()
    model = model_of(bijector)
    shift = tf.Variable(tf.zeros([3]))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(x + shift, training=True))
    np.testing.assert_allclose(tape.gradient(loss, shift), np.zeros(3), atol=1e-5)


def test_frozen_moments_stay_in_fit_too():
    bijector = norm(momentum=0.5)
    model = model_of(bijector)
    model.fit(data(), verbose=0)
    (moments,) = gx.core.tracking.networks(bijector)
    moments.trainable = False
    model.compile()  # As Keras wants it after a change of `trainable`.
    before = [v.numpy() for v in (moments.mean, moments.variance)]
    model.fit(data() + 5.0, verbose=0)
    for variable, value in zip((moments.mean, moments.variance), before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_a_constant_column_gives_no_nan():
    bijector, x = norm(momentum=0.0), data()
    x[:, 1] = 7.0
    model = model_of(bijector)
    assert np.isfinite(model.fit(x, verbose=0).history["nll"]).all()
    assert np.isfinite(model.predict(x, verbose=0)).all()


def test_the_conditioners_own_norms_and_dropout_agree_between_samples_and_densities():
    network = keras.Sequential(
        [
            keras.Input([2]),
            keras.layers.Dense(8, "tanh"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2),
            keras.layers.Reshape([1, 2]),
        ]
    )
    coupling = gx.bijectors.AffineCoupling(2, shift_and_log_scale_fn=network)
    model = model_of(gx.bijectors.Compose([norm(), coupling]))
    model.fit(data(), verbose=0)
    samples, log_prob = model.distribution.experimental_sample_and_log_prob(9, seed=[1, 2])
    found = model.distribution.log_prob(tf.identity(samples))
    np.testing.assert_allclose(found, log_prob, rtol=1e-4, atol=1e-4)
