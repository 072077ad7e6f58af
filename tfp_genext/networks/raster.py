"""Base class of autoregressive image networks in raster order, and their sampling."""

from __future__ import annotations

import abc
import dataclasses
import math
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.networks.causal_conv import BesideConv
from tfp_genext.networks.encoding import in_range, optional_range
from tfp_genext.networks.shared import flat_context
from tfp_genext.networks.solve import Update
from tfp_genext.networks.traces import SharedTraces, Traces, function_key


@dataclasses.dataclass(frozen=True)
class Stream:
    """Per-pixel feature vectors that later pixels depend on.

    Args:
      width: of a vector.
      left: how many pixels to the left are looked at.
      above: whether rows below look at the row.
    """

    width: int
    left: int = 0
    above: bool = False


class Pixel:
    """State of the pixel being sampled, channel by channel.

    Args:
      lefts: for each stream, what the pixels to the left hold, `[N, left * width]`, nearest last.
      above: what the rows above say of the pixel: tensors `[N, ...]`, as `enter_row` gives them.
    """

    def __init__(self, lefts: Sequence[tf.Tensor], above: Any) -> None:
        self.lefts = lefts
        self.above = above
        self.channel = 0
        self.current: list[list[tf.Tensor]] = [[] for _ in lefts]

    def add(self, stream: int, part: tf.Tensor) -> None:
        """Adds a channel's part `[N, width / C]` to the pixel's own vector of a stream."""
        self.current[stream].append(part)

    def seen(self, stream: int) -> list[tf.Tensor]:
        """Returns the features of the left pixels and the previous channels in a stream."""
        return [self.lefts[stream], *self.current[stream]]

    def through(self, stream: int, conv: BesideConv, x: tf.Tensor) -> tf.Tensor:
        """Adds a channel's features to a stream, and returns the convolution at this channel."""
        self.add(stream, x)
        return conv.of_pixel(self.seen(stream), self.channel)

    def part(self, x: tf.Tensor, groups: int) -> tf.Tensor:
        """Returns the slice of this channel from `[N, F]`."""
        size = x.shape[-1] // groups
        return x[:, self.channel * size : (self.channel + 1) * size]

    def whole(self, stream: int) -> tf.Tensor:
        """Returns the pixel's complete feature vector in a stream, `[N, width]`."""
        parts = self.current[stream]
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)


