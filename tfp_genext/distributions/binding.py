"""Contexts of distributions: which part takes one, how it is passed on, and binding it.

A context reaches a flow through the TFP distributions around it: an outer
`tfd.TransformedDistribution`, a `tfd.Independent` or a `tfd.Sample`, at any depth.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext.bijectors import Conditioned, conditioning
from tfp_genext.core import checks
from tfp_genext.distributions import support

NAME = "conditional_input"


def condition(flow: tfd.Distribution, conditional_input: Any) -> tfd.Distribution:
    """Returns the distribution given a context, as an ordinary batch of distributions.

    Args:
      flow: a transformed distribution whose bijector takes `conditional_input`; a distribution with
        a method `condition`, such as a `gx.distributions.Autoregressive`; or a
        `tfd.TransformedDistribution`, `tfd.Independent` or `tfd.Sample` around one of these.
      conditional_input: contexts `[*batch, *conditional_event_shape]`.

    Returns:
      A distribution of that batch shape, which shares the variables of `flow`.

    Raises:
      TypeError: if `flow` is not a transformed distribution.
      ValueError: if `flow` takes no context, or `conditional_input` has the wrong shape or holds
        NaN or infinite values.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[8], conditional_event_shape=[3])
    bound = gx.flows.condition(flow, tf.ones([5, 3]))
    assert bound.batch_shape == [5]
    assert bound.sample(10, seed=[1, 2]).shape == [10, 5, 2]
    ```
    """
    if not isinstance(flow, tfd.Distribution) or not (is_transformed(flow) or takes_context(flow)):
        raise TypeError(checks.message("flow", "a transformed distribution", flow))
    check_takes(flow, conditional_input)
    if not tf.is_tensor(conditional_input) and not isinstance(conditional_input, tf.Variable):
        conditional_input = checks.numeric("conditional_input", conditional_input, flow.dtype)
    event = conditional_event_shape(flow)
    if event is not None:
        checks.ends_in("conditional_input", conditional_input.shape, event)
    if tf.is_tensor(conditional_input) and hasattr(conditional_input, "numpy"):
        checks.finite("conditional_input", conditional_input.numpy())
    return bind(flow, conditional_input)


def bijector_kwargs(distribution: tfd.Distribution, conditional_input: Any) -> dict[str, Any]:
    """Returns the keyword arguments that pass a context to a flow's methods.

    They are empty for `None`. A flow inside another transformed distribution gets its context in
    `distribution_kwargs`.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[8], conditional_event_shape=[3])
    kwargs = gx.flows.bijector_kwargs(flow, tf.ones([5, 3]))
    assert flow.log_prob(tf.zeros([5, 2]), **kwargs).shape == [5]
    ```
    """
    if conditional_input is None:
        return {}
    if not takes_context(distribution):
        _bijector_of(distribution)
    check_takes(distribution, conditional_input)
    return context_kwargs(distribution, conditional_input)


def is_transformed(distribution: Any) -> bool:
    """Tells whether a distribution is a transformed one; TFP has two such classes."""
    bijector = getattr(distribution, "bijector", None)
    return isinstance(distribution, tfd.Distribution) and isinstance(bijector, tfb.Bijector)


def conditional_event_shape(distribution: Any) -> tuple[int, ...] | None:
    """Returns the shape of one context event, or `None` if there is no context."""
    if _binds_itself(distribution):
        return distribution.conditional_event_shape
    shape = None
    if is_transformed(distribution):
        shape = conditioning.conditional_event_shape(distribution.bijector)
    inner = inner_of(distribution)
    return conditional_event_shape(inner) if shape is None and inner is not None else shape


def takes_context(distribution: Any) -> bool:
    """Tells whether a distribution, or a part of it, takes `conditional_input`."""
    if _binds_itself(distribution):
        return distribution.conditional_event_shape is not None
    inner = inner_of(distribution)
    return _bijector_takes(distribution) or (inner is not None and takes_context(inner))


def context_kwargs(distribution: Any, conditional_input: Any) -> dict[str, Any]:
    """Returns the keyword arguments that pass a context to the methods of a distribution."""
    if _binds_itself(distribution):
        return {NAME: conditional_input}
    inner = inner_of(distribution)
    if not is_transformed(distribution):
        own_ndims = _own_ndims(distribution)
        return context_kwargs(inner, expand_context(inner, conditional_input, own_ndims))
    kwargs = {}
    if _bijector_takes(distribution):
        given = {NAME: conditional_input}
        kwargs["bijector_kwargs"] = conditioning.route(distribution.bijector, given)
    if takes_context(inner):
        kwargs["distribution_kwargs"] = context_kwargs(inner, conditional_input)
    return kwargs


def bind(distribution: Any, conditional_input: Any) -> tfd.Distribution:
    """Returns the distribution given a context, on the same variables."""
    if _binds_itself(distribution):
        return distribution.condition(conditional_input)
    inner = inner_of(distribution)
    if is_transformed(distribution):
        return _bind_transformed(distribution, inner, conditional_input)
    if _reinterprets(distribution):
        conditional_input = expand_context(inner, conditional_input, _own_ndims(distribution))
    return distribution.copy(distribution=bind(inner, conditional_input))


def _bind_transformed(
    distribution: Any, inner: tfd.Distribution, conditional_input: Any
) -> tfd.Distribution:
    bijector = distribution.bijector
    if _bijector_takes(distribution):
        bijector = Conditioned(bijector, conditional_input)
    return support.transformed(
        bind(inner, conditional_input) if takes_context(inner) else inner,
        bijector,
        validate_args=distribution.validate_args,
        name=f"conditioned_{distribution.name}",
    )


def check_no_hidden_context(name: str, distribution: tfd.Distribution) -> None:
    """Raises `ValueError` if a part needs a context that the distribution does not pass on to it.

    Args:
      name: name of the distribution in the message.
      distribution: the distribution.
    """
    if takes_context(distribution):
        return
    for part in distribution.submodules:
        needs = isinstance(part, tfd.Distribution) and conditional_event_shape(part) is not None
        if needs and getattr(part, NAME, None) is None:
            expected = (
                "one that hands `conditional_input` on to the conditional distribution in it: a "
                "tfd.TransformedDistribution, tfd.Independent or tfd.Sample. Bind other parts "
                "first, by `gx.flows.condition`"
            )
            received = f"{type(distribution).__name__} around the conditional {part.name!r}"
            raise ValueError(f"`{name}` must be {expected}. Received: {received}")


def _binds_itself(distribution: Any) -> bool:
    return isinstance(distribution, tfd.Distribution) and hasattr(distribution, "condition")


def _bijector_takes(distribution: Any) -> bool:
    return is_transformed(distribution) and conditioning.takes(distribution.bijector, NAME)


def inner_of(distribution: Any) -> tfd.Distribution | None:
    """Returns the distribution to which keyword arguments are passed on, or `None`."""
    if not isinstance(distribution, tfd.Distribution):
        return None
    hands_on = is_transformed(distribution) or _reinterprets(distribution) or _repeats(distribution)
    return distribution.distribution if hands_on else None


# TFP makes these in two classes each, one of them private, for parts that are not composite.
def _reinterprets(distribution: Any) -> bool:
    """Tells whether a distribution is a `tfd.Independent`."""
    return hasattr(distribution, "reinterpreted_batch_ndims")


def _repeats(distribution: Any) -> bool:
    """Tells whether a distribution is a `tfd.Sample`."""
    return hasattr(distribution, "sample_shape") and hasattr(distribution, "distribution")


def _own_ndims(distribution: Any) -> int:
    """Returns the number of event dimensions in front of those of the inner distribution."""
    return len(distribution.event_shape) - len(distribution.distribution.event_shape)


def expand_context(inner: Any, conditional_input: Any, ndims: int) -> Any:
    """Returns contexts `[..., *event]` as `[..., 1, ..., 1, *event]`, for `ndims` further axes."""
    if ndims == 0:
        return conditional_input
    context = checks.numeric(NAME, conditional_input, inner.dtype)
    event = conditional_event_shape(inner)
    event_ndims = 1 if event is None else len(event)
    for _ in range(ndims):
        context = tf.expand_dims(context, -1 - event_ndims)
    return context


def check_takes(distribution: tfd.Distribution, conditional_input: Any) -> None:
    if not takes_context(distribution):
        raise ValueError(
            "`conditional_input` must be None: no network of the distribution takes it. "
            f"Received: shape {list(tf.convert_to_tensor(conditional_input).shape)}"
        )


def _bijector_of(flow: Any) -> tfb.Bijector:
    bijector = getattr(flow, "bijector", None)
    if not isinstance(flow, tfd.Distribution) or not isinstance(bijector, tfb.Bijector):
        raise TypeError(checks.message("flow", "a transformed distribution", flow))
    return bijector
