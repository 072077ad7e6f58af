"""The rows of the tables that all benchmarks of flows have."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import flow_sides
import harness
import keras
import numpy as np
import tensorflow as tf
from flow_sides import Flow, Sizes
from harness import Row, Stopwatch
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

ALL = (("ours", "TFP"), ("by hand", "TFP"), ("ours", "by hand"))
LONG = 15
_SEED = (1, 2)
_LEARNING_RATE = 1e-5
_FIT = (
    ("fit", "bare step"),
    ("fit", "Keras' fit"),
    ("fit, XLA", "bare step, XLA"),
    ("fit, XLA", "fit"),
)


def training(sides: Mapping[str, Flow], sizes: Sizes, *, jit_compile: bool) -> dict[str, Stopwatch]:
    """Returns stopwatches of a few training steps of each side."""
    x = flow_sides.batch(sizes, sizes.batch)
    steps = {name: flow_sides.training_step(flow, jit_compile) for name, flow in sides.items()}
    return {name: watch(step, x, repeats=4) for name, step in steps.items()}


def log_prob(sides: Mapping[str, Flow], sizes: Sizes) -> dict[str, Stopwatch]:
    """Returns stopwatches of the densities of many rows."""
    x = flow_sides.batch(sizes, sizes.rows)
    return {name: watch(tf.function(flow.log_prob), x) for name, flow in sides.items()}


def sampler(function: Callable[..., Any], n: int) -> Stopwatch:
    """Returns a stopwatch of n samples."""
    return watch(tf.function(lambda seed: function(n, seed)), tf.constant(_SEED))


def density_of_samples(flow: Flow, n: int, name: str) -> Row:
    """Returns the row for the cost of the density of our own samples."""
    sides = {
        "with density": sampler(flow.sample_and_log_prob, n),
        "without": sampler(flow.sample, n),
    }
    return Row(name, sides, (("with density", "without"),), 1.1)


def watch(function: Callable[[Any], Any], x: tf.Tensor, repeats: int = 1) -> Stopwatch:
    """Returns a stopwatch of a compiled function."""
    # On the CPU a `tf.function` returns when its results are computed.
    return harness.timed(functools.partial(function, x), repeats)


def fit(new: Callable[[], tfd.Distribution], sizes: Sizes) -> Row:
    """Returns the rows for `fit` relative to bare steps, and to Keras' `fit`."""
    watches = {
        "fit": epoch(new(), sizes, jit_compile=False),
        "Keras' fit": _keras_epoch(new(), sizes),
        "bare step": bare_steps(new(), sizes, jit_compile=False),
        "fit, XLA": epoch(new(), sizes, jit_compile=True),
        "bare step, XLA": bare_steps(new(), sizes, jit_compile=True),
    }
    return Row(f"our fit, {sizes.steps} steps, Keras Adam", watches, _FIT, rounds=LONG)


def epoch(flow: tfd.Distribution, sizes: Sizes, *, jit_compile: bool) -> Stopwatch:
    """Returns a stopwatch of the steps of one epoch of `DensityModel.fit`."""
    model = gx.models.DensityModel(flow)
    model.compile(optimizer=_adam(), jit_compile=jit_compile)
    return functools.partial(steps_of_one_epoch, model, sizes.batch, {"x": _fit_data(sizes)})


class _Clock(keras.callbacks.Callback):
    """Measures an epoch from its start to the end of its last step.

    The rest of an epoch is TensorFlow's: an iterator waits for a thread that sleeps increasingly
    longer, up to the duration of the epoch, for any model.
    """

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seconds = time.perf_counter() - self._start


def _keras_epoch(flow: tfd.Distribution, sizes: Sizes) -> Stopwatch:
    model = BareModel(flow)
    model.compile(optimizer=_adam(), loss=_nll, jit_compile=False)
    x = _fit_data(sizes)
    return functools.partial(steps_of_one_epoch, model, sizes.batch, {"x": x, "y": x[:, 0]})


def _adam() -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(_LEARNING_RATE)


def _fit_data(sizes: Sizes) -> np.ndarray:
    return flow_sides.batch(sizes, sizes.steps * sizes.batch).numpy()


def steps_of_one_epoch(
    model: keras.Model, batch_size: int, data: Mapping[str, np.ndarray]
) -> float:
    """Returns the duration of the steps of one epoch."""
    clock = _Clock()
    model.fit(**data, batch_size=batch_size, epochs=1, verbose=0, callbacks=[clock])
    return clock.seconds


class BareModel(keras.Model):
    """A minimal Keras model, which measures the cost of Keras' `fit`."""

    def __init__(self, flow: tfd.Distribution) -> None:
        super().__init__()
        self._networks = gx.core.tracking.networks(flow)
        object.__setattr__(self, "_flow", flow)
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self._flow.log_prob(x)


def _nll(y_true: tf.Tensor, log_prob: tf.Tensor) -> tf.Tensor:
    del y_true
    return -tf.reduce_mean(log_prob)


def bare_steps(flow: tfd.Distribution, sizes: Sizes, *, jit_compile: bool) -> Stopwatch:
    """Returns a stopwatch of the steps of an epoch with Keras' Adam, without `fit`."""
    variables = gx.models.DensityModel(flow).trainable_variables
    optimizer = _adam()
    optimizer.build(variables)

    @tf.function(jit_compile=jit_compile)
    def step(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(x))
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    return watch(step, flow_sides.batch(sizes, sizes.batch), sizes.steps)


def start_up(kinds: Mapping[str, Callable[[], Flow]], sizes: Sizes) -> list[Row]:
    """Returns the rows for building and first use of a new flow."""
    x = flow_sides.batch(sizes, sizes.batch)
    first = {
        name: harness.timed(functools.partial(_build_and_call, kind, x))
        for name, kind in kinds.items()
    }
    traces = {
        name: harness.timed_fresh(
            functools.partial(_new_step, kind), lambda step: step.get_concrete_function(x)
        )
        for name, kind in kinds.items()
    }
    return [
        Row("building and first log_prob, eager", first, ALL, rounds=LONG),
        Row("tracing the training step, plain", traces, ALL, rounds=LONG),
    ]


def _build_and_call(kind: Callable[[], Flow], x: tf.Tensor) -> None:
    kind().log_prob(x)


def _new_step(kind: Callable[[], Flow]) -> Any:
    return flow_sides.training_step(kind(), jit_compile=False)
