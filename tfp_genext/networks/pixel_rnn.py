"""PixelRNN: image networks with LSTMs over rows or along diagonals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.networks.causal_conv import BesideConv
from tfp_genext.networks.layered import LayeredNetwork, next_window, with_context
from tfp_genext.networks.lstm import GATES, MapLSTM, step
from tfp_genext.networks.raster import Pixel, Stream


class _Recurrent(LayeredNetwork):
    """Base class of both kinds of PixelRNN: first convolution, residual LSTMs and last layers.

    h_0 = conv(x, rows above and pixels to the left)
    h_l = h_(l-1) + map(lstm(h_(l-1)))
    """

    def __init__(self, image_shape: Sequence[int], params_size: int, **kwargs: Any) -> None:
        super().__init__(image_shape, params_size, **kwargs)
        reach = self.first_kernel_size // 2
        self.width = 2 * self.filters
        self.gates = GATES * self.filters
        self.first_above = self._above(self.width, reach, use_bias=False)
        self.first_beside = self._beside(self.width, reach, strict=True)
        self.wide = [self._beside(self.width, 0) for _ in range(self.num_layers)]
        self.contexts = [self._from_context(self.gates) for _ in range(self.num_layers)]

    def _lstm(self, shifts: Sequence[int], groups: int) -> MapLSTM:
        return MapLSTM(self.filters, shifts, groups=groups, dtype=self.dtype_policy)

    def _first(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the first convolution, applied to images."""
        return self.first_above(x) + self.first_beside(x)

    def _first_of_pixel(self, pixel: Pixel) -> tf.Tensor:
        """Returns the first convolution at one channel of a pixel; the rows' terms come first."""
        row = self.first_beside.of_pixel(pixel.seen(0), pixel.channel)
        return row + pixel.part(pixel.above[0], self.groups)

    @property
    def _streams_around(self) -> tuple[Stream, list[Stream]]:
        """Streams of the network: those of the pixels, then those of the last layers."""
        of_pixels = Stream(self.groups, self.first_beside.reach, above=True)
        return of_pixels, [Stream(self.width), Stream(self.filters)]

    def _window(self, rows: Any, dtype: tf.DType) -> tf.Tensor:
        """Returns the initial window of rows for the first convolution."""
        return tf.zeros([rows, self.first_above.reach, *self.image_shape[1:]], dtype)

    def _states(self, number: int, rows: Any, dtype: tf.DType) -> list[tf.Tensor]:
        """Returns initial LSTM states, for the row above the first."""
        return [tf.zeros([rows, self.image_shape[1], self.filters], dtype)] * number


