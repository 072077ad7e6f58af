"""Convolutional conditioners: parameters for each pixel from an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfp_genext import checks


@keras.saving.register_keras_serializable(package="tfp_genext")
class WeightNormConv(keras.layers.Layer):
    """Convolution whose kernel is kept as direction and length.

        y = conv(x, gain * v / ||v||) + bias,    ||v|| taken for each output channel

    Weight normalisation keeps the size of what passes apart from where the kernel points, and needs
    no statistics of batches (Salimans and Kingma, 2016 [1]).

    Args:
      filters: number of output channels.
      kernel_size: height and width of the kernel, odd. Default: 3.
      edge_padding: whether the network is shown where the image ends, by a channel of ones in the
        padding, as in Glow, rather than by zeros alone. Default: `False`.
      gain: length of a kernel at the start; 0 for a layer that starts at zero. Default: 1.
      **kwargs: further arguments of `keras.layers.Layer`.

    Call arguments:
      x: `[N, H, W, C]`.

    Returns:
      `[N, H, W, filters]`.

    Raises:
      ValueError: for sizes below 1 or an even kernel.

    Example:

    ```python
    import keras
    import tfp_genext as gx

    conv = gx.networks.WeightNormConv(8, edge_padding=True)
    assert conv(keras.ops.ones([5, 6, 6, 3])).shape == (5, 6, 6, 8)
    ```

    #### References

    [1]: Tim Salimans, Diederik P. Kingma. Weight Normalization: A Simple Reparameterization to
         Accelerate Training of Deep Neural Networks. 2016. https://arxiv.org/abs/1602.07868
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        *,
        edge_padding: bool = False,
        gain: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = checks.positive_int("filters", filters)
        self.kernel_size = checks.positive_int("kernel_size", kernel_size)
        if self.kernel_size % 2 == 0:
            raise ValueError(checks.message("kernel_size", "odd", kernel_size))
        self.edge_padding = bool(edge_padding)
        self.gain = float(gain)

    def build(self, x_shape: tuple) -> None:
        channels = x_shape[-1] + (1 if self.edge_padding else 0)
        shape = (self.kernel_size, self.kernel_size, channels, self.filters)
        self.direction = self.add_weight(name="direction", shape=shape, initializer="glorot_normal")
        start = keras.initializers.Constant(self.gain)
        self.length = self.add_weight(name="length", shape=(self.filters,), initializer=start)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: Any) -> Any:
        direction = ops.convert_to_tensor(self.direction)
        norm = ops.sqrt(ops.sum(ops.square(direction), axis=(0, 1, 2)) + 1e-12)
        kernel = direction * (ops.convert_to_tensor(self.length) / norm)
        if self.edge_padding:
            return tf.nn.conv2d(self._with_edge(x), kernel, strides=1, padding="VALID") + self.bias
        return tf.nn.conv2d(x, kernel, strides=1, padding="SAME") + self.bias

    def _with_edge(self, x: Any) -> Any:
        """Returns a padded image with one more channel, 1 in the padding and 0 inside."""
        around = [[0, 0], *[[self.kernel_size // 2] * 2] * 2, [0, 0]]
        inside = tf.zeros_like(tf.reduce_sum(x, axis=-1, keepdims=True))  # x may have no channels.
        edge = tf.pad(inside, around, constant_values=1)
        return ops.concatenate([tf.pad(x, around), edge], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "edge_padding": self.edge_padding,
            "gain": self.gain,
        }


@keras.saving.register_keras_serializable(package="tfp_genext")
class ConvNet(keras.layers.Layer):
    """Convolutional network from images to a block of parameters for each pixel.

        h = activation(conv_3x3(x) + c V)
        h = activation(conv_1x1(h))                                 without blocks, as in Glow
        h = h + conv_3x3(activation(conv_3x3(activation(h))))       for each residual block
        params = reshape(conv_3x3(h), [N, H, W, *params_shape])

    All convolutions are weight-normalised; the last one starts at zero, so that what the parameters
    describe starts at the identity.

    Args:
      params_shape: shape of the parameters of one pixel; for a conditioner `[channels, params]`.
      hidden_channels: width of the hidden layers.
      num_blocks: number of residual blocks, as in Real NVP; 0, the default, for the three layers of
        Glow.
      activation: Keras activation of the hidden layers. Default: `"relu"`.
      edge_padding: as in `WeightNormConv`. Default: `True`.
      conditional_event_shape: shape of one context event; `None`, the default, for no context.
      unstacked: whether to return the parameters along the last axis as a tuple. Default: `False`.
      **kwargs: further arguments of `keras.layers.Layer`.

    Call arguments:
      x: `[N, H, W, C]`.
      conditional_input: `[N, *conditional_event_shape]`, required exactly where
        `conditional_event_shape` is given.

    Returns:
      Parameters `[N, H, W, *params_shape]`, or `params_shape[-1]` tensors
      `[N, H, W, *params_shape[:-1]]`.

    Raises:
      ValueError: at construction for sizes below one; at the call for a missing or an unexpected
        `conditional_input`, or one of the wrong shape.

    Example:

    ```python
    import keras
    import tfp_genext as gx

    network = gx.networks.ConvNet([2, 2], hidden_channels=16)
    assert network(keras.ops.ones([5, 8, 8, 2])).shape == (5, 8, 8, 2, 2)
    ```
    """

    def __init__(
        self,
        params_shape: Sequence[int],
        hidden_channels: int,
        *,
        num_blocks: int = 0,
        activation: Any = "relu",
        edge_padding: bool = True,
        conditional_event_shape: Sequence[int] | None = None,
        unstacked: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.params_shape = checks.shape_tuple("params_shape", params_shape)
        self.hidden_channels = checks.positive_int("hidden_channels", hidden_channels)
        self.num_blocks = checks.positive_int("num_blocks", num_blocks, minimum=0)
        self.activation = keras.activations.get(activation)
        self.edge_padding = bool(edge_padding)
        self.conditional_event_shape = (
            None
            if conditional_event_shape is None
            else checks.shape_tuple("conditional_event_shape", conditional_event_shape)
        )
        self.unstacked = unstacked
        self.first = self._conv(self.hidden_channels)
        self.middle = [
            self._conv(self.hidden_channels, kernel_size=3 if self.num_blocks else 1)
            for _ in range(2 * self.num_blocks or 1)
        ]
        self.last = self._conv(math.prod(self.params_shape), gain=0.0)
        # One where there is a context, and none else.
        count = 0 if self.conditional_event_shape is None else 1
        self.context_layers = [
            keras.layers.Dense(self.hidden_channels, use_bias=False, dtype=self.dtype_policy)
            for _ in range(count)
        ]

    def _conv(self, filters: int, kernel_size: int = 3, gain: float = 1.0) -> WeightNormConv:
        return WeightNormConv(
            filters,
            kernel_size,
            edge_padding=self.edge_padding and kernel_size > 1,
            gain=gain,
            dtype=self.dtype_policy,
        )

    def build(self, x_shape: tuple) -> None:
        self.first.build(x_shape)
        hidden = (*x_shape[:-1], self.hidden_channels)
        for layer in [*self.middle, self.last]:
            layer.build(hidden)
        for layer in self.context_layers:
            layer.build((None, math.prod(self.conditional_event_shape or ())))

    def call(self, x: Any, conditional_input: Any = None) -> Any:
        h = self.first(x) + self._from_context(conditional_input)
        if self.num_blocks:
            for one, two in zip(self.middle[::2], self.middle[1::2], strict=True):
                h = h + two(self.activation(one(self.activation(h))))
            h = self.activation(h)
        else:
            h = self.activation(self.middle[0](self.activation(h)))
        params = self.last(h)
        if not self.unstacked:
            return ops.reshape(params, (*ops.shape(params)[:-1], *self.params_shape))
        parts = ops.split(params, self.params_shape[-1], axis=-1)
        if len(self.params_shape) == 2:
            return tuple(parts)
        return tuple(ops.reshape(p, (*ops.shape(p)[:-1], *self.params_shape[:-1])) for p in parts)

    def _from_context(self, conditional_input: Any) -> Any:
        context = checks.conditional_input(conditional_input, self.conditional_event_shape)
        if context is None:
            return 0.0
        (layer,) = self.context_layers
        flat = ops.reshape(context, (-1, math.prod(context.shape[1:])))
        return layer(flat)[:, None, None, :]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "params_shape": self.params_shape,
            "hidden_channels": self.hidden_channels,
            "num_blocks": self.num_blocks,
            "activation": keras.activations.serialize(self.activation),
            "edge_padding": self.edge_padding,
            "conditional_event_shape": self.conditional_event_shape,
            "unstacked": self.unstacked,
        }
