"""The cache that carries log-determinants, and the private names of TFP that it leans on."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp
from counting import count_network_calls

import tfp_genext as gx

tfb = tfp.bijectors


def test_tfp_keeps_the_private_names_we_lean_on():
    bijector = registry.affine("float32")
    x = tf.ones([2, registry.D])
    assert bijector._cache.forward_attributes(x) == {}
    assert bijector._cache.inverse_attributes(x) == {}
    y = bijector.forward(x)
    assert set(bijector._cache.forward_attributes(x)) == {"ildj"}
    assert bijector._cache.inverse_attributes(y) is bijector._cache.forward_attributes(x)
    assert list(bijector._flatten(predicate=lambda leaf: leaf is bijector.parameters["mask"]))


def test_no_log_determinant_outlives_its_output():
    bijector = registry.affine("float32")
    registry.perturb(bijector)
    x = registry.points((4, registry.D), "float32")
    bijector.forward(x)
    before = bijector.forward_log_det_jacobian(tf.identity(x)).numpy()
    registry.perturb(bijector, seed=1)
    gc.collect()
    with tf.GradientTape() as tape:
        y = bijector.forward(x)
        log_det = bijector.forward_log_det_jacobian(x)
        total = tf.reduce_sum(log_det)
    after = bijector.forward_log_det_jacobian(tf.identity(x)).numpy()
    np.testing.assert_array_equal(log_det, after)
    assert np.abs(after - before).max() > 1e-3
    gradients = tape.gradient(total, bijector.trainable_variables)
    assert any(g is not None and np.abs(g).max() > 0.0 for g in gradients)
    del y


def test_the_cache_lets_go_of_everything():
    bijector = registry.affine("float32")
    storage = type(bijector)._cache.storage
    gc.collect()
    before = len(storage)
    for _ in range(20):
        x = registry.points((4, registry.D), "float32")
        bijector.inverse(bijector.forward(x))
        bijector.inverse_log_det_jacobian(tf.identity(x))
        del x
    gc.collect()
    assert len(storage) <= before


@pytest.mark.parametrize("conditional", [False, True])
def test_asking_again_costs_nothing(conditional):
    context = {"conditional_event_shape": (3,)} if conditional else {}
    bijector = registry.affine("float32", **context)
    kwargs = {"conditional_input": tf.ones([4, 3])} if conditional else {}
    x = registry.points((4, registry.D), "float32")
    with count_network_calls() as counter:
        y = bijector.forward(x, **kwargs)
        bijector.forward_log_det_jacobian(x, **kwargs)
        bijector.inverse(y, **kwargs)
        bijector.inverse_log_det_jacobian(y, **kwargs)
    assert counter.total == 1


def test_a_bijector_that_takes_no_condition_says_so():
    norm = registry.act_norm("float32")
    assert not norm.takes("conditional_input") and norm.conditional_event_shape is None


@pytest.mark.parametrize("case", registry.BIJECTORS, ids=lambda case: case.name)
def test_an_unknown_keyword_is_refused_in_each_method(case):
    bijector = case.build("float32")
    given = {"conditional_inptu": tf.ones([2, 3])}
    x, y = tf.ones([2, *case.event]), tf.ones([2, *case.after])
    for method, value in (
        (bijector.forward, x),
        (bijector.inverse, y),
        (bijector.forward_log_det_jacobian, x),
        (bijector.inverse_log_det_jacobian, y),
    ):
        with pytest.raises((TypeError, ValueError), match="conditional_inptu") as error:
            method(value, **given)
        if case.context is not None:
            assert "did you mean 'conditional_input'?" in str(error.value)


@pytest.mark.parametrize(
    "transformer", [gx.transformers.Spline(num_bins=4), gx.transformers.DeepSigmoidal(num_units=2)]
)
def test_transformers_refuse_unknown_keywords(transformer):
    bijector = transformer.bijector([tf.zeros([2])] * transformer.params_size)
    with pytest.raises(ValueError, match="`context` must not be given.*takes no keyword arguments"):
        bijector.forward(tf.zeros([2]), context=1.0)
