"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from tfp_genext import checks


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[str]:
    """Gives a file name to write to that becomes `path` in one rename, or not at all."""
    # A link stays one.
    path = os.path.realpath(os.fsdecode(path))
    if not os.path.isdir(os.path.dirname(path)) or os.path.isdir(path):
        expected = "a file in a directory that exists"
        raise FileNotFoundError(checks.message("filepath", expected, path))
    # Keras reads the format from the end of the name.
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=os.path.dirname(path)) as directory:
        written = os.path.join(directory, os.path.basename(path))
        yield written
        os.replace(written, path)
