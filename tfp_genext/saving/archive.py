"""The files from which weights and models are read, looked through before anything is made."""

from __future__ import annotations

import inspect
import io
import math
import os
import zipfile
from typing import Any, BinaryIO

import h5py

from tfp_genext import budget, checks

_WEIGHTS = "model.weights.h5"


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
    """Returns how many bytes an archive takes up, after a look at all that is in it.

    Keras reads weights on the fly where a checksum is wrong, and then without one.

    Raises:
      ValueError: where a member is damaged, or much larger than what is stored of it, or where
        there are no weights in HDF5.
    """
    size = sum(member.compress_size for member in archive.infolist())
    limit = budget.for_file(size)
    for member in archive.infolist():
        limit.spend(member.file_size, f"the member {member.filename!r}")
    damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(checks.message("filepath", "a whole archive", f"damaged {damaged!r}"))
    if _WEIGHTS not in archive.namelist():
        expected = f"an archive with a member {_WEIGHTS!r}"
        raise ValueError(checks.message("filepath", expected, archive.namelist()))
    with archive.open(_WEIGHTS) as stream:
        # Going to and fro in what is compressed takes a new start each time.
        stored = archive.getinfo(_WEIGHTS).compress_type == zipfile.ZIP_STORED
        _check_weights(stream if stored else io.BytesIO(stream.read()))  # type: ignore[arg-type]
    return size


def check_weights(path: Any) -> None:
    """Looks through a file of weights, or a whole model, of which the weights are to be read.

    Raises:
      ValueError: where it is damaged, or claims to be much larger than what is stored of it.
    """
    path = os.fspath(path)
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
            declared = math.prod(item.shape or ()) * item.dtype.itemsize
            limit = budget.for_file(item.id.get_storage_size())
            limit.spend(declared, f"the dataset {name!r}")

    with h5py.File(stream, "r") as file:
        file.visititems(check)
