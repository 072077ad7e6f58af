"""Benchmark of neural spline and neural autoregressive flows: training and sampling.

Spline flows are compared to flows built from TFP's bijectors. A neural autoregressive flow, which
TFP has no bijectors for, is compared to a MAF with the same networks.

python benchmarks/neural.py [--rounds 15] [--json FILE] [--only TEXT] [--quick]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Iterator

import flow_rows
import flow_sides
import harness
import neural_sides as sides_lib
import tensorflow as tf
from harness import Row
from neural_sides import Ours, Sizes

import tfp_genext as gx

_FEW = 5


def main() -> None:
    """Runs all rows."""
    arguments = harness.options(__doc__, rounds=15).parse_args()
    harness.run(_rows(Sizes.tiny() if arguments.quick else Sizes()), arguments)


def _rows(sizes: Sizes) -> Iterator[Row]:
    yield from _spline_rows(sizes, "autoregressive splines", autoregressive=True)
    yield from _spline_rows(sizes, "coupled splines", autoregressive=False)
    yield from _sigmoidal_rows(sizes)


def _spline_rows(sizes: Sizes, kind: str, *, autoregressive: bool) -> Iterator[Row]:
    sides = sides_lib.spline_sides(sizes, autoregressive=autoregressive)
    pairs = (("ours", "TFP"),)
    for jit_compile, mode in ((False, "plain"), (True, "XLA")):
        steps = flow_rows.training(sides, sizes, jit_compile=jit_compile)
        yield Row(f"training step, {kind}, batch {sizes.batch}, {mode}", steps, pairs)
    yield Row(f"log_prob, {kind}, {sizes.rows} rows", flow_rows.log_prob(sides, sizes), pairs)
    samples = {name: flow_rows.sampler(side.sample, sizes.rows) for name, side in sides.items()}
    yield Row(f"sample, {kind}, {sizes.rows} rows", samples, pairs, rounds=_FEW)


def _sigmoidal_rows(sizes: Sizes) -> Iterator[Row]:
    plain = gx.transformers.DeepSigmoidal(num_units=sizes.units)
    dense = gx.transformers.DeepDenseSigmoidal(num_units=sizes.dense_units)
    sides = {
        "NAF": Ours(sizes, gx.flows.naf, transformer=plain),
        "NAF, dense": Ours(sizes, gx.flows.naf, transformer=dense),
        "MAF": Ours(sizes, gx.flows.maf),
    }
    pairs = (("NAF", "MAF"), ("NAF, dense", "MAF"))
    for jit_compile, mode in ((False, "plain"), (True, "XLA")):
        steps = flow_rows.training(sides, sizes, jit_compile=jit_compile)
        yield Row(f"training step, sigmoids, batch {sizes.batch}, {mode}", steps, pairs)
    naf, noise = sides["NAF"], flow_sides.batch(sizes, sizes.rows)
    watches = {
        "forward": flow_rows.watch(tf.function(naf.distribution.bijector.forward), noise),
        "log_prob": flow_rows.watch(tf.function(naf.log_prob), noise),
    }
    name = f"forward by root finding, NAF, {sizes.rows} rows"
    yield Row(name, watches, (("forward", "log_prob"),), rounds=_FEW)


if __name__ == "__main__":
    main()
