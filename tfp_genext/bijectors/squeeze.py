"""Trading space for channels."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext import checks


class Squeeze(tfb.Bijector):
    """Turns blocks of pixels into channels, as Real NVP does between scales.

        forward   [..., H, W, C] -> [..., H / b, W / b, b * b * C]
        inverse   [..., H / b, W / b, b * b * C] -> [..., H, W, C]
        log-det   0

    The channels of a block stand together pixel by pixel, row by row, as in `tf.nn.space_to_depth`
    (Dinh et al., 2017 [1]).

    Args:
      block_size: b, at least 2. Default: 2.
      validate_args: passed to `tfb.Bijector`. Default: `False`.
      name: name of the bijector. Default: `"squeeze"`.

    Raises:
      TypeError: where `block_size` is no integer.
      ValueError: where it is below 2; at a call with a height, a width or a number of channels that
        it does not divide.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    squeeze = gx.bijectors.Squeeze()
    assert squeeze.forward(tf.zeros([5, 28, 28, 1])).shape == [5, 14, 14, 4]
    ```

    #### References

    [1]: Laurent Dinh, Jascha Sohl-Dickstein, Samy Bengio. Density estimation using Real NVP. 2017.
         https://arxiv.org/abs/1605.08803
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
        event = self._forward_event_shape(x.shape[-3:])
        return _rearranged(x, event, lambda flat: tf.nn.space_to_depth(flat, self._block))

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        event = self._inverse_event_shape(y.shape[-3:])
        return _rearranged(y, event, lambda flat: tf.nn.depth_to_space(flat, self._block))

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return tf.zeros([], x.dtype)

    def _inverse_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        return tf.zeros([], y.dtype)

    def _forward_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        height, width, channels = _known("x", shape)
        for name, size in (("height", height), ("width", width)):
            self._check_divides(name, size, self._block)
        return tf.TensorShape(
            [height // self._block, width // self._block, channels * self._block**2]
        )

    def _inverse_event_shape(self, shape: tf.TensorShape) -> tf.TensorShape:
        height, width, channels = _known("y", shape)
        self._check_divides("number of channels", channels, self._block**2)
        return tf.TensorShape(
            [height * self._block, width * self._block, channels // self._block**2]
        )

    def _forward_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return shape // [self._block, self._block, 1] * [1, 1, self._block**2]

    def _inverse_event_shape_tensor(self, shape: tf.Tensor) -> tf.Tensor:
        return shape * [self._block, self._block, 1] // [1, 1, self._block**2]

    def _check_divides(self, what: str, size: int, divisor: int) -> None:
        if size % divisor:
            raise ValueError(
                f"The {what} of an image must be a multiple of {divisor} for `{self.name}`. "
                f"Received: {size}"
            )

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        del dtype
        return {}


def _known(name: str, shape: tf.TensorShape) -> list[int]:
    if shape.rank != 3 or not shape.is_fully_defined():
        raise ValueError(
            f"`{name}` must be images of known shape [..., H, W, C]. Received: event shape {shape}"
        )
    return shape.as_list()


def _rearranged(x: tf.Tensor, event: tf.TensorShape, function: Any) -> tf.Tensor:
    """Applies a function of images `[N, H, W, C]` to images of any leading dimensions."""
    batch = tf.shape(x)[:-3]
    flat = function(tf.reshape(x, [-1, *x.shape[-3:]]))
    result = tf.reshape(flat, tf.concat([batch, event], axis=0))
    return tf.ensure_shape(result, x.shape[:-3].concatenate(event))
