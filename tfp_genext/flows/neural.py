"""Recipes of flows on vectors with spline and monotone network transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorflow_probability import distributions as tfd

from tfp_genext import masks
from tfp_genext.flows.autoregressive import autoregressive_layers
from tfp_genext.flows.coupling import coupling_layers
from tfp_genext.flows.plan import Permutation, VectorPlan, standard_normal
from tfp_genext.transformers import DeepSigmoidal, Spline, Transformer
from tfp_genext.transformers.base import checked_transformer


def nsf(
    event_shape: Sequence[int],
    *,
    num_layers: int,
    hidden_units: Sequence[int],
    autoregressive: bool = True,
    num_bins: int = 8,
    bound: float = 4.0,
    activation: Any = "relu",
    permutation: Permutation | None = masks.reversed_order,
    act_norm: bool = False,
    base: tfd.Distribution | None = None,
    conditional_event_shape: Sequence[int] | None = None,
    tolerance: float = 0.0,
    dtype: Any = None,
    validate_args: bool = False,
    name: str = "nsf",
) -> tfd.TransformedDistribution:
    """Returns a neural spline flow (NSF), with a monotone rational-quadratic spline per dimension.

        forward   x = f_1(f_2(... f_L(z)))      each f autoregressive, or a coupling, of splines
        inverse   z = f_L^-1(... f_1^-1(x))
        log p(x)  = log p(z) + sum of the log-determinants of the inverses

    The density costs one evaluation of each network. A sample costs one, too, with couplings, and a
    few with autoregressive layers (Durkan et al., 2019 [1]). Splines only change values in
    [-bound, bound]. Data should therefore be standardised, or `act_norm` set.

    Args:
      event_shape: `[D]`; D at least 2 for couplings.
      num_layers: number of layers, L.
      autoregressive: whether layers are autoregressive or couplings. Default: `True`.
      num_bins: number of bins of a spline. Default: 8.
      bound: half the width of the interval in which splines act. Default: 4.
      permutation: as in `gx.flows.maf`, or in `gx.flows.real_nvp` for couplings. Default:
        `gx.masks.reversed_order`.
      hidden_units, activation, act_norm, base, conditional_event_shape, tolerance, dtype,
        validate_args, name: as in `gx.flows.maf`.

    Returns:
      A TFP transformed distribution, as from `gx.flows.maf`.

    Raises:
      TypeError, ValueError: as in `gx.flows.maf`.

    Example:

    ```python
    import tfp_genext as gx

    flow = gx.flows.nsf([6], num_layers=2, hidden_units=[32], num_bins=4, autoregressive=False)
    assert flow.sample(10, seed=[1, 2]).shape == [10, 6]
    ```

    #### References

    [1]: Conor Durkan, Artur Bekasov, Iain Murray, George Papamakarios. Neural Spline Flows. 2019.
         https://arxiv.org/abs/1906.04032
    """
    spline = Spline(num_bins=num_bins, bound=bound)
    plan = VectorPlan(
        event_shape,
        num_layers,
        hidden_units,
        activation,
        conditional_event_shape,
        base,
        dtype,
        smallest=1 if autoregressive else 2,
    )
    if autoregressive:
        layer, every = autoregressive_layers(plan, spline, tolerance), 1
    else:
        layer, every = coupling_layers(plan, spline), 2
    steps = plan.steps(layer, permutation, act_norm, every=every)
    return plan.transformed(standard_normal, steps, validate_args, name)


def naf(
    event_shape: Sequence[int],
    *,
    num_layers: int,
    hidden_units: Sequence[int],
    transformer: Transformer | None = None,
    activation: Any = "relu",
    permutation: Permutation | None = masks.reversed_order,
    act_norm: bool = False,
    base: tfd.Distribution | None = None,
    conditional_event_shape: Sequence[int] | None = None,
    tolerance: float = 0.0,
    dtype: Any = None,
    validate_args: bool = False,
    name: str = "naf",
) -> tfd.TransformedDistribution:
    """Returns a neural autoregressive flow (NAF), with a monotone network per dimension.

        forward   x = f_1(f_2(... f_L(z)))      each f by root finding, one dimension after the
        other inverse   z = f_L^-1(... f_1^-1(x))     all dimensions at once log p(x)  = log p(z) +
        sum of the log-determinants of the inverses

    The density costs one evaluation of each network. Sampling solves one root for each dimension
    (Huang et al., 2018 [1]).

    Args:
      transformer: the monotone network, a `gx.transformers.DeepSigmoidal` or
        `gx.transformers.DeepDenseSigmoidal`. Default: `gx.transformers.DeepSigmoidal()`.
      event_shape, num_layers, hidden_units, activation, permutation, act_norm, base,
        conditional_event_shape, tolerance, dtype, validate_args, name: as in `gx.flows.maf`.

    Returns:
      A TFP transformed distribution. At initialisation it is close to the base, see
      `gx.transformers.DeepSigmoidal`.

    Raises:
      TypeError, ValueError: as in `gx.flows.maf`, also for `transformer`.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    flow = gx.flows.naf([3], num_layers=2, hidden_units=[32])
    x, log_prob = flow.experimental_sample_and_log_prob(10, seed=[1, 2])
    tf.debugging.assert_near(flow.log_prob(tf.identity(x)), log_prob, atol=1e-4)
    ```

    #### References

    [1]: Chin-Wei Huang, David Krueger, Alexandre Lacoste, Aaron Courville. Neural Autoregressive
         Flows. 2018. https://arxiv.org/abs/1804.00779
    """
    monotone = DeepSigmoidal() if transformer is None else checked_transformer(transformer)
    plan = VectorPlan(
        event_shape,
        num_layers,
        hidden_units,
        activation,
        conditional_event_shape,
        base,
        dtype,
        smallest=1,
    )
    layer = autoregressive_layers(plan, monotone, tolerance)
    steps = plan.steps(layer, permutation, act_norm, every=1)
    return plan.transformed(standard_normal, steps, validate_args, name)
