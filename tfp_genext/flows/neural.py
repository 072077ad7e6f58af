"""Recipes of flows on vectors with flexible transformers: splines and monotone networks."""

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
    """Returns a neural spline flow: monotone rational-quadratic splines, one for each dimension.

        forward   x = f_1(f_2(... f_L(z)))      each f autoregressive, or a coupling, of splines
        inverse   z = f_L^-1(... f_1^-1(x))
        log p(x)  = log p(z) + sum of the log-determinants of the inverses

    The density costs one evaluation of each network. So do samples of couplings; those of
    autoregressive layers cost a few densities (Durkan et al., 2019 [1]). Splines move what lies in
    [-bound, bound], so data should be standardised, or `act_norm` set.

    Args:
      event_shape: `[D]`; D at least 2 for couplings.
      num_layers: number of layers, L.
      hidden_units: widths of the hidden layers of each network.
      autoregressive: whether the layers are autoregressive rather than couplings. Default: `True`.
      num_bins: number of bins of a spline. Default: 8.
      bound: half the width of the interval in which splines act. Default: 4.
      activation: Keras activation of the hidden layers. Default: `"relu"`.
      permutation: as in `gx.flows.maf`, or in `gx.flows.real_nvp` for couplings. Default:
        `gx.masks.reversed_order`.
      act_norm: whether an `ActNorm` follows each layer on the data side. Default: `False`.
      base: distribution of the noise, of event shape `[D]`. Default: standard normal.
      conditional_event_shape: shape of one event of `conditional_input`. Default: none.
      tolerance: as in `gx.flows.maf`. Default: 0.
      dtype: dtype of base, variables and networks. Default: Keras' dtype policy.
      validate_args: passed to TFP. Default: `False`.
      name: name of the distribution.

    Returns:
      A TFP transformed distribution; when new, the base itself, up to the permutations.

    Raises:
      ValueError: for sizes out of range, or a base of another event shape or dtype.
      TypeError: for sizes that are no integers.

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
    """Returns a neural autoregressive flow: each dimension goes through a monotone network.

        forward   x = f_1(f_2(... f_L(z)))      each f by roots, one dimension after the other
        inverse   z = f_L^-1(... f_1^-1(x))     all dimensions at once
        log p(x)  = log p(z) + sum of the log-determinants of the inverses

    The density costs one evaluation of each network; sampling solves for one root a dimension
    (Huang et al., 2018 [1]).

    Args:
      event_shape: `[D]`.
      num_layers: number of layers, L.
      hidden_units: widths of the hidden layers of each MADE.
      transformer: the monotone network, `gx.transformers.DeepSigmoidal` or `DeepDenseSigmoidal` of
        your sizes. Default: `gx.transformers.DeepSigmoidal()`.
      activation: Keras activation of the hidden layers. Default: `"relu"`.
      permutation: as in `gx.flows.maf`. Default: `gx.masks.reversed_order`.
      act_norm: whether an `ActNorm` follows each layer on the data side. Default: `False`.
      base: distribution of the noise, of event shape `[D]`. Default: standard normal.
      conditional_event_shape: shape of one event of `conditional_input`. Default: none.
      tolerance: as in `gx.flows.maf`. Default: 0.
      dtype: dtype of base, variables and networks. Default: Keras' dtype policy.
      validate_args: passed to TFP. Default: `False`.
      name: name of the distribution.

    Returns:
      A TFP transformed distribution; when new, near the base: see `gx.transformers.DeepSigmoidal`.

    Raises:
      ValueError: for sizes out of range, or a base of another event shape or dtype.
      TypeError: for sizes that are no integers.

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
