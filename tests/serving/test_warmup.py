"""Warm-up requests, replayed as a server replays them, through the loader that it uses."""

from __future__ import annotations

import os
import sys

import cpp_loader
import numpy as np
import pytest
import registry
import registry_models
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_serving.apis import prediction_log_pb2

import tfp_genext as gx

tfd = tfp.distributions
WHERE = os.path.join("assets.extra", "tf_serving_warmup_requests")


def _records(path):
    """What the file holds: names of signatures and their inputs."""
    for record in tf.data.TFRecordDataset(os.path.join(path, WHERE)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert not request.model_spec.name
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        yield request.model_spec.signature_name, inputs


def _flow(**options):
    flow = gx.flows.real_nvp([3], num_layers=2, hidden_units=[8], **options)
    registry.perturb(flow)
    return flow


def _normal():
    return tfd.Independent(tfd.Normal(tf.Variable(tf.zeros([3])), 1.0), 1)


MODELS = {
    "flow": lambda: gx.models.DensityModel(_flow()),
    "conditional flow": lambda: gx.models.DensityModel(_flow(conditional_event_shape=[2])),
    "made": lambda: gx.models.DensityModel(gx.autoregressive.made([3], hidden_units=[8])),
    "positive": lambda: gx.models.DensityModel(
        tfd.Independent(tfd.LogNormal(tf.Variable(tf.zeros([3])), 1.0, validate_args=True), 1)
    ),
    "vae": registry_models.vae,
    "conditional vae": registry_models.conditional_vae,
    "gan": registry_models.gan,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_request_of_each_size_for_each_signature_is_answered_by_the_cpp_loader(name, tmp_path):
    path = tmp_path / "1"
    MODELS[name]().export(path, warmup=[1, 5], verbose=False)
    records = list(_records(path))
    with cpp_loader.SavedModel(path) as loaded:
        signatures = loaded.signatures
    assert sorted(asked for asked, _ in records) == sorted([*signatures, *signatures])
    answers = cpp_loader.serve(path, {str(i): record for i, record in enumerate(records)})
    for i, (signature, inputs) in enumerate(records):
        # Of a quantile one probability is asked for, whatever the size.
        rows = 1 if i < len(signatures) or "probs" in inputs else 5
        of_contexts = inputs.keys() == {"num_samples", "seed", "conditional_input"}
        for output, value in answers[str(i)].items():
            assert value.shape[: 1 + of_contexts] == ((1, rows) if of_contexts else (rows,))
            assert np.isfinite(value.astype("float64")).all(), (signature, output)


def test_requests_of_some_signatures_only(tmp_path):
    sizes = {"log_prob": [1, 32], "sample_rows": (4,)}
    gx.serving.export(_normal(), tmp_path / "1", warmup=sizes)
    found = {(name, len(next(iter(inputs.values())))) for name, inputs in _records(tmp_path / "1")}
    assert found == {("log_prob", 1), ("log_prob", 32), ("sample_rows", 4)}


def test_no_file_unless_asked(tmp_path):
    for version, warmup in ((1, ()), (2, {}), (3, {"log_prob": []})):
        gx.serving.export(_normal(), tmp_path / str(version), warmup=warmup)
        assert os.listdir(tmp_path / str(version) / "assets.extra") == ["model_card.json"]


@pytest.mark.parametrize(
    "warmup, error, message",
    [
        (
            True,
            TypeError,
            r"`warmup` must be a sequence of positive integers. Received: warmup=True",
        ),
        (8, TypeError, r"`warmup` must be a sequence of positive integers. Received: warmup=8"),
        (
            [0],
            ValueError,
            r"`warmup\[0\]` must be an integer of at least 1. Received: warmup\[0\]=0",
        ),
        ({"logprob": [1]}, ValueError, r"`warmup` must be sizes of signatures among \['log_prob'"),
        (
            range(1, 300),
            ValueError,
            r"`warmup` must be at most 1000 requests.*Received: warmup=2093",
        ),
    ],
)
def test_what_is_no_batch_size_is_said(warmup, error, message, tmp_path):
    with pytest.raises(error, match=message):
        gx.serving.export(_normal(), tmp_path / "1", warmup=warmup)
    assert os.listdir(tmp_path) == []


def test_without_the_package_the_extra_is_named_and_plain_exports_go_on(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(ImportError, match=r"tensorflow-serving-api.*tfp_genext\[serving\]"):
        gx.serving.export(_normal(), tmp_path / "1", warmup=[1])
    assert os.listdir(tmp_path) == []
    gx.serving.export(_normal(), tmp_path / "1")


def test_a_request_that_fails_leaves_no_version_that_a_server_could_not_load(tmp_path):
    def fails(x):
        with tf.control_dependencies([tf.debugging.assert_less(tf.shape(x)[0], 3)]):
            return tf.identity(x)

    bijector = tfp.bijectors.Inline(
        forward_fn=lambda x: x,
        inverse_fn=fails,
        inverse_log_det_jacobian_fn=lambda y: tf.zeros([]),
        forward_log_det_jacobian_fn=lambda x: tf.zeros([]),
        forward_min_event_ndims=1,
    )
    flow = tfd.TransformedDistribution(tfd.MultivariateNormalDiag(tf.zeros([2])), bijector)
    with pytest.raises(tf.errors.InvalidArgumentError):
        gx.serving.export(flow, tmp_path / "1", warmup=[1, 3])
    assert os.listdir(tmp_path) == []
    gx.serving.export(flow, tmp_path / "1", warmup={"log_prob": [1, 2]})
