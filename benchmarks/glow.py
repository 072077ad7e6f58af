"""Benchmark of Glow: training and sampling, relative to TFP's Glow of the same size.

python benchmarks/glow.py [--rounds 10] [--json FILE] [--only TEXT] [--quick]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Iterator, Mapping

import flow_rows
import flow_sides
import glow_sides as sides_lib
import harness
import tensorflow as tf
from flow_sides import Transformed
from glow_sides import Sizes
from harness import Row

_OURS_OF_TFP = (("ours", "TFP"),)


def main() -> None:
    """Runs all rows."""
    arguments = harness.options(__doc__, rounds=10).parse_args()
    sizes = Sizes.tiny() if arguments.quick else Sizes()
    sides = sides_lib.sides(sizes)
    for name, side in sides.items():
        print(f"{name}: {sides_lib.number_of_parameters(side):,} parameters")
    harness.run(_rows(sides, sizes), arguments)


def _rows(sides: Mapping[str, Transformed], sizes: Sizes) -> Iterator[Row]:
    x, n = sides_lib.images(sizes), sizes.batch
    steps = {
        name: flow_sides.training_step(side, jit_compile=False) for name, side in sides.items()
    }
    watches = {name: flow_rows.watch(step, x) for name, step in steps.items()}
    yield Row(f"training step, batch {n}", watches, _OURS_OF_TFP, 0.5)
    samples = {name: flow_rows.sampler(side.sample, n) for name, side in sides.items()}
    yield Row(f"sample, {n} images", samples, _OURS_OF_TFP, 0.5)
    densities = {
        name: flow_rows.watch(tf.function(side.log_prob), x) for name, side in sides.items()
    }
    yield Row(f"log_prob, {n} images", densities, _OURS_OF_TFP)
    pairs = {name: flow_rows.sampler(side.sample_and_log_prob, n) for name, side in sides.items()}
    yield Row(f"sample with density, {n} images", pairs, _OURS_OF_TFP)
    yield flow_rows.density_of_samples(sides["ours"], n, f"our sample, {n} images")


if __name__ == "__main__":
    main()
