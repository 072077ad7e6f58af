"""Losses and training steps: weighted means and checks for finite values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext.core import replicas
from tfp_genext.models.data import NOT_FINITE_GRADIENT, NOT_FINITE_LOSS, NOT_FINITE_WEIGHTS

# What a step of training takes the gradient of, by the ends of the metrics' names.
_SPOIL = ("loss", "penalty")


@tf.custom_gradient
def required_finite(loss: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns a loss whose gradient, and so the step, waits for a check that it is finite.

    XLA drops both.
    """
    checked = tf.debugging.assert_all_finite(loss, f"the loss {NOT_FINITE_LOSS}")

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([checked]):
            return tf.identity(upstream)

    return checked, gradient


def step(
    optimizer: keras.optimizers.Optimizer,
    tape: tf.GradientTape,
    loss: tf.Tensor,
    variables: Sequence[keras.Variable],
    *,
    compiled: bool,
) -> tf.Tensor:
    """Takes one step of an optimizer, if the gradient is finite.

    Args:
      optimizer: a Keras optimizer. One that scales losses looks at gradients itself.
      tape: recorded the loss.
      loss: scalar, as the optimizer scales it.
      variables: to be moved.
      compiled: whether XLA compiles the step. It drops assertions: a step whose gradient is not
        finite is then undone.

    Returns:
      Whether gradient and new weights are finite, a scalar. If not compiled, an error is raised
      otherwise.
    """
    gradients = tape.gradient(loss, variables)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return tf.constant(True)
    if compiled:
        return _step_or_stay(optimizer, gradients, variables)
    present = [g for g in gradients if g is not None]
    checked = [tf.debugging.assert_all_finite(_values(g), NOT_FINITE_GRADIENT) for g in present]
    with tf.control_dependencies(checked):
        gradients = [None if g is None else tf.identity(g) for g in gradients]
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    for variable in variables:
        tf.debugging.assert_all_finite(tf.convert_to_tensor(variable), NOT_FINITE_WEIGHTS)
    return tf.constant(True)


def _step_or_stay(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[Any],
    variables: Sequence[keras.Variable],
) -> tf.Tensor:
    """Takes a step, and undoes it if the gradient or the new weights are not finite."""
    finite = tf.reduce_all(
        [tf.reduce_all(tf.math.is_finite(_values(g))) for g in gradients if g is not None]
    )
    moved = [*variables, *optimizer.variables]
    before = [tf.convert_to_tensor(variable) for variable in moved]
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    finite &= tf.reduce_all(
        [tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(v))) for v in variables]
    )
    for variable, value in zip(moved, before, strict=True):
        variable.assign(tf.where(finite, tf.convert_to_tensor(variable), value))
    return finite


def _values(gradient: Any) -> tf.Tensor:
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def weighted_mean(values: tf.Tensor, weights: Any = None) -> tf.Tensor:
    """Returns sum(w * v) / N of values `[N]`, their mean if there are no weights.

    As in Keras, the sum is divided by the number of rows and not by the weights of the batch, so
    that batches are unbiased shares of the weighted sum over all rows. Sums are over the rows of
    all replicas; the gradient is that of a replica's own rows, times the number of replicas.
    """
    weights = tf.ones_like(values) if weights is None else tf.cast(weights, values.dtype)
    tf.debugging.assert_equal(
        tf.shape(weights), tf.shape(values), "`sample_weight` must be of shape [N]"
    )
    rows = tf.cast(replicas.total(tf.shape(values)[0]), values.dtype)
    own = replicas.count() * tf.math.divide_no_nan(tf.reduce_sum(weights * values), rows)
    if replicas.count() == 1:
        return own
    return own + tf.stop_gradient(replicas.total(own) / replicas.count() - own)


def total(loss: tf.Tensor, layer_losses: Sequence[tf.Tensor], *, training: bool) -> tf.Tensor:
    """Returns the loss of a batch plus the layers' losses, scaled for `tf.distribute`."""
    if training:
        loss = required_finite(loss)
    loss += tf.add_n([tf.zeros_like(loss), *(tf.cast(e, loss.dtype) for e in layer_losses)])
    return loss / tf.distribute.get_strategy().num_replicas_in_sync


def nan_unless(finite: tf.Tensor, loss: tf.Tensor) -> tf.Tensor:
    """Returns the logged loss: NaN if it is not finite, so that `FiniteLoss` ends the training."""
    return tf.where(finite, loss, np.nan)


class FiniteLoss(keras.callbacks.Callback):
    """Callback that ends training if a loss is not finite; XLA drops assertions."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not self.model.jit_compile:
            return
        found = {name: float(v) for name, v in (logs or {}).items() if name.endswith(_SPOIL)}
        if not np.isfinite(list(found.values())).all():
            received = ", ".join(f"{name}={value}" for name, value in found.items())
            raise ValueError(
                "`loss` and its gradient must be finite, and are not; no step was taken. Data far "
                "off or outside the support, or a learning rate too large, may be why: "
                f"`model.adapt(x)` brings data to unit scale. Received: {received} in batch {batch}"
            )
