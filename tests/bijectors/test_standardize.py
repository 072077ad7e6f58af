"""The scale of data as a bijector, against TFP's own shift and scale."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfd, tfb = tfp.distributions, tfp.bijectors


@pytest.mark.parametrize("event", [(), (3,), (4, 3), (2, 2, 3)])
def test_it_is_a_shift_and_a_scale_along_the_last_axis(event):
    rng = np.random.default_rng(0)
    loc, scale = rng.normal(size=event[-1:]), rng.uniform(0.1, 9.0, size=event[-1:])
    found = gx.bijectors.Standardize.of(loc, scale, tf.float64)
    base = tfd.Sample(tfd.Normal(tf.constant(0.0, tf.float64), 1.0), event)
    density = tfd.TransformedDistribution(base, found)
    expected = tfd.Independent(tfd.Normal(loc + np.zeros(event), scale), len(event))
    x = tf.constant(rng.normal(size=[7, *event]))
    np.testing.assert_allclose(density.log_prob(x), expected.log_prob(x), rtol=1e-12)
    np.testing.assert_allclose(density.mean(), expected.mean(), rtol=1e-14)
    np.testing.assert_allclose(density.stddev(), expected.stddev(), rtol=1e-14)
    other = tfb.Shift(loc)(tfb.Scale(scale))
    for name in ("forward", "inverse"):
        np.testing.assert_allclose(getattr(found, name)(x), getattr(other, name)(x), rtol=1e-14)
    assert density.trainable_variables == ()
    assert len(density.variables) == 2


def _fixed(values):
    return tf.Variable(values, trainable=False)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (lambda: ([0.0], _fixed([1.0])), TypeError, "`loc` must be a tf.Variable"),
        (lambda: (_fixed([0.0]), 1.0), TypeError, "`scale` must be a tf.Variable"),
        (lambda: (tf.Variable([0.0]), _fixed([1.0])), ValueError, "`loc` must be .* not trainable"),
        (lambda: (_fixed([0.0, 1.0]), _fixed([1.0])), ValueError, "one shape and dtype. Received"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        gx.bijectors.Standardize(*arguments())
