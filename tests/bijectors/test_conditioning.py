"""Binding a context, and asking who takes one."""

from __future__ import annotations

import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx
from tfp_genext.bijectors import conditioning

tfb = tfp.bijectors

CONDITIONAL = {"conditional_event_shape": (3,)}


@pytest.fixture
def flow():
    flow = gx.flows.real_nvp([5], num_layers=3, hidden_units=[8], **CONDITIONAL)
    registry.perturb(flow)
    return flow


def test_a_bound_flow_is_an_ordinary_batch_of_distributions(flow):
    c = registry.points((7, 3), "float32")
    bound = gx.flows.condition(flow, c)
    assert bound.batch_shape == [7] and bound.event_shape == [5]
    samples = bound.sample(10, seed=[1, 2])
    assert samples.shape == [10, 7, 5]
    log_prob = bound.log_prob(tf.identity(samples))
    assert log_prob.shape == [10, 7]
    for i in range(7):
        kwargs = {"bijector_kwargs": {"conditional_input": tf.broadcast_to(c[i], [10, 3])}}
        np.testing.assert_allclose(
            log_prob[:, i], flow.log_prob(samples[:, i], **kwargs), rtol=1e-5, atol=1e-5
        )


def test_a_bound_flow_slices(flow):
    c = registry.points((7, 3), "float32")
    bound, x = gx.flows.condition(flow, c), registry.points((7, 5), "float32")
    np.testing.assert_allclose(bound[2:4].log_prob(x[2:4]), bound.log_prob(x)[2:4], rtol=1e-5)
    assert bound[0].batch_shape == []


def test_two_leading_dimensions_of_context(flow):
    bound = gx.flows.condition(flow, registry.points((2, 4, 3), "float32"))
    assert bound.batch_shape == [2, 4] and bound.sample(3, seed=[1, 2]).shape == [3, 2, 4, 5]


def test_gradients_reach_the_context_and_a_variable_is_followed(flow):
    c = tf.Variable(registry.points((7, 3), "float32"))
    bound = gx.flows.condition(flow, c)
    assert any(v is c for v in bound.trainable_variables)
    x = registry.points((7, 5), "float32")
    with tf.GradientTape() as tape:
        log_prob = bound.log_prob(x)
    assert np.abs(tape.gradient(log_prob, c)).max() > 0.0
    before = log_prob.numpy()
    c.assign_add(tf.ones_like(c))
    assert np.abs(bound.log_prob(tf.identity(x)) - before).max() > 1e-3


def test_a_bound_bijector_takes_no_more_arguments(flow):
    bound = gx.bijectors.Conditioned(flow.bijector, tf.ones([3]))
    assert not bound.takes("conditional_input") and bound.conditional_event_shape is None
    with pytest.raises(ValueError, match="takes no keyword arguments.*Received: "):
        bound.forward(tf.zeros([5]), conditional_input=tf.ones([3]))


def test_refuses_what_cannot_be_bound(flow):
    with pytest.raises(ValueError, match="`bijector` must take `conditional_input`. Received"):
        gx.bijectors.Conditioned(tfb.Exp(), tf.ones([3]))
    with pytest.raises(
        ValueError,
        match=r"`conditional_input` must be of shape \[\.\.\., 3\]. Received: shape \[7, 4\]",
    ):
        gx.flows.condition(flow, tf.ones([7, 4]))
    with pytest.raises(TypeError, match="`flow` must be a transformed distribution. Received"):
        gx.flows.condition(tfp.distributions.Normal(0.0, 1.0), tf.ones([3]))
    with pytest.raises(ValueError, match="`conditional_input` must be None: no network.*Received"):
        gx.flows.condition(gx.flows.maf([2], num_layers=1, hidden_units=[4]), tf.ones([3]))


def test_who_takes_what():
    def with_c(x0, n, *, c):
        del c
        return tf.zeros([n]), None

    plain, conditional = registry.affine("float32"), registry.affine("float32", **CONDITIONAL)
    assert not conditioning.takes(plain, "conditional_input")
    assert conditioning.takes(conditional, "conditional_input")
    assert not conditioning.takes(conditional, "other")
    assert conditioning.takes(tfb.Invert(conditional), "conditional_input")
    assert conditioning.takes(tfb.Chain([plain, conditional]), "conditional_input")
    assert not conditioning.takes(tfb.Permute([1, 0]), "conditional_input")
    assert conditioning.takes(tfb.RealNVP(1, shift_and_log_scale_fn=with_c), "c")
    assert not conditioning.takes(tfb.RealNVP(1, shift_and_log_scale_fn=with_c), "d")
    assert conditioning.conditional_event_shape(tfb.Chain([plain, conditional])) == (3,)
    assert conditioning.conditional_event_shape(tfb.Invert(plain)) is None


def test_a_context_may_be_a_number():
    flow = gx.flows.maf([3], num_layers=1, hidden_units=[8], conditional_event_shape=[])
    registry.perturb(flow)
    c = tf.range(4, dtype=tf.float32)
    bound = gx.flows.condition(flow, c)
    assert bound.batch_shape == [4]
    x = bound.sample(seed=[1, 2])
    expected = flow.log_prob(tf.identity(x), bijector_kwargs={"conditional_input": c})
    np.testing.assert_allclose(bound.log_prob(tf.identity(x)), expected, rtol=1e-6)
    assert np.ptp(flow.log_prob(tf.zeros([4, 3]), bijector_kwargs={"conditional_input": c})) > 0.0
