"""Density and sampling of autoregressive distributions, from a masked network and a head."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfp_genext.core import checks, tracking
from tfp_genext.distributions.head import Head
from tfp_genext.networks.solve import Update


class Noise(NamedTuple):
    """The random numbers from which samples are computed.

    Fields:
      u: uniform numbers in (0, 1), `[..., *event]`.
      mask: index of the network's mask, `[...]`.
    """

    u: tf.Tensor
    mask: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Draw:
    """Function from parameters and a uniform number to a drawn entry.

    Args:
      head: head of one entry.
    """

    head: Head

    def __call__(self, params: Any, u: tf.Tensor) -> tf.Tensor:
        if u.dtype.size >= tf.float32.size:
            return self.head.from_uniform(_stack_params(params), u)
        # TensorFlow has no normal quantile function in 16 bits.
        stacked = tf.cast(_stack_params(params), tf.float32)
        return tf.cast(self.head.from_uniform(stacked, tf.cast(u, tf.float32)), u.dtype)


@dataclasses.dataclass(frozen=True)
class Greedy:
    """Greedy decoding: the most likely entry given the parameters. The uniform number is not used.

    Args:
      head: head of one entry.
    """

    head: Head

    def __call__(self, params: Any, u: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.head.likeliest(_stack_params(params)), u.dtype)


def _stack_params(params: Any) -> tf.Tensor:
    """Returns parameters `[..., params_size]`; networks return them as a tensor or a tuple."""
    return params if tf.is_tensor(params) else tf.stack(params, axis=-1)


class Factorization:
    """The factorisation of a distribution into one conditional for each entry.

    Args:
      network: the Keras layer that computes the parameters.
      head: head of one entry, or of the event.
      event_shape: shape of one event. Default: that of the head, otherwise of the network.
      validate_args: whether densities also assert in graphs that entries are in the support.
        Default: `False`.
    """

    def __init__(
        self,
        network: Any,
        head: Any,
        event_shape: Sequence[int] | None,
        *,
        validate_args: bool = False,
    ) -> None:
        self.entry = _checked_entry(network, head)
        self.event = _event_shape(network, head, event_shape)
        self.network_event = tuple(getattr(network, "event_shape", self.event))
        self.network = tracking.track(network, event_ndims=len(self.network_event))
        self.num_masks = getattr(network, "num_masks", 1)
        self.dtype = tf.as_dtype(network.variable_dtype)
        self.validate_args = validate_args

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.event)

    @property
    def conditional_event_shape(self) -> tuple[int, ...] | None:
        """Shape of one context event; `None` if the network takes no context."""
        return tracking.conditional_event_shape(self.network)

    def positions(self) -> np.ndarray:
        """Returns the position of each entry in the order of the only mask, integers `[*event]`."""
        if self.num_masks > 1:
            expected = "1 for there to be an order of the entries"
            raise ValueError(checks.message("num_masks", expected, self.num_masks))
        positions = getattr(self.network.network, "positions", None)
        found = np.arange(self.size) if positions is None else positions()
        return found.reshape(self.event)

    def log_prob(self, x: tf.Tensor, context: Any) -> tf.Tensor:
        """Returns log-densities of events `[..., *event]`, of the mixture of all masks."""
        found = [self.log_prob_under(mask, x, context) for mask in range(self.num_masks)]
        if self.num_masks == 1:
            return found[0]
        return tf.reduce_logsumexp(found, axis=0) - math.log(self.num_masks)

    def log_prob_under(self, mask: Any, x: tf.Tensor, context: Any) -> tf.Tensor:
        """Returns the log-density of events `[..., *event]` under one mask."""
        return self.log_prob_given(self._params(x, context, mask), x)

    def log_prob_given(self, params: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Returns the sum over entries of the log-densities given their parameters."""
        entries = self.entry(params)
        if self.validate_args:
            entries = entries.copy(validate_args=True)
            with tf.control_dependencies(self._assertions(x)):
                x = tf.identity(x)
        return tf.reduce_sum(
            entries.log_prob(tf.cast(x, entries.dtype)), axis=list(range(-len(self.event), 0))
        )

    def _assertions(self, x: tf.Tensor) -> list[tf.Operation]:
        """Returns graph assertions against entries that `log_prob` would round."""
        if not (self.entry.discrete and x.dtype.is_floating):
            return []
        return [tf.debugging.assert_equal(x, tf.floor(x), "`x` must hold whole numbers")]

    def _params(self, x: tf.Tensor, context: Any, mask: Any = 0) -> tf.Tensor:
        """Returns parameters `[..., *event, params_size]`."""
        options = {"mask_index": mask} if self.num_masks > 1 else {}
        seen = self._as_network_input(tf.cast(x, self.dtype))
        params = _stack_params(self.network(seen, options, **_conditions(context)))
        return self._as_event(params, [self.entry.params_size])

    def solve(
        self, update: Update, z: tf.Tensor, context: Any, observed: int = 0
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns events and their parameters, for a network with a single mask.

        Args:
          update: function from parameters and noise to an entry.
          z: noise `[..., *event]`, with the values of known entries in their place.
          context: contexts, or `None`.
          observed: number of known entries, the first ones in the network's order.
        """
        if observed == self.size:
            return z, self._params(z, context)
        if not self.network.solves:
            return self._solve_by_passes(update, z, context, observed)
        options = {"observed": observed}
        x, params = self.network.solve(
            update, self._as_network_input(z), options, **_conditions(context)
        )
        return self._as_event(x), self._as_event(_stack_params(params), [self.entry.params_size])

    def _solve_by_passes(
        self, update: Update, z: tf.Tensor, context: Any, observed: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the result of `solve` with one pass of the network for each unknown entry."""
        known = self.positions() < observed

        def one_pass(x: tf.Tensor) -> tf.Tensor:
            drawn = update(self._params(x, context), z)
            return tf.where(known, z, drawn)

        # The first pass is outside the loop, because a layer may create its variables in it.
        (x,) = tf.while_loop(
            lambda _: True,
            lambda x: (one_pass(x),),
            (one_pass(tf.where(known, z, tf.zeros_like(z))),),
            maximum_iterations=self.size - observed - 1,
        )
        return x, self._params(x, context)

    def solve_by_mask(self, noise: Noise, context: Any) -> tf.Tensor:
        """Returns samples, each computed with the mask that was drawn for it."""
        rows = tf.size(noise.mask)
        u = tf.reshape(noise.u, [rows, *self.network_event])
        numbers, masks = tf.range(rows), tf.reshape(noise.mask, [-1])
        owners = tf.dynamic_partition(numbers, masks, self.num_masks)
        contexts = None if context is None else self._for_each(context, noise.mask)
        parts = [
            self.network.solve(
                Draw(self.entry),
                tf.gather(u, own),
                {"mask_index": mask},
                **_conditions(None if contexts is None else tf.gather(contexts, own)),
            )[0]
            for mask, own in enumerate(owners)
        ]
        return tf.reshape(tf.dynamic_stitch(owners, parts), tf.shape(noise.u))

    def _for_each(self, context: Any, mask: tf.Tensor) -> tf.Tensor:
        """Broadcasts contexts to one row for each sample."""
        shape = self.conditional_event_shape or ()
        whole = tf.broadcast_to(context, tf.concat([tf.shape(mask), shape], axis=0))
        return tf.reshape(whole, [-1, *shape])

    def checked(self, x: Any, context: Any, where: np.ndarray | None = None) -> tf.Tensor:
        """Returns events as a tensor after checking the shape and, in an eager call, the values.

        Args:
          x: `[..., *event]`.
          context: contexts, or `None`. Their batch shape must broadcast against that of the events.
          where: booleans `[*event]`, true for the entries to check. Default: all.
        """
        x = checks.event_after_batch("x", checks.numeric("x", x), self.event)
        checks.broadcasts("x", self._batch(x), self._batch_of_contexts(context))
        if tf.executing_eagerly() and hasattr(x, "numpy"):
            entries = x.numpy() if where is None else x.numpy()[..., where]
            checks.finite("x", entries)
            self.entry.check_values(entries)
        return x

    def for_each_context(self, x: tf.Tensor, context: Any) -> tf.Tensor:
        """Broadcasts events `[..., *event]` to at least one for each context."""
        if context is None:
            return x
        batch, of_contexts = self._batch(x), self._batch_of_contexts(context)
        known = tf.shape(context)[: of_contexts.rank]
        shape = tf.broadcast_dynamic_shape(tf.shape(x)[: batch.rank], known)
        return tf.ensure_shape(
            tf.broadcast_to(x, tf.concat([shape, self.event], axis=0)),
            tf.broadcast_static_shape(batch, of_contexts).concatenate(self.event),
        )

    def _batch(self, x: tf.Tensor) -> tf.TensorShape:
        return x.shape[: x.shape.rank - len(self.event)]

    def _batch_of_contexts(self, context: Any) -> tf.TensorShape:
        if context is None:
            return tf.TensorShape([])
        return context.shape[: context.shape.rank - len(self.conditional_event_shape or ())]

    def checked_context(self, value: Any) -> Any:
        """Returns checked contexts in the network's dtype. Variables are returned as they are."""
        if value is None:
            return None
        shape = self.conditional_event_shape
        if shape is None:
            expected = "None: the network takes no context"
            raise ValueError(checks.message("conditional_input", expected, value))
        name = "conditional_input"
        context = checks.event_after_batch(name, checks.numeric(name, value), shape)
        if tf.executing_eagerly() and hasattr(context, "numpy"):
            checks.finite(name, context.numpy())
        return value if isinstance(value, tf.Variable) else tf.cast(context, self.dtype)

    def _as_network_input(self, x: tf.Tensor) -> tf.Tensor:
        return _event_as(x, self.event, self.network_event)

    def _as_event(self, x: tf.Tensor, after: Sequence[int] = ()) -> tf.Tensor:
        return _event_as(x, (*self.network_event, *after), (*self.event, *after))


def _conditions(context: Any) -> dict[str, Any]:
    return {} if context is None else {"conditional_input": context}


def uniform(shape: tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns uniform numbers in the open interval (0, 1)."""
    u = tf.random.stateless_uniform(shape, seed, dtype=dtype, alg="philox")
    return u + checks.finfo(dtype).epsneg


def _event_as(x: tf.Tensor, before: Sequence[int], after: Sequence[int]) -> tf.Tensor:
    """Reshapes events from one event shape to another."""
    if before == after:
        return x
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
