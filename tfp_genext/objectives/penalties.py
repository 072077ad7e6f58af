"""Gradient penalties of discriminators."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext.core import checks
from tfp_genext.objectives import draws
from tfp_genext.saving.plain import PlainData

Critic = Callable[[tf.Tensor], tf.Tensor]


class Scored(NamedTuple):
    """A discriminator's scores of a batch, and the penalty.

    Fields:
      real: scores of data, `[N]`.
      fake: scores of samples, `[N]`.
      penalty: `[N]`, to be added to the discriminator's loss.
    """

    real: tf.Tensor
    fake: tf.Tensor
    penalty: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Penalty(PlainData, abc.ABC):
    """Base class of penalties on the gradient of a discriminator."""

    @abc.abstractmethod
    def scored(self, critic: Critic, real: tf.Tensor, fake: tf.Tensor, seed: Any) -> Scored:
        """Returns scores and penalties.

        Args:
          critic: the discriminator, from `[N, ...]` to scores `[N]`. Each score must depend only on
            its row.
          real: data `[N, ...]`.
          fake: samples `[N, ...]`.
          seed: a stateless seed.
        """


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class ZeroCentered(Penalty):
    """Penalty on the squared gradient norm at data (R1) and at samples (R2).

        gamma / 2 * (|grad D(x)|^2 + |grad D(G(z))|^2)

    R1 makes training converge that would otherwise oscillate (Mescheder et al., 2018 [1]). The
    relativistic losses need both R1 and R2 (Huang et al., 2024 [2]).

    Args:
      gamma: weight, above 0.
      fake: whether to penalise the gradient at samples too. Default: `True`.

    Raises:
      TypeError: if `gamma` is not a number.
      ValueError: if `gamma` is not above 0.

    Example:

    ```python
    import tfp_genext as gx

    r1 = gx.objectives.NonSaturating(penalty=gx.objectives.ZeroCentered(1.0, fake=False))
    ```

    #### References

    [1]: Lars Mescheder, Andreas Geiger, Sebastian Nowozin. Which Training Methods for GANs do
         actually Converge? 2018. https://arxiv.org/abs/1801.04406
    [2]: Yiwen Huang, Aaron Gokaslan, Volodymyr Kuleshov, James Tompkin. The GAN is dead; long live
         the GAN! A Modern Baseline GAN. 2024. https://arxiv.org/abs/2501.05441
    """

    gamma: float
    fake: bool = dataclasses.field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        checks.positive_number("gamma", self.gamma)

    def scored(self, critic: Critic, real: tf.Tensor, fake: tf.Tensor, seed: Any) -> Scored:
        del seed
        real_scores, steepness = _steepness(critic, real)
        if self.fake:
            fake_scores, further = _steepness(critic, fake)
            steepness += further
        else:
            fake_scores = critic(fake)
        return Scored(real_scores, fake_scores, 0.5 * self.gamma * steepness)


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class OneCentered(Penalty):
    """The gradient penalty of WGAN-GP, towards norm 1 between data and samples.

        weight * (|grad D(y)| - 1)^2,   y = u * x + (1 - u) * G(z),   u uniform on [0, 1)

    The gradient of the norm is defined as 0 at norm 0 (Gulrajani et al., 2017 [1]).

    Args:
      weight: above 0. Default: 10.

    Raises:
      TypeError: if `weight` is not a number.
      ValueError: if `weight` is not above 0.

    Example:

    ```python
    import tfp_genext as gx

    objective = gx.objectives.Wasserstein(penalty=gx.objectives.OneCentered(1.0))
    ```

    #### References

    [1]: Ishaan Gulrajani, Faruk Ahmed, Martin Arjovsky, Vincent Dumoulin, Aaron Courville.
         Improved Training of Wasserstein GANs. 2017. https://arxiv.org/abs/1704.00028
    """

    weight: float = 10.0

    def __post_init__(self) -> None:
        checks.positive_number("weight", self.weight)

    def scored(self, critic: Critic, real: tf.Tensor, fake: tf.Tensor, seed: Any) -> Scored:
        uniform = tfd.Uniform(tf.zeros([], real.dtype), tf.ones([], real.dtype))
        share = draws.sample_rows(uniform, tf.shape(real)[0], seed)
        share = tf.reshape(share, [-1, *[1] * (real.shape.rank - 1)])
        _, steepness = _steepness(critic, share * real + (1.0 - share) * fake)
        penalty = self.weight * tf.square(_root(steepness) - 1.0)
        return Scored(critic(real), critic(fake), penalty)


def _steepness(critic: Critic, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns scores and the squared norms of their gradients, `[N]` both."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        scores = critic(x)
    gradient = tape.gradient(scores, x, unconnected_gradients="zero")
    return scores, tf.reduce_sum(tf.square(gradient), axis=tf.range(1, tf.rank(x)))


def _root(squares: tf.Tensor) -> tf.Tensor:
    """Returns square roots whose gradient at 0 is 0."""
    positive = squares > 0.0
    return tf.where(positive, tf.sqrt(tf.where(positive, squares, 1.0)), 0.0)
