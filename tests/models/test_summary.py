"""Tests of what `summary` shows of models."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfd = tfp.distributions


def dense(size, **options):
    return keras.Sequential([keras.layers.Dense(size)], **options)


def normal(size):
    return tfd.Sample(tfd.Normal(0.0, 1.0), size)


def summary(model):
    lines = []
    model.summary(print_fn=lambda line, **_: lines.append(line), line_length=120)
    return "\n".join(lines)


def vae(**names):
    latents, data = gx.distributions.IndependentNormal([2]), gx.distributions.IndependentNormal([3])
    return gx.models.VAE(
        gx.distributions.Conditional(dense(4), latents, name=names.get("encoder")),
        gx.distributions.Conditional(dense(6), data, name=names.get("decoder")),
        prior=normal(2),
    )


@pytest.mark.parametrize(
    "distribution, rows",
    [
        (lambda: gx.flows.real_nvp([3], num_layers=2, hidden_units=[4]), ["(None, 2, 2)"]),
        (lambda: gx.flows.maf([3], num_layers=1, hidden_units=[4]), ["(None, 3, 2)"]),
        (
            lambda: gx.flows.glow([4, 4, 1], num_levels=1, num_steps=1, hidden_channels=2),
            ["(None, None, None, 2, 2)"],
        ),
        (
            lambda: gx.autoregressive.pixel_cnn([2, 2, 1], num_layers=1, filters=2),
            ["(None, 2, 2, 1, 1)"],
        ),
    ],
    ids=["real_nvp", "maf", "glow", "pixel_cnn"],
)
def test_shapes_of_networks_are_shown(distribution, rows):
    shown = summary(gx.models.DensityModel(distribution()))
    assert "?" not in shown
    for row in rows:
        assert row in shown


def test_encoder_and_decoder_are_named_and_have_shapes():
    shown = summary(vae())
    assert "encoder (Conditional)" in shown and "decoder (Conditional)" in shown
    assert "(None, 4)" in shown and "(None, 6)" in shown and "?" not in shown


def test_names_of_the_user_stay(tmp_path):
    model = vae(encoder="eyes")
    assert "eyes (Conditional)" in summary(model) and "decoder" in summary(model)
    model.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert summary(loaded) == summary(model)


def test_the_averaged_generator_is_told_from_the_generator():
    gan = gx.models.GAN(dense(3, name="maker"), dense(1), prior=normal(4))
    shown = summary(gan)
    assert "averaged_maker (Sequential)" in shown and shown.count(" maker (Sequential)") == 1
    flow = gx.flows.maf([3], num_layers=1, hidden_units=[4])
    names = [layer.name for layer in gx.models.GAN(flow, dense(1)).layers]
    assert len(set(names)) == len(names)


def test_shapes_say_what_the_networks_return():
    network = gx.networks.MLP([2, 3], [4])
    network.build((None, 5))
    assert network.output_shape[1:] == tuple(network(tf.zeros([7, 5])).shape[1:])
    made = gx.networks.MADE(4, 2, [5])
    assert made.output_shape[1:] == tuple(made(tf.zeros([7, 4])).shape[1:])
