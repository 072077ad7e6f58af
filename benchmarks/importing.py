"""Importing tfp_genext against importing what it stands on, each in a new process.

python benchmarks/importing.py [--rounds 15] [--json FILE] [--quick]
"""

from __future__ import annotations

import functools
import subprocess
import sys

import harness

# TFP loads its modules at the first look at one, which `import tfp_genext` cannot put off.
_STATEMENTS = {
    "tfp_genext": "import tfp_genext",
    "TF, TFP, Keras": "import tensorflow, keras, tensorflow_probability as t; t.distributions",
}


def main() -> None:
    """Runs the one row."""
    harness.run([_row()], harness.options(__doc__, rounds=15).parse_args())


def _row() -> harness.Row:
    sides = {name: harness.timed(functools.partial(_run, s)) for name, s in _STATEMENTS.items()}
    return harness.Row("importing", sides, [tuple(_STATEMENTS)])


def _run(statement: str) -> None:
    subprocess.run([sys.executable, "-c", statement], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
