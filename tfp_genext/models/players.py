"""The two players of a GAN: generator and discriminator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext.core import checks, context_shapes, tracking
from tfp_genext.distributions import contexts
from tfp_genext.models import network_checks
from tfp_genext.objectives import draws
from tfp_genext.saving.reader import decode
from tfp_genext.saving.writer import encode


class Players:
    """Generator and discriminator of a GAN, without training.

    Args:
      generator: a Keras layer, or a flow.
      discriminator: a Keras layer.
      prior: of the noise.
      context_shape: shape of one context event, or a structure of them; `None` for no context.
      dtype: of data, where the generator is a network.
    """

    def __init__(
        self,
        generator: Any,
        discriminator: keras.layers.Layer,
        prior: tfd.Distribution,
        context_shape: Any,
        dtype: str,
    ) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self.prior = prior
        self.context_shape = context_shape
        self.is_flow = isinstance(generator, tfd.Distribution)
        self.dtype = generator.dtype if self.is_flow else tf.as_dtype(dtype)
        self.events = self._first_events()

    def generated(self, z: tf.Tensor, context: Any = None, *, own: bool = False) -> tf.Tensor:
        """Returns samples `[N, *event]` for noise, in training mode.

        Args:
          z: noise.
          context: contexts, or `None`.
          own: whether this is the generator's own step, in which its statistics may move.
        """
        if self.is_flow:
            return self._pushed(z, context)
        call = tracking.call if own else tracking.call_unchanged
        return tf.cast(call(self.generator, z, context, training=True), self.dtype)

    def critic(self, context: Any = None, *, own: bool = False) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns the discriminator in training mode: samples to scores `[N]`.

        Args:
          context: contexts, or `None`.
          own: whether this is its own step, in which its statistics may move.
        """
        call = tracking.call if own else tracking.call_unchanged
        return lambda x: self._in_a_row(call(self.discriminator, x, context, training=True))

    def scores(self, x: tf.Tensor, context: Any = None) -> tf.Tensor:
        """Returns the discriminator's scores in inference mode, `[N]`."""
        scores = tracking.call(self.discriminator, x, context, training=False)
        return self._in_a_row(scores)

    def sample(self, n: Any, seed: Any, context: Any = None) -> tf.Tensor:
        """Samples in inference mode, `[n, *event]`, or `[n, N, *event]` for N contexts."""
        if context is None:
            return self.shown(self.prior.sample(n, seed=seed))
        rows = context_shapes.number_of_rows(context)
        z = self.prior.sample(n * rows, seed=seed)
        x = self.shown(z, context_shapes.repeated(context, n))
        return tf.reshape(x, tf.concat([[n, rows], tf.shape(x)[1:]], axis=0))

    def shown(self, z: tf.Tensor, context: Any = None) -> tf.Tensor:
        """Returns samples for noise, in inference mode."""
        if self.is_flow:
            return self._pushed(z, context)
        samples = tracking.call(self.generator, z, context, training=False)
        return tf.cast(samples, self.dtype)

    def log_prob(self, x: tf.Tensor, context: Any = None) -> tf.Tensor:
        """Returns a flow's exact log-likelihood, `[N]`."""
        return contexts.of(self.generator).log_prob(tf.cast(x, self.dtype), context)

    def with_average(self) -> Players:
        """Returns players whose generator is a copy of this one."""
        generator = _copied(self.generator)
        if self.is_flow:
            prior = generator.distribution
        else:
            prior = _copied(self.prior) if self.prior.variables else self.prior
        average = Players(generator, self.discriminator, prior, self.context_shape, self.dtype.name)
        average.take_over(self)
        return average

    @property
    def noisy_parts(self) -> list[Any]:
        """Parts that samples depend on: generator, and prior unless it is a flow's base."""
        return [self.generator] if self.is_flow else [self.generator, self.prior]

    def variables(self) -> list[tf.Variable]:
        """Returns the variables that samples depend on."""
        return [v for part in self.noisy_parts for v in tracking.variables(part)]

    def take_over(self, other: Players) -> None:
        """Copies the variables of other players."""
        for own, current in zip(self.variables(), other.variables(), strict=True):
            own.assign(current)

    def noise(self, x: tf.Tensor, seed: Any) -> tf.Tensor:
        """Returns noise for one sample per row of data."""
        return draws.sample_rows(self.prior, tf.shape(x)[0], seed)

    def _pushed(self, z: tf.Tensor, context: Any) -> tf.Tensor:
        return contexts.of(self.generator).bind(context).bijector.forward(z)

    def _in_a_row(self, scores: tf.Tensor) -> tf.Tensor:
        if scores.shape.rank == 2 and scores.shape[1] == 1:
            scores = scores[:, 0]
        return tf.cast(scores, self.dtype)

    def _first_events(self) -> tf.TensorSpec:
        """Returns shape and dtype of samples; builds both networks."""
        shapes = [] if self.context_shape is None else [self.context_shape]
        context = checks.run_trial(lambda: [context_shapes.zeros(s, 2, self.dtype) for s in shapes])
        z = checks.run_trial(lambda: self.prior.sample(2, seed=[0, 0]))
        x = self._fitting("generator", "noise of the prior", self.shown, z, *context)
        samples, source = x.shape, "samples of the generator"
        scores = self._fitting("discriminator", source, self.scores, x, *context).shape
        if not samples.rank or samples[0] != 2 or not samples.is_fully_defined():
            expected = "of shape [N, ...], of a known event shape, for N rows of noise"
            raise ValueError(checks.message("generator", expected, f"{samples} for N = 2"))
        if scores != [2]:
            expected = "one score a row, [N] or [N, 1]"
            raise ValueError(checks.message("discriminator", expected, f"{scores} for N = 2"))
        return tf.TensorSpec([None, *samples[1:]], self.dtype, name="x")

    def _fitting(self, name: str, source: str, part: Callable, *inputs: tf.Tensor) -> tf.Tensor:
        def explain() -> None:
            if self.context_shape is not None:
                network_checks.refuse_single_input(name, getattr(self, name))

        return checks.trial_call(name, source, part, *inputs, explain=explain)


