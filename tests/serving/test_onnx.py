"""Log-densities converted to ONNX by tf2onnx are the same on onnxruntime.

The command for exports is run by the test of the guide to serving.
"""

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
def test_log_densities_are_the_same(kind):
    flow = FLOWS[kind]()
    rng = np.random.default_rng(0)
    for variable in flow.trainable_variables:
        variable.assign_add(0.3 * rng.normal(size=variable.shape).astype("float32"))
    converted, _ = tf2onnx.convert.from_function(
        tf.function(flow.log_prob, autograph=False),
        input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")],
        opset=17,
    )
    session = onnxruntime.InferenceSession(converted.SerializeToString())
    x = rng.normal(size=[7, 3]).astype("float32")
    (found,) = session.run(None, {"x": x})
    np.testing.assert_allclose(found, flow.log_prob(x), rtol=1e-4, atol=1e-4)
