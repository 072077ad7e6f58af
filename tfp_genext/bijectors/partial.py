"""A bijector that acts on some of the channels."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext.bijectors import conditioning
from tfp_genext.core import checks, leading_dims
from tfp_genext.core.bijector import OneEvaluationBijector, ValueAndLogDet


class Partial(OneEvaluationBijector):
    """A bijector applied to the first channels; the others are unchanged.

    With x split along the last axis into its first k entries x0 and the rest x1:

        forward   y0 = f(x0),  y1 = x1
        inverse   x0 = f^-1(y0),  x1 = y1
        log-det   the log-determinant of f

    Multi-scale flows are built from such steps. The unchanged channels are those that are factored
    out.

    Args:
      bijector: f, which must keep the shape of its events.
      num_channels: k.
      validate_args, name: as in `tfb.Bijector`. The default name is `"partial"`.

    Raises:
      TypeError: if `num_channels` is not an integer, or `bijector` is not a bijector.
      ValueError: in a call, if the input has fewer channels.

    Example:

    ```python
    import tensorflow as tf
    import tensorflow_probability as tfp
    import tfp_genext as gx

    partial = gx.bijectors.Partial(tfp.bijectors.Scale(3.0), 1)
    assert partial.forward([1.0, 1.0]).numpy().tolist() == [3.0, 1.0]
    ```
    """

    def __init__(
        self,
        bijector: tfb.Bijector,
        num_channels: int,
        *,
        validate_args: bool = False,
        name: str | None = None,
    ) -> None:
        parameters = dict(locals())
        if not isinstance(bijector, tfb.Bijector):
            raise TypeError(checks.message("bijector", "a tfb.Bijector", bijector))
        self._bijector = bijector
        self._num_channels = checks.positive_int("num_channels", num_channels)
        self._event_ndims = max(1, bijector.forward_min_event_ndims)
        super().__init__(
            forward_min_event_ndims=self._event_ndims,
            validate_args=validate_args,
            parameters=parameters,
            name=name or "partial",
        )

    @property
    def bijector(self) -> tfb.Bijector:
        """The bijector of the first channels."""
        return self._bijector

    @property
    def num_channels(self) -> int:
        """Number of channels that the bijector acts on."""
        return self._num_channels

    @property
    def conditional_event_shape(self) -> tuple[int, ...] | None:
        return conditioning.conditional_event_shape(self._bijector)

    def takes(self, condition: str) -> bool:
        return conditioning.takes(self._bijector, condition)

    def initialize_from(
        self, values: tf.Tensor, *, forward: bool = False, **conditions: Any
    ) -> tf.Tensor:
        first, rest = self.split(values)
        first = conditioning.initialize(self._bijector, first, forward=forward, **conditions)
        return _joined(first, rest)

    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        first, rest = self.split(x)
        routed = conditioning.route(self._bijector, conditions)
        y = self._same_shape(first, self._bijector.forward(first, **routed))
        log_det = self._bijector.forward_log_det_jacobian(first, self._event_ndims, **routed)
        return _joined(y, rest), log_det

    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        first, rest = self.split(y)
        routed = conditioning.route(self._bijector, conditions)
        x = self._same_shape(first, self._bijector.inverse(first, **routed))
        log_det = self._bijector.inverse_log_det_jacobian(first, self._event_ndims, **routed)
        return _joined(x, rest), log_det

    def _same_shape(self, before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
        event = before.shape[-self._event_ndims :]
        if not after.shape[-self._event_ndims :].is_compatible_with(event):
            raise ValueError(
                f"`bijector` must keep the shape of its events. Received: {self._bijector.name}, "
                f"which makes {after.shape} of {before.shape}"
            )
        return after

    def split(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the channels that the bijector acts on, and the others."""
        channels = None if x.shape.rank is None else [0, *x.shape][-1]
        if channels is not None and channels < self._num_channels:
            raise ValueError(
                f"`x` must have at least {self._num_channels} channels for `{self.name}`. "
                f"Received: shape {x.shape}"
            )
        others = -1 if channels is None else channels - self._num_channels
        first, rest = tf.split(x, [self._num_channels, others], axis=-1)
        return first, rest


def _joined(first: tf.Tensor, rest: tf.Tensor) -> tf.Tensor:
    # A context may have more leading dimensions than x.
    return tf.concat([first, leading_dims.with_batch_of(rest, first)], axis=-1)
