"""Graphs that do not know the shape of what they are given, as under `tfd.Sample`."""

from __future__ import annotations

import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions
D = registry.D

# Callables do not say how many units they move: as in TFP, the size must be known.
BIJECTORS = [case for case in registry.BIJECTORS if case.name != "affine_callable"]


def _ids(case):
    return case.name


def _graph_of(function, shape, dtype=tf.float64):
    spec = tf.TensorSpec(shape, dtype)
    return tf.function(function, input_signature=[spec], autograph=False)


@pytest.mark.parametrize("case", BIJECTORS, ids=_ids)
def test_densities_of_bijectors_survive_unknown_sizes_and_ranks(case):
    bijector = case.build("float64")
    registry.perturb(bijector)
    ndims = len(case.event)
    kwargs = registry.conditions(case, (2,), "float64")
    y = registry.points((3, 2, *case.after), "float64")

    def both(y):
        x = bijector.inverse(y, **kwargs)
        return x, bijector.inverse_log_det_jacobian(y, ndims, **kwargs)

    expected = both(tf.identity(y))
    for shape in ([None] * (2 + ndims), None):
        for found, value in zip(_graph_of(both, shape)(y), expected, strict=True):
            np.testing.assert_allclose(*np.broadcast_arrays(found, value), atol=1e-9)


@pytest.mark.parametrize("name", ["affine", "autoregressive", "invertible_1x1_conv", "bound"])
def test_samples_of_unknown_size_know_their_event(name):
    (case,) = registry.some(registry.BIJECTORS, name)
    bijector = case.build("float64")
    kwargs = registry.conditions(case, (2,), "float64")
    graph = _graph_of(lambda x: bijector.forward(x, **kwargs), [None, None])
    x = registry.points((2, *case.event), "float64")
    assert graph.get_concrete_function().outputs[0].shape[1:] == case.event
    np.testing.assert_allclose(graph(x), bijector.forward(tf.identity(x), **kwargs), atol=1e-9)


@pytest.mark.parametrize(
    "case",
    registry.some(
        registry.DISTRIBUTIONS,
        "real_nvp_normed",
        "nice",
        "maf_conditional",
        "nsf",
        "maf_mog",
        "glow_conditional",
        "real_nvp_images",
        "mixture",
    ),
    ids=_ids,
)
def test_several_events_at_once_in_batches_of_unknown_size(case):
    distribution = case.build(D, "float64")
    registry.perturb(distribution)
    kwargs = registry.distribution_kwargs(case, (), "float64")
    x = 0.5 * registry.points((2, 3, *case.event), "float64")
    expected = tf.reduce_sum(distribution.log_prob(tf.identity(x), **kwargs), axis=1)
    several = tfd.Sample(distribution, 3)
    graph = _graph_of(lambda x: several.log_prob(x, **kwargs), [None, 3, *case.event])
    np.testing.assert_allclose(graph(x), expected, rtol=1e-6)
