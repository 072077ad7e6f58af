"""Benchmark of MAF: sampling and training, relative to TFP's and to plain TensorFlow.

python benchmarks/maf.py [--rounds 40] [--json FILE] [--only TEXT] [--quick]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Iterator
from typing import Any

import flow_rows
import flow_sides
import harness
import maf_sides as sides_lib
import tensorflow as tf
from harness import Row, Stopwatch
from maf_sides import Sizes
from tensorflow_probability import distributions as tfd

from tfp_genext.networks.solve import traced

_FEW = 5


def main() -> None:
    """Runs all rows."""
    arguments = harness.options(__doc__).parse_args()
    deep, wide = Sizes(), Sizes.wide()
    if arguments.quick:
        deep, wide = Sizes.tiny(2, 4, layers=2), Sizes.tiny(3, 3, layers=1)
    harness.run(_rows(deep, wide), arguments)


def _rows(deep: Sizes, wide: Sizes) -> Iterator[Row]:
    yield from _sampling(deep, {"plain": 3.6, "XLA": 2.2}, {}, 1 / 6)
    yield from _sampling(wide, {"plain": 6.0, "XLA": 3.0}, {"plain": 4.0, "XLA": 8.0}, 1 / 70)
    yield from _training(deep)


def _sampling(sizes: Sizes, targets: dict, first_calls: dict, of_tfp: float) -> Iterator[Row]:
    sides = sides_lib.trained_sides(sizes)
    ours = sides["ours"]
    n = sizes.samples
    name = f"D = {sizes.features}, {n} rows"
    noise = flow_sides.batch(sizes, n)
    for kind, target in targets.items():
        watches = {
            "forward": flow_rows.watch(_forward(ours, kind), noise),
            "log_prob": flow_rows.watch(_compiled(ours.log_prob, kind), noise),
        }
        yield Row(f"forward, {name}, {kind}", watches, (("forward", "log_prob"),), target)
    for kind in targets:
        yield _first_call(ours, noise, name, kind, first_calls.get(kind))
    samples = {side: flow_rows.sampler(sides[side].sample, n) for side in ("ours", "TFP")}
    yield Row(f"sample, {name}", samples, (("ours", "TFP"),), of_tfp, rounds=_FEW)
    yield flow_rows.density_of_samples(ours, n, f"sample with density, {name}")


def _first_call(flow: Any, noise: tf.Tensor, name: str, kind: str, target: float | None) -> Row:
    def first(_: None) -> None:
        # All flows of the same size share one trace.
        traced.cache_clear()
        _forward(flow, kind)(noise)

    return Row(
        f"first call of forward, {name}, {kind}",
        {"first call": harness.timed_fresh(lambda: None, first), "a second": lambda: 1.0},
        (("first call", "a second"),),
        target,
        rounds=_FEW,
    )


def _forward(flow: Any, kind: str) -> Any:
    # A new function, so that each call traces again and does not use TFP's cache.
    return _compiled(lambda z: flow.distribution.bijector.forward(z), kind)


def _compiled(function: Any, kind: str) -> Any:
    return tf.function(function, jit_compile=kind == "XLA")


def _training(sizes: Sizes) -> Iterator[Row]:
    sides = sides_lib.trained_sides(sizes)
    plain, xla = (flow_rows.training(sides, sizes, jit_compile=jit) for jit in (False, True))
    yield Row(f"training step, batch {sizes.batch}, plain", plain, flow_rows.ALL, 0.6)
    yield Row(
        f"training step, batch {sizes.batch}, XLA",
        {**xla, "TFP, plain": plain["TFP"]},
        (("ours", "TFP, plain"), ("by hand", "TFP, plain"), *flow_rows.ALL),
        0.5,
    )
    theirs = flow_rows.bare_steps(sides["TFP"].distribution, sizes, jit_compile=False)
    for kind, target in (("plain", 0.6), ("XLA", 0.5)):
        yield _fit(sizes, kind, theirs, target)
    yield Row(f"log_prob, {sizes.rows} rows", flow_rows.log_prob(sides, sizes), flow_rows.ALL, 0.55)


def _fit(sizes: Sizes, kind: str, theirs: Stopwatch, target: float) -> Row:
    def ours() -> tfd.Distribution:
        return sides_lib.Ours(sizes).distribution

    jit_compile = kind == "XLA"
    watches = {
        "fit": flow_rows.epoch(ours(), sizes, jit_compile=jit_compile),
        "bare steps": flow_rows.bare_steps(ours(), sizes, jit_compile=jit_compile),
        "TFP's bare steps, plain": theirs,
    }
    *names, base = watches
    name = f"our fit, {sizes.steps} steps, Keras Adam, {kind}"
    return Row(name, watches, [(n, base) for n in names], target, rounds=flow_rows.LONG)


if __name__ == "__main__":
    main()
