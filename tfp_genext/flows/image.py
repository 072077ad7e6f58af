"""Recipes of flows on images."""

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
    """Returns a Glow: steps of norm, mixing of channels and coupling, at several scales.

    From noise z to image x, both `[H, W, C]`, level by level from the coarsest, with h what coarser
    levels give and e the noise that a level brings in:

        forward   x = unsqueeze(step_1(... step_K([h, prior(e; h)])))
        step      y = act_norm(invertible_1x1_conv(coupling(x)))
        log p(x)  = log p(z) + sum of the log-determinants of the inverses

    The learned prior of the half that is factored out is an affine coupling, whose network is one
    convolution of the half that is kept; the noise itself is standard normal (Kingma and Dhariwal,
    2018 [1]). Sampling and density both cost one evaluation of each network.

    Args:
      image_shape: `[H, W, C]`; H and W multiples of 2^num_levels.
      num_levels: number of scales.
      num_steps: number of steps at each scale, K; or one number for each scale, finest first.
      hidden_channels: width of the convolutional networks; or one for each scale, finest first.
      transformer: how couplings move a number: `gx.transformers.Affine()`, the default, or
        `gx.transformers.Additive()` for additive couplings, or any other.
      learned_prior: whether the half that is factored out has a learned prior. Default: `True`.
      activation: Keras activation of the networks. Default: `"relu"`.
      data_bijector: from what the flow models to the data's own scale, such as
        `gx.flows.pixels()`; outermost, so that its log-determinant counts. Default: none.
      conditional_event_shape: shape of one event of `conditional_input`, such as `[10]` for one-hot
        classes, which the coarsest noise and all couplings see. Default: none.
      seed: of the random rotations that channels are mixed by at the start. Default: 0.
      dtype: dtype of base, variables and networks. Default: Keras' dtype policy.
      validate_args: passed to TFP. Default: `False`.
      name: name of the distribution.

    Returns:
      A TFP transformed distribution of images `[H, W, C]`. Its norms wait for data:
      `DensityModel.fit` initialises them, or `gx.flows.initialize`.

    Raises:
      ValueError: for sizes out of range, or a height or width that cannot be halved so often.
      TypeError: for sizes that are no integers.

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

    At each scale but the coarsest, from the data's side: couplings in checkerboards that alternate,
    space traded for channels, couplings of channels whose halves alternate, and half of the
    channels left to the noise; at the coarsest, one more coupling in checkerboards, and no other
    (Dinh et al., 2017 [1]). Networks are residual. Both directions cost one evaluation of each.

        forward   x = f_1(f_2(... f_L(z)))      z, x both [H, W, C]
        log p(x)  = log p(z) + sum of the log-determinants of the inverses

    Args:
      image_shape: `[H, W, C]`; H and W multiples of 2^(num_levels - 1).
      num_levels: number of scales.
      hidden_channels: width of the residual networks; or one for each scale, finest first.
      num_couplings: number of couplings of each kind at a scale. Default: 3.
      num_blocks: number of residual blocks of each network. Default: 2.
      transformer: how couplings move a number. Default: `gx.transformers.Affine()`.
      batch_norm: whether a `gx.bijectors.BatchNorm` follows each coupling on the data side. Its
        moments are learned in `DensityModel.fit`; a loop of one's own should do without. Default:
        `True`.
      activation: Keras activation of the networks. Default: `"relu"`.
      data_bijector: as in `gx.flows.glow`; `gx.flows.pixels(alpha=0.05)` is the paper's. Default:
        none.
      conditional_event_shape: shape of one event of `conditional_input`. Default: none.
      dtype: dtype of base, variables and networks. Default: Keras' dtype policy.
      validate_args: passed to TFP. Default: `False`.
      name: name of the distribution.

    Returns:
      A TFP transformed distribution of images `[H, W, C]`.

    Raises:
      ValueError: for sizes out of range, a height or width that cannot be halved so often, or one
        pixel at the coarsest scale.
      TypeError: for sizes that are no integers.

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
    """Returns the bijector from what a flow of images models to the scale of dequantised pixels.

        forward   x = num_values * (y + 1 / 2)                           without alpha
                  x = num_values * (sigmoid(y) - a) / (1 - 2 a)          a = alpha
        log-det   sum(log|dx/dy|): a density on x is one on the scale of the pixels

    Put it outermost in a flow, as `gx.flows.glow(..., data_bijector=gx.flows.pixels())`; nats and
    bits/dim are then those of the pixels, with no constant left out.

    With alpha, values farther than num_values * a / (1 - 2 a) outside [0, num_values] have no
    logit: `log_prob` is NaN there, as that of TFP's own distributions outside their support, and
    `DensityModel` raises. Noise beyond 16 in float32, 36 in float64, gives the very end of the
    interval, from which nothing comes back.

    Args:
      num_values: how many values a pixel has. Default: 256.
      alpha: share of the interval that is kept at either end, in (0, 1/2), so that the logit of a
        black or a white pixel is finite; `None`, the default, for the linear scale of Glow. Images
        of many black pixels, as MNIST, are much easier on a small one: 3e-4, say.
      dtype: of the flow. Default: Keras' dtype policy.

    Raises:
      ValueError: for fewer than 2 values, or an alpha out of range.

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
    """Returns a flow whose noise is drawn with another standard deviation, on the same variables.

    Samples of lower temperature are less varied and often look better (Kingma and Dhariwal, 2018,
    section 6 [1]). The density is that of what is sampled, not of the flow that was trained.

    Args:
      flow: a transformed distribution whose noise is standard normal, as that of `gx.flows.glow`.
      temperature: standard deviation of the noise, above 0.

    Raises:
      TypeError: where `flow` is no transformed distribution.
      ValueError: where its noise is not standard normal, or the temperature not above 0.

    Example:

    ```python
    import tfp_genext as gx

    flow = gx.flows.glow([4, 4, 1], num_levels=1, num_steps=1, hidden_channels=4)
    assert gx.flows.tempered(flow, 0.7).sample(3, seed=[1, 2]).shape == [3, 4, 4, 1]
    ```

    #### References

    [1]: Diederik P. Kingma, Prafulla Dhariwal. Glow: Generative Flow with Invertible 1x1
         Convolutions. 2018. https://arxiv.org/abs/1807.03039
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
