"""Errors of files that cannot be loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from packaging.version import InvalidVersion, Version

from tfp_genext._version import __version__

# Of a message that may hold all of a file.
_LONGEST = 1000
_LONGEST_VERSION = 50


def wrong(expected: str, received: Any) -> ValueError:
    """Returns the error of a file that is refused."""
    return ValueError(f"`path` must {expected}. Received: {_short(received)}")


@contextlib.contextmanager
def reading(version: Any = None, *, name: str = "path") -> Iterator[None]:
    """Converts errors inside the block to a `ValueError` that names the file.

    Args:
      version: of the package that wrote the file, as the file says it. If that is newer than this
        one, errors say so first. Default: not known, as in files from before versions were written.
      name: the argument that names the file.
    """
    try:
        yield
    except Exception as error:
        received = f"{type(error).__name__}: {_short(error)}"
        if _is_newer(version):
            raise wrong(
                f"hold what tfp_genext {__version__} can read",
                f"a file written by tfp_genext {version}, this is {__version__} ({received})",
            ) from error
        if str(error).startswith(("`path` must", f"`{name}` must")):
            raise ValueError(str(error).replace("`path`", f"`{name}`", 1)) from error
        expected = "hold what `tfp_genext` wrote. Received: data that cannot be read"
        raise ValueError(f"`{name}` must {expected} ({received})") from error


def _is_newer(version: Any) -> bool:
    """Returns whether a file's version is later than this package's; anything else is not."""
    # A file may hold anything in its place.
    if not isinstance(version, str) or len(version) > _LONGEST_VERSION:
        return False
    try:
        return Version(version) > Version(__version__)
    except InvalidVersion:
        return False


def _short(text: Any) -> str:
    """Returns a text without its middle, where Keras writes what the file holds."""
    text = str(text)
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"
