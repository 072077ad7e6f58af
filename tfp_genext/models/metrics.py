"""Metrics of models with latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

# Burda et al., 2016: activity is either far below or far above it.
_ACTIVE = 0.01


@keras.saving.register_keras_serializable(package="tfp_genext")
class ActiveUnits(keras.metrics.Metric):
    """Number of latent entries that carry information about the data.

        A_u = Cov_x(E[z_u | x]),   active where A_u > 0.01

    Args:
      latent_shape: shape of one latent.
      **kwargs: further arguments of `keras.metrics.Metric`.
    """

    def __init__(self, latent_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # In float64, because a covariance is a small difference of large means.
        shape = tuple(latent_shape)
        self._rows = self._sum("rows", ())
        self._sums = self._sum("sums", (2, *shape))
        self._products = self._sum("products", shape)

    def _sum(self, name: str, shape: tuple[int, ...]) -> keras.Variable:
        return self.add_weight(name=name, shape=shape, initializer="zeros", dtype="float64")

    def update_state(self, first: Any, second: Any) -> None:
        """Adds two estimates of E[z | x], `[N, *latent]`, with independent errors."""
        first, second = tf.cast(first, tf.float64), tf.cast(second, tf.float64)
        self._rows.assign_add(tf.cast(tf.shape(first)[0], tf.float64))
        self._sums.assign_add(tf.stack([tf.reduce_sum(first, 0), tf.reduce_sum(second, 0)]))
        self._products.assign_add(tf.reduce_sum(first * second, axis=0))

    def result(self) -> tf.Tensor:
        rows = tf.maximum(tf.convert_to_tensor(self._rows), 1.0)
        means = self._sums / rows
        covariance = self._products / rows - means[0] * means[1]
        return tf.reduce_sum(tf.cast(covariance > _ACTIVE, tf.float32))
