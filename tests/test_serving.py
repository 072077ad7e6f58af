"""Exports, seen through the loader that TensorFlow Serving uses."""

from __future__ import annotations

import os

import cpp_loader
import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

D = registry.D
tfb = tfp.bijectors
tfd = tfp.distributions


def _requests(case):
    """One request for each signature and batch size, and what Python answers."""
    seeds = np.stack([np.arange(1000), np.arange(1000) + 7], axis=-1).astype(np.int32)
    for batch in (1, 1000):
        x = {"x": registry.points((batch, *case.event), "float32").numpy()}
        context = {
            name: value.numpy()
            for name, value in registry.conditions(case, (batch,), "float32").items()
        }
        draw = {"num_samples": np.int32(3), "seed": np.array([5, 6], np.int32)}
        for name in ("log_prob", "serving_default"):
            yield f"{name}-{batch}", name, {**x, **context}
        for name in ("sample", "sample_and_log_prob"):
            number = draw if context else {**draw, "num_samples": np.int32(batch)}
            yield f"{name}-{batch}", name, {**number, **context}
        yield f"sample_rows-{batch}", "sample_rows", {"seed": seeds[:batch], **context}
        if case.recipe:
            yield f"inverse-{batch}", "inverse", {**x, **context}
            yield f"forward-{batch}", "forward", {"z": x["x"], **context}


def _python(distribution, signature, inputs):
    """What the distribution itself gives for a request."""
    context = inputs.get("conditional_input")
    kwargs = {} if context is None else gx.flows.bijector_kwargs(distribution, tf.constant(context))
    bound = distribution if context is None else gx.flows.condition(distribution, context)
    if signature in ("log_prob", "serving_default"):
        return {"log_prob": distribution.log_prob(inputs["x"], **kwargs)}
    if signature == "sample":
        return {"samples": bound.sample(inputs["num_samples"], seed=inputs["seed"])}
    if signature == "sample_and_log_prob":
        samples = bound.sample(inputs["num_samples"], seed=inputs["seed"])
        return {"samples": samples, "log_prob": bound.log_prob(tf.identity(samples))}
    if signature == "sample_rows":
        rows = []
        for i, seed in enumerate(inputs["seed"][:5]):
            row = distribution if context is None else gx.flows.condition(distribution, context[i])
            rows.append(row.sample(seed=seed))
        return {"samples": np.stack(rows)}
    bijector, named = distribution.bijector, kwargs.get("bijector_kwargs", {})
    if signature == "forward":
        x = bijector.forward(inputs["z"], **named)
        return {"x": x, "log_prob": distribution.log_prob(tf.identity(x), **kwargs)}
    return {
        "z": bijector.inverse(inputs["x"], **named),
        "log_prob": distribution.log_prob(inputs["x"], **kwargs),
    }


# One of each kind of operation and of variable, plain and with contexts: what a loader must bring
# back and run. The flows left out are made of the same bijectors, or of others that loop like them.
SERVED = registry.some(
    registry.DISTRIBUTIONS,
    "real_nvp_normed",
    "nice_conditional",
    "maf_conditional",
    "iaf",
    "nsf",
    "naf",
    "glow_conditional",
    "real_nvp_images",
    "mixture",
)


@pytest.mark.parametrize("case", SERVED, ids=lambda case: case.name)
def test_every_signature_runs_in_the_cpp_loader_and_equals_python(case, tmp_path):
    distribution = case.build(D, "float32")
    registry.perturb(distribution, size=0.1)
    path = tmp_path / "flow" / "1"
    gx.serving.export(distribution, path)
    requests = {key: (name, inputs) for key, name, inputs in _requests(case)}
    answers = cpp_loader.serve(path, requests)
    assert set(answers) == set(requests) and len(requests) >= 10
    for key, (name, inputs) in requests.items():
        expected = _python(distribution, name, inputs)
        assert set(answers[key]) == set(expected)
        for output, value in expected.items():
            found = answers[key][output]
            if name == "sample_rows":
                assert len(found) == len(inputs["seed"])
                found = found[: len(value)]
            np.testing.assert_allclose(found, value, atol=1e-4, rtol=1e-4, err_msg=key)


