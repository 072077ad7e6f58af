"""The probabilistic model of a VAE: prior, decoder and encoder, without training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext.bijectors import Standardize
from tfp_genext.core import checks, context_shapes, replicas
from tfp_genext.distributions import Autoregressive, adaptation, contexts
from tfp_genext.models import network_checks
from tfp_genext.objectives.draws import is_independent
from tfp_genext.objectives.inference import Inference, log_mean_exp

# How many rows a decoder sees at once where many latents are drawn for each.
_ROWS = 20_000
# Of draws that are only looked at.
_ANY_SEED = (0, 0)


class LatentModel:
    """Latent variable model: p(z), p(x | z) and q(z | x), each given the context if there is one.

    Args:
      encoder: from data and, if any, a context to q.
      decoder: from latents and, if any, a context to p(x | z).
      prior: p(z), single or conditional.
      context_shape: shape of one context event, or a structure of them; `None` for no context.
      dtype: of what encoder and decoder are given.
      scale: of the data; encoder and decoder see them standardised. Default: none.
    """

    def __init__(
        self,
        encoder: Callable[..., tfd.Distribution],
        decoder: Callable[..., tfd.Distribution],
        prior: Any,
        context_shape: Any,
        dtype: str,
        scale: Standardize | None = None,
    ) -> None:
        for name, part in (("encoder", encoder), ("decoder", decoder)):
            if not callable(part):
                raise TypeError(checks.message(name, "callable, with a distribution", part))
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        self.dtype = tf.as_dtype(dtype)
        self.context_shape = context_shape
        self.scale = scale
        self.latents = contexts.of(prior).event_spec
        self._check_prior()
        likelihood = self._facts("decoder", self.likelihood, self.latents.shape[1:])
        self.events = tf.TensorSpec([None, *likelihood.event_shape], likelihood.dtype, name="x")
        posterior = self._facts("encoder", self.posterior, self.events.shape[1:])
        self._check_posterior(posterior)
        self.support = adaptation.base_support(likelihood)
        self.reparameterized = posterior.reparameterization_type == tfd.FULLY_REPARAMETERIZED
        self.kl_formula = self._knows_kl(posterior)

    def posterior(self, x: tf.Tensor, context: Any = None) -> tfd.Distribution:
        """Returns q(z | x) of prepared data `[N, *event]`."""
        if self.scale is not None:
            x = self.scale.inverse(tf.cast(x, self.scale.dtype))
        return _distribution("encoder", self.encoder, tf.cast(x, self.dtype), context)

    def likelihood(self, z: tf.Tensor, context: Any = None) -> tfd.Distribution:
        """Returns p(x | z) of latents `[N, *latent]`."""
        made = _distribution("decoder", self.decoder, tf.cast(z, self.dtype), context)
        return made if self.scale is None else tfd.TransformedDistribution(made, self.scale)

    @property
    def continuous(self) -> bool:
        """Whether the decoder has a density."""
        return self.support is not adaptation.Support.DISCRETE

    def check_scalable(self) -> None:
        """Raises `ValueError` if the scale of the decoder's distribution is fixed."""
        adaptation.check_scalable(self.support)

    def sample_latents(self, x: tf.Tensor, context: Any = None) -> tf.Tensor:
        """Samples one latent from the prior for each row of data, `[N, *latent]`."""
        if context is None:
            return self.prior.sample(tf.shape(x)[0], seed=_ANY_SEED)
        return self.latents_of(1, _ANY_SEED, context)[0]

    def inference(self, x: tf.Tensor, context: Any = None) -> Inference:
        """Returns the samples and log-densities that a bound is computed from."""
        observed = tf.cast(x, self.events.dtype)
        return Inference(
            self.posterior(x, context),
            self._bound_prior(context),
            lambda z: self._log_likelihood(z, observed, context),
        )

    def sample(self, n: Any, seed: Any, context: Any = None) -> tf.Tensor:
        """Samples data, `[n, *event]`, or `[n, N, *event]` for N contexts."""
        prior_seed, likelihood_seed = tf.unstack(tfp.random.split_seed(seed, 2))
        if context is None:
            z = self.prior.sample(n, seed=prior_seed)
            return self.likelihood(z).sample(seed=likelihood_seed)
        z = self.latents_of(n, prior_seed, context)
        flat = self.likelihood(self._flattened(z), context_shapes.repeated(context, n))
        x = flat.sample(seed=likelihood_seed)
        return tf.reshape(x, tf.concat([tf.shape(z)[:2], tf.shape(x)[1:]], axis=0))

    def latents_of(self, n: Any, seed: Any, context: tf.Tensor) -> tf.Tensor:
        """Samples latents from the prior, `[n, N, *latent]`, for N contexts."""
        if contexts.of(self.prior).takes_context:
            return self._bound_prior(context).sample(n, seed=seed)
        return self.prior.sample([n, context_shapes.number_of_rows(context)], seed=seed)

    def estimate(self, x: tf.Tensor, context: Any, num_samples: Any, seed: Any) -> tf.Tensor:
        """Returns estimates of log p(x), `[N]`, by importance weighting, in parts that fit memory.

        Args:
          x: prepared data.
          context: contexts, or `None`.
          num_samples: int32 `[]`.
          seed: a stateless seed.
        """
        inference = self.inference(x, context)
        if replicas.count() > 1:
            # Draws for a whole batch need communication of replicas, which loops do not support.
            own = tf.random.experimental.stateless_fold_in(seed, 0)
            return log_mean_exp(inference.log_weights(inference.draw(num_samples, own)))
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
        context = context_shapes.repeated(context, number)
        log_prob = self.likelihood(self._flattened(z), context).log_prob(
            context_shapes.repeated(x, number)
        )
        return tf.reshape(log_prob, [number, -1])

    def _flattened(self, z: tf.Tensor) -> tf.Tensor:
        """Returns latents `[K, N, *latent]` as `[K * N, *latent]`."""
        return tf.reshape(z, [-1, *self.latents.shape[1:]])

    def _bound_prior(self, context: Any) -> tfd.Distribution:
        if context is None or not contexts.of(self.prior).takes_context:
            return self.prior
        return contexts.of(self.prior).bind(context)

    def _check_prior(self) -> None:
        if self.context_shape is None and contexts.of(self.prior).takes_context:
            expected = "given for a prior that takes a context"
            raise ValueError(checks.message("conditional_event_shape", expected, None))
        self._check_dtype("prior", self.latents.dtype)

    def _check_posterior(self, posterior: tfd.Distribution) -> None:
        if posterior.event_shape != self.latents.shape[1:]:
            raise ValueError(
                "`encoder` and `prior` must have the same event shape. Received: "
                f"{posterior.event_shape} and {self.latents.shape[1:]}"
            )

    def _check_dtype(self, name: str, dtype: tf.DType) -> None:
        if dtype.is_floating and dtype != self.dtype:
            expected = f"of {self.dtype.name}, the model's dtype, where it is of floating point"
            raise TypeError(f"`{name}` must be {expected}. Received: dtype {dtype.name}")

    def _knows_kl(self, posterior: tfd.Distribution) -> bool:
        context = None if self.context_shape is None else self._two_contexts()
        return Inference(posterior, self._bound_prior(context), tf.zeros_like).kl() is not None

    def _facts(self, name: str, part: Callable, event_shape: Any) -> tfd.Distribution:
        """Returns the checked distribution for two dummy inputs.

        Makes the variables of networks that wait for their first call.
        """
        inputs = [self._two(event_shape)]
        if self.context_shape is not None:
            inputs.append(self._two_contexts())
        source = "latents of the prior" if name == "decoder" else "data of the decoder"

        def explain() -> None:
            if self.context_shape is not None:
                network_checks.refuse_single_input(name, getattr(self, name))

        made = checks.trial_call(name, source, part, *inputs, explain=explain)
        if made.batch_shape != [2] or not made.event_shape.is_fully_defined():
            raise ValueError(
                f"`{name}` must give distributions of batch shape [N] for inputs [N, ...], as "
                "`tfd.Independent` gives it, and of a known event shape. Received: batch shape "
                f"{made.batch_shape} for N = 2, event shape {made.event_shape}"
            )
        self._check_dtype(name, made.dtype)
        return made

    def _two_contexts(self) -> Any:
        return checks.run_trial(lambda: context_shapes.zeros(self.context_shape, 2, self.dtype))

    def _two(self, event_shape: Any) -> tf.Tensor:
        return checks.run_trial(lambda: tf.zeros([2, *event_shape], self.dtype))


def middle(distribution: tfd.Distribution) -> tf.Tensor:
    """Returns a point estimate: the mean if it is known, otherwise the mode.

    For a flow it is the image of the point estimate of its base, for relaxed classes their
    probabilities, and for an autoregressive distribution the greedy event.
    """
    if isinstance(distribution, Autoregressive):
        return distribution.greedy()
    try:
        return distribution.mean()
    except NotImplementedError:
        pass
    logarithms = getattr(distribution, "distribution", None)
    if isinstance(logarithms, tfd.ExpRelaxedOneHotCategorical):
        return logarithms.probs_parameter()
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
