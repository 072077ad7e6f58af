"""Moving averages of means and variances."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfp_genext.core import checks, replicas


@keras.saving.register_keras_serializable(package="tfp_genext")
class MovingMoments(keras.layers.Layer):
    """Mean and variance of each channel: of the batch in training, moving averages otherwise.

    In training, as Keras says it is, the moments are those of the batch, and the remembered ones
    move towards them:

        moving = momentum * moving + (1 - momentum) * batch

    Under `tf.distribute` the batch is that of all replicas.

    Args:
      momentum: in [0, 1). Default: 0.99.
      **kwargs: of any Keras layer.

    Call arguments:
      x: `[..., C]`.
      training: whether to take the moments of x, and remember them, which a layer that is frozen by
        `trainable = False` never does, as in Keras. Default: what Keras says.

    Returns:
      Mean and variance, each `[C]`.

    Raises:
      ValueError: for a momentum out of range.

    Example:

    ```python
    import keras
    import tfp_genext as gx

    moments = gx.networks.MovingMoments(momentum=0.0)
    moments(keras.ops.ones([8, 3]), training=True)
    mean, variance = moments(keras.ops.zeros([8, 3]))
    assert mean.numpy().tolist() == [1.0, 1.0, 1.0]
    ```
    """

    def __init__(self, *, momentum: float = 0.99, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        checks.number("momentum", momentum, "in [0, 1)", lambda m: 0.0 <= m < 1.0)
        self.momentum = float(momentum)

    def build(self, x_shape: tuple) -> None:
        shape = (x_shape[-1],)
        self.mean = self._moving("mean", shape, "zeros")
        self.variance = self._moving("variance", shape, "ones")

    def _moving(self, name: str, shape: tuple[int], start: str) -> keras.Variable:
        return self.add_weight(name=name, shape=shape, initializer=start, trainable=False)

    def call(self, x: Any, training: bool | None = None) -> tuple[Any, Any]:
        if not (training and self.trainable):
            return self.remembered()
        mean, variance = replicas.moments(x)
        for variable, value in ((self.mean, mean), (self.variance, variance)):
            variable.assign(self.momentum * variable + (1.0 - self.momentum) * value)
        return mean, variance

    def remembered(self) -> tuple[Any, Any]:
        """Returns the moving averages of mean and variance, each `[C]`."""
        return tf.convert_to_tensor(self.mean), tf.convert_to_tensor(self.variance)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("autocast", None)
        return {**config, "momentum": self.momentum}
