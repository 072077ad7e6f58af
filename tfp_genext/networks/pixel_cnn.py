"""PixelCNN, gated and plain: masked convolutional networks of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.networks.causal_conv import BesideConv, gated
from tfp_genext.networks.layered import LayeredNetwork, next_window, with_context
from tfp_genext.networks.raster import Pixel, Stream


class _Convolutional(LayeredNetwork):
    """Base class of both kinds of PixelCNN."""

    def __init__(
        self, image_shape: Sequence[int], params_size: int, *, kernel_size: int = 3, **kwargs: Any
    ) -> None:
        super().__init__(image_shape, params_size, **kwargs)
        self.kernel_size = checks.odd("kernel_size", kernel_size, minimum=3)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kernel_size": self.kernel_size}


@keras.saving.register_keras_serializable(package="tfp_genext")
class PixelCNN(_Convolutional):
    """Gated PixelCNN: two stacks of masked convolutions without a blind spot.

        v_l = gate(a_l),   a_l = conv(v_(l-1), rows above) + c V_l
        h_l = h_(l-1) + map(gate(conv(h_(l-1), pixels to the left) + map(a_l)))
        gate([a, b]) = tanh(a) * sigmoid(b)
        params = map(relu(map(relu(h_L))))

    The vertical stack v sees the rows above a pixel, as far to the right as to the left, and hands
    what it has seen to the horizontal stack h: so there is no blind spot (van den Oord et al., 2016
    [1]). The first layer leaves the pixel itself out, but for its earlier channels, all later ones
    see themselves. The last layer starts at zero.

    How far a network sees grows by half of `kernel_size` a layer.

    Args:
      image_shape: `[H, W, C]`.
      params_size: number of parameters for each channel of a pixel.
      num_layers: number of layers, L.
      filters: width of the layers, a multiple of C.
      kernel_size: odd, at least 3. Default: 3.
      first_kernel_size: of the first layer, odd, at least 3. Default: 7.
      input_range: `(low, high)`, scaled to [-1, 1]. Default: no scaling.
      conditional_event_shape: shape of one context event, which each layer sees. Default: none.
      **kwargs: of any Keras layer.

    Call arguments:
      x: `[N, H, W, C]`.
      conditional_input: `[N, *conditional_event_shape]`, if given.

    Returns:
      Parameters `[N, H, W, C, params_size]`.

    Raises:
      ValueError: if sizes are out of range, or the input has another shape.

    Example:

    ```python
    import keras
    import tfp_genext as gx

    network = gx.networks.PixelCNN([6, 6, 3], 2, num_layers=2, filters=12)
    assert network(keras.ops.ones([5, 6, 6, 3])).shape == (5, 6, 6, 3, 2)
    ```

    #### References

    [1]: Aaron van den Oord, Nal Kalchbrenner, Oriol Vinyals, Lasse Espeholt, Alex Graves, Koray
         Kavukcuoglu. Conditional Image Generation with PixelCNN Decoders. 2016.
         https://arxiv.org/abs/1606.05328
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        params_size: int,
        *,
        num_layers: int,
        filters: int,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_shape,
            params_size,
            num_layers=num_layers,
            filters=filters,
            kernel_size=kernel_size,
            first_kernel_size=first_kernel_size,
            **kwargs,
        )
        number, twice = self.num_layers, 2 * self.filters
        reaches = [self.first_kernel_size // 2, *[self.kernel_size // 2] * (number - 1)]
        first = [True, *[False] * (number - 1)]
        self.vertical = [self._above(twice, r, strict=s) for r, s in zip(reaches, first)]
        # Of rows above, which all channels see.
        self.links = [
            BesideConv(twice, 0, 1, use_bias=False, dtype=self.dtype_policy) for _ in reaches
        ]
        self.horizontal = [self._beside(twice, r, strict=s) for r, s in zip(reaches, first)]
        self.maps = [self._beside(self.filters, 0) for _ in reaches]
        self.contexts = [self._from_context(twice) for _ in reaches]

    @property
    def streams(self) -> list[Stream]:
        first, *others = self.horizontal
        of_pixels = Stream(self.groups, first.reach, above=True)
        of_maps = [Stream(self.filters)] * (self.num_layers + len(self.last))
        return [of_pixels, *(Stream(self.filters, conv.reach) for conv in others), *of_maps]

    def params_of_images(self, x: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        v = h = x
        for i, (vertical, horizontal) in enumerate(zip(self.vertical, self.horizontal)):
            a = with_context(vertical(v), self.contexts[i], context)
            v = gated(a, self.groups)
            new = self.maps[i](gated(horizontal(h) + self.links[i](a), self.groups))
            h = new if i == 0 else h + new
        return self._params(h)

    def before_first_row(self, rows: Any, dtype: tf.DType) -> list[tf.Tensor]:
        width = self.image_shape[1]
        sizes = [self.groups, *[self.filters] * (self.num_layers - 1)]
        return [
            tf.zeros([rows, conv.reach, width, size], dtype)
            for conv, size in zip(self.vertical, sizes, strict=True)
        ]

    def enter_row(
        self, state: list[tf.Tensor], context: tf.Tensor | None
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        links, after = [], []
        rows = state[0]
        for i, vertical in enumerate(self.vertical):
            a = with_context(vertical.of_rows(rows)[:, 0], self.contexts[i], context)
            links.append(self.links[i].call(a[:, tf.newaxis])[:, 0])
            after.append(state[i] if i == 0 else rows[:, 1:])
            if i + 1 < self.num_layers:
                v = gated(a, self.groups)
                rows = tf.concat([state[i + 1], v[:, tf.newaxis]], axis=1)
        return links, after

    def leave_row(
        self, state: list[tf.Tensor], kept: Sequence[tf.Tensor], context: tf.Tensor | None
    ) -> list[tf.Tensor]:
        (row,) = kept
        return [next_window(state[0], row), *state[1:]]

    def channel(self, pixel: Pixel) -> tf.Tensor:
        number = self.num_layers
        h: Any = None
        for i, horizontal in enumerate(self.horizontal):
            if i == 0:
                row = horizontal.of_pixel(pixel.seen(0), pixel.channel)
            else:
                row = pixel.through(i, horizontal, h)
            own = gated(row + pixel.part(pixel.above[i], self.groups), 1)
            new = pixel.through(number + i, self.maps[i], own)
            h = new if i == 0 else h + new
        return self._params_of_pixel(pixel, h, 2 * number)


@keras.saving.register_keras_serializable(package="tfp_genext")
class PlainPixelCNN(_Convolutional):
    """The original PixelCNN: one stack of masked convolutions in residual blocks.

        h = conv(x, rows above and pixels to the left)
        h = h + map(relu(conv(relu(map(relu(h))), rows above, pixels to the left and itself)))
        params = map(relu(map(relu(h))))

    It has a blind spot: a layer that sees one row up sees one column to the right, so that what
    stands further to the right in the rows above, beyond a diagonal, is never seen, however deep
    the network (van den Oord et al., 2016 [1]; of the blind spot [2]). `PixelCNN` has none.

    Args:
      image_shape: `[H, W, C]`.
      params_size: number of parameters for each channel of a pixel.
      num_layers: number of masked convolutions, the first one and one a block.
      filters: width inside the blocks, a multiple of C; between them it is twice as much.
      kernel_size: odd, at least 3. Default: 3.
      first_kernel_size: of the first layer, odd, at least 3. Default: 7.
      input_range: `(low, high)`, scaled to [-1, 1]. Default: no scaling.
      conditional_event_shape: shape of one context event, which each masked convolution sees.
        Default: none.
      **kwargs: of any Keras layer.

    Call arguments:
      x: `[N, H, W, C]`.
      conditional_input: `[N, *conditional_event_shape]`, if given.

    Returns:
      Parameters `[N, H, W, C, params_size]`.

    Raises:
      ValueError: if sizes are out of range, or the input has another shape.

    Example:

    ```python
    import keras
    import tfp_genext as gx

    network = gx.networks.PlainPixelCNN([6, 6, 1], 1, num_layers=3, filters=8)
    assert network(keras.ops.ones([5, 6, 6, 1])).shape == (5, 6, 6, 1, 1)
    ```

    #### References

    [1]: Aaron van den Oord, Nal Kalchbrenner, Koray Kavukcuoglu. Pixel Recurrent Neural Networks.
         2016. https://arxiv.org/abs/1601.06759
    [2]: Aaron van den Oord, Nal Kalchbrenner, Oriol Vinyals, Lasse Espeholt, Alex Graves, Koray
         Kavukcuoglu. Conditional Image Generation with PixelCNN Decoders. 2016.
         https://arxiv.org/abs/1606.05328
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        params_size: int,
        *,
        num_layers: int,
        filters: int,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_shape,
            params_size,
            num_layers=num_layers,
            filters=filters,
            kernel_size=kernel_size,
            first_kernel_size=first_kernel_size,
            **kwargs,
        )
        width, blocks = 2 * self.filters, self.num_layers - 1
        first, later = self.first_kernel_size // 2, self.kernel_size // 2
        sizes = [(width, first), *[(self.filters, later)] * blocks]
        self.above = [self._above(size, reach, use_bias=False) for size, reach in sizes]
        self.beside = [
            self._beside(size, reach, strict=i == 0) for i, (size, reach) in enumerate(sizes)
        ]
        self.contexts = [self._from_context(size) for size, _ in sizes]
        self.narrow = [self._beside(self.filters, 0) for _ in range(blocks)]
        self.wide = [self._beside(width, 0) for _ in range(blocks)]

    @property
    def streams(self) -> list[Stream]:
        first, *others = self.beside
        of_convs = [Stream(self.groups, first.reach, above=True)]
        of_convs += [Stream(self.filters, conv.reach, above=True) for conv in others]
        of_maps = [Stream(2 * self.filters), Stream(self.filters)] * len(others)
        return [*of_convs, *of_maps, Stream(2 * self.filters), Stream(self.filters)]

    def params_of_images(self, x: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        h = self._seen(0, x, context)
        for i, (narrow, wide) in enumerate(zip(self.narrow, self.wide), start=1):
            inner = tf.nn.relu(narrow(tf.nn.relu(h)))
            h += wide(tf.nn.relu(self._seen(i, inner, context)))
        return self._params(h)

    def _seen(self, i: int, x: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        """Returns a masked convolution of images, with the context added."""
        return with_context(self.above[i](x), self.contexts[i], context) + self.beside[i](x)

    def before_first_row(self, rows: Any, dtype: tf.DType) -> list[tf.Tensor]:
        sizes = [self.groups, *[self.filters] * (self.num_layers - 1)]
        return [
            tf.zeros([rows, conv.reach, self.image_shape[1], size], dtype)
            for conv, size in zip(self.above, sizes, strict=True)
        ]

    def enter_row(
        self, state: list[tf.Tensor], context: tf.Tensor | None
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        above = [
            with_context(conv.of_rows(rows)[:, 0], layers, context)
            for conv, rows, layers in zip(self.above, state, self.contexts, strict=True)
        ]
        return above, state

    def leave_row(
        self, state: list[tf.Tensor], kept: Sequence[tf.Tensor], context: tf.Tensor | None
    ) -> list[tf.Tensor]:
        return [next_window(rows, row) for rows, row in zip(state, kept, strict=True)]

    def channel(self, pixel: Pixel) -> tf.Tensor:
        stream = self.num_layers
        h = self.beside[0].of_pixel(pixel.seen(0), pixel.channel) + self._from_above(pixel, 0)
        for i, (narrow, wide) in enumerate(zip(self.narrow, self.wide), start=1):
            inner = tf.nn.relu(pixel.through(stream, narrow, tf.nn.relu(h)))
            inner = pixel.through(i, self.beside[i], inner) + self._from_above(pixel, i)
            h += pixel.through(stream + 1, wide, tf.nn.relu(inner))
            stream += 2
        return self._params_of_pixel(pixel, h, stream)

    def _from_above(self, pixel: Pixel, i: int) -> tf.Tensor:
        return pixel.part(pixel.above[i], self.groups)
