"""Noise for whole numbers: fresh in training, a fixed function of the row else."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions


def images(rows=2000, values=256, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, values, [rows, 4, 4, 2]).astype(np.uint8)


def fixed_noise(x, **options):
    return gx.layers.Dequantize(256, **options)(x).numpy() - x


def test_noise_is_uniform_and_independent():
    noise = fixed_noise(images()).reshape(2000, 32)
    assert noise.min() >= 0.0 and noise.max() < 1.0
    counts = np.histogram(noise, bins=50, range=(0.0, 1.0))[0]
    expected = noise.size / 50
    assert ((counts - expected) ** 2 / expected).sum() < 49 + 5 * np.sqrt(2 * 49)
    correlation = np.corrcoef(noise.T) - np.eye(32)
    assert np.abs(correlation).max() < 5.0 / np.sqrt(2000)
    follows = np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]
    assert abs(follows) < 5.0 / np.sqrt(noise.size)


def test_noise_of_images_that_differ_in_one_pixel_has_nothing_in_common():
    x = np.zeros([500, 4, 4, 2], np.uint8)
    x[:, 0, 0, 0], x[:, 1, 2, 1] = np.arange(500) % 25, np.arange(500) // 25
    noise = fixed_noise(x).reshape(500, 32)
    assert np.abs(np.corrcoef(noise.T) - np.eye(32)).max() < 5.0 / np.sqrt(500)
    assert len(np.unique(noise[:, 7])) > 490


def test_fixed_noise_does_not_depend_on_batches_order_or_dtype():
    x = images(50)
    noise = fixed_noise(x)
    order = np.random.default_rng(1).permutation(50)
    np.testing.assert_array_equal(fixed_noise(x[order]), noise[order])
    np.testing.assert_array_equal(np.stack([fixed_noise(row[None])[0] for row in x]), noise)
    np.testing.assert_array_equal(fixed_noise(x.astype("int64")), noise)
    np.testing.assert_array_equal(fixed_noise(x.astype("float32")), noise)
    assert np.abs(fixed_noise(x, seed=1) - noise).max() > 0.5
    compiled = tf.function(gx.layers.Dequantize(256), jit_compile=True)
    np.testing.assert_array_equal(compiled(tf.constant(x)) - x, noise)


@pytest.mark.parametrize("wrong", [0.5, 4.0, -1.0])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_numbers_that_are_no_values_are_refused_wherever_they_come_from(wrong, jit_compile):
    layer = gx.layers.Dequantize(4)
    x = np.ones([8, 4, 4, 2], np.float32)
    x[3, 1, 2, 0] = wrong
    with pytest.raises(ValueError, match="`x` must hold whole numbers from 0 to 3"):
        layer(x)
    flow = gx.flows.glow([4, 4, 2], num_levels=1, num_steps=1, hidden_channels=4)
    model = gx.models.DensityModel(flow, preprocessing=layer)
    model.compile(jit_compile=jit_compile)
    model.fit(np.ones_like(x), verbose=0)
    dataset = tf.data.Dataset.from_tensor_slices(x).batch(4)
    for given in (x, dataset, (x[i : i + 4] for i in (0, 4))):
        with pytest.raises(ValueError, match="`x` must hold whole numbers from 0 to 3.*Received"):
            model.evaluate(given, verbose=0)
    with pytest.raises(ValueError, match="`x` must hold whole numbers from 0 to 3.*Received"):
        model.fit(dataset, verbose=0)


def test_training_noise_is_fresh():
    layer, x = gx.layers.Dequantize(256), images(20)
    first, second = (layer(x, training=True).numpy() - x for _ in range(2))
    assert np.abs(first - second).max() > 0.5
    assert first.min() >= 0.0 and first.max() < 1.0


def uniform_pixels():
    """A distribution of pixels, each uniform on [0, 256): 8 bits/dim by hand."""
    low = tf.zeros([4, 4, 2])
    spread = tfd.Independent(tfd.Uniform(low, low + 1.0), 3)
    scale = tfb.Chain([tfb.Scale(256.0), tfb.Scale(log_scale=tf.Variable(0.0))])
    return tfd.TransformedDistribution(spread, scale)


def test_bits_per_dim_count_every_constant():
    model = gx.models.DensityModel(
        uniform_pixels(), preprocessing=gx.layers.Dequantize(256), bits_per_dim=True
    )
    model.compile()
    results = model.evaluate(images(100), verbose=0, return_dict=True)
    assert results["bits_per_dim"] == pytest.approx(8.0, rel=1e-5)
    assert results["nll"] == pytest.approx(32 * np.log(256.0), rel=1e-5)


@pytest.mark.parametrize("alpha", [None, 0.05])
def test_pixel_scales_are_their_formulas(alpha):
    scale = gx.flows.pixels(256, alpha=alpha, dtype="float64")
    x = np.array([0.0, 0.5, 17.0, 128.0, 255.999])
    if alpha is None:
        expected, slope = x / 256 - 0.5, np.full(5, 1 / 256)
    else:
        share = alpha + (1 - 2 * alpha) * x / 256
        expected = np.log(share / (1 - share))
        slope = (1 - 2 * alpha) / 256 / (share * (1 - share))
    np.testing.assert_allclose(scale.inverse(tf.constant(x)), expected, rtol=1e-9, atol=1e-12)
    log_det = scale.inverse_log_det_jacobian(tf.constant(x), 0)
    np.testing.assert_allclose(np.broadcast_to(log_det, [5]), np.log(slope), rtol=1e-6)


def test_a_flow_says_where_pixels_have_no_logit():
    flow = glow_model().distribution
    model = gx.models.DensityModel(flow)
    model.compile(optimizer="sgd")
    # The interval goes on for 256 * 0.05 / 0.9 = 14.2 on either side.
    inside, outside = (np.full([3, 4, 4, 2], value, np.float32) for value in (-14.0, 270.5))
    assert np.isfinite(flow.log_prob(inside)).all()
    np.testing.assert_array_equal(flow.log_prob(outside), -np.inf)
    np.testing.assert_array_equal(model.predict(outside, verbose=0), -np.inf)
    assert model.evaluate(outside, verbose=0, return_dict=True)["nll"] == np.inf
    with pytest.raises(ValueError, match="Received: "):
        model.fit(outside, verbose=0)


def glow_model():
    keras.utils.set_random_seed(1)
    flow = gx.flows.glow(
        [4, 4, 2],
        num_levels=1,
        num_steps=1,
        hidden_channels=4,
        data_bijector=gx.flows.pixels(alpha=0.05),
    )
    model = gx.models.DensityModel(
        flow, preprocessing=gx.layers.Dequantize(256, seed=3), bits_per_dim=True
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    return model


def test_a_model_of_images_trains_evaluates_and_predicts_the_same_in_any_batches():
    model, x = glow_model(), images(64, values=100)
    history = model.fit(x, epochs=4, batch_size=16, verbose=0).history
    assert history["bits_per_dim"][-1] < history["bits_per_dim"][0]
    whole = model.predict(x, verbose=0)
    np.testing.assert_allclose(model.predict(x, batch_size=7, verbose=0), whole, rtol=1e-5)
    nll = model.evaluate(x, verbose=0, return_dict=True)["nll"]
    assert nll == pytest.approx(-whole.mean(), rel=1e-5)
    assert model.evaluate(tf.data.Dataset.from_tensor_slices(x).batch(9), verbose=0)[0] == (
        pytest.approx(nll, rel=1e-5)
    )


def test_noise_and_model_come_back_from_a_file(tmp_path):
    model, x = glow_model(), images(64, values=100)
    model.fit(x, verbose=0)
    model.save(tmp_path / "glow.keras")
    loaded = keras.saving.load_model(tmp_path / "glow.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    options = {"epochs": 2, "verbose": 0, "shuffle": False}
    assert loaded.fit(x, **options).history == model.fit(x, **options).history


def test_the_inverse_takes_the_noise_away_and_keeps_to_the_values():
    layer, x = gx.layers.Dequantize(256), images(50)
    for training in (False, True):
        np.testing.assert_array_equal(layer.inverse(layer(x, training=training)), x)
    drawn = np.array([[-0.3, 0.0, 0.999], [254.7, 255.999, 300.5]])
    expected = [[0.0, 0.0, 0.0], [254.0, 255.0, 255.0]]
    for dtype in ("float16", "float32", "float64"):
        undone = layer.inverse(drawn.astype(dtype))
        assert undone.dtype == dtype
        np.testing.assert_array_equal(
            undone, np.minimum(np.floor(drawn.astype(dtype)), 255).clip(0)
        )
    np.testing.assert_array_equal(layer.inverse(drawn), expected)


def test_samples_are_undone_through_a_sequence_of_layers_too():
    normal = tfd.Independent(tfd.Normal(tf.Variable([1.5, 2.5]), 1.0), 1)
    layers = keras.Sequential([gx.layers.Dequantize(4), keras.layers.Dropout(0.0)])
    model = gx.models.DensityModel(normal, preprocessing=layers)
    drawn = normal.sample(50, seed=[1, 2])
    np.testing.assert_array_equal(model.sample(50, seed=[1, 2]), np.floor(drawn).clip(0, 3))
    plain = gx.models.DensityModel(normal, preprocessing=keras.layers.Dropout(0.5))
    np.testing.assert_array_equal(plain.sample(50, seed=[1, 2]), drawn)
