"""Means, standard deviations, quantiles and gradients in exports, against SciPy and differences."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import registry
import registry_models
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import tfp_genext as gx
from tfp_genext.serving import saved_model, statistics
from tfp_genext.serving.signatures import DensityFunctions

tfb = tfp.bijectors
tfd = tfp.distributions
PROBS = tf.constant([1e-6, 0.1, 0.5, 0.9, 1 - 1e-6], tf.float64)
CONTEXT = tf.constant([[0.3, -1.0], [2.0, 0.5], [0.0, 0.0]])


def f64(*values):
    return tf.constant(values, tf.float64)


NORMAL = tfd.Normal(f64(1.0, -2.0), f64(0.5, 3.0))
KNOWN = {
    "normal": (NORMAL, [stats.norm(1.0, 0.5), stats.norm(-2.0, 3.0)]),
    "independent": (
        tfd.Independent(tfd.Gamma(f64(2.0, 3.0), f64(1.0, 0.1)), 1),
        [stats.gamma(2.0), stats.gamma(3.0, scale=10.0)],
    ),
    "log-normal": (
        tfd.Independent(tfd.LogNormal(f64(0.0, 1.0), f64(0.5, 0.2)), 1),
        [stats.lognorm(0.5), stats.lognorm(0.2, scale=np.e)],
    ),
    "of the bijector's batch": (
        tfd.Weibull(f64(1.5, 2.0), f64(1.0, 3.0)),
        [stats.weibull_min(1.5), stats.weibull_min(2.0, scale=3.0)],
    ),
    "falling": (
        tfd.TransformedDistribution(
            tfd.Independent(tfd.Logistic(f64(1.0, 2.0), f64(0.5, 1.0)), 1),
            tfb.Chain([tfb.Shift(f64(0.0, 1e3)), tfb.Scale(f64(-2.0, 1e-3))]),
        ),
        [stats.logistic(-2.0, 1.0), stats.logistic(1000.002, 1e-3)],
    ),
    "correlated": (
        tfd.MultivariateNormalTriL(
            f64(1.0, 2.0), tf.constant([[2.0, 0.0], [3.0, 4.0]], tf.float64)
        ),
        [stats.norm(1.0, 2.0), stats.norm(2.0, 5.0)],
    ),
    "standardized": (
        tfd.TransformedDistribution(
            tfd.MultivariateNormalDiag(f64(0.0, 1.0), f64(1.0, 2.0)),
            gx.bijectors.Standardize.of(np.array([1e5, 0.0]), np.array([10.0, 1e-3]), tf.float64),
        ),
        [stats.norm(1e5, 10.0), stats.norm(1e-3, 2e-3)],
    ),
    "blocks": (
        tfd.Blockwise([tfd.Normal(f64(1.0)[0], 2.0), tfd.Exponential(f64(0.5)[0])]),
        [stats.norm(1.0, 2.0), stats.expon(scale=2.0)],
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_statistics_of_entries_are_those_of_scipy(name):
    distribution, entries = KNOWN[name]
    expected = np.stack([entry.ppf(PROBS.numpy()) for entry in entries], axis=-1)
    np.testing.assert_allclose(statistics.quantiles(distribution, PROBS), expected, rtol=1e-7)
    means, stddevs = [e.mean() for e in entries], [e.std() for e in entries]
    np.testing.assert_allclose(statistics.mean(distribution), means, rtol=1e-9)
    np.testing.assert_allclose(statistics.stddev(distribution), stddevs, rtol=1e-9)


def _coupling():
    """A coupling that is said to have a constant Jacobian, and has a constant determinant."""
    network = gx.networks.MLP((1, 2), [4])
    network.build((None, 1))
    return gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=network, is_constant_jacobian=True)


UNKNOWN = {
    "folded": lambda: tfd.TransformedDistribution(tfd.Normal(1.0, 1.0), tfb.AbsoluteValue()),
    "folded inside": lambda: tfd.TransformedDistribution(
        tfd.Normal(1.0, 1.0), tfb.Chain([tfb.Shift(1.0), tfb.AbsoluteValue()])
    ),
    "coupling": lambda: tfd.TransformedDistribution(
        tfd.MultivariateNormalDiag([0.0, 0.0]), _coupling()
    ),
    "TFP's coupling": lambda: tfd.TransformedDistribution(
        tfd.MultivariateNormalDiag([0.0, 0.0]),
        tfb.RealNVP(1, shift_and_log_scale_fn=lambda x, n: (x**2, None), is_constant_jacobian=True),
    ),
    "flow": lambda: gx.flows.maf([2], num_layers=1, hidden_units=[4]),
    "made": lambda: gx.autoregressive.made([2], hidden_units=[4]),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_not_guessed(name):
    distribution = UNKNOWN[name]()
    for statistic in (
        statistics.mean,
        statistics.stddev,
        lambda d: statistics.quantiles(d, tf.constant([0.5])),
    ):
        with pytest.raises(NotImplementedError):
            statistic(distribution)


STATISTICS = ("mean", "stddev", "quantile")


def _traced(model, *names):
    """The functions behind some signatures, as an export traces them."""
    functions = DensityFunctions(model.distribution, model.conditional_event_shape).by_name()
    return saved_model.traced({name: functions[name] for name in names if name in functions}, None)


def _regression(head):
    network = keras.layers.Dense(head.params_size)
    network.build((None, 2))
    return gx.models.DensityModel(gx.distributions.Conditional(network, head))


@pytest.mark.parametrize("event", [(), (1,), (2, 3)])
def test_a_regression_serves_mean_stddev_and_quantiles(event):
    model = _regression(gx.distributions.IndependentNormal(event))
    y = np.random.default_rng(0).normal(5e4, 2e4, [50, *event]).astype("float32")
    model.adapt(np.ones([50, 2]), y)
    signatures = _traced(model, *STATISTICS)
    bound = model.distribution(CONTEXT)
    of_entries = {n: signatures[n](conditional_input=CONTEXT)[n] for n in ("mean", "stddev")}
    probs = tf.constant([0.05, 0.5, 0.99, 0.999])
    found = signatures["quantile"](probs=probs, conditional_input=CONTEXT)["quantiles"]
    assert of_entries["mean"].shape == of_entries["stddev"].shape == [3, *event]
    assert found.shape == [3, 4, *event]
    expected = stats.norm.ppf(
        probs.numpy().reshape([-1, *[1] * len(event)]),
        *(value.numpy()[:, np.newaxis] for value in of_entries.values()),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    drawn = bound.sample(20_000, seed=[1, 2]).numpy().astype("float64")
    assert drawn.mean() > 1e4
    np.testing.assert_allclose(of_entries["mean"], drawn.mean(0), atol=6.0 * drawn.std() / 141)
    np.testing.assert_allclose(of_entries["stddev"], drawn.std(0), rtol=0.04)


SERVED = {
    "mixture": (
        lambda: gx.distributions.Mixture(2, gx.distributions.IndependentNormal([2])),
        {"mean", "stddev"},
    ),
    "correlated": (
        lambda: gx.distributions.MultivariateNormalTriL(2),
        {"mean", "stddev", "quantile"},
    ),
    "bernoulli": (lambda: gx.distributions.IndependentBernoulli([2]), {"mean", "stddev"}),
    "steps": (lambda: gx.distributions.QuantizedLogistics([2, 2]), {"mean"}),
}


@pytest.mark.parametrize("name", SERVED)
def test_signatures_are_those_of_what_the_head_knows(name):
    head, known = SERVED[name]
    model = _regression(head())
    registry.perturb(model.distribution, size=0.3)
    signatures = _traced(model, *STATISTICS)
    assert set(signatures) == known
    bound = model.distribution(CONTEXT)
    for statistic in known - {"quantile"}:
        found = signatures[statistic](conditional_input=CONTEXT)[statistic]
        np.testing.assert_allclose(found, getattr(bound, statistic)(), rtol=1e-5, atol=1e-6)


def test_probabilities_out_of_range_are_refused(tmp_path):
    normal = tfd.Independent(tfd.Normal(tf.Variable([1.0, 2.0]), 3.0), 1)
    gx.serving.export(normal, tmp_path / "1")
    quantile = tf.saved_model.load(str(tmp_path / "1")).signatures["quantile"]
    found = quantile(probs=tf.constant([0.5, 1.0]))["quantiles"]
    np.testing.assert_allclose(found, [[1.0, 2.0], [np.inf, np.inf]])
    for wrong in (-0.1, 1.5, np.nan):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"`probs` must be numbers in \[0"):
            quantile(probs=tf.constant([0.5, wrong], tf.float32))


@pytest.mark.parametrize("recipe", ["maf", "iaf"])
def test_gradients_are_those_of_finite_differences(recipe, tmp_path):
    build = getattr(gx.flows, recipe)
    flow = build([3], num_layers=1, hidden_units=[8], conditional_event_shape=[2], dtype="float64")
    registry.perturb(flow, size=0.3)
    functions = DensityFunctions(flow, (2,)).by_name()
    some = {name: functions[name] for name in ("sample", "log_prob_and_gradient")}
    saved_model.write(
        tmp_path / "1", some, [flow], overwrite=False, jit_compile=None, warmup=(), card={}
    )
    # By Python's loader, which does not take wrong shapes of gradients that the C++ loader takes.
    served = tf.saved_model.load(str(tmp_path / "1"))
    rng = np.random.default_rng(0)
    x, context = rng.normal(size=[4, 3]), rng.normal(size=[4, 2])
    answer = served.signatures["log_prob_and_gradient"](
        x=tf.constant(x), conditional_input=tf.constant(context)
    )
    bound, step = gx.flows.condition(flow, tf.constant(context)), 1e-6
    np.testing.assert_allclose(answer["log_prob"], bound.log_prob(x), rtol=1e-12)
    for i in range(3):
        moved = step * np.eye(3)[i]
        slope = (bound.log_prob(x + moved) - bound.log_prob(x - moved)) / (2.0 * step)
        np.testing.assert_allclose(answer["gradient"][:, i], slope, rtol=1e-6, atol=1e-7)


def test_gradients_of_a_vae_are_those_of_its_estimate(tmp_path):
    head = gx.distributions.IndependentNormal([2])
    keras.config.set_dtype_policy("float64")
    parts = [gx.distributions.Conditional(keras.layers.Dense(4), head) for _ in range(2)]
    prior = tfd.MultivariateNormalDiag(tf.zeros([2], tf.float64))
    model = gx.models.VAE(*parts, prior=prior)
    model.export(tmp_path / "1", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    x, given = np.random.default_rng(0).normal(size=[4, 2]), {"num_samples": 7, "seed": [1, 2]}
    answer = loaded.signatures["log_prob_and_gradient"](
        x=tf.constant(x), **{name: tf.constant(value) for name, value in given.items()}
    )
    np.testing.assert_allclose(answer["log_prob"], model.log_prob(x, **given), rtol=1e-9)
    for i in range(2):
        moved = 1e-6 * np.eye(2)[i]
        higher, lower = (model.log_prob(x + sign * moved, **given) for sign in (1.0, -1.0))
        np.testing.assert_allclose(answer["gradient"][:, i], (higher - lower) / 2e-6, rtol=1e-6)


def test_a_vae_compiled_by_xla_serves_no_gradient(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        saved_model, "write", lambda path, functions, *_, **__: seen.append(functions)
    )
    model = registry_models.vae(
        decoder=registry_models.likelihood(gx.distributions.IndependentNormal([2]))
    )
    for jit_compile in (None, True):
        model.export(tmp_path / "1", jit_compile=jit_compile, verbose=False)
    assert set(seen[0]) - set(seen[1]) == {"log_prob_and_gradient"}


def test_a_signature_that_cannot_be_traced_is_left_out(tmp_path):
    """What has no gradient in TensorFlow is exported as before."""

    class Rounded(tfd.Normal):
        def _log_prob(self, x):
            return super()._log_prob(tf.floor(x))

    gx.serving.export(Rounded(tf.Variable(0.0), 1.0), tmp_path / "1")
    served = tf.saved_model.load(str(tmp_path / "1")).signatures
    assert "log_prob" in served and "log_prob_and_gradient" not in served
