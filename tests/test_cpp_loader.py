"""The C++ loader harness, on a plain tf.Module."""

from pathlib import Path

import cpp_loader
import numpy as np
import pytest
import tensorflow as tf


class Model(tf.Module):
    """A variable, random draws, every dtype, and an error at run time."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = tf.Variable([1.0, -2.0, 0.5])

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    def affine(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Rows times the variable, and their sums."""
        return {"y": x * self.scale, "total": tf.reduce_sum(x * self.scale, axis=-1)}

    @tf.function(
        input_signature=[tf.TensorSpec([], tf.int32, "count"), tf.TensorSpec([2], tf.int32, "seed")]
    )
    def draw(self, count: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Normal rows."""
        return {"z": tf.random.stateless_normal([count, 3], seed)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "index")])
    def pick(self, index: tf.Tensor) -> dict[str, tf.Tensor]:
        """Elements of the variable; TensorFlow refuses an index out of range."""
        return {"picked": tf.gather(self.scale, index)}

    @tf.function(input_signature=[])
    def about(self) -> dict[str, tf.Tensor]:
        """A signature without inputs."""
        return {"scale": self.scale.read_value()}

    @tf.function
    def same(self, **tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        """The inputs."""
        return {name: tf.identity(tensor) for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture(scope="module")
def export(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("export")
    specs = {f"a_{name}": tf.TensorSpec(None, name) for name in cpp_loader.DTYPES.values()}
    signatures = {name: getattr(model, name) for name in ("affine", "draw", "pick", "about")}
    signatures["same"] = model.same.get_concrete_function(**specs)
    tf.saved_model.save(model, str(directory), signatures)
    return directory


def rows(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).normal(size=(batch, 3)).astype(np.float32)


def of_every_dtype(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {f"a_{name}": np.ones(shape, name) for name in cpp_loader.DTYPES.values()}


def test_answers(model: Model, export: Path) -> None:
    seed = np.array([3, 4], np.int32)
    requests = {}
    for batch in (0, 1, 1000):
        requests[f"affine {batch}"] = ("affine", {"x": rows(batch)})
        requests[f"draw {batch}"] = ("draw", {"count": np.int32(batch), "seed": seed})
    answers = cpp_loader.serve(export, {**requests, "about": ("about", {})})
    assert answers.keys() == {*requests, "about"}
    np.testing.assert_array_equal(answers["about"]["scale"], model.scale)
    for request, (signature, inputs) in requests.items():
        expected = getattr(model, signature)(**inputs)
        assert answers[request].keys() == expected.keys()
        for name, tensor in expected.items():
            assert answers[request][name].dtype == tensor.dtype
            np.testing.assert_allclose(answers[request][name], tensor, rtol=1e-6, atol=1e-6)


def test_dtypes_and_ranks(export: Path) -> None:
    shapes: dict[str, tuple[int, ...]] = {"scalar": (), "empty": (0, 2), "matrix": (2, 3)}
    requests = {key: ("same", of_every_dtype(shape)) for key, shape in shapes.items()}
    # Its bytes in memory are not in C order.
    transposed = np.arange(6, dtype=np.int32).reshape(2, 3).T
    requests["transposed"] = ("same", of_every_dtype(()) | {"a_int32": transposed})
    for key, outputs in cpp_loader.serve(export, requests).items():
        for name, array in requests[key][1].items():
            assert outputs[name].dtype == array.dtype
            np.testing.assert_array_equal(outputs[name], array, strict=True)


def test_signatures(export: Path) -> None:
    with cpp_loader.SavedModel(export) as loaded:
        affine, draw, same = (loaded.signatures[name] for name in ("affine", "draw", "same"))
        assert loaded.signatures.keys() == {"affine", "draw", "pick", "about", "same"}
    assert affine.inputs["x"].shape == (None, 3) and affine.inputs["x"].dtype == np.float32
    assert {name: info.shape for name, info in affine.outputs.items()} == {
        "total": (None,),
        "y": (None, 3),
    }
    assert draw.inputs["count"].shape == () and draw.inputs["seed"].dtype == np.int32
    assert same.inputs["a_bool"].shape is None


def test_child_rejects_tensorflow(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = {"r": ("affine", {"x": rows(1)})}
    cpp_loader.serve(export, request)
    # A child that gets the package in some way (here a stand-in, which is quicker) must not pass.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util, sys\n"
        "spec = importlib.util.find_spec('tensorflow')\n"
        "sys.modules['tensorflow'] = importlib.util.module_from_spec(spec)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"this process imported \['tensorflow'\]"):
        cpp_loader.serve(export, request)


def test_errors_of_tensorflow(export: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"request 'r': TF_SessionRun: .*9 is not in \[0, 3\)"):
        cpp_loader.serve(export, {"r": ("pick", {"index": np.array([9], np.int32)})})
    with pytest.raises(cpp_loader.TensorFlowError, match="Could not find SavedModel"):
        cpp_loader.SavedModel(tmp_path)


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("nope", {}, "no signature 'nope'; the SavedModel has .*'affine'"),
        ("affine", {"w": rows(1)}, r"'affine', inputs: unknown \['w'\], missing \['x'\]"),
        ("draw", {"count": np.int32(1)}, r"'draw', inputs: unknown \[\], missing \['seed'\]"),
        ("affine", {"x": np.zeros((1, 3))}, "input 'x': expected float32 .*, got float64"),
        ("affine", {"x": rows(2)[:, :2]}, r"input 'x': expected .*\(None, 3\), got .*\(2, 2\)"),
        ("affine", {"x": rows(2)[0]}, r"input 'x': expected .*\(None, 3\), got .*\(3,\)"),
    ],
)
def test_errors_of_requests(
    export: Path, signature: str, inputs: dict[str, np.ndarray], message: str
) -> None:
    with cpp_loader.SavedModel(export) as loaded, pytest.raises(ValueError, match=message):
        loaded.run(signature, **inputs)
