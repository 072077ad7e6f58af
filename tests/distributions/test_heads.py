"""Heads against formulas, number by number."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import tfp_genext as gx
from tfp_genext.saving.reader import decode
from tfp_genext.saving.writer import encode

tfd = tfp.distributions

heads = gx.distributions


def soft(raw, bound):
    return bound * np.tanh(raw / bound)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def normal(p, x):
    loc, log_scale = p[:, 0], soft(p[:, 1], 5.0)
    z = (x - loc) / np.exp(log_scale)
    return (-0.5 * z**2 - log_scale - 0.5 * math.log(2.0 * math.pi)).sum()


def logistic(p, x):
    loc, log_scale = p[:, 0], soft(p[:, 1], 5.0)
    z = (x - loc) / np.exp(log_scale)
    return (-z - 2.0 * np.log1p(np.exp(-z)) - log_scale).sum()


def bernoulli(p, x):
    one = 1.0 / (1.0 + np.exp(-p[:, 0]))
    return (x * np.log(one) + (1.0 - x) * np.log(1.0 - one)).sum()


def poisson(p, x):
    log_rate = soft(p[:, 0], 15.0)
    return sum(k * r - math.exp(r) - math.lgamma(k + 1) for k, r in zip(x, log_rate, strict=True))


def categorical(p, x):
    return log_softmax(p)[np.arange(len(x)), x.astype(int)].sum()


def quantized(p, x):
    """Each value gets what the logistics have between its two edges, and the tails at the ends."""
    total = 0.0
    for params, value in zip(p, x, strict=True):
        logits, raw_locs, raw_scales = np.split(params, 3)
        step = 8 / len(logits)
        locs = step * (np.arange(len(logits)) + 0.5 + raw_locs) - 0.5
        scales = 0.5 * step * np.exp(soft(raw_scales, 7.0))

        def below(edge, locs=locs, scales=scales):
            return 1.0 / (1.0 + np.exp(-(edge - locs) / scales))

        upper = 1.0 if value == 7 else below(value + 0.5)
        lower = 0.0 if value == 0 else below(value - 0.5)
        total += np.log((np.exp(log_softmax(logits)) * (upper - lower)).sum())
    return total


def log_normal(p, x):
    loc, scale = soft(p[:, 0], 30.0), np.exp(soft(p[:, 1], 2.0))
    return stats.lognorm(scale, scale=np.exp(loc)).logpdf(x).sum()


def gamma(p, x):
    a, rate = np.exp(soft(p, 5.0)).T
    return stats.gamma(a, scale=1.0 / rate).logpdf(x).sum()


def beta(p, x):
    return stats.beta(*np.exp(soft(p, 5.0)).T).logpdf(x).sum()


def student_t(p, x):
    degrees = 1.0 + 3.0 * np.exp(soft(p[:, 2], 5.0))
    return stats.t(degrees, p[:, 0], np.exp(soft(p[:, 1], 5.0))).logpdf(x).sum()


def negative_binomial(p, x):
    mean, count = np.exp(soft(p, 15.0)).T
    return stats.nbinom(count, count / (count + mean)).logpmf(x).sum()


ENTRIES = {
    "log-normal": (heads.IndependentLogNormal([2, 3]), log_normal),
    "gamma": (heads.IndependentGamma([2, 3]), gamma),
    "beta": (heads.IndependentBeta([2, 3]), beta),
    "student t": (heads.IndependentStudentT([2, 3]), student_t),
    "negative binomial": (heads.IndependentNegativeBinomial([2, 3]), negative_binomial),
    "normal": (heads.IndependentNormal([2, 3]), normal),
    "logistic": (heads.IndependentLogistic([2, 3]), logistic),
    "bernoulli": (heads.IndependentBernoulli([2, 3]), bernoulli),
    "poisson": (heads.IndependentPoisson([2, 3]), poisson),
    "categorical": (heads.IndependentCategorical([2, 3], 4), categorical),
    "quantized": (heads.QuantizedLogistics([2, 3], num_components=2, num_values=8), quantized),
}
OTHERS = {
    "relaxed bernoulli": heads.RelaxedBernoulli([2, 3], temperature=0.7),
    "one-hot": heads.IndependentOneHotCategorical([3, 4]),
    "relaxed one-hot": heads.RelaxedOneHotCategorical([3, 4], temperature=0.7),
    "triangular": heads.MultivariateNormalTriL(3),
    "mixture": heads.Mixture(3, heads.IndependentNormal([2])),
    "number": heads.IndependentNormal([]),
    "blocks": heads.Blockwise(
        [
            heads.IndependentNormal([2]),
            heads.IndependentBernoulli([1]),
            heads.IndependentCategorical([], 3),
            heads.IndependentGamma([1]),
        ]
    ),
}
ALL = {**{name: head for name, (head, _) in ENTRIES.items()}, **OTHERS}

each = pytest.mark.parametrize("head", ALL.values(), ids=ALL)


def params(head, batch=(4,), dtype="float64"):
    return tf.random.stateless_normal([*batch, head.params_size], [1, 2], dtype=dtype)


@pytest.mark.parametrize("name", ENTRIES)
def test_densities_are_their_formulas_entry_by_entry(name):
    head, formula = ENTRIES[name]
    given = params(head)
    x = head(given).sample(seed=[3, 4])
    found = head(given).log_prob(x)
    for row, event, log_prob in zip(given.numpy(), x.numpy(), found, strict=True):
        assert float(log_prob) == pytest.approx(formula(row.reshape([6, -1]), event.ravel()), 1e-6)


def test_quantized_logistics_are_probabilities():
    head = heads.QuantizedLogistics([], num_components=3, num_values=16)
    values = tf.range(16, dtype=tf.float64)[:, None]
    total = tf.reduce_sum(tf.exp(head(params(head)).log_prob(values)), axis=0)
    np.testing.assert_allclose(total, np.ones(4), rtol=1e-9)


def test_a_mixture_is_the_sum_of_its_components():
    head = OTHERS["mixture"]
    given = params(head).numpy()
    x = np.array([0.3, -1.0])
    found = head(tf.constant(given)).log_prob(x)
    for row, log_prob in zip(given, found, strict=True):
        weights = np.exp(log_softmax(row[:3]))
        parts = [normal(p.reshape([2, 2]), x) for p in np.split(row[3:], 3)]
        assert float(log_prob) == pytest.approx(np.log((weights * np.exp(parts)).sum()), 1e-9)


def test_a_triangular_normal_has_its_covariance():
    head = OTHERS["triangular"]
    normal_ = head(params(head, ()))
    draws = normal_.sample(100_000, seed=[1, 2]).numpy()
    np.testing.assert_allclose(np.cov(draws, rowvar=False), normal_.covariance(), atol=0.05)
    assert np.abs(normal_.covariance() - np.diag(np.diag(normal_.covariance()))).max() > 0.1


@each
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_shapes_dtypes_and_supports(head, batch):
    for dtype in ("float32", "float64"):
        distribution = head(params(head, batch, dtype))
        assert distribution.batch_shape == batch and distribution.event_shape == head.event_shape
        x = distribution.sample(5, seed=[1, 2])
        head.check_values(x.numpy())
        log_prob = distribution.log_prob(x)
        assert log_prob.shape == (5, *batch) and log_prob.dtype == dtype
        assert np.isfinite(log_prob).all()


@each
def test_every_parameter_gets_a_gradient(head):
    given = params(head)
    x = head(given).sample(50, seed=[3, 4])
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = tf.reduce_sum(tf.square(head(given).log_prob(x)))
    assert (np.abs(tape.gradient(loss, given)) > 0.0).all()


@each
def test_far_off_parameters_stay_finite(head):
    for far in (-1e4, 1e4):
        given = tf.fill([2, head.params_size], far)
        assert np.isfinite(head(given).sample(3, seed=[1, 2])).all()


@each
def test_comes_back_from_its_config(head):
    config = keras.saving.serialize_keras_object(head)
    assert keras.saving.deserialize_keras_object(config) == head


@each
def test_runs_under_xla_with_an_unknown_batch_size(head):
    def log_prob(p, x):
        return head(p).log_prob(x)

    given = params(head)
    x = head(given).sample(seed=[1, 2])
    specs = [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in (given, x)]
    compiled = tf.function(log_prob, input_signature=specs, jit_compile=True)
    np.testing.assert_allclose(compiled(given, x), log_prob(given, x), rtol=1e-6)


@pytest.mark.parametrize("name", ["relaxed bernoulli", "relaxed one-hot"])
def test_gradients_pass_through_relaxed_samples(name):
    head = OTHERS[name]
    given = params(head)
    with tf.GradientTape() as tape:
        tape.watch(given)
        x = head(given).sample(seed=[1, 2])
        loss = tf.reduce_sum(x**2)
    assert np.abs(tape.gradient(loss, given)).max() > 0.0
    assert x.numpy().min() > 0.0 and x.numpy().max() < 1.0


@pytest.mark.parametrize(
    ("head", "wrong"),
    [
        (heads.IndependentBernoulli([2]), [0.5, 1.0]),
        (heads.IndependentBernoulli([2], fractions=True), [0.5, 1.1]),
        (heads.IndependentPoisson([2]), [-1.0, 2.0]),
        (heads.IndependentPoisson([2]), [0.5, 2.0]),
        (heads.IndependentCategorical([2], 3), [0, 3]),
        (heads.IndependentOneHotCategorical([2]), [1.0, 1.0]),
        (heads.IndependentOneHotCategorical([2]), [0.4, 0.6]),
        (heads.RelaxedBernoulli([2]), [0.0, 0.5]),
        (heads.QuantizedLogistics([2]), [0.0, 256.0]),
        (heads.Mixture(2, heads.IndependentPoisson([2])), [0.5, 2.0]),
    ],
)
def test_values_outside_the_support_are_refused(head, wrong):
    with pytest.raises(ValueError, match="`x` must hold .*Received: [12] of 2 entries are not"):
        head.check_values(np.array(wrong))


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: heads.IndependentNormal([0]), ValueError, r"`event_shape\[0\]` must be"),
        (lambda: heads.IndependentNormal([2], bound=0.0), ValueError, "`bound` must be"),
        (lambda: heads.IndependentCategorical([2], 1), ValueError, "`num_classes` must be"),
        (lambda: heads.IndependentOneHotCategorical([]), ValueError, "`event_shape` must be"),
        (lambda: heads.RelaxedBernoulli([2], temperature=0.0), ValueError, "`temperature` must"),
        (lambda: heads.MultivariateNormalTriL(0), ValueError, "`event_size` must be"),
        (lambda: heads.Mixture(2, "normal"), TypeError, "`component` must be a head"),
        (lambda: heads.QuantizedLogistics([2], num_values=1), ValueError, "`num_values` must be"),
        (lambda: heads.IndependentNormal([2])(tf.zeros([3])), ValueError, "`params` must be of"),
        (lambda: heads.IndependentNormal([2])([1, 2, 3, 4]), TypeError, "`params` must be"),
    ],
)
def test_wrong_arguments_are_named(build, error, text):
    with pytest.raises(error, match=text + ".*Received"):
        build()


def test_relaxed_bits_are_those_of_tfp_and_never_quite_0_or_1():
    head = gx.distributions.RelaxedBernoulli([3], temperature=0.5)
    logits = tf.constant([0.3, -1.0, 2.0])
    x = tf.constant([[0.1, 0.5, 0.9], [0.7, 0.2, 0.4]])
    ours = head(logits)
    theirs = tfd.Independent(tfd.RelaxedBernoulli(0.5, logits=logits), 1)
    np.testing.assert_allclose(ours.log_prob(x), theirs.log_prob(x), rtol=1e-5)
    sure = head(tf.constant([40.0, -200.0, 0.0]))
    samples = sure.sample(1000, seed=[1, 2])
    assert np.max(samples) < 1.0 and np.min(samples) > 0.0
    for density in (sure, ours):
        assert np.isfinite(density.log_prob(tf.identity(samples))).all()


@pytest.mark.parametrize("log_scale", [-1.0, 0.0, 2.0])
def test_means_of_quantized_logistics_are_those_of_all_values(log_scale):
    head = gx.distributions.QuantizedLogistics([6], num_components=3, num_values=16)
    rng = np.random.default_rng(0)
    params = rng.normal(size=[6, 9])
    params[:, 3:6] *= 2.0  # Some beyond the bounds.
    params[:, 6:] = log_scale
    made = head(params.reshape([-1]))
    values = np.arange(16.0)
    probs = np.exp(made.distribution.log_prob(values[:, np.newaxis]))
    np.testing.assert_allclose(probs.sum(axis=0), np.ones([6]), rtol=1e-6)
    np.testing.assert_allclose(made.mean(), values @ probs, atol=0.01)


@pytest.mark.parametrize("name", ["relaxed bits", "relaxed one-hot"])
def test_all_but_certain_classes_have_one_density_and_are_held_by_files(name):
    """As the prior of a VAE is: a distribution of its own, not a head."""
    head = {
        "relaxed bits": heads.RelaxedBernoulli([3], temperature=0.1),
        "relaxed one-hot": heads.RelaxedOneHotCategorical([3], temperature=0.1),
    }[name]
    made = head(tf.constant([-30.0, 0.0, 30.0]))
    x = made.sample(200, seed=[1, 2])
    head.check_values(x.numpy())
    log_prob = made.log_prob(x).numpy()
    assert np.isfinite(log_prob).all()
    # TFP remembers what a sample was made of, and nothing of a copy.
    np.testing.assert_allclose(made.log_prob(tf.constant(x.numpy())), log_prob, rtol=1e-4)
    loaded = decode(encode({"prior": made}))["prior"]
    np.testing.assert_array_equal(loaded.sample(200, seed=[1, 2]), x)


def test_blocks_are_the_sum_of_their_heads():
    head = OTHERS["blocks"]
    given = params(head)
    x = head(given).sample(seed=[3, 4])
    assert x.shape == [4, 5] and x.dtype == given.dtype
    starts, found = [0, 0], 0.0
    for part in head.heads:
        size = int(np.prod(part.event_shape))
        block = x[:, starts[1] : starts[1] + size]
        block = block if part.event_shape else block[:, 0]
        own = part(given[:, starts[0] : starts[0] + part.params_size])
        found += own.log_prob(tf.cast(block, own.dtype))
        starts = [starts[0] + part.params_size, starts[1] + size]
    np.testing.assert_allclose(head(given).log_prob(x), found, rtol=1e-12)


def test_wrong_values_name_their_block():
    with pytest.raises(ValueError, match="zeros and ones.* in block 1 of `heads`, columns 2 to 2"):
        OTHERS["blocks"].check_values(np.array([[0.3, 0.1, 0.5, 1.0, 2.0]]))


@pytest.mark.parametrize("given", [[], [heads.IndependentNormal([2, 2])], "normal", [1]])
def test_wrong_blocks_are_named(given):
    with pytest.raises((TypeError, ValueError), match="`heads` must be .*Received"):
        heads.Blockwise(given)


def test_a_vae_of_several_kinds_of_columns_trains_and_comes_back(tmp_path):
    head = OTHERS["blocks"]
    latent = heads.IndependentNormal([2])
    vae = gx.models.VAE(
        heads.Conditional(keras.layers.Dense(latent.params_size), latent),
        heads.Conditional(keras.layers.Dense(head.params_size), head),
        prior=tfd.Sample(tfd.Normal(0.0, 1.0), 2),
        seed=1,
    )
    x = head(tf.zeros([64, head.params_size])).sample(seed=[1, 2]).numpy()
    vae.compile(optimizer=keras.optimizers.Adam(1e-2))
    losses = vae.fit(x, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), vae.predict(x, verbose=0))
    assert vae.reconstruct(x).shape == x.shape


def test_an_own_head_that_is_not_registered_is_named(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Laplace(heads.Head):
        @property
        def params_size(self):
            return 2 * self.event_shape[0]

        def distribution(self, params):
            loc, raw = tf.split(params, 2, axis=-1)
            return tfd.Independent(tfd.Laplace(loc, tf.nn.softplus(raw) + 1e-3), 1)

    name = "test_heads>Laplace"
    keras.saving.register_keras_serializable("test_heads")(Laplace)
    head = Laplace((2,))
    network = keras.Sequential([keras.Input([3]), keras.layers.Dense(head.params_size)])
    model = gx.models.DensityModel(heads.Conditional(network, head))
    model.save(tmp_path / "model.keras")
    x = np.ones([4, 3], "float32"), np.ones([4, 2], "float32")
    expected = model.predict(x, verbose=0)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    del keras.saving.get_custom_objects()[name]
    with pytest.raises(ValueError, match="import the module that defines 'Laplace', decorated"):
        keras.saving.load_model(tmp_path / "model.keras")


def test_a_head_is_not_a_prior():
    head = heads.IndependentNormal([2])
    network = heads.Conditional(keras.layers.Dense(head.params_size), head)
    with pytest.raises(TypeError, match="`prior` must be .* a head makes one of parameters"):
        gx.models.VAE(network, network, prior=head)
