"""Lower bounds of the log-likelihood, the training objectives of a VAE."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_genext.core import checks, replicas
from tfp_genext.objectives.inference import Draws, Inference, log_mean_exp
from tfp_genext.saving.plain import PlainData

_SCORE_FUNCTION = (
    "at least 2, for a posterior that gradients do not pass through: what a sample is compared to "
    "is made of the others"
)


class Terms(NamedTuple):
    """The terms of a bound for each row of a batch, in nats.

    Fields:
      loss: `[N]`, to be minimised; its gradient is the gradient estimator of the bound.
      reconstruction: -E_q log p(x | z), `[N]`.
      kl: KL(q || p), or an estimate of it, `[N]`.
    """

    loss: tf.Tensor
    reconstruction: tf.Tensor
    kl: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Bound(PlainData, abc.ABC):
    """Base class of lower bounds of log p(x) that train a VAE.

    Args:
      num_samples: number of latent samples for each row.
    """

    num_samples: int

    def __post_init__(self) -> None:
        checks.positive_int("num_samples", self.num_samples)

    @abc.abstractmethod
    def terms(self, inference: Inference, *, seed: Any, step: Any) -> Terms:
        """Returns the terms of the bound for each row.

        Args:
          inference: posterior, prior and likelihood of a batch.
          seed: a stateless seed.
          step: number of training steps so far, for schedules.
        """

    def check(self, *, reparameterized: bool, kl_formula: bool) -> None:
        """Raises `ValueError` if the bound cannot train the given posterior.

        Args:
          reparameterized: whether gradients pass through the posterior's samples.
          kl_formula: whether TFP has a formula of its KL divergence from the prior.
        """
        del kl_formula
        if not reparameterized and self.num_samples < 2:
            raise ValueError(checks.message("num_samples", _SCORE_FUNCTION, self.num_samples))


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class ELBO(Bound):
    """The evidence lower bound, with an optional weight of the KL term and free bits.

        ELBO(x) = E_q log p(x | z) - KL(q(z | x) || p(z))  <=  log p(x)
        loss(x) = -1/K sum_k log p(x | z_k) + beta * KL,      z_k ~ q(z | x)

    The KL divergence is computed by TFP's formula if there is one, and otherwise estimated by the
    mean of log q(z_k | x) - log p(z_k) (Kingma and Welling, 2014 [1]). If the latents are
    reparameterised, gradients pass through them. If not, as for discrete latents, the gradient is
    the score-function estimator with the mean of the other samples as the baseline.

    Args:
      num_samples: K. Default: 1.
      beta: weight of the KL, a number of at least 0 (Higgins et al., 2017 [2]), or a schedule of
        the training step from `keras.optimizers.schedules`, such as a warm-up. Default: 1.
      free_bits: KL in nats below which an entry of the latent is not penalised, on average over the
        batch. If the entries are not independent, the limit applies to the whole latent and is
        multiplied by their number (Kingma et al., 2016 [3]). Default: 0.

    Raises:
      TypeError, ValueError: if a value is out of range. The model raises ValueError if the
        posterior is not reparameterised and `num_samples` is below 2.

    Example:

    ```python
    import keras
    import tfp_genext as gx

    warm_up = keras.optimizers.schedules.PolynomialDecay(0.0, 1000, end_learning_rate=1.0)
    objective = gx.objectives.ELBO(beta=warm_up, free_bits=0.1)
    ```

    #### References

    [1]: Diederik P. Kingma, Max Welling. Auto-Encoding Variational Bayes. 2014.
         https://arxiv.org/abs/1312.6114
    [2]: Irina Higgins et al. beta-VAE: Learning Basic Visual Concepts with a Constrained
         Variational Framework. 2017. https://openreview.net/forum?id=Sy2fzU9gl
    [3]: Diederik P. Kingma et al. Improving Variational Inference with Inverse Autoregressive Flow.
         2016. https://arxiv.org/abs/1606.04934
    """

    num_samples: int = 1
    beta: float | Callable[[Any], Any] = dataclasses.field(default=1.0, kw_only=True)
    free_bits: float = dataclasses.field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.beta):
            checks.non_negative_number("beta", self.beta)
        checks.non_negative_number("free_bits", self.free_bits)

    def check(self, *, reparameterized: bool, kl_formula: bool) -> None:
        super().check(reparameterized=reparameterized, kl_formula=kl_formula)
        if self.free_bits and not reparameterized and not kl_formula:
            expected = "0 where neither gradients pass through the latents nor the KL has a formula"
            raise ValueError(checks.message("free_bits", expected, self.free_bits))

    def terms(self, inference: Inference, *, seed: Any, step: Any) -> Terms:
        kl = inference.kl()
        if kl is not None and inference.reparameterized:  # log q is not needed.
            z = inference.sample(self.num_samples, seed)
            return self._terms(inference, inference.log_likelihood(z), kl, step)
        drawn = inference.draw(self.num_samples, seed)
        log_likelihood = inference.log_likelihood(drawn.z)
        reward = log_likelihood
        if kl is None:
            sampled = self._sampled_kl(inference, drawn)
            reward -= self._weight(step, reward.dtype) * sampled
            kl = tf.reduce_mean(sampled, axis=0)
        terms = self._terms(inference, log_likelihood, kl, step)
        if inference.reparameterized:
            return terms
        return terms._replace(loss=terms.loss + _score_function(reward, drawn.log_posterior))

    def _terms(
        self, inference: Inference, log_likelihood: tf.Tensor, kl: tf.Tensor, step: Any
    ) -> Terms:
        reconstruction = -tf.reduce_mean(log_likelihood, axis=0)
        weight = self._weight(step, log_likelihood.dtype)
        loss = reconstruction + weight * self._penalized_kl(kl, inference)
        return Terms(loss, reconstruction, _sum_of_rows(kl))

    def _weight(self, step: Any, dtype: tf.DType) -> tf.Tensor:
        if callable(self.beta):
            return tf.cast(self.beta(step), dtype)
        return tf.constant(self.beta, dtype)

    def _sampled_kl(self, inference: Inference, drawn: Draws) -> tf.Tensor:
        log_posterior = drawn.log_posterior
        if not inference.reparameterized:
            # Its gradient is 0 on average, so it would only add noise to the score function.
            log_posterior = tf.stop_gradient(log_posterior)
        return log_posterior - inference.log_prior(drawn.z)

    def _penalized_kl(self, kl: tf.Tensor, inference: Inference) -> tf.Tensor:
        """Returns the KL term with free bits, `[N]` or `[]`."""
        if not self.free_bits:
            return _sum_of_rows(kl)
        entries = inference.posterior.event_shape.num_elements() if kl.shape.rank == 1 else 1
        rows = replicas.total(tf.cast(tf.shape(kl)[0], kl.dtype))
        mean = replicas.total(tf.reduce_sum(kl, axis=0)) / rows
        free = tf.constant(self.free_bits * entries, kl.dtype)
        return tf.reduce_sum(tf.maximum(mean, free))


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class ImportanceWeighted(Bound):
    """The importance-weighted bound of K samples, which tends to log p(x) for large K.

        L_K(x) = E log(1/K sum_k w_k),   w_k = p(x, z_k) / q(z_k | x),   z_k ~ q(z | x)

    The loss is -L_K (Burda et al., 2016 [1]). If the latents are reparameterised, gradients pass
    through them. If not, the gradient is that of VIMCO, with geometric means of the other weights
    as baselines (Mnih and Rezende, 2016 [2]). The signal-to-noise ratio of the encoder's gradient
    falls with K, except for the doubly reparameterised gradient (Tucker et al., 2019 [3]).

    Args:
      num_samples: K.
      doubly_reparameterized: whether to use the doubly reparameterised gradient of the posterior,
        which costs one more gradient of log p(x, z) with respect to z. Default: `False`.

    Raises:
      TypeError, ValueError: if a value is out of range. The model raises ValueError if the
        posterior is not reparameterised, and `num_samples` is below 2 or `doubly_reparameterized`
        is set.

    Example:

    ```python
    import tfp_genext as gx

    objective = gx.objectives.ImportanceWeighted(50, doubly_reparameterized=True)
    ```

    #### References

    [1]: Yuri Burda, Roger Grosse, Ruslan Salakhutdinov. Importance Weighted Autoencoders. 2016.
         https://arxiv.org/abs/1509.00519
    [2]: Andriy Mnih, Danilo J. Rezende. Variational Inference for Monte Carlo Objectives. 2016.
         https://arxiv.org/abs/1602.06725
    [3]: George Tucker, Dieterich Lawson, Shixiang Gu, Chris J. Maddison. Doubly Reparameterized
         Gradient Estimators for Monte Carlo Objectives. 2019. https://arxiv.org/abs/1810.04152
    """

    doubly_reparameterized: bool = dataclasses.field(default=False, kw_only=True)

    def check(self, *, reparameterized: bool, kl_formula: bool) -> None:
        super().check(reparameterized=reparameterized, kl_formula=kl_formula)
        if self.doubly_reparameterized and not reparameterized:
            expected = "False for a posterior that gradients do not pass through"
            raise ValueError(checks.message("doubly_reparameterized", expected, True))

    def terms(self, inference: Inference, *, seed: Any, step: Any) -> Terms:
        del step
        drawn = inference.draw(self.num_samples, seed)
        if self.doubly_reparameterized:
            return self._doubly_reparameterized(inference, drawn.z)
        log_likelihood, log_prior = inference.log_likelihood(drawn.z), inference.log_prior(drawn.z)
        if inference.reparameterized:
            loss = -log_mean_exp(log_likelihood + log_prior - drawn.log_posterior)
        else:
            loss = _vimco(log_likelihood + log_prior, drawn)
        return self._terms(loss, log_likelihood, log_prior, drawn.log_posterior)

    def _doubly_reparameterized(self, inference: Inference, z: tf.Tensor) -> Terms:
        """Returns terms whose loss has the doubly reparameterised gradient."""
        given = tf.stop_gradient(z)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(given)
            log_likelihood, log_prior = inference.log_likelihood(given), inference.log_prior(given)
            log_posterior = inference.posterior.log_prob(given)
            log_weights = log_likelihood + log_prior - log_posterior
        slope = tf.stop_gradient(tape.gradient(log_weights, given))
        weights = tf.stop_gradient(tf.nn.softmax(log_weights, axis=0))
        along = tf.reduce_sum(slope * z, axis=tf.range(2, tf.rank(z)))
        log_joint = log_likelihood + log_prior
        surrogate = -tf.reduce_sum(weights * log_joint + weights**2 * along, axis=0)
        loss = surrogate + tf.stop_gradient(-log_mean_exp(log_weights) - surrogate)
        return self._terms(loss, log_likelihood, log_prior, log_posterior)

    def _terms(
        self,
        loss: tf.Tensor,
        log_likelihood: tf.Tensor,
        log_prior: tf.Tensor,
        log_posterior: tf.Tensor,
    ) -> Terms:
        kl = tf.reduce_mean(log_posterior - log_prior, axis=0)
        return Terms(loss, -tf.reduce_mean(log_likelihood, axis=0), kl)


def _score_function(reward: tf.Tensor, log_posterior: tf.Tensor) -> tf.Tensor:
    """Returns zeros `[N]` whose gradient is the score-function estimator for a mean reward."""
    number = tf.cast(tf.shape(reward)[0], reward.dtype)
    others = (tf.reduce_sum(reward, axis=0) - reward) / (number - 1.0)
    surrogate = -tf.reduce_mean(tf.stop_gradient(reward - others) * log_posterior, axis=0)
    return surrogate - tf.stop_gradient(surrogate)


def _vimco(log_joint: tf.Tensor, drawn: Draws) -> tf.Tensor:
    """Returns the VIMCO loss `[N]` of `tfp.vi`, from latents and densities already computed."""
    return tfp.vi.monte_carlo_variational_loss(
        lambda z: log_joint[:, tf.newaxis],
        _Drawn(drawn),
        importance_sample_size=drawn.z.shape[0],
        gradient_estimator=tfp.vi.GradientEstimators.VIMCO,
    )


class _Drawn:
    """A posterior for `tfp.vi` that returns samples and densities already computed."""

    reparameterization_type = tfp.distributions.NOT_REPARAMETERIZED

    def __init__(self, drawn: Draws) -> None:
        self._drawn = drawn

    def sample(self, sample_shape: Any, seed: Any = None) -> tf.Tensor:
        del sample_shape, seed
        return self._drawn.z[:, tf.newaxis]

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        del z
        return self._drawn.log_posterior[:, tf.newaxis]


def _sum_of_rows(kl: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(kl, axis=list(range(1, kl.shape.rank)))
