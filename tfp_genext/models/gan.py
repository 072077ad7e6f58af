"""Generative adversarial networks with any distribution as noise and flows as generators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext import objectives
from tfp_genext.bijectors import conditioning
from tfp_genext.core import checks, context_shapes, tracking
from tfp_genext.distributions.initialization import initialize
from tfp_genext.models import data as data_lib
from tfp_genext.models import losses, noise, players
from tfp_genext.models.checked import CheckedModel, refuse_losses, require_optimizer
from tfp_genext.models.served import gan_signatures
from tfp_genext.models.whole import distinct
from tfp_genext.serving import saved_model

# Steps after which the average has left the first weights behind.
_WARM_UP = 10.0


@keras.saving.register_keras_serializable(package="tfp_genext")
class GAN(CheckedModel):
    """Generative adversarial network: a generator and a discriminator trained against each other.

        samples         x = G(z),   z ~ prior
        discriminator   minimises the objective's first loss, and its penalty, of D(x) and D(G(z))
        generator       minimises its second

    Each step of training takes `discriminator_steps` steps of the discriminator, on the same rows
    of data and fresh noise, and then one of the generator. Neither changes a weight of the other,
    including the statistics of batch normalisation. Samples use an average of the generator's
    weights over the last steps (Goodfellow et al., 2014 [1]; Karras et al., 2018 [2]).

    If the generator is a flow, the likelihood of samples and data is exact. It is reported as
    `nll`, and is added to the generator's loss with the weight `likelihood_weight` (Grover et al.,
    2018 [3]). Its `ActNorm`s are initialised on the first batch of `fit`.

    Metrics are `generator_loss`, `discriminator_loss` without its penalty, `penalty`, and the mean
    scores `real_score` and `fake_score`; `evaluate` uses the averaged generator.
    `predict(x)` returns the discriminator's scores, `[N]`: logits for most objectives.

    With `conditional_event_shape` both networks receive a context, such as a class, besides their
    inputs: `fit(c, x)`, `predict((c, x))`, `sample(n, conditional_input=c)`. A network whose `call`
    has an argument `conditional_input` receives it there, any other as a list `[inputs, context]`.

    Args:
      generator: a Keras layer from noise to samples, or a flow.
      discriminator: a Keras layer from samples to scores, `[N]` or `[N, 1]`, without any activation
        on the last layer.
      prior: distribution of the noise, of batch shape `[]`. Its variables are trained and averaged
        with the generator's. Default: the base of a flow.
      objective: a game of `gx.objectives`. Default: `gx.objectives.Relativistic()`.
      discriminator_steps: number of steps per step of the generator. Default: 1.
      ema: decay of the moving average of the generator's weights, in [0, 1); smaller in the first
        steps. 0 for no average and no copy of the generator. Default: 0.999.
      likelihood_weight: of a flow's negative log-likelihood in the generator's loss. Default: 0.
      conditional_event_shape: shape of one context event, or a dictionary, tuple or list of them.
        Default: none.
      seed: of the noise; an integer. Default: a new one.
      **kwargs: further arguments of `keras.Model`, such as `name`.

    Raises:
      TypeError: if generator, discriminator, prior or objective have the wrong type.
      ValueError: if shapes do not agree, or the players share a variable. In `fit`, if data have
        another shape or NaN or infinite entries, or if a player is frozen.

    Example:

    ```python
    import keras
    import numpy as np
    import tensorflow as tf
    import tfp_genext as gx
    from tensorflow_probability import distributions as tfd

    gan = gx.models.GAN(
        keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(2)]),
        keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)]),
        prior=tfd.Independent(tfd.Normal(tf.zeros([4]), 1.0), 1),
    )
    gan.compile(
        generator_optimizer=keras.optimizers.Adam(1e-3, beta_1=0.0),
        discriminator_optimizer=keras.optimizers.Adam(1e-3, beta_1=0.0),
    )
    x = np.random.default_rng(0).normal(size=[64, 2]).astype("float32")
    gan.fit(x, epochs=1, verbose=0)
    assert gan.sample(10, seed=[1, 2]).shape == [10, 2]
    assert gan.predict(x, verbose=0).shape == (64,)
    ```

    #### References

    [1]: Ian J. Goodfellow et al. Generative Adversarial Networks. 2014.
         https://arxiv.org/abs/1406.2661
    [2]: Tero Karras, Timo Aila, Samuli Laine, Jaakko Lehtinen. Progressive Growing of GANs for
         Improved Quality, Stability, and Variation. 2018. https://arxiv.org/abs/1710.10196
    [3]: Aditya Grover, Manik Dhar, Stefano Ermon. Flow-GAN: Combining Maximum Likelihood and
         Adversarial Learning in Generative Models. 2018. https://arxiv.org/abs/1705.08868
    """

    _loss_name = "the generator's or the discriminator's"
    _predictions = "scores"
    _parts = "`generator` and `discriminator`"
    _weighs_rows = False

    def __init__(
        self,
        generator: Any,
        discriminator: keras.layers.Layer,
        *,
        prior: tfd.Distribution | None = None,
        objective: objectives.Adversarial | None = None,
        discriminator_steps: int = 1,
        ema: float = 0.999,
        likelihood_weight: float = 0.0,
        conditional_event_shape: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        prior = players.checked_prior(generator, prior)
        if not isinstance(discriminator, keras.layers.Layer):
            raise TypeError(checks.message("discriminator", "a Keras layer", discriminator))
        super().__init__(autocast=False, **kwargs)
        self.objective = _checked_objective(objective)
        self.discriminator_steps = checks.positive_int("discriminator_steps", discriminator_steps)
        self.ema = checks.number("ema", ema, "in [0, 1)", lambda n: 0.0 <= n < 1.0)
        self.seed = noise.model_seed(seed)
        context = context_shapes.checked("conditional_event_shape", conditional_event_shape)
        self._players = players.Players(
            generator, discriminator, prior, context, self.variable_dtype
        )
        self.likelihood_weight = self._checked_weight(likelihood_weight)
        self._shown = self._players.with_average() if self.ema else self._players
        self._check = data_lib.DataCheck(
            tuple(self._players.events.shape[1:].as_list()),
            None,
            context,
            computed_in=self._players.dtype,
            made_by="generator",
        )
        self._keep_parts()
        self._make_metrics()
        self.built = True

    @property
    def generator(self) -> Any:
        """The generator, a Keras layer or a flow."""
        return self._players.generator

    @property
    def averaged_generator(self) -> Any:
        """The generator with averaged weights, which `sample` uses."""
        return self._shown.generator

    @property
    def discriminator(self) -> keras.layers.Layer:
        """The discriminator."""
        return self._players.discriminator

    @property
    def prior(self) -> tfd.Distribution:
        """The distribution of the noise."""
        return self._players.prior

    def compile(
        self,
        generator_optimizer: Any = None,
        discriminator_optimizer: Any = None,
        loss: Any = None,
        **kwargs: Any,
    ) -> None:
        """Configures training as in Keras, with an optimizer for each player.

        Args:
          generator_optimizer: Keras optimizer.
          discriminator_optimizer: Keras optimizer, not the same.
          loss: must be `None`.
          **kwargs: further arguments of `keras.Model.compile`.

        Raises:
          ValueError: if one of the optimizers is missing, both are one, or a loss or metrics are
            given.
        """
        refuse_losses(loss, kwargs, "the losses are those of `objective`")
        if kwargs.get("optimizer") is not None:
            expected = (
                "None, for a GAN: it has two, one for each player, as in "
                "compile(generator_optimizer=..., discriminator_optimizer=...)"
            )
            raise ValueError(checks.message("optimizer", expected, kwargs["optimizer"]))
        given = {
            "generator_optimizer": generator_optimizer,
            "discriminator_optimizer": discriminator_optimizer,
        }
        for name, optimizer in given.items():
            if optimizer is None:
                expected = "a Keras optimizer; a GAN has two, one for each player"
                raise ValueError(checks.message(name, expected, None))
            require_optimizer(name, optimizer)
        if generator_optimizer is discriminator_optimizer and not isinstance(
            generator_optimizer, str
        ):
            expected = "another object than `generator_optimizer`: each has its own state"
            raise ValueError(checks.message("discriminator_optimizer", expected, "the same"))
        for name in ("metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(checks.message(name, "None, for a GAN", kwargs[name]))
        super().compile(optimizer=generator_optimizer, **kwargs)
        self.generator_optimizer = self.optimizer
        self.discriminator_optimizer = self._scaled(keras.optimizers.get(discriminator_optimizer))

    def _initialize(self, data: data_lib.Data, batch_size: int) -> data_lib.Data:
        """Runs data-dependent initialisation of a flow on the first batch."""
        if not self._players.is_flow or not conditioning.uninitialized(self.generator):
            return data
        data, (x, y) = data_lib.first_batch(data, batch_size)
        context, x = self._parted((x, y) if self._check.conditional else x)
        initialize(self.generator, x, conditional_input=context)
        if self._shown is not self._players:
            self._shown.take_over(self._players)
        return data

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        """Returns the discriminator's scores `[N]`, of data or of a pair of contexts and data."""
        del training
        context, x = self._parted(inputs)
        return self._players.scores(x, context)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> keras.KerasTensor:
        del training
        batch = keras.tree.flatten(inputs)[0].shape[0]
        return keras.KerasTensor((batch,), dtype=self._players.dtype.name)

    def train_step(self, data: Any) -> dict[str, Any]:
        self._check_player("generator", self._generator_variables())
        self._check_player("discriminator", self.discriminator.trainable_variables)
        context, x = self._parted(self._joined(data)[0])
        step = tf.convert_to_tensor(self.generator_optimizer.iterations)
        seeds = noise.seeds_of_step(self.seed, self._batch, 2 * self.discriminator_steps + 1)
        for i in range(self.discriminator_steps):
            self._train_discriminator(x, context, seeds[2 * i], seeds[2 * i + 1])
        self._train_generator(x, context, seeds[-1])
        if self._shown is not self._players:
            self._average(step)
        return self.get_metrics_result()

    def _average(self, step: tf.Tensor) -> None:
        # Accumulated gradients and batches that loss scaling skips do not count as steps.
        moved = tf.convert_to_tensor(self.generator_optimizer.iterations) > step
        step = tf.cast(step, tf.float32)
        past = tf.minimum(self.ema, (step + 1.0) / (step + _WARM_UP))
        share = tf.where(moved, 1.0 - past, 0.0)
        players.average(self._shown.variables(), self._players.variables(), share)

    def _train_discriminator(self, x: Any, context: Any, seed: Any, penalty_seed: Any) -> None:
        fake = self._players.generated(self._players.noise(x, seed), context)
        with tf.GradientTape() as tape:
            critic = self._players.critic(context, own=True)
            scored = self.objective.scored(critic, x, tf.stop_gradient(fake), penalty_seed)
            loss = self.objective.discriminator_loss(scored.real, scored.fake)
            total = losses.weighted_mean(loss + scored.penalty)
            total = losses.total(total, self.discriminator.losses, training=True)
            total = self.discriminator_optimizer.scale_loss(total)
        finite = losses.step(
            self.discriminator_optimizer,
            tape,
            total,
            self.discriminator.trainable_variables,
            compiled=self.jit_compile,
        )
        self._discriminator_loss.update_state(losses.nan_unless(finite, loss))
        self._penalty.update_state(scored.penalty)
        self._real_score.update_state(scored.real)
        self._fake_score.update_state(scored.fake)

    def _train_generator(self, x: Any, context: Any, seed: Any) -> None:
        with tf.GradientTape() as tape:
            fake = self._players.generated(self._players.noise(x, seed), context, own=True)
            critic = self._players.critic(context)
            real = tf.stop_gradient(critic(x)) if self.objective.compares else None
            loss = self.objective.generator_loss(real, critic(fake))
            total = losses.weighted_mean(loss)
            if self._nll is not None:
                nll = -self._players.log_prob(x, context)
                self._nll.update_state(nll)
                if self.likelihood_weight:
                    total += self.likelihood_weight * losses.weighted_mean(nll)
            layer_losses = [e for network in self._generators for e in network.losses]
            total = losses.total(total, layer_losses, training=True)
            total = self.generator_optimizer.scale_loss(total)
        self._check_seen(tape.watched_variables(), self.generator_optimizer)
        finite = losses.step(
            self.generator_optimizer,
            tape,
            total,
            self._generator_variables(),
            compiled=self.jit_compile,
        )
        self._generator_loss.update_state(losses.nan_unless(finite, loss))

    def test_step(self, data: Any) -> dict[str, Any]:
        context, x = self._parted(self._joined(data)[0])
        seed, penalty_seed = noise.seeds_of_data(self.seed, x, 2)
        fake = self._shown.shown(self._shown.noise(x, seed), context)
        scored = self.objective.scored(
            lambda samples: self._players.scores(samples, context), x, fake, penalty_seed
        )
        loss = self.objective.discriminator_loss(scored.real, scored.fake)
        self._discriminator_loss.update_state(loss)
        self._generator_loss.update_state(self.objective.generator_loss(scored.real, scored.fake))
        self._penalty.update_state(scored.penalty)
        self._real_score.update_state(scored.real)
        self._fake_score.update_state(scored.fake)
        if self._nll is not None:
            self._nll.update_state(-self._shown.log_prob(x, context))
        return self.get_metrics_result()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics of the game."""
        kept = [
            self._generator_loss,
            self._discriminator_loss,
            self._penalty,
            self._real_score,
            self._fake_score,
            self._nll,
        ]
        return [metric for metric in kept if metric is not None]

    def _samples(self, n: int, seed: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        return self._shown.sample(n, seed, context)

    def discriminate(self, x: Any, conditional_input: Any = None) -> tf.Tensor:
        """Returns the discriminator's scores, `[N]`.

        Args:
          x: data or samples `[N, *event]`.
          conditional_input: contexts, if the model is conditional.

        Raises:
          ValueError: for data of another shape, or a context not wanted.
        """
        return self._players.scores(*self._checked(x, conditional_input))

    def log_prob(self, x: Any, conditional_input: Any = None) -> tf.Tensor:
        """Returns the exact log-likelihood of a generator that is a flow, `[N]`, in nats.

        Args:
          x: data or samples `[N, *event]`.
          conditional_input: contexts, if the model is conditional.

        Raises:
          NotImplementedError: if the generator is a network, which has no density.
          ValueError: for data of another shape, or a context not wanted.
        """
        if not self._players.is_flow:
            raise NotImplementedError(
                "`generator` must be a flow for samples to have a density. "
                f"Received: {type(self.generator).__name__}"
            )
        return self._shown.log_prob(*self._checked(x, conditional_input))

    def _parted(self, inputs: Any) -> tuple[Any, tf.Tensor]:
        context, x = self._check.batch(inputs, None, None)
        context = context_shapes.cast(self.conditional_event_shape, context, self._players.dtype)
        return context, tf.cast(x, self._players.dtype)

    def _generator_variables(self) -> list[keras.Variable]:
        held = [v for network in self._generators for v in network.trainable_variables]
        return [*held, *(v for v in self._loose_variables if v.trainable)]

    def _checked_weight(self, weight: Any) -> float:
        weight = checks.non_negative_number("likelihood_weight", weight)
        if weight and not self._players.is_flow:
            expected = "0 for a generator that is no flow: it has no likelihood"
            raise ValueError(checks.message("likelihood_weight", expected, weight))
        return weight

    def _keep_parts(self) -> None:
        """Registers the networks and variables of both players and of the average with Keras."""
        self._generators, self._loose_variables = _held(self._players.noisy_parts)
        copies = [] if self._shown is self._players else self._shown.noisy_parts
        # A prior without variables is not copied.
        copies = [part for part in copies if part is not self._players.prior]
        average, self._average_variables = _held(copies)
        for part in (*average, *self._average_variables):
            part.trainable = False
        self._networks = distinct([*self._generators, *average, self._players.discriminator])
        self._check_apart()

    def _check_apart(self) -> None:
        own = {id(v) for network in self._generators for v in network.variables}
        shared = [v.path for v in self._players.discriminator.variables if id(v) in own]
        if shared:
            expected = "a network that shares no variable with `generator`, its opponent"
            raise ValueError(checks.message("discriminator", expected, shared))

    def _check_player(self, name: str, variables: list[keras.Variable]) -> None:
        if not variables:
            raise ValueError(
                f"`{name}` must have a trainable variable for `fit`. Received: none that is not "
                "frozen"
            )

    def _make_metrics(self) -> None:
        self._generator_loss = keras.metrics.Mean(name="generator_loss")
        self._discriminator_loss = keras.metrics.Mean(name="discriminator_loss")
        self._penalty = keras.metrics.Mean(name="penalty")
        self._real_score = keras.metrics.Mean(name="real_score")
        self._fake_score = keras.metrics.Mean(name="fake_score")
        self._nll = keras.metrics.Mean(name="nll") if self._players.is_flow else None

    def _scaled(self, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
        """Scales a loss as Keras scales that of the other player."""
        scale = keras.optimizers.LossScaleOptimizer
        if isinstance(self.optimizer, scale) and not isinstance(optimizer, scale):
            return scale(optimizer)
        return optimizer

    def _optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        return {
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    def _to_train(self) -> dict[str, list[keras.Variable]]:
        return {
            "generator_optimizer": self._generator_variables(),
            "discriminator_optimizer": self.discriminator.trainable_variables,
        }

    def _export(self, path: Any, **options: Any) -> None:
        saved_model.write(path, gan_signatures(self._shown), [self], **options)

    def _arguments_for_file(self) -> dict[str, Any]:
        return {
            "objective": self.objective,
            "discriminator_steps": self.discriminator_steps,
            "ema": self.ema,
            "likelihood_weight": self.likelihood_weight,
            "conditional_event_shape": self.conditional_event_shape,
            "seed": self.seed,
        }

    def _tfp_arguments_for_file(self) -> dict[str, Any]:
        prior = None if self._players.is_flow else self.prior
        return {"generator": self.generator, "discriminator": self.discriminator, "prior": prior}


def _held(parts: Sequence[Any]) -> tuple[list[keras.Layer], list[keras.Variable]]:
    """Returns the Keras layers held by distributions and layers, and the remaining variables."""
    networks = distinct(network for part in parts for network in tracking.networks(part))
    return networks, distinct(v for part in parts for v in tracking.loose_variables(part))


def _checked_objective(objective: Any) -> objectives.Adversarial:
    if objective is None:
        return objectives.Relativistic()
    if not isinstance(objective, objectives.Adversarial):
        expected = "a game, such as gx.objectives.Relativistic()"
        raise TypeError(checks.message("objective", expected, objective))
    return objective
