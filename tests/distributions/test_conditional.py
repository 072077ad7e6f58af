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


def test_a_flow_on_top_is_the_flow_of_the_head_with_its_context():
    head = gx.distributions.IndependentNormal([2])
    flow = gx.flows.iaf([2], num_layers=2, hidden_units=[8], conditional_event_shape=[3])
    for variable in flow.trainable_variables:
        variable.assign_add(0.3 * tf.random.stateless_normal(variable.shape, [3, 4]))
    network = keras.layers.Dense(head.params_size + 3)
    conditional = gx.distributions.Conditional(network, head, bijector=flow.bijector)
    x, y = tf.random.stateless_normal([5, 6], [1, 2]), tf.random.stateless_normal([5, 2], [1, 3])
    params = network(x)
    z = flow.bijector.inverse(y, conditional_input=params[:, 4:])
    log_det = flow.bijector.inverse_log_det_jacobian(y, 1, conditional_input=params[:, 4:])
    expected = head(params[:, :4]).log_prob(z) + log_det
    np.testing.assert_allclose(conditional(x).log_prob(y), expected, rtol=1e-5)
    assert len(conditional.trainable_variables) == 2 + len(flow.trainable_variables)
    assert conditional.event_shape == (2,) and conditional.event_dtype == tf.float32


@pytest.mark.parametrize("kind", ["ours", "functional"])
def test_contexts_reach_networks_by_name_or_in_a_list(kind):
    head = gx.distributions.IndependentNormal([2])
    if kind == "ours":
        network = gx.networks.MLP((4,), [8], conditional_event_shape=[3])
    else:
        x, c = keras.Input([5]), keras.Input([3])
        joined = keras.layers.Concatenate()([x, c])
        network = keras.Model([x, c], keras.layers.Dense(4)(joined))
    conditional = gx.distributions.Conditional(network, head)
    x, c = tf.ones([7, 5]), tf.random.stateless_normal([7, 3], [1, 2])
    given = network(x, conditional_input=c) if kind == "ours" else network([x, c])
    np.testing.assert_array_equal(conditional(x, c).mean(), head(given).mean())


def test_a_vamp_prior_is_the_mixture_of_its_posteriors():
    head = gx.distributions.IndependentNormal([2])
    encoder = gx.distributions.Conditional(keras.layers.Dense(head.params_size), head)
    inputs = tf.Variable(tf.random.stateless_normal([4, 5], [1, 2]))
    prior = gx.distributions.VampPrior(encoder, inputs)
    z = tf.random.stateless_normal([6, 2], [1, 3])
    each = np.stack([encoder(inputs[k : k + 1]).log_prob(z).numpy() for k in range(4)])
    np.testing.assert_allclose(prior.log_prob(z), np.log(np.exp(each).mean(axis=0)), rtol=1e-5)
    assert len(prior.trainable_variables) == 3
    samples = prior.sample(20_000, seed=[1, 4])
    np.testing.assert_allclose(tf.reduce_mean(samples, 0), prior.mean(), atol=0.05)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: gx.distributions.Conditional(tf.exp, regression().head), "`network` must be"),
        (lambda: gx.distributions.Conditional(keras.layers.Dense(4), "normal"), "`head` must be"),
        (lambda: regression()(keras.Input([3])), "`x` must be a tensor"),
        (lambda: gx.distributions.VampPrior(tf.exp, tf.zeros([3, 2])), "`encoder` must be"),
        (
            lambda: gx.distributions.Conditional(
                keras.layers.Dense(4), regression().head, bijector="iaf"
            ),
            "`bijector` must be",
        ),
    ],
)
def test_wrong_arguments_are_named(build, text):
    with pytest.raises(TypeError, match=text + ".*Received"):
        build()
