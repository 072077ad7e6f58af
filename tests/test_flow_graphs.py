"""Graphs of flows: traced apart and together, their sizes and operations, names and training."""

import keras
import numpy as np
import pytest
import registry
import registry_models
import tensorflow as tf

import tfp_genext as gx
from tfp_genext.serving import signatures

RECIPES = ("maf", "iaf", "nsf", "naf")


def _flow(recipe, size, **options):
    build = getattr(gx.flows, recipe)
    flow = build([size], num_layers=2, hidden_units=[8], dtype="float64", **options)
    registry.perturb(flow, size=0.3)
    return flow


@pytest.mark.parametrize("recipe", ["real_nvp", *RECIPES])
def test_a_sample_has_one_density_in_one_function_and_in_two(recipe):
    flow = _flow(recipe, 3)
    seed = tf.constant([1, 2])
    eager = flow.sample(5, seed=seed)
    sample = tf.function(lambda s: flow.sample(5, seed=s), autograph=False)
    log_prob = tf.function(flow.log_prob, autograph=False)
    both = tf.function(lambda s: flow.experimental_sample_and_log_prob(5, seed=s), autograph=False)
    x, together = both(seed)
    for found in (sample(seed), x):
        np.testing.assert_allclose(found, eager, rtol=1e-9, atol=1e-9)
    expected = flow.log_prob(tf.identity(eager))
    assert np.isfinite(expected).all()
    for found in (log_prob(sample(seed)), together):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def _nodes(function, *specs):
    graph = tf.function(function, input_signature=specs, autograph=False)
    definition = graph.get_concrete_function().graph.as_graph_def()
    return [
        *definition.node,
        *(node for inner in definition.library.function for node in inner.node_def),
    ]


def test_the_graph_of_a_sample_does_not_grow_with_the_dimensions():
    """D passes, each unrolled, would take some thousands of operations."""
    for size in (8, 32, 128):
        flow = gx.flows.maf([size], num_layers=1, hidden_units=[32])
        nodes = _nodes(lambda s, flow=flow: flow.sample(5, seed=s), tf.TensorSpec([2], tf.int32))
        assert len(nodes) < 2000, size


SERVED = {
    "maf": lambda: gx.flows.maf([3], num_layers=1, hidden_units=[4]),
    "nsf": lambda: gx.flows.nsf([3], num_layers=1, hidden_units=[4], num_bins=3),
    "naf": lambda: gx.flows.naf([2], num_layers=1, hidden_units=[4]),
    "glow": lambda: gx.flows.glow([4, 4, 1], num_levels=1, num_steps=1, hidden_channels=2),
    "made": lambda: gx.autoregressive.made([3], hidden_units=[4]),
    "pixel_cnn": lambda: gx.autoregressive.pixel_cnn([3, 3, 1], num_layers=1, filters=2),
}


@pytest.mark.parametrize("kind", SERVED)
def test_exports_hold_no_python_and_no_xla(kind):
    functions = signatures.DensityFunctions(SERVED[kind](), None).by_name()
    for name in ("log_prob", "sample"):
        function, specs = functions[name]
        operations = {node.op for node in _nodes(function, *specs)}
        assert not {op for op in operations if "PyFunc" in op or "Xla" in op}, name


def test_variables_of_glow_have_names_of_their_own():
    glow = gx.flows.glow([4, 4, 2], num_levels=2, num_steps=2, hidden_channels=4)
    paths = [variable.path for variable in gx.models.DensityModel(glow).weights]
    assert len(set(paths)) == len(paths)


def test_the_flow_that_is_a_vaes_prior_is_trained():
    vae = registry_models.maf_prior()
    registry.perturb(vae.prior, size=0.1)
    before = [variable.numpy() for variable in vae.prior.trainable_variables]
    assert before
    vae.compile(optimizer=keras.optimizers.Adam(1e-2))
    x = np.random.default_rng(0).integers(0, 2, [64, registry_models.D])
    vae.fit(x, epochs=1, verbose=0)
    for value, variable in zip(before, vae.prior.trainable_variables):
        assert np.isfinite(variable).all()
        assert np.abs(variable - value).max() > 0.0
