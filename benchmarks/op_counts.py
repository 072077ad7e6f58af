"""Counts of operations in the traced graphs of Real NVP: ours, TFP's and the one by hand.

    python benchmarks/op_counts.py [--optimized] [--quick]

`--optimized` counts the operations after TensorFlow's graph optimizer instead of the traced ones.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import collections
from collections.abc import Callable, Iterator
from typing import Any

import flow_sides
import harness
import real_nvp_sides as sides_lib
import tensorflow as tf
from flow_sides import Flow
from real_nvp_sides import Sizes
from tensorflow.python.eager import context

_SKIPPED = frozenset({"NoOp", "Placeholder", "_Arg", "_Retval"})


def main() -> None:
    """Prints a table for each function."""
    arguments = _arguments()
    sizes = Sizes.tiny() if arguments.quick else Sizes()
    count = _optimized if arguments.optimized else _traced
    sides = sides_lib.trained_sides(sizes)
    for name, function in _functions(sizes):
        counts = {side: count(*function(flow)) for side, flow in sides.items()}
        print(f"\n{name}\n\n{_table(counts)}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--optimized", action="store_true", help="count what is run")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the program")
    return parser.parse_args()


def _functions(sizes: Sizes) -> Iterator[tuple[str, Callable[[Flow], tuple[Any, tf.Tensor]]]]:
    """Yields named factories: side to traced function and argument."""
    x = flow_sides.batch(sizes, sizes.batch)
    seed = tf.constant([1, 2])
    n = sizes.rows
    yield "training step", lambda f: (flow_sides.training_step(f, jit_compile=False), x)
    yield "log_prob", lambda f: (tf.function(f.log_prob), x)
    yield "sample", lambda f: (tf.function(lambda s: f.sample(n, s)), seed)
    yield (
        "sample with density",
        lambda f: (tf.function(lambda s: f.sample_and_log_prob(n, s)), seed),
    )


def _traced(function: Any, argument: tf.Tensor) -> collections.Counter:
    graph = function.get_concrete_function(argument).graph.as_graph_def()
    return _count(graph)


def _optimized(function: Any, argument: tf.Tensor) -> collections.Counter:
    # TensorFlow optimizes a graph, and reports it, in the first call.
    context.enable_run_metadata()
    function(argument)
    metadata = context.export_run_metadata()
    context.disable_run_metadata()
    graphs = [g for graphs in metadata.function_graphs for g in graphs.partition_graphs]
    return sum((_count(graph) for graph in graphs), collections.Counter())


def _count(graph: Any) -> collections.Counter:
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    return collections.Counter(node.op for node in nodes if node.op not in _SKIPPED)


def _table(counts: dict[str, collections.Counter]) -> str:
    operations = sorted(set().union(*counts.values()))
    rows = [[op, *(str(c[op]) for c in counts.values())] for op in operations]
    rows.append(["all", *(str(c.total()) for c in counts.values())])
    return harness.table(rows, ["operation", *counts])


if __name__ == "__main__":
    main()
