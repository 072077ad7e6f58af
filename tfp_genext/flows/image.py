"""Recipes of flows on images."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import bijectors, checks
from tfp_genext.flows.plan import checked_transformer, dtypes, new_act_norm
from tfp_genext.networks import ConvNet
from tfp_genext.transformers import Additive, Transformer


def glow(
    image_shape: Sequence[int],
    *,
    num_levels: int,
    num_steps: int,
    hidden_channels: int,
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

    The learned prior of the half that is factored out is an affine coupling that sees the half that
    is kept; the noise itself is standard normal (Kingma and Dhariwal, 2018 [1]). Sampling and
    density both cost one evaluation of each network.

    Args:
      image_shape: `[H, W, C]`; H and W multiples of 2^num_levels.
      num_levels: number of scales.
      num_steps: number of steps at each scale, K.
      hidden_channels: width of the convolutional networks.
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
    shape = _checked_image_shape(image_shape, checks.positive_int("num_levels", num_levels))
    layer_dtype, variable_dtype = dtypes(dtype)
    plan = _GlowPlan(
        num_steps=checks.positive_int("num_steps", num_steps),
        hidden_channels=checks.positive_int("hidden_channels", hidden_channels),
        transformer=checked_transformer(transformer),
        learned_prior=learned_prior,
        activation=activation,
        context_shape=conditional_event_shape,
        layer_dtype=layer_dtype,
        dtype=variable_dtype,
        seeds=itertools.count(seed),
    )
    outer = [] if data_bijector is None else [data_bijector]
    return tfd.TransformedDistribution(
        standard_normal_image(shape, variable_dtype),
        bijectors.Compose([*outer, *plan.level(shape, num_levels)]),
        validate_args=validate_args,
        name=name,
    )


def pixels(num_values: int = 256, *, alpha: float | None = None, dtype: Any = None) -> tfb.Bijector:
    """Returns the bijector from what a flow of images models to the scale of dequantised pixels.

        forward   x = num_values * (y + 1 / 2)                           without alpha
                  x = num_values * (sigmoid(y) - a) / (1 - 2 a)          a = alpha
        log-det   sum(log|dx/dy|): a density on x is one on the scale of the pixels

    Put it outermost in a flow, as `gx.flows.glow(..., data_bijector=gx.flows.pixels())`; nats and
    bits/dim are then those of the pixels, with no constant left out.

    Args:
      num_values: how many values a pixel has. Default: 256.
      alpha: share of the interval that is kept at either end, in (0, 1/2), so that the logit of a
        black or a white pixel is finite; `None`, the default, for the linear scale of Glow.
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
    if not 0.0 < alpha < 0.5:
        raise ValueError(checks.message("alpha", "in (0, 1/2), or None", alpha))
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
    if not 0.0 < temperature < math.inf:
        raise ValueError(checks.message("temperature", "a number above 0", temperature))
    base = flow.distribution.copy(
        distribution=tfd.Normal(normal.loc, tf.ones_like(normal.scale) * temperature)
    )
    return tfd.TransformedDistribution(base, flow.bijector, name=f"tempered_{flow.name}")


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


def standard_normal_image(shape: Sequence[int], dtype: tf.DType) -> tfd.Distribution:
    """Returns the standard normal distribution of images."""
    zeros = tf.zeros(shape, dtype)
    return tfd.Independent(tfd.Normal(zeros, tf.ones_like(zeros)), reinterpreted_batch_ndims=3)


@dataclasses.dataclass(frozen=True)
class _GlowPlan:
    """The checked arguments of a Glow, and its parts."""

    num_steps: int
    hidden_channels: int
    transformer: Transformer
    learned_prior: bool
    activation: Any
    context_shape: Sequence[int] | None
    layer_dtype: str | None
    dtype: tf.DType
    seeds: Iterator[int]

    def level(self, shape: tuple[int, int, int], levels: int) -> list[tfb.Bijector]:
        """Returns the members of one scale and all coarser ones, outermost first."""
        height, width, channels = shape[0] // 2, shape[1] // 2, 4 * shape[2]
        squeeze = bijectors.Squeeze()
        steps = [part for _ in range(self.num_steps) for part in self._step(channels)]
        if levels == 1:
            return [tfb.Invert(squeeze), *steps, *self._top(channels), squeeze]
        kept = channels // 2
        prior = [self._coupling(channels, checked_transformer(None))] if self.learned_prior else []
        coarser = bijectors.Compose(self.level((height, width, kept), levels - 1))
        partial = bijectors.Partial(coarser, kept)
        return [tfb.Invert(squeeze), *steps, *prior, partial, squeeze]

    def _step(self, channels: int) -> list[tfb.Bijector]:
        conv = bijectors.Invertible1x1Conv.random(channels, seed=next(self.seeds), dtype=self.dtype)
        return [
            new_act_norm(channels, self.dtype),
            conv,
            self._coupling(channels, self.transformer),
        ]

    def _coupling(
        self, channels: int, transformer: Transformer, visible: int | None = None
    ) -> tfb.Bijector:
        """Returns a coupling that looks at the first channels, by default half of them."""
        visible = channels // 2 if visible is None else visible
        network = ConvNet(
            [channels - visible, transformer.params_size],
            self.hidden_channels,
            activation=self.activation,
            conditional_event_shape=self.context_shape,
            unstacked=True,
            dtype=self.layer_dtype,
        )
        network.build((None, None, None, visible))
        if isinstance(transformer, Additive):
            return bijectors.AdditiveCoupling(visible, conditioner=network, event_ndims=3)
        return bijectors.AffineCoupling(
            visible, shift_and_log_scale_fn=network, transformer=transformer, event_ndims=3
        )

    def _top(self, channels: int) -> list[tfb.Bijector]:
        """Returns what gives the coarsest noise a mean and a scale for each context."""
        if self.context_shape is None or not self.learned_prior:
            return []
        return [self._coupling(channels, checked_transformer(None), visible=0)]
