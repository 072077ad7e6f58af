"""Every kind of autoregressive distribution, once; `test_autoregressive_contract.py` runs them all.

Adding a kind to the package means adding one line here.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import registry
import tensorflow as tf

import tfp_genext as gx

heads = gx.distributions
CONTEXT = (2,)
IMAGE = (2, 3, 1)


@dataclasses.dataclass(frozen=True)
class Case:
    """How to build a distribution, and what its events are.

    Args:
      name: of the case.
      build: from a dtype to a distribution.
      values: of an entry, in number; 0 for real numbers.
      context: shape of a context event.
      single: whether the network has one mask, and so an order.
    """

    name: str
    build: Callable[[str], gx.distributions.Autoregressive]
    values: int = 2
    context: tuple[int, ...] | None = None
    single: bool = True

    def perturbed(self, dtype: str = "float32", size: float = 0.5) -> Any:
        """Returns a distribution whose variables stand off their start."""
        distribution = self.build(dtype)
        registry.perturb(distribution, size=size)
        return distribution

    def bound(self, dtype: str = "float32") -> Any:
        """Returns a perturbed distribution with a context, if it takes one."""
        distribution = self.perturbed(dtype)
        if self.context is None:
            return distribution
        return distribution.condition(np.linspace(-1.0, 1.0, math.prod(self.context)))

    def events(self, distribution: Any, rows: int) -> np.ndarray:
        """Returns events of the distribution's support."""
        rng = np.random.default_rng(0)
        shape = (rows, *distribution.event_shape)
        if self.values:
            return rng.integers(0, self.values, shape).astype(distribution.dtype.as_numpy_dtype)
        return rng.normal(size=shape).astype(distribution.dtype.as_numpy_dtype)

    def data(self, distribution: Any, rows: int = 64) -> tuple[np.ndarray, ...]:
        """Returns events, or contexts and events."""
        x = self.events(distribution, rows)
        if self.context is None:
            return (x,)
        contexts = np.random.default_rng(1).normal(size=[rows, *self.context])
        return contexts.astype("float32"), x


def every_event(case: Case, distribution: Any) -> np.ndarray:
    """Returns all events that there are."""
    size = math.prod(distribution.event_shape)
    found = np.array(list(itertools.product(range(case.values), repeat=size)))
    return found.reshape([-1, *distribution.event_shape]).astype(distribution.dtype.as_numpy_dtype)


def made(**options: Any) -> Callable[[str], Any]:
    event_shape = options.pop("event_shape", [6])
    defaults = {"hidden_units": [9, 8], "activation": "tanh", **options}
    return lambda dtype: gx.autoregressive.made(event_shape, dtype=dtype, **defaults)


def pixel_cnn(image_shape: tuple[int, ...] = IMAGE, **options: Any) -> Callable[[str], Any]:
    defaults = {"num_layers": 2, "filters": 6, "first_kernel_size": 3, **options}
    return lambda dtype: gx.autoregressive.pixel_cnn(image_shape, dtype=dtype, **defaults)


def pixel_rnn(recipe: Callable, image_shape: tuple[int, ...] = IMAGE, **options: Any) -> Callable:
    defaults = {"num_layers": 2, "filters": 6, "first_kernel_size": 3, **options}
    return lambda dtype: recipe(image_shape, dtype=dtype, **defaults)


CASES = [
    Case("made", made(direct=False)),
    Case("made_ordered", made(order=[3, 0, 5, 1, 2, 4])),
    Case("made_masks", made(num_masks=3), single=False),
    Case(
        "made_masks_conditional",
        made(num_masks=2, conditional_event_shape=CONTEXT, num_classes=3, event_shape=[4]),
        values=3,
        context=CONTEXT,
        single=False,
    ),
    Case("made_classes", made(num_classes=3, event_shape=[2, 2]), values=3),
    Case("made_conditional", made(conditional_event_shape=CONTEXT), context=CONTEXT),
    Case("made_normal", made(head=heads.IndependentNormal([])), values=0),
    Case("made_mixture", made(head=heads.Mixture(3, heads.IndependentLogistic([6]))), values=0),
    Case("pixel_cnn", pixel_cnn(num_classes=3), values=3),
    Case("pixel_cnn_plain", pixel_cnn(num_classes=3, gated=False), values=3),
    Case(
        "pixel_cnn_colours",
        pixel_cnn(
            (2, 2, 3),
            head=heads.QuantizedLogistics([], num_components=2, num_values=2),
            conditional_event_shape=CONTEXT,
        ),
        context=CONTEXT,
    ),
    Case(
        "pixel_cnn_plain_colours",
        pixel_cnn((2, 2, 3), gated=False, conditional_event_shape=CONTEXT),
        context=CONTEXT,
    ),
    Case("row_lstm", pixel_rnn(gx.autoregressive.row_lstm, num_classes=3), values=3),
    Case(
        "row_lstm_colours",
        pixel_rnn(gx.autoregressive.row_lstm, (2, 2, 3), conditional_event_shape=CONTEXT),
        context=CONTEXT,
    ),
    Case("diagonal_bilstm", pixel_rnn(gx.autoregressive.diagonal_bilstm, num_classes=3), values=3),
    Case(
        "diagonal_bilstm_colours",
        pixel_rnn(gx.autoregressive.diagonal_bilstm, (2, 2, 3), conditional_event_shape=CONTEXT),
        context=CONTEXT,
    ),
]


def by_passes(distribution: Any, u: Any) -> np.ndarray:
    """The textbook sampler: one pass of the network for each entry, which is then set."""
    x = np.zeros(u.shape)
    position = distribution.order_of_entries().ravel()
    entries = x.reshape([len(x), -1])
    network_shape = distribution.network.event_shape
    context = distribution.conditional_input
    given = {} if context is None else {"conditional_input": tf.tile(context[None], [len(x), 1])}
    for k in np.argsort(position):
        seen = tf.constant(entries.reshape([-1, *network_shape]))
        params = distribution.network(seen, **given).numpy()
        of_entry = params.reshape([len(x), entries.shape[1], -1])[:, k]
        noise = np.asarray(u).reshape([len(x), -1])[:, k]
        entries[:, k] = distribution.head.from_uniform(tf.constant(of_entry), tf.constant(noise))
    return x
