"""Networks that end in a distribution."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_genext as gx


def regression():
    head = gx.distributions.IndependentNormal([2])
    network = keras.Sequential([keras.Input([3]), keras.layers.Dense(head.params_size)])
    return gx.distributions.Conditional(network, head)


def test_is_the_head_of_what_the_network_says():
    conditional, x = regression(), tf.ones([5, 3])
    y = tf.zeros([5, 2])
    expected = conditional.head(conditional.network(x)).log_prob(y)
    np.testing.assert_array_equal(conditional(x).log_prob(y), expected)
    compiled = tf.function(lambda x: conditional(x).log_prob(y))
    np.testing.assert_allclose(compiled(x), expected, rtol=1e-6)
    assert conditional.event_shape == (2,)
    assert len(conditional.trainable_variables) == 2


def test_learns_by_maximum_likelihood():
    conditional = regression()
    rng = np.random.default_rng(0)
    x = rng.normal(size=[500, 3]).astype("float32")
    y = (x[:, :2] * [2.0, -1.0] + 0.1 * rng.normal(size=[500, 2])).astype("float32")
    optimizer = keras.optimizers.Adam(0.1)
    for _ in range(200):
        with tf.GradientTape() as tape:
            nll = -tf.reduce_mean(conditional(x).log_prob(y))
        optimizer.apply(
            tape.gradient(nll, conditional.trainable_variables), conditional.trainable_variables
        )
    np.testing.assert_allclose(conditional(x).mean(), x[:, :2] * [2.0, -1.0], atol=0.1)
    np.testing.assert_allclose(conditional(x).stddev(), np.full([500, 2], 0.1), atol=0.05)


def test_computes_in_16_bits_and_gives_32():
    head = gx.distributions.IndependentNormal([2])
    network = keras.layers.Dense(head.params_size, dtype="mixed_float16")
    conditional = gx.distributions.Conditional(network, head, dtype="mixed_float16")
    assert conditional(tf.ones([5, 3])).dtype == tf.float32


def test_comes_back_from_its_config_with_its_training_argument():
    head = gx.distributions.IndependentBernoulli([2])
    network = keras.Sequential(
        [keras.Input([3]), keras.layers.Dropout(0.5), keras.layers.Dense(head.params_size)]
    )
    conditional = gx.distributions.Conditional(network, head, name="decoder")
    config = keras.saving.serialize_keras_object(conditional)
    again = keras.saving.deserialize_keras_object(config)
    again.set_weights(conditional.get_weights())
    x = tf.ones([50, 3])
    assert again.name == "decoder" and again.head == head
    np.testing.assert_array_equal(again(x).mean(), conditional(x).mean())
    noisy = conditional(x, training=True).mean()
    assert np.ptp(noisy, axis=0).max() > 0.0


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: gx.distributions.Conditional(tf.exp, regression().head), "`network` must be"),
        (lambda: gx.distributions.Conditional(keras.layers.Dense(4), "normal"), "`head` must be"),
        (lambda: regression()(keras.Input([3])), "`x` must be a tensor"),
    ],
)
def test_wrong_arguments_are_named(build, text):
    with pytest.raises(TypeError, match=text + ".*Received"):
        build()
