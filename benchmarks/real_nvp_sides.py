"""Three implementations of the same Real NVP: ours, TFP's, and one by hand as the lower limit.

All three have the same weights. TFP's and the one by hand compute the same function, and ours too,
except for the soft bound of its log-scale, whose cost counts as ours.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings

import flow_sides
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from flow_sides import Flow, Network, Seed, Transformed, standard_normal_log_prob

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions

# TFP's template warns in each call that its layers are deprecated.
warnings.filterwarnings("ignore", module=r"(tensorflow_probability|tf_keras)\.")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes that all sides have in common."""

    features: int = 43
    couplings: int = 8
    hidden: tuple[int, ...] = (256, 256)
    batch: int = 512
    rows: int = 10_000
    steps: int = 40

    @classmethod
    def tiny(cls) -> Sizes:
        """Returns small sizes for a quick test."""
        return cls(features=5, couplings=2, hidden=(4,), batch=8, rows=16, steps=2)

    @property
    def num_masked(self) -> list[int]:
        """Signed number of unchanged units of each coupling, outermost first."""
        half = self.features // 2
        return [half - self.features if i % 2 else half for i in range(self.couplings)]

    def widths(self, num_masked: int) -> list[int]:
        """Widths of a network, from its input to its parameters."""
        kept = abs(num_masked)
        return [kept, *self.hidden, 2 * (self.features - kept)]


class Ours(Transformed):
    """`gx.flows.real_nvp`."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.distribution = gx.flows.real_nvp(
            [sizes.features], num_layers=sizes.couplings, hidden_units=sizes.hidden
        )

    def networks(self) -> list[Network]:
        couplings = self.distribution.bijector.bijectors
        return [list(coupling.trainable_variables) for coupling in couplings]


class TFP(Transformed):
    """A `tfb.Chain` of `tfb.RealNVP` with the default template."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        zeros = tf.zeros([sizes.features])
        base = tfd.Independent(tfd.Normal(zeros, tf.ones_like(zeros)), reinterpreted_batch_ndims=1)
        self._templates = [tfb.real_nvp_default_template(sizes.hidden) for _ in sizes.num_masked]
        members = zip(sizes.num_masked, self._templates, strict=True)
        chain = tfb.Chain([tfb.RealNVP(n, shift_and_log_scale_fn=t) for n, t in members])
        self.distribution = tfd.TransformedDistribution(base, chain)

    def networks(self) -> list[Network]:
        if not self._templates[0].trainable_variables:
            self.log_prob(tf.zeros([1, self.sizes.features]))
        # A template orders its variables by name, the bias of a layer before its kernel.
        found = [template.trainable_variables for template in self._templates]
        return [[v for i in range(0, len(f), 2) for v in (f[i + 1], f[i])] for f in found]


class ByHand(Flow):
    """Plain TensorFlow with one evaluation of each network, as the lower limit.

    Args:
      sizes: common sizes of all sides.
      bound: soft bound of the log-scales, as ours has it. Default: none, as TFP.
    """

    def __init__(self, sizes: Sizes, bound: float | None = None) -> None:
        super().__init__(sizes)
        self._couplings = [_Coupling(sizes, n, bound) for n in sizes.num_masked]

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_dets = []
        for coupling in self._couplings:
            x, log_det = coupling.inverse(x)
            log_dets.append(log_det)
        return standard_normal_log_prob(x) + tf.add_n(log_dets)

    def sample(self, n: int, seed: Seed) -> tf.Tensor:
        x = tf.random.stateless_normal([n, self.sizes.features], seed)
        for coupling in reversed(self._couplings):
            x, _ = coupling.forward(x)
        return x

    def sample_and_log_prob(self, n: int, seed: Seed) -> tuple[tf.Tensor, tf.Tensor]:
        x = z = tf.random.stateless_normal([n, self.sizes.features], seed)
        log_dets = []
        for coupling in reversed(self._couplings):
            x, log_det = coupling.forward(x)
            log_dets.append(log_det)
        return x, standard_normal_log_prob(z) - tf.add_n(log_dets)

    def networks(self) -> list[Network]:
        return [coupling.network for coupling in self._couplings]


class _Coupling:
    """An affine coupling with the smallest number of operations."""

    def __init__(self, sizes: Sizes, num_masked: int, bound: float | None) -> None:
        self._bound = bound
        self._first = num_masked > 0
        kept = abs(num_masked)
        self._cut = [kept, sizes.features - kept] if self._first else [sizes.features - kept, kept]
        self.network: Network = []
        widths = sizes.widths(num_masked)
        for rows, columns in itertools.pairwise(widths):
            self.network += [tf.Variable(tf.zeros([rows, columns])), tf.Variable(tf.zeros(columns))]

    def forward(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        kept, moved = self._split(x)
        shift, log_scale = self._params(kept)
        y = self._merge(kept, moved * tf.exp(log_scale) + shift)
        return y, tf.reduce_sum(log_scale, axis=-1)

    def inverse(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        kept, moved = self._split(y)
        shift, log_scale = self._params(kept)
        x = self._merge(kept, (moved - shift) * tf.exp(-log_scale))
        return x, -tf.reduce_sum(log_scale, axis=-1)

    def _params(self, kept: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        h = kept
        *hidden, kernel, bias = self.network
        for w, b in zip(hidden[::2], hidden[1::2], strict=True):
            h = tf.nn.relu(tf.nn.bias_add(tf.matmul(h, w), b))
        shift, log_scale = tf.split(tf.nn.bias_add(tf.matmul(h, kernel), bias), 2, axis=-1)
        if self._bound is not None:
            log_scale = self._bound * tf.tanh(log_scale / self._bound)
        return shift, log_scale

    def _split(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        a, b = tf.split(x, self._cut, axis=-1)
        return (a, b) if self._first else (b, a)

    def _merge(self, kept: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
        return tf.concat([kept, moved] if self._first else [moved, kept], axis=-1)


def trained_sides(sizes: Sizes) -> dict[str, Flow]:
    """Returns all three sides with the same weights."""
    rng = np.random.default_rng(0)
    bounded = ByHand(sizes, gx.transformers.Affine().scale_map.bound)
    return flow_sides.agreeing(
        {"ours": Ours(sizes), "TFP": TFP(sizes), "by hand": ByHand(sizes)},
        bounded,
        [flow_sides.network_weights(sizes.widths(n), rng) for n in sizes.num_masked],
    )
