"""Monotone transformers: they rise, their inverses are found, and gradients go through both."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfd = tfp.distributions

SIGMOIDALS = [
    gx.transformers.DeepSigmoidal(num_units=1),
    gx.transformers.DeepSigmoidal(num_units=6),
    gx.transformers.DeepDenseSigmoidal(num_units=3),
    gx.transformers.DeepDenseSigmoidal(num_units=2, num_layers=3),
]
ALL = [*SIGMOIDALS, gx.transformers.MixtureOfGaussians(num_components=4)]
COUNT = 100

each = pytest.mark.parametrize("transformer", ALL, ids=repr)
each_sigmoidal = pytest.mark.parametrize("transformer", SIGMOIDALS, ids=repr)


def params(transformer, size=1.0, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return list(tf.constant(size * rng.normal(size=[transformer.params_size, COUNT]), dtype))


def points(size=2.0, dtype="float64", seed=1):
    return tf.constant(size * np.random.default_rng(seed).normal(size=COUNT), dtype)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x, axis):
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def test_deep_sigmoidal_is_the_formula_of_the_paper():
    transformer, y = gx.transformers.DeepSigmoidal(num_units=6), points().numpy()
    given = params(transformer)
    raw_slopes, raw_offsets, raw_weights = np.split(np.stack(given), 3)
    slopes = np.exp(3.0 * np.tanh(raw_slopes / 3.0))
    offsets = raw_offsets + np.linspace(-0.5, 0.5, 6)[:, None]
    mixed = (softmax(raw_weights, 0) * sigmoid(slopes * y + offsets)).sum(axis=0)
    expected = 0.99 * np.log(mixed / (1.0 - mixed)) + 0.01 * y
    np.testing.assert_allclose(transformer.bijector(given).inverse(y), expected, rtol=1e-9)


def test_deep_dense_sigmoidal_is_the_formula_of_the_paper():
    transformer, y = gx.transformers.DeepDenseSigmoidal(num_units=3), points().numpy()
    given = params(transformer)
    raw = iter(np.stack(given))
    take = lambda n: np.stack([next(raw) for _ in range(n)])  # noqa: E731
    h = y[None]
    for inputs, outputs in ((1, 3), (3, 1)):
        slopes = np.exp(3.0 * np.tanh(take(3) / 3.0))
        offsets = take(3) + np.linspace(-0.5, 0.5, 3)[:, None]
        weights = softmax(take(3 * outputs).reshape(outputs, 3, COUNT), 1)
        if inputs > 1:
            mixing = softmax(take(3 * inputs).reshape(3, inputs, COUNT), 1)
            h = np.einsum("jin,in->jn", mixing, h)
        mixed = np.einsum("ojn,jn->on", weights, sigmoid(slopes * h + offsets))
        h = 0.99 * np.log(mixed / (1.0 - mixed)) + 0.01 * h.mean(axis=0)
    np.testing.assert_allclose(transformer.bijector(given).inverse(y), h[0], rtol=1e-8)


def test_a_mixture_on_logistic_noise_has_the_density_of_the_mixture():
    transformer, y = gx.transformers.MixtureOfGaussians(num_components=4), points()
    given = params(transformer)
    means, log_scales, logits = (np.stack(given[4 * i : 4 * i + 4], axis=-1) for i in range(3))
    expected = tfd.MixtureSameFamily(
        tfd.Categorical(logits=logits),
        tfd.Normal(means + np.linspace(-1.0, 1.0, 4), np.exp(5.0 * np.tanh(log_scales / 5.0))),
    ).log_prob(y)
    bijector = transformer.bijector(given)
    noise = tfd.Logistic(tf.constant(0.0, tf.float64), 1.0)
    found = noise.log_prob(bijector.inverse(y)) + bijector.inverse_log_det_jacobian(y)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@each
def test_log_slopes_are_those_of_autodiff_both_ways(transformer):
    bijector, x = transformer.bijector(params(transformer)), points()
    for direction, log_det in (
        (bijector.inverse, bijector.inverse_log_det_jacobian),
        (bijector.forward, bijector.forward_log_det_jacobian),
    ):
        x = tf.identity(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = direction(x)
        np.testing.assert_allclose(tf.math.log(tape.gradient(y, x)), log_det(x), atol=1e-8)


@each
def test_gradients_through_the_inverse_are_finite_differences(transformer):
    given, x = params(transformer, 0.7), points()
    with tf.GradientTape() as tape:
        tape.watch(given)
        y = transformer.bijector(given).forward(x)
    gradients = tape.gradient(y, given)
    # One row of points for each end of each step, a step in each third parameter: [P / 3, P, 1].
    step = 1e-6
    steps = step * np.eye(len(given))[::3, :, np.newaxis]
    ends = [list(np.moveaxis(given + sign * steps, 1, 0)) for sign in (1.0, -1.0)]
    above, below = (
        transformer.bijector(e).forward(tf.tile(x[None], [len(steps), 1])) for e in ends
    )
    expected = (above - below) / (2.0 * step)
    for i in range(len(steps)):
        np.testing.assert_allclose(gradients[3 * i], expected[i], rtol=1e-5, atol=1e-7)


@each_sigmoidal
@pytest.mark.parametrize("size", [0.0, 1.0, 5.0])
def test_inverts_float32_and_stays_finite_far_off(transformer, size):
    bijector = transformer.bijector(params(transformer, size, "float32"))
    x = points(3.0, "float32")
    y = bijector.forward(tf.identity(x))
    there, log_slope = bijector.inverse(tf.identity(y)), bijector.inverse_log_det_jacobian(y)
    # What the rounding of y becomes under the slope, and that of x; layers round in between.
    unit = 1e-6 * 10.0 ** (getattr(transformer, "num_layers", 1) - 1)
    rounding = unit * ((1.0 + np.abs(y)) * np.exp(log_slope) + 1.0 + np.abs(x))
    assert (np.abs(there - x) < rounding).all()
    for far in (-1e3, 1e3):
        x = tf.fill([COUNT], far)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            z = bijector.inverse(x)
            y = bijector.forward(x)
        assert np.isfinite([z, y, tape.gradient(z, x), tape.gradient(y, x)]).all()
        back = bijector.forward(tf.identity(z))
        np.testing.assert_allclose(back, x, rtol=1e-2)


def bisected(function, x, limit):
    """Returns by how much F(y) misses x at best, y a float32, found by halving."""
    low, high = np.full_like(x, -limit), np.full_like(x, limit)
    for _ in range(100):
        middle = 0.5 * (low + high)
        above = function(middle) > x
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.minimum(np.abs(function(low) - x), np.abs(function(high) - x))


@pytest.mark.parametrize("layers", [1, 3])
def test_roots_in_float32_are_as_good_as_bisection(layers):
    transformer = gx.transformers.DeepDenseSigmoidal(num_units=4, num_layers=layers)
    bijector = transformer.bijector(params(transformer, 5.0, "float32"))
    function = tf.function(lambda y: bijector.inverse(tf.identity(y)))
    x = np.linspace(-10.0, 10.0, COUNT).astype("float32")
    found = np.abs(function(bijector.forward(x)) - x)
    best = bisected(lambda y: function(tf.constant(y)).numpy(), x, limit=1e7)
    assert found.max() < 4.0 * best.max() + 1e-6


@each
@pytest.mark.parametrize("seed", range(20))
def test_rises_under_random_parameters(transformer, seed):
    """Not silently flat: in float64 each of 400 steps goes up."""
    size = 10.0 ** np.random.default_rng(seed).uniform(-1.0, 1.0)
    given = params(transformer, size, seed=seed)
    bijector = transformer.bijector([p[None] for p in given])
    grid = np.linspace(-8.0, 8.0, 401)[:, None] * np.ones([1, COUNT])
    values = bijector.inverse(grid).numpy()
    smallest = np.diff(values, axis=0).min()
    if isinstance(transformer, gx.transformers.MixtureOfGaussians):
        assert smallest >= -1e-9 * np.abs(values).max()
    else:
        layers = getattr(transformer, "num_layers", 1)
        assert smallest > 0.9 * 0.04 * 0.01**layers
    log_slopes = bijector.inverse_log_det_jacobian(grid)
    assert np.isfinite(log_slopes).all()


@each_sigmoidal
def test_near_the_identity_at_zero_parameters(transformer):
    bijector = transformer.bijector(params(transformer, 0.0))
    layers = getattr(transformer, "num_layers", 1)
    assert np.abs(bijector.inverse(points()) - points()).max() < 0.15 * layers


@each
def test_parameters_broadcast_against_points(transformer):
    given = params(transformer)
    grid = tf.stack([points(), points(seed=2), points(seed=3)])
    for method in ("inverse", "forward"):
        together = getattr(transformer.bijector(given), method)(grid)
        for row, x in zip(together, grid, strict=True):
            alone = getattr(transformer.bijector(given), method)(tf.identity(x))
            np.testing.assert_allclose(row, alone, rtol=1e-10, atol=1e-10)


def test_units_start_apart():
    transformer = gx.transformers.DeepSigmoidal(num_units=3)
    given = params(transformer, 0.0)
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = tf.reduce_sum(transformer.bijector(given).inverse(points()) ** 2)
    gradients = np.stack(tape.gradient(loss, given[:3]))
    assert np.abs(np.diff(gradients, axis=0)).max(axis=1).min() > 1e-3


def test_numbers_of_parameters():
    for units, layers in ((3, 1), (3, 2), (4, 3)):
        made = gx.transformers.DeepDenseSigmoidal(num_units=units, num_layers=layers)
        widths = [1, *[units] * (layers - 1), 1]
        expected = sum(
            2 * units + units * after + (units * before if before > 1 else 0)
            for before, after in itertools.pairwise(widths)
        )
        assert made.params_size == expected
        assert made.params_size == 3 * units + 2 * units * (units + 1) * (layers - 1)
    assert gx.transformers.DeepSigmoidal(num_units=5).params_size == 15
