"""How anything conditional is given its context: flows by keyword, networks as their input."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext import binding, flows, support
from tfp_genext.bijectors import act_norm
from tfp_genext.core import checks, context_shapes, tracking
from tfp_genext.distributions import Autoregressive, Conditional
from tfp_genext.distributions.context_head import ContextHead


def event_spec(distribution: Any) -> tf.TensorSpec:
    """Returns shape and dtype of a batch of events."""
    if isinstance(distribution, Conditional):
        return tf.TensorSpec([None, *distribution.event_shape], distribution.event_dtype, name="x")
    return tf.TensorSpec([None, *distribution.event_shape.as_list()], distribution.dtype, name="x")


def context_shape(distribution: Any) -> Any:
    """Returns the shape of one context event, or a structure of them; `None` if not known."""
    if isinstance(distribution, Conditional):
        return distribution.input_event_shape
    return flows.conditional_event_shape(distribution)


def context_spec(distribution: Any, shapes: Any, dtype: tf.DType) -> Any:
    """Returns the named tensors of a batch of contexts, in the structure of their shapes.

    Args:
      distribution: whose network may name its inputs; `None` if there is none.
      shapes: of one context event.
      dtype: of those tensors of which the network does not tell it.
    """
    inputs = None
    if isinstance(distribution, Conditional):
        inputs = tracking.symbolic_inputs(distribution.network)
    return context_shapes.specs(shapes, dtype, inputs)


def check_takes_context(distribution: Any, shape: Any) -> None:
    """Raises `ValueError` if no network of a distribution takes a context of that shape."""
    if isinstance(distribution, Conditional):
        return
    if not takes_context(distribution) and isinstance(distribution, Autoregressive):
        expected = "None: the network takes no context"
        raise ValueError(checks.message("conditional_event_shape", expected, shape))
    if not context_shapes.is_shape(shape) or None in shape:
        raise ValueError(checks.message("conditional_event_shape", checks.ONE_CONTEXT, shape))
    flows.bijector_kwargs(distribution, tf.zeros(shape))


def takes_context(distribution: Any) -> bool:
    """Tells whether a distribution is conditional."""
    return isinstance(distribution, Conditional) or binding.takes_context(distribution)


def log_prob(distribution: Any, x: tf.Tensor, context: Any = None) -> tf.Tensor:
    """Returns log p(x), or log p(x | context)."""
    if isinstance(distribution, Conditional):
        return distribution(context).log_prob(x)
    kwargs = flows.bijector_kwargs(distribution, context)
    log_prob = functools.partial(distribution.log_prob, **kwargs)
    outer = support.fixed_outer_of(distribution)
    if not outer or isinstance(distribution, support.ZeroOutside):
        return log_prob(x)
    # TFP's own class, as a user puts it around a flow, gives NaN outside of the support.
    return support.log_prob_of_image(log_prob, outer, x, len(distribution.event_shape))


def training_log_prob(distribution: Any, x: tf.Tensor, context: Any, step: Any) -> tf.Tensor:
    """Returns what a step of training maximises: log p(x), but for models that take turns."""
    if isinstance(distribution, Autoregressive):
        return distribution.training_log_prob(x, step, context)
    return log_prob(distribution, x, context)


def uninitialized(distribution: Any) -> bool:
    """Tells whether a distribution has an `ActNorm` that waits for its data."""
    if isinstance(distribution, Conditional):
        head = distribution.head
        return isinstance(head, ContextHead) and bool(act_norm.uninitialized(head.distribution))
    return bool(act_norm.uninitialized(distribution))


def initialize(distribution: Any, x: tf.Tensor, context: Any = None) -> None:
    """Initialises every `ActNorm` of a flow from data, behind the network of a conditional too."""
    if not isinstance(distribution, Conditional):
        flows.initialize(distribution, x, conditional_input=context)
        return
    head, params = distribution.head, distribution.params(context)
    if not isinstance(head, ContextHead):
        return
    if distribution.bijector is not None:
        x = distribution.distribution(params).bijector.inverse(x)
    context = head.context(params[..., : head.params_size])
    flows.initialize(head.distribution, x, conditional_input=context)


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
