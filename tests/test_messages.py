"""Messages for what users of TFP, tf_keras and Keras try first: each says the way out."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions

FLOW = {"num_layers": 2, "hidden_units": [4]}


def normal(size):
    return tfd.Sample(tfd.Normal(0.0, 1.0), size)


@pytest.mark.parametrize(
    "call",
    [
        lambda: gx.flows.real_nvp([2], **FLOW).log_prob(keras.Input([2])),
        lambda: gx.flows.maf([2], **FLOW).log_prob(keras.Input([2])),
        lambda: gx.flows.maf([2], **FLOW).bijector.forward(keras.Input([2])),
        lambda: gx.bijectors.Permute([1, 0]).forward(keras.Input([2])),
        lambda: gx.bijectors.Squeeze().inverse(keras.Input([2, 2, 4])),
    ],
    ids=["real_nvp", "maf", "forward", "permute", "squeeze"],
)
def test_a_symbolic_tensor_of_keras(call):
    with pytest.raises(TypeError, match=r"must be a tensor of TensorFlow.*symbolic.*Received: "):
        call()


@pytest.mark.parametrize("network", [tf_keras.layers.Dense(4), tf_keras.Sequential()])
def test_a_network_of_tf_keras_in_a_coupling(network):
    pattern = r"must be a Keras 3 layer.*gx\.networks\.MLP.*Received: .*of type tf_keras\."
    with pytest.raises(TypeError, match=f"`shift_and_log_scale_fn` {pattern}"):
        gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=network)
    with pytest.raises(TypeError, match=f"`conditioner` {pattern}"):
        gx.bijectors.AdditiveCoupling(1, conditioner=network)


def test_a_layer_of_tf_keras_that_takes_the_number_of_units_is_taken():
    class Shift(tf_keras.layers.Layer):
        def call(self, x0, num_units):
            return tf.repeat(x0, num_units, axis=-1), None

    coupling = gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=Shift())
    assert coupling.forward([1.0, 2.0, 3.0]).numpy().tolist() == [1.0, 3.0, 4.0]


@pytest.mark.parametrize(
    "build, value",
    [
        (lambda f: gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=f), tf.ones([2, 4])),
        (lambda f: gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=f), 3.0),
        (gx.bijectors.MaskedAutoregressive, tf.ones([2, 6])),
        (gx.bijectors.MaskedAutoregressive, (1.0, 2.0, 3.0)),
    ],
)
def test_a_function_that_returns_no_pair(build, value):
    bijector = build(lambda *inputs: value)
    pattern = r"`shift_and_log_scale_fn` must return a pair \(shift, log_scale\).*Received: "
    with pytest.raises(ValueError, match=pattern):
        bijector.inverse(tf.ones([2, 3]))


def test_a_stacked_pair_is_taken_as_tfp_takes_it():
    x = tf.constant([[1.0, 2.0, 3.0]])
    stack = lambda x0, n: tf.stack([tf.repeat(x0, n, axis=-1)] * 2)  # noqa: E731
    ours = gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=stack)
    theirs = tfb.RealNVP(1, shift_and_log_scale_fn=stack)
    np.testing.assert_allclose(ours.forward(x), theirs.forward(x), rtol=1e-6)


def test_the_argument_of_a_network_of_another_size_is_named():
    layer = keras.layers.Dense(5, name="five")
    coupling = gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=layer)
    pattern = r"`shift_and_log_scale_fn` must return parameters of shape.*\[2, 5\].*`five`"
    with pytest.raises(ValueError, match=pattern):
        coupling.forward(tf.ones([2, 3]))


def test_a_misspelt_activation():
    with pytest.raises(ValueError, match="`activation` must be .*did you mean 'relu'"):
        gx.flows.maf([2], **FLOW, activation="rellu")
