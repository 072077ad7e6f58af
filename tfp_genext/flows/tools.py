"""What can be done with any flow: bind a context, hand one over, initialise from data."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import binding
from tfp_genext.bijectors import act_norm as act_norms
from tfp_genext.core import checks


def condition(flow: tfd.Distribution, conditional_input: Any) -> tfd.Distribution:
    """Returns a conditional flow with its context bound: an ordinary batch of distributions.

    Args:
      flow: a transformed distribution whose bijector takes `conditional_input`; one that has a
        `condition` of its own, as a `gx.distributions.Autoregressive`; or what TFP builds around
        them: further `tfd.TransformedDistribution`, `tfd.Independent` and `tfd.Sample`.
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
    if not isinstance(flow, tfd.Distribution) or not (
        binding.is_transformed(flow) or binding.takes_context(flow)
    ):
        raise TypeError(checks.message("flow", "a transformed distribution", flow))
    _check_takes(flow, conditional_input)
    if not tf.is_tensor(conditional_input) and not isinstance(conditional_input, tf.Variable):
        conditional_input = checks.numeric("conditional_input", conditional_input, flow.dtype)
    event = binding.conditional_event_shape(flow)
    if event is not None:
        checks.ends_in("conditional_input", conditional_input.shape, event)
    if tf.is_tensor(conditional_input) and hasattr(conditional_input, "numpy"):
        checks.finite("conditional_input", conditional_input.numpy())
    return binding.bind(flow, conditional_input)


def initialize(flow: tfd.Distribution, x: Any, *, conditional_input: Any = None) -> None:
    """Initialises every `ActNorm` of a flow from a batch of data, whatever their state.

    Run it before training, outside any `tf.function`; `DensityModel.fit` does it by itself, on its
    first batch.

    Args:
      flow: a transformed distribution; or a `tfd.Independent` or `tfd.Sample` of one.
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
    if binding.inner_of(flow) is None:
        raise TypeError(checks.message("flow", "a transformed distribution", flow))
    x = checks.numeric("x", x, None if hasattr(x, "dtype") else flow.dtype)
    checks.event("x", x, flow.event_shape.as_list(), flow.dtype)
    checks.rows("x", x)
    if conditional_input is not None:
        _check_takes(flow, conditional_input)
        conditional_input = tf.convert_to_tensor(conditional_input)
    _initialize(flow, x, conditional_input)
    missed = act_norms.uninitialized(flow)
    if missed:
        raise ValueError(
            "`flow` must hold its ActNorms in chains, inversions and transformed bases for data to "
            f"reach them; initialise others by `ActNorm.initialize`. Received: {len(missed)} that "
            "were not reached"
        )


def _initialize(distribution: Any, x: tf.Tensor, conditional_input: Any) -> None:
    inner = binding.inner_of(distribution)
    if inner is None:
        return
    if binding.is_transformed(distribution):
        given = {} if conditional_input is None else {"conditional_input": conditional_input}
        x = act_norms.initialize(distribution.bijector, x, **given)
    elif conditional_input is not None:
        ndims = len(distribution.event_shape) - len(inner.event_shape)
        conditional_input = binding.spread(inner, conditional_input, ndims)
    if act_norms.uninitialized(inner):
        _initialize(inner, x, conditional_input)


def conditional_event_shape(distribution: tfd.Distribution) -> tuple[int, ...] | None:
    """Returns the shape of one event of `conditional_input`, or `None` for no context."""
    return binding.conditional_event_shape(distribution)


def bijector_kwargs(distribution: tfd.Distribution, conditional_input: Any) -> dict[str, Any]:
    """Returns the keyword arguments that hand a context to a flow's methods; none for `None`.

    A flow inside another transformed distribution gets it in `distribution_kwargs`.

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
    if not binding.takes_context(distribution):
        _bijector_of(distribution)
    _check_takes(distribution, conditional_input)
    return binding.context_kwargs(distribution, conditional_input)


def _check_takes(distribution: tfd.Distribution, conditional_input: Any) -> None:
    if not binding.takes_context(distribution):
        raise ValueError(
            "`conditional_input` must be None: no network of the distribution takes it. "
            f"Received: shape {list(tf.convert_to_tensor(conditional_input).shape)}"
        )


def _bijector_of(flow: Any) -> tfb.Bijector:
    bijector = getattr(flow, "bijector", None)
    if not isinstance(flow, tfd.Distribution) or not isinstance(bijector, tfb.Bijector):
        raise TypeError(checks.message("flow", "a transformed distribution", flow))
    return bijector
