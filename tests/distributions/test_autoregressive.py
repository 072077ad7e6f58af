"""Autoregressive distributions against flows, enumeration and counts; what they refuse."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfd = tfp.distributions
heads = gx.distributions
autoregressive = gx.autoregressive


def perturbed(distribution, size=0.5):
    registry.perturb(distribution, size=size)
    return distribution


def test_normal_entries_are_a_layer_of_maf():
    distribution = perturbed(
        autoregressive.made(
            [5], hidden_units=[8], head=heads.IndependentNormal([]), direct=False, dtype="float64"
        )
    )
    network = distribution.network
    flow = tfd.TransformedDistribution(
        tfd.Sample(tfd.Normal(tf.constant(0.0, tf.float64), 1.0), 5),
        gx.bijectors.MaskedAutoregressive(
            network,
            transformer=gx.transformers.Affine(scale_map=gx.transformers.ExpScale(bound=5.0)),
        ),
    )
    x = registry.points((7, 5), "float64")
    np.testing.assert_allclose(distribution.log_prob(x), flow.log_prob(x), rtol=1e-12)
    noise = distribution.noise([7], [1, 2])
    z = tfd.Normal(tf.constant(0.0, tf.float64), 1.0).quantile(noise.u)
    np.testing.assert_allclose(distribution.from_noise(noise), flow.bijector.forward(z), rtol=1e-9)


@pytest.mark.parametrize(
    "network", [gx.networks.PixelCNN, gx.networks.PlainPixelCNN, gx.networks.RowLSTM]
)
def test_networks_of_images_are_layers_of_flows(network):
    conditioner = network([2, 3, 1], 2, num_layers=1, filters=2, first_kernel_size=3)
    conditioner.build((None, 2, 3, 1))
    layer = gx.bijectors.MaskedAutoregressive(conditioner, event_ndims=3)
    registry.perturb(layer)
    z = registry.points((4, 2, 3, 1), "float32")
    x, log_det = layer.forward(z), layer.forward_log_det_jacobian(z, 3)
    np.testing.assert_allclose(layer.inverse(tf.identity(x)), z, atol=1e-5)
    other_way = layer.inverse_log_det_jacobian(tf.identity(x), 3)
    np.testing.assert_allclose(log_det, -other_way, atol=1e-5)


@pytest.mark.parametrize("head", [heads.IndependentNormal([3]), heads.RelaxedBernoulli([3])])
def test_continuous_entries_let_gradients_through_samples(head):
    distribution = perturbed(autoregressive.made([3], hidden_units=[8], head=head))
    assert distribution.reparameterization_type == tfd.FULLY_REPARAMETERIZED
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(distribution.sample(50, seed=[1, 2]) ** 2)
    for gradient in tape.gradient(loss, distribution.trainable_variables):
        assert np.abs(gradient).max() > 0.0
    bits = autoregressive.made([3], hidden_units=[8])
    assert bits.reparameterization_type == tfd.NOT_REPARAMETERIZED


def test_probabilities_of_twelve_bits_sum_to_one():
    distribution = perturbed(
        autoregressive.made([12], hidden_units=[20, 20], num_masks=4, dtype="float64")
    )
    every = np.array(list(itertools.product([0.0, 1.0], repeat=12)))
    assert np.exp(distribution.log_prob(every)).sum() == pytest.approx(1.0, abs=1e-6)


def test_several_masks_are_the_mean_of_their_models():
    distribution = perturbed(
        autoregressive.made([5], hidden_units=[9], num_masks=3, dtype="float64")
    )
    x = np.random.default_rng(0).integers(0, 2, [6, 5]).astype(float)
    each = [np.exp(distribution.training_log_prob(x, step)) for step in range(3)]
    assert np.abs(each[0] - each[1]).max() > 1e-3
    np.testing.assert_allclose(np.exp(distribution.log_prob(x)), np.mean(each, axis=0), rtol=1e-12)
    # They take turns, in the graph of a step as well.
    step = tf.function(distribution.training_log_prob)
    for number in range(4):
        found = step(tf.constant(x), tf.constant(number))
        np.testing.assert_allclose(np.exp(found), each[number % 3], rtol=1e-12)


def test_training_takes_turns_and_reports_the_mean():
    distribution = autoregressive.made([6], hidden_units=[16], num_masks=2)
    model = gx.models.DensityModel(distribution)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    registry.perturb(distribution)
    x = np.random.default_rng(0).integers(0, 2, [64, 6])
    history = model.fit(x, batch_size=32, epochs=1, shuffle=False, verbose=0).history
    expected = [
        -np.mean(distribution.training_log_prob(x[:32], 0)),
        -np.mean(distribution.training_log_prob(x[32:], 1)),
    ]
    assert history["nll"][0] == pytest.approx(np.mean(expected), rel=1e-5)
    assert model.evaluate(x, verbose=0, return_dict=True)["nll"] == pytest.approx(
        -np.mean(distribution.log_prob(x)), rel=1e-5
    )


@pytest.mark.parametrize("masks", [1, 4])
def test_made_learns_a_distribution_of_bits(masks):
    """Three bits, the last one the parity of the others: far from independent."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, [2000, 3])
    x[:, 2] = x[:, 0] ^ x[:, 1]
    model = gx.models.DensityModel(autoregressive.made([3], hidden_units=[32, 32], num_masks=masks))
    model.compile(optimizer=keras.optimizers.Adam(5e-3))
    model.fit(x, batch_size=50, epochs=15, verbose=0)
    # The truth has 2 log 2 = 1.39 nats, independent bits 3 log 2 = 2.08.
    assert model.evaluate(x, verbose=0, return_dict=True)["nll"] < 1.45


