"""The serving guide: its snippets run, its bodies and commands are what the server takes."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import cpp_loader
import numpy as np
import onnxruntime
import pytest
import registry_models
import rest
import serving_double
import tensorflow as tf

ROOT = pathlib.Path(__file__).parents[2]
GUIDE = (ROOT / "tutorials" / "serving.md").read_text(encoding="utf-8")
EXPORT, GRPC, LITE = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
]
# Those of tensorflow_model_server that the guide needs.
FLAGS = {
    "port",
    "rest_api_port",
    "model_name",
    "model_base_path",
    "enable_batching",
    "batching_parameters_file",
}
COLUMNS_ONLY = {"sample", "sample_and_log_prob"}


@pytest.fixture(scope="module")
def guide(tmp_path_factory):
    """What the guide's first snippet makes, and where."""
    directory = tmp_path_factory.mktemp("guide")
    before = os.getcwd()
    os.chdir(directory)
    try:
        names: dict = {}
        exec(compile(EXPORT, "<guide>", "exec"), names)
    finally:
        os.chdir(before)
    return directory, names


@pytest.fixture(scope="module")
def loaded(guide):
    with cpp_loader.SavedModel(guide[0] / "serving" / "flow" / "1") as loaded:
        yield loaded


def _bodies():
    for command in COMMANDS:
        if command.startswith("curl -d"):
            yield shlex.split(command)[2:]


def test_bodies_are_answered_as_the_model_answers(guide, loaded):
    flow = guide[1]["flow"]
    asked = {"inputs": set(), "instances": set()}
    for body, url in _bodies():
        signature, inputs = rest.tensors(body, loaded.signatures)
        asked["inputs" if "inputs" in json.loads(body) else "instances"].add(signature)
        assert re.fullmatch(r"http://localhost:8501/v1/models/flow(/versions/1)?:predict", url)
        outputs = loaded.run(signature, **inputs)
        expected = _python(flow, signature, inputs)
        assert outputs.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-4, err_msg=body)
    signatures = set(loaded.signatures)
    assert asked["inputs"] == signatures - {"serving_default"}
    assert asked["instances"] == signatures - COLUMNS_ONLY


def _python(flow, signature, inputs):
    if signature in ("log_prob", "serving_default"):
        return {"log_prob": flow.log_prob(inputs["x"])}
    if signature == "log_prob_and_gradient":
        x = tf.constant(inputs["x"])
        with tf.GradientTape() as tape:
            tape.watch(x)
            log_prob = flow.log_prob(x)
        return {"log_prob": log_prob, "gradient": tape.gradient(log_prob, x)}
    if signature == "sample":
        return {"samples": flow.sample(inputs["num_samples"], seed=inputs["seed"])}
    if signature == "sample_and_log_prob":
        samples = flow.sample(inputs["num_samples"], seed=inputs["seed"])
        return {"samples": samples, "log_prob": flow.log_prob(samples + 0.0)}
    if signature == "sample_rows":
        return {"samples": np.stack([flow.sample(seed=seed) for seed in inputs["seed"]])}
    if signature == "forward":
        x = flow.bijector.forward(inputs["z"])
        return {"x": x, "log_prob": flow.log_prob(x + 0.0)}
    return {"z": flow.bijector.inverse(inputs["x"]), "log_prob": flow.log_prob(inputs["x"])}


def test_scalars_are_no_rows(loaded):
    for signature in COLUMNS_ONLY:
        row = {"num_samples": 2, "seed": [1, 2]}
        body = json.dumps({"signature_name": signature, "instances": [row, row]})
        signature, inputs = rest.tensors(body, loaded.signatures)
        with pytest.raises(cpp_loader.TensorFlowError, match="not compatible with expected shape"):
            loaded.feed(signature, inputs)


@pytest.mark.parametrize(
    "body",
    [
        {"signature_name": "log_prob"},
        {"inputs": [[0.0] * 3], "instances": [[0.0] * 3]},
        {"instances": []},
        {"instances": [[0.0, 1.0, 2.0], [0.0]]},
        {"instances": [{"y": [0.0, 1.0, 2.0]}]},
        {"inputs": [["0", "1", "2"]]},
        {"signature_name": "sample", "inputs": [1, 2]},
        {"signature_name": "sample", "inputs": {"num_samples": 2.0, "seed": [1, 2]}},
    ],
)
def test_what_the_server_refuses_to_read_is_refused_here(body, loaded):
    with pytest.raises(ValueError):
        rest.tensors(json.dumps(body), loaded.signatures)


