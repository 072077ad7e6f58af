"""Numerical functions: soft bounds, log-softplus and bits per dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.core.public_names import module_hooks

__all__ = ["bits_per_dim", "log_softplus", "soft_bound"]

__getattr__, __dir__ = module_hooks(__name__, __all__)


def soft_bound(x: tf.Tensor, bound: float) -> tf.Tensor:
    """Maps `x` smoothly and monotonically into (-bound, bound), with slope 1 at 0.

    soft_bound(x) = bound * tanh(x / bound)
    """
    return bound * tf.tanh(x / bound)


def log_softplus(x: tf.Tensor) -> tf.Tensor:
    """Returns log(softplus(x)), finite with a finite gradient for every finite `x`.

    For very negative x softplus(x) underflows, but its logarithm tends to x.
    """
    low = -8.0 if x.dtype == tf.float16 else -15.0
    safe = tf.maximum(x, low)
    return tf.where(x < low, x, tf.math.log(tf.math.softplus(safe)))


def bits_per_dim(nll: Any, event_shape: Sequence[int]) -> Any:
    """Converts a negative log-likelihood in nats to bits per dimension.

    bits/dim = nll / (D * log(2)), where D is the number of entries of one event. For integer data
    the density must be that on the integer scale, as no other constant is added.

    Args:
      nll: negative log-likelihood in nats, of any shape.
      event_shape: shape of one event.

    Returns:
      Bits per dimension, of the shape of `nll`.

    Raises:
      TypeError: if `nll` does not hold numbers.
      ValueError: if an event has no entries.

    Example:

    ```python
    import tfp_genext as gx

    assert gx.numerics.bits_per_dim(64 * 0.6931471805599453, [8, 8]) == 1.0
    ```
    """
    size = math.prod(checks.shape_tuple("event_shape", event_shape))
    checks.numeric("nll", nll)
    return nll / (size * math.log(2.0))
