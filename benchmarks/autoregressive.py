"""Benchmark of sampling from autoregressive distributions, relative to a density and to D passes.

python benchmarks/autoregressive.py [--rounds 15] [--json FILE] [--only TEXT] [--quick]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import harness
import tensorflow as tf
from harness import Row, Stopwatch
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

_FEW = 3
_KINDS = {"plain": False, "XLA": True}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of the measured models and batches.

    Args:
      features: number of entries D of the MADE.
      hidden: number of units of its hidden layer.
      rows: number of samples of the MADE.
      side: height and width of images.
      layers: number of layers of the PixelCNN.
      filters: number of filters of its layers.
      images: number of samples of the PixelCNN.
    """

    features: int = 784
    hidden: int = 500
    rows: int = 100
    side: int = 28
    layers: int = 5
    filters: int = 32
    images: int = 64


_TINY = Sizes(6, 8, 3, 4, 2, 4, 2)


def main() -> None:
    """Runs all rows."""
    arguments = harness.options(__doc__, rounds=15).parse_args()
    harness.run(_rows(_TINY if arguments.quick else Sizes()), arguments)


def _rows(sizes: Sizes) -> Iterator[Row]:
    made = gx.autoregressive.made([sizes.features], hidden_units=[sizes.hidden])
    name = f"MADE, D = {sizes.features}, {sizes.rows} rows"
    yield from _against_density(_drifted(made), sizes.rows, name, 5.0)
    yield _against_passes(made, sizes.rows, name, 1 / 50)
    image = [sizes.side, sizes.side, 1]
    pixels = gx.autoregressive.pixel_cnn(image, num_layers=sizes.layers, filters=sizes.filters)
    name = f"PixelCNN, {sizes.side} x {sizes.side}, {sizes.images} images"
    yield from _against_density(_drifted(pixels), sizes.images, name, None)
    yield _against_passes(pixels, sizes.images, name, 1 / 20)


def _drifted(distribution: gx.distributions.Autoregressive) -> gx.distributions.Autoregressive:
    """Returns a distribution with perturbed weights; at initialisation entries are independent."""
    for i, variable in enumerate(distribution.trainable_variables):
        noise = tf.random.stateless_normal(variable.shape, [0, i])
        variable.assign_add(0.5 * noise / math.sqrt(max(variable.shape[0], 1)))
    return distribution


def _against_density(
    distribution: Any, number: int, name: str, target: float | None
) -> Iterator[Row]:
    x = distribution.sample(number, seed=[1, 2])
    for kind, jit_compile in _KINDS.items():
        noise = distribution.noise([number], [3, 4])
        sample = tf.function(distribution.from_noise, jit_compile=jit_compile)
        log_prob = tf.function(distribution.log_prob, jit_compile=jit_compile)
        sides = {"sample": _watch(sample, noise), "log_prob": _watch(log_prob, x)}
        yield Row(f"sample, {name}, {kind}", sides, (("sample", "log_prob"),), target)


def _against_passes(distribution: Any, number: int, name: str, target: float) -> Row:
    sides = {
        "ours": _watch(tf.function(distribution.sample), number, [3, 4]),
        "tfd.Autoregressive": _watch(tf.function(_of_tfp(distribution).sample), number, [3, 4]),
    }
    ratios = (("ours", "tfd.Autoregressive"),)
    # A round of D passes takes minutes.
    return Row(f"sample, {name}", sides, ratios, target, rounds=1 if number > 3 else _FEW)


def _of_tfp(distribution: Any) -> tfd.Distribution:
    """Returns TFP's autoregressive distribution of the same network."""
    shape = distribution.event_shape.as_list()

    def given(x: tf.Tensor) -> tfd.Distribution:
        params = distribution.network(tf.reshape(x, [-1, *distribution.network.event_shape]))
        batch = tf.shape(x)[: x.shape.rank - len(shape)]
        size = distribution.head.params_size
        params = tf.reshape(params, tf.concat([batch, shape, [size]], axis=0))
        return tfd.Independent(distribution.head(params), len(shape))

    # A number of steps that is unknown during tracing gives a loop.
    steps = tf.Variable(math.prod(shape), trainable=False)
    return tfd.Autoregressive(given, sample0=tf.zeros(shape), num_steps=steps)


def _watch(function: Callable, *arguments: Any) -> Stopwatch:
    def call() -> None:
        tf.nest.flatten(function(*arguments))[0].numpy()

    call()
    return harness.timed(call)


if __name__ == "__main__":
    main()
