"""Log-densities and bounds as a loss: weighted means, and what must be finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext import replicas
from tfp_genext.models.data import NOT_FINITE_LOSS

# What a step of training takes the gradient of, by the ends of the metrics' names.
_SPOIL = ("loss", "penalty")


@tf.custom_gradient
def required_finite(loss: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns a loss after checking it: its gradient waits for the check, and so does a step.

    XLA drops both.
    """
    checked = tf.debugging.assert_all_finite(loss, f"the loss {NOT_FINITE_LOSS}")

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([checked]):
            return tf.identity(upstream)

    return checked, gradient


def weighted_mean(values: tf.Tensor, weights: Any = None) -> tf.Tensor:
    """Returns sum(w * v) / sum(w) of values `[N]`, their mean where there are no weights.

    Sums are over the rows of all replicas; the gradient is that of a replica's own rows, times the
    number of replicas.
    """
    weights = tf.ones_like(values) if weights is None else tf.cast(weights, values.dtype)
    tf.debugging.assert_equal(
        tf.shape(weights), tf.shape(values), "`sample_weight` must be of shape [N]"
    )
    sums = tf.reduce_sum(weights * values), replicas.total(tf.reduce_sum(weights))
    own = replicas.number() * tf.math.divide_no_nan(*sums)
    if replicas.number() == 1:
        return own
    return own + tf.stop_gradient(replicas.total(own) / replicas.number() - own)


def total(loss: tf.Tensor, layer_losses: Sequence[tf.Tensor], *, training: bool) -> tf.Tensor:
    """Returns a batch's loss with those of the layers, as a replica hands it to the optimizer."""
    if training:
        loss = required_finite(loss)
    loss += tf.add_n([tf.zeros_like(loss), *(tf.cast(e, loss.dtype) for e in layer_losses)])
    return loss / tf.distribute.get_strategy().num_replicas_in_sync


class FiniteLoss(keras.callbacks.Callback):
    """Ends a training compiled by XLA, which drops assertions, where a loss is not finite."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not self.model.jit_compile:
            return
        found = {name: float(v) for name, v in (logs or {}).items() if name.endswith(_SPOIL)}
        if not np.isfinite(list(found.values())).all():
            received = ", ".join(f"{name}={value}" for name, value in found.items())
            raise ValueError(
                "`loss` must be finite, and is checked after the step under `jit_compile=True`: "
                f"the weights are spoiled. Received: {received} in batch {batch}"
            )