@keras.saving.register_keras_serializable(package="tfp_genext")
class RowLSTM(_Recurrent):
    """Row LSTM: a PixelRNN whose LSTMs run from top to bottom.

        h_0 = conv(x, rows above and pixels to the left)
        z = conv(h_(l-1), pixels to the left and itself) + conv(s, row above) + c V_l
        o, f, i = sigmoid(z)[:3],   g = tanh(z)[3]                 in each of L layers
        cell = f * (cell above) + i * g,   s = o * tanh(cell)
        h_l = h_(l-1) + map(s)
        params = map(relu(map(relu(h_L))))

    All pixels of a row are computed at once, from the states s of the row above (van den Oord et
    al., 2016 [1]). The channels of a pixel come one after the other.

    What a pixel sees widens by m = `kernel_size` // 2 columns to either side with each row that
    states are handed down, and, with R = `first_kernel_size` // 2, is this: r > 0 rows above, up to
    R + (r - 1) m columns to the right and R + (r + L) m to the left; in its own row R + L m pixels
    to the left. More layers see further to the left, never further to the right, where it remains a
    triangle: what stands beyond that in the rows above is never seen, unless m or R reaches over
    the whole row. `DiagonalBiLSTM` has no such blind spot.

    Args:
      image_shape: `[H, W, C]`.
      params_size: number of parameters for each channel of a pixel.
      num_layers: number of LSTMs, L.
      filters: size of a state, a multiple of C; between the LSTMs it is twice as much.
      kernel_size: of both convolutions of an LSTM, odd; the one over the pixel's own row keeps the
        half that is known. Default: 3.
      first_kernel_size: of the first layer, odd, at least 3. Default: 7.
      input_range: `(low, high)`, scaled to [-1, 1]. Default: no scaling.
      conditional_event_shape: shape of one context event, which each LSTM sees. Default: none.
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

    network = gx.networks.RowLSTM([6, 6, 3], 2, num_layers=2, filters=12)
    assert network(keras.ops.ones([5, 6, 6, 3])).shape == (5, 6, 6, 3, 2)
    ```

    #### References

    [1]: Aaron van den Oord, Nal Kalchbrenner, Koray Kavukcuoglu. Pixel Recurrent Neural Networks.
         2016. https://arxiv.org/abs/1601.06759
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
            first_kernel_size=first_kernel_size,
            **kwargs,
        )
        self.kernel_size = checks.odd("kernel_size", kernel_size)
        reach, layers = self.kernel_size // 2, range(self.num_layers)
        self.inputs = [self._beside(self.gates, reach) for _ in layers]
        self.lstms = [self._lstm(range(reach, -reach - 1, -1), self.groups) for _ in layers]

    @property
    def streams(self) -> list[Stream]:
        of_pixels, of_last = self._streams_around
        of_states = [Stream(self.filters, above=True)] * 2
        of_layer = [Stream(self.width, self.kernel_size // 2), *of_states]
        return [of_pixels, *of_layer * self.num_layers, *of_last]

    def params_of_images(self, x: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        h = _axes_swapped(self._first(x))
        for i, (conv, lstm, wide) in enumerate(zip(self.inputs, self.lstms, self.wide)):
            h += wide(lstm(with_context(conv(h), self.contexts[i], context, batch_axis=1)))
        return _axes_swapped(self._params(h))

    def before_first_row(self, rows: Any, dtype: tf.DType) -> list[tf.Tensor]:
        return [self._window(rows, dtype), *self._states(2 * self.num_layers, rows, dtype)]

    def enter_row(
        self, state: list[tf.Tensor], context: tf.Tensor | None
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        window, *states = state
        above = [self.first_above.of_rows(window)[:, 0]]
        for i, lstm in enumerate(self.lstms):
            cell, h = states[2 * i : 2 * i + 2]
            above += [cell, with_context(lstm.of_line(h), self.contexts[i], context)]
        return above, state

    def leave_row(
        self, state: list[tf.Tensor], kept: Sequence[tf.Tensor], context: tf.Tensor | None
    ) -> list[tf.Tensor]:
        return [next_window(state[0], kept[0]), *kept[1:]]

    def channel(self, pixel: Pixel) -> tf.Tensor:
        h = self._first_of_pixel(pixel)
        for i, (conv, wide) in enumerate(zip(self.inputs, self.wide)):
            stream = 1 + 3 * i
            cell, z = (pixel.part(t, self.groups) for t in pixel.above[1 + 2 * i : 3 + 2 * i])
            s, cell = step(z + pixel.through(stream, conv, h), cell)
            pixel.add(stream + 1, cell)
            h += pixel.through(stream + 2, wide, s)
        return self._params_of_pixel(pixel, h, 1 + 3 * self.num_layers)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kernel_size": self.kernel_size}


# Where the state of a diagonal LSTM looks on the diagonal before: beside it, and above it.
_BESIDE, _ABOVE = 0, 1


@keras.saving.register_keras_serializable(package="tfp_genext")
class DiagonalBiLSTM(_Recurrent):
    """Diagonal BiLSTM: a PixelRNN whose receptive field holds all previous pixels.

        h_0 = conv(x, rows above and pixels to the left)
        z(i, j) = map(h_(l-1)(i, j)) + K s(i, j-1) + K' s(i-1, j) + c V_l
        o, f, i = sigmoid(z)[:3],   g = tanh(z)[3]                 in each of L layers
        cell(i, j) = f * cell(i, j-1) + i * g,   s = o * tanh(cell)
        t: the same from right to left
        h_l(i, j) = h_(l-1)(i, j) + map(s(i, j) + t(i-1, j))
        params = map(relu(map(relu(h_L))))

    The states of a diagonal are computed at once: each row is moved one pixel to the right of that
    above it, so that diagonals become columns. The states t that run from right to left have seen
    what comes later in their row, and so serve the row below (van den Oord et al., 2016 [1]). The
    channels of a pixel come one after the other.

    In the first layer t sees, beside h_0, the pixels themselves. As published it does not, and the
    last pixel of a row is not seen from the start of the row below, where the first convolution
    does not reach it.

    Args:
      image_shape: `[H, W, C]`.
      params_size: number of parameters for each channel of a pixel.
      num_layers: number of pairs of LSTMs, L.
      filters: size of a state, a multiple of C; between the LSTMs it is twice as much.
      first_kernel_size: of the first layer, odd, at least 3. Default: 7.
      input_range: `(low, high)`, scaled to [-1, 1]. Default: no scaling.
      conditional_event_shape: shape of one context event, which each LSTM sees. Default: none.
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

    network = gx.networks.DiagonalBiLSTM([6, 6, 3], 2, num_layers=2, filters=12)
    assert network(keras.ops.ones([5, 6, 6, 3])).shape == (5, 6, 6, 3, 2)
    ```

    #### References

    [1]: Aaron van den Oord, Nal Kalchbrenner, Koray Kavukcuoglu. Pixel Recurrent Neural Networks.
         2016. https://arxiv.org/abs/1601.06759
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
        super().__init__(
            image_shape,
            params_size,
            num_layers=num_layers,
            filters=filters,
            first_kernel_size=first_kernel_size,
            **kwargs,
        )
        layers, shifts = range(self.num_layers), (_BESIDE, _ABOVE)
        self.inputs = [self._beside(self.gates, 0) for _ in layers]
        self.lstms = [self._lstm(shifts, self.groups) for _ in layers]
        # Of rows above, which all channels see.
        self.back_inputs = [BesideConv(self.gates, 0, 1, dtype=self.dtype_policy) for _ in layers]
        self.back_lstms = [self._lstm(shifts, 1) for _ in layers]
        self.back_contexts = [self._from_context(self.gates) for _ in layers]

    @property
    def streams(self) -> list[Stream]:
        of_pixels, of_last = self._streams_around
        cell, s = Stream(self.filters, 1), Stream(self.filters, 1, above=True)
        of_layer = [Stream(self.width, above=True), cell, s, Stream(self.filters)]
        return [of_pixels, *of_layer * self.num_layers, *of_last]

    def params_of_images(self, x: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        h = self._first(x)
        for i, (lstm, wide) in enumerate(zip(self.lstms, self.wide)):
            z = with_context(self.inputs[i](h), self.contexts[i], context)
            s = unskewed(lstm(skewed(z)))
            back = unskewed(self.back_lstms[i](skewed(self._back_gates(i, h, x, context))))
            h += wide(s + _next_row(tf.reverse(back, [2])))
        return self._params(h)

    def _back_gates(
        self, i: int, h: tf.Tensor, x: tf.Tensor, context: tf.Tensor | None
    ) -> tf.Tensor:
        """Returns the input's terms of the gates, from right to left.

        Args:
          i: number of the layer.
          h: what it sees, `[N, H, W, width]`.
          x: the encoded images.
          context: contexts.
        """
        seen = tf.concat([h, x], axis=-1) if i == 0 else h
        z = with_context(self.back_inputs[i](seen), self.back_contexts[i], context)
        return tf.reverse(z, [2])

    def before_first_row(self, rows: Any, dtype: tf.DType) -> list[tf.Tensor]:
        return [self._window(rows, dtype), *self._states(2 * self.num_layers, rows, dtype)]

    def enter_row(
        self, state: list[tf.Tensor], context: tf.Tensor | None
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        window, *states = state
        above = [self.first_above.of_rows(window)[:, 0]]
        for i, lstm in enumerate(self.lstms):
            s, back = states[2 * i : 2 * i + 2]
            above += [with_context(lstm.of_shift(s, _ABOVE), self.contexts[i], context), back]
        return above, state

    def leave_row(
        self, state: list[tf.Tensor], kept: Sequence[tf.Tensor], context: tf.Tensor | None
    ) -> list[tf.Tensor]:
        row, *of_layers = kept
        after = [next_window(state[0], row)]
        for i in range(self.num_layers):
            h, s = of_layers[2 * i : 2 * i + 2]
            after += [s, self._back_of_row(i, h, row, state[2 + 2 * i], context)]
        return after

    def _back_of_row(
        self, i: int, h: tf.Tensor, x: tf.Tensor, above: tf.Tensor, context: tf.Tensor | None
    ) -> tf.Tensor:
        """Returns the states of a row from right to left, `[N, W, F]`, given the row above."""
        z = self._back_gates(i, h[:, tf.newaxis], x[:, tf.newaxis], context)[:, 0]
        lstm = self.back_lstms[i]
        z += lstm.of_shift(tf.reverse(above, [1]), _ABOVE)
        return tf.reverse(lstm.along(z), [1])

    def channel(self, pixel: Pixel) -> tf.Tensor:
        h = self._first_of_pixel(pixel)
        for i, (lstm, wide) in enumerate(zip(self.lstms, self.wide)):
            stream = 1 + 4 * i
            z, back = (pixel.part(t, self.groups) for t in pixel.above[1 + 2 * i : 3 + 2 * i])
            cell, s = pixel.lefts[stream + 1 : stream + 3]
            z += pixel.through(stream, self.inputs[i], h)
            z += lstm.of_shift(s, _BESIDE, pixel.channel)
            s, cell = step(z, pixel.part(cell, self.groups))
            pixel.add(stream + 1, cell)
            pixel.add(stream + 2, s)
            h += pixel.through(stream + 3, wide, s + back)
        return self._params_of_pixel(pixel, h, 1 + 4 * self.num_layers)


@tf.custom_gradient
def skewed(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns the diagonals of maps `[N, H, W, F]`, zero-padded, `[W + H - 1, N, H, F]`."""
    return _skewed(x), _unskewed


@tf.custom_gradient
def unskewed(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns the maps `[N, H, W, F]` of diagonals `[W + H - 1, N, H, F]`."""
    return _unskewed(x), _skewed


def _skewed(x: tf.Tensor) -> tf.Tensor:
    height, width, size = x.shape[1:]
    wide = tf.pad(x, [[0, 0], [0, 0], [0, height], [0, 0]])
    flat = tf.reshape(wide, [-1, height * (width + height), size])[:, :-height]
    moved = tf.reshape(flat, [-1, height, width + height - 1, size])
    return tf.transpose(moved, [2, 0, 1, 3])


def _unskewed(x: tf.Tensor) -> tf.Tensor:
    number, _, height, size = x.shape
    flat = tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [-1, height * number, size])
    wide = tf.pad(flat, [[0, 0], [0, height], [0, 0]])
    return tf.reshape(wide, [-1, height, number + 1, size])[:, :, : number + 1 - height]


def _axes_swapped(x: tf.Tensor) -> tf.Tensor:
    """Swaps the first two axes."""
    return tf.transpose(x, [1, 0, 2, 3])


def _next_row(x: tf.Tensor) -> tf.Tensor:
    """Shifts maps `[N, H, W, F]` down by one row."""
    return tf.pad(x[:, :-1], [[0, 0], [1, 0], [0, 0], [0, 0]])
