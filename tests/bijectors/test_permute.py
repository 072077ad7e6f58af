"""Permute: what `tfb.Permute` does, with gradients of every order."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

import tfp_genext as gx

ORDER = [2, 0, 3, 1]


@pytest.mark.parametrize("axis, shape", [(-1, [5, 4]), (-2, [5, 4, 3])])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("order", [ORDER, [3, 2, 1, 0]], ids=["any", "reversed"])
def test_values_and_gradients_are_those_of_tfp(axis, shape, direction, order):
    x = tf.random.stateless_normal(shape, [1, 2], dtype=tf.float64)
    found = []
    for kind in (gx.bijectors.Permute, tfb.Permute):
        permute = getattr(kind(order, axis=axis), direction)
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = permute(x)
                loss = tf.reduce_sum(
                    tf.sin(y)
                    * tf.reshape(tf.range(y.shape.num_elements(), dtype=tf.float64), y.shape)
                )
            gradient = inner.gradient(loss, x)
            again = tf.reduce_sum(gradient**2)
        found.append([y, gradient, outer.gradient(again, x)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_the_gradient_scatters_nothing():
    permute = gx.bijectors.Permute(ORDER)

    @tf.function
    def gradient(x):
        return tf.gradients(tf.sin(permute.forward(x)), x)

    operations = gradient.get_concrete_function(tf.TensorSpec([None, 4])).graph.get_operations()
    assert "UnsortedSegmentSum" not in {operation.type for operation in operations}


def test_shapes_are_known_where_the_input_s_are():
    permute = gx.bijectors.Permute(ORDER)
    traced = tf.function(permute.forward).get_concrete_function(tf.TensorSpec([None, 4]))
    assert traced.output_shapes.as_list() == [None, 4]


def test_refuses_what_is_no_permutation():
    with pytest.raises(ValueError, match="`permutation` must hold each of 0 to 2 once.*Received"):
        gx.bijectors.Permute([0, 0, 1])
