"""Autoregressive distributions: products of conditionals with one masked network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfp_genext.core import checks
from tfp_genext.distributions.factorization import Draw, Factorization, Greedy, Noise, uniform
from tfp_genext.distributions.head import Head
from tfp_genext.saving.classes import register


@register("gx.distributions.Autoregressive")
class Autoregressive(tfd.Distribution):
    """A product of conditionals whose parameters come from one masked network.

        log p(x) = sum_k log head(params_k)(x_k),   params = network(x)

    Here params_k depends only on the entries before x_k in the network's order. The density costs
    one evaluation of the network. A sample costs a few evaluations with the networks of this
    package, which solve for their own inputs, and D evaluations with any other causal network.

    A network with M masks (see `gx.networks.MADE`) gives a mixture of M models:

        p(x) = 1/M sum_m p_m(x)

    `gx.models.DensityModel` trains them in turn, one in each step (Germain et al., 2015,
    arXiv:1502.03509). Samples of such a mixture cannot be compiled by XLA.

    Args:
      network: a Keras 3 layer from events, and contexts if it has a `conditional_event_shape`, to
        parameters `[N, *event, params_size]`, such as `gx.networks.MADE` and
        `gx.networks.PixelCNN`. A network from elsewhere must be causal in the order of the event's
        entries, which is not checked.
      head: head of one entry, such as `gx.distributions.IndependentNormal([])`. From a head of a
        whole event the head of its entries is taken; a mixture becomes a mixture for each entry.
      conditional_input: contexts `[*batch, *conditional_event_shape]`, as `condition` sets them.
        Default: none.
      event_shape: shape of one event. Default: that of the head, or of the network if the head is
        of one entry.
      validate_args: whether densities also assert in graphs that values are in the support, as far
        as the head's distribution does. Eager calls always check. Default: `False`.
      name: name of the distribution. Default: `"Autoregressive"`.

    Raises:
      TypeError: if `network` is not a Keras layer or `head` is not a head.
      ValueError: if the head has no independent entries, or they cannot be drawn from uniform
        numbers, or sizes do not agree. In an eager call, if values are outside the support.

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
        self._factorization = Factorization(network, head, event_shape, validate_args=validate_args)
        self._network = self._factorization.network  # So that `tf.Module` finds it.
        self._context = self._factorization.checked_context(conditional_input)
        entry = self._factorization.entry
        of_entry = entry(tf.zeros([entry.params_size], self._factorization.dtype))
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
        """The layer that computes the parameters."""
        return self._network.network

    @property
    def head(self) -> Head:
        """The head of one entry."""
        return self._factorization.entry

    @property
    def discrete(self) -> bool:
        """Whether events are integers."""
        return self.head.discrete

    @property
    def conditional_event_shape(self) -> tuple[int, ...] | None:
        """Shape of one context event; `None` if there is no context."""
        return self._factorization.conditional_event_shape

    @property
    def conditional_input(self) -> Any:
        """The bound contexts, or `None`."""
        return self._context

    def condition(self, conditional_input: Any) -> Autoregressive:
        """Returns the distribution given contexts, which shares the variables of this one.

        Args:
          conditional_input: `[*batch, *conditional_event_shape]`.

        Returns:
          A distribution of that batch shape.

        Raises:
          ValueError: if the network takes no context, or a context has another shape or holds NaN
            or infinite values.
        """
        return self.copy(conditional_input=self._given(conditional_input))

    def _given(self, conditional_input: Any) -> Any:
        if conditional_input is None:
            return self._context
        return self._factorization.checked_context(conditional_input)

    def complete(
        self, x: Any, num_observed: int, *, seed: Any = None, greedy: bool = False
    ) -> tf.Tensor:
        """Draws the missing entries of partly observed events.

        The first entries of x in the network's order are kept, and the others are drawn given
        these. `order_of_entries` returns the order.

        Args:
          x: events that broadcast to `[..., *batch, *event]`. Entries that are not observed may
            have any value.
          num_observed: number of observed entries.
          seed: a pair of integers, stateless; an integer s means `[0, s]`. Default: a new seed.
          greedy: whether each missing entry is the most likely one given those before it, instead
            of a draw. For a mixture: the most likely entry of the component with the largest
            weight. Default: `False`.

        Returns:
          Events `[..., *batch, *event]`.

        Raises:
          ValueError: if `num_observed` exceeds the number of entries, events have another shape,
            observed entries are outside the support, or the network has several masks and thus
            several orders.
        """
        num_observed = checks.positive_int("num_observed", num_observed, minimum=0)
        size, dtype = self._factorization.size, self._factorization.dtype
        if num_observed > size:
            expected = f"at most {size}, the number of entries"
            raise ValueError(checks.message("num_observed", expected, num_observed))
        observed = self.order_of_entries() < num_observed
        known = tf.cast(self._factorization.checked(x, self._context, observed), dtype)
        known = self._factorization.for_each_context(known, self._context)
        z = tf.where(observed, known, uniform(tf.shape(known), _stateless(seed), dtype))
        update = (Greedy if greedy else Draw)(self.head)
        completed, _ = self._factorization.solve(update, z, self._context, num_observed)
        return tf.cast(tf.where(observed, known, completed), self.dtype)

    def order_of_entries(self) -> np.ndarray:
        """Returns the position of each entry in the order of generation, integers `[*event]`.

        Raises:
          ValueError: if the network has several masks and thus several orders.
        """
        return self._factorization.positions()

    def greedy(self) -> tf.Tensor:
        """Returns the event each of whose entries is the most likely one given those before it.

        The result is not the mode of the distribution in general. For a mixture, the most likely
        entry of the component with the largest weight is taken.

        Returns:
          `[*batch, *event]`.
        """
        shape = tf.concat([self.batch_shape_tensor(), self.event_shape], axis=0)
        nothing = tf.zeros(shape, self._factorization.dtype)
        return self.complete(nothing, 0, seed=[0, 0], greedy=True)

    @property
    def noise_spec(self) -> Noise:
        """Shapes and dtypes of the noise of one sample."""
        u = tf.TensorSpec(self.event_shape, self._factorization.dtype)
        return Noise(u, tf.TensorSpec([], tf.int32))

    def noise(self, sample_shape: Any, seed: Any) -> Noise:
        """Returns the noise from which `from_noise` computes samples.

        Args:
          sample_shape: int32 `[]` or `[S]`.
          seed: a stateless seed.
        """
        u_seed, mask_seed = tf.unstack(tfp.random.split_seed(_stateless(seed), 2))
        sample_shape = tf.reshape(tf.convert_to_tensor(sample_shape, tf.int32), [-1])
        shape = tf.concat([sample_shape, self.batch_shape_tensor()], axis=0)
        whole = tf.concat([shape, self.event_shape], axis=0)
        number = self._factorization.num_masks
        mask = tf.zeros(shape, tf.int32)
        if number > 1:
            mask = tf.random.stateless_uniform(shape, mask_seed, 0, number, tf.int32, alg="philox")
        return Noise(uniform(whole, u_seed, self._factorization.dtype), mask)

    def from_noise(self, noise: Noise) -> tf.Tensor:
        """Computes samples `[..., *event]` from noise."""
        if self._factorization.num_masks > 1:
            x = self._factorization.solve_by_mask(noise, self._context)
        else:
            x, _ = self._factorization.solve(Draw(self.head), noise.u, self._context)
        return tf.cast(x, self.dtype)

    def training_log_prob(self, x: Any, step: Any, conditional_input: Any = None) -> tf.Tensor:
        """Returns the objective of a training step, `[...]`: the log-density under one mask.

        Args:
          x: events `[..., *event]`.
          step: int `[]`, which selects the mask.
          conditional_input: contexts, if none are bound. Default: none.
        """
        number = self._factorization.num_masks
        if number == 1:
            return self.log_prob(x, conditional_input=conditional_input)
        context = self._given(conditional_input)
        x = self._factorization.checked(x, context)
        return self._factorization.log_prob_under(tf.cast(step, tf.int32) % number, x, context)

    def _log_prob(self, x: tf.Tensor, conditional_input: Any = None) -> tf.Tensor:
        context = self._given(conditional_input)
        return self._factorization.log_prob(self._factorization.checked(x, context), context)

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        return self.from_noise(self.noise(n, seed))

    def _sample_and_log_prob(
        self, sample_shape: Any, seed: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        noise = self.noise(tf.reduce_prod(sample_shape), seed)
        factorization = self._factorization
        if factorization.num_masks > 1:
            x = factorization.solve_by_mask(noise, self._context)
            log_prob = factorization.log_prob(x, self._context)
        else:
            x, params = factorization.solve(Draw(self.head), noise.u, self._context)
            log_prob = factorization.log_prob_given(params, x)
        x, log_prob = (
            tf.reshape(t, tf.concat([sample_shape, tf.shape(t)[1:]], axis=0))
            for t in (tf.cast(x, self.dtype), log_prob)
        )
        return self._set_sample_static_shape(x, sample_shape), log_prob

    def check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` if an array holds entries outside the support."""
        self.head.check_values(x)

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape(self._factorization.event)

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant(self._factorization.event, tf.int32)


def _stateless(seed: Any) -> tf.Tensor:
    return tfp.random.sanitize_seed(checks.seed("seed", seed))
