"""Data-dependent initialisation of flows."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext.bijectors import conditioning
from tfp_genext.core import checks
from tfp_genext.distributions import binding


def initialize(flow: tfd.Distribution, x: Any, *, conditional_input: Any = None) -> None:
    """Initialises every `ActNorm` of a flow from a batch of data, whatever its state.

    Call it before training, outside `tf.function`. `DensityModel.fit` calls it on the first batch.

    Args:
      flow: a transformed distribution; or a `tfd.Independent` or `tfd.Sample` of one.
      x: data `[N, ...]`.
      conditional_input: context `[N, *conditional_event_shape]` of a conditional flow.

    Raises:
      TypeError: if `flow` is not a transformed distribution, or `x` has another dtype.
      ValueError: if `x` has another shape, is empty or is not finite.

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
        binding.check_takes(flow, conditional_input)
        conditional_input = tf.convert_to_tensor(conditional_input)
    _initialize(flow, x, conditional_input)
    missed = conditioning.uninitialized(flow)
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
        x = conditioning.initialize(distribution.bijector, x, **given)
    elif conditional_input is not None:
        ndims = len(distribution.event_shape) - len(inner.event_shape)
        conditional_input = binding.expand_context(inner, conditional_input, ndims)
    if conditioning.uninitialized(inner):
        _initialize(inner, x, conditional_input)
