"""What can be done with any flow: bind a context, hand one over, initialise from data."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import bijectors, checks
from tfp_genext.bijectors import act_norm as act_norms
from tfp_genext.bijectors import conditioning


def condition(flow: tfd.Distribution, conditional_input: Any) -> tfd.Distribution:
    """Returns a conditional flow with its context bound: an ordinary batch of distributions.

    Args:
      flow: a transformed distribution whose bijector takes `conditional_input`; or one that has a
        `condition` of its own, as a `gx.distributions.Autoregressive`.
      conditional_input: context `[*batch, *conditional_event_shape]`.

    Returns:
      A transformed distribution of that batch shape, on the variables of `flow`.

    Raises:
      TypeError: where `flow` is no transformed distribution.
      ValueError: where it takes no context, or one of another shape; for NaN or infinite values.

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
    if isinstance(flow, tfd.Distribution) and hasattr(flow, "condition"):
        return flow.condition(conditional_input)
    bijector = _bijector_of(flow)
    bijector_kwargs(flow, conditional_input)  # Raises where nobody takes it.
    dtype = None if isinstance(conditional_input, tf.Variable) else flow.dtype
    if dtype is not None and not tf.is_tensor(conditional_input):
        conditional_input = checks.numeric("conditional_input", conditional_input, dtype)
    if tf.is_tensor(conditional_input) and hasattr(conditional_input, "numpy"):
        checks.finite("conditional_input", conditional_input.numpy())
    bound = bijectors.Conditioned(bijector, conditional_input)
    return tfd.TransformedDistribution(
        flow.distribution, bound, validate_args=flow.validate_args, name=f"conditioned_{flow.name}"
    )


def initialize(flow: tfd.Distribution, x: Any, *, conditional_input: Any = None) -> None:
    """Initialises every `ActNorm` of a flow from a batch of data, whatever their state.

    Run it before training, outside any `tf.function`; `DensityModel.fit` does it by itself, on its
    first batch.

    Args:
      flow: a transformed distribution.
      x: data `[N, ...]`.
      conditional_input: context `[N, *conditional_event_shape]` of a conditional flow.

    Raises:
      TypeError: where `flow` is no transformed distribution, or `x` of another dtype.
      ValueError: where `x` is of another shape, empty, or not finite.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[8], act_norm=True)
    gx.flows.initialize(flow, 5.0 + 3.0 * tf.random.stateless_normal([100, 2], seed=[1, 2]))
    ```
    """
    bijector = _bijector_of(flow)
    x = tf.convert_to_tensor(x, dtype_hint=None if hasattr(x, "dtype") else flow.dtype)
    checks.event("x", x, flow.event_shape.as_list(), flow.dtype)
    checks.rows("x", x)
    conditions = bijector_kwargs(flow, conditional_input) and {
        "conditional_input": tf.convert_to_tensor(conditional_input)
    }
    z = act_norms.initialize(bijector, x, **conditions)
    if act_norms.uninitialized(flow.distribution) and hasattr(flow.distribution, "bijector"):
        initialize(flow.distribution, z)
    missed = act_norms.uninitialized(flow)
    if missed:
        raise ValueError(
            "`flow` must hold its ActNorms in chains, inversions and transformed bases for data to "
            f"reach them; initialise others by `ActNorm.initialize`. Received: {len(missed)} that "
            "were not reached"
        )


def conditional_event_shape(distribution: tfd.Distribution) -> tuple[int, ...] | None:
    """Returns the shape of one event of `conditional_input`, or `None` for no context."""
    bijector = getattr(distribution, "bijector", None)
    if not isinstance(bijector, tfb.Bijector):
        return None
    return conditioning.conditional_event_shape(bijector)


def takes_context(distribution: tfd.Distribution) -> bool:
    """Tells whether a distribution is a flow that takes `conditional_input`."""
    bijector = getattr(distribution, "bijector", None)
    return isinstance(bijector, tfb.Bijector) and conditioning.takes(bijector, "conditional_input")


def bijector_kwargs(distribution: tfd.Distribution, conditional_input: Any) -> dict[str, Any]:
    """Returns the keyword arguments that hand a context to a flow's methods; none for `None`.

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
    conditions = {"conditional_input": conditional_input}
    if not conditioning.takes(_bijector_of(distribution), "conditional_input"):
        raise ValueError(
            "`conditional_input` must be None: no network of the distribution takes it. "
            f"Received: shape {list(tf.convert_to_tensor(conditional_input).shape)}"
        )
    return {"bijector_kwargs": conditioning.route(_bijector_of(distribution), conditions)}


def _bijector_of(flow: Any) -> tfb.Bijector:
    bijector = getattr(flow, "bijector", None)
    if not isinstance(flow, tfd.Distribution) or not isinstance(bijector, tfb.Bijector):
        raise TypeError(checks.message("flow", "a transformed distribution", flow))
    return bijector
