"""Adversarial losses of a generator and a discriminator."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.objectives.penalties import Critic, OneCentered, Penalty, Scored, ZeroCentered
from tfp_genext.saving.plain import PlainData


@dataclasses.dataclass(frozen=True)
class Adversarial(PlainData, abc.ABC):
    """Base class of the losses of a GAN's discriminator and generator.

    r and f are the discriminator's unbounded scores (logits) of data and of samples, `[N]`.

    Args:
      penalty: gradient penalty, such as `gx.objectives.ZeroCentered(1.0)`. Default: none.
    """

    penalty: Penalty | None = dataclasses.field(default=None, kw_only=True)

    # Whether the generator's loss also depends on the scores of data.
    compares: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.penalty is not None and not isinstance(self.penalty, Penalty):
            expected = "a penalty, such as gx.objectives.ZeroCentered(1.0), or None"
            raise TypeError(checks.message("penalty", expected, self.penalty))

    @abc.abstractmethod
    def discriminator_loss(self, real: Any, fake: Any) -> tf.Tensor:
        """Returns the discriminator's loss, `[N]`, given scores r and f."""

    @abc.abstractmethod
    def generator_loss(self, real: Any, fake: Any) -> tf.Tensor:
        """Returns the generator's loss, `[N]`, given scores r and f."""

    def scored(self, critic: Critic, real: tf.Tensor, fake: tf.Tensor, seed: Any) -> Scored:
        """Returns the scores of data and samples, and the gradient penalty."""
        if self.penalty is not None:
            return self.penalty.scored(critic, real, fake, seed)
        scores = critic(real)
        return Scored(scores, critic(fake), tf.zeros_like(scores))


