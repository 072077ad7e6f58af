"""The double of TensorFlow Serving: real messages, a process of its own, the server's errors."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import registry
import serving_double
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_serving.apis import predict_pb2

import tfp_genext as gx

tfd = tfp.distributions
X = np.random.default_rng(0).normal(size=[5, 3]).astype("float32")
SEED = np.array([1, 2], np.int32)


@pytest.fixture(scope="module")
def flow():
    flow = gx.flows.real_nvp([3], num_layers=2, hidden_units=[8])
    registry.perturb(flow)
    return flow


@pytest.fixture(scope="module")
def address(flow, tmp_path_factory):
    base_path = tmp_path_factory.mktemp("flow")
    gx.serving.export(tfd.Sample(tfd.Normal(0.0, 1.0), 3), base_path / "9")
    gx.serving.export(flow, base_path / "10", warmup=[1])
    with serving_double.running({"flow": base_path}) as (address, _):
        yield address


@pytest.fixture
def client(address):
    with serving_double.Client(address) as client:
        yield client


def test_the_highest_version_answers_as_the_model_does(client, flow):
    log_prob = client.ask("flow", "log_prob", x=X)["log_prob"]
    np.testing.assert_allclose(log_prob, flow.log_prob(X), rtol=1e-5)
    samples = client.ask("flow", "sample", num_samples=np.int32(4), seed=SEED)["samples"]
    np.testing.assert_allclose(samples, flow.sample(4, seed=SEED), rtol=1e-5, atol=1e-6)
    response = client.send(serving_double.request("flow", "", {"x": X}))
    assert response.model_spec.signature_name == "serving_default"
    assert response.model_spec.version.value == 10 and response.model_spec.name == "flow"


def test_outputs_are_those_asked_for(client):
    request = serving_double.request("flow", "inverse", {"x": X})
    request.output_filter.append("z")
    assert list(client.send(request).outputs) == ["z"]


def _error(call, *arguments, **inputs):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **inputs)
    return caught.value.code().name, caught.value.details()


@pytest.mark.parametrize(
    "signature, inputs, code, message",
    [
        ("nope", {"x": X}, "FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
        ("log_prob", {}, "INVALID_ARGUMENT", "missing ['x']"),
        ("log_prob", {"x": X, "y": X}, "INVALID_ARGUMENT", "unknown ['y']"),
        ("log_prob", {"x": X.astype("int32")}, "INVALID_ARGUMENT", "to be float but int32"),
        ("log_prob", {"x": "text"}, "INVALID_ARGUMENT", "not supported here"),
        ("log_prob", {"x": X[:, :1]}, "INVALID_ARGUMENT", "not compatible with expected shape"),
        ("sample", {"num_samples": np.int32(-1), "seed": SEED}, "INVALID_ARGUMENT", "must be >= 0"),
    ],
)
def test_malformed_requests_are_answered_with_errors(client, signature, inputs, code, message):
    found, details = _error(client.ask, "flow", signature, **inputs)
    assert found == code and message in details, details


def test_other_errors_of_requests(client):
    found = _error(client.ask, "other", "log_prob", x=X)
    assert found == ("NOT_FOUND", "Servable not found for request: Latest(other)")
    assert _error(client.send, predict_pb2.PredictRequest())[0] == "INVALID_ARGUMENT"
    assert _error(client.send_bytes, b"\xff no message")[0] == "INTERNAL"
    request = serving_double.request("flow", "log_prob", {"x": X})
    request.model_spec.version.value = 9
    assert _error(client.send, request)[1].endswith("Specific(flow, 9)")
    request = serving_double.request("flow", "log_prob", {"x": X})
    request.output_filter.append("z")
    assert _error(client.send, request)[0] == "INVALID_ARGUMENT"
    request = serving_double.request("flow", "log_prob", {"x": X})
    request.inputs["x"].tensor_content = b"short"
    assert _error(client.send, request)[0] == "INVALID_ARGUMENT"
    assert client.ask("flow", "log_prob", x=X)["log_prob"].shape == (5,)


def test_a_version_whose_warm_up_fails_is_not_served(tmp_path, flow):
    gx.serving.export(flow, tmp_path / "1", warmup=[1])
    (path,) = tmp_path.glob("1/assets.extra/tf_serving*")
    record = next(iter(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()))
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(record.replace(b"log_prob", b"log_prop"))
    with pytest.raises(serving_double.Refused, match="log_prop"):
        serving_double.Model(tmp_path)
