"""Dropout that is fast under XLA."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfp_genext")
class Dropout(keras.layers.Layer):
    """Leaves out some units in training, as `keras.layers.Dropout` does.

    It names the generator of its random numbers: the one that XLA chooses for that of Keras is some
    fifty times slower on processors.

    Args:
      rate: share of units that are left out.
      **kwargs: further arguments of `keras.layers.Layer`.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        if not training:
            return x
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        u = tf.random.stateless_uniform(tf.shape(x), seed, dtype=x.dtype, alg="philox")
        return tf.where(u < self.rate, tf.zeros_like(x), x / (1.0 - self.rate))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}
