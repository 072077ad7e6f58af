"""Exports converted to ONNX by tf2onnx give the same log-densities on onnxruntime.

The guide to serving has the command, whose test converts a Real NVP.
"""

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

import tfp_genext as gx

SMALL = {"num_layers": 2, "hidden_units": [8]}
FLOWS = {
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
    paths = ["--saved-model", tmp_path / "1", "--output", tmp_path / "flow.onnx"]
    options = ["--signature_def", "log_prob", "--opset", "17"]
    command = [sys.executable, "-m", "tf2onnx.convert", *paths, *options]
    subprocess.run(command, check=True, capture_output=True)
    session = onnxruntime.InferenceSession(tmp_path / "flow.onnx")
    x = rng.normal(size=[7, 3]).astype("float32")
    (found,) = session.run(["log_prob"], {"x": x})
    np.testing.assert_allclose(found, flow.log_prob(x), rtol=1e-4, atol=1e-4)
