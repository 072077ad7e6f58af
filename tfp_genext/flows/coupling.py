"""Recipes of coupling flows on vectors: NICE and Real NVP."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import bijectors, masks
from tfp_genext.core import checks
from tfp_genext.flows.plan import (
    Permutation,
    VectorPlan,
    checked_data_bijector,
    standard_logistic,
    standard_normal,
    transformer_or_affine,
)
from tfp_genext.networks import MLP
from tfp_genext.transformers import Additive, Transformer


def real_nvp(
    event_shape: Sequence[int],
    *,
    num_layers: int,
    hidden_units: Sequence[int],
    activation: Any = "relu",
    transformer: Transformer | None = None,
    permutation: Permutation | None = None,
    act_norm: bool = False,
    base: tfd.Distribution | None = None,
    conditional_event_shape: Sequence[int] | None = None,
    dtype: Any = None,
    validate_args: bool = False,
    name: str = "real_nvp",
) -> tfd.TransformedDistribution:
    """Returns a Real NVP: affine couplings that transform alternating halves of the dimensions.

        forward   x = f_1(f_2(... f_L(z)))          each f an affine coupling
        inverse   z = f_L^-1(... f_1^-1(x))
        log p(x)  = log p(z) + sum of the log-determinants of the inverses

    Sampling and density both cost one evaluation of each network (Dinh et al., 2017 [1]).

    Args:
      event_shape: shape of one event, `[D]`, D at least 2.
      num_layers: number of couplings, L.
      hidden_units: widths of the hidden layers of each network.
      activation: Keras activation of the hidden layers. Default: `"relu"`.
      transformer: scalar bijector of the transformed half. Default: `gx.transformers.Affine()`.
      permutation: function that is called as `permutation(D, step)` and returns the order of the
        dimensions for the next pair of couplings, such as `gx.masks.reversed_order` or
        `gx.masks.random_order(seed)`. Each pair transforms all dimensions, one half in each
        coupling. Default: no permutations.
      act_norm: whether an `ActNorm` follows each coupling on the data side. Default: `False`.
      base: distribution of the noise, of event shape `[D]`. Default: standard normal.
      conditional_event_shape: shape of one context event. Default: no context.
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

    flow = gx.flows.real_nvp([4], num_layers=4, hidden_units=[32, 32])
    x, log_prob = flow.experimental_sample_and_log_prob(10, seed=[1, 2])
    tf.debugging.assert_near(flow.log_prob(tf.identity(x)), log_prob, atol=1e-4)
    ```

    #### References

    [1]: Laurent Dinh, Jascha Sohl-Dickstein, Samy Bengio. Density estimation using Real NVP. 2017.
         https://arxiv.org/abs/1605.08803
    """
    transformer = transformer_or_affine(transformer)
    plan = VectorPlan(
        event_shape,
        num_layers,
        hidden_units,
        activation,
        conditional_event_shape,
        base,
        dtype,
        smallest=2,
    )
    layer = coupling_layers(plan, transformer)
    steps = plan.steps(layer, permutation, act_norm, every=2)
    return plan.transformed(standard_normal, steps, validate_args, name)


def nice(
    event_shape: Sequence[int],
    *,
    num_layers: int,
    hidden_units: Sequence[int],
    activation: Any = "relu",
    permutation: Permutation | None = None,
    act_norm: bool = False,
    data_bijector: tfb.Bijector | None = None,
    base: tfd.Distribution | None = None,
    conditional_event_shape: Sequence[int] | None = None,
    dtype: Any = None,
    validate_args: bool = False,
    name: str = "nice",
) -> tfd.TransformedDistribution:
    """Returns a NICE flow: additive couplings and one diagonal scaling, with logistic noise.

        forward   x = f_1(f_2(... f_L(exp(s) * z)))     each f an additive coupling
        inverse   z = exp(-s) * f_L^-1(... f_1^-1(x))
        log p(x)  = log p(z) - sum(s)

    Sampling and density both cost one evaluation of each network (Dinh et al., 2015 [1]).

    Images are flattened, and their couplings split odd from even pixels, as in the paper.

    Args:
      event_shape: `[D]`, D at least 2, or the shape of images, `[H, W, C]`.
      num_layers, hidden_units, activation, permutation, act_norm: as in `gx.flows.real_nvp`.
      data_bijector: outermost bijector, from the flow to the scale of the data, such as
        `gx.flows.pixels()` for images. Default: none.
      base: distribution of the noise, of event shape `[D]`, or `[H * W * C]` for images. Default:
        standard logistic.
      conditional_event_shape, dtype, validate_args, name: as in `gx.flows.real_nvp`.

    Returns:
      A TFP transformed distribution, as from `gx.flows.real_nvp`.

    Raises:
      TypeError, ValueError: as in `gx.flows.real_nvp`.

    Example:

    ```python
    import tfp_genext as gx

    flow = gx.flows.nice([4], num_layers=4, hidden_units=[32, 32])
    assert flow.sample(10, seed=[1, 2]).shape == [10, 4]
    ```

    #### References

    [1]: Laurent Dinh, David Krueger, Yoshua Bengio. NICE: Non-linear Independent Components
         Estimation. 2015. https://arxiv.org/abs/1410.8516
    """
    shape = checks.shape_tuple("event_shape", event_shape)
    image = len(shape) == 3
    plan = VectorPlan(
        [math.prod(shape)] if image else event_shape,
        num_layers,
        hidden_units,
        activation,
        conditional_event_shape,
        base,
        dtype,
        smallest=2,
    )

    layer = coupling_layers(plan, Additive(), _odd_and_even if image else _halves)
    steps = plan.steps(layer, permutation, act_norm, every=2)
    scaling = tfb.Scale(log_scale=tf.Variable(tf.zeros([plan.size], plan.dtype), name="log_scale"))
    outer = checked_data_bijector(data_bijector, plan.dtype)
    if image:
        outer.append(tfb.Reshape(shape, event_shape_in=[plan.size]))
    return plan.transformed(standard_logistic, [*outer, *steps, scaling], validate_args, name)


def _halves(size: int, i: int) -> np.ndarray:
    """Returns the mask of the first half of the units for even layers, the second for odd ones."""
    half = size // 2
    return masks.prefix_mask(size, half if i % 2 == 0 else half - size)


def _odd_and_even(size: int, i: int) -> np.ndarray:
    """Returns the mask of the odd units for even layers, of the even units for odd ones."""
    return np.arange(size) % 2 == (i + 1) % 2


def coupling_layers(
    plan: VectorPlan, transformer: Transformer, mask_of: Callable[[int, int], np.ndarray] = _halves
) -> Callable[[int], tfb.Bijector]:
    """Returns a factory from layer index to coupling bijector.

    Args:
      plan: checked arguments of the recipe.
      transformer: transformer of all layers.
      mask_of: function from event size and layer index to a mask. Default: alternating halves.
    """

    def layer(i: int) -> tfb.Bijector:
        mask = mask_of(plan.size, i)
        visible = int(mask.sum())
        shape = (plan.size - visible, transformer.params_size)
        network = plan.built(MLP, shape, inputs=visible, index=i, unstacked=True)
        return bijectors.Coupling(mask, network, transformer)

    return layer
