"""VAEs: what their methods give, by hand and by TFP, and what they refuse."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import registry_models
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx
from tfp_genext.models.metrics import ActiveUnits

tfd = tfp.distributions
D, LATENT = registry_models.D, registry_models.LATENT


@pytest.fixture
def x():
    return np.random.default_rng(0).integers(0, 2, [50, D]).astype("float32")


def linear_gaussian(**options):
    """A VAE without hidden layers, whose evidence has a closed form."""
    normal = gx.distributions.IndependentNormal([2])
    decoder = gx.distributions.Conditional(_FixedScale(3), gx.distributions.IndependentNormal([3]))
    encoder = gx.distributions.Conditional(keras.layers.Dense(normal.params_size), normal)
    prior = tfd.Independent(tfd.Normal(tf.zeros([2]), 1.0), 1)
    vae = gx.models.VAE(encoder, decoder, prior=prior, seed=1, **options)
    # Close to the prior, whose weights have light tails.
    for variable in encoder.trainable_variables:
        variable.assign(0.2 * variable)
    return vae


class _FixedScale(keras.layers.Layer):
    """Locations that are linear in the input, all at scale 1."""

    def __init__(self, size):
        super().__init__()
        self.dense = keras.layers.Dense(size)

    def call(self, z):
        loc = self.dense(z)
        pairs = keras.ops.stack([loc, keras.ops.zeros_like(loc)], axis=-1)
        return keras.ops.reshape(pairs, [-1, 2 * loc.shape[-1]])


def evidence(vae, x):
    weights, bias = vae.decoder.network.dense.kernel, vae.decoder.network.dense.bias
    covariance = tf.matmul(weights, weights, transpose_a=True) + tf.eye(3)
    return tfd.MultivariateNormalFullCovariance(bias, covariance).log_prob(x)


def test_log_prob_tends_to_the_evidence_and_does_not_depend_on_its_parts():
    vae = linear_gaussian()
    x = np.random.default_rng(1).normal(size=[30, 3]).astype("float32")
    exact = evidence(vae, x).numpy()
    estimate = vae.log_prob(x, num_samples=20_000, seed=[1, 2])
    np.testing.assert_allclose(estimate, exact, atol=0.1)
    # 20,000 rows at a time: 30 rows take 666 latents in a part.
    few = vae.log_prob(x, num_samples=1000, seed=[1, 2])
    assert np.abs(few - exact).mean() > np.abs(estimate - exact).mean()
    one = np.mean([vae.log_prob(x, 1, seed=[0, s]) for s in range(200)], axis=0)
    assert (one < exact).all()
    np.testing.assert_array_equal(vae.log_prob(x, 50, seed=7), vae.log_prob(x, 50, seed=[0, 7]))


def test_metrics_are_the_bound_its_parts_and_the_estimate():
    vae = linear_gaussian(objective=gx.objectives.ELBO(50))
    vae.compile()
    x = np.random.default_rng(1).normal(size=[400, 3]).astype("float32")
    found = vae.evaluate(x, verbose=0, return_dict=True)
    posterior = vae.encode(x)
    kl = tf.reduce_mean(tfd.kl_divergence(posterior, vae.prior))
    np.testing.assert_allclose(found["kl"], kl, rtol=1e-5)
    z = posterior.sample(200, seed=[1, 2])
    flat = vae.decode(tf.reshape(z, [-1, 2])).log_prob(tf.tile(x, [200, 1]))
    np.testing.assert_allclose(found["reconstruction"], -tf.reduce_mean(flat), rtol=0.03)
    parts = found["reconstruction"] + found["kl"]
    np.testing.assert_allclose(found["negative_elbo"], parts, rtol=1e-5)
    np.testing.assert_allclose(found["loss"], parts, rtol=1e-5)
    assert -np.mean(evidence(vae, x)) - 0.05 < found["nll"] < found["negative_elbo"]
    assert "nll" not in vae.fit(x, verbose=0).history


def test_active_units_are_counted_over_all_data():
    x = np.random.default_rng(2).integers(0, 2, [200, D]).astype("float32")
    vae = registry_models.vae(encoder=_Means())
    vae.compile()
    found = vae.evaluate(x, batch_size=30, verbose=0, return_dict=True)
    assert found["active_units"] == 1.0


class _Means(keras.layers.Layer):
    """One latent follows the data, one hardly, one not at all: variances 1/4, 1/400 and 0."""

    def __call__(self, x):
        loc = tf.stack([x[:, 0], 0.1 * x[:, 0], 0.0 * x[:, 0]], axis=1)
        return tfd.Independent(tfd.Normal(loc, 1.0), 1)


def test_posteriors_without_a_mean_are_judged_by_samples():
    known = _Means()

    def encoder(x):
        # The identity, of which TFP does not know that it is affine.
        return tfd.TransformedDistribution(known(x), tfp.bijectors.SinhArcsinh())

    x = np.random.default_rng(2).integers(0, 2, [2000, D]).astype("float32")
    with pytest.raises(NotImplementedError):
        encoder(x).mean()
    vae = registry_models.vae(encoder=encoder, eval_samples=50)
    vae.compile()
    assert vae.evaluate(x, batch_size=200, verbose=0, return_dict=True)["active_units"] == 1.0


def test_reconstructions_are_the_middle_of_the_middle(x):
    vae = registry_models.vae()
    expected = vae.decode(vae.encode(x).mean()).mean()
    np.testing.assert_array_equal(vae.reconstruct(x), expected)
    flow = registry_models.iaf_posterior()
    posterior = flow.encode(x)
    middle = posterior.bijector.forward(posterior.distribution.mean())
    np.testing.assert_allclose(flow.reconstruct(x), flow.decode(middle).mean(), rtol=1e-6)


def test_pixels_are_reconstructed_by_quantized_logistics(x):
    """TFP knows no mean of quantised distributions."""
    head = gx.distributions.QuantizedLogistics([D], num_components=2, num_values=8)
    vae = registry_models.vae(decoder=registry_models.likelihood(head))
    found = vae.reconstruct(x)
    expected = tf.reduce_mean(vae.decode(vae.encode(x).mean()).sample(4000, seed=[1, 2]), axis=0)
    np.testing.assert_allclose(found, expected, atol=0.15)
    mixture = gx.distributions.Mixture(2, head)
    vae = registry_models.vae(decoder=registry_models.likelihood(mixture))
    assert vae.reconstruct(x).shape == [50, D]


def test_layers_that_prepare_data_within_the_support_are_fine():
    vae = _compiled(preprocessing=keras.layers.Rescaling(1 / 255))
    x = 255 * np.random.default_rng(0).integers(0, 2, [2100, D])
    x[2050, 3] = 100  # Not among the first rows.
    with pytest.raises(ValueError, match="`x` must hold zeros and ones"):
        vae.predict(x, verbose=0)
    assert vae.predict(x[:2050], verbose=0).shape == (2050,)


def test_double_precision_is_kept():
    def conditional(head):
        network = keras.layers.Dense(head.params_size, dtype="float64")
        return gx.distributions.Conditional(network, head, dtype="float64")

    prior = tfd.MultivariateNormalDiag(np.zeros([2]))
    heads = [gx.distributions.IndependentNormal([size]) for size in (2, D)]
    vae = gx.models.VAE(*(conditional(h) for h in heads), prior=prior, dtype="float64", seed=1)
    x = 1.0 + 1e-9 * np.random.default_rng(0).normal(size=[20, D])
    expected = vae(tf.constant(x)).log_prob  # No optimizer is needed for it.
    np.testing.assert_allclose(vae.predict(x, verbose=0), expected, rtol=1e-13)


def test_active_units_far_from_zero_are_told_from_dead_ones():
    metric = ActiveUnits([2])
    rng = np.random.default_rng(0)
    for _ in range(20):
        means = np.stack([np.full([500], 3e3), 3e3 + 0.2 * rng.normal(size=[500])], axis=1)
        metric.update_state(means.astype("float32"), means.astype("float32"))
    assert float(metric.result()) == 1.0


def test_samples_are_those_of_prior_and_decoder():
    vae = registry_models.vae()
    samples = vae.sample(4000, seed=[1, 2])
    z = vae.prior.sample(4000, seed=[3, 4])
    expected = tf.reduce_mean(vae.decode(z).mean(), axis=0)
    np.testing.assert_allclose(tf.reduce_mean(samples, axis=0), expected, atol=0.04)
    assert set(np.unique(samples)) == {0.0, 1.0}
    conditional = registry_models.conditional_vae()
    c = np.zeros([3, 2], "float32")
    assert conditional.sample(5, seed=1, conditional_input=c).shape == [5, 3, D]


def test_norms_of_a_prior_are_set_by_the_first_latents(x):
    prior = gx.flows.maf([LATENT], num_layers=2, hidden_units=[8], act_norm=True)
    vae = registry_models.vae(prior=prior)
    for variable in vae.encoder.trainable_variables:
        variable.assign_add(2.0 * tf.ones_like(variable))
    vae.compile(optimizer=keras.optimizers.SGD(0.0))
    vae.fit(x, batch_size=50, verbose=0)
    noise = prior.bijector.inverse(vae.encode(x).sample(seed=[1, 2]))
    np.testing.assert_allclose(tf.reduce_mean(noise, 0), np.zeros([LATENT]), atol=0.6)
    np.testing.assert_allclose(tf.math.reduce_std(noise, 0), np.ones([LATENT]), atol=0.6)


def test_binarized_images_are_drawn_anew_in_training_only():
    vae = registry_models.vae(preprocessing=gx.layers.Binarize(255.0))
    vae.compile(optimizer=keras.optimizers.SGD(0.0))
    x = np.random.default_rng(0).integers(0, 256, [40, D]).astype("uint8")
    first = vae.fit(x, epochs=2, verbose=0).history["reconstruction"]
    assert first[0] != first[1]
    assert vae.evaluate(x, verbose=0) == vae.evaluate(x, verbose=0)
    assert vae.reconstruct(x).shape == [40, D]
    with pytest.raises(ValueError, match=r"`x` must hold intensities from 0 to 255.*Received"):
        vae.fit(x.astype("float32") - 1.0, verbose=0)


def test_predicts_without_an_optimizer(x, tmp_path):
    vae = _compiled()
    vae.save(tmp_path / "vae.keras")
    again = keras.saving.load_model(tmp_path / "vae.keras", compile=False)
    np.testing.assert_array_equal(again.predict(x, verbose=0), vae.predict(x, verbose=0))


def test_a_callback_watches_the_likelihood(x, tmp_path):
    watch = {"monitor": "val_nll", "mode": "min"}
    callbacks = [
        keras.callbacks.EarlyStopping(**watch, patience=1, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", **watch, save_best_only=True),
    ]
    vae = registry_models.maf_prior()
    vae.compile(optimizer=keras.optimizers.SGD(0.5))
    history = vae.fit(x, validation_data=x, epochs=4, callbacks=callbacks, verbose=0).history
    best = keras.saving.load_model(tmp_path / "best.keras")
    for model in (vae, best):
        found = model.evaluate(x, verbose=0, return_dict=True)["nll"]
        np.testing.assert_allclose(found, min(history["val_nll"]), rtol=1e-5)


def test_weights_of_rows_count_like_repeated_rows(x):
    vae = registry_models.vae()
    vae.compile()
    weighted = vae.evaluate(
        x, sample_weight=np.repeat([1.0, 0.0], 25), batch_size=50, verbose=0, return_dict=True
    )
    per_row = vae.predict(x, batch_size=50, verbose=0)
    np.testing.assert_allclose(weighted["nll"], -per_row[:25].mean(), rtol=1e-5)


def test_plain_functions_will_do_for_parts_without_weights(x):
    encoder = registry_models.gaussian()
    vae = registry_models.vae(
        encoder=encoder,
        decoder=lambda z: tfd.Independent(tfd.Bernoulli(logits=tf.tile(z, [1, 2])), 1),
    )
    vae.compile()
    vae.fit(x, verbose=0)
    assert len(vae.trainable_variables) == len(encoder.trainable_variables)
    with pytest.raises(ValueError, match="`decoder` must be something a file can hold"):
        vae.get_config()


def test_a_module_as_decoder_is_trained_along(x):
    class Decoder(tf.Module):
        def __init__(self):
            super().__init__()
            self.weights = tf.Variable(tf.random.stateless_normal([LATENT, D], [1, 2]))

        def __call__(self, z):
            return tfd.Independent(tfd.Bernoulli(logits=tf.matmul(z, self.weights)), 1)

    decoder = Decoder()
    vae = registry_models.vae(decoder=decoder)
    vae.compile(optimizer=keras.optimizers.SGD(0.1))
    before = decoder.weights.numpy()
    vae.fit(x, verbose=0)
    assert np.abs(decoder.weights.numpy() - before).max() > 0.0


def _compiled(**options):
    vae = registry_models.vae(**options)
    vae.compile()
    return vae


def _poisson():
    return _compiled(decoder=registry_models.likelihood(gx.distributions.IndependentPoisson([D])))


def _dataset(value):
    return tf.data.Dataset.from_tensor_slices(np.full([20, D], value, "float32")).batch(5)


def _of_inputs(size, params):
    network = keras.Sequential([keras.Input([size]), keras.layers.Dense(params)])
    head = gx.distributions.IndependentNormal([(params + 1) // 2])
    return gx.distributions.Conditional(network, head)


GOOD = np.zeros([20, D], "float32")
GREY = np.full([20, D], 100, "uint8")
BITS = "`x` must hold zeros and ones"
WRONG = {
    "event shapes of encoder and prior": (
        lambda: registry_models.vae(prior=tfd.MultivariateNormalDiag(tf.zeros([LATENT + 1]))),
        "`encoder` and `prior` must have the same event shape",
    ),
    "a decoder of other data": (
        lambda: _compiled().fit(np.zeros([20, D + 1]), verbose=0),
        rf"`x` must be numbers of shape \[N, {D}\]",
    ),
    "a decoder of other data, in a dataset": (
        lambda: _compiled().fit(
            tf.data.Dataset.from_tensor_slices(np.zeros([20, D + 1])).batch(5), verbose=0
        ),
        rf"`x` must be numbers of shape \[N, {D}\]",
    ),
    "halves of Bernoulli": (lambda: _compiled().fit(GOOD + 0.5, verbose=0), BITS),
    "halves of Bernoulli, in a dataset": (lambda: _compiled().fit(_dataset(0.5), verbose=0), BITS),
    "halves in validation": (
        lambda: _compiled().fit(GOOD, validation_data=GOOD + 0.5, verbose=0),
        BITS,
    ),
    "halves in evaluate": (lambda: _compiled().evaluate(GOOD + 0.5, verbose=0), BITS),
    "halves in log_prob": (lambda: _compiled().log_prob(GOOD + 0.5), BITS),
    "negative counts": (lambda: _poisson().fit(GOOD - 1.0, verbose=0), "`x` must hold counts"),
    "NaN": (lambda: _compiled().fit(GOOD + np.nan, verbose=0), "`x` must be finite"),
    "NaN in a dataset": (
        lambda: _compiled().fit(_dataset(np.nan), verbose=0),
        "`x` must be finite",
    ),
    "an unknown objective": (lambda: registry_models.vae(objective="elbo"), "`objective` must be"),
    "a game for a VAE": (
        lambda: registry_models.vae(objective=gx.objectives.Hinge()),
        "`objective` must be a bound",
    ),
    "grey pixels that a layer scales": (
        lambda: _compiled(preprocessing=keras.layers.Rescaling(1 / 255)).fit(GREY, verbose=0),
        BITS,
    ),
    "grey pixels that a layer scales, in a dataset": (
        lambda: _compiled(preprocessing=keras.layers.Rescaling(1 / 255)).fit(
            tf.data.Dataset.from_tensor_slices(GREY).batch(5), verbose=0
        ),
        BITS,
    ),
    "noisy pixels as bits": (
        lambda: _compiled(preprocessing=gx.layers.Dequantize(256)).fit(GREY, verbose=0),
        BITS,
    ),
    "noisy pixels as bits, in a dataset": (
        lambda: _compiled(preprocessing=gx.layers.Dequantize(256)).fit(
            tf.data.Dataset.from_tensor_slices(GREY).batch(5), verbose=0
        ),
        BITS,
    ),
    "a prior of double precision": (
        lambda: registry_models.vae(prior=tfd.MultivariateNormalDiag(np.zeros([LATENT]))),
        "`prior` must be of float32",
    ),
    "an encoder of double precision": (
        lambda: registry_models.vae(
            encoder=lambda x: tfd.MultivariateNormalDiag(np.zeros([2, LATENT]))
        ),
        "`encoder` must be of float32",
    ),
    "an encoder of other data": (
        lambda: registry_models.vae(encoder=_of_inputs(D + 1, 2 * LATENT)),
        rf"`encoder` must take data of the decoder, \[2, {D}\]",
    ),
    "a decoder of other latents": (
        lambda: registry_models.vae(decoder=_of_inputs(LATENT + 1, 2 * D)),
        rf"`decoder` must take latents of the prior, \[2, {LATENT}\]",
    ),
    "a network of too few parameters": (
        lambda: registry_models.vae(encoder=_of_inputs(D, 2 * LATENT - 1)),
        "`encoder` must take data of the decoder",
    ),
    "a prior that takes a context": (
        lambda: registry_models.vae(prior=registry_models.conditional_vae().prior),
        "`conditional_event_shape` must be given",
    ),
    "a network as prior": (
        lambda: registry_models.vae(prior=registry_models.gaussian()),
        "`conditional_event_shape` must be given",
    ),
    "no optimizer": (
        lambda: registry_models.vae().compile(optimizer=None),
        "`optimizer` must be a Keras optimizer",
    ),
    "a dataset where there is one answer a row": (
        lambda: _compiled().encode(_dataset(0.0)),
        "`x` must be an array",
    ),
    "one sample of bits": (
        lambda: registry_models.bits(gx.objectives.ELBO()),
        "`num_samples` must be at least 2",
    ),
    "doubly reparameterized bits": (
        lambda: registry_models.bits(
            gx.objectives.ImportanceWeighted(4, doubly_reparameterized=True)
        ),
        "`doubly_reparameterized` must be False",
    ),
    "no distribution": (
        lambda: registry_models.vae(encoder=keras.layers.Dense(3)),
        "`encoder` must be something that gives a tfd.Distribution",
    ),
    "entries that are no event": (
        lambda: registry_models.vae(decoder=lambda z: tfd.Bernoulli(logits=z)),
        "`decoder` must give distributions of batch shape",
    ),
    "a batch of priors": (
        lambda: registry_models.vae(prior=tfd.Normal(tf.zeros([LATENT]), 1.0)),
        "`prior` must have batch shape",
    ),
    "no prior": (lambda: registry_models.vae(prior=None), "`prior` must be a tfd.Distribution"),
    "a loss": (lambda: registry_models.vae().compile(loss="mse"), "`loss` must be None"),
    "a context that nobody asked for": (
        lambda: _compiled().encode(GOOD, np.zeros([20, 2])),
        "`conditional_input` must be None",
    ),
    "a context that is missing": (
        lambda: registry_models.conditional_vae().sample(3),
        "`conditional_input` must be given",
    ),
    "latents of another size": (
        lambda: _compiled().decode(np.zeros([3, LATENT + 1])),
        "`z` must be numbers of shape",
    ),
    "no samples": (lambda: _compiled().log_prob(GOOD, num_samples=0), "`num_samples` must be"),
    "no version in the path": (
        lambda: _compiled().export("somewhere/vae"),
        "`filepath` must be a directory whose last part is an integer version",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_named_before_the_first_update(wrong):
    call, text = WRONG[wrong]
    with pytest.raises((TypeError, ValueError), match=rf"(?s){text}.*Received"):
        call()
