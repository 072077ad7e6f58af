"""GANs: whose step moves what, and what they refuse."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import registry_models
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx
from tfp_genext.models import noise as noise_lib

tfd = tfp.distributions
D, LATENT = registry_models.D, registry_models.LATENT


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=[64, D]).astype("float32")


def compiled(generator_rate=0.01, discriminator_rate=0.01, build=registry_models.gan, **options):
    gan = build(**options)
    gan.compile(
        generator_optimizer=keras.optimizers.SGD(generator_rate),
        discriminator_optimizer=keras.optimizers.SGD(discriminator_rate),
    )
    return gan


def values(layer):
    return [variable.numpy() for variable in layer.variables]


def moved(before, layer):
    return [not np.array_equal(a, b) for a, b in zip(before, values(layer), strict=True)]


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_a_step_of_one_player_changes_nothing_of_the_other(player, x):
    """With batch normalisation, whose statistics move with each look of its own player."""
    gan = compiled(build=registry_models.normed_gan)
    generator, discriminator = values(gan.generator), values(gan.discriminator)
    batch = tf.constant(x)
    if player == "generator":
        gan._train_generator(batch, None, tf.constant([1, 2]))
        assert all(moved(generator, gan.generator))
        assert not any(moved(discriminator, gan.discriminator))
    else:
        gan._train_discriminator(batch, None, tf.constant([1, 2]), tf.constant([3, 4]))
        assert not any(moved(generator, gan.generator))
        assert all(moved(discriminator, gan.discriminator))


def test_a_step_of_sgd_by_hand(x):
    """Non-saturating, one step each, with weights and noise known."""
    game = gx.objectives.NonSaturating()
    gan = compiled(0.1, 0.2, objective=game)
    seeds = noise_lib.seeds_of_step(3, 0, 3)
    noise = [gan.prior.sample(len(x), seed=seed) for seed in (seeds[0], seeds[2])]
    expected = _by_hand(gan, x, noise)
    gan.fit(x, batch_size=64, verbose=0, shuffle=False)
    for variable, value in zip(
        [*gan.discriminator.trainable_variables, *gan.generator.trainable_variables],
        expected,
        strict=True,
    ):
        np.testing.assert_allclose(variable, value, rtol=1e-4, atol=1e-6)


def _by_hand(gan, x, noise):
    """The weights of both players after a step each, by plain TensorFlow."""
    ours, theirs = gan.generator, gan.discriminator
    start = [v.numpy() for v in theirs.trainable_variables]
    with tf.GradientTape() as tape:
        real, fake = theirs(x), theirs(ours(noise[0]))
        loss = tf.reduce_mean(tf.nn.softplus(-real)) + tf.reduce_mean(tf.nn.softplus(fake))
    slopes = tape.gradient(loss, theirs.trainable_variables)
    after = [v - 0.2 * g for v, g in zip(start, slopes, strict=True)]
    for variable, value in zip(theirs.trainable_variables, after, strict=True):
        variable.assign(value)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.softplus(-theirs(ours(noise[1]))))
    slopes = tape.gradient(loss, ours.trainable_variables)
    expected = [v - 0.1 * g for v, g in zip(ours.trainable_variables, slopes, strict=True)]
    for variable, value in zip(theirs.trainable_variables, start, strict=True):
        variable.assign(value)
    return [*after, *expected]


class WithoutConfig(keras.Model):
    """A generator as tutorials write them: Keras cannot make it again."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(D)

    def call(self, z):
        return self.dense(z)


class Unregistered(keras.layers.Layer):
    def call(self, z):
        return 2.0 * z


def test_generators_that_cannot_be_copied_do_without_an_average(x):
    with pytest.raises(ValueError, match="`generator` must be a layer that Keras.*`ema`.*Received"):
        registry_models.gan(generator=WithoutConfig())
    gan = compiled(generator=WithoutConfig(), ema=0.0)
    gan.fit(x, verbose=0)
    assert gan.averaged_generator is gan.generator
    assert len(gan.generator.trainable_variables) == 2
    z = keras.Input([LATENT])
    registry_models.gan(generator=keras.Model(z, keras.layers.Dense(D)(Unregistered()(z))))


