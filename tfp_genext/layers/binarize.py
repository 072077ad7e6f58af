"""Pixels as draws of zeros and ones."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.layers.noise import NoisyPixels

# Steps of intensity that the fixed draws tell apart.
_STEPS = 2**16


@keras.saving.register_keras_serializable(package="tfp_genext")
class Binarize(NoisyPixels):
    """Draws zeros and ones whose probabilities are the intensities of pixels.

        y ~ Bernoulli(x / scale)

    In training the draws are fresh at each call, the dynamic binarisation of Burda et al., 2016
    [1]. In `evaluate` and `predict` they are a fixed function of the image: the same for any order
    of the rows and any size of the batches.

    Args:
      scale: the intensity that is 1 for certain. Default: 255.
      seed: of the draws; an integer. Default: 0.
      **kwargs: further arguments of `keras.layers.Layer`.

    Call arguments:
      x: intensities `[N, ...]`, from 0 to `scale`, of any dtype.
      training: whether the draws are fresh. Default: `False`.

    Returns:
      Zeros and ones, of the shape of x and the layer's variable dtype.

    Raises:
      ValueError: for a scale that is not above 0; for numbers beyond 0 and `scale`, and for
        intensities that are scaled to 0 ... 1 already while `scale` is not 1, eagerly and in all
        that models are given. A graph of one's own raises `tf.errors.InvalidArgumentError` for
        numbers beyond 0 and `scale`, and under XLA nothing.

    Example:

    ```python
    import numpy as np
    import tfp_genext as gx

    images = np.full([5, 28, 28, 1], 128, np.uint8)
    assert set(np.unique(gx.layers.Binarize()(images))) == {0.0, 1.0}
    ```

    #### References

    [1]: Yuri Burda, Roger Grosse, Ruslan Salakhutdinov. Importance Weighted Autoencoders. 2016.
         https://arxiv.org/abs/1509.00519
    """

    def __init__(self, scale: float = 255.0, *, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.scale = checks.positive_number("scale", scale)

    def call(self, x: Any, training: bool | None = False) -> Any:
        x = self.checked(x)
        intensity = tf.cast(x, self.variable_dtype) / self.scale
        noise = self.noise(tf.round(_STEPS * intensity), training)
        return tf.cast(noise < intensity, self.variable_dtype)

    def assertions(self, x: tf.Tensor) -> list[tf.Operation]:
        """Returns operations that raise, if a graph runs them, for numbers beyond 0 and `scale`."""
        exact = tf.cast(x, tf.float64)
        expected = f"`x` must hold intensities from 0 to {self.scale:g}"
        return [
            tf.debugging.assert_non_negative(exact, expected),
            tf.debugging.assert_less_equal(exact, tf.constant(self.scale, exact.dtype), expected),
        ]

    def check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` if an array holds numbers that are not intensities."""
        if self.scale > 1.0 and x.size and 0.0 < x.max() <= 1.0:
            low, high = float(x.min()), float(x.max())
            raise ValueError(
                f"`x` must hold intensities from 0 to {self.scale:g}: images scaled to 0 ... 1 "
                f"take `Binarize(scale=1.0)`. Received: {x.size} entries between {low:g} and "
                f"{high:g}"
            )
        wrong = np.count_nonzero((x < 0) | (x > self.scale))
        if wrong:
            raise ValueError(
                f"`x` must hold intensities from 0 to {self.scale:g}. Received: "
                f"{wrong} of {x.size} entries are not; they lie between {x.min()} and {x.max()}"
            )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}
