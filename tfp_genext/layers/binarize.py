"""Random binarisation of grey-scale images."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.layers.noise import NoisyPixels

# Number of intensities that give different fixed draws.
_STEPS = 2**16


@keras.saving.register_keras_serializable(package="tfp_genext")
class Binarize(NoisyPixels):
    """A layer that draws binary pixels whose probabilities are the grey values.

        y ~ Bernoulli(x / scale)

    In training each call draws new values, the dynamic binarisation of Burda et al., 2016,
    arXiv:1509.00519. In `evaluate` and `predict` the result is a fixed function of the image. It
    does not depend on the order of the rows or the batch size.

    Args:
      scale: the intensity with probability 1. Default: 255.
      seed: seed of the draws, an integer. Default: 0.
      **kwargs: arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
      x: intensities `[N, ...]`, from 0 to `scale`, of any dtype.
      training: whether to draw new values. Default: `False`.

    Returns:
      Zeros and ones, of the shape of x and the layer's variable dtype.

    Raises:
      ValueError: if `scale` is not above 0. In eager calls and in models, also if x is outside
        [0, scale], or x is already scaled to [0, 1] although `scale` is not 1.
      tf.errors.InvalidArgumentError: in other graphs, if x is outside [0, scale]. XLA does not
      check.

    Example:

    ```python
    import numpy as np
    import tfp_genext as gx

    images = np.full([5, 28, 28, 1], 128, np.uint8)
    assert set(np.unique(gx.layers.Binarize()(images))) == {0.0, 1.0}
    ```
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
        """Returns graph assertions that x is in [0, scale]."""
        exact = tf.cast(x, tf.float64)
        expected = f"`x` must hold intensities from 0 to {self.scale:g}"
        return [
            tf.debugging.assert_non_negative(exact, expected),
            tf.debugging.assert_less_equal(exact, tf.constant(self.scale, exact.dtype), expected),
        ]

    def check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` if an array holds numbers outside [0, scale]."""
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