def test_the_average_follows_the_weights(x):
    slow = compiled(0.0, ema=0.5)
    weights = slow.generator.trainable_variables[0]
    start = weights.numpy()
    weights.assign(start + 1.0)
    steps = 3
    slow.fit(x, batch_size=len(x), epochs=steps, verbose=0)
    left = np.prod([min(0.5, (step + 1.0) / (step + 10.0)) for step in range(steps)])
    found = slow.averaged_generator.variables[0]
    np.testing.assert_allclose(found, start + 1.0 - left, rtol=1e-5)


def test_samples_are_those_of_the_averaged_generator(x):
    gan = compiled()
    gan.fit(x, verbose=0)
    z = gan.prior.sample(7, seed=[1, 2])
    np.testing.assert_allclose(gan.sample(7, seed=[1, 2]), gan.averaged_generator(z), rtol=1e-6)
    scores = gan.discriminator(x)[:, 0]
    np.testing.assert_allclose(gan.predict(x, verbose=0), scores, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gan.discriminate(x), scores, rtol=1e-5, atol=1e-6)


def test_a_flow_reports_its_exact_likelihood_and_learns_by_both(x):
    gan = compiled(build=registry_models.flow_gan)
    found = gan.evaluate(x, verbose=0, return_dict=True)
    expected = -tf.reduce_mean(gan.averaged_generator.log_prob(x))
    np.testing.assert_allclose(found["nll"], expected, rtol=1e-5)
    np.testing.assert_allclose(gan.log_prob(x), gan.averaged_generator.log_prob(x), rtol=1e-6)
    # With the weight of the likelihood alone the step is that of maximum likelihood.
    flow = gan.generator
    with tf.GradientTape() as tape:
        nll = -tf.reduce_mean(flow.log_prob(x))
    variables = gan._generator_variables()
    slopes = tape.gradient(nll, variables)
    before = [v.numpy() for v in variables]
    only = _LikelihoodAlone()
    gan.objective = only
    gan.likelihood_weight = 1.0
    gan.generator_optimizer.learning_rate.assign(0.1)
    gan._train_generator(tf.constant(x), None, tf.constant([1, 2]))
    for variable, start, slope in zip(variables, before, slopes, strict=True):
        np.testing.assert_allclose(variable, start - 0.1 * slope, rtol=1e-4, atol=1e-6)


class _LikelihoodAlone(gx.objectives.NonSaturating):
    def generator_loss(self, real, fake):
        return 0.0 * fake


@pytest.mark.parametrize("of_flow", [False, True], ids=["network", "flow"])
def test_noise_with_variables_is_trained_averaged_and_saved(of_flow, x, tmp_path):
    noise = tfd.MultivariateNormalDiag(tf.Variable(tf.zeros([D if of_flow else LATENT])))
    parts = {"prior": noise}
    if of_flow:
        flow = gx.flows.real_nvp([D], num_layers=2, hidden_units=[8], base=noise)
        parts = {"generator": flow, "prior": None}
    gan = compiled(**parts)
    gan.fit(x, batch_size=32, verbose=0)
    moved = gan.prior.trainable_variables[0]
    assert np.abs(moved).min() > 0.0
    averaged = gan._shown.prior.variables[0]
    assert 0.0 < np.abs(averaged).max() < np.abs(moved).max()
    gan.save(tmp_path / "gan.keras")
    again = keras.saving.load_model(tmp_path / "gan.keras")
    np.testing.assert_array_equal(again.sample(5, seed=1), gan.sample(5, seed=1))
    gan.export(tmp_path / "1", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "1"))
    given = {"num_samples": tf.constant(5), "seed": tf.constant([0, 1])}
    samples = served.signatures["sample"](**given)["samples"]
    np.testing.assert_allclose(samples, gan.sample(5, seed=1), rtol=1e-4, atol=1e-5)


