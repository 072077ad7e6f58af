"""Exports converted to ONNX by tf2onnx give the same log-densities on onnxruntime."""

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
import tf2onnx

import tfp_genext as gx

SMALL = {"num_layers": 2, "hidden_units": [8]}
FLOWS = {
    "real_nvp": lambda: gx.flows.real_nvp([3], act_norm=True, **SMALL),
    "maf": lambda: gx.flows.maf([3], **SMALL),
    "nsf": lambda: gx.flows.nsf([3], num_bins=4, autoregressive=False, **SMALL),
}


@pytest.mark.parametrize("kind", FLOWS)
def test_log_densities_are_the_same(kind, tmp_path):
    flow = FLOWS[kind]()
    rng = np.random.default_rng(0)
    for variable in flow.trainable_variables:
        variable.assign_add(0.3 * rng.normal(size=variable.shape).astype("float32"))
    gx.serving.export(flow, tmp_path / "1")
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    served = loaded.signatures["log_prob"]
    converted, _ = tf2onnx.convert.from_function(
        tf.function(lambda x: served(x=x)["log_prob"]),
        input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")],
        opset=17,
    )
    session = onnxruntime.InferenceSession(converted.SerializeToString())
    x = rng.normal(size=[7, 3]).astype("float32")
    (found,) = session.run(None, {"x": x})
    np.testing.assert_allclose(found, flow.log_prob(x), rtol=1e-4, atol=1e-4)