def test_answers_are_in_rows_or_columns_and_one_alone_has_no_name():
    one = {"log_prob": np.array([1.0, 2.0])}
    two = {**one, "z": np.array([[3.0], [4.0]])}
    assert rest.body(one, rows=False) == {"outputs": [1.0, 2.0]}
    assert rest.body(one, rows=True) == {"predictions": [1.0, 2.0]}
    assert rest.body(two, rows=False) == {"outputs": {"log_prob": [1.0, 2.0], "z": [[3.0], [4.0]]}}
    assert rest.body(two, rows=True)["predictions"][1] == {"log_prob": 2.0, "z": [4.0]}


def test_the_grpc_client_runs_against_the_double(guide):
    directory, names = guide
    assert GRPC.count('"localhost:8500"') == 1
    with serving_double.running({"flow": directory / "serving" / "flow"}) as (address, _):
        run = dict(names)
        exec(compile(GRPC.replace("localhost:8500", address), "<guide>", "exec"), run)
        spoilt = run["x"][:3].copy()
        spoilt[1, 0] = np.nan
        found = run["ask"]("log_prob", x=spoilt)["log_prob"]
        none = run["ask"]("log_prob", x=run["x"][:0])["log_prob"]
        run["channel"].close()
    flow, x = run["flow"], run["x"]
    np.testing.assert_allclose(run["log_prob"], flow.log_prob(x[:5]), rtol=1e-4)
    np.testing.assert_allclose(run["samples"], run["both"]["samples"], rtol=1e-4)
    np.testing.assert_allclose(run["samples"], flow.sample(10, seed=[1, 2]), rtol=1e-4, atol=1e-4)
    assert run["rows"].shape == (2, 3)
    assert run["data"].keys() == {"x", "log_prob"} and run["noise"].keys() == {"z", "log_prob"}
    assert np.isnan(found).tolist() == [False, True, False] and none.shape == (0,)


def test_the_server_gets_the_directory_name_and_ports_that_the_calls_use(guide):
    directory, _ = guide
    commands = [c for c in COMMANDS if c.startswith("tensorflow_model_server")]
    assert len(commands) == 2
    for command in commands:
        flags = dict(re.findall(r"--(\w+)(?:=(\S+))?", command))
        assert flags.keys() <= FLAGS
        assert (flags["port"], flags["rest_api_port"]) == ("8500", "8501")
        assert flags["model_name"] == "flow"
        base_path = flags["model_base_path"].strip('"').replace("$PWD", str(directory))
        assert os.listdir(base_path) == ["1"]
    (docker,) = [c for c in COMMANDS if c.startswith("docker")]
    volume = '-v "$PWD/serving/flow:/models/flow"'
    for part in ("-p 8500:8500", "-p 8501:8501", volume, "-e MODEL_NAME=flow"):
        assert part in docker


def test_the_warm_up_that_the_guide_asks_for_is_there(guide):
    extra = guide[0] / "serving" / "flow" / "1" / "assets.extra"
    names = {path.name for path in extra.iterdir()}
    assert names == {"tf_serving_warmup_requests", "model_card.json"}


def test_signatures_that_may_be_joined_are_those_whose_tensors_are_all_batched(tmp_path, loaded):
    rows = re.findall(r"^\| (.+) \| (.+) \|$", GUIDE, re.MULTILINE)[2:]
    assert len(rows) == 3
    models = [loaded.signatures]
    for name, model in (("vae", registry_models.vae()), ("gan", registry_models.flow_gan())):
        model.export(tmp_path / name / "1", verbose=False)
        with cpp_loader.SavedModel(tmp_path / name / "1") as other:
            models.append(other.signatures)
    for signatures, cells in zip(models, rows, strict=True):
        joined, refused = (set(re.findall(r"`(\w+)`", cell)) for cell in cells)
        assert joined | refused == set(signatures) and not joined & refused
        for name, signature in signatures.items():
            infos = [*signature.inputs.values(), *signature.outputs.values()]
            batched = all(info.shape and info.shape[0] is None for info in infos)
            assert batched == (name in joined), name


def test_links_of_the_guide_lead_somewhere():
    for page in ("README.md", "tutorials/README.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        (link,) = re.findall(r"\]\((\S*serving\.md)\)", text)
        assert (ROOT / page).parent.joinpath(link).is_file()


def test_conversions_give_the_densities_of_the_model(guide, monkeypatch):
    directory, names = guide
    monkeypatch.chdir(directory)
    lite: dict = {}
    exec(compile(LITE, "<guide>", "exec"), lite)
    expected = names["flow"].log_prob(tf.zeros([3, 3]))
    np.testing.assert_allclose(lite["answer"]["log_prob"], expected, rtol=1e-5)
    (command,) = (shlex.split(line) for line in COMMANDS if "tf2onnx" in line)
    subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True)
    session = onnxruntime.InferenceSession("flow.onnx")
    (found,) = session.run(["log_prob"], {"x": np.zeros([3, 3], np.float32)})
    np.testing.assert_allclose(found, expected, rtol=1e-5)
