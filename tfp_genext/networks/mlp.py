"""A multilayer perceptron that gives parameters for each dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfp_genext.core import checks
from tfp_genext.networks.shared import flat_context, from_keras, in_shape


@keras.saving.register_keras_serializable(package="tfp_genext")
class MLP(keras.layers.Layer):
    """Multilayer perceptron from vectors to a block of parameters, optionally with context.

        h = activation(... activation([x, context] W_1 + b_1) ...)
        params = reshape(h W + b, [N, *params_shape])

    The last layer starts at zero, so that what the parameters describe starts at the identity.

    Args:
      params_shape: shape of the parameters of one example; for a conditioner `[n, params]`.
      hidden_units: width of each hidden layer; may be empty.
      activation: Keras activation of the hidden layers. Default: `"relu"`.
      conditional_event_shape: shape of one context event; `None`, the default, for no context.
      unstacked: whether to return the parameters along the last axis as a tuple, which spares a
        conditioner strided copies. Default: `False`.
      **kwargs: of any Keras layer.

    Call arguments:
      x: `[N, D]`.
      conditional_input: `[N, *conditional_event_shape]`, if given.

    Returns:
      Parameters `[N, *params_shape]`, or `params_shape[-1]` tensors `[N, *params_shape[:-1]]`.

    Raises:
      ValueError: at construction for sizes below one; at the call for a missing or an unexpected
        `conditional_input`, or one of the wrong shape.

    Example:

    ```python
    import keras
    import tfp_genext as gx

    network = gx.networks.MLP([3, 2], hidden_units=[16], conditional_event_shape=[4])
    params = network(keras.ops.ones([5, 3]), conditional_input=keras.ops.ones([5, 4]))
    assert params.shape == (5, 3, 2)
    ```
    """

    def __init__(
        self,
        params_shape: Sequence[int],
        hidden_units: Sequence[int],
        *,
        activation: Any = "relu",
        conditional_event_shape: Sequence[int] | None = None,
        unstacked: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.params_shape = checks.shape_tuple("params_shape", params_shape)
        self.hidden_units = checks.positive_ints("hidden_units", hidden_units)
        self.activation = from_keras("activation", keras.activations, activation)
        self.conditional_event_shape = checks.context_shape(
            "conditional_event_shape", conditional_event_shape
        )
        self.unstacked = unstacked
        self.hidden_layers = [
            keras.layers.Dense(units, activation=self.activation, dtype=self.dtype_policy)
            for units in self.hidden_units
        ]
        self.params_layer = keras.layers.Dense(
            math.prod(self.params_shape), kernel_initializer="zeros", dtype=self.dtype_policy
        )

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of the parameters, as `summary` shows it."""
        return (None, *self.params_shape)

    def build(self, x_shape: tuple) -> None:
        context = self.conditional_event_shape
        width = x_shape[-1] + (0 if context is None else math.prod(context))
        for layer in [*self.hidden_layers, self.params_layer]:
            layer.build((None, width))
            width = layer.units

    def call(self, x: Any, conditional_input: Any = None) -> Any:
        context = flat_context(conditional_input, self.conditional_event_shape)
        h = x if context is None else ops.concatenate([x, context], axis=-1)
        for layer in [*self.hidden_layers, self.params_layer]:
            h = layer(h)
        return in_shape(h, self.params_shape, unstacked=self.unstacked)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "params_shape": self.params_shape,
            "hidden_units": self.hidden_units,
            "activation": keras.activations.serialize(self.activation),
            "conditional_event_shape": self.conditional_event_shape,
            "unstacked": self.unstacked,
        }
