"""Dropout that is fast under XLA."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfp_genext.core import replicas


@keras.saving.register_keras_serializable(package="tfp_genext")
class Dropout(keras.layers.Layer):
    """Dropout layer with the behaviour of `keras.layers.Dropout`.

    The generator of its random numbers is the one that is fast under XLA too, and replicas of
    `tf.distribute` leave out what one device would.

    Args:
      rate: share of units that are left out.
      rows_axis: along which the rows of a batch stand, 0 or 1. Default: 0.
      **kwargs: of any Keras layer.
    """

    def __init__(self, rate: float, *, rows_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.rows_axis = rows_axis
        self.seed_generator = keras.random.SeedGenerator()
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        if not training:
            return x
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        u = replicas.uniform(tf.shape(x), seed, x.dtype, axis=self.rows_axis)
        return tf.where(u < self.rate, tf.zeros_like(x), x / (1.0 - self.rate))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "rows_axis": self.rows_axis}
