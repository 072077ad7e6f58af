"""The games of a GAN, by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_genext as gx

REAL, FAKE = np.array([1.5, -0.5]), np.array([0.25, -2.0])


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def _log(x):
    return np.log(_sigmoid(x))


# By hand: losses of both players, and their derivatives by r and by f.
GAMES = {
    "Minimax": (
        lambda r, f: -_log(r) - np.log(1.0 - _sigmoid(f)),
        lambda r, f: (-_sigmoid(-r), _sigmoid(f)),
        lambda r, f: np.log(1.0 - _sigmoid(f)),
        lambda r, f: (0.0 * r, -_sigmoid(f)),
    ),
    "NonSaturating": (
        lambda r, f: -_log(r) - np.log(1.0 - _sigmoid(f)),
        lambda r, f: (-_sigmoid(-r), _sigmoid(f)),
        lambda r, f: -_log(f),
        lambda r, f: (0.0 * r, -_sigmoid(-f)),
    ),
    "LeastSquares": (
        lambda r, f: ((r - 1.0) ** 2 + f**2) / 2.0,
        lambda r, f: (r - 1.0, f),
        lambda r, f: (f - 1.0) ** 2 / 2.0,
        lambda r, f: (0.0 * r, f - 1.0),
    ),
    "Wasserstein": (
        lambda r, f: f - r,
        lambda r, f: (-np.ones_like(r), np.ones_like(f)),
        lambda r, f: -f,
        lambda r, f: (0.0 * r, -np.ones_like(f)),
    ),
    "Hinge": (
        lambda r, f: np.maximum(0.0, 1.0 - r) + np.maximum(0.0, 1.0 + f),
        lambda r, f: (-1.0 * (r < 1.0), 1.0 * (f > -1.0)),
        lambda r, f: -f,
        lambda r, f: (0.0 * r, -np.ones_like(f)),
    ),
    "Relativistic": (
        lambda r, f: -_log(r - f),
        lambda r, f: (-_sigmoid(f - r), _sigmoid(f - r)),
        lambda r, f: -_log(f - r),
        lambda r, f: (_sigmoid(r - f), -_sigmoid(r - f)),
    ),
}


@pytest.mark.parametrize("name", GAMES)
def test_losses_and_gradients_are_those_by_hand(name):
    game = getattr(gx.objectives, name)()
    by_hand = GAMES[name]
    players = (
        (game.discriminator_loss, *by_hand[:2]),
        (game.generator_loss, *by_hand[2:]),
    )
    for loss, value, slopes in players:
        real, fake = tf.constant(REAL), tf.constant(FAKE)
        with tf.GradientTape() as tape:
            tape.watch([real, fake])
            found = loss(real, fake)
        np.testing.assert_allclose(found, value(REAL, FAKE), rtol=1e-12)
        for gradient, slope in zip(
            tape.gradient(found, [real, fake], unconnected_gradients="zero"),
            slopes(REAL, FAKE),
            strict=True,
        ):
            np.testing.assert_allclose(gradient, slope, atol=1e-12)


@pytest.mark.parametrize("name", GAMES)
def test_far_off_scores_stay_finite_with_their_gradients(name):
    game = getattr(gx.objectives, name)()
    real, fake = tf.constant([1e4, -1e4]), tf.constant([-1e4, 1e4])
    for loss in (game.discriminator_loss, game.generator_loss):
        with tf.GradientTape() as tape:
            tape.watch([real, fake])
            found = loss(real, fake)
        slopes = tape.gradient(found, [real, fake], unconnected_gradients="zero")
        assert np.isfinite(found).all() and np.isfinite(slopes).all()


def test_at_the_best_discriminator_the_value_is_the_jensen_shannon_divergence():
    rng = np.random.default_rng(0)
    data, samples = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
    best = np.log(data) - np.log(samples)  # The logit of p / (p + q).
    # Each outcome as often as its probability says, to one part in a million.
    counts = [np.round(1e6 * p).astype(int) for p in (data, samples)]
    data, samples = (count / count.sum() for count in counts)
    middle = 0.5 * (data + samples)
    divergence = 0.5 * sum((p * np.log(p / middle)).sum() for p in (data, samples))
    real, fake = (np.repeat(best, count) for count in counts)
    value = gx.objectives.Minimax().value(real, fake)
    np.testing.assert_allclose(value, 2.0 * divergence - np.log(4.0), atol=1e-5)
    same = gx.objectives.Minimax().value(np.zeros(3), np.zeros(3))
    np.testing.assert_allclose(same, -np.log(4.0))


SLOPE = np.array([[2.0], [-1.0], [0.5]])


def linear(x):
    return tf.matmul(x, SLOPE)[:, 0]


def bowl(x):
    return tf.reduce_sum(x**2, axis=1)


def points(seed):
    return tf.random.stateless_normal([4, 3], [seed, 1], dtype=tf.float64)


def test_penalties_of_known_slopes():
    real, fake, seed = points(0), points(1), tf.constant([1, 2])
    steepness = (SLOPE**2).sum()
    both = gx.objectives.ZeroCentered(0.3).scored(linear, real, fake, seed)
    np.testing.assert_allclose(both.penalty, np.full([4], 0.15 * 2.0 * steepness))
    np.testing.assert_allclose(both.real, linear(real))
    np.testing.assert_allclose(both.fake, linear(fake))
    data = gx.objectives.ZeroCentered(0.3, fake=False).scored(bowl, real, fake, seed)
    np.testing.assert_allclose(data.penalty, 0.15 * 4.0 * tf.reduce_sum(real**2, axis=1))
    one = gx.objectives.OneCentered(7.0).scored(linear, real, fake, seed)
    np.testing.assert_allclose(one.penalty, np.full([4], 7.0 * (np.sqrt(steepness) - 1.0) ** 2))


def test_one_centered_looks_between_data_and_samples():
    seen = []

    def critic(x):
        seen.append(x)
        return linear(x)

    real, fake = tf.zeros([500, 3], tf.float64), tf.ones([500, 3], tf.float64)
    gx.objectives.OneCentered().scored(critic, real, fake, tf.constant([1, 2]))
    between = seen[0].numpy()
    np.testing.assert_array_equal(between, between[:, :1] * np.ones([1, 3]))
    assert between.min() < 0.02 and between.max() > 0.98 and abs(between.mean() - 0.5) < 0.05


@pytest.mark.parametrize(
    "penalty", [gx.objectives.ZeroCentered(1.0), gx.objectives.OneCentered()], ids=["zero", "one"]
)
def test_gradients_of_penalties_are_finite_where_the_slope_is_0(penalty):
    weight = tf.Variable(tf.zeros([3, 1], tf.float64))
    with tf.GradientTape() as tape:
        scored = penalty.scored(
            lambda x: tf.matmul(x, weight)[:, 0], points(0), points(1), tf.constant([1, 2])
        )
        loss = tf.reduce_mean(scored.penalty)
    assert np.isfinite(loss) and np.isfinite(tape.gradient(loss, weight)).all()


@pytest.mark.parametrize("name", GAMES)
def test_games_come_back_from_their_config(name):
    game = getattr(gx.objectives, name)(penalty=gx.objectives.ZeroCentered(0.2, fake=False))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(game))
    assert again == game


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: gx.objectives.Hinge(penalty=10.0), TypeError, "`penalty`"),
        (lambda: gx.objectives.ZeroCentered(0.0), ValueError, "`gamma`"),
        (lambda: gx.objectives.OneCentered("ten"), TypeError, "`weight`"),
    ],
)
def test_wrong_arguments_are_named(build, error, text):
    with pytest.raises(error, match=text + ".*Received"):
        build()
