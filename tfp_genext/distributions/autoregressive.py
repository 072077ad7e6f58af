"""Distributions as products of conditionals, one network for all of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfp_genext import checks, saving, tracking
from tfp_genext.distributions.head import Head, in_shape


class Noise(NamedTuple):
    """What samples are made of.

    Fields:
      u: uniform numbers between 0 and 1, `[..., *event]`.
      mask: which mask of the network, `[...]`.
    """

    u: tf.Tensor
    mask: tf.Tensor


@dataclasses.dataclass(frozen=True)
class _Draw:
    """From parameters and a uniform number to an entry."""

    head: Head

    def __call__(self, params: Any, u: tf.Tensor) -> tf.Tensor:
        return self.head.from_uniform(_stacked(params), u)


@dataclasses.dataclass(frozen=True)
class _Likeliest:
    """From parameters to the likeliest entry."""

    head: Head

    def __call__(self, params: Any, u: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.head.likeliest(_stacked(params)), u.dtype)


def _stacked(params: Any) -> tf.Tensor:
    """Returns parameters `[..., params_size]`, which networks give in one tensor or in several."""
    return params if tf.is_tensor(params) else tf.stack(params, axis=-1)


@saving.holdable("gx.distributions.Autoregressive")
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
      validate_args: as in TFP. Default: `False`.
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
        self._entry = _checked_entry(network, head)
        self._event = _event_shape(network, head, event_shape)
        self._seen_event = tuple(getattr(network, "event_shape", self._event))
        self._network = tracking.track(network, event_ndims=len(self._seen_event))
        self._num_masks = getattr(network, "num_masks", 1)
        self._context = conditional_input
        _check_context(network, conditional_input)
        self._float_dtype = tf.as_dtype(network.variable_dtype)
        of_entry = self._entry(tf.zeros([self._entry.params_size], self._float_dtype))
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
        return self._entry

    @property
    def discrete(self) -> bool:
        """Whether events hold whole numbers."""
        return self._entry.discrete

    @property
    def conditional_event_shape(self) -> tuple[int, ...] | None:
        """Shape of one context event; `None` where there is no context."""
        return tracking.conditional_event_shape(self._network)

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
          ValueError: where the network takes no context, or one of another shape.
        """
        if self.conditional_event_shape is None:
            expected = "None: the network takes no context"
            raise ValueError(checks.message("conditional_input", expected, conditional_input))
        return self.copy(
            conditional_input=tf.cast(tf.convert_to_tensor(conditional_input), self._float_dtype)
        )

    def complete(
        self, x: Any, num_observed: int, *, seed: Any = None, greedy: bool = False
    ) -> tf.Tensor:
        """Draws what is missing of partly observed events.

        The entries of x that come first in the network's order are kept, and the others drawn given
        these; `order_of_entries` tells the order.

        Args:
          x: `[..., *batch, *event]`; entries that are not observed may be anything.
          num_observed: how many entries are.
          seed: a pair of integers, stateless; an integer s means `[0, s]`. Default: a new seed.
          greedy: whether each missing entry is the likeliest one given those before it, in place of
            a draw. Default: `False`.

        Returns:
          Events `[..., *batch, *event]`.

        Raises:
          ValueError: where more entries are observed than there are, events are of another shape,
            observed entries are outside the support, or the network has several masks, and so no
            one order.
        """
        num_observed = checks.positive_int("num_observed", num_observed, minimum=0)
        size = math.prod(self._event)
        if num_observed > size:
            expected = f"at most {size}, the number of entries"
            raise ValueError(checks.message("num_observed", expected, num_observed))
        x = self._checked_shape(x)
        observed = self.order_of_entries() < num_observed
        self._check_values(x, observed)
        known = tf.cast(x, self._float_dtype)
        u = _uniform(tf.shape(known), self._seed(seed), self._float_dtype)
        z = tf.where(observed, known, u)
        update = (_Likeliest if greedy else _Draw)(self._entry)
        completed, _ = self._solve(update, z, num_observed)
        return tf.cast(tf.where(observed, known, completed), self.dtype)

    def order_of_entries(self) -> np.ndarray:
        """Returns the place of each entry in the order of generation, integers `[*event]`.

        Raises:
          ValueError: where the network has several masks, and so no one order.
        """
        if self._num_masks > 1:
            expected = "1 for there to be an order of the entries"
            raise ValueError(checks.message("num_masks", expected, self._num_masks))
        positions = getattr(self.network, "positions", None)
        found = np.arange(math.prod(self._event)) if positions is None else positions()
        return found.reshape(self._event)

    def greedy(self) -> tf.Tensor:
        """Returns the event each of whose entries is the likeliest one given those before it.

        It is no mode: the likeliest event may begin with an entry that is not.

        Returns:
          `[*batch, *event]`.
        """
        shape = tf.concat([self.batch_shape_tensor(), self._event], axis=0)
        return self.complete(tf.zeros(shape, self._float_dtype), 0, seed=[0, 0], greedy=True)

    @property
    def noise_spec(self) -> Noise:
        """Shapes and dtypes of the noise of one sample."""
        return Noise(tf.TensorSpec(self._event, self._float_dtype), tf.TensorSpec([], tf.int32))

    def noise(self, sample_shape: Any, seed: Any) -> Noise:
        """Returns the noise that `sample` makes its samples of.

        Args:
          sample_shape: int32 `[]` or `[S]`.
          seed: a stateless seed.
        """
        u_seed, mask_seed = tf.unstack(tfp.random.split_seed(self._seed(seed), 2))
        sample_shape = tf.reshape(tf.convert_to_tensor(sample_shape, tf.int32), [-1])
        shape = tf.concat([sample_shape, self.batch_shape_tensor()], axis=0)
        u = _uniform(tf.concat([shape, self._event], axis=0), u_seed, self._float_dtype)
        mask = tf.zeros(shape, tf.int32)
        if self._num_masks > 1:
            mask = tf.random.stateless_uniform(
                shape, mask_seed, 0, self._num_masks, tf.int32, alg="philox"
            )
        return Noise(u, mask)

    def from_noise(self, noise: Noise) -> tf.Tensor:
        """Returns the samples that noise becomes, `[..., *event]`."""
        if self._num_masks > 1:
            return tf.cast(self._solve_by_mask(noise), self.dtype)
        return tf.cast(self._solve(_Draw(self._entry), noise.u)[0], self.dtype)

    def training_log_prob(self, x: Any, step: Any, conditional_input: Any = None) -> tf.Tensor:
        """Returns what a step of training maximises, `[...]`: the log-density under one mask.

        Args:
          x: events `[..., *event]`.
          step: int `[]`; masks take turns.
          conditional_input: contexts, where they are not set. Default: none.
        """
        if self._num_masks == 1:
            return self.log_prob(x, conditional_input=conditional_input)
        x = self._checked_shape(x)
        params = self._params(x, conditional_input, tf.cast(step, tf.int32) % self._num_masks)
        return self._log_prob_given(params, x)

    def _log_prob(self, x: tf.Tensor, conditional_input: Any = None) -> tf.Tensor:
        self._check_values(self._checked_shape(x))
        found = [
            self._log_prob_given(self._params(x, conditional_input, mask), x)
            for mask in range(self._num_masks)
        ]
        if self._num_masks == 1:
            return found[0]
        return tf.reduce_logsumexp(found, axis=0) - math.log(self._num_masks)

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        return self.from_noise(self.noise(n, seed))

    def _sample_and_log_prob(
        self, sample_shape: Any, seed: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        noise = self.noise(tf.reduce_prod(sample_shape), seed)
        if self._num_masks > 1:
            x = self.from_noise(noise)
            log_prob = self._log_prob(x)
        else:
            x, params = self._solve(_Draw(self._entry), noise.u)
            log_prob = self._log_prob_given(params, x)
            x = tf.cast(x, self.dtype)
        shaped = [
            tf.reshape(t, tf.concat([sample_shape, tf.shape(t)[1:]], axis=0)) for t in (x, log_prob)
        ]
        return self._set_sample_static_shape(shaped[0], sample_shape), shaped[1]

    def _log_prob_given(self, params: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Returns the sum of the log-densities of all entries given their parameters."""
        each = self._entry(params).log_prob(tf.cast(x, self.dtype))
        return tf.reduce_sum(each, axis=list(range(-len(self._event), 0)))

    def _params(self, x: tf.Tensor, conditional_input: Any, mask: Any = 0) -> tf.Tensor:
        """Returns parameters `[..., *event, params_size]`."""
        options = {"mask_index": mask} if self._num_masks > 1 else {}
        params = self._network(
            self._as_seen(tf.cast(x, self._float_dtype)),
            options,
            **self._conditions(conditional_input),
        )
        return self._in_shape(params, [self._entry.params_size])

    def _solve(self, update: Any, z: tf.Tensor, observed: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns events and their parameters, of a network of a single mask."""
        if observed == math.prod(self._event):
            return z, self._params(z, None)
        if not self._network.solves:
            return self._by_passes(update, z, observed)
        x, params = self._network.solve(
            update, self._as_seen(z), {"observed": observed}, **self._conditions(None)
        )
        return self._in_shape(x), self._in_shape(_stacked(params), [self._entry.params_size])

    def _by_passes(self, update: Any, z: tf.Tensor, observed: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the same after one pass for each entry that is not known."""
        known = self.order_of_entries() < observed

        def one_pass(x: tf.Tensor) -> tf.Tensor:
            drawn = update(tf.unstack(self._params(x, None), axis=-1), z)
            return tf.where(known, z, drawn)

        (x,) = tf.while_loop(
            lambda _: True,
            lambda x: (one_pass(x),),
            (one_pass(tf.where(known, z, tf.zeros_like(z))),),
            maximum_iterations=math.prod(self._event) - observed - 1,
        )
        return x, self._params(x, None)

    def _solve_by_mask(self, noise: Noise) -> tf.Tensor:
        """Returns samples, each under the mask that was drawn for it."""
        rows = tf.size(noise.mask)
        u = tf.reshape(noise.u, [rows, *self._seen_event])
        owners = tf.dynamic_partition(tf.range(rows), tf.reshape(noise.mask, [-1]), self._num_masks)
        conditions = {
            name: self._of_all(c, noise.mask) for name, c in self._conditions(None).items()
        }
        parts = [
            self._network.solve(
                _Draw(self._entry),
                tf.gather(u, own),
                {"mask_index": mask},
                **{name: tf.gather(c, own) for name, c in conditions.items()},
            )[0]
            for mask, own in enumerate(owners)
        ]
        return tf.reshape(tf.dynamic_stitch(owners, parts), tf.shape(noise.u))

    def _of_all(self, context: Any, mask: tf.Tensor) -> tf.Tensor:
        """Returns contexts `[*batch, *context]` for all samples of a mask, one row each."""
        shape = self.conditional_event_shape or ()
        whole = tf.broadcast_to(context, tf.concat([tf.shape(mask), shape], axis=0))
        return tf.reshape(whole, [-1, *shape])

    def _conditions(self, conditional_input: Any) -> dict[str, Any]:
        if conditional_input is None:
            conditional_input = self._context
        return {} if conditional_input is None else {"conditional_input": conditional_input}

    def _as_seen(self, x: tf.Tensor) -> tf.Tensor:
        return x if self._seen_event == self._event else _event_as(x, self._event, self._seen_event)

    def _in_shape(self, x: tf.Tensor, after: Sequence[int] = ()) -> tf.Tensor:
        seen, own = (*self._seen_event, *after), (*self._event, *after)
        return x if seen == own else _event_as(x, seen, own)

    def _checked_shape(self, x: Any) -> tf.Tensor:
        x = tf.convert_to_tensor(x)
        if x.shape.rank is not None and x.shape[-len(self._event) :] != list(self._event):
            raise ValueError(
                f"`x` must be of shape [..., {', '.join(map(str, self._event))}]. "
                f"Received: shape {list(x.shape)}"
            )
        return x

    def _check_values(self, x: tf.Tensor, where: np.ndarray | None = None) -> None:
        """Raises for entries outside the support, in an eager call."""
        if not hasattr(x, "numpy") or not tf.executing_eagerly():
            return
        entries = x.numpy() if where is None else x.numpy()[..., where]
        checks.finite("x", entries)
        self.check_values(entries)

    def check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` where an array holds entries outside the support."""
        self._entry.check_values(x)

    def _seed(self, seed: Any) -> tf.Tensor:
        return tfp.random.sanitize_seed(checks.seed("seed", seed))

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape(self._event)

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant(self._event, tf.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class ContextHead:
    """An autoregressive distribution as a head: its context is the head's parameters.

    Args:
      distribution: one that takes a context, and has none yet.
    """

    distribution: Autoregressive

    def __post_init__(self) -> None:
        shape = self.distribution.conditional_event_shape
        if shape is None or self.distribution.conditional_input is not None:
            expected = "one that takes a context, and has none yet"
            raise ValueError(checks.message("head", expected, self.distribution))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return tuple(self.distribution.event_shape.as_list())

    @property
    def params_size(self) -> int:
        """How many numbers a context has."""
        return math.prod(self.distribution.conditional_event_shape or ())

    @property
    def discrete(self) -> bool:
        """Whether events hold whole numbers."""
        return self.distribution.discrete

    def check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` where an array holds entries outside the support."""
        self.distribution.check_values(x)

    def __call__(self, params: tf.Tensor) -> Autoregressive:
        """Returns the distribution given contexts `[..., params_size]`."""
        shape = self.distribution.conditional_event_shape or ()
        return self.distribution.condition(in_shape(params, shape))


def _uniform(shape: tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns uniform numbers that are never 0 nor 1."""
    u = tf.random.stateless_uniform(shape, seed, dtype=dtype, alg="philox")
    return u + np.finfo(dtype.as_numpy_dtype).epsneg


def _event_as(x: tf.Tensor, before: Sequence[int], after: Sequence[int]) -> tf.Tensor:
    """Returns events of one shape in another of as many entries."""
    batch = x.shape[: x.shape.rank - len(before)]
    if batch.is_fully_defined():
        return tf.reshape(x, [*batch, *after])
    shape = tf.concat([tf.shape(x)[: batch.rank], after], axis=0)
    return tf.ensure_shape(tf.reshape(x, shape), batch.concatenate(after))


def _checked_entry(network: Any, head: Any) -> Head:
    if not isinstance(network, keras.layers.Layer):
        raise TypeError(checks.message("network", "a Keras layer", network))
    if not isinstance(head, Head):
        raise TypeError(checks.message("head", "a head of gx.distributions", head))
    entry = head.entry()
    given = getattr(network, "params_size", entry.params_size)
    if given != entry.params_size:
        expected = f"{entry.params_size}, as many as `head` needs for an entry"
        raise ValueError(f"`network.params_size` must be {expected}. Received: {given}")
    try:
        entry.from_uniform(tf.zeros([entry.params_size]), tf.constant(0.5))
    except NotImplementedError as error:
        expected = "one whose entries can be drawn from uniform numbers"
        raise ValueError(checks.message("head", expected, head)) from error
    return entry


def _event_shape(network: Any, head: Head, given: Any) -> tuple[int, ...]:
    seen = getattr(network, "event_shape", None)
    shape = head.event_shape or seen if given is None else checks.shape_tuple("event_shape", given)
    if shape is None:
        expected = "given, where neither head nor network say it"
        raise ValueError(checks.message("event_shape", expected, given))
    sizes = {math.prod(s) for s in (shape, head.event_shape or shape, seen or shape)}
    if len(sizes) > 1:
        raise ValueError(
            "`event_shape`, `head` and `network` must agree on the number of entries. "
            f"Received: {shape}, {head.event_shape} and {seen}"
        )
    return tuple(shape)


def _check_context(network: keras.layers.Layer, conditional_input: Any) -> None:
    shape = tracking.conditional_event_shape(network)
    if conditional_input is None:
        return
    own = tuple(conditional_input.shape[conditional_input.shape.rank - len(shape or ()) :])
    if shape is None or own != shape:
        expected = "None" if shape is None else f"of shape [..., {', '.join(map(str, shape))}]"
        raise ValueError(
            f"`conditional_input` must be {expected}. "
            f"Received: shape {list(conditional_input.shape)}"
        )
