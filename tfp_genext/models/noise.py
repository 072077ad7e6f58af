"""Seeds of a model's noise: derived from the step in training, from the data otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_genext.core import checks, replicas


def model_seed(seed: int | None) -> int:
    """Returns a model's seed; a random one for `None`."""
    if seed is None:
        # `keras.utils.set_random_seed` seeds this generator.
        return int(np.random.randint(2**31 - 1))
    return checks.any_int("seed", seed) % 2**31


def seeds_of_step(seed: int, step: Any, number: int) -> list[tf.Tensor]:
    """Returns stateless seeds for a step of training, the same on all replicas."""
    return _seeds(seed, step, number)


def seeds_of_data(seed: int, x: tf.Tensor, number: int) -> list[tf.Tensor]:
    """Returns stateless seeds derived from a batch, distinct from those of training steps."""
    bits = tf.bitcast(tf.cast(x, tf.float32), tf.int32)
    mark = replicas.total(tf.reduce_sum(tf.cast(bits, tf.int64))) % 2**31
    return _seeds(-1 - seed, mark, number)


def call_seed(seed: Any) -> tf.Tensor:
    """Returns the seed of a call: a pair, or an integer s for `[0, s]`, or a new one for `None`."""
    return tfp.random.sanitize_seed(checks.seed("seed", seed))


def _seeds(first: int, counter: Any, number: int) -> list[tf.Tensor]:
    # Consecutive keys: a counter-based generator does not need random ones.
    counter = tf.cast(counter, tf.int32) * number
    return [tf.stack([tf.constant(first, tf.int32), counter + i]) for i in range(number)]
