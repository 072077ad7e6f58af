"""The model inside a VAE: prior, decoder and encoder as one object, without any Keras training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import checks, contexts
from tfp_genext.distributions import Autoregressive
from tfp_genext.objectives.draws import is_independent
from tfp_genext.objectives.inference import Inference

# How many rows a decoder sees at once where many latents are drawn for each.
_ROWS = 20_000


class LatentModel:
    """z ~ p(z), x ~ p(x | z), and q(z | x); all of them given a context, if there is one.

    Args:
      encoder: from data and, if any, a context to q.
      decoder: from latents and, if any, a context to p(x | z).
      prior: p(z), single or conditional.
      context_shape: shape of one context event; `None` for no context.
      dtype: of what encoder and decoder are given.
    """

    def __init__(
        self,
        encoder: Callable[..., tfd.Distribution],
        decoder: Callable[..., tfd.Distribution],
        prior: Any,
        context_shape: tuple[int, ...] | None,
        dtype: str,
    ) -> None:
        for name, part in (("encoder", encoder), ("decoder", decoder)):
            if not callable(part):
                raise TypeError(checks.message(name, "callable, with a distribution", part))
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        self.dtype = tf.as_dtype(dtype)
        self.context_shape = context_shape
        self.latents = contexts.event_spec(prior)
        likelihood = self._of_two(self._likelihood_facts, self.latents.shape[1:])
        self.events = tf.TensorSpec([None, *likelihood.event_shape], likelihood.dtype, name="x")
        posterior = self._of_two(self._posterior_facts, self.events.shape[1:])
        self.reparameterized = posterior.reparameterized
        self.kl_formula = posterior.kl_formula

    def posterior(self, x: tf.Tensor, context: Any = None) -> tfd.Distribution:
        """Returns q(z | x) of prepared data `[N, *event]`."""
        return _distribution("encoder", self.encoder, tf.cast(x, self.dtype), context)

    def likelihood(self, z: tf.Tensor, context: Any = None) -> tfd.Distribution:
        """Returns p(x | z) of latents `[N, *latent]`."""
        return _distribution("decoder", self.decoder, tf.cast(z, self.dtype), context)

    def inference(self, x: tf.Tensor, context: Any = None) -> Inference:
        """Returns what a bound is computed of."""
        observed = tf.cast(x, self.events.dtype)
        return Inference(
            self.posterior(x, context),
            self._bound_prior(context),
            lambda z: self._log_likelihood(z, observed, context),
        )

    def sample(self, n: Any, seed: Any, context: Any = None) -> tf.Tensor:
        """Returns data `[n, *event]`, or `[n, N, *event]` of N contexts."""
        prior_seed, likelihood_seed = tf.unstack(tfp.random.split_seed(seed, 2))
        if context is None:
            z = self.prior.sample(n, seed=prior_seed)
            return self.likelihood(z).sample(seed=likelihood_seed)
        z = self.latents_of(n, prior_seed, context)
        flat = self.likelihood(self._flattened(z), _repeated(context, n))
        x = flat.sample(seed=likelihood_seed)
        return tf.reshape(x, tf.concat([tf.shape(z)[:2], tf.shape(x)[1:]], axis=0))

    def latents_of(self, n: Any, seed: Any, context: tf.Tensor) -> tf.Tensor:
        """Returns draws from the prior, `[n, N, *latent]`, for N contexts."""
        if contexts.takes_context(self.prior):
            return self._bound_prior(context).sample(n, seed=seed)
        return self.prior.sample([n, tf.shape(context)[0]], seed=seed)

    def estimate(self, x: tf.Tensor, context: Any, num_samples: Any, seed: Any) -> tf.Tensor:
        """Returns estimates of log p(x), `[N]`, by importance weighting, in parts that fit memory.

        Args:
          x: prepared data.
          context: contexts, or `None`.
          num_samples: int32 `[]`.
          seed: a stateless seed.
        """
        inference = self.inference(x, context)
        part = tf.clip_by_value(_ROWS // tf.maximum(tf.shape(x)[0], 1), 1, num_samples)

        def add(done: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            own = tf.random.experimental.stateless_fold_in(seed, done)
            log_weights = inference.log_weights(inference.draw(part, own))
            left = tf.range(part) < num_samples - done
            log_weights = tf.where(left[:, tf.newaxis], log_weights, -np.inf)
            return done + part, tf.reduce_logsumexp(
                tf.concat([total[tf.newaxis], log_weights], axis=0), axis=0
            )

        nothing = tf.fill([tf.shape(x)[0]], tf.constant(-np.inf, self.dtype))
        _, total = tf.while_loop(lambda done, _: done < num_samples, add, (0, nothing))
        return total - tf.math.log(tf.cast(num_samples, total.dtype))

    def _log_likelihood(self, z: tf.Tensor, x: tf.Tensor, context: Any) -> tf.Tensor:
        """Returns log p(x | z), `[K, N]`, of latents `[K, N, *latent]`."""
        if z.shape[0] == 1:
            return self.likelihood(z[0], context).log_prob(x)[tf.newaxis]
        number = tf.shape(z)[0]
        context = None if context is None else _repeated(context, number)
        log_prob = self.likelihood(self._flattened(z), context).log_prob(_repeated(x, number))
        return tf.reshape(log_prob, [number, -1])

    def _flattened(self, z: tf.Tensor) -> tf.Tensor:
        """Returns latents `[K, N, *latent]` as `[K * N, *latent]`."""
        return tf.reshape(z, [-1, *self.latents.shape[1:]])

    def _bound_prior(self, context: Any) -> tfd.Distribution:
        if context is None or not contexts.takes_context(self.prior):
            return self.prior
        return contexts.bind(self.prior, context)

    def _likelihood_facts(self, z: tf.Tensor, context: Any = None) -> _Facts:
        return _facts("decoder", self.likelihood(z, context))

    def _posterior_facts(self, x: tf.Tensor, context: Any = None) -> _Facts:
        posterior = self.posterior(x, context)
        facts = _facts("encoder", posterior)
        if facts.event_shape != self.latents.shape[1:]:
            raise ValueError(
                "`encoder` and `prior` must have the same event shape. Received: "
                f"{facts.event_shape} and {self.latents.shape[1:]}"
            )
        prior = self._bound_prior(context)
        formula = Inference(posterior, prior, tf.zeros_like).kl() is not None
        return dataclasses.replace(facts, kl_formula=formula)

    def _of_two(self, facts: Callable[..., _Facts], event_shape: Any) -> _Facts:
        """Returns what is known of a part given two inputs.

        Makes the variables of networks that wait for their first call.
        """
        shapes = [event_shape, *([] if self.context_shape is None else [self.context_shape])]
        return facts(*(tf.zeros([2, *shape], self.dtype) for shape in shapes))


@dataclasses.dataclass(frozen=True)
class _Facts:
    """What is known of a distribution without its values."""

    event_shape: tf.TensorShape
    dtype: tf.DType
    reparameterized: bool
    kl_formula: bool = False


def _facts(name: str, distribution: tfd.Distribution) -> _Facts:
    """Returns what is known of the distribution of two inputs."""
    if distribution.batch_shape != [2] or not distribution.event_shape.is_fully_defined():
        raise ValueError(
            f"`{name}` must give distributions of batch shape [N] for inputs [N, ...], as "
            "`tfd.Independent` gives it, and of a known event shape. Received: batch shape "
            f"{distribution.batch_shape} for N = 2, event shape {distribution.event_shape}"
        )
    reparameterized = distribution.reparameterization_type == tfd.FULLY_REPARAMETERIZED
    return _Facts(distribution.event_shape, distribution.dtype, reparameterized)


def middle(distribution: tfd.Distribution) -> tf.Tensor:
    """Returns the mean; without one, a flow's of its base's, pushed forward; else the mode.

    Of relaxed classes it is their probabilities, and of an autoregressive distribution the event of
    likeliest entries.
    """
    if isinstance(distribution, Autoregressive):
        return distribution.greedy()
    try:
        return distribution.mean()
    except NotImplementedError:
        pass
    if hasattr(distribution, "probs_parameter") and distribution.dtype.is_floating:
        return distribution.probs_parameter()
    if is_independent(distribution):
        return middle(distribution.distribution)
    bijector = getattr(distribution, "bijector", None)
    if isinstance(bijector, tfb.Bijector):
        return bijector.forward(middle(distribution.distribution))
    return distribution.mode()


def _distribution(name: str, part: Callable, x: tf.Tensor, context: Any) -> tfd.Distribution:
    made = part(x) if context is None else part(x, conditional_input=context)
    if not isinstance(made, tfd.Distribution):
        raise TypeError(checks.message(name, "something that gives a tfd.Distribution", made))
    return made


def _repeated(x: tf.Tensor, number: Any) -> tf.Tensor:
    """Returns rows `[N, ...]` over and over, `[number * N, ...]`."""
    return tf.tile(x, [number, *[1] * (x.shape.rank - 1)])
