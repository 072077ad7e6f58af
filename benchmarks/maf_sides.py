"""Three implementations of the same MAF: ours, TFP's, and one by hand as the lower limit of times.

All have the same weights. TFP's and the one by hand compute the same function, and ours too, except
for the soft bound of its log-scale.
"""

from __future__ import annotations

import dataclasses
import itertools

import flow_sides
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from flow_sides import Flow, Network, Seed, Transformed, standard_normal_log_prob

import tfp_genext as gx

tfb = tfp.bijectors


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes that all sides have in common."""

    features: int = 43
    layers: int = 5
    hidden: tuple[int, ...] = (512, 512)
    batch: int = 512
    rows: int = 10_000
    samples: int = 1000
    steps: int = 40

    @classmethod
    def wide(cls) -> Sizes:
        """Returns the sizes of one layer with as many dimensions as an image."""
        return cls(features=784, layers=1, hidden=(1024,), samples=100)

    @classmethod
    def tiny(cls, features: int, samples: int, layers: int) -> Sizes:
        """Returns small sizes for a quick test."""
        return cls(features, layers, hidden=(6,), batch=8, rows=16, samples=samples, steps=2)

    @property
    def widths(self) -> list[int]:
        """Widths of a network, from its input to its parameters."""
        return [self.features, *self.hidden, 2 * self.features]


class Ours(Transformed):
    """`gx.flows.maf`."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.distribution = gx.flows.maf(
            [sizes.features], num_layers=sizes.layers, hidden_units=sizes.hidden
        )

    def networks(self) -> list[Network]:
        layers = self.distribution.bijector.bijectors[::2]
        return [_alternating(layer.trainable_variables) for layer in layers]


def _alternating(variables: Network) -> Network:
    """Returns variables in the order kernel, bias, kernel, bias, ..."""
    kernels, biases = ([v for v in variables if v.shape.rank == rank] for rank in (2, 1))
    return [v for pair in zip(kernels, biases, strict=True) for v in pair]


class TFP(Transformed):
    """A `tfb.Chain` of `tfb.MaskedAutoregressiveFlow` with `tfb.AutoregressiveNetwork`."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self._networks = [_autoregressive_network(sizes) for _ in range(sizes.layers)]
        steps: list[tfb.Bijector] = []
        for network in self._networks:
            steps += [tfb.Permute(range(sizes.features)[::-1])] if steps else []
            steps.append(tfb.MaskedAutoregressiveFlow(network))
        base = Ours(dataclasses.replace(sizes, layers=1, hidden=())).distribution.distribution
        self.distribution = tfp.distributions.TransformedDistribution(base, tfb.Chain(steps))

    def networks(self) -> list[Network]:
        return [network.trainable_variables for network in self._networks]


def _autoregressive_network(sizes: Sizes) -> tfb.AutoregressiveNetwork:
    network = tfb.AutoregressiveNetwork(
        params=2,
        event_shape=[sizes.features],
        hidden_units=list(sizes.hidden),
        activation="relu",
    )
    network.build([None, sizes.features])
    return network


class ByHand(Flow):
    """Plain TensorFlow with one evaluation of each network, as the lower limit. It does not sample.

    Args:
      sizes: common sizes of all sides.
      bound: soft bound of the log-scales, as ours has it. Default: none, as TFP.
    """

    def __init__(self, sizes: Sizes, bound: float | None = None) -> None:
        super().__init__(sizes)
        self._bound = bound
        self._masks = _masks(sizes)
        self._weights = [_zeros(sizes) for _ in range(sizes.layers)]

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_dets = []
        for i, weights in enumerate(self._weights):
            if i:
                x = tf.reverse(x, axis=[1])
            shift, log_scale = self._params(x, weights)
            x = (x - shift) * tf.exp(-log_scale)
            log_dets.append(-tf.reduce_sum(log_scale, axis=-1))
        return standard_normal_log_prob(x) + tf.add_n(log_dets)

    def _params(self, x: tf.Tensor, weights: Network) -> tuple[tf.Tensor, tf.Tensor]:
        h = x
        for i, mask in enumerate(self._masks):
            kernel, bias = weights[2 * i : 2 * i + 2]
            h = tf.nn.bias_add(tf.matmul(h, mask * kernel), bias)
            if i + 1 < len(self._masks):
                h = tf.nn.relu(h)
        params = tf.reshape(h, [-1, self.sizes.features, 2])
        shift, log_scale = params[..., 0], params[..., 1]
        if self._bound is not None:
            log_scale = self._bound * tf.tanh(log_scale / self._bound)
        return shift, log_scale

    def sample(self, n: int, seed: Seed) -> tf.Tensor:
        raise NotImplementedError

    def sample_and_log_prob(self, n: int, seed: Seed) -> tuple[tf.Tensor, tf.Tensor]:
        raise NotImplementedError

    def networks(self) -> list[Network]:
        return self._weights


def _masks(sizes: Sizes) -> list[tf.Tensor]:
    inputs, *hidden = gx.masks.autoregressive_degrees(sizes.features, sizes.hidden)
    lefts = [inputs, *hidden]
    rights = [*hidden, np.repeat(inputs, 2) - 1]
    return [
        tf.constant(left[:, None] <= right, tf.float32)
        for left, right in zip(lefts, rights, strict=True)
    ]


def _zeros(sizes: Sizes) -> Network:
    shapes = [[w, [w[1]]] for w in itertools.pairwise(sizes.widths)]
    return [tf.Variable(tf.zeros(shape)) for pair in shapes for shape in pair]


def trained_sides(sizes: Sizes) -> dict[str, Flow]:
    """Returns all three sides with the same weights."""
    rng = np.random.default_rng(0)
    bounded = ByHand(sizes, gx.transformers.Affine().scale_map.bound)
    return flow_sides.agreeing(
        {"ours": Ours(sizes), "TFP": TFP(sizes), "by hand": ByHand(sizes)},
        bounded,
        [_masked_weights(sizes, rng) for _ in range(sizes.layers)],
    )


def _masked_weights(sizes: Sizes, rng: np.random.Generator) -> list[np.ndarray]:
    # TFP masks kernels at initialisation and by a Keras constraint, but not in calls.
    weights = flow_sides.network_weights(sizes.widths, rng)
    kernels = [k * m for k, m in zip(weights[::2], _masks(sizes), strict=True)]
    return [w for pair in zip(kernels, weights[1::2], strict=True) for w in pair]
