"""Posterior, prior and likelihood of one batch, and quantities computed from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext.objectives import draws


class Draws(NamedTuple):
    """Latents of a batch with their posterior log-densities.

    Fields:
      z: `[K, N, *event]`.
      log_posterior: log q(z | x), `[K, N]`.
    """

    z: tf.Tensor
    log_posterior: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Inference:
    """The distributions of one batch from which a bound is computed.

    Args:
      posterior: q(z | x), of batch shape `[N]`.
      prior: p(z), of batch shape `[]` or `[N]`.
      log_likelihood: function from latents `[K, N, *event]` to log p(x | z), `[K, N]`.
    """

    posterior: tfd.Distribution
    prior: tfd.Distribution
    log_likelihood: Callable[[tf.Tensor], tf.Tensor]

    @property
    def reparameterized(self) -> bool:
        """Whether gradients pass through samples of the posterior."""
        return self.posterior.reparameterization_type == tfd.FULLY_REPARAMETERIZED

    def sample(self, num_samples: int, seed: Any) -> tf.Tensor:
        """Returns latents `[K, N, *event]` without their densities."""
        return draws.sample(self.posterior, num_samples, seed)

    def draw(self, num_samples: int, seed: Any) -> Draws:
        """Returns latents with their posterior log-densities.

        Latents of a posterior that is not reparameterised are treated as constants.
        """
        if self.reparameterized:
            return Draws(*draws.sample_and_log_prob(self.posterior, num_samples, seed))
        z = tf.stop_gradient(self.sample(num_samples, seed))
        return Draws(z, self.posterior.log_prob(z))

    def log_prior(self, z: tf.Tensor) -> tf.Tensor:
        """Returns log p(z), `[K, N]`."""
        return self.prior.log_prob(tf.cast(z, self.prior.dtype))

    def log_weights(self, drawn: Draws) -> tf.Tensor:
        """Returns log p(x, z) - log q(z | x), `[K, N]`."""
        return self.log_likelihood(drawn.z) + self.log_prior(drawn.z) - drawn.log_posterior

    def kl(self) -> tf.Tensor | None:
        """Returns KL(q || p) if TFP has a formula, else `None`.

        The shape is `[N, *event]` if the entries of the latents are independent, and `[N]` if not.
        """
        posterior, prior = draws.entries(self.posterior), draws.entries(self.prior)
        if posterior is None or prior is None:
            posterior, prior = self.posterior, self.prior
        try:
            return tfd.kl_divergence(posterior, prior)
        except (NotImplementedError, ValueError):  # `tfd.Sample`s of other ranks.
            return None

    def posterior_means(self, num_samples: int, seed: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns two estimates of E[z | x], `[N, *event]`, with uncorrelated errors."""
        try:
            mean = tf.cast(self.posterior.mean(), tf.float32)
            return mean, mean
        except NotImplementedError:
            z = tf.cast(self.sample(2 * num_samples, seed), tf.float32)
            first, second = tf.split(z, 2)
            return tf.reduce_mean(first, axis=0), tf.reduce_mean(second, axis=0)


def log_mean_exp(log_weights: tf.Tensor) -> tf.Tensor:
    """Returns log(1/K sum_k exp(log_weights_k)), `[N]`."""
    number = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
    return tf.reduce_logsumexp(log_weights, axis=0) - tf.math.log(number)