def checked_prior(generator: Any, prior: Any) -> tfd.Distribution:
    """Returns the distribution of the noise: the given prior, or the base of a flow."""
    if isinstance(generator, keras.layers.Layer):
        if not isinstance(prior, tfd.Distribution):
            expected = "a tfd.Distribution of noise, for a generator that is a network"
            raise TypeError(checks.message("prior", expected, prior))
        if prior.batch_shape != []:
            expected = "of batch shape [], as `tfd.Independent` gives it"
            raise ValueError(checks.message("prior", expected, prior.batch_shape))
        return prior
    bijector = getattr(generator, "bijector", None)
    if not isinstance(generator, tfd.Distribution) or not isinstance(bijector, tfb.Bijector):
        raise TypeError(checks.message("generator", "a Keras layer or a flow", generator))
    if prior is not None:
        raise ValueError(checks.message("prior", "None for a flow, which has its own base", prior))
    if contexts.of(generator.distribution).takes_context:
        expected = (
            "a flow whose base takes no context: compose the bijectors of nested flows in one, as "
            "in gx.bijectors.Compose([outer, flow.bijector])"
        )
        raise ValueError(checks.message("generator", expected, generator))
    return generator.distribution


def average(averages: Sequence[tf.Variable], current: Sequence[tf.Variable], share: Any) -> None:
    """Updates exponential moving averages; integer variables are copied."""

    def move(variable: tf.Variable, value: tf.Tensor) -> tf.Operation:
        if not variable.dtype.is_floating:
            return variable.assign(value)
        return variable.assign_add(tf.cast(share, variable.dtype) * (value - variable))

    def update(strategy: tf.distribute.Strategy) -> None:
        for variable, value in zip(averages, current, strict=True):
            strategy.extended.update(variable, move, args=(value,), group=False)

    context = tf.distribute.get_replica_context()
    if context is not None and context.num_replicas_in_sync > 1:
        context.merge_call(update)
        return
    for variable, value in zip(averages, current, strict=True):
        move(variable, tf.convert_to_tensor(value))


def _copied(part: Any) -> Any:
    """Returns a copy of a generator or prior, whose networks are named "averaged"."""
    if isinstance(part, tfd.Distribution):
        # By encoding and decoding, because TFP's distributions cannot be deep-copied.
        copied = decode(encode({"generator": part}))["generator"]
    else:
        copied = _copied_network(part)
    for network in tracking.networks(copied):
        network.name = f"averaged_{network.name}"
    return copied


def _copied_network(network: keras.layers.Layer) -> keras.layers.Layer:
    try:
        if isinstance(network, keras.Model):
            return keras.models.clone_model(network)
        return type(network).from_config(network.get_config())
    except (NotImplementedError, TypeError, ValueError) as error:
        expected = "a layer that Keras can make again from its `get_config`, or `ema` be 0"
        raise ValueError(checks.message("generator", expected, network)) from error
