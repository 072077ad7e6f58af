"""Convolutional conditioners."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import registry
import tensorflow as tf

import tfp_genext as gx


@pytest.mark.parametrize(("channels", "edge"), [(3, False), (3, True), (0, True)])
def test_weight_norm_is_its_formula_by_loops(channels, edge):
    layer = gx.networks.WeightNormConv(2, 3, edge_padding=edge, dtype="float64")
    x = np.random.default_rng(0).normal(size=[2, 4, 5, channels])
    layer(x)
    layer.length.assign([2.0, 0.5])
    layer.bias.assign([0.1, -0.2])
    v = layer.direction.numpy()
    kernel = v / np.sqrt((v**2).sum(axis=(0, 1, 2))) * [2.0, 0.5]
    around = [[0, 0], [1, 1], [1, 1], [0, 0]]
    padded = np.pad(x, around)
    if edge:
        ones = np.pad(np.zeros([2, 4, 5, 1]), around, constant_values=1.0)
        padded = np.concatenate([padded, ones], axis=-1)
    expected = np.zeros([2, 4, 5, 2])
    for i in range(4):
        for j in range(5):
            window = padded[:, i : i + 3, j : j + 3]
            expected[:, i, j] = np.einsum("nhwc,hwco->no", window, kernel)
    expected += np.array([0.1, -0.2])
    np.testing.assert_allclose(layer(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("edge", [False, True])
def test_no_rows_give_no_rows(edge):
    layer = gx.networks.WeightNormConv(2, 3, edge_padding=edge)
    assert layer(tf.zeros([0, 4, 5, 3])).shape == (0, 4, 5, 2)


def test_edge_padding_shows_where_the_image_ends():
    layer = gx.networks.WeightNormConv(4, 3, edge_padding=True)
    y = layer(tf.zeros([1, 5, 5, 2])).numpy()
    inner = y[:, 1:-1, 1:-1]
    np.testing.assert_array_equal(inner, np.broadcast_to(inner[:, :1, :1], inner.shape))
    assert np.abs(y[:, 0] - y[:, 2]).max() > 1e-3
    plain = gx.networks.WeightNormConv(4, 3)(tf.zeros([1, 5, 5, 2])).numpy()
    np.testing.assert_array_equal(plain, np.zeros_like(plain))


@pytest.mark.parametrize(("hidden", "num_blocks"), [(None, 0), (8, 0), (8, 2)])
@pytest.mark.parametrize("context", [None, (3,)])
def test_starts_at_zero_and_every_variable_learns(hidden, num_blocks, context):
    network = gx.networks.ConvNet(
        (2, 2), hidden, num_blocks=num_blocks, conditional_event_shape=context, activation="tanh"
    )
    network.build((None, None, None, 3))
    x = registry.points((4, 6, 5, 3), "float32")
    kwargs = {} if context is None else {"conditional_input": registry.points((4, 3), "float32")}
    params = network(x, **kwargs)
    assert params.shape == (4, 6, 5, 2, 2)
    np.testing.assert_array_equal(params, np.zeros(params.shape))
    for i, variable in enumerate(network.trainable_variables):
        noise = tf.random.stateless_normal(variable.shape, [1, i])
        variable.assign_add(0.1 * noise)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(x, **kwargs) ** 2)
    for gradient in tape.gradient(loss, [v.value for v in network.trainable_variables]):
        assert gradient is not None and np.abs(gradient).max() > 0.0


def test_unstacked_parameters_are_the_stacked_ones():
    options = {"conditional_event_shape": None, "num_blocks": 1}
    stacked = gx.networks.ConvNet((2, 3), 4, **options)
    apart = gx.networks.ConvNet((2, 3), 4, unstacked=True, **options)
    x = registry.points((2, 4, 4, 1), "float32")
    stacked(x), apart(x)
    for a, b in zip(apart.variables, stacked.variables, strict=True):
        b.assign_add(0.3)
        a.assign(b)
    parts = apart(x)
    assert len(parts) == 3 and parts[0].shape == (2, 4, 4, 2)
    # The order on the last axis differs: apart, the values of one parameter stand together.
    flat = np.concatenate(parts, axis=-1)
    np.testing.assert_allclose(flat, np.reshape(stacked(x), flat.shape), rtol=1e-6)


def test_comes_back_from_its_config():
    network = gx.networks.ConvNet(
        (2, 2), 8, num_blocks=1, edge_padding=False, conditional_event_shape=[3], unstacked=True
    )
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
    assert again.get_config() == network.get_config()
    conv = gx.networks.WeightNormConv(3, 5, edge_padding=True, gain=0.5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(conv))
    assert again.get_config() == conv.get_config()
