"""Real NVP: ours against TFP's and against plain TensorFlow.

    python benchmarks/real_nvp.py [--rounds 40] [--json FILE] [--only TEXT] [--quick]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import harness
import keras
import real_nvp_sides as sides_lib
import tensorflow as tf
import tensorflow_probability as tfp
from real_nvp_sides import Flow, Sizes

import tfp_genext as gx

SEED = (1, 2)
_ALL = (("ours", "TFP"), ("by hand", "TFP"), ("ours", "by hand"))
_NO_FLOOR = (("ours", "TFP"),)
_IMPORTS = {
    "tfp_genext": "import tfp_genext",
    "TF, TFP, Keras": "import tensorflow, keras, tensorflow_probability as t; t.distributions",
    "TF, TFP, Keras, lazily": "import tensorflow, keras, tensorflow_probability",
}


def main() -> None:
    """Runs all rows."""
    arguments = harness.options(__doc__).parse_args()
    sizes = Sizes(5, 2, (4,), 8, 16) if arguments.quick else Sizes()
    harness.run(_rows(sizes, arguments.quick), arguments, _versions())


def _rows(sizes: Sizes, quick: bool) -> Iterator[harness.Row]:
    sides = sides_lib.trained_sides(sizes)
    yield from _training_rows(sides, sizes)
    yield from _evaluation_rows(sides, sizes)
    yield from _fit_rows(sizes, steps=2 if quick else 40)
    yield from _start_up_rows(sizes, None if quick else 15)
    yield _import_row(None if quick else 15)


def _training_rows(sides: Mapping[str, Flow], sizes: Sizes) -> Iterator[harness.Row]:
    x = sides_lib.batch(sizes, sizes.batch)
    for jit_compile, kind, target in ((False, "plain", 0.6), (True, "XLA", None)):
        steps = {n: sides_lib.training_step(flow, jit_compile) for n, flow in sides.items()}
        watches = {n: _watch(step, x, repeats=4) for n, step in steps.items()}
        yield harness.Row(f"training step, batch {sizes.batch}, {kind}", watches, _ALL, target)


def _evaluation_rows(sides: Mapping[str, Flow], sizes: Sizes) -> Iterator[harness.Row]:
    n = sizes.rows
    x = sides_lib.batch(sizes, n)
    log_probs = {name: _watch(tf.function(f.log_prob), x) for name, f in sides.items()}
    samples = {name: _sampler(f.sample, n) for name, f in sides.items()}
    pairs = {name: _sampler(f.sample_and_log_prob, n) for name, f in sides.items()}
    yield harness.Row(f"log_prob, {n} rows", log_probs, _ALL)
    yield harness.Row(f"sample, {n} rows", samples, _ALL)
    yield harness.Row(f"sample with density, {n} rows", pairs, _ALL, 0.6)
    with_density = {"with density": pairs["ours"], "sample": samples["ours"]}
    ratio = (("with density", "sample"),)
    yield harness.Row(f"our price of the density, {n} rows", with_density, ratio, 1.1)


def _sampler(function: Callable[..., Any], n: int) -> harness.Stopwatch:
    return _watch(tf.function(lambda seed: function(n, seed)), tf.constant(SEED))


def _watch(function: Callable[[Any], Any], x: tf.Tensor, repeats: int = 1) -> harness.Stopwatch:
    return harness.timed(lambda: _finish(function(x)), repeats)


def _finish(result: Any) -> None:
    tf.nest.flatten(result)[-1].numpy()


def _fit_rows(sizes: Sizes, steps: int) -> Iterator[harness.Row]:
    for jit_compile, kind in ((False, "plain"), (True, "XLA")):
        watches = {"fit": _fit(sizes, steps, jit_compile), "bare": _bare(sizes, steps, jit_compile)}
        yield harness.Row(f"our fit, {steps} steps, {kind}", watches, (("fit", "bare"),))


def _fit(sizes: Sizes, steps: int, jit_compile: bool) -> harness.Stopwatch:
    x = sides_lib.batch(sizes, steps * sizes.batch).numpy()
    model = gx.models.DensityModel(sides_lib.Ours(sizes).distribution)
    model.compile(optimizer=keras.optimizers.Adam(1e-5), jit_compile=jit_compile)
    return harness.timed(lambda: model.fit(x, batch_size=sizes.batch, epochs=1, verbose=0))


def _bare(sizes: Sizes, steps: int, jit_compile: bool) -> harness.Stopwatch:
    model = gx.models.DensityModel(sides_lib.Ours(sizes).distribution)
    optimizer = keras.optimizers.Adam(1e-5)
    optimizer.build(model.trainable_variables)
    flow, variables = model.distribution, model.trainable_variables

    @tf.function(jit_compile=jit_compile)
    def step(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(x))
        gradients = tape.gradient(loss, [v.value for v in variables])
        optimizer.apply(gradients, variables)
        return loss

    return _watch(step, sides_lib.batch(sizes, sizes.batch), steps)


def _start_up_rows(sizes: Sizes, rounds: int | None) -> Iterator[harness.Row]:
    kinds = {"ours": sides_lib.Ours, "TFP": sides_lib.TFP, "by hand": sides_lib.ByHand}
    x = sides_lib.batch(sizes, sizes.batch)
    first = {name: harness.timed(lambda k=k: k(sizes).log_prob(x)) for name, k in kinds.items()}
    yield harness.Row("building and first log_prob, eager", first, _ALL, rounds=rounds)

    def trace(step: Any) -> None:
        step.get_concrete_function(x)

    def fresh(kind: type[Flow]) -> Any:
        return sides_lib.training_step(kind(sizes), jit_compile=False)

    traces = {n: harness.timed_fresh(lambda k=k: fresh(k), trace) for n, k in kinds.items()}
    yield harness.Row("tracing the training step", traces, _ALL, rounds=rounds)


def _import_row(rounds: int | None) -> harness.Row:
    watches = {name: harness.timed(lambda c=c: _run(c)) for name, c in _IMPORTS.items()}
    ours, *others = _IMPORTS
    return harness.Row("importing", watches, [(ours, other) for other in others], rounds=rounds)


def _run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)


def _versions() -> dict[str, str]:
    libraries = {"TensorFlow": tf, "TFP": tfp, "Keras": keras, "tfp_genext": gx}
    return {name: library.__version__ for name, library in libraries.items()}


if __name__ == "__main__":
    main()
