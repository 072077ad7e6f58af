"""A callback that draws pictures of samples during training."""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext.core import checks, context_shapes

# Largest distance of samples from the middle of the range, in widths of the range.
_FAR_BEYOND = 20.0
# Samples that span a smaller share of the range look identical.
_INVISIBLE = 0.02


class SampleGrid(keras.callbacks.Callback):
    """A callback that writes a picture with a grid of samples every few epochs.

    All pictures use the same seed, so that each position shows the same sample as it improves. The
    first picture, of epoch 0, shows the untrained model.

    Args:
      directory: directory of the pictures, which are named as `epoch_0012.png`. It is created if
        necessary.
      rows: number of rows. A conditional model has one row for each context, in their order.
        Default: 8, or the number of contexts.
      columns: number of columns. Default: 8.
      every: number of epochs between pictures. Default: 1.
      value_range: the values of black and white; `(1, 0)` draws black on white. Samples that are
        far outside this range, or almost constant in it, cause a warning. Default: `(0, 1)`.
      conditional_input: contexts `[N, *conditional_event_shape]` of a conditional model. Default:
        none.
      seed: seed of `model.sample`. Default: `[0, 1]`.

    Raises:
      TypeError, ValueError: if a value is out of range. In `fit`, if the model has no method
        `sample` or its samples are not images with 1 or 3 channels.

    Example:

    ```python
    import pathlib
    import tempfile
    import numpy as np
    import tfp_genext as gx

    flow = gx.flows.glow([4, 4, 1], num_levels=1, num_steps=1, hidden_channels=4)
    model = gx.models.DensityModel(flow)
    model.compile()
    x = np.random.default_rng(0).uniform(size=[64, 4, 4, 1]).astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        model.fit(x, verbose=0, callbacks=[gx.callbacks.SampleGrid(folder)])
        pictures = sorted(path.name for path in pathlib.Path(folder).iterdir())
    assert pictures == ["epoch_0000.png", "epoch_0001.png"]
    ```
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        *,
        rows: int | None = None,
        columns: int = 8,
        every: int = 1,
        value_range: tuple[float, float] = (0.0, 1.0),
        conditional_input: Any = None,
        seed: Sequence[int] | int = (0, 1),
    ) -> None:
        super().__init__()
        self._directory = pathlib.Path(checks.path("directory", directory))
        self._rows = 8 if rows is None else checks.positive_int("rows", rows)
        self._columns = checks.positive_int("columns", columns)
        self._every = checks.positive_int("every", every)
        self._range = _checked_range(value_range)
        self._seed = checks.seed("seed", seed)
        self._warned = False
        self._context = None
        if conditional_input is not None:
            self._context = _as_arrays(conditional_input)
            number = len(tf.nest.flatten(self._context)[0])
            if rows not in (None, number):
                expected = f"{number}, one for each context, or None"
                raise ValueError(checks.message("rows", expected, rows))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not callable(getattr(self.model, "sample", None)):
            raise ValueError(checks.message("model", "one with a method `sample`", self.model))
        self._directory.mkdir(parents=True, exist_ok=True)
        self._warned = False
        self._write(0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self._every == 0:
            self._write(epoch + 1)

    def _write(self, epoch: int) -> None:
        low, high = self._range
        images = _images(self._samples())
        share = (images - low) / (high - low)
        self._warn_of_range(share.numpy(), images.numpy())
        pixels = tf.cast(tf.round(255.0 * tf.clip_by_value(share, 0.0, 1.0)), tf.uint8)
        path = self._directory / f"epoch_{epoch:04d}.png"
        tf.io.write_file(str(path), tf.io.encode_png(_joined(pixels)))

    def _warn_of_range(self, share: np.ndarray, images: np.ndarray) -> None:
        """Warns, once a training, if pictures would only show black and white, or nothing."""
        beyond = np.abs(share - 0.5).max() > _FAR_BEYOND
        invisible = share.max() - share.min() < _INVISIBLE
        if self._warned or not (beyond or invisible):
            return
        self._warned = True
        warnings.warn(
            "`value_range` must be the values of black and white, such as (0, 255) for pixels of "
            f"8 bits. Received: value_range={self._range}, for samples between "
            f"{images.min():.4g} and {images.max():.4g}",
            UserWarning,
            stacklevel=2,
        )

    def _samples(self) -> tf.Tensor:
        """Returns samples, `[rows, columns, *event]`."""
        if self._context is None:
            samples = self.model.sample(self._rows * self._columns, seed=self._seed)
            return tf.reshape(samples, [self._rows, self._columns, *samples.shape[1:]])
        samples = self.model.sample(self._columns, seed=self._seed, conditional_input=self._context)
        return tf.transpose(samples, [1, 0, *range(2, samples.shape.rank)])


def _as_arrays(contexts: Any) -> Any:
    if isinstance(contexts, Mapping):
        return {key: _as_arrays(part) for key, part in contexts.items()}
    if context_shapes.is_structure(contexts):
        return tuple(map(_as_arrays, contexts))
    array = checks.numeric("conditional_input", contexts).numpy()
    if not array.shape:
        expected = "contexts [N, *conditional_event_shape]"
        raise ValueError(checks.message("conditional_input", expected, contexts))
    return array


def _images(samples: tf.Tensor) -> tf.Tensor:
    """Returns samples as `[rows, columns, height, width, channels]`."""
    samples = tf.cast(samples, tf.float32)
    if samples.shape.rank == 4:
        samples = samples[..., tf.newaxis]
    if samples.shape.rank != 5 or samples.shape[-1] not in (1, 3):
        event = samples.shape[2:]
        expected = "images [H, W], [H, W, 1] or [H, W, 3]"
        raise ValueError(checks.message("model", f"one whose samples are {expected}", event))
    return samples


def _joined(pixels: tf.Tensor) -> tf.Tensor:
    """Joins the images to one, with a border of one pixel between them."""
    padded = tf.pad(pixels, [[0, 0], [0, 0], [0, 1], [0, 1], [0, 0]])
    rows, columns, height, width, channels = padded.shape
    side_by_side = tf.transpose(padded, [0, 2, 1, 3, 4])
    whole = tf.reshape(side_by_side, [rows * height, columns * width, channels])
    return whole[:-1, :-1]


def _checked_range(value_range: Any) -> tuple[float, float]:
    if not isinstance(value_range, (tuple, list)) or len(value_range) != 2:
        raise ValueError(checks.message("value_range", "two numbers", value_range))
    low, high = (
        checks.number("value_range", v, "that is finite", np.isfinite) for v in value_range
    )
    if low == high:
        raise ValueError(checks.message("value_range", "two different numbers", value_range))
    return low, high
