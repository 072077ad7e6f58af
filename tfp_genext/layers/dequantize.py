"""Dequantisation of integer data by uniform noise."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.layers.noise import NoisyPixels


@keras.saving.register_keras_serializable(package="tfp_genext")
class Dequantize(NoisyPixels):
    """A layer that adds noise, uniform on [0, 1), to integers such as pixels.

        y = x + u

    The expected log-density of y, on the scale of x, is a lower bound of log P(x). Nats and
    bits/dim of all models with this layer are therefore comparable (Theis et al., 2016 [1]).
    `inverse(y) = floor(y)` removes the noise: samples of a model with this layer as `preprocessing`
    are integers, also in exports.

    In training each call draws new noise. In `evaluate` and `predict` the noise is a fixed function
    of the image and the position. It does not depend on the order of the rows or the batch size.

    Args:
      num_values: number of values; x is in 0 ... num_values - 1. Default: 256.
      seed: seed of the noise, an integer. Default: 0.
      **kwargs: arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
      x: integers `[N, ...]` of any dtype.
      training: whether to draw new noise. Default: `False`.

    Returns:
      Numbers in [0, num_values), of the shape of x and the layer's variable dtype.

    Raises:
      ValueError: if `num_values` is below 2. In eager calls and in `DensityModel`, also if x is not
        an integer in 0 ... num_values - 1.
      tf.errors.InvalidArgumentError: in other graphs, for such an x. XLA does not check.

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
        # Noise is rounded down so coarsely that no sum is rounded up to the next integer.
        digits = checks.finfo(dtype).nmant + 1 - (self.num_values - 1).bit_length()
        return tf.cast(x, dtype) + tf.floor(noise * 2.0**digits) / 2.0**digits

    def inverse(self, y: Any) -> Any:
        """Removes the noise: floor(y), clipped to 0 ... num_values - 1.

        It is the exact inverse of the layer. Samples of a model outside the range are clipped.

        Args:
          y: numbers `[..., *event]` of a floating dtype.

        Returns:
          Integers from 0 to `num_values - 1`, of the shape and dtype of y.
        """
        y = tf.convert_to_tensor(y)
        return tf.clip_by_value(tf.floor(y), 0, self.num_values - 1)

    def assertions(self, x: tf.Tensor) -> list[tf.Operation]:
        """Returns graph assertions that x is an integer in 0 ... num_values - 1."""
        exact = tf.cast(x, tf.float64)
        expected = f"`x` must hold whole numbers from 0 to {self.num_values - 1}"
        return [
            tf.debugging.assert_non_negative(exact, expected),
            tf.debugging.assert_less(exact, tf.constant(self.num_values, exact.dtype), expected),
            tf.debugging.assert_equal(exact, tf.floor(exact), expected),
        ]

    def check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` if an array holds other numbers than 0 ... num_values - 1."""
        wrong = np.count_nonzero((x < 0) | (x >= self.num_values) | (x != np.floor(x)))
        if wrong:
            raise ValueError(
                f"`x` must hold whole numbers from 0 to {self.num_values - 1}. Received: "
                f"{wrong} of {x.size} entries are not; they lie between {x.min()} and {x.max()}"
            )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_values": self.num_values}
