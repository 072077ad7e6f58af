"""Uniform noise for pixels, random in training and a fixed function of the image otherwise."""

from __future__ import annotations

import abc
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext.core import checks, replicas

# A prime modulus of the hash. Products of two remainders fit in 64 bits.
_PRIME = 2**31 - 1


class NoisyPixels(keras.layers.Layer):
    """Base class of layers with noise that, outside training, does not depend on the batch.

    Args:
      seed: seed of the noise, an integer.
      **kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(self, *, seed: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.seed = checks.positive_int("seed", seed, minimum=0, maximum=2**32 - 1)
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.built = True

    @abc.abstractmethod
    def check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` if an array holds numbers that the layer does not accept."""

    @abc.abstractmethod
    def assertions(self, x: tf.Tensor) -> list[tf.Operation]:
        """Returns graph assertions against numbers that the layer does not accept."""

    def checked(self, x: Any) -> tf.Tensor:
        """Returns a tensor after checking its values, eagerly or by assertions in a graph."""
        x = tf.convert_to_tensor(x)
        if tf.executing_eagerly():
            self.check_values(x.numpy())
            return x
        with tf.control_dependencies(self.assertions(x)):
            return tf.identity(x)

    def noise(self, x: tf.Tensor, training: bool | None) -> tf.Tensor:
        """Returns noise in [0, 1) of the shape of x: drawn in training, else a hash of x."""
        dtype = tf.as_dtype(self.variable_dtype)
        if training:
            seed = tf.cast(self.seed_generator.next(), tf.int32)
            return replicas.uniform(tf.shape(x), seed, dtype)
        return self._fixed_noise(x, dtype)

    def _fixed_noise(self, x: Any, dtype: tf.DType) -> tf.Tensor:
        """Returns noise that is a hash of the row and the position in it."""
        size = math.prod(x.shape[1:])
        factors = np.random.default_rng(self.seed).integers(1, _PRIME, [4, size])
        flat = tf.cast(tf.reshape(x, [-1, size]), tf.int64)
        row = tf.reduce_sum((flat + 1) * factors[0] % _PRIME, axis=1, keepdims=True) % _PRIME
        mixed = (row * factors[1] + factors[2]) % _PRIME
        mixed = (mixed * mixed % _PRIME * factors[3] + mixed) % _PRIME
        # The upper 24 of 31 bits, so that the noise does not round to 1.
        noise = tf.cast(mixed // 2**7, dtype) / 2**24
        return tf.reshape(noise, tf.shape(x))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("autocast", None)
        return {**config, "seed": self.seed}
