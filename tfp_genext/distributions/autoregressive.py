"""Distributions as products of conditionals, one network for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfp_genext.core import checks
from tfp_genext.distributions.conditionals import Conditionals, Draw, Likeliest, Noise, uniform
from tfp_genext.distributions.head import Head
from tfp_genext.saving.classes import register


@register("gx.distributions.Autoregressive")
class Autoregressive(tfd.Distribution):
    """A product of conditionals whose parameters come from one masked network.

        log p(x) = sum_k log head(params_k)(x_k),   params = network(x)

    where params_k depends on the entries before x_k in the network's order alone. The density costs
    one evaluation of the network, and a sample a few, as the networks of this package solve for
    their own inputs; any other causal network makes D passes, from the first entry to the last.

    A network of several masks (see `gx.networks.MADE`) is a mixture of as many models:

        p(x) = 1/M sum_m p_m(x)

    of which `gx.models.DensityModel` trains one at each step, in turn (Germain et al., 2015 [1]).
    Its samples cannot be compiled by XLA.

    Args:
      network: a Keras 3 layer from events, and contexts if it has a `conditional_event_shape`, to
        parameters `[N, *event, params_size]`, such as `gx.networks.MADE` and
        `gx.networks.PixelCNN`. One that is not of this package must be causal in the order of the
        event's entries, which nobody checks.
      head: of one entry, such as `gx.distributions.IndependentNormal([])`; of a head of a whole
        event its entries are taken, and a mixture is one of entries.
      conditional_input: contexts `[*batch, *conditional_event_shape]`, as `condition` sets them.
        Default: none.
      event_shape: shape of one event. Default: that of the head or, of a head of one entry, of the
        network.
      validate_args: whether densities assert in graphs too that values are in the head's support,
        as far as its own distribution does; eager calls always check. Default: `False`.
      name: as in TFP. Default: `"Autoregressive"`.

    Raises:
      TypeError: where `network` is no Keras layer or `head` no head.
      ValueError: where the head has no entries or none that can be drawn, or sizes do not agree;
        in an eager call, for values outside the head's support.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentCategorical([], 3)
    network = gx.networks.MADE(4, head.params_size, hidden_units=[16], num_classes=3)
    distribution = gx.distributions.Autoregressive(network, head)
    x, log_prob = distribution.experimental_sample_and_log_prob(5, seed=[1, 2])
    tf.debugging.assert_near(distribution.log_prob(x), log_prob)
    assert distribution.complete(x, 2, seed=[3, 4]).shape == [5, 4]
    ```

    #### References

    [1]: Mathieu Germain, Karol Gregor, Iain Murray, Hugo Larochelle. MADE: Masked Autoencoder for
         Distribution Estimation. 2015. https://arxiv.org/abs/1502.03509
    """

    def __init__(
        self,
        network: keras.layers.Layer,
        head: Head,
        *,
        conditional_input: Any = None,
        event_shape: Sequence[int] | None = None,
        validate_args: bool = False,
        name: str = "Autoregressive",
    ) -> None:
        parameters = dict(locals())
        self._conditionals = Conditionals(network, head, event_shape, validate_args=validate_args)
        self._network = self._conditionals.network  # Where `tf.Module` sees it.
        self._context = self._conditionals.checked_context(conditional_input)
        entry = self._conditionals.entry
        of_entry = entry(tf.zeros([entry.params_size], self._conditionals.dtype))
        super().__init__(
            dtype=of_entry.dtype,
            reparameterization_type=of_entry.reparameterization_type,
            validate_args=validate_args,
            allow_nan_stats=False,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict[str, Any]:
        del dtype, num_classes
        context = tfp.util.ParameterProperties(
            event_ndims=lambda self: len(self.conditional_event_shape or ())
        )
        return {"conditional_input": context}

    @property
    def network(self) -> keras.layers.Layer:
        """The layer that gives the parameters."""
        return self._network.network

    @property
    def head(self) -> Head:
        """The head of one entry."""
        return self._conditionals.entry

    @property
    def discrete(self) -> bool:
        """Whether events hold whole numbers."""
        return self.head.discrete

    @property
    def conditional_event_shape(self) -> tuple[int, ...] | None:
        """Shape of one context event; `None` where there is no context."""
        return self._conditionals.conditional_event_shape

    @property
    def conditional_input(self) -> Any:
        """The contexts; `None` where there are none, or none yet."""
        return self._context

    def condition(self, conditional_input: Any) -> Autoregressive:
        """Returns the distribution given contexts, on the same variables.

        Args:
          conditional_input: `[*batch, *conditional_event_shape]`.

        Returns:
          A distribution of that batch shape.

        Raises:
          ValueError: where the network takes no context, or one of another shape; for NaN or
            infinite values.
        """
        return self.copy(conditional_input=self._given(conditional_input))

    def _given(self, conditional_input: Any) -> Any:
        if conditional_input is None:
            return self._context
        return self._conditionals.checked_context(conditional_input)

    def complete(
        self, x: Any, num_observed: int, *, seed: Any = None, greedy: bool = False
    ) -> tf.Tensor:
        """Draws what is missing of partly observed events.

        The entries of x that come first in the network's order are kept, and the others drawn given
        these; `order_of_entries` tells the order.

        Args:
          x: `[..., *batch, *event]`, or fewer events, which then serve several contexts; entries
            that are not observed may be anything.
          num_observed: how many entries are.
          seed: a pair of integers, stateless; an integer s means `[0, s]`. Default: a new seed.
          greedy: whether each missing entry is the likeliest one given those before it, in place of
            a draw; of a mixture, the likeliest of its heaviest component. Default: `False`.

        Returns:
          Events `[..., *batch, *event]`.

        Raises:
          ValueError: where more entries are observed than there are, events are of another shape,
            observed entries are outside the support, or the network has several masks, and so no
            one order.
        """
        num_observed = checks.positive_int("num_observed", num_observed, minimum=0)
        size, dtype = self._conditionals.size, self._conditionals.dtype
        if num_observed > size:
            expected = f"at most {size}, the number of entries"
            raise ValueError(checks.message("num_observed", expected, num_observed))
        observed = self.order_of_entries() < num_observed
        known = tf.cast(self._conditionals.checked(x, self._context, observed), dtype)
        known = self._conditionals.for_each_context(known, self._context)
        z = tf.where(observed, known, uniform(tf.shape(known), _stateless(seed), dtype))
        update = (Likeliest if greedy else Draw)(self.head)
        completed, _ = self._conditionals.solve(update, z, self._context, num_observed)
        return tf.cast(tf.where(observed, known, completed), self.dtype)

    def order_of_entries(self) -> np.ndarray:
        """Returns the place of each entry in the order of generation, integers `[*event]`.

        Raises:
          ValueError: where the network has several masks, and so no one order.
        """
        return self._conditionals.positions()

    def greedy(self) -> tf.Tensor:
        """Returns the event each of whose entries is the likeliest one given those before it.

        It is no mode: the likeliest event may begin with an entry that is not. Of a mixture it is
        the likeliest entry of the heaviest component.

        Returns:
          `[*batch, *event]`.
        """
        shape = tf.concat([self.batch_shape_tensor(), self.event_shape], axis=0)
        nothing = tf.zeros(shape, self._conditionals.dtype)
        return self.complete(nothing, 0, seed=[0, 0], greedy=True)

    @property
    def noise_spec(self) -> Noise:
        """Shapes and dtypes of the noise of one sample."""
        u = tf.TensorSpec(self.event_shape, self._conditionals.dtype)
        return Noise(u, tf.TensorSpec([], tf.int32))

    def noise(self, sample_shape: Any, seed: Any) -> Noise:
        """Returns the noise that `sample` makes its samples of.

        Args:
          sample_shape: int32 `[]` or `[S]`.
          seed: a stateless seed.
        """
        u_seed, mask_seed = tf.unstack(tfp.random.split_seed(_stateless(seed), 2))
        sample_shape = tf.reshape(tf.convert_to_tensor(sample_shape, tf.int32), [-1])
        shape = tf.concat([sample_shape, self.batch_shape_tensor()], axis=0)
        whole = tf.concat([shape, self.event_shape], axis=0)
        number = self._conditionals.num_masks
        mask = tf.zeros(shape, tf.int32)
        if number > 1:
            mask = tf.random.stateless_uniform(shape, mask_seed, 0, number, tf.int32, alg="philox")
        return Noise(uniform(whole, u_seed, self._conditionals.dtype), mask)

    def from_noise(self, noise: Noise) -> tf.Tensor:
        """Returns the samples that noise becomes, `[..., *event]`."""
        if self._conditionals.num_masks > 1:
            x = self._conditionals.solve_by_mask(noise, self._context)
        else:
            x, _ = self._conditionals.solve(Draw(self.head), noise.u, self._context)
        return tf.cast(x, self.dtype)

    def training_log_prob(self, x: Any, step: Any, conditional_input: Any = None) -> tf.Tensor:
        """Returns what a step of training maximises, `[...]`: the log-density under one mask.

        Args:
          x: events `[..., *event]`.
          step: int `[]`; masks take turns.
          conditional_input: contexts, where they are not set. Default: none.
        """
        number = self._conditionals.num_masks
        if number == 1:
            return self.log_prob(x, conditional_input=conditional_input)
        context = self._given(conditional_input)
        x = self._conditionals.checked(x, context)
        return self._conditionals.log_prob_under(tf.cast(step, tf.int32) % number, x, context)

    def _log_prob(self, x: tf.Tensor, conditional_input: Any = None) -> tf.Tensor:
        context = self._given(conditional_input)
        return self._conditionals.log_prob(self._conditionals.checked(x, context), context)

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        return self.from_noise(self.noise(n, seed))

    def _sample_and_log_prob(
        self, sample_shape: Any, seed: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        noise = self.noise(tf.reduce_prod(sample_shape), seed)
        conditionals = self._conditionals
        if conditionals.num_masks > 1:
            x = conditionals.solve_by_mask(noise, self._context)
            log_prob = conditionals.log_prob(x, self._context)
        else:
            x, params = conditionals.solve(Draw(self.head), noise.u, self._context)
            log_prob = conditionals.log_prob_given(params, x)
        x, log_prob = (
            tf.reshape(t, tf.concat([sample_shape, tf.shape(t)[1:]], axis=0))
            for t in (tf.cast(x, self.dtype), log_prob)
        )
        return self._set_sample_static_shape(x, sample_shape), log_prob

    def check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` where an array holds entries outside the support."""
        self.head.check_values(x)

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape(self._conditionals.event)

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant(self._conditionals.event, tf.int32)


def _stateless(seed: Any) -> tf.Tensor:
    return tfp.random.sanitize_seed(checks.seed("seed", seed))
