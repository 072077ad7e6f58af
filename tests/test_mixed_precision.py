"""Mixed policies: networks compute in 16 bits, densities stay float32, and training works."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import registry
import tensorflow as tf

import tfp_genext as gx

POLICIES = ["mixed_float16", "mixed_bfloat16"]
RECIPES = {
    "nice": gx.flows.nice,
    "real_nvp": gx.flows.real_nvp,
    "maf": gx.flows.maf,
    "iaf": gx.flows.iaf,
    "nsf": gx.flows.nsf,
    "naf": gx.flows.naf,
}


@pytest.fixture(params=POLICIES)
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def flow(recipe, *, context=False, dtype=None):
    options = {"conditional_event_shape": [3]} if context else {}
    made = RECIPES[recipe](
        [4], num_layers=3, hidden_units=[16, 16], act_norm=True, dtype=dtype, **options
    )
    registry.perturb(made, size=0.1)
    return made


def inputs(rows=256):
    x = registry.points((rows, 4), "float32").numpy() * [1.0, 2.0, 0.5, 1.0] + [0.0, 1.0, 0.0, 2.0]
    return registry.points((rows, 3), "float32", seed=9).numpy(), x.astype("float32")


@pytest.mark.parametrize("context", [False, True], ids=["alone", "context"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_densities_are_float32_and_near_those_of_float32(recipe, context, policy):
    mixed, full = flow(recipe, context=context), flow(recipe, context=context, dtype="float32")
    for variable, other in zip(mixed.variables, full.variables, strict=True):
        other.assign(variable)
    c, x = inputs()
    kwargs = {"bijector_kwargs": {"conditional_input": c}} if context else {}
    found, expected = (f.log_prob(tf.constant(x), **kwargs) for f in (mixed, full))
    assert found.dtype == tf.float32 and mixed.dtype == tf.float32
    # bfloat16 has three bits less than float16.
    bound = 1e-2 if policy == "mixed_float16" else 8e-2
    np.testing.assert_allclose(found, expected, rtol=bound, atol=bound)
    samples = mixed.sample(c.shape[0], seed=[1, 2], **kwargs)
    assert samples.dtype == tf.float32 and np.isfinite(samples).all()
    assert all(v.dtype == tf.float32 for v in mixed.trainable_variables)


@pytest.mark.parametrize(
    ("recipe", "context"),
    [
        ("nice", False),
        ("real_nvp", True),
        ("maf", False),
        ("iaf", True),
        ("nsf", False),
        ("naf", False),
    ],
)
def test_every_recipe_trains(recipe, context, policy):
    model = gx.models.DensityModel(flow(recipe, context=context))
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    before = [v.numpy() for v in model.trainable_variables]
    c, x = inputs()
    history = model.fit(*((c, x) if context else (x,)), epochs=4, batch_size=64, verbose=0).history
    assert np.isfinite(history["nll"]).all() and history["nll"][-1] < history["nll"][0]
    for variable, value in zip(model.trainable_variables, before, strict=True):
        assert (variable.numpy() != value).any(), variable.path


def test_a_loaded_model_keeps_its_policy(policy, tmp_path):
    model = gx.models.DensityModel(flow("maf"))
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    _, x = inputs()
    model.fit(x, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.dtype_policy.name == policy
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert loaded.fit(x, verbose=0).history["nll"] == model.fit(x, verbose=0).history["nll"]


def test_glow_trains_predicts_and_samples(policy):
    images = np.random.default_rng(0).integers(0, 256, [64, 4, 4, 2])
    glow = gx.flows.glow(
        [4, 4, 2],
        num_levels=1,
        num_steps=2,
        hidden_channels=8,
        data_bijector=gx.flows.pixels(256),
    )
    model = gx.models.DensityModel(glow, preprocessing=gx.layers.Dequantize(256))
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    losses = model.fit(images, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert np.isfinite(model.predict(images, verbose=0)).all()
    samples = model.sample(8, seed=[1, 2])
    assert np.isfinite(samples).all()
    assert np.isfinite(model.log_prob(samples)).all()
