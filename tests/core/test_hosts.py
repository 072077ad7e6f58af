"""The private names of the hosts do what the package expects of them, in the versions installed."""

from __future__ import annotations

import gc
import importlib.metadata
import inspect
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_genext.core import hosts

tfb, tfd = tfp.bijectors, tfp.distributions
VERSIONS = {
    name: importlib.metadata.version(name)
    for name in ("tensorflow", "tensorflow-probability", "keras")
}


@pytest.fixture(autouse=True)
def _name_the_versions(record_property):
    for name, version in VERSIONS.items():
        record_property(name, version)


def _dense() -> keras.layers.Dense:
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    return layer


def test_every_function_here_has_a_test():
    functions = inspect.getmembers(hosts, inspect.isfunction)
    names = [name for name, f in functions if f.__module__ == hosts.__name__]
    tests = "\n".join(name for name in globals() if name.startswith("test_"))
    assert len(names) > 10
    for name in [*names, "TrackedByPosition"]:
        assert name.lower() in tests.lower(), f"{name} has no test ({VERSIONS})"


def test_tfp_makes_instances_of_the_private_classes():
    chain, invert = tfb.Chain([tfb.Exp()]), tfb.Invert(tfb.Exp())
    flow = tfd.TransformedDistribution(tfd.Normal(tf.zeros([2]), 1.0), tfb.Exp())
    assert isinstance(chain, hosts.Chain) and isinstance(chain, hosts.Composition)
    assert isinstance(invert, hosts.Invert), VERSIONS
    assert isinstance(flow, hosts.TransformedDistribution), VERSIONS
    assert not isinstance(tfb.JointMap([tfb.Exp()]), hosts.Chain)
    properties = tfb.Exp.parameter_properties(dtype=tf.float32)
    assert isinstance(properties, dict)
    assert isinstance(tfd.Normal.parameter_properties()["loc"], hosts.ParameterProperties)
    assert issubclass(hosts.BatchedComponentProperties, object) and hosts.NO_EVENT_NDIMS


def test_leaves():
    inner, outer = tf.Module(), tf.Module()
    inner.held, outer.inner = [keras.Variable(1.0)], inner
    assert list(hosts.leaves(outer, keras.Variable)) == inner.held, VERSIONS


def test_set_trainable():
    variable = tf.Variable(1.0)
    hosts.set_trainable(variable, False)
    assert not variable.trainable
    module = tf.Module()
    module.held = variable
    assert module.trainable_variables == (), VERSIONS


def test_trackedbyposition(tmp_path):
    class Held(hosts.TrackedByPosition):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.layer = self.untracked(tf.Module())
            self.layer.inside = tf.Variable(value)

        def tracked_variables(self):
            return [self.layer.inside]

    path = tf.train.Checkpoint(held=Held(3.0)).write(str(tmp_path / "c"))
    names = [name for name, _ in tf.train.list_variables(path) if "VARIABLE_VALUE" in name]
    assert names == ["held/0/.ATTRIBUTES/VARIABLE_VALUE"], VERSIONS
    back = Held(0.0)
    tf.train.Checkpoint(held=back).read(path).assert_consumed()
    assert float(back.layer.inside) == 3.0


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_forward_attributes_and_inverse_attributes(direction):
    """A log-determinant that is put there is what TFP gives to whoever asks next."""

    class Counted(tfb.Bijector):
        def __init__(self):
            super().__init__(forward_min_event_ndims=0, parameters={})

        def _forward(self, x):
            hosts.forward_attributes(self, x, {})["ildj"] = tf.constant(-5.0)
            return x + 1.0

        def _inverse(self, y):
            hosts.inverse_attributes(self, y, {})["ildj"] = tf.constant(5.0)
            return y - 1.0

    bijector, x = Counted(), tf.constant(2.0)
    y = getattr(bijector, direction)(x)
    log_det = getattr(bijector, f"{direction}_log_det_jacobian")(x, 0)
    assert float(log_det) == 5.0, VERSIONS
    assert float(y) == (3.0 if direction == "forward" else 1.0)


def test_forward_method():
    assert "x" in inspect.signature(hosts.forward_method(tfb.Exp())).parameters, VERSIONS


def test_tf_variable():
    variable = keras.Variable(np.ones([2], "float32"))
    assert isinstance(hosts.tf_variable(variable), tf.Variable)
    variable.assign([3.0, 4.0])
    np.testing.assert_array_equal(hosts.tf_variable(variable), [3.0, 4.0])


