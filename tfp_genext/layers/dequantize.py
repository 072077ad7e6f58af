"""Noise that turns whole numbers into a density's data."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.layers.noise import NoisyPixels


@keras.saving.register_keras_serializable(package="tfp_genext")
class Dequantize(NoisyPixels):
    """Adds noise, uniform on [0, 1), to whole numbers such as the pixels of an image.

        y = x + u

    The density of y on the scale of x, averaged over the noise, bounds the probability of x from
    below; nats and bits/dim of images so mean the same for all models (Theis et al., 2016 [1]).
    `inverse(y) = floor(y)` takes the noise away again: samples of a model with this layer as
    `preprocessing` are whole numbers, at home and in exports.

    In training the noise is fresh at each call. In `evaluate` and `predict` it is a fixed function
    of the image and the position: the same for any order of the rows and any size of the batches.

    Args:
      num_values: how many values there are: x is in 0 ... num_values - 1. Default: 256.
      seed: of the noise; an integer. Default: 0.
      **kwargs: further arguments of `keras.layers.Layer`.

    Call arguments:
      x: whole numbers `[N, ...]` of any dtype.
      training: whether the noise is fresh. Default: `False`.

    Returns:
      Numbers in [0, num_values), of the shape of x and the layer's variable dtype.

    Raises:
      ValueError: for fewer than 2 values; for numbers that are none of the values, eagerly and in
        all that `DensityModel` is given. A graph of one's own raises
        `tf.errors.InvalidArgumentError`, and under XLA nothing.

    Example:

    ```python
    import numpy as np
    import tfp_genext as gx

    dequantize = gx.layers.Dequantize(256)
    images = np.zeros([5, 28, 28, 1], np.uint8)
    noisy = dequantize(images)
    assert 0.0 <= np.min(noisy) and np.max(noisy) < 1.0
    np.testing.assert_array_equal(dequantize.inverse(noisy), images)
    ```

    #### References

    [1]: Lucas Theis, Aaron van den Oord, Matthias Bethge. A note on the evaluation of generative
         models. 2016. https://arxiv.org/abs/1511.01844
    """

    def __init__(self, num_values: int = 256, *, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.num_values = checks.positive_int("num_values", num_values, minimum=2)

    def call(self, x: Any, training: bool | None = False) -> Any:
        dtype = tf.as_dtype(self.variable_dtype)
        x = self.checked(x)
        noise = self.noise(x, training)
        # So coarse that no sum is rounded up to the next value.
        digits = checks.finfo(dtype).nmant + 1 - (self.num_values - 1).bit_length()
        return tf.cast(x, dtype) + tf.floor(noise * 2.0**digits) / 2.0**digits

    def inverse(self, y: Any) -> Any:
        """Returns the whole numbers whose noisy versions are y: `min(floor(y), num_values - 1)`.

        What a model draws below 0 becomes 0. Of what the layer returns it is the exact inverse.

        Args:
          y: numbers `[..., *event]` of a floating dtype.

        Returns:
          Whole numbers from 0 to `num_values - 1`, of the shape and dtype of y.
        """
        y = tf.convert_to_tensor(y)
        return tf.clip_by_value(tf.floor(y), 0, self.num_values - 1)

    def assertions(self, x: tf.Tensor) -> list[tf.Operation]:
        """Returns what raises, where a graph runs it, for numbers that are none of the values."""
        exact = tf.cast(x, tf.float64)
        expected = f"`x` must hold whole numbers from 0 to {self.num_values - 1}"
        return [
            tf.debugging.assert_non_negative(exact, expected),
            tf.debugging.assert_less(exact, tf.constant(self.num_values, exact.dtype), expected),
            tf.debugging.assert_equal(exact, tf.floor(exact), expected),
        ]

    def check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` where an array holds numbers that are none of the values."""
        wrong = np.count_nonzero((x < 0) | (x >= self.num_values) | (x != np.floor(x)))
        if wrong:
            raise ValueError(
                f"`x` must hold whole numbers from 0 to {self.num_values - 1}. Received: "
                f"{wrong} of {x.size} entries are not; they lie between {x.min()} and {x.max()}"
            )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_values": self.num_values}
