"""Real NVP: ours against TFP's and against plain TensorFlow.

python benchmarks/real_nvp.py [--rounds 40] [--json FILE] [--only TEXT] [--quick]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import harness
import keras
import numpy as np
import real_nvp_sides as sides_lib
import tensorflow as tf
from harness import Row, Stopwatch
from real_nvp_sides import Flow, Sizes
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

_SEED = (1, 2)
_LONG = 15
_ALL = (("ours", "TFP"), ("by hand", "TFP"), ("ours", "by hand"))
_FIT = (
    ("fit", "bare step"),
    ("fit", "Keras' fit"),
    ("fit, XLA", "bare step, XLA"),
    ("fit, XLA", "fit"),
)


def main() -> None:
    """Runs all rows."""
    arguments = harness.options(__doc__).parse_args()
    harness.run(_rows(Sizes.tiny() if arguments.quick else Sizes()), arguments)


def _rows(sizes: Sizes) -> Iterator[Row]:
    sides = sides_lib.trained_sides(sizes)
    yield from _training_rows(sides, sizes)
    yield from _evaluation_rows(sides, sizes)
    yield _fit_row(sizes)
    yield from _start_up_rows(sizes)


def _training_rows(sides: Mapping[str, Flow], sizes: Sizes) -> Iterator[Row]:
    x = sides_lib.batch(sizes, sizes.batch)
    for jit_compile, kind, target in ((False, "plain", 0.6), (True, "XLA", None)):
        steps = {name: sides_lib.training_step(flow, jit_compile) for name, flow in sides.items()}
        watches = {name: _watch(step, x, repeats=4) for name, step in steps.items()}
        yield Row(f"training step, batch {sizes.batch}, {kind}", watches, _ALL, target)


def _evaluation_rows(sides: Mapping[str, Flow], sizes: Sizes) -> Iterator[Row]:
    n = sizes.rows
    x = sides_lib.batch(sizes, n)
    log_probs = {name: _watch(tf.function(flow.log_prob), x) for name, flow in sides.items()}
    samples = {name: _sampler(flow.sample, n) for name, flow in sides.items()}
    pairs = {name: _sampler(flow.sample_and_log_prob, n) for name, flow in sides.items()}
    ours = {"with density": pairs["ours"], "without": samples["ours"]}
    yield Row(f"log_prob, {n} rows", log_probs, _ALL)
    yield Row(f"sample, {n} rows", samples, _ALL)
    yield Row(f"sample with density, {n} rows", pairs, _ALL, 0.6)
    yield Row(f"our sample, {n} rows", ours, (("with density", "without"),), 1.1)


def _sampler(function: Callable[..., Any], n: int) -> Stopwatch:
    return _watch(tf.function(lambda seed: function(n, seed)), tf.constant(_SEED))


def _watch(function: Callable[[Any], Any], x: tf.Tensor, repeats: int = 1) -> Stopwatch:
    # On the CPU a tf.function returns when its results are there: nothing to wait for.
    return harness.timed(functools.partial(function, x), repeats)


def _fit_row(sizes: Sizes) -> Row:
    watches = {
        "fit": _fit(sizes, jit_compile=False),
        "Keras' fit": _keras_fit(sizes),
        "bare step": _bare_steps(sizes, jit_compile=False),
        "fit, XLA": _fit(sizes, jit_compile=True),
        "bare step, XLA": _bare_steps(sizes, jit_compile=True),
    }
    return Row(f"our fit, {sizes.steps} steps, Keras Adam", watches, _FIT, rounds=_LONG)


def _fit(sizes: Sizes, jit_compile: bool) -> Stopwatch:
    model = gx.models.DensityModel(sides_lib.Ours(sizes).distribution)
    model.compile(optimizer=keras.optimizers.Adam(1e-5), jit_compile=jit_compile)
    data = {"x": _fit_data(sizes)}
    return harness.timed(functools.partial(_one_epoch, model, sizes, data))


def _keras_fit(sizes: Sizes) -> Stopwatch:
    model = BareModel(sides_lib.Ours(sizes).distribution)
    model.compile(optimizer=keras.optimizers.Adam(1e-5), loss=_nll, jit_compile=False)
    x = _fit_data(sizes)
    data = {"x": x, "y": x[:, 0]}
    return harness.timed(functools.partial(_one_epoch, model, sizes, data))


def _fit_data(sizes: Sizes) -> np.ndarray:
    return sides_lib.batch(sizes, sizes.steps * sizes.batch).numpy()


def _one_epoch(model: keras.Model, sizes: Sizes, data: Mapping[str, np.ndarray]) -> None:
    model.fit(**data, batch_size=sizes.batch, epochs=1, verbose=0)


class BareModel(keras.Model):
    """The least model that Keras can fit: what its `fit` costs without ours."""

    def __init__(self, flow: tfd.Distribution) -> None:
        super().__init__()
        self._networks = gx.tracking.networks(flow)
        object.__setattr__(self, "_flow", flow)
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self._flow.log_prob(x)


def _nll(y_true: tf.Tensor, log_prob: tf.Tensor) -> tf.Tensor:
    del y_true
    return -tf.reduce_mean(log_prob)


def _bare_steps(sizes: Sizes, jit_compile: bool) -> Stopwatch:
    model = gx.models.DensityModel(sides_lib.Ours(sizes).distribution)
    flow, variables = model.distribution, model.trainable_variables
    optimizer = keras.optimizers.Adam(1e-5)
    optimizer.build(variables)

    @tf.function(jit_compile=jit_compile)
    def step(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(x))
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    return _watch(step, sides_lib.batch(sizes, sizes.batch), sizes.steps)


def _start_up_rows(sizes: Sizes) -> Iterator[Row]:
    kinds = {"ours": sides_lib.Ours, "TFP": sides_lib.TFP, "by hand": sides_lib.ByHand}
    x = sides_lib.batch(sizes, sizes.batch)
    first = {
        name: harness.timed(functools.partial(_build_and_call, kind, sizes, x))
        for name, kind in kinds.items()
    }
    traces = {
        name: harness.timed_fresh(
            functools.partial(_new_step, kind, sizes), lambda step: step.get_concrete_function(x)
        )
        for name, kind in kinds.items()
    }
    yield Row("building and first log_prob, eager", first, _ALL, rounds=_LONG)
    yield Row("tracing the training step, plain", traces, _ALL, rounds=_LONG)


def _build_and_call(kind: type[Flow], sizes: Sizes, x: tf.Tensor) -> None:
    kind(sizes).log_prob(x)


def _new_step(kind: type[Flow], sizes: Sizes) -> Any:
    return sides_lib.training_step(kind(sizes), jit_compile=False)


if __name__ == "__main__":
    main()
