"""Bounds of a VAE against closed forms and exact enumeration."""

from __future__ import annotations

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx
from tfp_genext.objectives.inference import Draws, Inference

tfd = tfp.distributions

LATENT, DATA, ROWS = 2, 3, 4
NOISE = 0.7


class LinearGaussian:
    """z ~ N(0, I), x ~ N(W z + b, s^2 I), q(z | x) = N(m(x), diag(v)^2), all in float64."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.x = tf.constant(rng.normal(size=[ROWS, DATA]))
        self.weights = tf.Variable(rng.normal(size=[DATA, LATENT]))
        self.bias = tf.Variable(rng.normal(size=[DATA]))
        self.slope = tf.Variable(0.3 * rng.normal(size=[LATENT, DATA]))
        self.log_scale = tf.Variable(0.2 * rng.normal(size=[LATENT]) - 0.3)

    @property
    def variables(self):
        return [self.weights, self.bias, self.slope, self.log_scale]

    def posterior(self):
        loc = tf.linalg.matvec(self.slope, self.x)
        return tfd.Independent(tfd.Normal(loc, tf.exp(self.log_scale)), 1)

    def prior(self):
        return tfd.Independent(tfd.Normal(tf.zeros([LATENT], tf.float64), 1.0), 1)

    def prior_without_a_formula(self):
        return tfd.MultivariateNormalTriL(tf.zeros([LATENT], tf.float64), np.eye(LATENT))

    def log_likelihood(self, z):
        loc = tf.linalg.matvec(self.weights, z) + self.bias
        return tfd.Independent(tfd.Normal(loc, tf.constant(NOISE, tf.float64)), 1).log_prob(self.x)

    def inference(self, posterior=None, prior=None):
        return Inference(posterior or self.posterior(), prior or self.prior(), self.log_likelihood)

    def evidence(self):
        covariance = tf.matmul(self.weights, self.weights, transpose_b=True)
        covariance += NOISE**2 * tf.eye(DATA, dtype=tf.float64)
        tril = tf.linalg.cholesky(covariance)
        return tfd.MultivariateNormalTriL(self.bias, tril).log_prob(self.x)

    def exact_posterior(self):
        precision = tf.eye(LATENT, dtype=tf.float64) + tf.matmul(
            self.weights, self.weights, transpose_a=True
        ) / (NOISE**2)
        covariance = tf.linalg.inv(precision)
        centred = tf.linalg.matmul(self.x - self.bias, self.weights) / NOISE**2
        loc = tf.linalg.matmul(centred, covariance)
        return tfd.MultivariateNormalTriL(loc, tf.linalg.cholesky(covariance))

    def reconstruction(self):
        """-E_q log p(x | z) in closed form."""
        loc = tf.linalg.matvec(self.slope, self.x)
        residual = self.x - tf.linalg.matvec(self.weights, loc) - self.bias
        spread = tf.reduce_sum(tf.square(self.weights * tf.exp(self.log_scale)))
        squares = (tf.reduce_sum(residual**2, axis=1) + spread) / NOISE**2
        return 0.5 * (squares + DATA * np.log(2.0 * np.pi * NOISE**2))

    def kl(self):
        loc = tf.linalg.matvec(self.slope, self.x)
        variance = tf.exp(2.0 * self.log_scale)
        return 0.5 * tf.reduce_sum(loc**2 + variance - 1.0 - tf.math.log(variance), axis=1)


def terms(objective, inference, seed=(1, 2), step=0):
    return objective.terms(inference, seed=tf.constant(seed), step=step)


def gradients(loss, variables):
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(loss())
    found = tape.gradient(total, variables, unconnected_gradients="zero")
    return [tf.convert_to_tensor(gradient) for gradient in found]


def test_elbo_and_its_gradient_are_the_closed_form():
    model = LinearGaussian()
    objective = gx.objectives.ELBO(200_000)
    found = terms(objective, model.inference())
    np.testing.assert_allclose(found.kl, model.kl(), rtol=1e-12)
    np.testing.assert_allclose(found.reconstruction, model.reconstruction(), rtol=5e-3)
    np.testing.assert_allclose(found.loss, found.reconstruction + found.kl, rtol=1e-12)
    estimated = gradients(lambda: terms(objective, model.inference()).loss, model.variables)
    exact = gradients(lambda: model.reconstruction() + model.kl(), model.variables)
    for a, b in zip(estimated, exact, strict=True):
        np.testing.assert_allclose(a, b, atol=0.02 * float(tf.reduce_max(tf.abs(b))))


def test_monte_carlo_kl_agrees_with_the_formula():
    model = LinearGaussian()
    inference = model.inference(prior=model.prior_without_a_formula())
    assert inference.kl() is None
    found = terms(gx.objectives.ELBO(200_000), inference)
    np.testing.assert_allclose(found.kl, model.kl(), rtol=0.01)
    np.testing.assert_allclose(found.loss, model.reconstruction() + model.kl(), rtol=5e-3)


@pytest.mark.parametrize(
    "prior",
    [
        tfd.MultivariateNormalDiag(np.zeros(LATENT), np.ones(LATENT)),
        tfd.Sample(tfd.Normal(np.float64(0.0), 1.0), LATENT),
    ],
    ids=["diag", "sample"],
)
def test_normal_vectors_have_a_formula_however_they_are_written(prior):
    model = LinearGaussian()
    found = model.inference(prior=prior).kl()
    np.testing.assert_allclose(tf.reduce_sum(found, axis=1), model.kl(), rtol=1e-12)


def test_importance_weighted_bound_rises_to_the_evidence():
    model = LinearGaussian()
    exact = model.evidence().numpy()
    numbers = (1, 5, 50, 50_000)

    def bound(number):
        repeats = max(1, 20_000 // number)
        seeds = [(3, i) for i in range(min(repeats, 200))]
        losses = [
            terms(gx.objectives.ImportanceWeighted(number), model.inference(), s).loss
            for s in seeds
        ]
        return -np.mean(losses, axis=0)

    bounds = [bound(number) for number in numbers]
    assert all((a < b).all() for a, b in itertools.pairwise(bounds))
    np.testing.assert_allclose(bounds[-1], exact, atol=0.05)
    assert ((exact - bounds[0]) > 10.0 * np.abs(exact - bounds[-1])).all()


@pytest.mark.parametrize("doubly", [False, True])
def test_of_the_exact_posterior_every_sample_weighs_the_evidence(doubly):
    model = LinearGaussian()
    objective = gx.objectives.ImportanceWeighted(3, doubly_reparameterized=doubly)
    found = terms(objective, model.inference(model.exact_posterior()))
    np.testing.assert_allclose(found.loss, -model.evidence(), rtol=1e-10)


def test_doubly_reparameterized_gradients_have_the_mean_of_plain_ones():
    model = LinearGaussian()
    seeds = [(5, i) for i in range(400)]

    def mean_gradients(doubly):
        objective = gx.objectives.ImportanceWeighted(4, doubly_reparameterized=doubly)

        @tf.function(autograph=False)
        def one(seed):
            return gradients(
                lambda: objective.terms(model.inference(), seed=seed, step=0).loss,
                model.variables,
            )

        found = [[g.numpy() for g in one(tf.constant(seed))] for seed in seeds]
        return [np.stack(each) for each in zip(*found, strict=True)]

    for plain, doubly in zip(mean_gradients(False), mean_gradients(True), strict=True):
        error = np.sqrt((plain.var(axis=0) + doubly.var(axis=0)) / len(seeds))
        assert (np.abs(plain.mean(axis=0) - doubly.mean(axis=0)) < 4.5 * error).all()
    # And the encoder's, at the exact posterior, have no noise at all.
    loc = tf.Variable(model.exact_posterior().loc)
    scale = model.exact_posterior().scale_tril

    def loss():
        posterior = tfd.MultivariateNormalTriL(loc, scale)
        objective = gx.objectives.ImportanceWeighted(4, doubly_reparameterized=True)
        return terms(objective, model.inference(posterior)).loss

    np.testing.assert_allclose(gradients(loss, [loc])[0], np.zeros([ROWS, LATENT]), atol=1e-12)


def test_beta_is_a_number_or_a_schedule():
    model = LinearGaussian()
    schedule = keras.optimizers.schedules.PolynomialDecay(0.0, 10, end_learning_rate=2.0)
    for step, beta in ((0, 0.0), (5, 1.0), (20, 2.0)):
        warming = terms(gx.objectives.ELBO(beta=schedule), model.inference(), step=step)
        fixed = terms(gx.objectives.ELBO(beta=beta), model.inference())
        np.testing.assert_allclose(warming.loss, fixed.loss, rtol=1e-6)
        np.testing.assert_allclose(warming.loss, warming.reconstruction + beta * warming.kl)


def test_free_bits_of_each_entry_and_of_a_whole():
    model = LinearGaussian()
    entries = tf.reduce_mean(model.inference().kl(), axis=0)
    free = float(tf.reduce_mean(entries))  # Between the two.
    found = terms(gx.objectives.ELBO(free_bits=free), model.inference())
    paid = np.maximum(entries, free).sum()
    np.testing.assert_allclose(found.loss - found.reconstruction, np.full([ROWS], paid), rtol=1e-12)
    np.testing.assert_allclose(found.kl, model.kl(), rtol=1e-12)
    whole = model.inference(prior=model.prior_without_a_formula())
    found = terms(gx.objectives.ELBO(free_bits=100.0), whole)
    np.testing.assert_allclose(found.loss - found.reconstruction, np.full([ROWS], 200.0))


def test_samples_of_shapes_spelled_apart_are_compared_by_monte_carlo():
    posterior = tfd.Sample(tfd.Normal(tf.zeros([ROWS], tf.float64), 1.0), 3)
    prior = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), [3])
    assert Inference(posterior, prior, tf.zeros_like).kl() is None


BITS = 3
STATES = np.array(list(itertools.product([0.0, 1.0], repeat=BITS)))


@dataclasses.dataclass(frozen=True)
class Given(Inference):
    """An inference whose draws are told."""

    z: tf.Tensor = None

    def draw(self, num_samples, seed):
        return Draws(self.z, self.posterior.log_prob(self.z))


class SmallDiscrete:
    """Three bits under one row of data, small enough to enumerate."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.logits = tf.Variable(rng.normal(size=[1, BITS]))
        self.prior_logits = tf.Variable(rng.normal(size=[BITS]))
        self.table = tf.Variable(rng.normal(size=[2**BITS]) - 2.0)

    @property
    def variables(self):
        return [self.logits, self.prior_logits, self.table]

    def posterior(self):
        return tfd.Independent(tfd.Bernoulli(logits=self.logits, dtype=tf.float64), 1)

    def prior(self, formula=True):
        made = tfd.Independent(tfd.Bernoulli(logits=self.prior_logits, dtype=tf.float64), 1)
        return made if formula else tfd.TransformedDistribution(made, tfp.bijectors.Identity())

    def log_likelihood(self, z):
        place = tf.cast(tf.reduce_sum(z * [4.0, 2.0, 1.0], axis=-1), tf.int32)
        return tf.gather(self.table, place)

    def log_weights(self):
        """Log-weights and probabilities of all states."""
        z = tf.constant(STATES)[:, tf.newaxis]
        log_posterior = self.posterior().log_prob(z)[:, 0]
        log_joint = self.log_likelihood(z)[:, 0] + self.prior().log_prob(z)[:, 0]
        return log_joint - log_posterior, tf.exp(log_posterior)

    def exact_loss(self, number):
        """The expected loss of K samples, by all K-tuples of states."""
        log_weights, probabilities = self.log_weights()
        total = 0.0
        for states in itertools.product(range(2**BITS), repeat=number):
            chosen = list(states)
            probability = tf.reduce_prod(tf.gather(probabilities, chosen))
            mean = tf.reduce_logsumexp(tf.gather(log_weights, chosen)) - np.log(number)
            total -= probability * mean
        return total

    def loss_of(self, objective, z, formula):
        """The estimator of given draws."""
        prior = self.prior(formula)
        return terms(objective, Given(self.posterior(), prior, self.log_likelihood, z)).loss

    def expected_gradients(self, objective, number, formula=True):
        """The mean of the estimator over all K-tuples of states, exactly."""
        _, probabilities = self.log_weights()
        means = [np.zeros(v.shape) for v in self.variables]
        for states in itertools.product(range(2**BITS), repeat=number):
            z = tf.constant(STATES[list(states)])[:, tf.newaxis]
            found = gradients(lambda z=z: self.loss_of(objective, z, formula), self.variables)
            probability = np.prod(probabilities.numpy()[list(states)])
            means = [m + probability * g.numpy() for m, g in zip(means, found, strict=True)]
        return means


