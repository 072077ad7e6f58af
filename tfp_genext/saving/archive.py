"""Checks of files of models and weights before Keras reads them.

A `.keras` file is a zip archive of a configuration in JSON and of weights in HDF5. Keras writes
both in one way, of the many that the two formats have, and only that way is taken. So nothing is
read that is larger than what is stored of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import os
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import h5py

from tfp_genext.saving.errors import wrong

WEIGHTS = "model.weights.h5"
_CONFIG, _METADATA = "config.json", "metadata.json"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Bytes that are read at once, among them the archive's directory.
_CHUNK = 2**20
_METADATA_SIZE = 2**16
# Of Python's memory for a list, dict or entry of one: an upper bound, in bytes.
_ENTRY = 512
_LAYOUTS = (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS)
# Keras writes bfloat16 and numbers of 8 bits as bytes, with the dtype beside them.
_BYTES = (1, 2)


@dataclasses.dataclass(frozen=True)
class Contents:
    """Checked contents of a `.keras` file.

    Args:
      config: its configuration.
      weights: an HDF5 file.
    """

    config: dict[str, Any]
    weights: bytes


class _File(io.FileIO):
    """File wrapper that limits single reads, and so the size of the zip directory."""

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(_CHUNK + 1 if size is None or not 0 <= size <= _CHUNK else size)
        if len(found) > _CHUNK:
            raise wrong("be an archive whose directory has at most 1 MiB", "more")
        return found


def default_size(path: str) -> int:
    """Returns the number of bytes that a file of this size may take when it is loaded."""
    return 4 * os.path.getsize(path) + 64 * 2**20


def contents(path: str, max_bytes: int) -> Contents:
    """Returns what a `.keras` file holds, if that is no more than a quarter of `max_bytes`.

    Raises:
      ValueError: if a part is missing, damaged, larger than what is stored of it, or too large.
    """
    with _File(path) as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = sorted(member.filename for member in members)
        if names not in ([_CONFIG, WEIGHTS], [_CONFIG, _METADATA, WEIGHTS]):
            expected = f"be an archive with the members {_CONFIG}, {_METADATA} and {WEIGHTS} alone"
            raise wrong(expected, names)
        if sum(member.file_size for member in members) > max_bytes // 4:
            expected = f"hold at most {max_bytes // 4} bytes, a quarter of `max_bytes`"
            raise wrong(expected, {member.filename: member.file_size for member in members})
        texts = {member.filename: _content(archive, member) for member in members}
    _check_config_text(texts[_CONFIG], max_bytes)
    _check_config_text(texts.get(_METADATA, b"{}"), _METADATA_SIZE)
    config = json.loads(texts.pop(_CONFIG))
    if not isinstance(config, dict):
        raise wrong("hold the configuration of a model", config)
    return Contents(config, texts[WEIGHTS])


@contextlib.contextmanager
def weights(path: str) -> Iterator[h5py.File]:
    """Opens the weights in a `.weights.h5` or `.keras` file, after checks.

    Raises:
      ValueError: if it is of another kind, damaged, or not as Keras writes it.
    """
    if not path.endswith((".weights.h5", ".keras")) or not os.path.isfile(path):
        raise wrong("be a file whose name ends in '.weights.h5' or '.keras'", path)
    whole = path.endswith(".keras")
    stream = io.BytesIO(contents(path, default_size(path)).weights) if whole else path
    weight_shapes(stream)
    with h5py.File(stream, "r") as file:
        yield file


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Reads a member of the archive, at most as many bytes as it declares."""
    if member.compress_type not in _METHODS or member.flag_bits & 1:
        expected = "be an archive that is stored or deflated, and not encrypted"
        raise wrong(expected, f"{member.filename}, method {member.compress_type}")
    found = bytearray()
    with archive.open(member) as stream:
        while part := stream.read(_CHUNK // 2):
            found += part
    if len(found) != member.file_size:
        expected = f"hold the {member.file_size} bytes that it declares of {member.filename}"
        raise wrong(expected, len(found))
    return bytes(found)


def _check_config_text(text: bytes, max_bytes: int) -> None:
    """Raises `ValueError` if the text of a configuration has too many entries to be parsed."""
    entries = sum(text.count(sign) for sign in (b",", b"[", b"{"))
    if entries * _ENTRY > max_bytes:
        expected = f"have a configuration of at most {max_bytes // _ENTRY} entries"
        raise wrong(f"{expected}, unless `max_bytes` allows more", entries)


def weight_shapes(stream: BinaryIO | str) -> list[tuple[int, ...]]:
    """Returns the shapes of all data sets in a file of weights, which are not read.

    Raises:
      ValueError: if one is not stored as Keras writes it, in full and once.
    """
    with h5py.File(stream, "r") as file:
        found = list(_datasets(file, set()))
        declared = sum(math.prod(d.shape) * d.dtype.itemsize for d in found)
        if declared > file.id.get_filesize():
            raise wrong("hold weights that do not overlap", f"{declared} bytes of weights")
        return [dataset.shape for dataset in found]


def _datasets(group: h5py.Group, seen: set[int]) -> Iterator[h5py.Dataset]:
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise wrong("hold weights without links", name)
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise wrong("hold each of its weights once", item.name)
        seen.add(address)
        if isinstance(item, h5py.Group):
            yield from _datasets(item, seen)
        else:
            _check_dataset(item)
            yield item


def _check_dataset(item: Any) -> None:
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        raise wrong("hold groups and arrays alone", item)
    attributes = [h5py.h5a.open(item.id, name.encode()) for name in item.attrs]
    if any(attribute.shape for attribute in attributes):
        raise wrong("hold weights whose attributes are single values", item.name)
    kind = item.dtype.kind
    as_bytes = kind == "V" and item.dtype.fields is None and item.dtype.itemsize in _BYTES
    if kind not in "fiub" and not (as_bytes and "dtype" in item.attrs):
        raise wrong("hold real numbers, as weights are", f"{item.name}: {item.dtype}")
    plan = item.id.get_create_plist()
    stored, declared = item.id.get_storage_size(), math.prod(item.shape) * item.dtype.itemsize
    if plan.get_layout() not in _LAYOUTS or plan.get_external_count() or stored != declared:
        expected = "hold weights in full, in one piece and not packed"
        raise wrong(expected, f"{item.name}: {declared} bytes, of which {stored} are stored")
