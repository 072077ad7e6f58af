"""The joint between the two tracking worlds."""

from __future__ import annotations

import copy

import keras
import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx
from tfp_genext.core import tracking

tfb = tfp.bijectors
tfd = tfp.distributions


def test_a_keras_variable_made_on_a_tf_variable_shares_its_storage():
    raw = tf.Variable([1.0, 2.0])
    (shared,) = tracking.loose_variables(tfd.Deterministic(raw))
    shared.assign([3.0, 4.0])
    np.testing.assert_array_equal(raw, [3.0, 4.0])
    assert shared._value is raw


def _network():
    return keras.Sequential([keras.layers.Dense(4), keras.layers.BatchNormalization()])


def test_late_variables_are_seen():
    network = _network()
    adapter = tracking.KerasNetwork(network)
    assert adapter.variables == ()
    adapter(tf.ones([3, 2]))
    assert len(adapter.trainable_variables) == 4 and len(adapter.variables) == 6
    assert {id(v) for v in adapter.variables} == {id(v._value) for v in network.variables}


def test_freezing_and_thawing_are_followed_from_both_sides():
    flow = gx.flows.real_nvp([4], num_layers=2, hidden_units=[8], act_norm=True)
    model = gx.models.DensityModel(flow)
    network = tracking.networks(flow)[0]
    everything = len(flow.trainable_variables)
    network.trainable = False
    held = len(network.variables)
    assert len(flow.trainable_variables) == len(model.trainable_variables) == everything - held
    network.trainable = True
    assert len(flow.trainable_variables) == len(model.trainable_variables) == everything
    model.trainable = False
    assert flow.trainable_variables == () and model.trainable_variables == []
    model.trainable = True
    assert len(flow.trainable_variables) == len(model.trainable_variables) == everything


def test_a_frozen_network_stays_put_in_fit():
    flow = gx.flows.real_nvp([4], num_layers=2, hidden_units=[8])
    registry.perturb(flow)
    frozen, free = tracking.networks(flow)
    frozen.trainable = False
    before = [v.numpy() for v in frozen.variables], [v.numpy() for v in free.variables]
    model = gx.models.DensityModel(flow)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    model.fit(registry.points((64, 4), "float32"), verbose=0)
    for old, variable in zip(before[0], frozen.variables, strict=True):
        np.testing.assert_array_equal(variable, old)
    for old, variable in zip(before[1], free.variables, strict=True):
        assert np.abs(variable.numpy() - old).max() > 0.0


def test_deepcopy_keeps_network_and_adapter_together():
    bijector = registry.affine("float32")
    copied = copy.deepcopy(bijector)
    (network,) = tracking.networks(copied)
    assert network is not tracking.networks(bijector)[0]
    assert {id(v) for v in copied.variables} == {id(v._value) for v in network.variables}
    assert copied.parameters["shift_and_log_scale_fn"] is network


def test_a_shared_network_counts_once():
    network = registry.mlp(2, (2, 2), "float32")
    flow = gx.bijectors.Compose(
        [
            gx.bijectors.AffineCoupling(num_masked, shift_and_log_scale_fn=network)
            for num_masked in (2, -2)
        ]
    )(tfd.Sample(tfd.Normal(0.0, 1.0), [4]))
    model = gx.models.DensityModel(flow)
    assert len(flow.trainable_variables) == len(model.trainable_variables) == 6
    assert len(tracking.networks(flow)) == 1


def test_loose_variables_leave_out_what_layers_hold():
    flow = gx.flows.nice([4], num_layers=2, hidden_units=[8])
    (scale,) = tracking.loose_variables(flow)
    assert scale.shape == (4,) and len(flow.trainable_variables) == 2 * 4 + 1


def test_any_leading_dimensions_and_contexts_broadcast():
    network = registry.mlp(2, (3,), "float32", conditional_event_shape=(4,))
    registry.perturb(tracking.track(network))
    adapter = tracking.track(network)
    x, c = registry.points((6, 1, 2), "float32"), registry.points((5, 4), "float32")
    output = adapter(x, conditional_input=c)
    assert output.shape == (6, 5, 3)
    expected = [
        [network(x[i], conditional_input=c[j][None])[0] for j in range(5)] for i in range(6)
    ]
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 2]), tf.TensorSpec([None, 4])])
    def unknown(x, c):
        y = adapter(x, conditional_input=c)
        assert y.shape.as_list() == [None, None, 3]
        return y

    np.testing.assert_allclose(unknown(x, c), expected, rtol=1e-5, atol=1e-6)
    assert adapter(x[0, 0], conditional_input=c[0]).shape == (3,)
    assert adapter(x[:0, 0], conditional_input=c[:1]).shape == (0, 3)


def test_outputs_keep_their_structure_and_the_dtype_of_the_input():
    inputs = keras.Input([2])
    network = keras.Model(inputs, [keras.layers.Dense(3)(inputs), keras.layers.Dense(1)(inputs)])
    a, b = tracking.KerasNetwork(network)(tf.ones([2, 5, 2], tf.float64))
    assert a.shape == (2, 5, 3) and b.shape == (2, 5, 1)
    assert a.dtype == b.dtype == tf.float64


def test_mixed_precision_stays_inside_the_network():
    keras.config.set_dtype_policy("mixed_float16")
    flow = gx.flows.real_nvp([4], num_layers=2, hidden_units=[8])
    assert flow.dtype == tf.float32
    x = registry.points((5, 4), "float32")
    assert flow.log_prob(x).dtype == tf.float32
    assert {v.dtype for v in flow.trainable_variables} == {tf.float32}


def test_checkpoint_keys_go_by_position(tmp_path):
    """Layer names with counters, `dense` and `dense_7`, must not decide what is restored."""
    first = tracking.KerasNetwork(registry.mlp(2, (3,), "float32"))
    registry.perturb(first)
    path = tf.train.Checkpoint(network=first).save(str(tmp_path / "network"))
    for _ in range(3):
        keras.layers.Dense(1)
    second = tracking.KerasNetwork(registry.mlp(2, (3,), "float32"))
    tf.train.Checkpoint(network=second).restore(path).assert_consumed()
    for a, b in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_saved_model_of_a_module_that_holds_a_flow_runs_in_the_cpp_loader(tmp_path):
    """Users save modules of their own too, not only through `serving.export`."""
    import cpp_loader

    class Scorer(tf.Module):
        def __init__(self):
            super().__init__()
            self.flow = gx.flows.real_nvp([4], num_layers=2, hidden_units=[8])

        @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
        def score(self, x):
            return {"score": self.flow.log_prob(x)}

    scorer = Scorer()
    registry.perturb(scorer)
    tf.saved_model.save(scorer, str(tmp_path / "1"), signatures={"score": scorer.score})
    x = registry.points((5, 4), "float32").numpy()
    answer = cpp_loader.serve(tmp_path / "1", {"a": ("score", {"x": x})})
    np.testing.assert_allclose(answer["a"]["score"], scorer.flow.log_prob(x), rtol=1e-5)


@pytest.mark.parametrize("name", ["conditional_input", "label", "other"])
def test_who_takes_a_keyword(name):
    class Labelled(keras.layers.Layer):
        def call(self, x, label=None):
            return x

    assert tracking.takes(Labelled(), name) == (name == "label")
    assert tracking.takes(tracking.track(Labelled()), name) == (name == "label")
    assert tracking.takes(lambda x, n, **conditions: x, name)
    assert tracking.takes(lambda x, n, label: x, name) == (name == "label")
    assert not tracking.takes(registry.mlp(2, (3,), "float32"), name)
