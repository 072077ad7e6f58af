"""Files and directories that appear whole or not at all.

What is being written stands in a hidden directory beside its place, and is moved there when it is
whole. A process that is killed leaves its hidden directory behind; the next writer in the same
place removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

from tfp_genext.core import checks

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_REPLACED = "replaced"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[str]:
    """Gives a file name to write to that becomes `path` in one rename, or not at all."""
    # A link stays one.
    path = os.path.realpath(checks.path("filepath", path))
    if not os.path.isdir(os.path.dirname(path)) or os.path.isdir(path):
        expected = "a file in a directory that exists"
        raise FileNotFoundError(checks.message("filepath", expected, path))
    with _staging(os.path.dirname(path), ".saving-") as directory:
        # Keras reads the format from the end of the name.
        written = os.path.join(directory, os.path.basename(path))
        yield written
        os.replace(written, path)


@contextlib.contextmanager
def replacing_directory(path: str, *, overwrite: bool) -> Iterator[str]:
    """Gives a directory to write that becomes `path` in one rename, or not at all."""
    parent = os.path.dirname(path)
    os.makedirs(parent, exist_ok=True)
    # No integer, so that a server that watches the parent takes it for no version.
    with _staging(parent, ".export-") as staging:
        written = os.path.join(staging, "written")
        yield written
        if overwrite and os.path.lexists(path):
            _replace(written, path, os.path.join(staging, _REPLACED))
            return
        try:
            os.rename(written, path)
        except OSError as error:
            # Another writer may have been faster.
            if not os.path.lexists(path):
                raise
            if not overwrite:
                expected = "a directory that does not exist, unless `overwrite=True`"
                received = f"{path}, which appeared meanwhile"
                raise FileExistsError(checks.message("filepath", expected, received)) from error
            _replace(written, path, os.path.join(staging, _REPLACED))


def _replace(written: str, path: str, aside: str) -> None:
    """Has a directory take the place of another."""
    if not _exchanged(written, path):
        _put_in_place(written, path, aside)


def _exchanged(one: str, other: str) -> bool:
    """Has two directories change places at one stroke, and returns whether the system can."""
    if sys.platform != "linux":
        return False
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    names = _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other)
    return exchange is not None and exchange(*names, _RENAME_EXCHANGE) == 0


def _put_in_place(written: str, path: str, aside: str) -> None:
    os.rename(path, aside)
    try:
        os.rename(written, path)
    except OSError:
        os.rename(aside, path)
        raise
    # No more the one copy of a version: whoever finds it may remove it.
    os.rename(aside, written)


@contextlib.contextmanager
def _staging(parent: str, prefix: str) -> Iterator[str]:
    """Gives a directory that is removed in the end, by the next writer if this one is killed."""
    _remove_what_the_dead_left(parent, prefix)
    directory, lock = _locked_directory(parent, prefix)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        _unlock(lock)


def _locked_directory(parent: str, prefix: str) -> tuple[str, int | None]:
    """Makes a directory with a lock that lives as long as this process."""
    while True:
        directory = tempfile.mkdtemp(prefix=prefix, dir=parent)
        lock = _lock(directory, wait=True)
        # Before it was locked, another writer may have taken it for one of the dead.
        if os.path.isdir(directory):
            return directory, lock
        _unlock(lock)


def _remove_what_the_dead_left(parent: str, prefix: str) -> None:
    for directory in glob.glob(os.path.join(glob.escape(parent), prefix + "?" * 8)):
        lock = _lock(directory, wait=False)
        # Killed between two renames, a writer may have left the one copy of a version there.
        if lock is not None and not os.path.lexists(os.path.join(directory, _REPLACED)):
            shutil.rmtree(directory, ignore_errors=True)
        _unlock(lock)


def _lock(directory: str, *, wait: bool) -> int | None:
    """Returns a lock on a directory; `None` where another has it, or the system knows none."""
    if fcntl is None:
        return None
    try:
        file = os.open(directory, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
