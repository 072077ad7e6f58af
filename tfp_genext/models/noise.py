"""Seeds of a model's own noise: a function of the step in training, of the data out of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_genext.core import checks, replicas


def model_seed(seed: int | None) -> int:
    """Returns a model's seed, new where none is given."""
    if seed is None:
        # What `keras.utils.set_random_seed` sets.
        return int(np.random.randint(2**31 - 1))
    return checks.any_int("seed", seed) % 2**31


def seeds_of_step(seed: int, step: Any, number: int) -> list[tf.Tensor]:
    """Returns stateless seeds for a step of training, the same on all replicas."""
    return _seeds(seed, step, number)


def seeds_of_data(seed: int, x: tf.Tensor, number: int) -> list[tf.Tensor]:
    """Returns stateless seeds that are a function of a batch, and those of no step."""
    bits = tf.bitcast(tf.cast(x, tf.float32), tf.int32)
    mark = replicas.total(tf.reduce_sum(tf.cast(bits, tf.int64))) % 2**31
    return _seeds(-1 - seed, mark, number)


def call_seed(seed: Any) -> tf.Tensor:
    """Returns the seed of a call: a pair, or an integer s for `[0, s]`, or a new one for `None`."""
    return tfp.random.sanitize_seed(checks.seed("seed", seed))


def _seeds(first: int, counter: Any, number: int) -> list[tf.Tensor]:
    # Counted and not drawn: a generator keyed by neighbours is as good as one keyed by noise.
    counter = tf.cast(counter, tf.int32) * number
    return [tf.stack([tf.constant(first, tf.int32), counter + i]) for i in range(number)]