@dataclasses.dataclass(frozen=True)
class _Logistic(Adversarial):
    """Base class of losses whose discriminator is a logistic regression of data against samples."""

    def discriminator_loss(self, real: Any, fake: Any) -> tf.Tensor:
        return tf.nn.softplus(-_tensor(real)) + tf.nn.softplus(_tensor(fake))


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class Minimax(_Logistic):
    """The original minimax game, in which both players optimise the same value.

        V = E log D(x) + E log(1 - D(G(z))),   D = sigmoid of the score
        discriminator   -log sigmoid(r) - log(1 - sigmoid(f))
        generator        log(1 - sigmoid(f))

    For the optimal discriminator V = 2 * JS(data, samples) - log 4 (Goodfellow et al., 2014 [1]).
    The generator's gradient vanishes when the discriminator is confident. `NonSaturating` avoids
    this.

    Args:
      penalty: gradient penalty of the discriminator. Default: none.

    Example:

    ```python
    import tfp_genext as gx

    value = gx.objectives.Minimax().value(real=[0.0, 0.0], fake=[0.0, 0.0])
    assert abs(float(value) + 1.3863) < 1e-4
    ```

    #### References

    [1]: Ian J. Goodfellow et al. Generative Adversarial Networks. 2014.
         https://arxiv.org/abs/1406.2661
    """

    def generator_loss(self, real: Any, fake: Any) -> tf.Tensor:
        del real
        return -tf.nn.softplus(_tensor(fake))

    def value(self, real: Any, fake: Any) -> tf.Tensor:
        """Returns V, in nats, from scores of data and of samples."""
        of_data = tf.reduce_mean(-tf.nn.softplus(-_tensor(real)))
        return of_data + tf.reduce_mean(-tf.nn.softplus(_tensor(fake)))


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class NonSaturating(_Logistic):
    """The logistic discriminator with a generator that maximises the log-odds of its samples.

        discriminator   -log sigmoid(r) - log(1 - sigmoid(f))
        generator       -log sigmoid(f)

    (Goodfellow et al., 2014, section 3, arXiv:1406.2661).

    Args:
      penalty: gradient penalty, such as `ZeroCentered(10.0)`. Default: none.

    Example:

    ```python
    import tfp_genext as gx

    loss = gx.objectives.NonSaturating().generator_loss(real=[0.0], fake=[0.0])
    assert abs(float(loss[0]) - 0.6931) < 1e-4
    ```
    """

    def generator_loss(self, real: Any, fake: Any) -> tf.Tensor:
        del real
        return tf.nn.softplus(-_tensor(fake))


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class LeastSquares(Adversarial):
    """Least-squares losses: scores are regressed to 1 for data and 0 for samples.

        discriminator   ((r - 1)^2 + f^2) / 2
        generator       (f - 1)^2 / 2

    (Mao et al., 2017 [1]).

    Args:
      penalty: as in `gx.objectives.Minimax`. Default: none.

    Example:

    ```python
    import tfp_genext as gx

    loss = gx.objectives.LeastSquares().discriminator_loss(real=[0.0], fake=[1.0])
    assert float(loss[0]) == 1.0
    ```

    #### References

    [1]: Xudong Mao et al. Least Squares Generative Adversarial Networks. 2017.
         https://arxiv.org/abs/1611.04076
    """

    def discriminator_loss(self, real: Any, fake: Any) -> tf.Tensor:
        return 0.5 * (tf.square(_tensor(real) - 1.0) + tf.square(_tensor(fake)))

    def generator_loss(self, real: Any, fake: Any) -> tf.Tensor:
        del real
        return 0.5 * tf.square(_tensor(fake) - 1.0)


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class Wasserstein(Adversarial):
    """The Wasserstein distance, by a critic whose gradient norm is penalised towards 1.

        discriminator   f - r
        generator       -f

    (Arjovsky et al., 2017 [1]; Gulrajani et al., 2017 [2]). The discriminator needs several steps
    for each step of the generator.

    Args:
      penalty: gradient penalty of the critic. Default: `gx.objectives.OneCentered(10.0)`.

    Example:

    ```python
    import tfp_genext as gx

    objective = gx.objectives.Wasserstein()
    assert float(objective.discriminator_loss(real=[2.0], fake=[0.5])[0]) == -1.5
    ```

    #### References

    [1]: Martin Arjovsky, Soumith Chintala, Leon Bottou. Wasserstein GAN. 2017.
         https://arxiv.org/abs/1701.07875
    [2]: Ishaan Gulrajani, Faruk Ahmed, Martin Arjovsky, Vincent Dumoulin, Aaron Courville.
         Improved Training of Wasserstein GANs. 2017. https://arxiv.org/abs/1704.00028
    """

    penalty: Penalty | None = dataclasses.field(default_factory=OneCentered, kw_only=True)

    def discriminator_loss(self, real: Any, fake: Any) -> tf.Tensor:
        return _tensor(fake) - _tensor(real)

    def generator_loss(self, real: Any, fake: Any) -> tf.Tensor:
        del real
        return -_tensor(fake)


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class Hinge(Adversarial):
    """Hinge losses, with margin 1 for the scores of the discriminator.

        discriminator   max(0, 1 - r) + max(0, 1 + f)
        generator       -f

    (Lim and Ye, 2017 [1]).

    Args:
      penalty: as in `gx.objectives.Minimax`. Default: none.

    Example:

    ```python
    import tfp_genext as gx

    loss = gx.objectives.Hinge().discriminator_loss(real=[2.0], fake=[0.5])
    assert float(loss[0]) == 1.5
    ```

    #### References

    [1]: Jae Hyun Lim, Jong Chul Ye. Geometric GAN. 2017. https://arxiv.org/abs/1705.02894
    """

    def discriminator_loss(self, real: Any, fake: Any) -> tf.Tensor:
        return tf.nn.relu(1.0 - _tensor(real)) + tf.nn.relu(1.0 + _tensor(fake))

    def generator_loss(self, real: Any, fake: Any) -> tf.Tensor:
        del real
        return -_tensor(fake)


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class Relativistic(Adversarial):
    """Relativistic pairing losses (R3GAN): each sample is scored against a real point.

        discriminator   -log sigmoid(r - f)
        generator       -log sigmoid(f - r)

    Data and samples are paired in the order of the batch (Jolicoeur-Martineau, 2019 [1]). Pairing
    penalises dropped modes. With the gradient penalties R1 and R2 training converges locally (Huang
    et al., 2024 [2]).

    Args:
      penalty: gradient penalties R1 and R2. Default: `gx.objectives.ZeroCentered(0.1)`.

    Example:

    ```python
    import tfp_genext as gx

    loss = gx.objectives.Relativistic().generator_loss(real=[1.0], fake=[1.0])
    assert abs(float(loss[0]) - 0.6931) < 1e-4
    ```

    #### References

    [1]: Alexia Jolicoeur-Martineau. The relativistic discriminator: a key element missing from
         standard GAN. 2019. https://arxiv.org/abs/1807.00734
    [2]: Yiwen Huang, Aaron Gokaslan, Volodymyr Kuleshov, James Tompkin. The GAN is dead; long live
         the GAN! A Modern Baseline GAN. 2024. https://arxiv.org/abs/2501.05441
    """

    penalty: Penalty | None = dataclasses.field(
        default_factory=lambda: ZeroCentered(0.1), kw_only=True
    )
    compares: ClassVar[bool] = True

    def discriminator_loss(self, real: Any, fake: Any) -> tf.Tensor:
        return tf.nn.softplus(_tensor(fake) - _tensor(real))

    def generator_loss(self, real: Any, fake: Any) -> tf.Tensor:
        return tf.nn.softplus(_tensor(real) - _tensor(fake))


def _tensor(scores: Any) -> tf.Tensor:
    return tf.convert_to_tensor(scores)
