"""The common parts of the sides of all flow benchmarks: interface, optimizer and weights.

All sides of a benchmark have the same weights and compute the same function, except for the soft
bound of our log-scales, whose cost counts as ours.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

Network = list[tf.Variable]
Seed = tuple[int, int]


class Sizes(Protocol):
    """The sizes that all sides of a benchmark have in common."""

    features: int
    batch: int
    rows: int
    steps: int


class Flow(abc.ABC):
    """Base class of sides: a flow with its density, samples and variables."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes

    @abc.abstractmethod
    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """Returns log-densities `[N]` of rows `[N, D]`."""

    @abc.abstractmethod
    def sample(self, n: int, seed: Seed) -> tf.Tensor:
        """Returns samples `[n, D]`."""

    @abc.abstractmethod
    def sample_and_log_prob(self, n: int, seed: Seed) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns samples `[n, D]` and their log-densities `[n]`."""

    @abc.abstractmethod
    def networks(self) -> list[Network]:
        """Returns kernel, bias, kernel, bias, ... of each layer's network."""

    def load(self, weights: Sequence[Sequence[np.ndarray]]) -> None:
        """Sets the weights of all networks, all shifts before all log-scales."""
        for variables, values in zip(self.networks(), weights, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    @property
    def variables(self) -> list[tf.Variable]:
        """All variables in one list."""
        return [variable for network in self.networks() for variable in network]


class Transformed(Flow):
    """A side that is a TFP distribution."""

    distribution: tfd.Distribution

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        return self.distribution.log_prob(x)

    def sample(self, n: int, seed: Seed) -> tf.Tensor:
        return self.distribution.sample(n, seed=seed)

    def sample_and_log_prob(self, n: int, seed: Seed) -> tuple[tf.Tensor, tf.Tensor]:
        return self.distribution.experimental_sample_and_log_prob(n, seed=seed)


def standard_normal_log_prob(z: tf.Tensor) -> tf.Tensor:
    """Returns log-densities `[N]` of rows `[N, D]`."""
    constant = 0.5 * z.shape[-1] * math.log(2.0 * math.pi)
    return -0.5 * tf.reduce_sum(z * z, axis=-1) - constant


class Adam:
    """TensorFlow's Adam kernel, so that all sides have the same optimizer and only flows differ."""

    def __init__(self, variables: Sequence[tf.Variable], learning_rate: float = 1e-5) -> None:
        self._learning_rate = learning_rate
        self._step = tf.Variable(0.0)
        self._slots = [(v, *(tf.Variable(tf.zeros_like(v)) for _ in range(2))) for v in variables]

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Updates every variable with its gradient."""
        step = self._step.assign_add(1.0)
        shared = {
            "beta1_power": 0.9**step,
            "beta2_power": 0.999**step,
            "lr": self._learning_rate,
            "beta1": 0.9,
            "beta2": 0.999,
            "epsilon": 1e-7,
        }
        for (var, m, v), grad in zip(self._slots, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=var.handle, m=m.handle, v=v.handle, grad=grad, **shared
            )


def training_step(flow: Flow, jit_compile: bool) -> Any:
    """Returns one step of maximum likelihood as a `tf.function` of a batch."""
    variables = flow.variables
    adam = Adam(variables)

    @tf.function(jit_compile=jit_compile)
    def step(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(x))
        adam.apply(tape.gradient(loss, variables))
        return loss

    return step


def agreeing(
    sides: Mapping[str, Flow], bounded: Flow, weights: Sequence[Sequence[np.ndarray]]
) -> dict[str, Flow]:
    """Returns the sides `ours`, `TFP` and `by hand` with equal weights, after a comparison.

    Args:
      sides: the sides, by name.
      bounded: the side by hand with our soft bound, to compare ours with.
      weights: weights of each layer's network.

    Raises:
      RuntimeError: if a side computes another density.
    """
    for flow in (*sides.values(), bounded):
        flow.load(weights)
    _check_agreement(sides["TFP"], sides["by hand"])
    _check_agreement(sides["ours"], bounded)
    return dict(sides)


def network_weights(widths: Sequence[int], rng: np.random.Generator) -> list[np.ndarray]:
    values: list[np.ndarray] = []
    for rows, columns in itertools.pairwise(widths):
        kernel = rng.normal(0.0, math.sqrt(2.0 / rows), [rows, columns])
        values += [kernel, rng.normal(0.0, 0.01, [columns])]
    # At initialisation a flow is close to the identity, so that no exponential overflows.
    values[-2] *= 0.05
    return values


def _check_agreement(flow: Flow, by_hand: Flow) -> None:
    x = batch(flow.sizes, 100)
    difference = tf.reduce_max(tf.abs(flow.log_prob(x) - by_hand.log_prob(x))).numpy()
    if not difference < 1e-2:
        raise RuntimeError(
            f"`{type(flow).__name__}` must give the log-density of the flow by hand. "
            f"Received: a difference of {difference} nats"
        )


def batch(sizes: Sizes, rows: int) -> tf.Tensor:
    """Returns data `[rows, D]`."""
    return tf.random.stateless_normal([rows, sizes.features], [1, 2])