def test_whole_numbers_may_come_in_any_dtype():
    model = gx.models.DensityModel(autoregressive.made([4], hidden_units=[8], num_classes=3))
    x = np.random.default_rng(0).integers(0, 3, [20, 4])
    expected = model.predict(x, verbose=0)
    for dtype in ("uint8", "int64", "float32", "float64"):
        np.testing.assert_array_equal(model.predict(x.astype(dtype), verbose=0), expected)


def test_events_may_have_any_shape_and_images_bits_per_dimension():
    distribution = autoregressive.made([4, 4, 1], hidden_units=[8])
    model = gx.models.DensityModel(distribution, bits_per_dim=True)
    model.compile()
    x = np.random.default_rng(0).integers(0, 2, [10, 4, 4, 1])
    found = model.evaluate(x, verbose=0, return_dict=True)
    # New, each bit is a half.
    assert found["nll"] == pytest.approx(16 * np.log(2.0), rel=1e-5)
    assert found["bits_per_dim"] == pytest.approx(1.0, rel=1e-5)
    assert model.sample(3, seed=[1, 2]).shape == (3, 4, 4, 1)


class Causal(keras.layers.Layer):
    """A user's own network: each entry sees the sum of those before it."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def build(self, x_shape):
        self.dense.build((None, 1))

    def call(self, x):
        before = keras.ops.cumsum(x, axis=-1) - x
        return self.dense(before[..., None])


def test_any_causal_network_serves_by_one_pass_for_each_entry():
    distribution = perturbed(
        heads.Autoregressive(Causal(), heads.IndependentCategorical([4], 2)), size=1.0
    )
    every = np.array(list(itertools.product([0, 1], repeat=4)))
    probabilities = np.exp(distribution.log_prob(every))
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    samples = distribution.sample(20_000, seed=[1, 2]).numpy()
    found = np.bincount(samples @ [8, 4, 2, 1], minlength=16)
    expected = 20_000 * probabilities
    assert ((found - expected) ** 2 / expected).sum() < 15 + 5 * np.sqrt(30)
    x = distribution.complete(np.ones([5, 4], np.int32), 2, seed=[1, 2])
    np.testing.assert_array_equal(x[:, :2], np.ones([5, 2]))


def test_a_context_is_given_by_condition_or_by_name():
    distribution = perturbed(
        autoregressive.made([4], hidden_units=[8], conditional_event_shape=[2, 1])
    )
    c = registry.points((5, 2, 1), "float32")
    x = np.ones([5, 4], "float32")
    bound = gx.flows.condition(distribution, c)
    assert bound.batch_shape == [5]
    np.testing.assert_allclose(
        bound.log_prob(x), distribution.log_prob(x, conditional_input=c), rtol=1e-6
    )
    assert np.ptp(bound.log_prob(x)) > 1e-3
    assert bound.sample(3, seed=[1, 2]).shape == [3, 5, 4]


def test_an_event_may_be_a_single_entry():
    distribution = perturbed(autoregressive.made([], hidden_units=[4], num_classes=3))
    assert distribution.sample(5, seed=[1, 2]).shape == [5]
    total = tf.reduce_sum(distribution.prob(np.arange(3)))
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)
    np.testing.assert_array_equal(distribution.complete(np.array([2, 1]), 1), [2, 1])


def test_one_event_is_completed_anew_for_each_context():
    distribution = autoregressive.made([20], hidden_units=[8], conditional_event_shape=[2])
    bound = distribution.condition(np.zeros([50, 2]))
    completed = bound.complete(np.ones([20]), 10, seed=[1, 2]).numpy()
    assert completed.shape == (50, 20)
    assert np.all(completed[:, :10] == 1)
    # All contexts are one and the same here, and a draw of ten bits hardly ever comes twice.
    assert len(np.unique(completed, axis=0)) > 40
    assert bound.complete(np.ones([20]), 20).shape == (50, 20)


def test_contexts_may_be_arrays_lists_and_variables():
    distribution = perturbed(
        autoregressive.made([4], hidden_units=[8], conditional_event_shape=[2])
    )
    contexts = np.linspace(-1.0, 1.0, 6).reshape([3, 2])
    expected = distribution.condition(contexts).log_prob(np.ones([4]))
    held = tf.Variable(contexts.astype("float32"))
    for given in (contexts, contexts.tolist(), tf.constant(contexts), held):
        found = distribution.copy(conditional_input=given)
        assert found.batch_shape == [3]
        assert found[1].batch_shape == []
        np.testing.assert_allclose(found.log_prob(np.ones([4])), expected, rtol=1e-6)
    held.assign(held[::-1])
    np.testing.assert_allclose(found.log_prob(np.ones([4])), expected[::-1], rtol=1e-6)


def test_sizes_that_a_graph_does_not_know_are_those_of_the_event():
    distribution = perturbed(autoregressive.made([4], hidden_units=[8]))
    log_prob = tf.function(
        distribution.log_prob, input_signature=[tf.TensorSpec([None, None], tf.float32)]
    )
    x = np.ones([3, 4], "float32")
    np.testing.assert_allclose(log_prob(tf.constant(x)), distribution.log_prob(x), rtol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError):
        log_prob(tf.ones([3, 5]))


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({}, 0.5),
        ({"num_classes": 3}, 0.5),
        ({"num_classes": 3}, 4.0),
        ({"head": heads.QuantizedLogistics([], num_values=3)}, 0.5),
    ],
)
def test_validated_arguments_are_checked_in_graphs_too(options, wrong):
    distribution = made(validate_args=True, **options)
    log_prob = tf.function(distribution.log_prob)
    x = np.ones([2, 4], "float32")
    np.testing.assert_allclose(log_prob(tf.constant(x)), distribution.log_prob(x), rtol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError):
        log_prob(tf.fill([2, 4], wrong))


def test_a_network_may_give_its_parameters_one_by_one():
    head = heads.IndependentNormal([])
    network = gx.networks.MADE(4, 2, [8], unstacked=True)
    distribution = heads.Autoregressive(network, head)
    x, log_prob = distribution.experimental_sample_and_log_prob(5, seed=[1, 2])
    np.testing.assert_allclose(distribution.log_prob(tf.identity(x)), log_prob, rtol=1e-5)


@pytest.fixture
def parts():
    """A VAE's parts for images of bits: latents, and an encoder."""
    normal = heads.IndependentNormal([2])
    encoder = heads.Conditional(
        keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(normal.params_size)]), normal
    )
    prior = tfd.Independent(tfd.Normal(tf.zeros([2]), 1.0), 1)
    images = np.random.default_rng(0).integers(0, 2, [64, 4, 4, 1]).astype("float32")
    return encoder, prior, images


