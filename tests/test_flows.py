"""Recipes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp
from derivatives import jacobian

import tfp_genext as gx
from tfp_genext.core import tracking

tfd = tfp.distributions

RECIPES = [gx.flows.real_nvp, gx.flows.nice]
SMALL = {"num_layers": 2, "hidden_units": [8]}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 3},
        {"num_layers": 4, "permutation": gx.masks.reversed_order},
        {"num_layers": 6, "permutation": gx.masks.random_order(0)},
    ],
    ids=["alternating", "reversed", "random"],
)
@pytest.mark.parametrize("size", [2, 3, 6, 7])
def test_every_dimension_comes_to_depend_on_every_other(recipe, options, size):
    flow = recipe([size], hidden_units=[16], activation="tanh", dtype="float64", **options)
    registry.perturb(flow)
    x = registry.points((8, size), "float64")
    assert (np.abs(jacobian(flow.bijector.forward, x)).max(axis=0) > 0.0).all()


@pytest.mark.parametrize("recipe", RECIPES)
def test_options_are_as_documented(recipe):
    flow = recipe([5], num_layers=3, hidden_units=[8, 9], act_norm=True, name="mine")
    assert flow.name == "mine" and flow.event_shape == [5] and flow.batch_shape == []
    names = [member.name for member in flow.bijector.bijectors]
    assert names.count("act_norm") == 3
    widths = [[layer.units for layer in n.hidden_layers] for n in tracking.networks(flow)]
    assert widths == [[8, 9]] * 3
    assert type(flow).__name__ == "_TransformedDistribution"


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_reaches_everything(recipe, dtype):
    flow = recipe([5], dtype=dtype, act_norm=True, **SMALL)
    assert flow.dtype == dtype
    assert {v.dtype for v in flow.trainable_variables} == {tf.as_dtype(dtype)}
    assert flow.sample(3, seed=[1, 2]).dtype == dtype
    assert flow.log_prob(np.zeros([3, 5])).dtype == dtype


def test_dtype_follows_the_policy_of_keras():
    keras.config.set_dtype_policy("float64")
    assert gx.flows.real_nvp([5], **SMALL).dtype == tf.float64
    keras.config.set_dtype_policy("mixed_bfloat16")
    flow = gx.flows.real_nvp([5], **SMALL)
    assert flow.dtype == tf.float32 and flow.log_prob(tf.zeros([5])).dtype == tf.float32


def test_any_distribution_is_a_base():
    base = tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.Variable([0.0, 0.0])),
        tfd.MultivariateNormalDiag(loc=tf.Variable([[0.0, 0.0], [5.0, 5.0]])),
    )
    flow = gx.flows.real_nvp([2], base=base, **SMALL)
    assert flow.distribution is base
    assert len(flow.trainable_variables) == 2 * 4 + 2
    np.testing.assert_allclose(flow.log_prob([1.0, 2.0]), base.log_prob([1.0, 2.0]), rtol=1e-6)


def test_nice_preserves_volume_up_to_its_scaling():
    flow = gx.flows.nice([4], num_layers=4, hidden_units=[8], dtype="float64")
    registry.perturb(flow)
    scaling = flow.bijector.bijectors[-1].log_scale
    log_det = flow.bijector.forward_log_det_jacobian(registry.points((6, 4), "float64"), 1)
    np.testing.assert_allclose(
        np.broadcast_to(log_det, [6]), np.full([6], np.sum(scaling)), rtol=1e-10
    )


def test_the_mean_of_a_nice_is_not_given_wrongly():
    """TFP takes a constant Jacobian for an affine map, and would return a wrong mean."""
    flow = gx.flows.nice([4], **SMALL)
    with pytest.raises(NotImplementedError, match="mean"):
        flow.mean()


def test_flows_work_in_the_pipelines_of_tfp():
    flow = gx.flows.real_nvp([2], **SMALL)
    joint = tfd.JointDistributionNamed(
        {"z": flow, "y": lambda z: tfd.Independent(tfd.Normal(z, 1.0), 1)}
    )
    draw = joint.sample(3, seed=[1, 2])
    assert joint.log_prob(draw).shape == [3]
    lognormal = tfp.bijectors.Exp()(flow)
    assert lognormal.log_prob(tf.exp(draw["z"])).shape == [3]
    restored = tfd.Independent(tfd.Sample(flow, 4)[None], 1)
    assert restored.sample(2, seed=[1, 2]).shape == [2, 1, 4, 2]
    divergence = tfp.vi.monte_carlo_variational_loss(
        tfd.MultivariateNormalDiag(tf.zeros([2])).log_prob, flow, sample_size=16, seed=[1, 2]
    )
    assert np.isfinite(divergence)
    assert tfd.kl_divergence(flow, flow) == 0.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("recipe", ["nice", "real_nvp", "maf", "iaf", "nsf", "naf"])
def test_sixteen_bits_work_or_are_refused_at_construction(recipe, dtype):
    build = getattr(gx.flows, recipe)
    options = {"num_layers": 2, "hidden_units": [4], "dtype": dtype}
    if recipe == "nice" and dtype == "bfloat16":
        with pytest.raises(ValueError, match="`dtype` must be .*Received: dtype='bfloat16'"):
            build([3], **options)
        return
    flow = build([3], **options)
    x = flow.sample(5, seed=[1, 2])
    assert x.dtype == dtype
    assert np.isfinite(tf.cast(flow.log_prob(tf.identity(x)), tf.float32)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_normal_heads_draw_in_sixteen_bits(dtype):
    head = gx.distributions.Mixture(2, gx.distributions.IndependentNormal([]))
    made = gx.autoregressive.made([3], hidden_units=[4], head=head, dtype=dtype)
    x = made.sample(5, seed=[1, 2])
    assert x.dtype == dtype
    assert np.isfinite(tf.cast(made.log_prob(x), tf.float32)).all()
