"""What Python does while a file is loaded: code that runs, files that are written, connections."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Collection
from typing import Any

_NEVER = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.kill",
    "os.chmod",
    "os.putenv",
    "subprocess.Popen",
    "pty.spawn",
    "pickle.find_class",
    "webbrowser.open",
    "urllib.Request",
)
_CHANGES = (
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
)
# What hostile files would have written if anything ran.
ASKED_FOR = "RUN"
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Takes down, inside its block, what no load may do.

    Args:
      modules: what may be imported, or is already.
      temporary: where files may be written.
    """

    def __init__(self, modules: Collection[str], temporary: pathlib.Path) -> None:
        self.seen: list[str] = []
        self._modules = modules
        self._temporary = (str(temporary.resolve()), os.devnull)
        self._trusted = (sys.prefix, sys.base_prefix, str(pathlib.Path(__file__).parents[2]))
        self._read = (*self._trusted, *self._temporary, "/proc", "/sys", "/usr", "/etc/mime.types")
        self._armed = False
        sys.addaudithook(self._hook)

    def __enter__(self) -> Watch:
        self._armed = True
        return self

    def __exit__(self, *_: object) -> None:
        self._armed = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        self._armed = False  # What this looks at makes events of its own.
        try:
            if self._is_wrong(event, arguments):
                self.seen.append(f"{event} {str(arguments)[:200]}")
        finally:
            self._armed = True

    def _is_wrong(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            return self._opens(*arguments)
        if event == "import":
            return not self._may_import(arguments[0])
        if event in ("exec", "compile"):
            name = arguments[0].co_filename if event == "exec" else arguments[1]
            return not self._is_code_of_ours(name)
        if event in _CHANGES:
            return not _whole_path(*arguments[:1], *arguments[-1:]).startswith(self._temporary)
        return event in _NEVER or event.startswith("socket.")

    def _opens(self, path: Any, mode: str | None, flags: int) -> bool:
        if isinstance(path, int):
            return False
        name = os.path.abspath(os.fsdecode(path))
        if flags & _WRITES or any(letter in (mode or "") for letter in "wax+"):
            return not name.startswith(self._temporary) or os.path.basename(name) == ASKED_FOR
        return not name.startswith(self._read)

    def _may_import(self, name: str) -> bool:
        return name in self._modules or name.split(".")[0] in sys.stdlib_module_names

    def _is_code_of_ours(self, name: Any) -> bool:
        name = os.fsdecode(name) if isinstance(name, (str, bytes)) else ""
        # Dataclasses and named tuples write functions of their own.
        return name.startswith(("<frozen", "<string>", *self._trusted, *self._temporary))


def _whole_path(path: Any, directory: Any) -> str:
    """Returns a path that may begin at an open directory, and does where that is not -1."""
    start = f"/proc/self/fd/{directory}" if isinstance(directory, int) and directory >= 0 else "."
    return os.path.join(os.path.realpath(start), os.fsdecode(path))