def test_a_pixel_cnn_decodes_the_latents_of_a_vae(parts, tmp_path):
    encoder, prior, images = parts
    pixels = autoregressive.pixel_cnn(
        [4, 4, 1], num_layers=2, filters=4, first_kernel_size=3, conditional_event_shape=[2]
    )
    decoder = heads.Conditional(keras.layers.Identity(), pixels)
    vae = gx.models.VAE(encoder, decoder, prior=prior, seed=1)
    vae.compile(optimizer=keras.optimizers.Adam(1e-2))
    held = {id(v) for v in pixels.trainable_variables}
    assert held <= {id(v._value) for v in vae.trainable_variables}
    losses = vae.fit(images, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert vae.sample(3, seed=[1, 2]).shape == [3, 4, 4, 1]
    assert vae.reconstruct(images).shape == images.shape
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), vae.predict(images, verbose=0))
    vae.export(tmp_path / "1", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "1"))
    samples = served.signatures["sample"](num_samples=tf.constant(3), seed=tf.constant([1, 2]))
    np.testing.assert_array_equal(samples["samples"], vae.sample(3, seed=[1, 2]))


def test_a_made_is_the_discrete_prior_of_a_vae(parts, tmp_path):
    *_, images = parts
    bits = heads.IndependentBernoulli([6])
    encoder = heads.Conditional(
        keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(bits.params_size)]), bits
    )
    pixels = heads.IndependentBernoulli([4, 4, 1])
    decoder = heads.Conditional(keras.layers.Dense(pixels.params_size), pixels)
    prior = perturbed(autoregressive.made([6], hidden_units=[8]))
    vae = gx.models.VAE(
        encoder, decoder, prior=prior, objective=gx.objectives.ImportanceWeighted(5), seed=1
    )
    vae.compile(optimizer=keras.optimizers.Adam(1e-2))
    start = [v.numpy() for v in prior.trainable_variables]
    losses = vae.fit(images, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for old, variable in zip(start, prior.trainable_variables, strict=True):
        assert np.abs(variable.numpy() - old).max() > 0.0
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), vae.predict(images, verbose=0))
    vae.export(tmp_path / "1", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "1"))
    samples = served.signatures["sample"](num_samples=tf.constant(3), seed=tf.constant([1, 2]))
    np.testing.assert_array_equal(samples["samples"], vae.sample(3, seed=[1, 2]))


