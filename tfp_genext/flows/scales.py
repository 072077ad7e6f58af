"""Plans of multi-scale flows on images, which build their bijectors scale by scale."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import bijectors, masks
from tfp_genext.distributions import support
from tfp_genext.flows.plan import checked_data_bijector, new_act_norm
from tfp_genext.networks import ConvNet, MovingMoments
from tfp_genext.transformers import Affine, Transformer


def standard_normal_image(shape: Sequence[int], dtype: tf.DType) -> tfd.Distribution:
    """Returns the standard normal distribution of images."""
    zeros = tf.zeros(shape, dtype)
    return tfd.Independent(tfd.Normal(zeros, tf.ones_like(zeros)), reinterpreted_batch_ndims=3)


def of_images(
    shape: tuple[int, int, int],
    plan: ImagePlan,
    num_levels: int,
    data_bijector: tfb.Bijector | None,
    validate_args: bool,
    name: str,
) -> tfd.TransformedDistribution:
    """Returns the flow of a plan, with the data bijector outermost."""
    outer = checked_data_bijector(data_bijector, plan.dtype)
    return support.transformed(
        standard_normal_image(shape, plan.dtype),
        bijectors.Compose([*outer, *plan.level(shape, num_levels)]),
        validate_args=validate_args,
        name=name,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagePlan(abc.ABC):
    """Base class of plans: checked arguments, and the bijectors that image flows share."""

    hidden_channels: Sequence[int]  # One for each level, finest first, as all such sequences here.
    transformer: Transformer
    activation: Any
    context_shape: Sequence[int] | None
    layer_dtype: str | None
    dtype: tf.DType
    num_blocks: int = 0

    @abc.abstractmethod
    def level(self, shape: tuple[int, int, int], levels: int) -> list[tfb.Bijector]:
        """Returns the bijectors of one scale and all coarser ones, outermost first."""

    def coarser(self, shape: tuple[int, int, int], levels: int) -> tfb.Bijector:
        """Returns the bijector of the coarser scales, which acts on half of the channels."""
        kept = shape[2] // 2
        inner = bijectors.Compose(self.level((shape[0], shape[1], kept), levels - 1))
        return bijectors.Partial(inner, kept)

    def coupling(
        self, mask: np.ndarray, channels: int, hidden: int | None, transformer: Transformer
    ) -> tfb.Bijector:
        """Returns a coupling on a new network.

        Args:
          mask: mask of the channels, `[C]`, or of the pixels, `[H, W, 1]`.
          channels: number of channels, C.
          hidden: number of channels of the network's hidden layers; `None` for a single
            convolution.
          transformer: transformer of the coupling.
        """
        # With a mask of pixels, input and output of the network have all channels.
        visible, moved = (int(mask.sum()), int((~mask).sum())) if mask.ndim == 1 else [channels] * 2
        network = ConvNet(
            [moved, transformer.params_size],
            hidden,
            num_blocks=self.num_blocks,
            activation=self.activation,
            conditional_event_shape=self.context_shape,
            unstacked=True,
            dtype=self.layer_dtype,
        )
        network.build((None, None, None, visible))
        return bijectors.Coupling(mask, network, transformer, event_ndims=3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlowPlan(ImagePlan):
    """The plan of a Glow."""

    num_steps: Sequence[int]
    learned_prior: bool
    seeds: Iterator[int]

    def level(self, shape: tuple[int, int, int], levels: int) -> list[tfb.Bijector]:
        height, width, channels = shape[0] // 2, shape[1] // 2, 4 * shape[2]
        squeeze = bijectors.Squeeze()
        number, hidden = self.num_steps[-levels], self.hidden_channels[-levels]
        steps = [part for _ in range(number) for part in self._step(hidden, channels)]
        if levels == 1:
            return [tfb.Invert(squeeze), *steps, *self._top(channels), squeeze]
        prior = [self._prior(channels // 2, channels)] if self.learned_prior else []
        coarser = self.coarser((height, width, channels), levels)
        return [tfb.Invert(squeeze), *steps, *prior, coarser, squeeze]

    def _step(self, hidden: int, channels: int) -> list[tfb.Bijector]:
        conv = bijectors.Invertible1x1Conv.random(channels, seed=next(self.seeds), dtype=self.dtype)
        mask = masks.prefix_mask(channels, channels // 2)
        return [
            new_act_norm(channels, self.dtype),
            conv,
            self.coupling(mask, channels, hidden, self.transformer),
        ]

    def _prior(self, visible: int, channels: int) -> tfb.Bijector:
        """Returns a learned prior: an affine coupling whose network is a single convolution."""
        return self.coupling(masks.prefix_mask(channels, visible), channels, None, Affine())

    def _top(self, channels: int) -> list[tfb.Bijector]:
        """Returns the mean and scale of the coarsest noise as a function of the context, if any."""
        if self.context_shape is None or not self.learned_prior:
            return []
        return [self._prior(0, channels)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RealNVPPlan(ImagePlan):
    """The plan of a multi-scale Real NVP."""

    num_couplings: int
    batch_norm: bool

    def level(self, shape: tuple[int, int, int], levels: int) -> list[tfb.Bijector]:
        hidden = self.hidden_channels[-levels]
        if levels == 1:
            return self._checkerboards(hidden, shape, self.num_couplings + 1)
        squeeze = bijectors.Squeeze()
        height, width, channels = shape[0] // 2, shape[1] // 2, 4 * shape[2]
        return [
            *self._checkerboards(hidden, shape, self.num_couplings),
            tfb.Invert(squeeze),
            *self._channels(hidden, channels),
            self.coarser((height, width, channels), levels),
            squeeze,
        ]

    def _checkerboards(
        self, hidden: int, shape: tuple[int, int, int], number: int
    ) -> list[tfb.Bijector]:
        height, width, channels = shape
        masks_ = [masks.checkerboard(height, width, first=i % 2 == 0) for i in range(number)]
        couplings = [self.coupling(mask, channels, hidden, self.transformer) for mask in masks_]
        return self._normed(couplings, channels)

    def _channels(self, hidden: int, channels: int) -> list[tfb.Bijector]:
        half = channels // 2
        halves = [half if i % 2 == 0 else -half for i in range(self.num_couplings)]
        couplings = [
            self.coupling(masks.prefix_mask(channels, kept), channels, hidden, self.transformer)
            for kept in halves
        ]
        return self._normed(couplings, channels)

    def _normed(self, couplings: list[tfb.Bijector], channels: int) -> list[tfb.Bijector]:
        if not self.batch_norm:
            return couplings
        return [part for c in couplings for part in (self._norm(channels), c)]

    def _norm(self, channels: int) -> tfb.Bijector:
        moments = MovingMoments(dtype=self.dtype.name)
        moments.build((None, channels))
        zeros = tf.zeros([channels], self.dtype)
        return bijectors.BatchNorm(
            moments, tf.Variable(zeros, name="shift"), tf.Variable(zeros, name="log_scale")
        )
