"""A network and a head together: a distribution that depends on an input."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext import checks
from tfp_genext.distributions.head import Head


@keras.saving.register_keras_serializable(package="tfp_genext")
class Conditional(keras.layers.Layer):
    """A Keras layer that returns a distribution of what it is given.

        p(y | x) = head(network(x))

    Keras 3 layers must return tensors, and so does the network; the layer makes a distribution of
    them when it is called, eagerly or in a `tf.function`. It cannot stand inside a functional
    model, whose symbolic tensors have no distribution.

    Args:
      network: a Keras layer or model that returns `[N, head.params_size]`.
      head: from parameters to a distribution.
      **kwargs: further arguments of `keras.layers.Layer`.

    Call arguments:
      x: what the network takes.
      **kwargs: further arguments of the network, such as `training`.

    Returns:
      A `tfd.Distribution` of batch shape `[N]`.

    Raises:
      TypeError: where `network` is no Keras layer or `head` no head, or for a symbolic input.

    Example:

    ```python
    import keras
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentNormal([2])
    regression = gx.distributions.Conditional(keras.layers.Dense(head.params_size), head)
    assert regression(tf.zeros([5, 3])).log_prob(tf.zeros([5, 2])).shape == [5]
    ```
    """

    def __init__(self, network: keras.layers.Layer, head: Head, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(network, keras.layers.Layer):
            raise TypeError(checks.message("network", "a Keras layer", network))
        if not isinstance(head, Head):
            raise TypeError(checks.message("head", "a head of gx.distributions", head))
        self.network = network
        self.head = head

    def __call__(self, x: Any, **kwargs: Any) -> tfd.Distribution:
        if any(isinstance(part, keras.KerasTensor) for part in keras.tree.flatten(x)):
            expected = "a tensor: a symbolic one has no distribution"
            raise TypeError(checks.message("x", expected, x))
        params = super().__call__(x, **kwargs)
        return self.head(tf.cast(params, self.variable_dtype))

    def call(self, x: Any, **kwargs: Any) -> Any:
        return self.network(x, **kwargs)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event of the distribution."""
        return self.head.event_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
            "head": keras.saving.serialize_keras_object(self.head),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Conditional:
        parts = {
            k: keras.saving.deserialize_keras_object(config.pop(k)) for k in ("network", "head")
        }
        return cls(**parts, **config)