def test_the_same_seed_gives_the_same_samples_in_two_processes(tmp_path):
    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[8])
    gx.serving.export(flow, tmp_path / "1")
    request = {"a": ("sample", {"num_samples": np.int32(5), "seed": np.array([1, 2], np.int32)})}
    first = cpp_loader.serve(tmp_path / "1", request)["a"]["samples"]
    second = cpp_loader.serve(tmp_path / "1", request)["a"]["samples"]
    np.testing.assert_array_equal(first, second)


def test_an_export_made_before_fit_is_not_touched_by_requests_or_training(tmp_path):
    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[8], act_norm=True)
    model = gx.models.DensityModel(flow)
    model.export(tmp_path / "1", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    x = registry.points((50, 2), "float32") * 3.0
    before = loaded.signatures["log_prob"](x=x)["log_prob"].numpy()
    np.testing.assert_array_equal(loaded.signatures["log_prob"](x=x)["log_prob"], before)
    model.compile()
    model.fit(x, verbose=0)
    np.testing.assert_array_equal(loaded.signatures["log_prob"](x=x)["log_prob"], before)


def test_export_with_xla_gives_the_same_numbers(tmp_path):
    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[8])
    registry.perturb(flow)
    gx.serving.export(flow, tmp_path / "1", jit_compile=True)
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    x = registry.points((50, 2), "float32")
    np.testing.assert_allclose(
        loaded.signatures["log_prob"](x=x)["log_prob"], flow.log_prob(x), rtol=1e-5
    )


@pytest.fixture
def flow():
    return gx.flows.real_nvp([2], num_layers=2, hidden_units=[8])


