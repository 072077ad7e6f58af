"""Failing steps of training: spoiled weights, averages, later batches, stale traces."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfd = tfp.distributions


@tf.custom_gradient
def steep(x):
    """The identity, with an infinite gradient."""
    return tf.identity(x), lambda upstream: upstream * np.inf


class Steep(keras.layers.Layer):
    def call(self, inputs):
        return steep(inputs)


def network(units, *, bad):
    layers = [keras.layers.Dense(units), *([Steep()] if bad else [])]
    return keras.Sequential(layers)


def density(bad=False):
    head = gx.distributions.IndependentNormal([2])
    net = network(head.params_size, bad=bad)
    net.build([None, 2])
    return gx.models.DensityModel(gx.distributions.Conditional(net, head))


def vae(bad=False):
    latent, event = (gx.distributions.IndependentNormal([2]) for _ in range(2))
    return gx.models.VAE(
        gx.distributions.Conditional(network(4, bad=False), latent),
        gx.distributions.Conditional(network(4, bad=bad), event),
        prior=tfd.MultivariateNormalDiag(tf.zeros([2])),
        seed=3,
    )


def gan(bad=False):
    prior = tfd.MultivariateNormalDiag(tf.zeros([2]))
    return gx.models.GAN(network(2, bad=bad), network(1, bad=False), prior=prior, seed=3, ema=0.0)


def compiled(model, make, **options):
    if isinstance(model, gx.models.GAN):
        model.compile(generator_optimizer=make(), discriminator_optimizer=make(), **options)
    else:
        model.compile(optimizer=make(), **options)
    return model


def x(rows=16):
    return np.random.default_rng(0).normal(size=[rows, 2]).astype("float32")


def arguments(model, rows=16):
    return (x(rows), x(rows)) if model.conditional_event_shape else (x(rows),)


MODELS = [density, vae, gan]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("build", MODELS)
def test_weights_that_a_step_spoils_are_told(build, jit_compile):
    """Finite gradients, and a learning rate under which the weights overflow."""
    rate = 3e38
    model = compiled(build(), lambda: keras.optimizers.SGD(rate), jit_compile=jit_compile)
    rows = arguments(model, 8)
    with pytest.raises(ValueError, match="(spoiled|no step was taken).*learning rate.*Received"):
        model.fit(*(1e3 * part for part in rows), verbose=0)


def test_loss_scaling_still_skips_steps_by_itself():
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0**20)
    model = compiled(density(bad=True), lambda: scaled)
    before = [v.numpy() for v in model.trainable_variables]
    model.fit(*arguments(model), verbose=0)
    for variable, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert float(scaled.dynamic_scale) == 2.0**19


def test_an_average_moves_once_a_step_of_accumulated_gradients():
    """Its warm-up too: after one step of two batches it is 1/10 of the start, as without."""
    prior = tfd.MultivariateNormalDiag(tf.zeros([2]))
    model = gx.models.GAN(network(2, bad=False), network(1, bad=False), prior=prior, seed=3)
    start = [v.numpy() for v in model.generator.trainable_variables]
    compiled(model, lambda: keras.optimizers.SGD(1.0, gradient_accumulation_steps=2))
    model.train_on_batch(x())
    for average, value in zip(model.averaged_generator.variables, start, strict=True):
        np.testing.assert_array_equal(average.numpy(), value)
    model.train_on_batch(x())
    now = [v.numpy() for v in model.generator.trainable_variables]
    model.train_on_batch(x())  # accumulates, and is no step
    for average, first, last in zip(model.averaged_generator.variables, start, now, strict=True):
        np.testing.assert_allclose(average.numpy(), 0.1 * first + 0.9 * last, rtol=1e-5, atol=1e-6)


class Batches(keras.utils.PyDataset):
    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, index):
        return (self.parts[index],)


def stream(form, parts):
    if form == "py_dataset":
        return Batches(parts)
    if form == "generator":
        return (part for part in parts)
    spec = tf.TensorSpec([None, None], tf.float32)
    return tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=spec)


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
@pytest.mark.parametrize("form", ["generator", "py_dataset", "dataset"])
@pytest.mark.parametrize("kind", ["NaN", "shape"])
def test_later_batches_are_refused_as_arrays_are(form, method, kind):
    model = gx.models.DensityModel(gx.flows.real_nvp([2], num_layers=1, hidden_units=[4]))
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    bad = x() * np.nan if kind == "NaN" else np.zeros([16, 3], "float32")
    match = "`x` must be (finite|numbers of shape|of shape).*Received"
    with pytest.raises(ValueError, match=match):
        getattr(model, method)(stream(form, [x(), x(), bad]), verbose=0)
    assert all(np.isfinite(v.numpy()).all() for v in model.variables)


@pytest.mark.parametrize("change", ["compile", "adapt"])
def test_log_prob_of_a_vae_follows_what_changed(change):
    model = compiled(vae(), lambda: keras.optimizers.SGD(0.1))
    data = 5.0 + 3.0 * x()
    before = model.log_prob(data, 20, seed=1).numpy()
    if change == "compile":
        model.decoder.network.layers[-1].activation = lambda t: 0.1 * t + 1.0
        model.compile(optimizer="sgd")
    else:
        model.adapt(data)
    after = model.log_prob(data, 20, seed=1).numpy()
    exact = model._model.estimate(tf.constant(data), None, tf.constant(20), tf.constant([0, 1]))
    np.testing.assert_allclose(after, exact, rtol=1e-5)
    assert np.abs(after - before).min() > 1e-2


def batches_of(form, context, events):
    dataset = tf.data.Dataset.from_tensor_slices((context, events)).batch(4)
    return dataset if form == "dataset" else ((c.numpy(), x.numpy()) for c, x in dataset)


@pytest.mark.parametrize("form", ["dataset", "generator"])
@pytest.mark.parametrize("name", ["conditional_input", "x"])
def test_nan_in_a_later_batch_names_argument_and_column(form, name):
    parts = {"conditional_input": np.zeros([8, 2], "float32"), "x": np.eye(8, 3, dtype="float32")}
    parts[name][6, 1] = np.nan
    flow = gx.flows.maf([3], num_layers=1, hidden_units=[4], conditional_event_shape=[2])
    model = gx.models.DensityModel(flow)
    model.compile("sgd")
    with pytest.raises(ValueError, match=rf"`{name}` must be finite.*Received: .*columns? 1$"):
        model.fit(batches_of(form, *parts.values()), verbose=0)


def test_nan_in_a_dataset_of_adapt_is_named():
    x = np.eye(8, 3, dtype="float32")
    x[6, 2] = np.inf
    model = gx.models.DensityModel(gx.flows.maf([3], num_layers=1, hidden_units=[4]))
    with pytest.raises(ValueError, match=r"`x` must be finite.*Received: .*columns 2$"):
        model.adapt(tf.data.Dataset.from_tensor_slices(x).batch(4))


class Weighted(keras.utils.PyDataset):
    """Batches of events without a target, and with weights."""

    def __init__(self, x, weights):
        super().__init__()
        self._parts = [(x[i : i + 4], None, weights[i : i + 4]) for i in range(0, len(x), 4)]

    @property
    def num_batches(self):
        return len(self._parts)

    def __getitem__(self, index):
        return self._parts[index]


def test_py_datasets_give_weights_without_a_target():
    x = np.random.default_rng(0).normal(size=[8, 3]).astype("float32")
    weights = np.arange(8, dtype="float32")
    model = gx.models.DensityModel(gx.flows.maf([3], num_layers=1, hidden_units=[4]))
    model.compile("sgd")
    model.fit(Weighted(x, weights), verbose=0)
    expected = model.evaluate(x, sample_weight=weights, batch_size=4, verbose=0, return_dict=True)
    found = model.evaluate(Weighted(x, weights), verbose=0, return_dict=True)
    np.testing.assert_allclose(found["nll"], expected["nll"], rtol=1e-5)
