"""Causal convolutions: over the rows above a pixel, and over its own row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.networks.shared import convolved


class AboveConv(keras.layers.Layer):
    """Convolution over the rows above a pixel, symmetric in width.

    Args:
      filters: number of channels that it returns.
      reach: how many rows up, and how many columns to either side.
      strict: whether the pixel's own row is left out. Default: `True`.
      use_bias: whether to add a bias. Default: `True`.
      **kwargs: of any Keras layer.
    """

    def __init__(
        self,
        filters: int,
        reach: int,
        *,
        strict: bool = True,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = checks.positive_int("filters", filters)
        self.reach = checks.positive_int("reach", reach)
        self.strict = strict
        self.use_bias = use_bias

    @property
    def rows(self) -> int:
        """Number of rows in the receptive field."""
        return self.reach if self.strict else self.reach + 1

    def build(self, x_shape: tuple) -> None:
        shape = (self.rows, 2 * self.reach + 1, x_shape[-1], self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=shape[-1:], initializer="zeros")

    def call(self, x: Any) -> Any:
        """Returns `[N, H, W, filters]` of `[N, H, W, C]`."""
        seen = x[:, :-1] if self.strict else x
        return self.of_rows(tf.pad(seen, [[0, 0], [self.reach, 0], [0, 0], [0, 0]]))

    def of_rows(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the outputs `[N, h + 1, W, filters]` for `rows + h` input rows."""
        around = [[0, 0], [0, 0], [self.reach, self.reach], [0, 0]]
        kernel = tf.cast(self.kernel, x.dtype)
        y = convolved(tf.pad(x, around), kernel)
        return y + tf.cast(self.bias, x.dtype) if self.use_bias else y


class BesideConv(keras.layers.Layer):
    """Masked convolution over a pixel and the pixels to its left.

    Channels are in `groups`, one for each channel of the image, side by side: what it returns in
    group g depends at the pixel itself on groups up to g, or up to g - 1 if `strict`.

    Args:
      filters: number of channels that it returns, a multiple of `groups`.
      reach: how many pixels to the left; 0 for a map of each pixel by itself.
      groups: number of groups.
      strict: whether a group does not see itself. Default: `False`.
      use_bias: whether to add a bias. Default: `True`.
      kernel_initializer: Keras initializer. Default: `"glorot_uniform"`.
      **kwargs: of any Keras layer.
    """

    def __init__(
        self,
        filters: int,
        reach: int,
        groups: int,
        *,
        strict: bool = False,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = checks.positive_int("filters", filters)
        self.reach = checks.positive_int("reach", reach, minimum=0)
        self.groups = checks.positive_int("groups", groups)
        self.strict = strict
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, x_shape: tuple) -> None:
        shape = (self.reach + 1, x_shape[-1], self.filters)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.kernel_initializer
        )
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=shape[-1:], initializer="zeros")
        self._mask = self._new_mask(x_shape[-1])

    def _new_mask(self, inputs: int) -> np.ndarray:
        mask: np.ndarray = np.ones([self.reach + 1, inputs, self.filters], bool)
        own: np.ndarray = np.repeat(np.arange(self.groups), inputs // self.groups)
        after: np.ndarray = np.repeat(np.arange(self.groups), self.filters // self.groups)
        mask[-1] = own[:, None] < after[None] + (0 if self.strict else 1)
        return mask

    def _masked(self, dtype: tf.DType) -> tf.Tensor:
        kernel = tf.cast(self.kernel, dtype)
        return kernel if self._mask.all() else kernel * tf.constant(self._mask, dtype)

    def call(self, x: Any) -> Any:
        """Returns `[N, H, W, filters]` of `[N, H, W, C]`."""
        if self.reach:
            x = tf.pad(x, [[0, 0], [0, 0], [self.reach, 0], [0, 0]])
        # Line by line, as images may come with another axis first than that of rows.
        lines = tf.reshape(x, [-1, 1, *x.shape[2:]])
        y = convolved(lines, self._masked(x.dtype)[tf.newaxis])
        y = tf.reshape(y, tf.concat([tf.shape(x)[:2], y.shape[2:]], axis=0))
        return y + tf.cast(self.bias, x.dtype) if self.use_bias else y

    def of_pixel(self, seen: Sequence[tf.Tensor], group: int) -> tf.Tensor:
        """Returns the outputs of one group at a pixel, `[N, filters / groups]`.

        Args:
          seen: what the pixels to the left hold, `[N, reach * C]`, and then the pixel's own groups
            that are known, `[N, C / groups]` each.
          group: which one.
        """
        x = tf.concat(seen, axis=-1)
        size = self.filters // self.groups
        columns = slice(group * size, (group + 1) * size)
        flat = tf.reshape(self._masked(x.dtype)[:, :, columns], [-1, size])
        y = tf.matmul(x, flat[: x.shape[-1]])
        return y + tf.cast(self.bias[columns], x.dtype) if self.use_bias else y


def gated(x: tf.Tensor, groups: int) -> tf.Tensor:
    """Returns the gated activation tanh(a) * sigmoid(b) of `[..., 2 * F]`."""
    a, b = halves(x, groups)
    return joined(tf.tanh(a) * tf.sigmoid(b))


def halves(x: tf.Tensor, groups: int, number: int = 2) -> list[tf.Tensor]:
    """Splits each group of `[..., number * F]` into parts `[..., groups, F / groups]`."""
    shape = tf.concat([tf.shape(x)[:-1], [groups, number, x.shape[-1] // (groups * number)]], 0)
    return tf.unstack(tf.reshape(x, shape), num=number, axis=-2)


def joined(x: tf.Tensor) -> tf.Tensor:
    """Joins groups: `[..., groups, f]` to `[..., groups * f]`."""
    size = x.shape[-2] * x.shape[-1]
    return tf.reshape(x, tf.concat([tf.shape(x)[:-2], [size]], axis=0))