def test_norms_of_a_flow_are_set_by_the_first_batch(x):
    flow = gx.flows.real_nvp([D], num_layers=2, hidden_units=[8], act_norm=True)
    gan = compiled(0.0, 0.0, generator=flow, prior=None)
    gan.fit(50.0 + 10.0 * x, batch_size=64, verbose=0)
    for shown in (gan.generator, gan.averaged_generator):
        samples = shown.sample(2000, seed=[1, 2])
        np.testing.assert_allclose(tf.reduce_mean(samples, axis=0), np.full([D], 50.0), atol=5.0)
        np.testing.assert_allclose(
            tf.math.reduce_std(samples, axis=0), np.full([D], 10.0), atol=5.0
        )


def test_several_steps_of_the_discriminator_take_fresh_noise(x):
    gan = compiled(0.0, 0.1, discriminator_steps=3)
    gan.fit(x, batch_size=64, verbose=0)
    assert int(gan.discriminator_optimizer.iterations) == 3
    assert int(gan.generator_optimizer.iterations) == 1


def test_finds_all_modes_of_a_ring_in_short():
    """The short form of `benchmarks/modes.py`."""
    angles = 2.0 * np.pi * np.arange(4) / 4.0
    centres = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rng = np.random.default_rng(0)
    x = centres[rng.integers(0, 4, 5000)] + 0.05 * rng.normal(size=[5000, 2])
    hidden = lambda act: [keras.layers.Dense(32, activation=act) for _ in range(2)]  # noqa: E731
    gan = gx.models.GAN(
        keras.Sequential([*hidden("relu"), keras.layers.Dense(2)]),
        keras.Sequential([*hidden("leaky_relu"), keras.layers.Dense(1)]),
        prior=tfd.Sample(tfd.Normal(0.0, 1.0), 4),
        seed=0,
    )
    gan.compile(
        generator_optimizer=keras.optimizers.Adam(2e-3, beta_1=0.0, beta_2=0.99),
        discriminator_optimizer=keras.optimizers.Adam(2e-3, beta_1=0.0, beta_2=0.99),
        steps_per_execution=20,
        jit_compile=True,
    )
    gan.fit(x.astype("float32"), batch_size=100, epochs=30, verbose=0)
    samples = gan.sample(1000, seed=[1, 2]).numpy()
    distances = np.linalg.norm(samples[:, None] - centres, axis=-1)
    counts = np.bincount(distances.argmin(axis=1), minlength=4)
    assert counts.min() > 100, counts
    assert np.mean(distances.min(axis=1) < 0.3) > 0.8


def without(*names):
    optimizers = {
        "generator_optimizer": keras.optimizers.SGD(0.1),
        "discriminator_optimizer": keras.optimizers.SGD(0.1),
    }
    return {name: value for name, value in optimizers.items() if name not in names}


def _of_inputs(size, outputs):
    return keras.Sequential([keras.Input([size]), keras.layers.Dense(outputs)])


def _sharing():
    shared = keras.layers.Dense(D)
    discriminator = [keras.layers.Dense(LATENT), shared, keras.layers.Dense(1)]
    return registry_models.gan(
        generator=keras.Sequential([shared]), discriminator=keras.Sequential(discriminator)
    )


def _frozen(player):
    gan = compiled()
    getattr(gan, player).trainable = False
    return gan


def _closed():
    network = keras.layers.Dense(2 * (D - 1))
    coupling = gx.bijectors.AffineCoupling(
        1, shift_and_log_scale_fn=lambda x0, n: tf.split(network(x0), 2, axis=-1)
    )
    shift = tfp.bijectors.Shift(tf.Variable(tf.zeros([D])))
    base = tfd.MultivariateNormalDiag(tf.zeros([D]))
    flow = tfd.TransformedDistribution(base, gx.bijectors.Compose([shift, coupling]))
    return compiled(generator=flow, prior=None, ema=0.0)