def test_layers():
    inner = keras.Sequential([keras.layers.Dense(1)])
    outer = keras.Sequential([inner, keras.layers.Dense(2)])
    outer.build((None, 3))
    assert hosts.layers(outer)[0] is outer
    assert {id(inner), id(inner.layers[0]), id(outer.layers[1])} <= set(
        map(id, hosts.layers(outer))
    )


def test_seed_states():
    dropout = keras.layers.Dropout(0.5)
    (state,) = hosts.seed_states(dropout)
    before = state.numpy().tolist()
    dropout(tf.ones([4, 4]), training=True)
    assert state.numpy().tolist() != before
    assert hosts.seed_states(_dense()) == [], VERSIONS


def test_replace_variables():
    class Holder(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.kept = [keras.Variable(1.0)]

    holder = Holder()
    holder.build((None, 1))
    other = keras.Variable(2.0)
    hosts.replace_variables(holder, holder.kept, [other])
    assert [id(v) for v in holder.variables] == [id(other)], VERSIONS


def test_trained_variables_and_num_gradients():
    layer, optimizer = _dense(), keras.optimizers.Adam()
    optimizer.build(layer.trainable_variables)
    assert list(map(id, hosts.trained_variables(optimizer))) == [id(v) for v in layer.variables]
    accumulating = keras.optimizers.SGD(gradient_accumulation_steps=2)
    accumulating.build(layer.trainable_variables)
    for count in (1, 2, 3):
        accumulating.apply([tf.ones_like(v) for v in layer.trainable_variables])
        assert int(hosts.num_gradients(accumulating)) == count, VERSIONS


def _model() -> keras.Model:
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    return model


def test_loss_metric():
    model = _model()
    loss = model.fit(tf.ones([4, 2]), tf.ones([4, 1]), verbose=0).history["loss"][0]
    np.testing.assert_allclose(hosts.loss_metric(model).result(), loss, rtol=1e-6)


def test_weights_file_and_weights_archive(tmp_path):
    seen = []

    class Looking(keras.layers.Dense):
        def load_own_variables(self, store):
            seen.extend(hosts.weights_file(store)["layers"])
            seen.append(hosts.weights_archive(store) is None)
            super().load_own_variables(store)

    model = keras.Sequential([keras.Input([2]), Looking(1, name="looking")])
    model.save_weights(tmp_path / "model.weights.h5")
    model.load_weights(tmp_path / "model.weights.h5")
    assert seen == ["looking", True], VERSIONS
    model.save(tmp_path / "model.keras")
    model.load_weights(tmp_path / "model.keras")
    assert seen[2:] == ["looking", False], VERSIONS


def test_set_initial_epoch():
    seen = []

    class Later(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            hosts.set_initial_epoch(self.model, 2)

        def on_epoch_begin(self, epoch, logs=None):
            seen.append(epoch)

    _model().fit(tf.ones([4, 2]), tf.ones([4, 1]), epochs=4, verbose=0, callbacks=[Later()])
    assert seen == [2, 3], VERSIONS


def test_release_bijectors_of_a_graph_and_of_what_is_inside():
    """TFP's cache keeps graphs alive; if it no longer does, `release_bijectors` can go."""

    def graph_of(function):
        traced = tf.function(function, autograph=False).get_concrete_function()
        return weakref.ref(traced.graph)

    def looped():
        exp = tfb.Exp()
        return tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, exp(x)), (0, tf.ones([2])))

    def released():
        hosts.release_bijectors()
        return tfb.Exp()(tf.ones([2])), looped()

    kept, freed = graph_of(lambda: tfb.Exp()(tf.ones([2]))), graph_of(released)
    gc.collect()
    assert kept() is not None and freed() is None, VERSIONS


def test_release_bijectors_leaves_eager_entries_and_those_of_other_graphs():
    exp, x = tfb.Exp(), tf.constant([1.0, 2.0])
    y = exp.forward(x)

    @tf.function(autograph=False)
    def inside():
        z = tf.ones([2])
        w = exp.forward(z)

        @tf.function(autograph=False)
        def innermost():
            hosts.release_bijectors()
            return tfb.Tanh()(w)

        innermost()
        assert exp.inverse(w) is z
        return w

    inside()
    assert exp.inverse(y) is x, VERSIONS


def test_distributed_spec_and_spec_of_one_replica():
    from keras.src.backend.tensorflow.trainer import TFEpochIterator

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    x = np.ones([8, 3], "float32")
    iterator = TFEpochIterator(x=x, batch_size=4, distribute_strategy=strategy)
    (spec,) = tf.nest.flatten(hosts.distributed_spec(iterator))
    one = hosts.spec_of_one_replica(spec)
    assert isinstance(one, tf.TensorSpec) and one.shape[-1] == 3, VERSIONS
    assert hosts.spec_of_one_replica(one) is one
