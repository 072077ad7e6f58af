"""How anything conditional is given its context: flows by keyword, networks as their input."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext import binding, checks, flows
from tfp_genext.distributions import Autoregressive, Conditional


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


def check_takes_context(distribution: Any, shape: tuple[int, ...]) -> None:
    """Raises `ValueError` where no network of a distribution takes a context."""
    if isinstance(distribution, Autoregressive) and not takes_context(distribution):
        expected = "None: the network takes no context"
        raise ValueError(checks.message("conditional_event_shape", expected, shape))
    if not isinstance(distribution, (Autoregressive, Conditional)):
        flows.bijector_kwargs(distribution, tf.zeros(shape))


def takes_context(distribution: Any) -> bool:
    """Tells whether a distribution is conditional."""
    return isinstance(distribution, Conditional) or binding.takes_context(distribution)


def log_prob(distribution: Any, x: tf.Tensor, context: Any = None) -> tf.Tensor:
    """Returns log p(x), or log p(x | context)."""
    if isinstance(distribution, Conditional):
        return distribution(context).log_prob(x)
    return distribution.log_prob(x, **flows.bijector_kwargs(distribution, context))


def training_log_prob(distribution: Any, x: tf.Tensor, context: Any, step: Any) -> tf.Tensor:
    """Returns what a step of training maximises: log p(x), but for models that take turns."""
    if isinstance(distribution, Autoregressive):
        return distribution.training_log_prob(x, step, context)
    return log_prob(distribution, x, context)


def holds_whole_numbers(distribution: Any) -> bool:
    """Tells whether a distribution with a head has events of whole numbers."""
    if isinstance(distribution, Conditional) and distribution.bijector is not None:
        return False
    return isinstance(distribution, (Autoregressive, Conditional)) and distribution.head.discrete


def bind(distribution: Any, context: Any = None) -> tfd.Distribution:
    """Returns an ordinary distribution: with its context bound, where there is one."""
    if isinstance(distribution, Conditional):
        return distribution(context)
    return distribution if context is None else flows.condition(distribution, context)
