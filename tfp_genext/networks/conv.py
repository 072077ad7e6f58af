"""Convolutional conditioners: parameters for each pixel from an image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfp_genext.core import checks
from tfp_genext.networks.shared import convolved, flat_context, from_keras, in_shape


@keras.saving.register_keras_serializable(package="tfp_genext")
class WeightNormConv(keras.layers.Layer):
    """Weight-normalised convolution: the kernel is a direction times a length.

        y = conv(x, gain * v / ||v||) + bias,    ||v|| taken for each output channel

    Weight normalisation keeps the size of what passes apart from where the kernel points, and needs
    no statistics of batches (Salimans and Kingma, 2016 [1]).

    Args:
      filters: number of output channels.
      kernel_size: height and width of the kernel, odd. Default: 3.
      edge_padding: whether the network is shown where the image ends, by a channel of ones in the
        padding, as in Glow, rather than by zeros alone. Default: `False`.
      gain: length of a kernel at the start; 0 for a layer that starts at zero. Default: 1.
      **kwargs: of any Keras layer.

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
        if channels == 0:
            expected = "of at least one channel, unless `edge_padding=True`"
            raise ValueError(checks.message("x", expected, x_shape))
        shape = (self.kernel_size, self.kernel_size, channels, self.filters)
        self.direction = self.add_weight(name="direction", shape=shape, initializer="glorot_normal")
        start = keras.initializers.Constant(self.gain)
        self.length = self.add_weight(name="length", shape=(self.filters,), initializer=start)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: Any) -> Any:
        channels = self.direction.shape[2] - (1 if self.edge_padding else 0)
        if x.shape[-1] not in (None, channels):
            expected = f"of shape [N, H, W, {channels}]"
            raise ValueError(f"`x` must be {expected}. Received: shape {list(x.shape)}")
        direction = ops.convert_to_tensor(self.direction)
        norm = ops.sqrt(ops.sum(ops.square(direction), axis=(0, 1, 2)) + 1e-12)
        kernel = direction * (ops.convert_to_tensor(self.length) / norm)
        if not self.edge_padding:
            return convolved(x, kernel, "SAME") + self.bias
        border = self._border(tf.shape(x), kernel[:, :, channels:])
        if channels == 0:
            return border + tf.reduce_sum(x, axis=-1, keepdims=True)
        return convolved(x, kernel[:, :, :channels], "SAME") + border

    def _border(self, shape: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the contribution of the padding's channel of ones, and the bias, `[1, H, W, F]`.

        It is the same for all images of a batch: computed apart, it costs next to nothing.
        """
        around = [[0, 0], *[[self.kernel_size // 2] * 2] * 2, [0, 0]]
        inside = tf.zeros([1, shape[1], shape[2], 1], kernel.dtype)
        edge = tf.pad(inside, around, constant_values=1)
        return tf.nn.conv2d(edge, kernel, strides=1, padding="VALID") + self.bias

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

    or, without hidden layers, one convolution: params = reshape(conv_3x3(x) + c V, ...).

    All convolutions are weight-normalised; the last one starts at zero, so that what the parameters
    describe starts at the identity.

    Args:
      params_shape: shape of the parameters of one pixel; for a conditioner `[channels, params]`.
      hidden_channels: width of the hidden layers; `None` for no hidden layers.
      num_blocks: number of residual blocks, as in Real NVP; 0, the default, for the three layers of
        Glow.
      activation: Keras activation of the hidden layers. Default: `"relu"`.
      edge_padding: as in `WeightNormConv`. Default: `True`.
      conditional_event_shape: shape of one context event; `None`, the default, for no context.
      unstacked: whether to return the parameters along the last axis as a tuple. Default: `False`.
      **kwargs: of any Keras layer.

    Call arguments:
      x: `[N, H, W, C]`.
      conditional_input: `[N, *conditional_event_shape]`, if given.

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
        hidden_channels: int | None,
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
        self.hidden_channels = (
            None
            if hidden_channels is None
            else checks.positive_int("hidden_channels", hidden_channels)
        )
        self.num_blocks = checks.positive_int("num_blocks", num_blocks, minimum=0)
        self.activation = from_keras("activation", keras.activations, activation)
        self.edge_padding = bool(edge_padding)
        self.conditional_event_shape = checks.context_shape(
            "conditional_event_shape", conditional_event_shape
        )
        self.unstacked = unstacked
        self.hidden = list(self._hidden())
        self.last = self._conv(math.prod(self.params_shape), gain=0.0)
        # One where there is a context, and none else.
        count = 0 if self.conditional_event_shape is None else 1
        self.context_layers = [self._context_layer() for _ in range(count)]

    def _hidden(self) -> Iterator[WeightNormConv]:
        if self.hidden_channels is None:
            return
        yield self._conv(self.hidden_channels)
        for _ in range(2 * self.num_blocks or 1):
            yield self._conv(self.hidden_channels, kernel_size=3 if self.num_blocks else 1)

    def _context_layer(self) -> keras.layers.Dense:
        """Returns the projection of the context, which is added to the first layer."""
        units, start = self.hidden_channels, "glorot_uniform"
        if units is None:
            units, start = math.prod(self.params_shape), "zeros"
        return keras.layers.Dense(
            units, use_bias=False, kernel_initializer=start, dtype=self.dtype_policy
        )

    def _conv(self, filters: int, kernel_size: int = 3, gain: float = 1.0) -> WeightNormConv:
        return WeightNormConv(
            filters,
            kernel_size,
            edge_padding=self.edge_padding and kernel_size > 1,
            gain=gain,
            dtype=self.dtype_policy,
        )

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of the parameters, as `summary` shows it."""
        return (None, None, None, *self.params_shape)

    def build(self, x_shape: tuple) -> None:
        for layer in [*self.hidden, self.last]:
            layer.build(x_shape)
            x_shape = (*x_shape[:-1], layer.filters)
        for layer in self.context_layers:
            layer.build((None, math.prod(self.conditional_event_shape or ())))

    def call(self, x: Any, conditional_input: Any = None) -> Any:
        context = self._from_context(conditional_input)
        if self.hidden:
            params = self.last(self._through_hidden(x, context))
        else:
            params = self.last(x) + context
        return in_shape(params, self.params_shape, unstacked=self.unstacked)

    def _through_hidden(self, x: Any, context: Any) -> Any:
        first, *middle = self.hidden
        h = first(x) + context
        if self.num_blocks == 0:
            return self.activation(middle[0](self.activation(h)))
        for one, two in zip(middle[::2], middle[1::2], strict=True):
            h = h + two(self.activation(one(self.activation(h))))
        return self.activation(h)

    def _from_context(self, conditional_input: Any) -> Any:
        context = flat_context(conditional_input, self.conditional_event_shape)
        if context is None:
            return 0.0
        (layer,) = self.context_layers
        return layer(context)[:, None, None, :]

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
