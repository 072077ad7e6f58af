"""Benchmark of importing tfp_genext, relative to importing its dependencies, in new processes.

python benchmarks/importing.py [--rounds 15] [--json FILE] [--quick]
"""

from __future__ import annotations

import functools
import subprocess
import sys

import harness

# TFP imports its modules lazily, but `import tfp_genext` needs them at once.
_STATEMENTS = {
    "tfp_genext": "import tfp_genext",
    "TF, TFP, Keras": "import tensorflow, keras, tensorflow_probability as t; t.distributions",
}


def main() -> None:
    """Runs the benchmark's only row."""
    harness.run([_row()], harness.options(__doc__, rounds=15).parse_args())


def _row() -> harness.Row:
    sides = {name: harness.timed(functools.partial(_run, s)) for name, s in _STATEMENTS.items()}
    return harness.Row("importing", sides, [tuple(_STATEMENTS)])


def _run(statement: str) -> None:
    subprocess.run([sys.executable, "-c", statement], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
