"""Benchmark of training steps of VAE and GAN, relative to hand-written Keras 3 `train_step`s.

Both sides have the same networks, optimizers, batches and losses, and train through `fit`, whose
overhead is equal for both. The evaluation of the VAE by many samples is also compared.

python benchmarks/latents.py [--rounds 40] [--json FILE] [--only TEXT] [--quick]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import flow_rows
import harness
import keras
import latents_by_hand as by_hand
import numpy as np
import tensorflow as tf
from harness import Row, Stopwatch
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

_RATIOS = (("ours", "by hand"),)
_TARGET = 1.1


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of the networks and batches."""

    data: int = 784
    latents: int = 50
    hidden: int = 200
    batch: int = 100
    steps: int = 100
    depth: int = 2

    @classmethod
    def tiny(cls) -> Sizes:
        """Returns small sizes for a quick test."""
        return cls(data=6, latents=2, hidden=4, batch=4, steps=3)


def main() -> None:
    """Runs all rows."""
    arguments = harness.options(__doc__, rounds=15).parse_args()
    harness.run(_rows(Sizes.tiny() if arguments.quick else Sizes()), arguments)


def _rows(sizes: Sizes) -> Iterator[Row]:
    for jit_compile, kind in ((False, "plain"), (True, "XLA")):
        yield _row(f"VAE, step in fit, {kind}", _vaes(sizes, jit_compile), sizes)
    small = dataclasses.replace(sizes, hidden=min(sizes.hidden, 128), data=min(sizes.data, 64))
    for game in ("NonSaturating", "Relativistic"):
        for jit_compile, kind in ((False, "plain"), (True, "XLA")):
            sides = _gans(small, game, jit_compile)
            yield _row(f"GAN, {game}, step in fit, {kind}", sides, small)


def _row(name: str, models: dict[str, keras.Model], sizes: Sizes) -> Row:
    x = np.random.default_rng(0).integers(0, 2, [sizes.batch * sizes.steps, sizes.data])
    sides = {side: _fit(model, x.astype("float32"), sizes) for side, model in models.items()}
    return Row(name, sides, _RATIOS, _TARGET)


def _fit(model: keras.Model, x: np.ndarray, sizes: Sizes) -> Stopwatch:
    return lambda: flow_rows.steps_of_one_epoch(model, sizes.batch, {"x": x})


def _network(sizes: Sizes, inputs: int, size: int, activation: str) -> keras.Sequential:
    hidden = [keras.layers.Dense(sizes.hidden, activation=activation) for _ in range(sizes.depth)]
    return keras.Sequential([keras.Input([inputs]), *hidden, keras.layers.Dense(size)])


def _vaes(sizes: Sizes, jit_compile: bool) -> dict[str, keras.Model]:
    normal = gx.distributions.IndependentNormal([sizes.latents])
    bernoulli = gx.distributions.IndependentBernoulli([sizes.data])

    def networks() -> tuple[keras.Model, keras.Model]:
        return (
            _network(sizes, sizes.data, normal.params_size, "tanh"),
            _network(sizes, sizes.latents, bernoulli.params_size, "tanh"),
        )

    encoder, decoder = networks()
    ours = gx.models.VAE(
        gx.distributions.Conditional(encoder, normal),
        gx.distributions.Conditional(decoder, bernoulli),
        prior=tfd.Independent(tfd.Normal(tf.zeros([sizes.latents]), 1.0), 1),
    )
    models = {"ours": ours, "by hand": by_hand.VAE(*networks())}
    for model in models.values():
        model.compile(optimizer=keras.optimizers.Adam(1e-4), jit_compile=jit_compile)
    return models


def _gans(sizes: Sizes, game: str, jit_compile: bool) -> dict[str, keras.Model]:
    noise = 16
    makers: dict[str, Callable[..., Any]] = {
        "ours": lambda *players: gx.models.GAN(
            *players,
            prior=tfd.Sample(tfd.Normal(0.0, 1.0), noise),
            objective=getattr(gx.objectives, game)(),
        ),
        "by hand": lambda *players: by_hand.GANS[game](*players, noise),
    }
    models = {}
    for side, make in makers.items():
        generator = _network(sizes, noise, sizes.data, "relu")
        models[side] = make(generator, _network(sizes, sizes.data, 1, "leaky_relu"))
        models[side].compile(
            generator_optimizer=keras.optimizers.Adam(1e-4),
            discriminator_optimizer=keras.optimizers.Adam(1e-4),
            jit_compile=jit_compile,
        )
    return models


if __name__ == "__main__":
    main()
