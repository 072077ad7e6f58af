"""Benchmark of Real NVP: ours relative to TFP's and to plain TensorFlow.

python benchmarks/real_nvp.py [--rounds 40] [--json FILE] [--only TEXT] [--quick]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import functools
from collections.abc import Iterator

import flow_rows
import harness
import real_nvp_sides as sides_lib
from harness import Row
from real_nvp_sides import Sizes


def main() -> None:
    """Runs all rows."""
    arguments = harness.options(__doc__).parse_args()
    harness.run(_rows(Sizes.tiny() if arguments.quick else Sizes()), arguments)


def _rows(sizes: Sizes) -> Iterator[Row]:
    sides = sides_lib.trained_sides(sizes)
    n = sizes.rows
    for jit_compile, kind, target in ((False, "plain", 0.6), (True, "XLA", None)):
        steps = flow_rows.training(sides, sizes, jit_compile=jit_compile)
        yield Row(f"training step, batch {sizes.batch}, {kind}", steps, flow_rows.ALL, target)
    samples = {name: flow_rows.sampler(flow.sample, n) for name, flow in sides.items()}
    pairs = {name: flow_rows.sampler(flow.sample_and_log_prob, n) for name, flow in sides.items()}
    yield Row(f"log_prob, {n} rows", flow_rows.log_prob(sides, sizes), flow_rows.ALL)
    yield Row(f"sample, {n} rows", samples, flow_rows.ALL)
    yield Row(f"sample with density, {n} rows", pairs, flow_rows.ALL, 0.6)
    yield flow_rows.density_of_samples(sides["ours"], n, f"our sample, {n} rows")
    yield flow_rows.fit(lambda: sides_lib.Ours(sizes).distribution, sizes)
    kinds = {"ours": sides_lib.Ours, "TFP": sides_lib.TFP, "by hand": sides_lib.ByHand}
    yield from flow_rows.start_up(
        {name: functools.partial(kind, sizes) for name, kind in kinds.items()}, sizes
    )


if __name__ == "__main__":
    main()
