"""Exports converted to TensorFlow Lite give the same numbers on its interpreter."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

SMALL = {"num_layers": 2, "hidden_units": [8]}


def _regression():
    head = gx.distributions.Mixture(2, gx.distributions.IndependentNormal([2]))
    network = keras.Sequential(
        [keras.Input([3]), keras.layers.Dense(8, "tanh"), keras.layers.Dense(head.params_size)]
    )
    return gx.distributions.Conditional(network, head)


def _scaled(flow):
    x = np.random.default_rng(0).normal(100.0, 20.0, [50, *flow.event_shape]).astype("float32")
    return gx.flows.standardized(flow, x)


# Kinds that TensorFlow Lite's own operations compute.
FLOWS = {
    "real_nvp": lambda: _scaled(gx.flows.real_nvp([3], act_norm=True, **SMALL)),
    "real_nvp_conditional": lambda: gx.flows.real_nvp([3], conditional_event_shape=[2], **SMALL),
    "maf_conditional": lambda: gx.flows.maf([3], conditional_event_shape=[2], **SMALL),
    "nsf_couplings": lambda: gx.flows.nsf([4], num_bins=4, autoregressive=False, **SMALL),
    "under_exp": lambda: tfd.TransformedDistribution(gx.flows.maf([3], **SMALL), tfb.Exp()),
    "regression": _regression,
}


def _converted(path, name):
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(path), signature_keys=[name])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    return interpreter.get_signature_runner(name)


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_builtin_operations_give_the_same_densities(kind, tmp_path):
    distribution = FLOWS[kind]()
    rng = np.random.default_rng(1)
    for variable in distribution.trainable_variables:
        variable.assign_add(0.3 * rng.normal(size=variable.shape).astype("float32"))
    event = tuple(distribution.event_shape)
    x = rng.uniform(0.1, 2.0, size=[5, *event]).astype("float32")
    inputs = {"x": x}
    if "conditional" in kind or kind == "regression":
        size = 3 if kind == "regression" else 2
        inputs["conditional_input"] = rng.normal(size=[5, size]).astype("float32")
    gx.serving.export(distribution, tmp_path / "1")
    served = tf.saved_model.load(str(tmp_path / "1")).signatures
    for name in ("log_prob",) if kind == "regression" else ("log_prob", "inverse"):
        expected = served[name](**{key: tf.constant(value) for key, value in inputs.items()})
        answer = _converted(tmp_path / "1", name)(**inputs)
        for key, value in expected.items():
            np.testing.assert_allclose(answer[key], value, rtol=1e-4, atol=1e-4, err_msg=name)
