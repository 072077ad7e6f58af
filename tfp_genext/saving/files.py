"""Atomic writing of files and directories.

A writer writes to a hidden directory beside the target, and renames the result. If a process is
killed, its hidden directory stays behind, and the next writer in the same place removes it. A lock
on the directory tells whether its writer lives. On Linux two directories are exchanged in one step,
so that a version that is overwritten never disappears in between.
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
    """Gives a file name to write to; the file becomes `path` in one rename, or not at all."""
    # A symbolic link stays one.
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
    """Gives a directory to write; it becomes `path` in one rename, or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # The name is not an integer, so that a server does not take it for a version.
    with _staging(os.path.dirname(path), ".export-") as staging:
        written = os.path.join(staging, "written")
        yield written
        try:
            os.rename(written, path)
        except OSError as error:
            if not os.path.lexists(path):
                raise
            if not overwrite:  # Another writer was faster.
                expected = "a directory that does not exist, unless `overwrite=True`"
                received = f"{path}, which appeared meanwhile"
                raise FileExistsError(checks.message("filepath", expected, received)) from error
            if not _exchanged(written, path):
                _replace(written, path, os.path.join(staging, _REPLACED))


def _exchanged(one: str, other: str) -> bool:
    """Exchanges two directories in one step, and returns whether the system can do that."""
    if sys.platform != "linux":
        return False
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    names = _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other)
    return exchange is not None and exchange(*names, _RENAME_EXCHANGE) == 0


def _replace(written: str, path: str, aside: str) -> None:
    """Replaces a directory by another in two steps; a failure puts the old one back."""
    os.rename(path, aside)
    try:
        os.rename(written, path)
    except OSError:
        os.rename(aside, path)
        raise
    # It is no longer the only copy of a version, so the next writer may remove it.
    os.rename(aside, written)


@contextlib.contextmanager
def _staging(parent: str, prefix: str) -> Iterator[str]:
    """Gives a directory that is removed at the end, or by the next writer after a kill."""
    _remove_leftovers(parent, prefix)
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
        # Before it was locked, another writer may have taken it for a leftover.
        if os.path.isdir(directory):
            return directory, lock
        _unlock(lock)


def _remove_leftovers(parent: str, prefix: str) -> None:
    """Removes the directories of writers that were killed."""
    for directory in glob.glob(os.path.join(glob.escape(parent), prefix + "?" * 8)):
        lock = _lock(directory, wait=False)
        # A writer that was killed between two renames leaves the only copy of a version there.
        if lock is not None and not os.path.lexists(os.path.join(directory, _REPLACED)):
            shutil.rmtree(directory, ignore_errors=True)
        _unlock(lock)


def _lock(directory: str, *, wait: bool) -> int | None:
    """Returns a lock on a directory; `None` if another process has it, or there are no locks."""
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
