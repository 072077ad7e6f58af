"""One evaluation gives both value and log-determinant."""

from __future__ import annotations

import abc
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext.core import checks, leading_dims

ValueAndLogDet = tuple[tf.Tensor, tf.Tensor | None]


class OneEvaluationBijector(tfb.Bijector):
    """A bijector whose value and log-determinant come from one evaluation.

    Subclasses say how to compute both at once; TFP's own cache carries the log-determinant to
    whoever asks for it next, in eager, graph and XLA execution alike. So `sample`, `log_prob` and
    `experimental_sample_and_log_prob` of a transformed distribution evaluate a network once.
    Keyword arguments that a subclass does not take, by `takes`, are a ValueError.
    """

    @abc.abstractmethod
    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        """Returns y = f(x) and log|det df/dx|, summed over the event."""

    @abc.abstractmethod
    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        """Returns x = f^-1(y) and log|det df^-1/dy|, summed over the event."""

    @property
    def conditional_event_shape(self) -> tuple[int, ...] | None:
        """Shape of one event of `conditional_input`; `None` where it takes none."""
        return None

    def takes(self, condition: str) -> bool:
        """Tells whether the bijector can use the keyword argument `condition`."""
        del condition
        return False

    @property
    def static_event_shape(self) -> tf.TensorShape:
        """Shape of an event, as far as the bijector's own parts tell it; unknown by default.

        A graph may have lost it, as under `tfd.Sample` with a batch of unknown size.
        """
        return tf.TensorShape(None)

    def _forward(self, x: tf.Tensor, **conditions: Any) -> tf.Tensor:
        y, log_det = self._evaluated(self._forward_and_log_det, x, conditions)
        ildj = None if log_det is None else -log_det
        _remember(self._cache.forward_attributes(x, **conditions), y, ildj)
        return y

    def _inverse(self, y: tf.Tensor, **conditions: Any) -> tf.Tensor:
        x, log_det = self._evaluated(self._inverse_and_log_det, y, conditions)
        _remember(self._cache.inverse_attributes(y, **conditions), x, log_det)
        return x

    def _forward_log_det_jacobian(self, x: tf.Tensor, **conditions: Any) -> tf.Tensor:
        return _required(self._evaluated(self._forward_and_log_det, x, conditions)[1])

    def _inverse_log_det_jacobian(self, y: tf.Tensor, **conditions: Any) -> tf.Tensor:
        return _required(self._evaluated(self._inverse_and_log_det, y, conditions)[1])

    def _evaluated(
        self, function: Callable[..., ValueAndLogDet], x: tf.Tensor, conditions: dict[str, Any]
    ) -> ValueAndLogDet:
        """Evaluates a direction on a tensor whose shape the graph may not know."""
        checks.not_symbolic("x", x)
        self._check_taken(conditions)
        event = self.static_event_shape
        if x.shape.rank is None and event.rank is not None:
            return self._evaluated_in_rows(function, x, conditions)
        return function(leading_dims.with_event_shape(x, event), **conditions)

    def _evaluated_in_rows(
        self, function: Callable[..., ValueAndLogDet], x: tf.Tensor, conditions: dict[str, Any]
    ) -> ValueAndLogDet:
        event = self.static_event_shape
        inputs = [leading_dims.Events(x, event.rank)]
        for name, value in conditions.items():
            shape = self.conditional_event_shape if name == "conditional_input" else None
            ndims = 1 if shape is None else len(shape)
            inputs.append(leading_dims.Events(tf.convert_to_tensor(value), ndims))
        batch, (first, *others) = leading_dims.flattened(inputs)
        first = tf.ensure_shape(first, [None, *event])
        value, log_det = function(first, **dict(zip(conditions, others, strict=True)))
        if log_det is not None and log_det.shape.rank != 0:
            log_det = batch.restored(log_det, log_det.dtype)
        return batch.restored(value, value.dtype), log_det

    def _check_taken(self, conditions: dict[str, Any]) -> None:
        for name in conditions:
            if not self.takes(name):
                known = [known for known in ("conditional_input",) if self.takes(known)]
                raise ValueError(checks.unknown_keyword(name, self.name, known))

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        del dtype
        return {}


def log_det_if_any(log_det: Callable[[], tf.Tensor]) -> tf.Tensor | None:
    """Returns the log-determinant of a user's bijector; `None` where it knows only its values."""
    try:
        return log_det()
    except NotImplementedError:
        return None


def _required(log_det: tf.Tensor | None) -> tf.Tensor:
    if log_det is None:
        raise NotImplementedError("The inner bijector implements no log-determinant.")
    return log_det


def _remember(attributes: dict[str, Any], output: tf.Tensor, ildj: tf.Tensor | None) -> None:
    if ildj is None:
        return
    # TFP keeps the attributes as long as the input lives. A log-determinant that outlives the
    # output would be stale after an assignment, and cut off from the gradient tape that comes next.
    attributes["ildj"] = ildj
    weakref.finalize(output, attributes.pop, "ildj", None).atexit = False
