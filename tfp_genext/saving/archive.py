"""The files from which weights and models are read, looked through before anything is made."""

from __future__ import annotations

import inspect
import io
import math
import os
import weakref
import zipfile
from typing import Any, BinaryIO

import h5py

from tfp_genext import budget
from tfp_genext.core import checks

_WEIGHTS = "model.weights.h5"

# Of archives that have been looked through, while they are open.
_sizes: weakref.WeakKeyDictionary[zipfile.ZipFile, int] = weakref.WeakKeyDictionary()


def opened() -> zipfile.ZipFile | None:
    """Returns the archive from which Keras is reading a model; `None` where it reads none.

    Keras gives `from_config` no file. So the archive is looked for where Keras holds it, among the
    variables of those functions of its own from which this call comes.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("keras.src.saving."):
            for value in frame.f_locals.values():
                if isinstance(value, zipfile.ZipFile):
                    return value
        frame = frame.f_back
    return None


def checked_size(archive: zipfile.ZipFile) -> int:
    """Returns how many bytes an archive takes up, after a look, the first time, at all that it has.

    Keras reads weights on the fly where a checksum is wrong, and then without one.

    Raises:
      BadZipFile: where a member is damaged.
      ValueError: where one is much larger than what is stored of it, or there are no weights in
        HDF5.
    """
    if archive not in _sizes:
        size = sum(member.compress_size for member in archive.infolist())
        limit = budget.for_file(size)
        for member in archive.infolist():
            limit.spend(member.file_size, f"the member {member.filename!r}")
        if _WEIGHTS not in archive.namelist():
            expected = f"an archive with a member {_WEIGHTS!r}"
            raise ValueError(checks.message("filepath", expected, archive.namelist()))
        for name in archive.namelist():
            content = archive.read(name)
            if name == _WEIGHTS:
                _check_weights(io.BytesIO(content))
        _sizes[archive] = size
    return _sizes[archive]


def check_weights(path: Any) -> None:
    """Looks through a file of weights, or a whole model, of which the weights are to be read.

    Raises:
      ValueError: where it is damaged, or claims to be much larger than what is stored of it.
    """
    path = checks.path("filepath", path)
    if not os.path.isfile(path):
        return  # Far away, or nowhere: Keras says so.
    if path.endswith(".keras"):
        with zipfile.ZipFile(path) as archive:
            checked_size(archive)
    elif path.endswith(".h5"):
        with open(path, "rb") as stream:
            _check_weights(stream)


def _check_weights(stream: BinaryIO) -> None:
    def check(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            if item.dtype.kind == "c":
                expected = "a file of real numbers, as weights are"
                raise ValueError(checks.message("filepath", expected, f"{name}: {item.dtype}"))
            declared = math.prod(item.shape or ()) * item.dtype.itemsize
            limit = budget.for_file(item.id.get_storage_size())
            limit.spend(declared, f"the dataset {name!r}")

    with h5py.File(stream, "r") as file:
        file.visititems(check)