def test_an_autoregressive_head_trains_as_a_regression():
    made = autoregressive.made([3], hidden_units=[8], conditional_event_shape=[4])
    network = keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(4)])
    model = gx.models.DensityModel(heads.Conditional(network, made))
    model.compile(optimizer=keras.optimizers.Adam(3e-2))
    c = registry.points((256, 2), "float32").numpy()
    x = np.tile(c[:, :1] > 0.0, [1, 3]).astype(int)
    losses = model.fit(c, x, batch_size=32, epochs=8, verbose=0).history["nll"]
    assert losses[-1] < 0.5 * losses[0]


def test_dropout_is_for_training_and_models_need_no_optimizer():
    model = gx.models.DensityModel(
        perturbed(autoregressive.made([3], hidden_units=[50], dropout=0.5))
    )
    x = np.zeros([4, 3])
    first, second = model(x, training=True), model(x, training=True)
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(model(x), model.distribution.log_prob(x))
    layer = model.distribution.network.dropout_layers[0]
    kept = layer(np.ones([100, 100]), training=True).numpy()
    assert set(np.unique(kept)) == {0.0, 2.0} and abs(kept.mean() - 1.0) < 0.05


def test_a_regularizer_of_the_matrices_is_part_of_the_loss_and_of_no_metric():
    penalty = keras.regularizers.L1(0.01)
    distribution = perturbed(autoregressive.made([3], hidden_units=[5], kernel_regularizer=penalty))
    model = gx.models.DensityModel(distribution)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    found = model.evaluate(np.zeros([4, 3]), verbose=0, return_dict=True)
    sizes = [np.abs(kernel).sum() for kernel in distribution.network.kernels]
    assert len(sizes) == 3  # Two layers, and the direct one.
    assert found["loss"] - found["nll"] == pytest.approx(0.01 * np.sum(sizes), rel=1e-4)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_single_sample_and_none(rows):
    pixels = autoregressive.pixel_cnn([3, 3, 1], num_layers=2, filters=2)
    masks = autoregressive.made([3], hidden_units=[4], num_masks=2)
    for distribution in (pixels, masks):
        x = distribution.sample(rows, seed=[1, 2])
        assert x.shape == (rows, *distribution.event_shape)
        assert distribution.log_prob(tf.identity(x)).shape == (rows,)


