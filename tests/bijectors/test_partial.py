"""A bijector for some of the channels."""

from __future__ import annotations

import numpy as np
import registry
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfb = tfp.bijectors


def test_leaves_the_other_channels_and_sums_over_the_event():
    partial = gx.bijectors.Partial(tfb.Scale(tf.constant([2.0, 3.0])), 2)
    x = registry.points((4, 5, 3), "float32")
    y = partial.forward(x)
    np.testing.assert_allclose(y, x * [2.0, 3.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(partial.inverse(tf.identity(y)), x, rtol=1e-5)
    np.testing.assert_allclose(
        np.broadcast_to(partial.forward_log_det_jacobian(x, 1), [4, 5]), np.log(6.0), rtol=1e-6
    )


def test_initialises_the_norms_inside():
    norm = gx.bijectors.ActNorm(tf.Variable(tf.zeros([2])), tf.Variable(tf.zeros([2])))
    flow = tfp.distributions.TransformedDistribution(
        tfp.distributions.Sample(tfp.distributions.Normal(0.0, 1.0), [3]),
        gx.bijectors.Compose([tfb.Shift(1.0), gx.bijectors.Partial(norm, 2)]),
    )
    x = 5.0 + 3.0 * registry.points((500, 3), "float32")
    gx.flows.initialize(flow, x)
    z = flow.bijector.inverse(tf.identity(x)).numpy()
    np.testing.assert_allclose(z[:, :2].mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(z[:, :2].std(axis=0), 1.0, rtol=1e-4)
    np.testing.assert_allclose(z[:, 2], x[:, 2] - 1.0, rtol=1e-6)


def test_delivers_contexts():
    inner = registry.affine("float32", conditional_event_shape=registry.CONTEXT)
    partial = gx.bijectors.Partial(inner, registry.D)
    registry.perturb(partial)
    assert partial.takes("conditional_input")
    assert partial.conditional_event_shape == registry.CONTEXT
    x, c = registry.points((6, registry.D + 2), "float32"), registry.points((6, 3), "float32")
    composed = gx.bijectors.Compose([partial])
    y = composed.forward(x, conditional_input=c)
    np.testing.assert_allclose(
        y[:, : registry.D], inner.forward(x[:, : registry.D], conditional_input=c), rtol=1e-6
    )
    wide = partial.forward(x[0], conditional_input=c)
    assert wide.shape == [6, registry.D + 2]
