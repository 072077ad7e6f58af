"""The campaigns run, in a short form."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

CAMPAIGNS = pathlib.Path(__file__).parent
ROOT = CAMPAIGNS.parents[1]


def _run(name: str, *options: str) -> str:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, CAMPAIGNS / f"{name}.py", *options],
        env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_maf_endurance() -> None:
    printed = _run("maf_endurance", "--samples", "2000", "--calls", "20", "--epochs", "1")
    assert "2000 of 2000 samples are finite" in printed
    assert printed.count("calls of log_prob added") == 2


def test_memory() -> None:
    printed = _run("memory", "--calls", "20", "--only", "maf_conditional")
    assert printed.startswith("maf_conditional: eager ") and printed.count(" MB") == 2
