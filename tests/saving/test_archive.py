"""Archives and weights that are not as Keras writes them, or not as they say."""

from __future__ import annotations

import io
import os
import struct
import zipfile

import h5py
import keras
import numpy as np
import pytest

import tfp_genext as gx
from tfp_genext.saving import archive

LIMIT = 64 * 2**20


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "model.keras"
    gx.models.DensityModel(gx.flows.real_nvp([4], num_layers=2, hidden_units=[8])).save(path)
    return path.read_bytes()


def members(data):
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(parts, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return buffer.getvalue()


def in_directory(data, place, form, value):
    """Changes a field of each entry of an archive's directory."""
    changed, start = bytearray(data), data.find(b"PK\x01\x02")
    while start >= 0:
        struct.pack_into(form, changed, start + place, value)
        start = data.find(b"PK\x01\x02", start + 1)
    return bytes(changed)


def deflated(data):
    return packed(members(data), zipfile.ZIP_DEFLATED)


DAMAGE = {
    "empty": lambda data: b"",
    "text": lambda data: b"no archive" * 100,
    "cut": lambda data: data[:-100],
    "halved": lambda data: data[: len(data) // 2],
    "no configuration": lambda data: packed({archive.WEIGHTS: b""}),
    "a directory": lambda data: packed({**members(data), "config.json/": b""}),
    "assets": lambda data: packed({**members(data), "assets/a": b"1", "assets/a/b": b"2"}),
    "a name that leaves": lambda data: packed({**members(data), "../up": b"x"}),
    "many members": lambda data: packed({str(i): b"" for i in range(30_000)}),
    "larger than stored": lambda data: in_directory(deflated(data), 24, "<I", 2**20),
    "much larger": lambda data: in_directory(deflated(data), 24, "<I", 2**31),
    "smaller than stored": lambda data: in_directory(deflated(data), 24, "<I", 10),
    "wrong checksums": lambda data: in_directory(data, 16, "<I", 0),
    "all at one place": lambda data: in_directory(data, 42, "<I", 0),
    "encrypted": lambda data: in_directory(data, 8, "<H", 1),
    "strongly encrypted": lambda data: in_directory(data, 8, "<H", 64),
    "an unknown method": lambda data: in_directory(data, 10, "<H", 97),
    "LZMA": lambda data: packed(members(data), zipfile.ZIP_LZMA),
    "weights that are text": lambda data: packed({**members(data), archive.WEIGHTS: b"x" * 999}),
    "a list": lambda data: packed({**members(data), "config.json": b"[]"}),
    "no JSON": lambda data: packed({**members(data), "config.json": b"\xff\xfe{"}),
    "deep JSON": lambda data: packed({**members(data), "config.json": b"[" * 9999}),
    "many entries": lambda data: packed(
        {**members(data), "config.json": b"[" + b"{}," * 2**17 + b"0]"}, zipfile.ZIP_DEFLATED
    ),
    "long text": lambda data: packed(
        {**members(data), "config.json": b'"' + b"x" * 2**25 + b'"'}, zipfile.ZIP_DEFLATED
    ),
    "a giant number": lambda data: packed({**members(data), "config.json": b"9" * 10**5}),
    "much metadata": lambda data: packed({**members(data), "metadata.json": b"[" * 10**5}),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_archives_are_errors_that_name_the_file(name, whole, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(DAMAGE[name](whole))
    with pytest.raises(ValueError, match="^`path` must .*Received: "):
        gx.saving.load_model(path)
    assert os.listdir(tmp_path) == ["model.keras"]


def test_two_members_of_one_name_are_refused(whole, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("config.json", members(whole)["config.json"])
    with pytest.raises(ValueError, match="must be an archive with the members .* alone"):
        gx.saving.load_model(path)


@pytest.mark.parametrize("way", ["missing", "a directory", "a pipe", "another name", "no path"])
def test_what_is_not_a_file_is_refused(way, whole, tmp_path):
    path = tmp_path / ("model.zip" if way == "another name" else "model.keras")
    if way == "a directory":
        path.mkdir()
    elif way == "a pipe":
        os.mkfifo(path)
    elif way == "another name":
        path.write_bytes(whole)
    with pytest.raises(ValueError, match="^`path` must be .*Received"):
        gx.saving.load_model(3 if way == "no path" else path)


def test_a_link_to_a_file_is_loaded(whole, tmp_path):
    (tmp_path / "first.keras").write_bytes(whole)
    (tmp_path / "latest.keras").symlink_to(tmp_path / "first.keras")
    assert isinstance(gx.saving.load_model(tmp_path / "latest.keras"), gx.models.DensityModel)


def _replaced(make):
    """Returns a change that puts something else where the first weights were."""

    def change(file):
        value = file["w/0"][()]
        del file["w/0"]
        make(file, value)

    return change


def _virtual(file, value):
    layout = h5py.VirtualLayout(shape=value.shape, dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=value.shape)
    file.create_virtual_dataset("w/0", layout)


def _made(**options):
    return _replaced(lambda file, value: file.create_dataset("w/0", **options))


def _unpacked(file):
    for i in range(100):
        file.create_dataset(f"x/{i}", shape=(2**10, 2**10), dtype="f4", fillvalue=1.0, chunks=True)


def _nested(file):
    for _ in range(2000):
        file = file.create_group("g")


def _attribute(value):
    return lambda file: file["w/0"].attrs.update(dtype=value)


WEIGHTS = {
    "never written": _made(shape=(2**14, 2**14), dtype="f4"),
    "in chunks that are not there": _made(shape=(2**14, 2**14), dtype="f4", chunks=True),
    "packed": _made(data=np.zeros([500, 500]), compression="gzip"),
    "many": _unpacked,
    "of any length": _made(shape=(3,), dtype=h5py.vlen_dtype("f4")),
    "text": _made(shape=(3,), dtype=h5py.string_dtype()),
    "bytes": _made(data=np.array([b"x" * 1000] * 3)),
    "references": _made(shape=(3,), dtype=h5py.ref_dtype),
    "complex": _made(data=np.ones([3], "c8")),
    "opaque": _made(data=np.ones([3], "V100")),
    "records": _made(data=np.ones([3], [("a", "f4"), ("b", "i4")])),
    "nothing": _made(data=h5py.Empty("f4")),
    "outside": _made(shape=(3,), dtype="f4", external=[("/etc/passwd", 0, 12)]),
    "a type": _replaced(lambda file, value: file.__setitem__("w/0", np.dtype("f4"))),
    "virtual": _replaced(_virtual),
    "a soft link": _replaced(lambda file, _: file.__setitem__("w/0", h5py.SoftLink("/w/1"))),
    "an external link": _replaced(
        lambda file, _: file.__setitem__("w/0", h5py.ExternalLink("/etc/passwd", "/"))
    ),
    "twice": lambda file: file.__setitem__("w/2", file["w/1"]),
    "a circle": lambda file: file.__setitem__("w/2", file["/"]),
    "deep": _nested,
    "an attribute of many values": _attribute(["x" * 60] * 100),
}


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "some.weights.h5"
    with h5py.File(path, "w") as file:
        file["w/0"], file["w/1"] = np.ones([3, 4], "f4"), np.zeros([], "i8")
    return path


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_not_as_keras_writes_them_are_refused(name, weights):
    assert archive.weight_shapes(str(weights)) == [(3, 4), ()]
    with h5py.File(weights, "a") as file:
        WEIGHTS[name](file)
    with pytest.raises((ValueError, RecursionError), match="`path` must hold|recursion"):
        archive.weight_shapes(str(weights))


def test_overlapping_weights_are_refused(tmp_path):
    path = tmp_path / "some.weights.h5"
    with h5py.File(path, "w") as file:
        for i in range(8):
            file.create_dataset(str(i), data=np.full([2**16], i, "f4"))
        places = [file[str(i)].id.get_offset() for i in range(8)]
    data = path.read_bytes()
    # All of them at the place of the first, and the others cut off.
    for place in places[1:]:
        data = data.replace(struct.pack("<Q", place), struct.pack("<Q", places[0]))
    assert data.count(struct.pack("<Q", places[0])) >= 8
    path.write_bytes(data[: places[1]])
    with pytest.raises((ValueError, OSError)):
        archive.weight_shapes(str(path))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "int8", "uint8", "bool"])
def test_weights_of_all_dtypes_of_keras_are_read(dtype, tmp_path):
    class Holder(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.held = self.add_weight(shape=(2, 3), dtype=dtype, initializer="ones")
            self.built = True

    model = keras.Sequential([keras.Input([2]), Holder()])
    model.save_weights(tmp_path / "some.weights.h5")
    assert (2, 3) in archive.weight_shapes(str(tmp_path / "some.weights.h5"))
