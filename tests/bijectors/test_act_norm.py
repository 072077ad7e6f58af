"""Data-dependent initialisation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx
from tfp_genext.bijectors import conditioning

tfb = tfp.bijectors


def norm():
    return gx.bijectors.ActNorm(
        tf.Variable(tf.zeros([3])),
        tf.Variable(tf.zeros([3])),
        initialized=tf.Variable(False, trainable=False),
    )


@pytest.fixture
def x():
    return 4.0 + 3.0 * registry.points((500, 3), "float32")


def _assert_standard(z):
    np.testing.assert_allclose(np.mean(z, axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(np.std(z, axis=0), 1.0, rtol=1e-4)


def test_inverse_and_forward_come_out_standardised(x):
    bijector = norm()
    assert not bijector.initialized
    bijector.initialize(x)
    assert bijector.initialized
    _assert_standard(bijector.inverse(x))
    bijector.initialize(x, forward=True)
    _assert_standard(bijector.forward(tf.identity(x)))


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, -3.3, 1234.567])
def test_a_constant_column_keeps_scale_one_whatever_rounding_says(value):
    bijector = norm()
    x = registry.points((1000, 3), "float32").numpy()
    x[:, 1] = value
    bijector.initialize(tf.constant(x))
    assert bijector.log_scale.numpy()[1] == 0.0
    np.testing.assert_allclose(bijector.shift.numpy()[1], value, rtol=1e-5, atol=1e-7)


def test_a_constant_column_keeps_scale_one():
    bijector = norm()
    bijector.initialize(tf.constant([[1.0, 5.0, 2.0], [3.0, 5.0, 2.0]]))
    np.testing.assert_array_equal(bijector.log_scale.numpy()[1:], 0.0)
    assert np.isfinite(bijector.inverse([[1.0, 5.0, 2.0]])).all()


def test_calls_never_assign(x):
    bijector = norm()
    bijector.inverse(x)
    bijector.forward(x)
    assert not bijector.initialized
    np.testing.assert_array_equal(bijector.shift, 0.0)


def test_the_pass_meets_every_norm_of_a_nested_bijector(x):
    """Each norm standardises what reaches it, given the ones before."""
    members = [norm(), norm(), norm()]
    scale = tfb.Scale([0.5, 2.0, 8.0])
    nested = gx.bijectors.Compose(
        [members[0], scale, tfb.Chain([members[1], scale]), tfb.Invert(members[2])]
    )
    assert len(conditioning.uninitialized(nested)) == 3
    z = conditioning.initialize(nested, x)
    assert conditioning.uninitialized(nested) == []
    _assert_standard(members[0].inverse(x))
    _assert_standard(members[1].inverse(scale.inverse(members[0].inverse(x))))
    _assert_standard(z)
    np.testing.assert_allclose(nested.inverse(tf.identity(x)), z, atol=1e-5)


def test_initialize_a_conditional_flow_keeps_what_the_context_gives(x):
    flow = gx.flows.real_nvp(
        [3], num_layers=2, hidden_units=[8], act_norm=True, conditional_event_shape=[2]
    )
    registry.perturb(flow)
    c = registry.points((500, 2), "float32", seed=8)
    gx.flows.initialize(flow, x, conditional_input=c)
    outermost = flow.bijector.bijectors[0]
    _assert_standard(outermost.inverse(x))
    assert conditioning.uninitialized(flow.bijector) == []


def test_fit_initialises_once_and_from_its_first_batch(x):
    flow = gx.flows.real_nvp([3], num_layers=2, hidden_units=[8], act_norm=True)
    model = gx.models.DensityModel(flow)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    model.fit(x, batch_size=500, verbose=0)
    outermost = flow.bijector.bijectors[0]
    _assert_standard(outermost.inverse(x))
    outermost.shift.assign(tf.ones([3]))
    model.fit(x, batch_size=500, verbose=0)
    np.testing.assert_array_equal(outermost.shift, 1.0)


def test_weights_carry_the_initialisation(x, tmp_path):
    build = lambda: gx.flows.real_nvp([3], num_layers=2, hidden_units=[8], act_norm=True)  # noqa: E731
    first, second = build(), build()
    gx.flows.initialize(first, x)
    gx.models.DensityModel(first).save_weights(tmp_path / "norm.weights.h5")
    gx.models.DensityModel(second).load_weights(tmp_path / "norm.weights.h5")
    assert conditioning.uninitialized(second.bijector) == []


def test_norms_of_a_base_flow_and_behind_a_bound_context_are_reached(x):
    inner = gx.flows.real_nvp([3], num_layers=2, hidden_units=[8], act_norm=True)
    outer = tfb.Shift(1.0)(inner)
    gx.flows.initialize(outer, x)
    assert conditioning.uninitialized(outer) == []
    _assert_standard(inner.bijector.bijectors[0].inverse(x - 1.0))
    conditional = gx.flows.real_nvp(
        [3], num_layers=2, hidden_units=[8], act_norm=True, conditional_event_shape=[2]
    )
    bound = gx.flows.condition(conditional, tf.ones([2]))
    gx.flows.initialize(bound, x)
    assert conditioning.uninitialized(bound) == []


def test_fit_initialises_from_rows_spread_over_the_training_part_alone():
    flow = gx.flows.real_nvp([3], num_layers=1, hidden_units=[8], act_norm=True)
    model = gx.models.DensityModel(flow)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    x = np.repeat(np.linspace(-1.0, 1.0, 63, dtype="float32")[:, None], 3, axis=1)
    data = np.concatenate([x, np.full([7, 3], 1e3, "float32")])
    model.fit(data, validation_split=0.1, verbose=0)
    np.testing.assert_allclose(flow.bijector.bijectors[0].shift, 0.0, atol=0.02)


def test_refuses_bad_variables_events_and_data(x):
    with pytest.raises(TypeError, match="`shift` must be a tf.Variable. Received"):
        gx.bijectors.ActNorm(tf.zeros([3]), tf.Variable(tf.zeros([3])))
    with pytest.raises(ValueError, match=r"must be of one shape \[D\]. Received"):
        gx.bijectors.ActNorm(tf.Variable(tf.zeros([3])), tf.Variable(tf.zeros([2])))
    with pytest.raises(ValueError, match="event of `act_norm` must be of size 3. Received"):
        norm().forward(tf.zeros([4, 1]))
    flow = gx.flows.real_nvp([3], num_layers=2, hidden_units=[8], act_norm=True)
    for bad, text in (
        (x[:, :2], r"`x` must be of shape \[N, 3\].*Received: shape \[500, 2\]"),
        (x[:0], r"`x` must hold at least one row"),
        (x * np.nan, r"`x` must be finite. Received: 1500 NaN or infinite of 1500"),
    ):
        with pytest.raises(ValueError, match=text):
            gx.flows.initialize(flow, bad)
