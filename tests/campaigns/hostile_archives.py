"""Changes to a `.keras` file as a whole, to its members, and to the weights inside."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import h5py
import hostile_configs
import numpy as np

CONFIG, WEIGHTS = "config.json", "model.weights.h5"

Members = dict[str, bytes]


def members(data: bytes) -> Members:
    """Returns what a `.keras` file holds."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts: Members, method: int = zipfile.ZIP_STORED) -> bytes:
    """Returns a `.keras` file of members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """Returns bytes of which a few bits are others."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def flipped_at_the_end(data: bytes, rng: np.random.Generator) -> bytes:
    """Returns bytes of which a bit is another where an archive keeps its directory."""
    start = len(data) - 300
    return data[:start] + flipped(data[start:], rng)


def truncated(data: bytes, rng: np.random.Generator) -> bytes:
    """Returns the beginning or the end of bytes."""
    place = int(rng.integers(len(data)))
    return data[:place] if rng.random() < 0.7 else data[place:]


def zeroed(data: bytes, rng: np.random.Generator) -> bytes:
    """Returns bytes with zeros in the place of some, or with some in between."""
    start, size = int(rng.integers(len(data))), int(rng.integers(1, 5000))
    skipped = size if rng.random() < 0.7 else 0
    return data[:start] + bytes(size) + data[start + skipped :]


def mixed(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Returns an archive whose members are swapped, lost, doubled, renamed or another's."""
    parts, others = members(data), members(other)
    way = int(rng.integers(8))
    if way == 0:
        parts[CONFIG], parts[WEIGHTS] = parts[WEIGHTS], parts[CONFIG]
    elif way == 1:
        parts[WEIGHTS] = others[WEIGHTS]
    elif way == 2:
        parts[CONFIG] = others[CONFIG]
    elif way == 3:
        del parts[sorted(parts)[int(rng.integers(len(parts)))]]
    elif way == 4:
        parts[sorted(parts)[int(rng.integers(len(parts)))]] = b""
    elif way == 5:
        parts[WEIGHTS.upper()] = parts.pop(WEIGHTS)
    elif way == 6:
        parts["model.weights.npz"] = parts.pop(WEIGHTS)
    else:
        return _doubled(parts, others, int(rng.integers(2)))
    return packed(parts)


def _doubled(parts: Members, others: Members, which: int) -> bytes:
    """Returns an archive with two members of a name, of which the second is another's."""
    name = (CONFIG, WEIGHTS)[which]
    buffer = io.BytesIO(packed(parts))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, others[name])
    return buffer.getvalue()


def more_members(data: bytes, rng: np.random.Generator) -> bytes:
    """Returns an archive with members outside its own directory, or such as swell."""
    parts = members(data)
    names = ["../../up", "/tmp/up", "assets/../../up", "assets/x", "__init__.py", "x\x00y"]
    for _ in range(int(rng.integers(1, 4))):
        parts[names[int(rng.integers(len(names)))]] = b"x"
    if rng.random() < 0.5:
        parts["assets/swell"] = bytes(int(rng.integers(1, 300)) * 2**20)
        return packed(parts, zipfile.ZIP_DEFLATED)
    return packed(parts)


def repacked(data: bytes, rng: np.random.Generator) -> bytes:
    """Returns the same archive packed in another way, which is as good."""
    methods = [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    return packed(members(data), methods[int(rng.integers(3))])


def reconfigured(
    data: bytes, change: hostile_configs.Change, rng: np.random.Generator, *, text: bool = False
) -> bytes:
    """Returns an archive after a change to its configuration."""
    parts = members(data)
    if text:
        parts[CONFIG] = change(parts[CONFIG], rng)
    else:
        parts[CONFIG] = hostile_configs.changed(parts[CONFIG], change, rng)
    return packed(parts)


def reweighted(data: bytes, change: Callable, rng: np.random.Generator) -> bytes:
    """Returns an archive after a change to the HDF5 file of its weights."""
    parts = members(data)
    parts[WEIGHTS] = changed_weights(parts[WEIGHTS], change, rng)
    return packed(parts)


def changed_weights(data: bytes, change: Callable, rng: np.random.Generator) -> bytes:
    """Returns an HDF5 file after a change to it or to its bytes."""
    if change in (flipped, truncated, zeroed):
        return change(data, rng)
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "a") as file:
        names: list[str] = []
        file.visit(names.append)
        change(file, names, rng)
    return buffer.getvalue()


def _dataset(file: h5py.File, names: list[str], rng: np.random.Generator) -> str:
    found = [name for name in names if isinstance(file[name], h5py.Dataset)]
    return found[int(rng.integers(len(found)))]


def _lost(file: h5py.File, names: list[str], rng: np.random.Generator) -> None:
    del file[names[int(rng.integers(len(names)))]]


def _swapped(file: h5py.File, names: list[str], rng: np.random.Generator) -> None:
    first, second = (names[int(rng.integers(len(names)))] for _ in range(2))
    if first not in second and second not in first:
        file.move(first, "aside")
        file.move(second, first)
        file.move("aside", second)


def _other_numbers(file: h5py.File, names: list[str], rng: np.random.Generator) -> None:
    name = _dataset(file, names, rng)
    shape = file[name].shape
    del file[name]
    kinds = ["float64", "int8", "complex64", "S10", "bool", "float16"]
    shapes = [shape, (), (0,), (*shape, 1), (2, *shape), (7,)]
    values = np.full(shapes[int(rng.integers(len(shapes)))], float(rng.choice([1.0, np.nan, 1e38])))
    with np.errstate(all="ignore"):
        file[name] = values.astype(kinds[int(rng.integers(len(kinds)))])


def _huge(file: h5py.File, names: list[str], rng: np.random.Generator) -> None:
    name = _dataset(file, names, rng)
    del file[name]
    sizes = [(2**28,), (2**15, 2**14), (2**30 - 1,), (2**40,), (2**20, 2**20)]
    options = {"chunks": True} if rng.random() < 0.5 else {}
    shape = sizes[int(rng.integers(len(sizes)))]
    file.create_dataset(name, shape=shape, dtype="float32", fillvalue=1.0, **options)


def _linked(file: h5py.File, names: list[str], rng: np.random.Generator) -> None:
    name = names[int(rng.integers(len(names)))]
    way = int(rng.integers(5))
    shape = getattr(file[name], "shape", (3,))
    del file[name]
    if way == 0:
        file[name] = h5py.SoftLink("/" + names[0])
    elif way == 1:
        file[name] = h5py.ExternalLink("/etc/passwd", "/")
    elif way == 2:
        file[name] = file["/"]
    elif way == 3:
        file.create_dataset(name, shape=shape, dtype="f4", external=[("/etc/passwd", 0, 10**6)])
    else:
        layout = h5py.VirtualLayout(shape=(3,), dtype="f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(3,))
        file.create_virtual_dataset(name, layout)


def _group(file: h5py.File, names: list[str], rng: np.random.Generator) -> None:
    name = names[int(rng.integers(len(names)))]
    was_group = isinstance(file[name], h5py.Group)
    del file[name]
    if was_group:
        file.create_dataset(name, data=np.ones(3))
    else:
        file.create_group(name)


WEIGHT_CHANGES: dict[str, Callable] = {
    "bits of the weights": flipped,
    "weights cut off": truncated,
    "weights zeroed": zeroed,
    "lost weights": _lost,
    "swapped weights": _swapped,
    "weights of another kind": _other_numbers,
    "weights that claim to be huge": _huge,
    "linked weights": _linked,
    "groups for weights": _group,
}
