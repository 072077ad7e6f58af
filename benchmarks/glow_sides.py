"""Two Glows of the same size: ours and TFP's.

They do not compute the same function: ours has weight-normalised convolutions with an input that
marks the edge of the image, and a bounded scale; TFP's has plain convolutions and a sigmoid.
Number, shape and width of the layers are equal.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from flow_sides import Network, Transformed

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes that both sides have in common."""

    image_shape: tuple[int, int, int] = (32, 32, 3)
    levels: int = 3
    steps_of_flow: int = 8
    hidden: int = 128
    batch: int = 64

    @classmethod
    def tiny(cls) -> Sizes:
        """Returns small sizes for a quick test."""
        return cls(image_shape=(4, 4, 3), levels=2, steps_of_flow=1, hidden=4, batch=2)


class Ours(Transformed):
    """`gx.flows.glow`."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.distribution = gx.flows.glow(
            sizes.image_shape,
            num_levels=sizes.levels,
            num_steps=sizes.steps_of_flow,
            hidden_channels=sizes.hidden,
        )

    def networks(self) -> list[Network]:
        return [list(self.distribution.trainable_variables)]


class TFP(Transformed):
    """`tfb.Glow` with its default networks, on a standard normal vector."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        glow = tfb.Glow(
            sizes.image_shape,
            num_glow_blocks=sizes.levels,
            num_steps_per_block=sizes.steps_of_flow,
            coupling_bijector_fn=functools.partial(tfb.GlowDefaultNetwork, num_hidden=sizes.hidden),
            exit_bijector_fn=tfb.GlowDefaultExitNetwork,
            seed=0,
        )
        noise = tfd.Sample(tfd.Normal(0.0, 1.0), [math.prod(sizes.image_shape)])
        self.distribution = tfd.TransformedDistribution(noise, glow)

    def networks(self) -> list[Network]:
        return [list(self.distribution.trainable_variables)]


def sides(sizes: Sizes) -> dict[str, Transformed]:
    """Returns both sides, with ActNorms initialised from a batch."""
    made = {"ours": Ours(sizes), "TFP": TFP(sizes)}
    x = images(sizes)
    gx.flows.initialize(made["ours"].distribution, x)
    made["TFP"].log_prob(x)
    return made


def images(sizes: Sizes) -> tf.Tensor:
    """Returns a batch of images, of values in (0, 1)."""
    return tf.random.stateless_uniform([sizes.batch, *sizes.image_shape], [1, 2])


def number_of_parameters(flow: Transformed) -> int:
    """Returns the number of trainable parameters."""
    return sum(int(np.prod(v.shape)) for v in flow.variables)
