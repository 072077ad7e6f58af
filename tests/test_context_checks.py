"""Contexts without their batch dimension, and of other shapes, at every door."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_genext as gx

EVENT = (20, 1)
ROWS = 6
RNG = np.random.default_rng(0)
C = RNG.normal(size=[ROWS, *EVENT]).astype("float32")
Y = RNG.normal(size=[ROWS, 2]).astype("float32")
HEAD = gx.distributions.IndependentNormal([2])
OTHERS = [C[..., 0], C[:, :, 0, None, None], np.zeros([ROWS, 20, 2]), np.zeros([ROWS, 5, 1])]


def flow():
    return gx.flows.maf([2], num_layers=1, hidden_units=[4], conditional_event_shape=EVENT)


def made():
    head = gx.distributions.IndependentNormal([])
    return gx.autoregressive.made([2], hidden_units=[4], head=head, conditional_event_shape=EVENT)


def conditional():
    """A mean over time of `[20, 1]`, which a functional model takes for 20 rows of `[1]`."""
    layers = [keras.Input(EVENT), keras.layers.GlobalAveragePooling1D()]
    return gx.distributions.Conditional(
        keras.Sequential([*layers, keras.layers.Dense(HEAD.params_size)]), HEAD
    )


def part(inputs):
    x, c = keras.Input([inputs]), keras.Input(EVENT)
    features = keras.layers.Concatenate()([x, keras.layers.Flatten()(c)])
    network = keras.Model([x, c], keras.layers.Dense(HEAD.params_size)(features))
    return gx.distributions.Conditional(network, HEAD)


def vae():
    return gx.models.VAE(part(2), part(2), prior=flow(), conditional_event_shape=EVENT)


BOUND = {
    "flow": lambda: lambda c: gx.flows.condition(flow(), c),
    "autoregressive": lambda: made().condition,
    "conditional": conditional,
    "model": lambda: gx.models.DensityModel(conditional()).distribution,
}


@pytest.mark.parametrize("name", BOUND)
def test_leading_dimensions_are_free_where_a_context_is_bound(name):
    bind = BOUND[name]()
    assert bind(C[0]).batch_shape == []
    assert bind(C).batch_shape == [ROWS]
    assert bind(C.reshape([2, 3, *EVENT])).batch_shape == [2, 3]
    for other in OTHERS:
        with pytest.raises(
            ValueError, match=r"` must be of shape \[\.\.\., 20, 1\]\. Received: sha"
        ):
            bind(other)


def test_a_single_context_has_the_distribution_that_it_has_in_a_batch():
    bound = conditional()
    one, several = bound(C[2]), bound(C)
    np.testing.assert_allclose(one.mean(), several.mean()[2], rtol=1e-6)
    np.testing.assert_allclose(bound(C[2:4][None]).mean()[0], several.mean()[2:4], rtol=1e-6)


MODELS = {
    "flow": lambda: gx.models.DensityModel(flow()),
    "made": lambda: gx.models.DensityModel(made()),
    "conditional": lambda: gx.models.DensityModel(conditional()),
    "vae": vae,
}


@pytest.mark.parametrize("name", MODELS)
def test_models_take_batches_of_contexts_alone(name):
    model = MODELS[name]()
    for other in (C[0], *OTHERS):
        message = r"`conditional_input` must be numbers of shape \[N, 20, 1\]\. Received: shape"
        with pytest.raises(ValueError, match=message):
            model.sample(2, conditional_input=other)
        with pytest.raises(ValueError, match=message):
            model.predict((other, Y), verbose=0)
        if name == "vae":
            with pytest.raises(ValueError, match=message):
                model.encode(Y, other)
            with pytest.raises(ValueError, match=message):
                model.decode(Y, other)
    with pytest.raises(ValueError, match="`conditional_input` must be finite. Received: 1 NaN"):
        spoiled = C.copy()
        spoiled[1, 2] = np.nan
        model.sample(2, conditional_input=spoiled)


def test_keyword_arguments_of_flows_are_checked_alike():
    for other in OTHERS:
        with pytest.raises(
            ValueError, match=r"`conditional_input` must be of shape \[\.\.\., 20, 1"
        ):
            flow().log_prob(Y, bijector_kwargs={"conditional_input": tf.constant(other)})
    # One context for all rows.
    kwargs = {"bijector_kwargs": {"conditional_input": C[0]}}
    assert flow().log_prob(Y, **kwargs).shape == [ROWS]
