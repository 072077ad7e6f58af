"""Recipes of flows on images: Glow and multi-scale Real NVP."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext.core import checks
from tfp_genext.distributions import support
from tfp_genext.flows.plan import dtypes, transformer_or_affine
from tfp_genext.flows.scales import GlowPlan, RealNVPPlan, of_images
from tfp_genext.transformers import Transformer


def glow(
    image_shape: Sequence[int],
    *,
    num_levels: int,
    num_steps: int | Sequence[int],
    hidden_channels: int | Sequence[int],
    transformer: Transformer | None = None,
    learned_prior: bool = True,
    activation: Any = "relu",
    data_bijector: tfb.Bijector | None = None,
    conditional_event_shape: Sequence[int] | None = None,
    seed: int = 0,
    dtype: Any = None,
    validate_args: bool = False,
    name: str = "glow",
) -> tfd.TransformedDistribution:
    """Returns a Glow: steps of ActNorm, invertible 1x1 convolution and coupling at several scales.

    Noise z and image x are both `[H, W, C]`. The flow starts at the coarsest level. With h the
    output of the coarser levels and e the noise that is added at a level:

        forward   x = unsqueeze(step_1(... step_K([h, prior(e; h)])))
        step      y = act_norm(invertible_1x1_conv(coupling(x)))
        log p(x)  = log p(z) + sum of the log-determinants of the inverses

    The learned prior of the factored-out half is an affine coupling whose network is a single
    convolution of the other half. The noise is standard normal (Kingma and Dhariwal, 2018 [1]).
    Sampling and density both cost one evaluation of each network.

    Args:
      image_shape: `[H, W, C]`; H and W must be multiples of 2^num_levels.
      num_levels: number of scales.
      num_steps: number of steps at each scale, K; or a list with one number for each scale, finest
        first.
      hidden_channels: number of channels of the hidden layers; or a list with one number for each
        scale, finest first.
      transformer: scalar bijector of the couplings, such as `gx.transformers.Additive()` for
        additive couplings. Default: `gx.transformers.Affine()`.
      learned_prior: whether the factored-out half has a learned prior. Default: `True`.
      activation: Keras activation of the networks. Default: `"relu"`.
      data_bijector: outermost bijector, from the flow to the scale of the data, such as
        `gx.flows.pixels()`. Its log-determinant is part of the density. Default: none.
      conditional_event_shape: shape of one context event, such as `[10]` for one-hot classes. All
        couplings and the coarsest noise depend on the context. Default: no context.
      seed: seed of the random rotations that initialise the 1x1 convolutions. Default: 0.
      dtype, validate_args, name: as in `gx.flows.real_nvp`.

    Returns:
      A TFP transformed distribution of images `[H, W, C]`. Its ActNorms must be initialised from
      data, which `DensityModel.fit` and `gx.flows.initialize` do.

    Raises:
      ValueError: if a size is out of range, or H or W is not a multiple of 2^num_levels.
      TypeError: if one of the sizes is not an integer.

    Example:

    ```python
    import tfp_genext as gx

    flow = gx.flows.glow([8, 8, 3], num_levels=2, num_steps=1, hidden_channels=8)
    assert flow.sample(5, seed=[1, 2]).shape == [5, 8, 8, 3]
    ```

    #### References

    [1]: Diederik P. Kingma, Prafulla Dhariwal. Glow: Generative Flow with Invertible 1x1
         Convolutions. 2018. https://arxiv.org/abs/1807.03039
    """
    num_levels = checks.positive_int("num_levels", num_levels)
    shape = _checked_image_shape(image_shape, num_levels)
    layer_dtype, variable_dtype = dtypes(dtype)
    plan = GlowPlan(
        num_steps=checks.one_or_each("num_steps", num_steps, num_levels, "level"),
        hidden_channels=checks.one_or_each("hidden_channels", hidden_channels, num_levels, "level"),
        transformer=transformer_or_affine(transformer),
        learned_prior=learned_prior,
        activation=activation,
        context_shape=conditional_event_shape,
        layer_dtype=layer_dtype,
        dtype=variable_dtype,
        seeds=itertools.count(checks.any_int("seed", seed)),
    )
    return of_images(shape, plan, num_levels, data_bijector, validate_args, name)


def real_nvp_images(
    image_shape: Sequence[int],
    *,
    num_levels: int,
    hidden_channels: int | Sequence[int],
    num_couplings: int = 3,
    num_blocks: int = 2,
    transformer: Transformer | None = None,
    batch_norm: bool = True,
    activation: Any = "relu",
    data_bijector: tfb.Bijector | None = None,
    conditional_event_shape: Sequence[int] | None = None,
    dtype: Any = None,
    validate_args: bool = False,
    name: str = "real_nvp_images",
) -> tfd.TransformedDistribution:
    """Returns the multi-scale Real NVP for images.

    From the data to the noise, each scale except the coarsest consists of couplings with
    alternating checkerboard masks, a squeeze, couplings with alternating channel masks, and a split
    that factors out half of the channels. The coarsest scale has only checkerboard couplings, one
    more than the others (Dinh et al., 2017 [1]). Networks are residual. Both directions cost one
    evaluation of each network.

        forward   x = f_1(f_2(... f_L(z)))      z, x both [H, W, C]
        log p(x)  = log p(z) + sum of the log-determinants of the inverses

    Args:
      image_shape: `[H, W, C]`; H and W must be multiples of 2^(num_levels - 1).
      num_levels, hidden_channels, transformer, activation: as in `gx.flows.glow`.
      num_couplings: number of couplings with each type of mask at a scale. Default: 3.
      num_blocks: number of residual blocks of each network. Default: 2.
      batch_norm: whether a `gx.bijectors.BatchNorm` follows each coupling on the data side. Its
        moving moments are updated by `DensityModel.fit`, but not by a custom training loop.
        Default: `True`.
      data_bijector: as in `gx.flows.glow`. The paper uses `gx.flows.pixels(alpha=0.05)`. Default:
        none.
      conditional_event_shape, dtype, validate_args, name: as in `gx.flows.real_nvp`.

    Returns:
      A TFP transformed distribution of images `[H, W, C]`.

    Raises:
      TypeError, ValueError: as in `gx.flows.glow`. ValueError also if the coarsest scale has a
        single pixel.

    Example:

    ```python
    import tfp_genext as gx

    flow = gx.flows.real_nvp_images([4, 4, 1], num_levels=2, hidden_channels=8, num_blocks=1)
    assert flow.sample(5, seed=[1, 2]).shape == [5, 4, 4, 1]
    ```

    #### References

    [1]: Laurent Dinh, Jascha Sohl-Dickstein, Samy Bengio. Density estimation using Real NVP. 2017.
         https://arxiv.org/abs/1605.08803
    """
    num_levels = checks.positive_int("num_levels", num_levels)
    shape = _checked_image_shape(image_shape, num_levels - 1)
    if shape[0] * shape[1] == 4 ** (num_levels - 1):
        raise ValueError(
            f"`image_shape` must leave two pixels at the coarsest of {num_levels} scales, for a "
            f"checkerboard. Received: image_shape={image_shape}"
        )
    layer_dtype, variable_dtype = dtypes(dtype)
    plan = RealNVPPlan(
        hidden_channels=checks.one_or_each("hidden_channels", hidden_channels, num_levels, "level"),
        num_blocks=checks.positive_int("num_blocks", num_blocks),
        transformer=transformer_or_affine(transformer),
        activation=activation,
        context_shape=conditional_event_shape,
        layer_dtype=layer_dtype,
        dtype=variable_dtype,
        num_couplings=checks.positive_int("num_couplings", num_couplings),
        batch_norm=batch_norm,
    )
    return of_images(shape, plan, num_levels, data_bijector, validate_args, name)


def pixels(num_values: int = 256, *, alpha: float | None = None, dtype: Any = None) -> tfb.Bijector:
    """Returns the bijector from an image flow's values to the scale of dequantised pixels.

        forward   x = num_values * (y + 1 / 2)                           without alpha
                  x = num_values * (sigmoid(y) - a) / (1 - 2 a)          a = alpha
        log-det   sum(log|dx/dy|): a density on x is one on the scale of the pixels

    It must be outermost in a flow, as in `gx.flows.glow(..., data_bijector=gx.flows.pixels())`.
    Nats and bits/dim are then those of the pixels, including all constants.

    With alpha, values farther than num_values * a / (1 - 2 a) outside [0, num_values] have no
    logit. There `log_prob` is NaN, as for TFP's distributions outside their support, and
    `DensityModel` raises. Values y beyond 16 in float32, or 36 in float64, are rounded to the end
    of the interval and cannot be inverted.

    Args:
      num_values: number of values of a pixel. Default: 256.
      alpha: margin at both ends of the interval, in (0, 1/2), which keeps the logits of black and
        white pixels finite. For images with many black pixels, such as MNIST, a small margin such
        as 3e-4 is easier to learn. Default: the linear scale of Glow, without logits.
      dtype: dtype of the flow. Default: Keras' dtype policy.

    Raises:
      ValueError: if `num_values` is below 2, or `alpha` is out of range.

    Example:

    ```python
    import tfp_genext as gx

    assert gx.flows.pixels().inverse([0.0, 128.0, 256.0]).numpy().tolist() == [-0.5, 0.0, 0.5]
    ```
    """
    num_values = checks.positive_int("num_values", num_values, minimum=2)
    number = functools.partial(tf.constant, dtype=dtypes(dtype)[1])
    if alpha is None:
        return tfb.Chain([tfb.Scale(number(num_values)), tfb.Shift(number(0.5))])
    alpha = checks.number("alpha", alpha, "in (0, 1/2), or None", lambda a: 0.0 < a < 0.5)
    scale = tfb.Scale(number(num_values / (1.0 - 2.0 * alpha)))
    return tfb.Chain([scale, tfb.Shift(number(-alpha)), tfb.Sigmoid()])


def tempered(flow: tfd.Distribution, temperature: float) -> tfd.Distribution:
    """Returns a flow with another standard deviation of the noise, which shares the variables.

    Samples at a lower temperature are less varied and often look better (Kingma and Dhariwal, 2018,
    section 6, arXiv:1807.03039). The density is that of these samples, not of the trained flow.

    Args:
      flow: a transformed distribution with standard normal noise, such as from `gx.flows.glow`.
      temperature: standard deviation of the noise, above 0.

    Raises:
      TypeError: if `flow` is not a transformed distribution.
      ValueError: if its noise is not standard normal, or `temperature` is not above 0.

    Example:

    ```python
    import tfp_genext as gx

    flow = gx.flows.glow([4, 4, 1], num_levels=1, num_steps=1, hidden_channels=4)
    assert gx.flows.tempered(flow, 0.7).sample(3, seed=[1, 2]).shape == [3, 4, 4, 1]
    ```
    """
    if not isinstance(getattr(flow, "bijector", None), tfb.Bijector):
        raise TypeError(checks.message("flow", "a transformed distribution", flow))
    normal = getattr(flow.distribution, "distribution", None)
    if not isinstance(normal, tfd.Normal) or not _is_standard(normal):
        raise ValueError(checks.message("flow", "of standard normal noise", flow.distribution))
    temperature = checks.positive_number("temperature", temperature)
    base = flow.distribution.copy(
        distribution=tfd.Normal(normal.loc, tf.ones_like(normal.scale) * temperature)
    )
    return support.transformed(base, flow.bijector, name=f"tempered_{flow.name}")


def _is_standard(normal: tfd.Normal) -> bool:
    loc, scale = tf.get_static_value(normal.loc), tf.get_static_value(normal.scale)
    return loc is not None and scale is not None and not loc.any() and bool((scale == 1.0).all())


def _checked_image_shape(image_shape: Any, num_levels: int) -> tuple[int, int, int]:
    shape = checks.shape_tuple("image_shape", image_shape)
    if len(shape) != 3:
        raise ValueError(checks.message("image_shape", "a shape [H, W, C]", image_shape))
    if any(size % 2**num_levels for size in shape[:2]):
        raise ValueError(
            f"`image_shape` must have a height and a width that are multiples of {2**num_levels}, "
            f"to be halved {num_levels} times. Received: image_shape={image_shape}"
        )
    return shape[0], shape[1], shape[2]
