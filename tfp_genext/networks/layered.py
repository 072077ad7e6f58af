"""Common parts of PixelCNN and PixelRNN: masked layers, contexts and last layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.networks.causal_conv import AboveConv, BesideConv
from tfp_genext.networks.raster import Pixel, RasterNetwork


class LayeredNetwork(RasterNetwork):
    """Base class of image networks whose layers have the same width.

    Args:
      image_shape: `[H, W, C]`.
      params_size: number of parameters for each channel of a pixel.
      num_layers: number of layers.
      filters: width of the layers, a multiple of C.
      first_kernel_size: of the first convolution, odd, at least 3. Default: 7.
      **kwargs: further arguments of `RasterNetwork`.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        params_size: int,
        *,
        num_layers: int,
        filters: int,
        first_kernel_size: int = 7,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_shape, params_size, **kwargs)
        self.num_layers = checks.positive_int("num_layers", num_layers)
        self.filters = checks.multiple("filters", filters, self.image_shape[-1])
        self.first_kernel_size = checks.odd("first_kernel_size", first_kernel_size, minimum=3)
        self.groups = self.image_shape[-1]
        size = self.groups * self.params_size
        self.last = [
            self._beside(self.filters, 0),
            self._beside(size, 0, kernel_initializer="zeros"),
        ]

    def _beside(self, filters: int, reach: int, **options: Any) -> BesideConv:
        return BesideConv(filters, reach, self.groups, dtype=self.dtype_policy, **options)

    def _above(self, filters: int, reach: int, **options: Any) -> AboveConv:
        return AboveConv(filters, reach, dtype=self.dtype_policy, **options)

    def _from_context(self, units: int) -> list[keras.layers.Dense]:
        """Returns the projections of the context: one layer, or none without a context."""
        if self.conditional_event_shape is None:
            return []
        return [keras.layers.Dense(units, use_bias=False, dtype=self.dtype_policy)]

    def _params(self, h: tf.Tensor) -> tf.Tensor:
        """Returns the parameters: the last layers applied to the hidden maps."""
        for layer in self.last:
            h = layer(tf.nn.relu(h))
        return h

    def _params_of_pixel(self, pixel: Pixel, h: tf.Tensor, stream: int) -> tf.Tensor:
        """Returns the parameters of one channel; `stream` is the first of the last layers."""
        for i, layer in enumerate(self.last, start=stream):
            h = pixel.through(i, layer, tf.nn.relu(h))
        return h

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "filters": self.filters,
            "first_kernel_size": self.first_kernel_size,
        }


def with_context(
    x: tf.Tensor,
    layers: Sequence[keras.layers.Dense],
    context: tf.Tensor | None,
    *,
    batch_axis: int = 0,
) -> tf.Tensor:
    """Adds the projection of a context `[N, C]` to `[..., F]`, if there is a context.

    Args:
      x: numbers, N of them along the batch axis.
      layers: what adds the context.
      context: the context.
      batch_axis: which axis of `x` is that of the batch. Default: the first.
    """
    between = [1] * (x.shape.rank - batch_axis - 2)
    for layer in layers:
        added = tf.cast(layer(context), x.dtype)
        x += tf.reshape(added, [-1, *between, added.shape[-1]])
    return x


def next_window(rows: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
    """Moves the window of rows `[N, R, W, C]` down by one row."""
    return tf.concat([rows[:, 1:], row[:, tf.newaxis]], axis=1)