GOOD = np.zeros([20, D], "float32")
SAME = keras.optimizers.SGD(0.1)
WRONG = {
    "an unknown objective": (
        lambda: registry_models.gan(objective="wasserstein"),
        "`objective` must be a game",
    ),
    "a bound for a GAN": (
        lambda: registry_models.gan(objective=gx.objectives.ELBO()),
        "`objective` must be a game",
    ),
    "no optimizer of the generator": (
        lambda: registry_models.gan().compile(**without("generator_optimizer")),
        "`generator_optimizer` must be a Keras optimizer",
    ),
    "no optimizer of the discriminator": (
        lambda: registry_models.gan().compile(**without("discriminator_optimizer")),
        "`discriminator_optimizer` must be a Keras optimizer",
    ),
    "one optimizer for both": (
        lambda: registry_models.gan().compile(SAME, SAME),
        "`discriminator_optimizer` must be another object",
    ),
    "Keras' own optimizer": (
        lambda: registry_models.gan().compile(optimizer="adam", **without()),
        "`optimizer` must be None",
    ),
    "a loss": (
        lambda: registry_models.gan().compile(loss="mse", **without()),
        "`loss` must be None",
    ),
    "data of another shape": (
        lambda: compiled().fit(np.zeros([20, D + 1]), verbose=0),
        rf"`x` must be numbers of shape \[N, {D}\]",
    ),
    "NaN": (lambda: compiled().fit(GOOD + np.nan, verbose=0), "`x` must be finite"),
    "NaN in a dataset": (
        lambda: compiled().fit(
            tf.data.Dataset.from_tensor_slices(GOOD + np.nan).batch(5), verbose=0
        ),
        "`x` must be finite",
    ),
    "weights of rows": (
        lambda: compiled().fit(GOOD, sample_weight=np.ones([20]), verbose=0),
        "`sample_weight` must be None",
    ),
    "no prior": (lambda: registry_models.gan(prior=None), "`prior` must be a tfd.Distribution"),
    "a batch of priors": (
        lambda: registry_models.gan(prior=tfd.Normal(tf.zeros([LATENT]), 1.0)),
        "`prior` must be of batch shape",
    ),
    "a prior beside a flow": (
        lambda: registry_models.gan(generator=gx.flows.nice([D], num_layers=2, hidden_units=[4])),
        "`prior` must be None for a flow",
    ),
    "a generator that is none": (
        lambda: registry_models.gan(generator=tf.tanh),
        "`generator` must be a Keras layer or a flow",
    ),
    "a discriminator that is none": (
        lambda: registry_models.gan(discriminator=tf.tanh),
        "`discriminator` must be a Keras layer",
    ),
    "two scores a row": (
        lambda: registry_models.gan(discriminator=registry_models.dense(2)),
        "`discriminator` must be one score a row",
    ),
    "likelihood of a network": (
        lambda: registry_models.gan(likelihood_weight=1.0),
        "`likelihood_weight` must be 0",
    ),
    "an average of everything": (lambda: registry_models.gan(ema=1.0), "`ema` must be a number in"),
    "no steps": (
        lambda: registry_models.gan(discriminator_steps=0),
        "`discriminator_steps` must be an integer of at least 1",
    ),
    "a generator of other noise": (
        lambda: registry_models.gan(generator=_of_inputs(LATENT + 1, D)),
        rf"`generator` must take noise of the prior, \[2, {LATENT}\]",
    ),
    "a discriminator of other samples": (
        lambda: registry_models.gan(discriminator=_of_inputs(D + 1, 1)),
        rf"`discriminator` must take samples of the generator, \[2, {D}\]",
    ),
    "a layer of both players": (lambda: _sharing(), "`discriminator` must be a network that"),
    "a frozen generator": (
        lambda: _frozen("generator").fit(GOOD, verbose=0),
        "`generator` must have a trainable variable",
    ),
    "a frozen discriminator": (
        lambda: _frozen("discriminator").fit(GOOD, verbose=0),
        "`discriminator` must have a trainable variable",
    ),
    "a flow with its network in a closure": (
        lambda: _closed().fit(GOOD, verbose=0),
        "`generator` and `discriminator` must hold variables where TFP can see them",
    ),
    "a context that is missing": (
        lambda: registry_models.conditional_gan().sample(3),
        "`conditional_input` must be given",
    ),
    "a density that is not there": (
        lambda: registry_models.gan().log_prob(GOOD),
        "`generator` must be a flow",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_named_before_the_first_update(wrong):
    call, text = WRONG[wrong]
    with pytest.raises(
        (TypeError, ValueError, NotImplementedError), match=rf"(?s){text}.*Received"
    ):
        call()