class RasterNetwork(keras.layers.Layer, abc.ABC):
    """Base class of networks from images to parameters, causal in raster order.

    The channels of a pixel come one after the other. To sample, a subclass says how its computation
    is taken apart, so that each activation is computed once: what the rows above say of a row is
    found for all its pixels at once, and the rest pixel by pixel and channel by channel, from what
    `streams` keep of the pixels to the left.

    Args:
      image_shape: `[H, W, C]`.
      params_size: number of parameters for each channel of a pixel.
      input_range: `(low, high)`, scaled to [-1, 1]. Default: no scaling.
      conditional_event_shape: shape of one context event. Default: none.
      **kwargs: of any Keras layer.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        params_size: int,
        *,
        input_range: Sequence[float] | None = None,
        conditional_event_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_shape = checks.image_shape("image_shape", image_shape)
        self.params_size = checks.positive_int("params_size", params_size)
        self.input_range = optional_range("input_range", input_range)
        self.conditional_event_shape = checks.context_shape(
            "conditional_event_shape", conditional_event_shape
        )
        self._encode = in_range(self.input_range)
        self._traces = Traces()

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return self.image_shape

    @property
    def context_size(self) -> int:
        """Size of a flattened context."""
        return math.prod(self.conditional_event_shape or ())

    @property
    def solves(self) -> bool:
        """Whether `solve` inverts `call`."""
        return True

    @property
    @abc.abstractmethod
    def streams(self) -> Sequence[Stream]:
        """Streams of the network; the first one holds the encoded channels."""

    @abc.abstractmethod
    def params_of_images(self, x: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        """Returns parameters `[N, H, W, C * params_size]` of encoded images `[N, H, W, C]`."""

    @abc.abstractmethod
    def before_first_row(self, rows: Any, dtype: tf.DType) -> Any:
        """Returns the initial state of the rows, a nested structure of tensors."""

    @abc.abstractmethod
    def enter_row(self, state: Any, context: tf.Tensor | None) -> tuple[Any, Any]:
        """Returns the terms of a row from the rows above, `[N, W, ...]`, and the new state."""

    @abc.abstractmethod
    def leave_row(self, state: Any, kept: Sequence[tf.Tensor], context: tf.Tensor | None) -> Any:
        """Returns the state after a row, given the streams that later rows depend on."""

    @abc.abstractmethod
    def channel(self, pixel: Pixel) -> tf.Tensor:
        """Returns the parameters `[N, params_size]` of a channel, and updates the streams.

        The encoded value of the channel itself is added by the caller, afterwards.
        """

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of the parameters, as `summary` shows it."""
        return (None, *self.image_shape, self.params_size)

    def build(self, x_shape: tuple) -> None:
        """Creates all variables."""
        del x_shape
        with tf.init_scope():
            self._params_of_zeros()

    def _params_of_zeros(self) -> tf.Tensor:
        # One pixel is enough: no variable depends on height or width.
        zeros = tf.zeros([1, 1, 1, self.image_shape[-1]], self.compute_dtype)
        context = None
        if self.conditional_event_shape is not None:
            context = tf.zeros([1, self.context_size], self.compute_dtype)
        return self.params_of_images(zeros, context)

    def call(self, x: Any, conditional_input: Any = None) -> Any:
        self._check_shape("x", x)
        context = flat_context(conditional_input, self.conditional_event_shape)
        params = self.params_of_images(self._encode(x), context)
        return tf.reshape(params, [-1, *self.image_shape, self.params_size])

    def solve(
        self,
        update: Update,
        z: Any,
        conditional_input: Any = None,
        *,
        observed: int = 0,
        tolerance: float = 0.0,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds images x with x_k = update(params_k(x_1 ... x_(k-1)), z_k), entry by entry.

        Args:
          update: elementwise, from parameters `[N, params_size]` and noise `[N]` to entries `[N]`.
          z: noise `[N, H, W, C]`.
          conditional_input: contexts `[N, *conditional_event_shape]`.
          observed: how many entries, the first ones, are known: of these z holds not the noise but
            x. Default: 0.
          tolerance: not used: nothing is iterated.

        Returns:
          x `[N, H, W, C]` and the parameters at x, `[N, H, W, C, params_size]`.
        """
        del tolerance
        self._check_shape("z", z)
        if not self.built:
            self.build(tuple(z.shape))
        context = flat_context(conditional_input, self.conditional_event_shape)
        if z.shape[0] == 0:  # TensorFlow's convolutions fail in a graph.
            return z, tf.zeros([0, *self.image_shape, self.params_size], z.dtype)
        if tf.executing_eagerly():
            return self._scan(update, observed, z.dtype)(z, context)
        return _Scan(self, update, context, observed).run(z)

    def _scan(self, update: Update, observed: int, dtype: tf.DType) -> Callable:
        """Returns a pass over all pixels, as a graph that the layer keeps, if it can be kept."""
        signature = [
            tf.TensorSpec([None, self.params_size], dtype),
            tf.TensorSpec([None], dtype),
        ]
        # A graph that held the network would keep itself alive.
        weak: Any = weakref.proxy(self)

        def run(z: tf.Tensor, context: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
            return _Scan(weak, update, context, observed).run(z)

        def key() -> Hashable | None:
            of_update = function_key(update, signature)
            return None if of_update is None else (weakref.ref(self), observed, dtype, of_update)

        found = _scans.find(
            self._traces, key, lambda: tf.function(run, autograph=False, reduce_retracing=True)
        )
        return found or run

    def entered(self, x: tf.Tensor) -> tf.Tensor:
        """Returns encoded entries, the inputs of the network."""
        return self._encode(x)

    def _check_shape(self, name: str, value: Any) -> None:
        if tuple(value.shape[1:]) != self.image_shape:
            expected = f"of shape [N, {', '.join(map(str, self.image_shape))}]"
            raise ValueError(f"`{name}` must be {expected}. Received: shape {list(value.shape)}")

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "image_shape": self.image_shape,
            "params_size": self.params_size,
            "input_range": self.input_range,
            "conditional_event_shape": self.conditional_event_shape,
        }


# The samplers of all networks that are alive. Without a graph, a pass over all pixels takes forty
# times as long.
_scans = SharedTraces()


@dataclasses.dataclass(frozen=True)
class _Scan:
    """Sampling scan over all pixels."""

    network: RasterNetwork
    update: Update
    context: tf.Tensor | None
    observed: int

    def run(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns images and their parameters for noise `[N, H, W, C]`."""
        height, width, channels = self.network.image_shape
        rows = tf.shape(z)[0]
        x = _array(height, z.dtype, [width, None, channels])
        params = _array(height, z.dtype, [width, None, channels, self.network.params_size])
        by_row = tf.transpose(z, [1, 2, 0, 3])
        state = self.network.before_first_row(rows, z.dtype)

        def one_row(i: tf.Tensor, state: Any, x: Any, params: Any) -> tuple:
            above, state = self.network.enter_row(state, self.context)
            first = i * width * channels
            row, params_of_row, kept = self._row(by_row[i], above, first)
            state = self.network.leave_row(state, kept, self.context)
            return i + 1, state, x.write(i, row), params.write(i, params_of_row)

        shapes = tf.nest.map_structure(lambda t: t.shape, state)
        *_, x, params = tf.while_loop(
            lambda i, *_: i < height,
            one_row,
            (0, state, x, params),
            shape_invariants=(tf.TensorShape([]), shapes, None, None),
            maximum_iterations=height,
        )
        shape = self.network.image_shape
        x = tf.ensure_shape(tf.transpose(x.stack(), [2, 0, 1, 3]), z.shape[:1].concatenate(shape))
        return x, tf.transpose(params.stack(), [2, 0, 1, 3, 4])

    def _row(
        self, z: tf.Tensor, above: Any, first: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Returns a row `[W, N, C]`, its parameters, and the streams that later rows depend on.

        Args:
          z: noise `[W, N, C]`.
          above: what earlier rows say, `[N, W, ...]`.
          first: number of the row's first entry.
        """
        _, width, channels = self.network.image_shape
        streams = self.network.streams
        rows = tf.shape(z)[1]
        by_column = tf.nest.map_structure(_columns_first, above)
        lefts = [tf.zeros([rows, s.left * s.width], z.dtype) for s in streams]
        x = _array(width, z.dtype, [None, channels])
        params = _array(width, z.dtype, [None, channels, self.network.params_size])
        kept = [_array(width, z.dtype, [None, s.width]) for s in streams if s.above]

        def one_pixel(j: tf.Tensor, lefts: Any, x: Any, params: Any, kept: Any) -> tuple:
            pixel = Pixel(lefts, tf.nest.map_structure(lambda t: t[j], by_column))
            own, params_of_pixel = self._pixel(pixel, z[j], first + j * channels)
            lefts = [_moved(pixel, number, s) for number, s in enumerate(streams)]
            looked_at = [pixel.whole(number) for number, s in enumerate(streams) if s.above]
            kept = [array.write(j, value) for array, value in zip(kept, looked_at, strict=True)]
            return j + 1, lefts, x.write(j, own), params.write(j, params_of_pixel), kept

        *_, x, params, kept = tf.while_loop(
            lambda j, *_: j < width,
            one_pixel,
            (0, lefts, x, params, kept),
            maximum_iterations=width,
        )
        return x.stack(), params.stack(), [_columns_first(array.stack()) for array in kept]

    def _pixel(self, pixel: Pixel, z: tf.Tensor, first: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the channels `[N, C]` of a pixel and their parameters, for noise `[N, C]`."""
        drawn, params = [], []
        for channel, noise in enumerate(tf.unstack(z, axis=1)):
            pixel.channel = channel
            params.append(self.network.channel(pixel))
            value = self.update(params[-1], noise)
            if self.observed:
                value = tf.where(first + channel < self.observed, noise, value)
            drawn.append(value)
            pixel.add(0, self.network.entered(value)[:, tf.newaxis])
        return tf.stack(drawn, axis=1), tf.stack(params, axis=1)


def _array(size: int, dtype: tf.DType, shape: Sequence[int | None]) -> tf.TensorArray:
    return tf.TensorArray(dtype, size, element_shape=shape)


def _columns_first(x: tf.Tensor) -> tf.Tensor:
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])


def _moved(pixel: Pixel, number: int, stream: Stream) -> tf.Tensor:
    """Returns the left neighbourhood of the next pixel in a stream."""
    if stream.left == 0:
        return pixel.lefts[number]
    seen = tf.concat(pixel.seen(number), axis=-1)
    return seen[:, stream.width :]
