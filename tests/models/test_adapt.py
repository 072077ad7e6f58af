"""`adapt`: data at any scale train as standardised data do, in their own units."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfd, tfb = tfp.distributions, tfp.bijectors
N = 600
RECIPES = ("nice", "real_nvp", "maf", "iaf", "nsf", "naf")


def _columns():
    """Columns of scales 1e-3 to 1e7, two of which depend on each other, and a constant one."""
    z = np.random.default_rng(0).normal(size=[N, 4])
    z[:, 1] += z[:, 0] ** 2
    x = z * [1e-3, 50.0, 2e4, 3e6] + [0.02, 3.0, 4e4, 1e7]
    return np.concatenate([x, np.full([N, 1], 7.5)], axis=1).astype("float32")


@pytest.fixture(scope="module")
def x():
    return _columns()


def _moments(x):
    exact = x.astype("float64")
    std = exact.std(axis=0)
    return exact.mean(axis=0), np.where(std > 0.0, std, 1.0)


def _flow(recipe="maf", size=5, **options):
    keras.utils.set_random_seed(1)
    return getattr(gx.flows, recipe)([size], num_layers=1, hidden_units=[8], **options)


def _fitted(model, *data, epochs=2):
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    keras.utils.set_random_seed(2)
    model.fit(*data, epochs=epochs, batch_size=100, verbose=0)
    return model


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.filterwarnings("ignore:.*a single value:UserWarning")
def test_training_is_that_of_standardised_data(recipe, x):
    mean, std = _moments(x)
    adapted = gx.models.DensityModel(_flow(recipe))
    adapted.adapt(x)
    _fitted(adapted, x)
    plain = _fitted(gx.models.DensityModel(_flow(recipe)), ((x - mean) / std).astype("float32"))
    z = ((x - mean) / std).astype("float32")
    expected = plain.predict(z, verbose=0) - np.log(std).sum()
    np.testing.assert_allclose(adapted.predict(x, verbose=0), expected, atol=0.02)
    samples = adapted.sample(400, seed=[1, 2]).numpy()
    expected = plain.sample(400, seed=[1, 2])
    np.testing.assert_allclose((samples - mean) / std, expected, rtol=1e-3, atol=0.02)


@pytest.fixture(scope="module")
def adapted(x):
    model = gx.models.DensityModel(_flow(act_norm=True))
    model.adapt(x[:, :5])
    with pytest.warns(UserWarning, match="a single value"):
        return _fitted(model, x, epochs=1)


def test_the_scale_is_kept_in_files_and_exports(adapted, x, tmp_path):
    expected = adapted.predict(x, verbose=0)
    adapted.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    adapted.save_weights(tmp_path / "model.weights.h5")
    other = gx.models.DensityModel(_flow(act_norm=True))
    other.adapt(x[:50])
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.predict(x, verbose=0), expected)
    with pytest.raises(ValueError, match="."):
        gx.models.DensityModel(_flow(act_norm=True)).load_weights(tmp_path / "model.weights.h5")
    adapted.export(tmp_path / "1", verbose=False)
    served = tf.saved_model.load(tmp_path / "1").signatures
    answer = served["log_prob"](x=tf.constant(x))["log_prob"]
    np.testing.assert_allclose(answer, expected, atol=1e-4)
    samples = served["sample"](num_samples=tf.constant(9), seed=tf.constant([1, 2]))["samples"]
    np.testing.assert_allclose(samples, adapted.sample(9, seed=[1, 2]), rtol=1e-5)


def _forms(x):
    weights = np.arange(N) / N
    yield (x,), {}, None
    yield (tf.constant(x),), {}, None
    yield (tf.data.Dataset.from_tensor_slices(x).batch(70),), {}, None
    yield ((x[i : i + 70] for i in range(0, N, 70)),), {}, None
    yield (x,), {"sample_weight": weights}, weights
    weighted = tf.data.Dataset.from_tensor_slices(x).batch(70)
    rows = tf.data.Dataset.from_tensor_slices(weights.astype("float32")).batch(70)
    yield (tf.data.Dataset.zip(weighted, rows).map(lambda x, w: (x, None, w)),), {}, weights


@pytest.mark.parametrize("form", range(6))
def test_all_forms_of_data_give_the_moments_of_all_rows(form, x):
    arguments, options, weights = list(_forms(x))[form]
    model = gx.models.DensityModel(_flow())
    model.adapt(*arguments, **options)
    scale = model.distribution.bijector.bijectors[0]
    exact = x.astype("float64")
    mean = np.average(exact, axis=0, weights=weights)
    std = np.sqrt(np.average((exact - mean) ** 2, axis=0, weights=weights))
    np.testing.assert_allclose(scale.loc, mean, rtol=1e-6)
    np.testing.assert_allclose(scale.scale, np.where(std > 1e-9, std, 1.0), rtol=1e-5)


def test_a_second_call_replaces_the_scale_in_place(x):
    model = gx.models.DensityModel(_flow())
    model.adapt(x)
    density, expected = model.distribution, model.predict(x, verbose=0)
    weights = [v.path for v in model.weights]
    model.adapt(x[:10] * 3.0)
    assert np.abs(model.predict(x, verbose=0) - expected).max() > 1.0
    model.adapt(x)
    assert model.distribution is density
    assert [v.path for v in model.weights] == weights
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


def test_an_optimizer_that_is_built_goes_on(x):
    """The Keras variables that it knows stay the same objects."""
    model = gx.models.DensityModel(_flow(act_norm=True))
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    z = ((x - _moments(x)[0]) / _moments(x)[1]).astype("float32")
    model.train_on_batch(z)
    before = [v.numpy() for v in model.trainable_variables]
    model.adapt(x)
    model.train_on_batch(x)
    assert any((a != v.numpy()).any() for a, v in zip(before, model.trainable_variables))


def test_fixed_outer_bijectors_stay_outside(x):
    """Means and deviations are those of the logarithms: samples stay positive."""
    positive = np.exp(np.random.default_rng(0).normal(5.0, 2.0, [N, 2])).astype("float32")
    nested = tfd.TransformedDistribution(_flow(size=2), tfb.Exp())
    chained = tfd.TransformedDistribution(
        nested.distribution.distribution,
        gx.bijectors.Compose([tfb.Exp(), nested.distribution.bijector]),
    )
    for density in (nested, chained):
        model = gx.models.DensityModel(density)
        model.adapt(positive)
        (scale,) = (
            b for b in model.distribution.submodules if isinstance(b, gx.bijectors.Standardize)
        )
        logarithms = np.log(positive.astype("float64"))
        np.testing.assert_allclose(scale.loc, logarithms.mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(scale.scale, logarithms.std(axis=0), rtol=1e-4)
        assert model.sample(200, seed=[1, 2]).numpy().min() > 0.0


def test_images_have_one_scale_a_channel():
    x = np.random.default_rng(0).normal([100.0, -3.0], [10.0, 0.1], [64, 4, 4, 2])
    glow = gx.flows.glow([4, 4, 2], num_levels=1, num_steps=1, hidden_channels=4)
    model = gx.models.DensityModel(tfd.TransformedDistribution(glow.distribution, glow.bijector))
    model.adapt(x.astype("float32"))
    samples = model.sample(500, seed=[1, 2]).numpy()
    np.testing.assert_allclose(samples.mean(axis=(0, 1, 2)), [100.0, -3.0], rtol=0.02)
    np.testing.assert_allclose(samples.std(axis=(0, 1, 2)), [10.0, 0.1], rtol=0.1)


def _prices():
    rng = np.random.default_rng(0)
    c = rng.normal(size=[N, 2]).astype("float32")
    y = 200_000.0 + 50_000.0 * (c[:, :1] + 0.1 * rng.normal(size=[N, 1]))
    return c, y.astype("float32")


def _regression(head):
    network = keras.Sequential(
        [keras.layers.Dense(16, "tanh"), keras.layers.Dense(head.params_size)]
    )
    return gx.models.DensityModel(gx.distributions.Conditional(network, head))


def test_heads_reach_targets_of_any_scale(tmp_path):
    c, y = _prices()
    model = _regression(gx.distributions.IndependentNormal([1]))
    model.adapt(c, y)
    _fitted(model, c, y, epochs=40)
    nll = model.evaluate(c, y, verbose=0, return_dict=True)["nll"]
    truth = np.log(5000.0) + 0.5 * np.log(2.0 * np.pi * np.e)
    assert abs(nll - truth) < 0.5
    predicted = model.distribution(c)
    assert np.abs(predicted.mean() - y).mean() < 8000.0
    assert 2000.0 < predicted.stddev().numpy().mean() < 10_000.0
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = model.predict((c, y), verbose=0)
    np.testing.assert_array_equal(loaded.predict((c, y), verbose=0), expected)


def test_conditional_flows_adapt_their_events():
    c, y = _prices()
    y = np.concatenate([y, -1e-3 * y], axis=1)
    model = gx.models.DensityModel(_flow(size=2, conditional_event_shape=[2]))
    model.adapt(c, y)
    z = ((y - y.mean(axis=0, dtype="float64")) / y.std(axis=0, dtype="float64")).astype("float32")
    plain = gx.models.DensityModel(_flow(size=2, conditional_event_shape=[2]))
    expected = plain.predict((c, z), verbose=0) - np.log(y.std(axis=0, dtype="float64")).sum()
    np.testing.assert_allclose(model.predict((c, y), verbose=0), expected, atol=1e-2)


def test_conditional_distributions_of_masked_networks_adapt():
    c, y = _prices()
    y = np.concatenate([y, -1e-3 * y], axis=1)
    entry = gx.distributions.Mixture(2, gx.distributions.IndependentNormal([]))
    made = gx.autoregressive.made([2], hidden_units=[8], head=entry, conditional_event_shape=[2])
    mean, std = _moments(y)
    expected = made.log_prob((y - mean) / std, conditional_input=c) - np.log(std).sum()
    model = gx.models.DensityModel(made)
    model.adapt(c, y)
    np.testing.assert_allclose(model.predict((c, y), verbose=0), expected, rtol=1e-4)
    _fitted(model, c, y)
    assert model.sample(3, seed=1, conditional_input=c[:5]).shape == [3, 5, 2]


def test_other_densities_of_real_numbers_adapt():
    x = _columns()[:, :2]
    gaussian = tfd.MultivariateNormalDiag(tf.Variable([0.0, 0.0]), [1.0, 1.0])
    entry = gx.distributions.Mixture(2, gx.distributions.IndependentNormal([]))
    made = gx.autoregressive.made([2], hidden_units=[8], head=entry)
    mean, std = _moments(x)
    mixture = tfd.Mixture(tfd.Categorical(logits=tf.Variable([0.0, 0.0])), [gaussian, gaussian])
    for density in (gaussian, made, mixture):
        model = gx.models.DensityModel(density)
        model.adapt(x)
        samples = model.sample(2000, seed=[1, 2]).numpy()
        np.testing.assert_allclose(samples.mean(axis=0), mean, atol=0.2 * std.max() + 1e-3)
        np.testing.assert_allclose(samples.std(axis=0), std, rtol=0.3)


def test_several_draws_of_a_flow_adapt():
    x = np.random.default_rng(0).normal([1e4, -5.0], [300.0, 0.1], [200, 3, 2]).astype("float32")
    model = gx.models.DensityModel(tfd.Sample(_flow(size=2), 3))
    model.adapt(x)
    samples = model.sample(1000, seed=[1, 2]).numpy()
    np.testing.assert_allclose(samples.mean(axis=(0, 1)), [1e4, -5.0], rtol=0.01)


def _vae(head, **options):
    latent = gx.distributions.IndependentNormal([2])
    networks = [
        keras.Sequential([keras.layers.Dense(8, "tanh"), keras.layers.Dense(size)])
        for size in (latent.params_size, head.params_size)
    ]
    return gx.models.VAE(
        gx.distributions.Conditional(networks[0], latent),
        gx.distributions.Conditional(networks[1], head),
        prior=tfd.MultivariateNormalDiag(tf.zeros([2])),
        seed=3,
        **options,
    )


def test_a_vae_adapts_encoder_and_decoder(x, tmp_path):
    x = x[:, :4]
    mean, std = _moments(x)
    keras.utils.set_random_seed(1)
    vae = _vae(gx.distributions.IndependentNormal([4]))
    vae.adapt(x)
    z = ((x - mean) / std).astype("float32")
    encoded = vae.encoder(z).mean()
    np.testing.assert_allclose(vae.encode(x).mean(), encoded, rtol=1e-3, atol=1e-3)
    latents = tf.zeros([3, 2])
    decoded = mean + std * vae.decoder(latents).mean()
    np.testing.assert_allclose(vae.decode(latents).mean(), decoded, rtol=1e-5)
    _fitted(vae, x)
    assert vae.evaluate(x, verbose=0, return_dict=True)["nll"] < np.log(std).sum() + 4 * 1.5
    np.testing.assert_allclose(vae.sample(500, seed=1).numpy().mean(axis=0), mean, atol=std.max())
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    expected = vae.predict(x, verbose=0)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    vae.export(tmp_path / "1", verbose=False)
    served = tf.saved_model.load(tmp_path / "1").signatures
    np.testing.assert_allclose(
        served["reconstruct"](x=tf.constant(x))["x"], vae.reconstruct(x), rtol=1e-5
    )


def test_variables_of_adapted_models_belong_to_their_strategy(two_devices, x):
    with two_devices.scope():
        model = gx.models.DensityModel(_flow(size=4))
        model.compile(optimizer="adam")
    model.adapt(x[:, :4])
    model.fit(x[:, :4], batch_size=100, verbose=0)
    assert np.isfinite(model.predict(x[:, :4], verbose=0)).all()


def test_a_frame_has_its_columns_adapted():
    class Frame:
        """The part of a pandas.DataFrame that NumPy reads."""

        def __array__(self, dtype=None, copy=None):
            return np.array([[20.5, 1e4], [30.5, 2e4], [41.0, 4e4]], dtype)

    model = gx.models.DensityModel(_flow(size=2))
    model.adapt(Frame())
    scale = model.distribution.bijector.bijectors[0]
    np.testing.assert_allclose(scale.loc, np.mean(Frame(), axis=0), rtol=1e-6)


def _bits():
    return gx.models.DensityModel(gx.autoregressive.made([3], hidden_units=[4]))


WRONG = {
    "bits": (lambda: _bits().adapt(np.ones([9, 3])), "discrete values"),
    "bits of a VAE": (
        lambda: _vae(gx.distributions.IndependentBernoulli([3])).adapt(np.ones([9, 3])),
        "discrete values",
    ),
    "relaxed bits": (
        lambda: _regression(gx.distributions.RelaxedBernoulli([1])).adapt(
            np.ones([9, 2], "float32"), np.full([9, 1], 0.5, "float32")
        ),
        "numbers within bounds",
    ),
    "another shape": (
        lambda: gx.models.DensityModel(_flow()).adapt(np.ones([9, 3], "float32")),
        "`x` must be of shape",
    ),
    "NaN": (
        lambda: gx.models.DensityModel(_flow()).adapt(np.full([9, 5], np.nan, "float32")),
        "`x` must be finite",
    ),
    "no rows": (
        lambda: gx.models.DensityModel(_flow()).adapt(x for x in ()),
        "at least one batch",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_has_no_scale_to_adapt_is_refused(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        call()
