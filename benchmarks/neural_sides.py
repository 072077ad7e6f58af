"""Neural spline flows, ours and TFP's of the same size, and a neural autoregressive flow.

TFP has no trainable spline flow, but `tfb.RationalQuadraticSpline` can be the inner bijector of
`tfb.MaskedAutoregressiveFlow` or `tfb.RealNVP`. TFP has no monotone networks. A neural
autoregressive flow is therefore compared to the MAF with the same networks.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from flow_sides import Network, Transformed

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions

_BOUND = 4.0
_LEAST = 1e-3


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes that all sides have in common."""

    features: int = 43
    layers: int = 5
    hidden: tuple[int, ...] = (256, 256)
    bins: int = 8
    units: int = 8
    dense_units: int = 4
    batch: int = 512
    rows: int = 1000
    steps: int = 40

    @classmethod
    def tiny(cls) -> Sizes:
        """Returns small sizes for a quick test."""
        return cls(
            features=2,
            layers=1,
            hidden=(4,),
            bins=2,
            units=2,
            dense_units=2,
            batch=8,
            rows=4,
            steps=2,
        )


class Ours(Transformed):
    """A recipe of this package.

    Args:
      sizes: common sizes of all sides.
      recipe: `gx.flows.nsf`, `gx.flows.naf` or `gx.flows.maf`.
      **options: options of the recipe.
    """

    def __init__(
        self, sizes: Sizes, recipe: Callable[..., tfd.Distribution], **options: Any
    ) -> None:
        super().__init__(sizes)
        self.distribution = recipe(
            [sizes.features], num_layers=sizes.layers, hidden_units=sizes.hidden, **options
        )

    def networks(self) -> list[Network]:
        return [list(self.distribution.trainable_variables)]


class TFP(Transformed):
    """A `tfb.Chain` of `tfb.RationalQuadraticSpline`s, with masked networks or in couplings."""

    def __init__(self, sizes: Sizes, *, autoregressive: bool) -> None:
        super().__init__(sizes)
        layer = self._autoregressive if autoregressive else self._coupling
        steps = [layer(i) for i in range(sizes.layers)]
        reverse = tfb.Permute(range(sizes.features)[::-1])
        chain = [part for step in steps for part in (reverse, step)][1:]
        noise = tfd.Sample(tfd.Normal(0.0, 1.0), [sizes.features])
        self.distribution = tfd.TransformedDistribution(noise, tfb.Chain(chain))

    def _autoregressive(self, index: int) -> tfb.Bijector:
        del index
        sizes = self.sizes
        network = tfb.AutoregressiveNetwork(
            params=3 * sizes.bins - 1,
            event_shape=[sizes.features],
            hidden_units=list(sizes.hidden),
            activation="relu",
        )
        network.build([None, sizes.features])
        return tfb.MaskedAutoregressiveFlow(bijector_fn=_Splines(network, sizes.bins))

    def _coupling(self, index: int) -> tfb.Bijector:
        sizes = self.sizes
        half = sizes.features // 2
        kept = half if index % 2 else sizes.features - half
        moved = sizes.features - kept
        layers = [tf_keras.layers.Dense(width, activation="relu") for width in sizes.hidden]
        count = 3 * sizes.bins - 1
        layers += [
            tf_keras.layers.Dense(moved * count),
            tf_keras.layers.Reshape([moved, count]),
        ]
        network = tf_keras.Sequential([tf_keras.layers.Input([kept]), *layers])
        return tfb.RealNVP(num_masked=kept, bijector_fn=_Splines(network, sizes.bins))

    def networks(self) -> list[Network]:
        return [list(self.distribution.trainable_variables)]


class _Splines(tf.Module):
    """An inner bijector for TFP's layers: splines with parameters from a network."""

    def __init__(self, network: Any, bins: int) -> None:
        super().__init__()
        self._network, self._bins = network, bins

    def __call__(self, x: tf.Tensor, *args: Any, **kwargs: Any) -> tfb.Bijector:
        params = self._network(x)
        widths, heights, slopes = tf.split(params, [self._bins, self._bins, self._bins - 1], -1)
        return tfb.RationalQuadraticSpline(
            self._sizes(widths), self._sizes(heights), _LEAST + tf.nn.softplus(slopes), -_BOUND
        )

    def _sizes(self, raw: tf.Tensor) -> tf.Tensor:
        shares = tf.nn.softmax(raw)
        return 2.0 * _BOUND * ((1.0 - _LEAST * self._bins) * shares + _LEAST)


def spline_sides(sizes: Sizes, *, autoregressive: bool) -> dict[str, Transformed]:
    """Returns ours and TFP's spline flow."""
    options = {"num_bins": sizes.bins, "bound": _BOUND, "autoregressive": autoregressive}
    return {
        "ours": Ours(sizes, functools.partial(gx.flows.nsf, **options)),
        "TFP": TFP(sizes, autoregressive=autoregressive),
    }