def made(**options):
    return autoregressive.made([4], hidden_units=[8], **options)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: made(num_classes=1), ValueError, "`num_classes` must be an integer of at least"),
        (lambda: made(order=[0, 1, 1, 2]), ValueError, "`order` must hold each of 0 to 3 once"),
        (lambda: made(order=[3, 2, 1, 0], num_masks=2), ValueError, "`order` must be None"),
        (lambda: made(num_masks=0), ValueError, "`num_masks` must be"),
        (lambda: made(dropout=1.0), ValueError, "`dropout` must be a number"),
        (lambda: made(head="bits"), TypeError, "`head` must be a head"),
        (lambda: made(head=heads.IndependentPoisson([])), ValueError, "`head` must be one whose"),
        (
            lambda: made(head=heads.MultivariateNormalTriL(4)),
            ValueError,
            "`head` must be a head of independent entries",
        ),
        (
            lambda: made(head=heads.IndependentNormal([5])),
            ValueError,
            "`event_shape`, `head` and `network` must agree",
        ),
        (lambda: made().log_prob(np.full([1, 4], 0.5)), ValueError, "`x` must hold zeros and ones"),
        (lambda: made().log_prob(np.full([1, 4], np.nan)), ValueError, "`x` must be finite"),
        (
            lambda: made(num_classes=3).log_prob(np.array([[0, 1, 2, 3]])),
            ValueError,
            "`x` must hold classes from 0 to 2",
        ),
        (lambda: made().log_prob(np.zeros([1, 5])), ValueError, "`x` must be of shape"),
        (
            lambda: made().complete(np.zeros([1, 4]), 5),
            ValueError,
            "`num_observed` must be at most 4",
        ),
        (
            lambda: made().complete(np.full([1, 4], 2.0), 1),
            ValueError,
            "`x` must hold zeros and ones",
        ),
        (lambda: made().complete(np.zeros([1, 3]), 1), ValueError, "`x` must be of shape"),
        (
            lambda: (
                made(conditional_event_shape=[2])
                .condition(np.zeros([2, 2]))
                .complete(np.zeros([3, 4]), 1)
            ),
            ValueError,
            "`x` must have leading dimensions that go with",
        ),
        (
            lambda: made(num_masks=2).complete(np.zeros([1, 4]), 1),
            ValueError,
            "`num_masks` must be 1",
        ),
        (lambda: made().condition(np.zeros([3])), ValueError, "`conditional_input` must be None"),
        (
            lambda: made(conditional_event_shape=[2]).condition(np.zeros([3])),
            ValueError,
            r"`conditional_input` must be of shape \[..., 2\]",
        ),
        (
            lambda: (
                made(conditional_event_shape=[2])
                .condition(np.zeros([2, 2]))
                .log_prob(np.zeros([3, 4]))
            ),
            ValueError,
            "`x` must have leading dimensions that go with",
        ),
        (
            lambda: made(conditional_event_shape=[2]).condition("ab"),
            TypeError,
            "`conditional_input` must be numbers",
        ),
        (lambda: made().log_prob("ab"), TypeError, "`x` must be numbers"),
        (
            lambda: tf.function(
                made().log_prob, input_signature=[tf.TensorSpec(None, tf.float32)]
            ).get_concrete_function(),
            ValueError,
            "`x` must be of shape",
        ),
        (
            lambda: made(num_masks=2).network(np.zeros([3, 4]), mask_index=2),
            ValueError,
            "`mask_index` must be below 2",
        ),
        (
            lambda: made(num_masks=2).network.positions(-1),
            ValueError,
            "`mask_index` must be an integer of at least 0",
        ),
        (
            lambda: heads.Autoregressive(lambda x: x, heads.IndependentNormal([])),
            TypeError,
            "`network` must be a Keras layer",
        ),
        (
            lambda: gx.models.DensityModel(made()).fit(np.full([3, 4], 0.5)),
            ValueError,
            "`x` must hold zeros and ones",
        ),
        (
            lambda: gx.models.DensityModel(
                autoregressive.pixel_cnn([4, 4, 1], num_layers=1, filters=2)
            ).fit(np.zeros([3, 4, 5, 1])),
            ValueError,
            r"`x` must be numbers of shape \[N, 4, 4, 1\]",
        ),
        (
            lambda: heads.Conditional(keras.layers.Dense(4), made()),
            TypeError,
            "`head` must be a head of gx.distributions, or a conditional",
        ),
    ],
)
def test_what_is_wrong_is_named(call, error, text):
    with pytest.raises(error, match=text + ".*Received"):
        call()
