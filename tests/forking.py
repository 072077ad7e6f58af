"""Runs programs in processes of their own, without importing TensorFlow anew for each.

A process that has imported what they all need, and has run nothing, forks for each of them: to
import takes longer than most trials of a program.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

# Time enough on a busy machine: only what hangs is ended.
_SECONDS = 3600


class Launcher:
    """Starts programs, one at a time.

    Args:
      flags: of the interpreter, `-W` and the like.
      path: where programs find modules beside their own directory.
    """

    def __init__(self, flags: Sequence[str] = (), path: Sequence[pathlib.Path] = ()) -> None:
        before = os.environ.get("PYTHONPATH", "")
        found = os.pathsep.join([*map(str, path), before])
        self._process = subprocess.Popen(
            [sys.executable, *flags, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": found, "TF_CPP_MIN_LOG_LEVEL": "3"},
            text=True,
        )

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(
        self,
        program: pathlib.Path,
        arguments: Sequence[Any],
        cwd: pathlib.Path,
        *,
        code: int = 0,
    ) -> str:
        """Returns what a program prints; another exit code, or too long a time, is an error."""
        with tempfile.TemporaryDirectory() as directory:
            printed, errors = (pathlib.Path(directory, name) for name in ("printed", "errors"))
            job = [[str(part) for part in (program, *arguments)], *map(str, (cwd, printed, errors))]
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            found = self._process.stdout.readline()
            if not found:
                raise RuntimeError("the launcher has ended; its errors are among those of the test")
            assert int(found) == code, f"{program} ended with {found}{errors.read_text('utf-8')}"
            return printed.read_text("utf-8")


def _serve() -> None:
    """Forks for each line of the input, and answers with the exit code."""
    for line in iter(sys.stdin.readline, ""):
        with warnings.catch_warnings():
            # Newer versions of Python warn of threads, which NumPy has, idle.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            _become(*json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(command: list[str], cwd: str, printed: str, errors: str) -> None:
    signal.alarm(_SECONDS)
    os.chdir(cwd)
    for number, path, mode in ((0, os.devnull, "r"), (1, printed, "w"), (2, errors, "w")):
        with open(path, mode) as file:
            os.dup2(file.fileno(), number)
    sys.argv = command
    sys.path[0] = os.path.dirname(command[0])
    runpy.run_path(command[0], run_name="__main__")


def _import_what_all_need() -> None:
    for name in ("tfp_genext", "matplotlib.pyplot", "sklearn.datasets"):
        importlib.import_module(name)
    # Its threads would not be there in a fork.
    context = importlib.import_module("tensorflow.python.eager.context")
    assert context.context_safe() is None, "TensorFlow must not run before a fork"


if __name__ == "__main__":
    _import_what_all_need()
    _serve()
