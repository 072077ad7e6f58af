"""Densities that leave no memory behind: 1,000 calls of log_prob of every registered flow.

Each flow is called eagerly and compiled, first to warm up, then while the size of the process is
watched.

python tests/campaigns/memory.py [--calls 1000] [--only TEXT]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import functools
import pathlib
import sys

import growth
import tensorflow as tf

sys.path.append(str(pathlib.Path(__file__).parents[1]))

import registry

_ROWS = 100
_SIZE = 6


def main() -> int:
    """Prints a line for each flow; returns 1 where one makes the process grow."""
    arguments = _options().parse_args()
    cases = [case for case in registry.DISTRIBUTIONS if arguments.only in case.name]
    if not cases:
        _options().error(f"no flow's name contains {arguments.only!r}")
    growths = [found for case in cases for found in _growths(case, arguments.calls)]
    return int(max(growths) > growth.SLACK)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--only", default="", metavar="TEXT", help="flows whose name contains it")
    return parser


def _growths(case: registry.DistributionCase, calls: int) -> list[float]:
    flow = case.build(_SIZE, "float32")
    registry.perturb(flow)
    kwargs = registry.distribution_kwargs(case, (_ROWS,), "float32")
    log_prob = functools.partial(flow.log_prob, **kwargs)
    x = registry.points((_ROWS, *flow.event_shape), "float32")
    found = [growth.growth(f, x, calls) for f in (log_prob, tf.function(log_prob))]
    eager, compiled = found
    print(f"{case.name}: eager {eager:.1f} MB, compiled {compiled:.1f} MB", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
