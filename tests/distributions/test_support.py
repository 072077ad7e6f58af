"""Densities outside of a bounded support: -inf, never NaN, so that samplers can go on."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfd, tfb = tfp.distributions, tfp.bijectors
heads = gx.distributions

SMALL = {"num_layers": 2, "hidden_units": [8]}
# Flows, an event inside, and events outside or on the border.
FLOWS = {
    "exp": (
        lambda dtype: gx.flows.nice([2], data_bijector=tfb.Exp(), dtype=dtype, **SMALL),
        [0.5, 2.0],
        [[-1.0, 1.0], [0.0, 1.0], [1.0, np.inf]],
    ),
    "square": (
        lambda dtype: gx.flows.nice([2], data_bijector=tfb.Square(), dtype=dtype, **SMALL),
        [0.5, 2.0],
        [[-1.0, 1.0], [0.0, 1.0], [1.0, np.inf]],
    ),
    "power": (
        lambda dtype: gx.flows.nice(
            [2], data_bijector=tfb.PowerTransform(power=1.0), dtype=dtype, **SMALL
        ),
        [0.5, 2.0],
        [[-1.0, 1.0], [0.0, 1.0]],
    ),
    "sigmoid": (
        lambda dtype: gx.flows.nice([2], data_bijector=tfb.Sigmoid(), dtype=dtype, **SMALL),
        [0.5, 0.2],
        [[-0.1, 0.5], [0.5, 1.0], [1.5, 0.5]],
    ),
    "simplex": (
        lambda dtype: gx.flows.nice([2], data_bijector=tfb.SoftmaxCentered(), dtype=dtype, **SMALL),
        [0.5, 0.2, 0.3],
        [[-0.1, 0.5, 0.6], [0.0, 0.4, 0.6]],
    ),
    "adapted": (
        lambda dtype: gx.flows.standardized(
            gx.flows.nice([2], data_bijector=tfb.Exp(), dtype=dtype, **SMALL),
            tf.constant([[1.0, 2.0], [3.0, 9.0], [0.1, 4.0]], dtype),
        ),
        [0.5, 2.0],
        [[-1.0, 1.0], [0.0, 1.0]],
    ),
}
HEADS = {
    "log-normal": (
        heads.IndependentLogNormal([2]),
        [0.5, 3.0],
        [[0.0, 1.0], [1.0, -2.0], [1.0, np.inf]],
    ),
    "gamma": (heads.IndependentGamma([2]), [0.5, 3.0], [[0.0, 1.0], [1.0, -2.0], [np.inf, 1.0]]),
    "beta": (heads.IndependentBeta([2]), [0.5, 0.3], [[0.0, 0.5], [0.5, 1.0], [-1.0, 0.5]]),
    "counts": (
        heads.IndependentNegativeBinomial([2]),
        [0.0, 3.0],
        [[-1.0, 1.0], [0.5, 1.0], [np.inf, 1.0]],
    ),
    "poisson": (heads.IndependentPoisson([2]), [0.0, 3.0], [[-1.0, 1.0], [0.5, 1.0]]),
    "bits": (heads.IndependentBernoulli([2]), [0.0, 1.0], [[-1.0, 1.0], [0.5, 1.0]]),
    "relaxed bits": (heads.RelaxedBernoulli([2]), [0.1, 0.9], [[0.0, 0.5], [0.5, 2.0]]),
    "relaxed classes": (
        heads.RelaxedOneHotCategorical([3]),
        [0.1, 0.2, 0.7],
        [[-0.1, 0.4, 0.7], [0.0, 0.3, 0.7]],
    ),
    "quantized": (
        heads.QuantizedLogistics([2], num_values=4, num_components=2),
        [0.0, 3.0],
        [[-1.0, 1.0], [4.0, 1.0], [0.5, 1.0]],
    ),
}


def _distributions(dtype):
    for name, (build, *events) in FLOWS.items():
        yield name, build(dtype), events
    for name, (head, *events) in HEADS.items():
        yield name, head(tf.zeros([head.params_size], dtype)), events


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_densities_are_zero_outside(dtype):
    for name, distribution, (inside, outside) in _distributions(dtype):
        x = tf.constant([inside, *outside], dtype)
        found = distribution.log_prob(x).numpy()
        assert np.isfinite(found[0]), name
        assert (found[1:] == -np.inf).all(), name
        alone = distribution.log_prob(tf.constant(inside, dtype))
        np.testing.assert_allclose(alone, found[0], rtol=1e-6, err_msg=name)
        np.testing.assert_array_equal(distribution.prob(x)[1:], 0.0, err_msg=name)


@pytest.mark.parametrize("name", FLOWS)
def test_graphs_and_xla_say_the_same_and_gradients_are_finite(name):
    build, inside, outside = FLOWS[name]
    flow = build("float32")
    x = tf.constant([inside, *outside], "float32")
    expected = flow.log_prob(x)
    spec = [tf.TensorSpec([None, len(inside)])]
    for jit_compile in (False, True):
        compiled = tf.function(flow.log_prob, input_signature=spec, jit_compile=jit_compile)
        np.testing.assert_allclose(compiled(x), expected, rtol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(x)
        log_prob = flow.log_prob(x)
        finite = tf.reduce_sum(tf.where(tf.math.is_finite(log_prob), log_prob, 0.0))
    gradients = tape.gradient(finite, [x, *flow.trainable_variables])
    assert all(np.isfinite(g).all() for g in gradients if g is not None)


def test_nan_stays_nan():
    flow = FLOWS["exp"][0]("float32")
    assert np.isnan(flow.log_prob([[np.nan, 1.0]])).all()


@pytest.mark.parametrize("name", FLOWS)
def test_models_and_files_keep_it(name, tmp_path):
    build, inside, outside = FLOWS[name]
    model = gx.models.DensityModel(build("float32"))
    x = tf.constant([inside, *outside[:1]], "float32")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for found in (model.log_prob(x), loaded.log_prob(x), loaded.predict(x, verbose=0)):
        assert np.isfinite(found[0])
        assert found[1] == -np.inf


def test_flows_without_bounds_are_tfps_own():
    for flow in (
        gx.flows.maf([2], **SMALL),
        gx.flows.glow([4, 4, 1], num_levels=1, num_steps=1, hidden_channels=2),
        gx.flows.nice([2], data_bijector=tfb.Shift(1.0), **SMALL),
    ):
        assert type(flow).__name__ == "_TransformedDistribution"


def test_models_of_flows_under_tfps_bijectors_say_so_too(tmp_path):
    flow = tfd.TransformedDistribution(gx.flows.maf([2], **SMALL), tfb.Exp())
    model = gx.models.DensityModel(flow)
    x = np.array([[0.5, 2.0], [-1.0, 1.0], [0.0, 3.0]], "float32")
    expected = float(flow.log_prob(x[0]))
    model.export(tmp_path / "1", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "1")).signatures["log_prob"]
    for found in (
        model.log_prob(x),
        model.predict(x, verbose=0),
        served(x=tf.constant(x))["log_prob"],
    ):
        np.testing.assert_allclose(found[0], expected, rtol=1e-5)
        np.testing.assert_array_equal(found[1:], -np.inf)
