"""The multilayer perceptron."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import tfp_genext as gx


def _numpy_forward(network, x):
    *hidden, last = [*network.hidden_layers, network.params_layer]
    for layer in hidden:
        x = np.maximum(x @ layer.kernel.numpy() + layer.bias.numpy(), 0.0)
    return (x @ last.kernel.numpy() + last.bias.numpy()).reshape(len(x), *network.params_shape)


@pytest.mark.parametrize("hidden_units", [[], [7], [7, 9]])
@pytest.mark.parametrize("context", [None, (3,), (2, 2), ()])
def test_equals_numpy(hidden_units, context):
    network = gx.networks.MLP([4, 2], hidden_units, conditional_event_shape=context)
    rng = np.random.default_rng(0)
    x = rng.normal(size=[6, 5]).astype("float32")
    arguments, seen = {}, x
    if context is not None:
        c = rng.normal(size=[6, *context]).astype("float32")
        arguments, seen = {"conditional_input": c}, np.c_[x, c.reshape(6, -1)]
    assert np.abs(network(x, **arguments)).max() == 0.0
    network.params_layer.kernel.assign(rng.normal(size=network.params_layer.kernel.shape))
    found = network(x, **arguments)
    np.testing.assert_allclose(found, _numpy_forward(network, seen), rtol=1e-4, atol=1e-5)


def test_unstacked_parameters_come_as_a_tuple():
    network = gx.networks.MLP([3, 2], [8], unstacked=True)
    x = np.random.default_rng(0).normal(size=[6, 5]).astype("float32")
    network(x)
    network.params_layer.kernel.assign(
        np.random.default_rng(1).normal(size=network.params_layer.kernel.shape)
    )
    parts = network(x)
    hidden = np.maximum(x @ network.hidden_layers[0].kernel.numpy(), 0.0)
    expected = hidden @ network.params_layer.kernel.numpy()
    assert isinstance(parts, tuple) and [p.shape for p in parts] == [(6, 3), (6, 3)]
    np.testing.assert_allclose(np.concatenate(parts, axis=-1), expected, rtol=1e-4, atol=1e-5)
    copied = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
    assert copied.unstacked


def test_config_round_trip_keeps_everything():
    network = gx.networks.MLP(
        [3, 2], [8], activation="gelu", conditional_event_shape=[4], dtype="float64", name="net"
    )
    network.build((None, 5))
    config = keras.saving.serialize_keras_object(network)
    assert config["registered_name"] == "tfp_genext>MLP"
    other = keras.saving.deserialize_keras_object(config)
    assert other.get_config() == network.get_config()
    assert [v.shape for v in other.variables] == [v.shape for v in network.variables]
    assert {v.dtype for v in other.variables} == {"float64"}


def test_lives_in_a_functional_model_and_a_keras_file(tmp_path):
    inputs = keras.Input([5])
    model = keras.Model(inputs, gx.networks.MLP([3], [8])(inputs))
    x = np.ones([2, 5], "float32")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))


def test_refuses_bad_sizes_and_contexts():
    for arguments, error, text in (
        (([0, 2], [8]), ValueError, r"`params_shape\[0\]` must be an integer of at least 1"),
        (([2], [8.5]), TypeError, r"`hidden_units\[0\]` must be an integer of at least 1"),
        (([2], 8), TypeError, "`hidden_units` must be a sequence of positive integers"),
    ):
        with pytest.raises(error, match=text + ". Received: "):
            gx.networks.MLP(*arguments)
    x = np.ones([2, 5], "float32")
    with pytest.raises(
        ValueError, match=r"`conditional_input` must be None.*Received: shape \[2, 3\]"
    ):
        gx.networks.MLP([2], [8])(x, conditional_input=np.ones([2, 3], "float32"))
    conditional = gx.networks.MLP([2], [8], conditional_event_shape=[3])
    with pytest.raises(ValueError, match=r"`conditional_input` must be of shape \[N, 3\].*None"):
        conditional(x)
    with pytest.raises(ValueError, match=r"of shape \[N, 3\].*Received: shape \[2, 4\]"):
        conditional(x, conditional_input=np.ones([2, 4], "float32"))
