"""Variational autoencoders whose parts are distributions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext import bijectors, numerics, objectives
from tfp_genext.bijectors import conditioning
from tfp_genext.core import checks, context_shapes, hosts, tracking
from tfp_genext.core.column_moments import ColumnMoments
from tfp_genext.distributions import Conditional, adaptation, binding
from tfp_genext.distributions.initialization import initialize
from tfp_genext.distributions.scale_place import new_scale, set_scale
from tfp_genext.layers.preprocessing import apply_inverse
from tfp_genext.models import data as data_lib
from tfp_genext.models import losses, metrics, noise
from tfp_genext.models.checked import CheckedModel, checked_layer, refuse_losses, require_optimizer
from tfp_genext.models.latent import LatentModel, middle
from tfp_genext.models.served import vae_signatures
from tfp_genext.models.whole import distinct
from tfp_genext.serving import saved_model

# How many rows of data are prepared at once to be looked at.
_ROWS = 1000
_ONLY_IN_EVALUATION = ("nll", "active_units", "bits_per_dim")


class Bounds(NamedTuple):
    """Bound and estimates of a VAE for each row of a batch, in nats.

    Fields:
      terms: of the objective.
      log_prob: importance-weighted estimate of log p(x), `[N]`; `None` in training.
      means: two estimates of E[z | x], `[N, *latent]`; `None` in training.
    """

    terms: objectives.Terms
    log_prob: tf.Tensor | None = None
    means: tuple[tf.Tensor, tf.Tensor] | None = None


@keras.saving.register_keras_serializable(package="tfp_genext")
class VAE(CheckedModel):
    """Variational autoencoder: a latent variable model with its approximate posterior.

        model       z ~ p(z),  x ~ p(x | z)          prior and decoder
        posterior   q(z | x) ~ p(z | x)              encoder
        bound       log p(x) >= E_q log p(x | z) - KL(q(z | x) || p(z))

    Encoder and decoder are callables from a tensor to a `tfd.Distribution`, usually a
    `gx.distributions.Conditional`, with a flow on top for a flow posterior or likelihood. The prior
    may be any distribution. Its trainable variables, such as those of a flow or of a
    `gx.distributions.VampPrior`, are trained as well (Kingma and Welling, 2014 [1]).

    Latents that are not reparameterised, such as discrete ones, need an objective with several
    samples, and receive score-function or VIMCO gradients.

    Metrics, in nats: `negative_elbo`, `reconstruction` and `kl`; in `evaluate` and on validation
    data also `nll`, estimated by importance weighting with `eval_samples` latents, and
    `active_units`, the number of latent entries that carry information about the data. `predict(x)`
    returns the estimate of log p(x), `[N]`. Callbacks that monitor a metric need its direction, as
    in `keras.callbacks.EarlyStopping("val_nll", mode="min")`.

    With `conditional_event_shape` the encoder, the decoder and, if it is conditional, the prior
    receive a context: `fit(c, x)`, `evaluate(c, x)`, `predict((c, x))`, as in `DensityModel`.

    Args:
      encoder: from data `[N, *event]` to q(z | x), of batch shape `[N]`.
      decoder: from latents `[N, *latent]` to p(x | z), of batch shape `[N]`.
      prior: p(z), of batch shape `[]`; or a `Conditional` or conditional flow of a context.
      objective: a bound of `gx.objectives`. Default: `gx.objectives.ELBO()`.
      preprocessing: a Keras layer that is applied to data first, called with `training`, such as
        `gx.layers.Binarize` or `gx.layers.Dequantize`. Samples are converted back by its method
        `inverse`, if it has one. Default: none.
      conditional_event_shape: shape of one context event, or a dictionary, tuple or list of them.
        Default: none.
      eval_samples: number of latents per row in estimates of log p(x). The estimate is biased
        downwards, by more than a nat for ten latents. Default: 100.
      bits_per_dim: whether to report `nll` in bits per dimension too. Default: `False`.
      seed: of the latents; an integer. Default: a new one.
      scale: scale of the data, set by `adapt`: encoder and decoder then see data of mean 0 and
        standard deviation 1. Default: none.
      **kwargs: further arguments of `keras.Model`, such as `name`.

    Raises:
      TypeError: if encoder, decoder or prior have the wrong type or dtype.
      ValueError: if shapes do not agree, or the objective does not support the posterior. In `fit`,
        if data have another shape or NaN entries or, once preprocessed, are outside the support of
        the decoder's head.

    Example:

    ```python
    import keras
    import numpy as np
    import tfp_genext as gx
    from tensorflow_probability import distributions as tfd
    import tensorflow as tf

    normal = gx.distributions.IndependentNormal([2])
    bernoulli = gx.distributions.IndependentBernoulli([8])
    vae = gx.models.VAE(
        gx.distributions.Conditional(keras.layers.Dense(normal.params_size), normal),
        gx.distributions.Conditional(keras.layers.Dense(bernoulli.params_size), bernoulli),
        prior=tfd.Independent(tfd.Normal(tf.zeros([2]), 1.0), 1),
    )
    vae.compile(optimizer=keras.optimizers.Adam(1e-3))
    x = np.random.default_rng(0).integers(0, 2, [64, 8])
    vae.fit(x, epochs=1, verbose=0)
    assert vae.reconstruct(x).shape == [64, 8]
    assert vae.sample(10, seed=[1, 2]).shape == [10, 8]
    assert vae.log_prob(x, num_samples=100, seed=[1, 2]).shape == [64]
    ```

    #### References

    [1]: Diederik P. Kingma, Max Welling. Auto-Encoding Variational Bayes. 2014.
         https://arxiv.org/abs/1312.6114
    """

    _loss_name = "the negative bound"
    _predictions = "log-densities"
    _parts = "`encoder`, `decoder` and `prior`"

    def __init__(
        self,
        encoder: Callable[..., tfd.Distribution],
        decoder: Callable[..., tfd.Distribution],
        *,
        prior: tfd.Distribution,
        objective: objectives.Bound | None = None,
        preprocessing: keras.layers.Layer | None = None,
        conditional_event_shape: Any = None,
        eval_samples: int = 100,
        bits_per_dim: bool = False,
        seed: int | None = None,
        scale: bijectors.Standardize | None = None,
        **kwargs: Any,
    ) -> None:
        saved_model.check_servable(prior, "prior")
        super().__init__(autocast=False, **kwargs)
        self.objective = _checked_objective(objective)
        self.eval_samples = checks.positive_int("eval_samples", eval_samples)
        self.seed = noise.model_seed(seed)
        context = context_shapes.checked("conditional_event_shape", conditional_event_shape)
        self._model = LatentModel(encoder, decoder, prior, context, self.variable_dtype, scale)
        self.preprocessing = checked_layer(preprocessing, rescales=not self._has_density)
        self.objective.check(
            reparameterized=self._model.reparameterized, kl_formula=self._model.kl_formula
        )
        self._check = data_lib.DataCheck(
            tuple(self._model.events.shape[1:].as_list()),
            None,
            context,
            self._check_values,
            computed_in=self._model.dtype,
            made_by="decoder",
        )
        for name, part in (("encoder", encoder), ("decoder", decoder)):
            if isinstance(part, Conditional):
                part.call_unnamed(name)
        parts = self._tfp_parts
        self._networks = distinct(n for part in parts for n in tracking.networks(part))
        self._loose_variables = distinct(v for p in parts for v in tracking.loose_variables(p))
        self._make_metrics(bits_per_dim)
        self._estimate = self._traced_estimate()
        self.built = True

    @property
    def _tfp_parts(self) -> list[Any]:
        parts = [self.encoder, self.decoder, self.prior, self._model.scale]
        return [part for part in parts if part is not None]

    @property
    def encoder(self) -> Callable[..., tfd.Distribution]:
        """The encoder, which parameterises the posterior."""
        return self._model.encoder

    @property
    def decoder(self) -> Callable[..., tfd.Distribution]:
        """The decoder, which parameterises the likelihood."""
        return self._model.decoder

    @property
    def prior(self) -> tfd.Distribution:
        """The distribution of the latents; it shares its variables with the model."""
        return self._model.prior

    def encode(self, x: Any, conditional_input: Any = None) -> tfd.Distribution:
        """Returns the posterior q(z | x), of batch shape `[N]`.

        Args:
          x: data `[N, *event]`.
          conditional_input: contexts, if the model is conditional.

        Raises:
          ValueError: for data of another shape or outside the support, or a context not wanted.
        """
        return self._model.posterior(*self._checked(x, conditional_input))

    def decode(self, z: Any, conditional_input: Any = None) -> tfd.Distribution:
        """Returns the likelihood p(x | z), of batch shape `[N]`.

        Args:
          z: latents `[N, *latent]`.
          conditional_input: contexts, if the model is conditional.

        Raises:
          ValueError: for latents of another shape, or a context not wanted.
        """
        z = checks.numeric("z", z)
        checks.context("z", z, self._model.latents.shape[1:].as_list())
        context = self._checked_context(conditional_input)
        for part in [] if context is None else tf.nest.flatten(context):
            checks.same_rows("conditional_input", part, "z", z)
        return self._model.likelihood(z, context)

    def reconstruct(self, x: Any, conditional_input: Any = None) -> tf.Tensor:
        """Returns reconstructions `[N, *event]`: point estimates of x at point estimates of z.

        The middle is the mean; the mode of what has none; a flow's is that of its base, pushed
        forward.

        Args:
          x: data `[N, *event]`.
          conditional_input: contexts, if the model is conditional.
        """
        z = middle(self.encode(x, conditional_input))
        return middle(self.decode(z, conditional_input))

    def _samples(self, n: int, seed: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        return apply_inverse(self.preprocessing, self._model.sample(n, seed, context))

    def log_prob(
        self, x: Any, num_samples: int = 100, seed: Any = None, *, conditional_input: Any = None
    ) -> tf.Tensor:
        """Estimates log p(x) by importance weighting; biased downwards.

            log p(x) ~ log(1/K sum_k p(x, z_k) / q(z_k | x)),   z_k ~ q(z | x)

        Args:
          x: data `[N, *event]`.
          num_samples: K; thousands give the figures of papers. Default: 100.
          seed: a pair of integers, stateless; an integer s means `[0, s]`. Default: a new seed.
          conditional_input: contexts, if the model is conditional.

        Returns:
          Estimates `[N]`, in nats.

        Raises:
          ValueError: for data of another shape or outside the support, or a context not wanted.
        """
        num_samples = checks.positive_int("num_samples", num_samples)
        seed = noise.call_seed(seed)
        x, context = self._checked(x, conditional_input)
        return self._estimate(x, context, tf.constant(num_samples), seed)

    def call(self, inputs: Any, training: bool | None = None) -> Bounds:
        """Returns bounds and estimates for each row of data, or of a pair of contexts and data."""
        context, x = self._check.batch(inputs, None, None)
        x = self.prepared(x, training=bool(training))
        context = context_shapes.cast(self.conditional_event_shape, context, self.variable_dtype)
        inference = self._model.inference(x, context)
        step = self._step
        if training:
            (seed,) = noise.seeds_of_step(self.seed, self._batch, 1)
            return Bounds(self.objective.terms(inference, seed=seed, step=step))
        seed, estimate_seed, mean_seed = noise.seeds_of_data(self.seed, x, 3)
        return Bounds(
            self.objective.terms(inference, seed=seed, step=step),
            self._model.estimate(x, context, self.eval_samples, estimate_seed),
            inference.posterior_means(self.eval_samples, mean_seed),
        )

    def prepared(self, x: Any, *, training: bool) -> tf.Tensor:
        """Returns preprocessed data, as the decoder models them."""
        if self.preprocessing is not None:
            x = self.preprocessing(x, training=training)
        return tf.cast(x, self._model.events.dtype)

    def _check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` if preprocessed data are outside the decoder's support."""
        refuse = getattr(self.decoder, "check_values", None) or _nothing
        if self.preprocessing is None:
            refuse(x)
            return
        knows_its_input = getattr(self.preprocessing, "check_values", None)
        if knows_its_input is not None:
            knows_its_input(x)
            # The outputs of such a layer are of one kind, which one row shows.
            x = x[:1]
        for first in range(0, len(x), _ROWS):
            refuse(self.prepared(x[first : first + _ROWS], training=False).numpy())

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> keras.KerasTensor:
        del training
        batch = keras.tree.flatten(inputs)[0].shape[0]
        return keras.KerasTensor((batch,), dtype=self.variable_dtype)

    def predict_step(self, data: Any) -> tf.Tensor:
        inputs, _, _ = self._joined(data)
        return self(inputs, training=False).log_prob

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Returns the weighted mean of the objective in nats, plus the layers' losses."""
        del x, y
        if training:
            self._check_trainable()
        loss = losses.weighted_mean(y_pred.terms.loss, sample_weight)
        return losses.total(loss, self.losses, training=training)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        _, reconstruction, kl = y_pred.terms
        self._negative_elbo.update_state(reconstruction + kl, sample_weight)
        self._reconstruction.update_state(reconstruction, sample_weight)
        self._kl.update_state(kl, sample_weight)
        if y_pred.log_prob is not None:
            self._nll.update_state(-y_pred.log_prob, sample_weight)
            self._active_units.update_state(*y_pred.means)
            if self._bits is not None:
                bits = numerics.bits_per_dim(-y_pred.log_prob, self._check.event_shape)
                self._bits.update_state(bits, sample_weight)
        return self._known(y_pred.log_prob is not None)

    def get_metrics_result(self) -> dict[str, Any]:
        """Returns the metrics, without those that are not updated in training."""
        return self._known(
            not tf.executing_eagerly() or tf.convert_to_tensor(self._nll.count) > 0.0
        )

    def _known(self, evaluated: bool) -> dict[str, Any]:
        results = super().get_metrics_result()
        unknown = () if evaluated else _ONLY_IN_EVALUATION
        return {name: value for name, value in results.items() if name not in unknown}

    def compile(self, optimizer: Any = "adam", loss: Any = None, **kwargs: Any) -> None:
        """Configures training as in Keras; the loss is the negative bound.

        Args:
          optimizer: Keras optimizer. Default: `"adam"`.
          loss: must be `None`.
          **kwargs: further arguments of `keras.Model.compile`.

        Raises:
          ValueError: if a loss or metrics are given, or no optimizer.
        """
        refuse_losses(loss, kwargs, "the loss is that of `objective`")
        if kwargs.get("metrics") or kwargs.get("weighted_metrics"):
            raise ValueError(checks.message("metrics", "None: the model has its own", kwargs))
        require_optimizer("optimizer", optimizer)
        super().compile(optimizer=optimizer, **kwargs)
        self._estimate = self._traced_estimate()  # Layers may have changed since the last trace.

    def _export(self, path: Any, **options: Any) -> None:
        functions = vae_signatures(self._model, self.prepared, self._samples)
        if options["jit_compile"]:
            # XLA does not support gradients through loops of unknown length.
            functions.pop("log_prob_and_gradient", None)
        saved_model.write(path, functions, [self], **options)

    def _arguments_for_file(self) -> dict[str, Any]:
        return {
            "objective": self.objective,
            "conditional_event_shape": self.conditional_event_shape,
            "eval_samples": self.eval_samples,
            "bits_per_dim": self._bits is not None,
            "seed": self.seed,
        }

    def _tfp_arguments_for_file(self) -> dict[str, Any]:
        return {
            "encoder": self.encoder,
            "decoder": self.decoder,
            "prior": self.prior,
            "preprocessing": self.preprocessing,
            "scale": self._model.scale,
        }

    @functools.cached_property
    def _has_density(self) -> bool:
        return self._model.continuous

    def _residuals(self, x: tf.Tensor, context: Any) -> tf.Tensor | None:
        z = self._model.sample_latents(x, context)
        return adaptation.residuals(self._model.likelihood(z, context), x)

    def _adaptable_values(self) -> Callable[[tf.Tensor], tf.Tensor]:
        self._model.check_scalable()
        return tf.identity

    def _adapt(self, moments: ColumnMoments) -> None:
        self._estimate = self._traced_estimate()  # The last trace knows nothing of the scale.
        shifts = self._model.support is adaptation.Support.REAL
        if self._model.scale is not None:
            set_scale(self._model.scale, moments, shifts=shifts)
            return
        self._model.scale = new_scale(moments, self._model.events.dtype, shifts=shifts)
        known = list(self._loose_variables)
        variables = distinct(
            v for part in self._tfp_parts for v in tracking.loose_variables(part, known)
        )
        hosts.replace_variables(self, self._loose_variables, variables)

    def _traced_estimate(self) -> Callable[..., tf.Tensor]:
        return tf.function(self._model.estimate, autograph=False, reduce_retracing=True)

    def _initialize(self, data: data_lib.Data, batch_size: int) -> data_lib.Data:
        """Runs data-dependent initialisation of a flow prior on latents of the first batch."""
        if isinstance(self.prior, keras.layers.Layer) or not conditioning.uninitialized(self.prior):
            return data
        data, (x, y) = data_lib.first_batch(data, batch_size)
        context, x = self._check.batch(x, y if self._check.conditional else None, None)
        context = context_shapes.cast(self.conditional_event_shape, context, self.variable_dtype)
        posterior = self._model.posterior(self.prepared(x, training=False), context)
        (seed,) = noise.seeds_of_step(self.seed, -1, 1)
        given = context if binding.takes_context(self.prior) else None
        initialize(self.prior, posterior.sample(seed=seed), conditional_input=given)
        return data

    def _make_metrics(self, bits_per_dim: bool) -> None:
        self._negative_elbo = keras.metrics.Mean(name="negative_elbo")
        self._reconstruction = keras.metrics.Mean(name="reconstruction")
        self._kl = keras.metrics.Mean(name="kl")
        self._nll = keras.metrics.Mean(name="nll")
        latent_shape = self._model.latents.shape[1:].as_list()
        self._active_units = metrics.ActiveUnits(latent_shape, name="active_units")
        self._bits = keras.metrics.Mean(name="bits_per_dim") if bits_per_dim else None


def _nothing(x: np.ndarray) -> None:
    """Accepts any data if the decoder's support is unknown."""
    del x


def _checked_objective(objective: Any) -> objectives.Bound:
    if objective is None:
        return objectives.ELBO()
    if not isinstance(objective, objectives.Bound):
        expected = "a bound, such as gx.objectives.ELBO()"
        raise TypeError(checks.message("objective", expected, objective))
    return objective
