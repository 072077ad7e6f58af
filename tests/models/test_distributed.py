"""Training on several devices is training on one."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import registry
import registry_trained
import tensorflow as tf

import tfp_genext as gx

# One of each way in which devices could differ: contexts and norms set by the first batch, moments
# of a batch, masks in turn, convolutions and recurrences without rows, noise of preprocessing and
# dropout, heads, several latents, means over a batch, flows that sample, scores, games.
KINDS = [
    "maf_conditional",
    "batch_normed",
    "made_masks",
    "row_lstm",
    "dequantized",
    "dropped",
    "regression",
    "vae_tricks",
    "vae_iaf_posterior",
    "vae_relaxed",
    "gan_Wasserstein",
    "gan_flow",
    "gan_normed",
    "gan_conditional",
]
# Rows of the last batch: 1 for one device and none for the other; 3 for each, where unequal parts
# have noise of their own; 4 and 3 for all others.
ROWS = {"made_masks": 33, "row_lstm": 33, "vae_relaxed": 38}


def adam():
    return keras.optimizers.Adam(1e-3)


@pytest.mark.parametrize(
    "case", registry.some(registry_trained.TRAINED, *KINDS), ids=lambda case: case.name
)
def test_two_devices_give_the_losses_and_weights_of_one(case, two_devices):
    rows = ROWS.get(case.name, 39)
    alone = case.compiled(adam)
    expected = registry_trained.fitted(alone, case, rows)
    with two_devices.scope():
        shared = case.compiled(adam)
    found = registry_trained.fitted(shared, case, rows)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
    assert alone.optimizer.iterations == 3
    weights = (registry_trained.weights(model) for model in (shared, alone))
    for variable, value, wanted in zip(alone.variables, *weights, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-8, err_msg=variable.path)


def test_rows_count_by_their_weights_on_any_device(two_devices):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=[40, 2]), rng.uniform(size=40) ** 4
    found = []
    for scope in (tf.distribute.get_strategy(), two_devices):
        keras.utils.set_random_seed(1)
        with scope.scope():
            flow = gx.flows.maf([2], num_layers=1, hidden_units=[4], dtype="float64")
            model = gx.models.DensityModel(flow)
            model.compile(optimizer=keras.optimizers.SGD(0.1))
        model.fit(x, sample_weight=weights, batch_size=20, epochs=2, shuffle=False, verbose=0)
        evaluated = model.evaluate(x, sample_weight=weights, batch_size=16, verbose=0)
        found.append((evaluated, model.predict(x, batch_size=16, verbose=0)))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-6)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-12)


def test_a_vae_is_evaluated_on_two_devices_with_the_noise_of_one(two_devices):
    (case,) = registry.some(registry_trained.TRAINED, "vae_k")
    (x,) = case.data(39)
    with two_devices.scope():
        shared = case.compiled(adam)
    expected = case.compiled(adam).evaluate(x, batch_size=16, verbose=0, return_dict=True)
    found = shared.evaluate(x, batch_size=16, verbose=0, return_dict=True)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


def flow():
    return gx.flows.maf([2], num_layers=1, hidden_units=[4])


def made_outside(strategy):
    built = flow()
    with strategy.scope():
        model = gx.models.DensityModel(built)
        model.compile()
    return model


def compiled_outside(strategy):
    with strategy.scope():
        model = gx.models.DensityModel(flow())
    model.compile()
    return model


def compiled_inside_alone(strategy):
    model = gx.models.DensityModel(flow())
    with strategy.scope():
        model.compile()
    return model


@pytest.mark.parametrize("build", [made_outside, compiled_outside, compiled_inside_alone])
def test_what_is_made_outside_of_the_scope_is_named(build, two_devices):
    model = build(two_devices)
    with pytest.raises(ValueError, match=r"`(model|optimizer)` must be made under `strategy.scope"):
        model.fit(np.zeros([8, 2], "float32"), verbose=0)


@pytest.mark.parametrize("option", [{"steps_per_execution": 2}, {"jit_compile": True}])
def test_what_fails_on_several_devices_is_named(option, two_devices):
    with two_devices.scope():
        model = gx.models.DensityModel(flow())
        model.compile(**option)
    with pytest.raises(ValueError, match=f"`{next(iter(option))}` must be"):
        model.fit(np.zeros([8, 2], "float32"), verbose=0)


def test_a_batch_is_predicted_once_on_two_devices(two_devices):
    with two_devices.scope():
        model = gx.models.DensityModel(flow())
    x = np.random.default_rng(0).normal(size=[5, 2]).astype("float32")
    found = model.predict_on_batch(x)
    np.testing.assert_allclose(found, model.distribution.log_prob(x), rtol=1e-5)


def test_a_strategy_of_one_worker_gives_single_numbers():
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = gx.models.DensityModel(flow())
        model.compile()
    assert np.shape(model.test_on_batch(np.zeros([4, 2], "float32"))[0]) == ()
