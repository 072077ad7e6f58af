"""Space to channels and back."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions


@pytest.mark.parametrize("block", [2, 3])
@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_equals_loops_and_comes_back(block, batch):
    shape = (*batch, 2 * block, 3 * block, 2)
    x = np.random.default_rng(0).normal(size=shape)
    expected = np.zeros((*batch, 2, 3, 2 * block**2))
    for i in range(2 * block):
        for j in range(3 * block):
            start = 2 * ((i % block) * block + j % block)
            expected[..., i // block, j // block, start : start + 2] = x[..., i, j, :]
    squeeze = gx.bijectors.Squeeze(block)
    y = squeeze.forward(x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(squeeze.inverse(tf.identity(y)), x)
    assert squeeze.forward_event_shape(shape[-3:]) == expected.shape[-3:]
    assert squeeze.inverse_event_shape(expected.shape[-3:]) == shape[-3:]
    np.testing.assert_array_equal(
        squeeze.forward_event_shape_tensor(shape[-3:]), expected.shape[-3:]
    )
    np.testing.assert_array_equal(
        squeeze.inverse_event_shape_tensor(expected.shape[-3:]), shape[-3:]
    )


def test_changes_the_event_shape_of_a_distribution_and_no_density():
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [4, 4, 1])
    squeezed = tfd.TransformedDistribution(base, gx.bijectors.Squeeze())
    assert squeezed.event_shape == [2, 2, 4]
    x = squeezed.sample(3, seed=[1, 2])
    back = gx.bijectors.Squeeze().inverse(tf.identity(x))
    np.testing.assert_allclose(squeezed.log_prob(x), base.log_prob(back), rtol=1e-6)


def test_works_with_an_unknown_number_of_images():
    squeeze = tfb.Invert(tfb.Invert(gx.bijectors.Squeeze()))
    traced = tf.function(
        squeeze.forward, input_signature=[tf.TensorSpec([None, 4, 4, 1])], jit_compile=True
    )
    assert traced(tf.zeros([7, 4, 4, 1])).shape == [7, 2, 2, 4]
