"""Recipes of autoregressive flows on vectors: MAF and IAF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import bijectors, masks
from tfp_genext.core import checks
from tfp_genext.flows.plan import (
    Permutation,
    VectorPlan,
    standard_logistic,
    standard_normal,
    transformer_or_affine,
)
from tfp_genext.networks import MADE
from tfp_genext.transformers import MixtureOfGaussians, Transformer


def maf(
    event_shape: Sequence[int],
    *,
    num_layers: int,
    hidden_units: Sequence[int],
    activation: Any = "relu",
    transformer: Transformer | None = None,
    permutation: Permutation | None = masks.reversed_order,
    act_norm: bool = False,
    num_components: int | None = None,
    base: tfd.Distribution | None = None,
    conditional_event_shape: Sequence[int] | None = None,
    tolerance: float = 0.0,
    dtype: Any = None,
    validate_args: bool = False,
    name: str = "maf",
) -> tfd.TransformedDistribution:
    """Returns a masked autoregressive flow (MAF), whose density is the fast direction.

        forward   x = f_1(f_2(... f_L(z)))          each f autoregressive
        inverse   z = f_L^-1(... f_1^-1(x))
        log p(x)  = log p(z) + sum of the log-determinants of the inverses

    Each layer is a MADE. The density costs one evaluation of each network. Sampling costs a few, as
    each MADE solves its triangular system recursively (Papamakarios et al., 2017 [1]).

    Args:
      event_shape: shape of one event, `[D]`.
      num_layers: number of autoregressive layers, L.
      hidden_units: widths of the hidden layers of each MADE.
      activation: Keras activation of the hidden layers. Default: `"relu"`.
      transformer: scalar bijector of one dimension. Default: `gx.transformers.Affine()`.
      permutation: function that is called as `permutation(D, step)` and returns the order of the
        dimensions for the next layer; `None` to keep the order. Default:
        `gx.masks.reversed_order`.
      act_norm: whether an `ActNorm` follows each layer on the data side. Default: `False`.
      num_components: number of Gaussians in the mixtures of one more, innermost MADE, whose density
        replaces that of the noise: MAF MoG [1]. Default: no such layer.
      base: distribution of the noise, of event shape `[D]`. Default: standard normal. Must be
        `None` if `num_components` is given.
      conditional_event_shape: shape of one context event. Default: no context.
      tolerance: relative change below which sampling treats a block of dimensions as solved.
        Default: 0, which is as exact as D passes.
      dtype: dtype of base, variables and networks. Default: Keras' dtype policy.
      validate_args, name: as in `tfd.TransformedDistribution`.

    Returns:
      A TFP transformed distribution. At initialisation it is the base, with permuted dimensions.

    Raises:
      ValueError: if a size is out of range, or `base` has another event shape or dtype.
      TypeError: if a size is not an integer.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    flow = gx.flows.maf([6], num_layers=5, hidden_units=[32, 32])
    x, log_prob = flow.experimental_sample_and_log_prob(10, seed=[1, 2])
    tf.debugging.assert_near(flow.log_prob(tf.identity(x)), log_prob, atol=1e-4)
    ```

    #### References

    [1]: George Papamakarios, Theo Pavlakou, Iain Murray. Masked Autoregressive Flow for Density
         Estimation. 2017. https://arxiv.org/abs/1705.07057
    """
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
    layer = autoregressive_layers(plan, transformer_or_affine(transformer), tolerance)
    steps = plan.steps(layer, permutation, act_norm, every=1)
    if num_components is None:
        return plan.transformed(standard_normal, steps, validate_args, name)
    if base is not None:
        raise ValueError(checks.message("base", "None beside `num_components`", base))
    mixture = MixtureOfGaussians(num_components=num_components)
    # With logistic noise the density of this layer is that of its mixtures.
    steps.append(autoregressive_layers(plan, mixture, tolerance)(plan.num_layers))
    return plan.transformed(standard_logistic, steps, validate_args, name)


def iaf(
    event_shape: Sequence[int],
    *,
    num_layers: int,
    hidden_units: Sequence[int],
    activation: Any = "relu",
    transformer: Transformer | None = None,
    permutation: Permutation | None = masks.reversed_order,
    act_norm: bool = False,
    base: tfd.Distribution | None = None,
    conditional_event_shape: Sequence[int] | None = None,
    tolerance: float = 0.0,
    dtype: Any = None,
    validate_args: bool = False,
    name: str = "iaf",
) -> tfd.TransformedDistribution:
    """Returns an inverse autoregressive flow (IAF), for which sampling is the fast direction.

        forward   x = f_1^-1(f_2^-1(... f_L^-1(z)))     each f autoregressive
        inverse   z = f_L(... f_1(x))
        log p(x)  = log p(z) + sum of the log-determinants of the inverses

    A sample and its density cost one evaluation of each network. The density of a given x costs a
    few, as each MADE solves its triangular system recursively (Kingma et al., 2016 [1]). This is
    the usual choice for a variational posterior.

    Args:
      event_shape, num_layers, hidden_units, activation, transformer, permutation, act_norm, base:
        as in `gx.flows.maf`.
      conditional_event_shape, dtype, validate_args, name: as in `gx.flows.maf`.
      tolerance: as in `gx.flows.maf`, but for the density of a given x. Default: 0.

    Returns:
      A TFP transformed distribution, as from `gx.flows.maf`.

    Raises:
      TypeError, ValueError: as in `gx.flows.maf`.

    Example:

    ```python
    import tfp_genext as gx

    flow = gx.flows.iaf([6], num_layers=2, hidden_units=[32])
    assert flow.sample(10, seed=[1, 2]).shape == [10, 6]
    ```

    #### References

    [1]: Diederik P. Kingma et al. Improving Variational Inference with Inverse Autoregressive Flow.
         2016. https://arxiv.org/abs/1606.04934
    """
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
    layer = autoregressive_layers(plan, transformer_or_affine(transformer), tolerance)
    steps = plan.steps(lambda i: tfb.Invert(layer(i)), permutation, act_norm, every=1)
    return plan.transformed(standard_normal, steps, validate_args, name)


def autoregressive_layers(
    plan: VectorPlan, transformer: Transformer, tolerance: float
) -> Callable[[int], tfb.Bijector]:
    """Returns a factory from layer index to autoregressive bijector."""

    def layer(i: int) -> tfb.Bijector:
        network = plan.built(
            MADE, plan.size, transformer.params_size, inputs=plan.size, index=i, unstacked=True
        )
        return bijectors.Autoregressive(network, transformer, tolerance=tolerance)

    return layer
