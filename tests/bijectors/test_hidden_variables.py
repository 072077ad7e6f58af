"""Tests of the warning of variables that a bijector does not show."""

from __future__ import annotations

import warnings

import keras
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

import tfp_genext as gx

tfb = tfp.bijectors
NAMES_MLP = r"`shift_and_log_scale_fn` must show its variables.*gx\.networks\.MLP"
NAMES_MADE = r"`shift_and_log_scale_fn` must show its variables.*gx\.networks\.MADE"


def _net():
    net = keras.Sequential([keras.layers.Dense(4)])
    net.build((None, 1))
    return net


def test_a_template_is_warned_of_at_construction():
    template = tfb.real_nvp_default_template(hidden_layers=[4])
    with pytest.warns(UserWarning, match=NAMES_MLP):
        coupling = gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=template)
    coupling.forward(tf.ones([2, 3]))
    # As the warning says, and as with TFP's class.
    assert coupling.trainable_variables == () and len(template.trainable_variables) == 4


def test_an_autoregressive_template_is_warned_of_at_construction():
    template = tfb.masked_autoregressive_default_template(hidden_layers=[4])
    with pytest.warns(UserWarning, match=NAMES_MADE):
        gx.bijectors.MaskedAutoregressive(template)


def test_variables_in_a_closure_are_warned_of_once():
    net = _net()
    coupling = gx.bijectors.AffineCoupling(
        1, shift_and_log_scale_fn=lambda x, n: tf.split(net(x), 2, axis=-1)
    )
    with pytest.warns(UserWarning, match=f"{NAMES_MLP}.*kernel"):
        coupling.forward(tf.ones([2, 3]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coupling.inverse(tf.ones([2, 3]))


def test_variables_made_in_a_function_are_warned_of_in_a_graph_too():
    made = []

    def function(y):
        if not made:
            made.append(tf.Variable(tf.ones([3]), name="scale"))
        return made[0] * tf.zeros_like(y), tf.zeros_like(y)

    flow = gx.bijectors.MaskedAutoregressive(function)
    with pytest.warns(UserWarning, match=f"{NAMES_MADE}.*scale"):
        tf.function(flow.inverse)(tf.ones([2, 3]))


@pytest.mark.parametrize("name", ["SplineCoupling", "AdditiveCoupling", "NeuralAutoregressive"])
def test_conditioners_are_watched_as_well(name):
    scale = tf.Variable(0.0)
    transformer = gx.transformers.Spline(num_bins=2)
    size = 1 if name == "AdditiveCoupling" else transformer.params_size
    rest = {} if name == "AdditiveCoupling" else {"transformer": transformer}
    masked = {} if name == "NeuralAutoregressive" else {"num_masked": 1}

    def conditioner(x, n):
        return scale * tf.ones([*x.shape[:-1], n, size])

    bijector = getattr(gx.bijectors, name)(conditioner=conditioner, **masked, **rest)
    with pytest.warns(UserWarning, match="`conditioner` must show its variables"):
        bijector.inverse(tf.ones([2, 3]))


def _shown():
    net, scale = _net(), tf.Variable(1.0)
    attribute = gx.bijectors.AffineCoupling(
        1, shift_and_log_scale_fn=lambda x, n: (scale * tf.repeat(x, n, -1), None)
    )
    # The way that TFP documents for functions.
    attribute._scale = scale
    return [
        attribute,
        gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=lambda x, n: (x + 1.0, None)),
        gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=gx.networks.MLP([2, 2], [4])),
        gx.bijectors.AffineCoupling(1, bijector_fn=lambda x, n: tfb.Shift(tf.repeat(x, n, -1))),
        gx.bijectors.AdditiveCoupling(1, conditioner=net_of_two(net)),
        gx.bijectors.MaskedAutoregressive(tfb.AutoregressiveNetwork(2, hidden_units=[4])),
        gx.bijectors.MaskedAutoregressive(lambda y: (tf.zeros_like(y), None)),
    ]


def net_of_two(net):
    class Conditioner(tf.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def __call__(self, x, n):
            return self.net(x)[..., :n]

    return Conditioner()


def test_functions_without_variables_and_what_shows_them_are_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bijector in _shown():
            bijector.inverse(tf.ones([2, 3]))


def test_a_network_of_tf_keras_shows_its_variables_once_built():
    network = tfb.AutoregressiveNetwork(2, hidden_units=[4])
    assert isinstance(network, tf_keras.layers.Layer)
    flow = gx.bijectors.MaskedAutoregressive(network)
    flow.inverse(tf.ones([2, 3]))
    assert len(flow.trainable_variables) == 4