def test_an_existing_version_is_refused_unless_overwritten(flow, tmp_path):
    path = tmp_path / "flow" / "3"
    gx.serving.export(flow, path)
    with pytest.raises(FileExistsError, match=r"`path` must not exist.*Received: path="):
        gx.serving.export(flow, path)
    registry.perturb(flow)
    gx.serving.export(flow, path, overwrite=True)
    loaded = tf.saved_model.load(str(path))
    x = registry.points((3, 2), "float32")
    np.testing.assert_allclose(
        loaded.signatures["log_prob"](x=x)["log_prob"], flow.log_prob(x), rtol=1e-5
    )
    assert os.listdir(tmp_path / "flow") == ["3"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failed_export_leaves_what_was_there(flow, tmp_path, monkeypatch, overwrite):
    path = tmp_path / "flow" / "3"
    if overwrite:
        gx.serving.export(flow, path)

    def fails_half_way(module, directory, signatures):
        os.makedirs(directory)
        with open(os.path.join(directory, "saved_model.pb"), "wb"):
            raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", fails_half_way)
    with pytest.raises(OSError, match="disk full"):
        gx.serving.export(flow, path, overwrite=overwrite)
    assert os.listdir(tmp_path / "flow") == (["3"] if overwrite else [])
    monkeypatch.undo()
    if overwrite:
        assert tf.saved_model.load(str(path)).signatures


@pytest.mark.parametrize("jit_compile", [None, True], ids=["plain", "XLA"])
def test_inputs_of_other_shapes_are_refused_where_they_would_broadcast(tmp_path, jit_compile):
    normal = tfd.Independent(tfd.Normal(tf.Variable([1.0, 2.0, 3.0]), 1.0), 1)
    gx.serving.export(normal, tmp_path / "1", jit_compile=jit_compile)
    seed = np.zeros([2], np.int32)
    wrong = [
        ("log_prob", {"x": np.zeros(shape, np.float32)}) for shape in ([2, 1], [3], [], [2, 2, 3])
    ]
    wrong += [("sample", {"num_samples": np.array([2], np.int32), "seed": seed})]
    wrong += [("sample", {"num_samples": np.int32(2), "seed": np.zeros([3], np.int32)})]
    wrong += [("sample_rows", {"seed": seed})]
    with cpp_loader.SavedModel(tmp_path / "1") as loaded:
        assert loaded.feed("log_prob", {"x": np.zeros([2, 3], np.float32)})["log_prob"].shape == (
            2,
        )
        for signature, inputs in wrong:
            with pytest.raises(cpp_loader.TensorFlowError, match="not compatible with expected"):
                loaded.feed(signature, inputs)


def test_inputs_of_different_numbers_of_rows_are_refused(tmp_path):
    flow = gx.flows.real_nvp([3], num_layers=2, hidden_units=[8], conditional_event_shape=[2])
    gx.serving.export(flow, tmp_path / "1")
    with cpp_loader.SavedModel(tmp_path / "1") as loaded:
        x, context = np.zeros([4, 3], np.float32), np.zeros([1, 2], np.float32)
        with pytest.raises(cpp_loader.TensorFlowError, match="as many rows"):
            loaded.feed("log_prob", {"x": x, "conditional_input": context})


def test_export_says_what_it_cannot_serve(flow, tmp_path):
    with pytest.raises(
        ValueError, match=r"`path` must be a directory whose last part is an integer"
    ):
        gx.serving.export(flow, tmp_path / "latest")
    with pytest.raises(TypeError, match=r"`distribution` must be a tfd.Distribution. Received"):
        gx.serving.export(tfb.Exp(), tmp_path / "1")
    with pytest.raises(ValueError, match=r"`distribution` must have batch shape \[\].*Received"):
        gx.serving.export(tfd.Normal([0.0, 1.0], 1.0), tmp_path / "1")
    joint = tfd.JointDistributionSequential([tfd.Normal(0.0, 1.0), tfd.Normal(0.0, 1.0)])
    with pytest.raises(TypeError, match=r"events of a single tensor. Received: a joint"):
        gx.serving.export(joint, tmp_path / "1")
    hidden = tf.Variable(1.0)
    closure = tfd.TransformedDistribution(
        tfd.Normal(0.0, 1.0),
        tfb.Inline(
            forward_fn=lambda x: x * hidden,
            inverse_fn=lambda y: y / hidden,
            inverse_log_det_jacobian_fn=lambda y: -tf.math.log(hidden),
            forward_min_event_ndims=0,
        ),
    )
    with pytest.raises(ValueError, match=r"`distribution` must hold its variables where TFP"):
        gx.serving.export(closure, tmp_path / "1")
    assert os.listdir(tmp_path) == []


def test_model_export_takes_one_format(flow, tmp_path):
    model = gx.models.DensityModel(flow)
    with pytest.raises(
        ValueError, match=r"`format` must be 'tf_saved_model'. Received: format='onnx'"
    ):
        model.export(tmp_path / "1", format="onnx")


def test_numbers_that_are_no_pixels_are_refused_by_the_server_as_locally(flow, tmp_path):
    model = gx.models.DensityModel(flow, preprocessing=gx.layers.Dequantize(4))
    model.export(tmp_path / "1", verbose=False)
    with cpp_loader.SavedModel(tmp_path / "1") as loaded:
        for wrong in (0.5, 4.0, -1.0, np.nan):
            x = np.array([[1.0, wrong]], np.float32)
            with pytest.raises(cpp_loader.TensorFlowError, match="`x` must hold whole numbers"):
                loaded.feed("log_prob", {"x": x})
            with pytest.raises(ValueError, match="`x` must"):
                model.predict(x, verbose=0)


def test_log_densities_of_data_in_their_own_units(tmp_path):
    """Against a sum of normal log-densities by hand, with the layer's own noise."""
    normal = tfd.Independent(tfd.Normal(tf.Variable([10.0, 20.0]), 5.0), 1)
    layer = gx.layers.Dequantize(64)
    gx.serving.export(normal, tmp_path / "1", preprocessing=layer)
    x = np.array([[3, 30], [9, 21]], np.float32)
    by_hand = -(((layer(x).numpy() - [10.0, 20.0]) / 5.0) ** 2) / 2 - np.log(5 * np.sqrt(2 * np.pi))
    with cpp_loader.SavedModel(tmp_path / "1") as loaded:
        found = loaded.run("log_prob", x=x)["log_prob"]
        both = loaded.run("sample_and_log_prob", num_samples=np.int32(9), seed=np.int32([1, 2]))
        np.testing.assert_allclose(found, by_hand.sum(-1), rtol=1e-5)
        again = loaded.run("log_prob", x=both["samples"])["log_prob"]
        np.testing.assert_allclose(both["log_prob"], again, rtol=1e-6)


@pytest.mark.parametrize(
    "version", ["9" * 25, str(2**63), "-1", "+1", "1.0", "\u0661", "001", "00"]
)
def test_versions_that_no_server_reads_are_refused(version, tmp_path):
    flow = gx.flows.maf([2], num_layers=1, hidden_units=[4])
    with pytest.raises(
        ValueError, match="`path` must be a directory whose last part is an integer"
    ):
        gx.serving.export(flow, tmp_path / version)
