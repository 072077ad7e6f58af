"""`gx.saving.load_model`: what it promises, and that it loads what was saved."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading

import h5py
import keras
import numpy as np
import pytest
import registry
import registry_models
import saved_cases
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx
from tfp_genext.core import checks
from tfp_genext.saving import classes

tfd = tfp.distributions


def flow():
    return gx.models.DensityModel(gx.flows.real_nvp([4], num_layers=2, hidden_units=[8]))


@pytest.mark.parametrize("name", saved_cases.CASES)
def test_models_load_with_their_optimizers(name, tmp_path):
    model = saved_cases.stepped(saved_cases.CASES[name]())
    model.save(tmp_path / "model.keras")
    loaded = gx.saving.load_model(tmp_path / "model.keras")
    found, expected = saved_cases.state(loaded), saved_cases.state(model)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.parametrize("case", registry_models.MODELS, ids=lambda case: case.name)
def test_models_of_all_kinds_load(case, tmp_path):
    model = case.compiled()
    model.save(tmp_path / "model.keras")
    loaded = gx.saving.load_model(tmp_path / "model.keras")
    for found, expected in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_a_model_loads_under_a_strategy_and_in_a_thread(tmp_path):
    path = tmp_path / "model.keras"
    flow().save(path)
    found = []
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        found.append(gx.saving.load_model(path))
    thread = threading.Thread(target=lambda: found.append(gx.saving.load_model(path)))
    thread.start()
    thread.join()
    one, other = ([v.numpy() for v in model.variables] for model in found)
    assert all(map(np.array_equal, one, other)) and len(one) == len(other)


def test_a_functional_network_with_operations_of_keras_loads(tmp_path):
    head = gx.distributions.IndependentNormal([2])
    inputs = keras.Input([3])
    hidden = keras.ops.tanh(2.0 * keras.layers.Dense(4)(inputs) + 1.0)
    seeded = keras.initializers.GlorotUniform(seed=keras.random.SeedGenerator(1))
    outputs = keras.layers.Dense(head.params_size, kernel_initializer=seeded)(hidden[:, :3])
    network = gx.distributions.Conditional(keras.Model(inputs, outputs), head)
    model = gx.models.DensityModel(network)
    model.save(tmp_path / "model.keras")
    loaded = gx.saving.load_model(tmp_path / "model.keras")
    c, x = registry.points((4, 3), "float32"), registry.points((4, 2), "float32")
    np.testing.assert_array_equal(loaded.distribution(c).log_prob(x), network(c).log_prob(x))


def test_the_model_can_be_left_uncompiled(tmp_path):
    model = flow()
    model.compile(optimizer="adam")
    model.save(tmp_path / "model.keras")
    assert gx.saving.load_model(tmp_path / "model.keras").compiled
    assert not gx.saving.load_model(tmp_path / "model.keras", compile=False).compiled


def test_custom_objects_are_for_one_load(tmp_path):
    class Scaled(keras.layers.Dense):
        pass

    head = gx.distributions.IndependentNormal([2])
    network = keras.Sequential([keras.Input([3]), Scaled(head.params_size)])
    gx.models.DensityModel(gx.distributions.Conditional(network, head)).save(tmp_path / "m.keras")
    loaded = gx.saving.load_model(tmp_path / "m.keras", custom_objects={"Scaled": Scaled})
    assert isinstance(loaded, gx.models.DensityModel)
    with pytest.raises(ValueError, match="must name registered classes.*Received: 'Scaled'"):
        gx.saving.load_model(tmp_path / "m.keras")


def test_a_registered_transformer_is_saved(tmp_path):
    @gx.saving.register("test_load.Shifted")
    @dataclasses.dataclass(frozen=True)
    class Shifted(gx.transformers.Transformer):
        by: float = 1.0
        params_size = 1

        def bijector(self, params):
            return tfp.bijectors.Shift(params[0] + self.by)

    network = gx.networks.MADE(2, 1, hidden_units=[4])
    layer = gx.bijectors.Autoregressive(network, Shifted(by=2.0))
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [2])
    model = gx.models.DensityModel(tfd.TransformedDistribution(base, layer))
    model.save(tmp_path / "model.keras")
    x = registry.points((3, 2), "float32")
    loaded = gx.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.distribution.log_prob(x), model.distribution.log_prob(x))
    del classes._ADDED["test_load.Shifted"]
    with pytest.raises(ValueError, match="a public class of TFP or tfp_genext.*test_load.Shifted"):
        gx.saving.load_model(tmp_path / "model.keras")


def test_loading_changes_no_settings(tmp_path):
    path = tmp_path / "model.keras"
    flow().save(path)
    whole = path.read_bytes()
    for data in (whole, whole[:-200]):
        path.write_bytes(data)
        before = keras.config.floatx(), dict(os.environ), keras.config.image_data_format()
        modules = set(sys.modules)
        try:
            gx.saving.load_model(path)
        except ValueError:
            assert data != whole
        after = keras.config.floatx(), dict(os.environ), keras.config.image_data_format()
        new = {name.split(".")[0] for name in set(sys.modules) - modules}
        assert after == before and new <= sys.stdlib_module_names
        assert checks.run_trial(lambda: 1) == 1 and keras.saving.get_registered_object("x") is None


def test_empty_weights_of_huge_shape_do_not_raise_the_limit(tmp_path):
    path = tmp_path / "model.keras"
    model = gx.models.DensityModel(tfd.Sample(tfd.Normal(tf.Variable(0.0), 1.0), [10_000]))
    model.save(path)
    saved_cases.reweighted(path, lambda file: file.create_dataset("x", shape=(2**40, 0)))
    with pytest.raises(ValueError, match="must have sizes of at most 4"):
        gx.saving.load_model(path)


def test_names_for_users_alone_are_shown():
    assert dir(gx.saving) == ["load_model", "register"]
    with pytest.raises(AttributeError, match="Here it is gx.saving.load_model"):
        gx.saving.size_limit  # noqa: B018


def trained(kind="adam"):
    model = flow()
    model.compile(optimizer=kind)
    model.fit(registry.points((8, 4), "float32").numpy(), verbose=0)
    return model


CHANGES = {
    "a lost slot": lambda file: file.__delitem__("optimizer/vars/3"),
    "a slot of another shape": lambda file: (
        file.__delitem__("optimizer/vars/3"),
        file.__setitem__("optimizer/vars/3", np.zeros([7], "f4")),
    ),
    "a group for a slot": lambda file: (
        file.__delitem__("optimizer/vars/3"),
        file.create_group("optimizer/vars/3"),
    ),
    "a slot too many": lambda file: file.__setitem__("optimizer/vars/99", np.zeros([], "f4")),
    "no state": lambda file: file.__delitem__("optimizer"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_incomplete_optimizer_is_refused_before_any_weight_is_loaded(name, tmp_path):
    model, path = trained(), tmp_path / "model.keras"
    model.save(path)
    model.save_weights(tmp_path / "model.weights.h5")
    saved_cases.reweighted(path, CHANGES[name])
    with h5py.File(tmp_path / "model.weights.h5", "a") as file:
        CHANGES[name](file)
    for load in (keras.saving.load_model, gx.saving.load_model):
        with pytest.raises(ValueError, match="hold the whole state of the optimizers.*Received"):
            load(path)
    if name == "no state":
        return
    other = trained()
    before = [v.numpy() for v in (*other.variables, *other.optimizer.variables)]
    for file in (path, tmp_path / "model.weights.h5"):
        with pytest.raises(ValueError, match="^`filepath` must hold the whole state"):
            other.load_weights(file)
    for variable, value in zip((*other.variables, *other.optimizer.variables), before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_weights_alone_are_loaded_by_a_model_that_has_trained(tmp_path):
    start, other, path = flow(), trained(), tmp_path / "start.weights.h5"
    start.save_weights(path)
    state = [v.numpy() for v in other.optimizer.variables]
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        other.load_weights(path)
    for variable, expected in zip(other.weights, start.weights, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())
    for variable, value in zip(other.optimizer.variables, state, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_weights_alone_are_loaded_by_a_model_that_has_not_trained(tmp_path):
    model, other = trained(), flow()
    model.save_weights(tmp_path / "model.weights.h5")
    other.compile(optimizer="adam")
    other.load_weights(tmp_path / "model.weights.h5")
    other = trained("sgd")
    other.load_weights(tmp_path / "model.weights.h5", objects_to_skip=[other.optimizer])
    for found, expected in zip(other.variables, model.variables, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


@pytest.mark.parametrize("name", ["w.weights.json", "w.h5", "w.hdf5", "w"])
def test_other_formats_are_neither_written_nor_read(name, tmp_path):
    model = flow()
    for method in (model.save_weights, model.save):
        with pytest.raises(ValueError, match="`filepath` must be a name that ends in"):
            method(tmp_path / name)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match="`filepath` must be a file whose name ends in"):
        model.load_weights(tmp_path / name)
