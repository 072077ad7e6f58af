"""Flows of images against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp
from derivatives import jacobian

import tfp_genext as gx

tfd = tfp.distributions
SHAPE = (4, 4, 3)
OPTIONS = {"num_steps": 2, "hidden_channels": 4, "activation": "tanh", "dtype": "float64"}
REAL_NVP = {"num_blocks": 1, "hidden_channels": 4, "activation": "tanh", "dtype": "float64"}
NICE = {"hidden_units": [4], "activation": "tanh", "dtype": "float64"}
DEFAULTS = {gx.flows.glow: OPTIONS, gx.flows.real_nvp_images: REAL_NVP, gx.flows.nice: NICE}
KINDS = {
    "nice": {"recipe": gx.flows.nice, "num_layers": 3},
    "real nvp": {"recipe": gx.flows.real_nvp_images, "num_levels": 2},
    "real nvp without norms": {
        "recipe": gx.flows.real_nvp_images,
        "num_levels": 2,
        "batch_norm": False,
        "num_couplings": 2,
    },
    "glow": {"num_levels": 2},
    "additive": {"num_levels": 2, "transformer": gx.transformers.Additive()},
    "fixed prior": {"num_levels": 2, "learned_prior": False},
    "splines": {"num_levels": 2, "transformer": gx.transformers.Spline(num_bins=3)},
    "pixels": {"num_levels": 2, "data_bijector": gx.flows.pixels(4, alpha=0.1, dtype="float64")},
    "conditional": {"num_levels": 2, "conditional_event_shape": [2]},
}


def flow_and_kwargs(kind, shape=SHAPE):
    given = dict(KINDS[kind])
    recipe = given.pop("recipe", gx.flows.glow)
    flow = recipe(shape, **{**DEFAULTS[recipe], **given})
    registry.perturb(flow, size=0.2)
    context = KINDS[kind].get("conditional_event_shape")
    return flow, gx.flows.bijector_kwargs(flow, None if context is None else [[0.3, -1.0]])


@pytest.mark.parametrize("kind", KINDS)
def test_log_density_is_that_of_the_whole_jacobian(kind):
    flow, kwargs = flow_and_kwargs(kind)
    x = registry.points((1, *SHAPE), "float64")
    x = tf.sigmoid(x) * 4.0 if kind == "pixels" else x
    named = kwargs.get("bijector_kwargs", {})
    z = flow.bijector.inverse(x, **named)
    zero = tf.constant(0.0, tf.float64)
    noise = tfd.Logistic(zero, 1.0) if kind == "nice" else tfd.Normal(zero, 1.0)
    expected = noise.log_prob(z.numpy()).numpy().sum()
    expected += np.linalg.slogdet(jacobian(flow.bijector.inverse, x, **named)[0])[1]
    np.testing.assert_allclose(flow.log_prob(tf.identity(x), **kwargs), [expected], rtol=1e-6)
    back = flow.bijector.forward(tf.identity(z), **named)
    np.testing.assert_allclose(back, x, atol=1e-10)


def test_density_of_four_pixels_integrates_to_one():
    """2 x 2 pixels, with the squeeze: importance sampling on a Sobol sequence."""
    flow = gx.flows.glow([2, 2, 1], num_levels=1, **OPTIONS)
    registry.perturb(flow, size=0.2)
    uniform = tf.cast(tf.math.sobol_sample(4, 2**16, skip=1), tf.float64)
    wide = tfd.Normal(tf.constant(0.0, tf.float64), 4.0)
    x = wide.quantile(uniform)
    log_weights = flow.log_prob(tf.reshape(x, [-1, 2, 2, 1])) - tf.reduce_sum(wide.log_prob(x), -1)
    assert float(tf.reduce_mean(tf.exp(log_weights))) == pytest.approx(1.0, abs=5e-3)


def test_density_of_two_pixels_integrates_to_one():
    network = registry.conv_net(1, (1, 2), "float64")
    mask = gx.masks.checkerboard(1, 2)
    coupling = gx.bijectors.AffineCoupling(mask=mask, shift_and_log_scale_fn=network, event_ndims=3)
    registry.perturb(coupling)
    base = tfd.Sample(tfd.Normal(tf.constant(0.0, tf.float64), 1.0), [1, 2, 1])
    flow = tfd.TransformedDistribution(base, coupling)
    grid = np.linspace(-12.0, 12.0, 601)
    x = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 1, 2, 1)
    total = np.exp(flow.log_prob(x)).sum() * (grid[1] - grid[0]) ** 2
    assert total == pytest.approx(1.0, abs=1e-4)


def test_each_level_may_have_its_own_numbers():
    flow = gx.flows.glow([8, 8, 1], num_levels=3, num_steps=[1, 2, 3], hidden_channels=[4, 5, 6])
    networks = gx.core.tracking.networks(flow)
    hidden = [network.hidden_channels for network in networks]
    assert sorted(hidden, key=str) == [4, 5, 5, 6, 6, 6, None, None]
    nvp = gx.flows.real_nvp_images(
        [4, 4, 1], num_levels=2, num_couplings=1, hidden_channels=[4, 5], batch_norm=False
    )
    found = [network.hidden_channels for network in gx.core.tracking.networks(nvp)]
    assert sorted(found) == [4, 4, 5, 5]


@pytest.mark.parametrize("kind", ["glow", "real nvp", "nice"])
def test_no_images_are_images_too(kind):
    flow, _ = flow_and_kwargs(kind)
    assert flow.sample(0, seed=[1, 2]).shape == [0, *SHAPE]
    assert flow.log_prob(tf.zeros([0, *SHAPE], tf.float64)).shape == [0]


def test_initialisation_standardises_every_scale():
    flow = gx.flows.glow(SHAPE, num_levels=2, num_steps=2, hidden_channels=4)
    x = 100.0 + 30.0 * registry.points((200, *SHAPE), "float32")
    gx.flows.initialize(flow, x)
    z = flow.bijector.inverse(tf.identity(x)).numpy()
    assert np.isfinite(z).all() and abs(z.mean()) < 0.2 and 0.7 < z.std() < 1.3


def test_a_constant_channel_in_the_first_batch_gives_no_nan():
    flow = gx.flows.glow(SHAPE, num_levels=2, num_steps=2, hidden_channels=4)
    x = np.array(registry.points((50, *SHAPE), "float32"))
    x[..., 1] = 3.0
    gx.flows.initialize(flow, x)
    assert np.isfinite(flow.log_prob(x)).all() and np.isfinite(flow.sample(5, seed=[1, 2])).all()


def test_checkerboards_by_enumeration():
    for first in (True, False):
        mask = gx.masks.checkerboard(3, 4, first=first)
        assert mask.shape == (3, 4, 1)
        for i in range(3):
            for j in range(4):
                assert mask[i, j, 0] == (((i + j) % 2 == 0) == first)


def test_a_checkerboard_coupling_looks_at_one_colour_and_moves_the_other():
    bijector = registry.checkerboard_coupling("float64")
    registry.perturb(bijector)
    x = registry.points((3, *registry.IMAGE), "float64")
    found = np.abs(jacobian(bijector.forward, x)).max(axis=0) > 0.0
    mask = np.broadcast_to(gx.masks.checkerboard(4, 2), registry.IMAGE).reshape(-1)
    # Two layers of 3 x 3 see no farther than this image of 4 x 2, but for its far corners.
    assert (found[mask] == np.eye(16, dtype=bool)[mask]).all()
    np.testing.assert_array_equal(found[~mask][:, ~mask], np.eye(8, dtype=bool))
    assert found[~mask][:, mask].mean() > 0.8


def test_temperature_scales_the_noise_and_nothing_else():
    flow = gx.flows.glow([2, 2, 1], num_levels=1, **OPTIONS)
    registry.perturb(flow, size=0.2)
    cool = gx.flows.tempered(flow, 0.5)
    noise = flow.distribution.sample(7, seed=[1, 2])
    x = flow.bijector.forward(0.5 * noise)
    base = tfd.Normal(tf.constant(0.0, tf.float64), 0.5)
    expected = tf.reduce_sum(base.log_prob(0.5 * noise), axis=[1, 2, 3])
    expected += flow.bijector.inverse_log_det_jacobian(tf.identity(x))
    np.testing.assert_allclose(cool.log_prob(tf.identity(x)), expected, rtol=1e-9)
    spread = [float(tf.math.reduce_std(f.sample(4000, seed=[3, 4]))) for f in (cool, flow)]
    assert spread[0] < 0.8 * spread[1]
    assert {id(v) for v in cool.variables} == {id(v) for v in flow.variables}


def test_classes_reach_the_coarsest_noise():
    flow = gx.flows.glow([2, 2, 1], num_levels=1, conditional_event_shape=[3], **OPTIONS)
    plain = gx.flows.glow(
        [2, 2, 1], num_levels=1, conditional_event_shape=[3], learned_prior=False, **OPTIONS
    )
    assert len(gx.core.tracking.networks(flow)) == len(gx.core.tracking.networks(plain)) + 1
    registry.perturb(flow, size=0.2)
    bound = gx.flows.condition(flow, tf.eye(3, dtype=tf.float64))
    assert bound.batch_shape == [3]
    x = bound.sample(5, seed=[1, 2])
    assert x.shape == [5, 3, 2, 2, 1]
    assert bound.log_prob(tf.identity(x)).shape == [5, 3]
    kwargs = gx.flows.bijector_kwargs(flow, tf.eye(3, dtype=tf.float64))
    assert np.ptp(flow.log_prob(tf.repeat(x[0, :1], 3, axis=0), **kwargs)) > 1e-3