@pytest.mark.parametrize("formula", [True, False], ids=["formula", "sampled"])
def test_score_function_gradients_are_those_of_exact_enumeration(formula):
    model = SmallDiscrete()
    exact = gradients(lambda: model.exact_loss(1), model.variables)
    estimated = model.expected_gradients(gx.objectives.ELBO(2), 2, formula)
    for a, b in zip(estimated, exact, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


def test_vimco_gradients_are_those_of_exact_enumeration():
    model = SmallDiscrete()
    exact = gradients(lambda: model.exact_loss(2), model.variables)
    estimated = model.expected_gradients(gx.objectives.ImportanceWeighted(2), 2)
    for a, b in zip(estimated, exact, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


def test_values_are_those_of_the_bounds_whatever_the_gradients():
    model = SmallDiscrete()
    inference = Inference(model.posterior(), model.prior(), model.log_likelihood)
    elbo = terms(gx.objectives.ELBO(8), inference)
    np.testing.assert_allclose(elbo.loss, elbo.reconstruction + elbo.kl, rtol=1e-10)
    log_weights = inference.log_weights(inference.draw(8, tf.constant([1, 2])))
    weighted = terms(gx.objectives.ImportanceWeighted(8), inference)
    expected = np.log(8.0) - tf.reduce_logsumexp(log_weights, axis=0)
    np.testing.assert_allclose(weighted.loss, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: gx.objectives.ELBO(0), ValueError, "`num_samples`"),
        (lambda: gx.objectives.ELBO(beta=-1.0), ValueError, "`beta`"),
        (lambda: gx.objectives.ELBO(beta="warm"), TypeError, "`beta`"),
        (lambda: gx.objectives.ELBO(free_bits=-0.1), ValueError, "`free_bits`"),
        (lambda: gx.objectives.ImportanceWeighted(1.5), TypeError, "`num_samples`"),
    ],
)
def test_wrong_arguments_are_named(build, error, text):
    with pytest.raises(error, match=text + ".*Received"):
        build()
