"""Jacobians by autodiff, in one backward pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf


def jacobian(function: Callable[..., tf.Tensor], x: tf.Tensor, **kwargs: tf.Tensor) -> np.ndarray:
    """Returns the Jacobian of each row, `[N, outputs, inputs]`, of a function of rows.

    Each row is repeated once for each output, and each copy asked for the gradient of its own:
    loops over outputs are slow to run, and slower to vectorise.

    Args:
      function: of rows `[N, ...]`, gives as many numbers a row, each from its own row alone.
      x: where, `[N, ...]`.
      **kwargs: further inputs, a row each.
    """
    size = int(np.prod(x.shape[1:]))
    copies = tf.repeat(x, size, axis=0)
    with tf.GradientTape() as tape:
        tape.watch(copies)
        y = function(copies, **{name: tf.repeat(c, size, axis=0) for name, c in kwargs.items()})
        own = tf.linalg.trace(tf.reshape(y, [x.shape[0], size, size]))
    found = tape.gradient(own, copies, unconnected_gradients="zero")
    return found.numpy().reshape([x.shape[0], size, size])
