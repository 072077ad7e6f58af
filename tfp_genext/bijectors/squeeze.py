"""Reshaping of blocks of pixels to channels."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext.core import checks, leading_dims


class Squeeze(tfb.Bijector):
    """Reshaping of blocks of pixels to channels, as between the scales of Real NVP.

        forward   [..., H, W, C] -> [..., H / b, W / b, b * b * C]
        inverse   [..., H / b, W / b, b * b * C] -> [..., H, W, C]
        log-det   0

    The order of channels is that of `tf.nn.space_to_depth`: pixel by pixel and row by row of a
    block (Dinh et al., 2017, arXiv:1605.08803).

    Args:
      block_size: b, at least 2. Default: 2.
      validate_args, name: as in `tfb.Bijector`. The default name is `"squeeze"`.

    Raises:
      TypeError: if `block_size` is not an integer.
      ValueError: if `block_size` is below 2. In a call, if height, width or number of channels are
        not multiples of the block.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    squeeze = gx.bijectors.Squeeze()
    assert squeeze.forward(tf.zeros([5, 28, 28, 1])).shape == [5, 14, 14, 4]
    ```
    """

    def __init__(
        self, block_size: int = 2, *, validate_args: bool = False, name: str | None = None
    ) -> None:
        parameters = dict(locals())
        self._block = checks.positive_int("block_size", block_size, minimum=2)
        super().__init__(
            forward_min_event_ndims=3,
            is_constant_jacobian=True,
            validate_args=validate_args,
            parameters=parameters,
            name=name or "squeeze",
        )

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        event = self._forward_event_shape(_event_of(x))
        return _rearranged(x, event, lambda flat: tf.nn.space_to_depth(flat, self._block))

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        event = self._inverse_event_shape(_event_of(y))
        return _rearranged(y, event, lambda flat: tf.nn.depth_to_space(flat, self._block))

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return tf.zeros([], x.dtype)

    def _inverse_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        return tf.zeros([], y.dtype)

    def _forward_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        height, width, channels = _sizes("x", shape)
        for name, size in (("height", height), ("width", width)):
            self._check_divides(name, size, self._block)
        return tf.TensorShape(
            [
                _divided(height, self._block),
                _divided(width, self._block),
                _times(channels, self._block**2),
            ]
        )

    def _inverse_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        height, width, channels = _sizes("y", shape)
        self._check_divides("number of channels", channels, self._block**2)
        return tf.TensorShape(
            [
                _times(height, self._block),
                _times(width, self._block),
                _divided(channels, self._block**2),
            ]
        )

    def _forward_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return shape // [self._block, self._block, 1] * [1, 1, self._block**2]

    def _inverse_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return shape * [self._block, self._block, 1] // [1, 1, self._block**2]

    def _check_divides(self, what: str, size: int | None, divisor: int) -> None:
        if size is not None and size % divisor:
            raise ValueError(
                f"The {what} of an image must be a multiple of {divisor} for `{self.name}`. "
                f"Received: {size}"
            )

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        del dtype
        return {}


def _sizes(name: str, shape: tf.TensorShape) -> list[int | None]:
    """Returns height, width and channels, each `None` if unknown."""
    if shape.rank not in (None, 3):
        raise ValueError(
            f"`{name}` must be images of shape [..., H, W, C]. Received: event shape {shape}"
        )
    return shape.with_rank(3).as_list()


def _event_of(x: tf.Tensor) -> tf.TensorShape:
    checks.not_symbolic("x", x)
    return x.shape if x.shape.rank is None else x.shape[-3:]


def _times(size: int | None, factor: int) -> int | None:
    return None if size is None else size * factor


def _divided(size: int | None, divisor: int) -> int | None:
    return None if size is None else size // divisor


def _rearranged(x: tf.Tensor, event: tf.TensorShape, function: Any) -> tf.Tensor:
    """Applies a function of images `[N, H, W, C]` to images with any leading dimensions."""
    batch, (flat,) = leading_dims.flattened([leading_dims.Events(x, 3)])
    return leading_dims.with_event_shape(batch.restored(function(flat), x.dtype), event)
