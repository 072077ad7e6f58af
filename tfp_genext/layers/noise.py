"""Uniform noise for pixels: fresh in training, and a fixed function of the image out of it."""

from __future__ import annotations

import abc
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext.core import checks, replicas

# A prime: remainders of it are hashed, in 64 bits, which no product of two of them leaves.
_PRIME = 2**31 - 1


class NoisyPixels(keras.layers.Layer):
    """A layer whose noise does not depend on batches, out of training; abstract.

    Args:
      seed: of the noise; an integer.
      **kwargs: further arguments of `keras.layers.Layer`.
    """

    def __init__(self, *, seed: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.seed = checks.positive_int("seed", seed, minimum=0, maximum=2**32 - 1)
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.built = True

    @abc.abstractmethod
    def check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` if an array holds numbers that the layer does not take."""

    @abc.abstractmethod
    def assertions(self, x: tf.Tensor) -> list[tf.Operation]:
        """Returns operations that raise for such numbers, if a graph runs them."""

    def checked(self, x: Any) -> tf.Tensor:
        """Returns a tensor after checking its values, eagerly or where a graph runs."""
        x = tf.convert_to_tensor(x)
        if tf.executing_eagerly():
            self.check_values(x.numpy())
            return x
        with tf.control_dependencies(self.assertions(x)):
            return tf.identity(x)

    def noise(self, x: tf.Tensor, training: bool | None) -> tf.Tensor:
        """Returns numbers in [0, 1), of the shape of whole numbers x: a hash of them, or fresh."""
        dtype = tf.as_dtype(self.variable_dtype)
        if training:
            seed = tf.cast(self.seed_generator.next(), tf.int32)
            return replicas.uniform(tf.shape(x), seed, dtype)
        return self._fixed_noise(x, dtype)

    def _fixed_noise(self, x: Any, dtype: tf.DType) -> tf.Tensor:
        """Returns noise that is a hash of the whole row and of the place in it."""
        size = math.prod(x.shape[1:])
        factors = np.random.default_rng(self.seed).integers(1, _PRIME, [4, size])
        flat = tf.cast(tf.reshape(x, [-1, size]), tf.int64)
        row = tf.reduce_sum((flat + 1) * factors[0] % _PRIME, axis=1, keepdims=True) % _PRIME
        mixed = (row * factors[1] + factors[2]) % _PRIME
        mixed = (mixed * mixed % _PRIME * factors[3] + mixed) % _PRIME
        # The upper 24 of 31 bits, so that no rounding gives 1.
        noise = tf.cast(mixed // 2**7, dtype) / 2**24
        return tf.reshape(noise, tf.shape(x))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("autocast", None)
        return {**config, "seed": self.seed}
