"""How anything conditional is given its context: flows by keyword, networks as their input."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext import flows
from tfp_genext.distributions import Conditional
from tfp_genext.flows import tools


def event_spec(distribution: Any) -> tf.TensorSpec:
    """Returns shape and dtype of a batch of events."""
    if isinstance(distribution, Conditional):
        return tf.TensorSpec([None, *distribution.event_shape], distribution.event_dtype, name="x")
    return tf.TensorSpec([None, *distribution.event_shape.as_list()], distribution.dtype, name="x")


def context_shape(distribution: Any) -> tuple[int, ...] | None:
    """Returns the shape of one context event, or `None` where there is none or it is not known."""
    if isinstance(distribution, Conditional):
        return distribution.input_event_shape
    return flows.conditional_event_shape(distribution)


def takes_context(distribution: Any) -> bool:
    """Tells whether a distribution is conditional."""
    return isinstance(distribution, Conditional) or tools.takes_context(distribution)


def log_prob(distribution: Any, x: tf.Tensor, context: Any = None) -> tf.Tensor:
    """Returns log p(x), or log p(x | context)."""
    if isinstance(distribution, Conditional):
        return distribution(context).log_prob(x)
    return distribution.log_prob(x, **flows.bijector_kwargs(distribution, context))


def bind(distribution: Any, context: Any = None) -> tfd.Distribution:
    """Returns an ordinary distribution: with its context bound, where there is one."""
    if isinstance(distribution, Conditional):
        return distribution(context)
    return distribution if context is None else flows.condition(distribution, context)
