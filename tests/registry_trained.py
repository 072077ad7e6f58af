"""Every kind of model with its data, as `fit` takes it; what runs on many devices runs them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import registry
import registry_autoregressive
import registry_models
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfd = tfp.distributions
IMAGE = (4, 4, 1)
# What is new must come out the same everywhere, so that every training starts alike.
SEED = 20221


@dataclasses.dataclass(frozen=True)
class Trained:
    """How to build a model, and from a number of rows to what it is fitted to."""

    name: str
    build: Callable[[], keras.Model]
    data: Callable[[int], tuple[np.ndarray, ...]]

    def compiled(self, optimizer: Callable[[], keras.optimizers.Optimizer]) -> keras.Model:
        """Returns a compiled model, whose weights are the same at each call."""
        keras.utils.set_random_seed(SEED)
        model = self.build()
        if isinstance(model, gx.models.GAN):
            model.compile(generator_optimizer=optimizer(), discriminator_optimizer=optimizer())
        else:
            model.compile(optimizer=optimizer())
        return model


def density(case: registry.DistributionCase) -> Trained:
    def data(rows: int) -> tuple[np.ndarray, ...]:
        x = registry.points((rows, *case.event), "float64").numpy()
        if case.context is None:
            return (x,)
        return registry.points((rows, *case.context), "float64", seed=9).numpy(), x

    def build() -> keras.Model:
        return gx.models.DensityModel(case.build(registry.D, "float64"))

    return Trained(case.name, build, data)


def autoregressive(case: registry_autoregressive.Case) -> Trained:
    return Trained(
        case.name,
        lambda: gx.models.DensityModel(case.build("float64")),
        lambda rows: case.data(case.build("float64"), rows),
    )


def with_latents(case: registry_models.ModelCase) -> Trained:
    return Trained(case.name, case.build, case.data)


def dequantized() -> keras.Model:
    flow = gx.flows.glow(IMAGE, num_levels=1, num_steps=1, hidden_channels=4, dtype="float64")
    return gx.models.DensityModel(flow, preprocessing=gx.layers.Dequantize(256))


def batch_normed() -> keras.Model:
    moments = gx.networks.MovingMoments(dtype="float64")
    moments.build((None, 6))
    zeros = [tf.Variable(tf.zeros([6], tf.float64)) for _ in range(2)]
    # Off zero, as gradients would be nothing but rounding where all is as it should be.
    base = tfd.MultivariateNormalDiag(tf.fill([6], tf.constant(0.5, tf.float64)))
    bijector = gx.bijectors.BatchNorm(moments, *zeros)
    return gx.models.DensityModel(tfd.TransformedDistribution(base, bijector))


def binarized() -> keras.Model:
    made = gx.autoregressive.made(IMAGE, hidden_units=[8], dtype="float64")
    return gx.models.DensityModel(made, preprocessing=gx.layers.Binarize())


def dropped() -> keras.Model:
    made = gx.autoregressive.made([6], hidden_units=[8], dropout=0.5, dtype="float64")
    return gx.models.DensityModel(made)


def regression() -> keras.Model:
    head = gx.distributions.Mixture(2, gx.distributions.IndependentNormal([2]))
    network = registry_models.dense(head.params_size)
    return gx.models.DensityModel(gx.distributions.Conditional(network, head))


def normed_over_devices() -> keras.Model:
    def network(size: int) -> keras.Sequential:
        norm = keras.layers.BatchNormalization(synchronized=True)
        layers = [keras.layers.Dense(8, use_bias=False), norm, keras.layers.ReLU()]
        return keras.Sequential([*layers, keras.layers.Dense(size, use_bias=False)])

    parts = {"generator": network(registry_models.D), "discriminator": network(1)}
    return registry_models.gan(objective=gx.objectives.NonSaturating(), **parts)


def _pixels(rows: int) -> tuple[np.ndarray, ...]:
    return (np.random.default_rng(0).integers(0, 256, [rows, *IMAGE]).astype("float64"),)


def _normals(rows: int) -> tuple[np.ndarray, ...]:
    return (np.random.default_rng(0).normal(1.0, 2.0, [rows, 6]),)


def _bits(rows: int) -> tuple[np.ndarray, ...]:
    return (np.random.default_rng(0).integers(0, 2, [rows, 6]).astype("float64"),)


def _pairs(rows: int) -> tuple[np.ndarray, ...]:
    return tuple(np.random.default_rng(0).normal(size=[2, rows, 2]).astype("float32"))


TRAINED = [
    *map(density, registry.DISTRIBUTIONS),
    *map(autoregressive, registry_autoregressive.CASES),
    Trained("dequantized", dequantized, _pixels),
    Trained("batch_normed", batch_normed, _normals),
    Trained("binarized", binarized, _pixels),
    Trained("dropped", dropped, _bits),
    Trained("regression", regression, _pairs),
    # Norms of Keras that see the rows of one device alone are as Keras has them: not the same.
    *(with_latents(case) for case in registry_models.MODELS if case.name != "gan_normed"),
    Trained("gan_normed", normed_over_devices, _bits),
]


def weights(model: keras.Model) -> list[np.ndarray]:
    """Returns the numbers that a model holds; flags as 0 and 1."""
    return [np.asarray(variable.numpy()) * 1 for variable in model.variables]


def fitted(model: keras.Model, case: Trained, rows: int, **options: Any) -> dict[str, float]:
    """Trains for an epoch, and returns the losses and metrics."""
    given = {"batch_size": 16, "shuffle": False, "verbose": 0, **options}
    history = model.fit(*case.data(rows), **given).history
    return {name: values[-1] for name, values in history.items()}
