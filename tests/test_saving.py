"""Whole models in `.keras` files: what comes back, what is refused, and what a file cannot do."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile

import keras
import numpy as np
import pytest
import registry
import saved_cases
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx
from tfp_genext.saving.reader import decode
from tfp_genext.saving.writer import encode

tfb = tfp.bijectors
tfd = tfp.distributions
D = saved_cases.D


def test_what_was_shared_is_shared_again():
    chain = round_trip(saved_cases.shared_network()).bijector.bijectors
    assert gx.core.tracking.networks(chain[0])[0] is gx.core.tracking.networks(chain[2])[0]
    distribution = round_trip(saved_cases.shared_variable())
    assert len(distribution.trainable_variables) == 1
    first, _, third = round_trip(saved_cases.shared_bijector()).bijector.bijectors
    assert first is third


def round_trip(distribution):
    written = encode({"distribution": distribution})
    return decode(json.loads(json.dumps(written)))["distribution"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64", "bool"])
def test_constants_keep_dtype_and_every_bit(dtype):
    values = np.array([[0.1, -0.0, 1e-7], [1.0, 0.0, 3.0]]).astype(
        tf.as_dtype(dtype).as_numpy_dtype
    )
    written = encode({"x": [tf.constant(values), values, np.float64(0.1), float("inf")]})
    tensor, array, scalar, infinite = decode(json.loads(json.dumps(written)))["x"]
    assert tf.is_tensor(tensor) and tensor.dtype == dtype and isinstance(array, np.ndarray)
    assert tensor.numpy().tobytes() == array.tobytes() == values.tobytes()
    assert scalar == 0.1 and infinite == float("inf")


def test_transformed_variables_can_still_be_assigned_to():
    scale = round_trip(saved_cases.transformed_variables()).distribution.distribution.scale
    assert isinstance(scale, tfp.util.TransformedVariable)
    scale.assign(tf.fill([D], 3.0))
    np.testing.assert_allclose(tf.convert_to_tensor(scale), 3.0, rtol=1e-6)


class Custom(tfd.Normal):
    """A class of the user's own."""


class Plain(keras.layers.Layer):
    """A layer that does not say how it was made."""

    def __init__(self, units):
        super().__init__()
        self.dense = keras.layers.Dense(units)

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        raise NotImplementedError


REFUSED = [
    (
        lambda: tfd.TransformedDistribution(
            saved_cases.normal(),
            gx.bijectors.AffineCoupling(2, shift_and_log_scale_fn=lambda x, n: (x, x)),
        ),
        r"distribution.bijector.shift_and_log_scale_fn",
    ),
    (
        lambda: tfd.TransformedDistribution(
            saved_cases.normal(),
            tfb.Chain([tfb.Exp(), tfb.Inline(forward_fn=tf.identity, forward_min_event_ndims=0)]),
        ),
        r"distribution.bijector.bijectors\[1\].forward_fn",
    ),
    (lambda: Custom(0.0, tf.Variable(1.0)), "distribution"),
    (
        lambda: tfd.Independent(
            tfd.Normal(0.0, tfp.util.DeferredTensor(tf.Variable([1.0]), tf.exp)), 1
        ),
        "distribution.distribution.scale.transform_fn",
    ),
    (
        lambda: tfd.TransformedDistribution(
            saved_cases.normal(2), gx.bijectors.AdditiveCoupling(1, conditioner=Plain(1))
        ),
        "distribution.bijector.conditioner",
    ),
]


@pytest.mark.parametrize("build, path", REFUSED, ids=[path for _, path in REFUSED])
def test_what_a_file_cannot_hold_is_named(build, path):
    with pytest.raises(ValueError, match=f"^`{path}` must be .*Received: ") as raised:
        encode({"distribution": build()})
    assert "Received" in str(raised.value)


def test_a_refused_model_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "model.keras"
    data = saved_cases.data_for(saved_cases.sample())
    saved_cases.trained(saved_cases.sample(), data).save(path)
    before = path.read_bytes()
    refused = gx.models.DensityModel(
        tfd.Independent(tfd.Normal(tf.Variable([0.0]), tfp.util.DeferredTensor([1.0], tf.exp)), 1)
    )
    with pytest.raises(ValueError, match="transform_fn"):
        refused.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.keras"]


def test_a_save_that_fails_midway_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    model = saved_cases.trained(saved_cases.sample(), saved_cases.data_for(saved_cases.sample()))
    model.save(path)
    before = path.read_bytes()

    def fail(self, store):
        raise OSError("disk full")

    monkeypatch.setattr(gx.models.DensityModel, "save_own_variables", fail)
    with pytest.raises(OSError, match="disk full"):
        model.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.keras"]


def test_an_existing_file_is_kept_on_request(tmp_path):
    model = saved_cases.trained(saved_cases.sample(), saved_cases.data_for(saved_cases.sample()))
    for save, name in ((model.save, "m.keras"), (model.save_weights, "m.weights.h5")):
        save(tmp_path / name)
        with pytest.raises(FileExistsError, match="`filepath` must not exist.*Received"):
            save(tmp_path / name, overwrite=False)


def _instance(written):
    return next(o for o in written["objects"] if o["kind"] == "instance")


CIRCLE = {"kind": "list", "items": [{"kind": "object", "number": 0}]}
HOSTILE = {
    "unknown class": (lambda w: _instance(w).update({"class": "tfd.NoSuchThing"}), "public class"),
    "path to a function": (lambda w: _instance(w).update({"class": "os.system"}), "public class"),
    "private class": (lambda w: _instance(w).update({"class": "tfd._Missing"}), "public class"),
    "unknown kind": (lambda w: w["objects"][0].update(kind="pickle"), "of a kind in"),
    "unknown argument": (lambda w: _instance(w)["arguments"].update(evil=1), "cannot be read"),
    "lost object": (lambda w: w["roots"]["distribution"].update(number=99), "cannot be read"),
    "circle": (lambda w: w["objects"].__setitem__(0, CIRCLE), "cannot be read"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_runs_nothing_and_names_what_is_wrong(name, tmp_path):
    change, text = HOSTILE[name]
    path = tmp_path / "model.keras"
    saved_cases.trained(saved_cases.sample(), saved_cases.data_for(saved_cases.sample())).save(path)
    saved_cases.tampered(path, change)
    with pytest.raises(ValueError, match=f"{text}.*Received|Received.*{text}"):
        keras.saving.load_model(path)


def test_a_lambda_layer_is_neither_written_nor_run(tmp_path):
    function = keras.layers.Lambda(lambda x: x)
    network = keras.Sequential([keras.Input([1]), function, keras.layers.Dense(1)])
    flow = tfd.TransformedDistribution(
        saved_cases.normal(2), gx.bijectors.AdditiveCoupling(1, conditioner=network)
    )
    path = tmp_path / "model.keras"
    with pytest.raises(ValueError, match="distribution.bijector.conditioner.*lambda"):
        gx.models.DensityModel(flow).save(path)
    saved_cases.trained(
        saved_cases.shared_network(), saved_cases.data_for(saved_cases.normal())
    ).save(path)

    def smuggle(written):
        layer = next(o for o in written["objects"] if o["kind"] == "layer")
        layer["config"] = keras.saving.serialize_keras_object(function)

    saved_cases.tampered(path, smuggle)
    with pytest.raises(ValueError, match="[Ll]ambda"):
        keras.saving.load_model(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    saved_cases.trained(saved_cases.sample(), saved_cases.data_for(saved_cases.sample())).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        keras.saving.load_model(path)


def test_missing_weights_and_wrong_shapes_are_refused(tmp_path):
    flow = gx.flows.maf([D], num_layers=1, hidden_units=[4])
    path = tmp_path / "model.keras"
    gx.models.DensityModel(flow).save(path)

    def widen(written):
        layer = next(o for o in written["objects"] if o["kind"] == "layer")
        layer["config"]["config"]["hidden_units"] = [6]

    saved_cases.tampered(path, widen)
    with pytest.raises(ValueError):
        keras.saving.load_model(path)
    gx.models.DensityModel(flow).save(path)
    saved_cases.repacked(path, lambda parts: parts.pop("model.weights.h5"))
    with pytest.raises((ValueError, KeyError, OSError)):
        keras.saving.load_model(path)


def test_model_checkpoint_keeps_the_best_whole_model(tmp_path):
    flow = gx.flows.real_nvp([D], num_layers=2, hidden_units=[8])
    model = gx.models.DensityModel(flow)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    (x,) = saved_cases.data_for(flow)
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", monitor="val_nll", mode="min", save_best_only=True
    )
    history = model.fit(x, validation_data=x, epochs=3, verbose=0, callbacks=[checkpoint]).history
    best = keras.saving.load_model(tmp_path / "best.keras")
    nll = best.evaluate(x, verbose=0, return_dict=True)["nll"]
    assert nll == pytest.approx(min(history["val_nll"]), rel=1e-6)


def test_backup_and_restore_takes_up_where_training_was_cut(tmp_path):
    (x,) = saved_cases.data_for(saved_cases.sample())

    class Cut(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def model():
        keras.utils.set_random_seed(0)
        flow = gx.flows.real_nvp([D], num_layers=2, hidden_units=[8])
        made = gx.models.DensityModel(flow)
        made.compile(optimizer=keras.optimizers.Adam(1e-2))
        return made

    options = {"epochs": 4, "verbose": 0, "shuffle": False}
    whole = model().fit(x, **options).history["nll"]
    with pytest.raises(KeyboardInterrupt):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        model().fit(x, callbacks=[backup, Cut()], **options)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    rest = model().fit(x, callbacks=[backup], **options).history["nll"]
    assert rest == whole[2:]


@keras.saving.register_keras_serializable(package="test_saving")
class Lazy(keras.layers.Layer):
    """A conditioner of the user's own whose layers wait for the first call."""

    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = keras.layers.Dense(units, activation="tanh")
        self.norm = keras.layers.BatchNormalization()
        self.last = keras.layers.Dense(6)

    def call(self, x):
        return keras.ops.reshape(self.last(self.norm(self.hidden(x))), [-1, 3, 2])

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def with_network(network):
    coupling = gx.bijectors.AffineCoupling(2, shift_and_log_scale_fn=network)
    return tfd.TransformedDistribution(saved_cases.normal(), coupling)


def dense(*layers):
    return keras.Sequential([keras.Input([2]), *layers])


def lazy_network():
    return with_network(Lazy())


def frozen_inside():
    network = Lazy()
    network.norm.trainable = False
    return with_network(network)


def dropout():
    last = [keras.layers.Dense(6), keras.layers.Reshape([3, 2])]
    return with_network(dense(keras.layers.Dense(8), keras.layers.Dropout(0.5, seed=3), *last))


def layer_of_two_networks():
    trunk = keras.layers.Dense(8, "tanh", name="trunk")
    networks = [dense(trunk, keras.layers.Dense(6), keras.layers.Reshape([3, 2])) for _ in range(2)]
    steps = [
        gx.bijectors.AffineCoupling(2, shift_and_log_scale_fn=networks[0]),
        gx.bijectors.Permute([4, 3, 2, 1, 0]),
        gx.bijectors.AffineCoupling(2, shift_and_log_scale_fn=networks[1]),
    ]
    return tfd.TransformedDistribution(saved_cases.normal(), tfb.Chain(steps))


def computed_when_made():
    """A class of TFP's that reads its arguments once."""
    covariance = tf.Variable(2.0 * tf.eye(D), trainable=False)
    base = tfd.MultivariateNormalFullCovariance(tf.Variable(tf.zeros([D])), covariance)
    return tfd.TransformedDistribution(base, tfb.Shift(tf.Variable(tf.ones([D]))))


def constrained():
    loc = tf.Variable(tf.zeros([D]), constraint=keras.constraints.NonNeg())
    return tfd.Independent(tfd.Normal(loc, tf.Variable(tf.ones([D]))), 1)


def other_byte_order():
    loc = np.arange(D).astype(">f4")
    return tfd.Independent(tfd.Normal(loc, tf.Variable(tf.ones([D]))), 1)


def numpy_scalars():
    base = tfd.Sample(tfd.Normal(np.float64(0.0), np.float64(1.0)), [D])
    return tfd.TransformedDistribution(base, tfb.Shift(tf.Variable(tf.zeros([D], tf.float64))))


def reciprocal():
    scale = tfp.util.TransformedVariable(tf.fill([D], 0.5), tfb.Reciprocal(validate_args=True))
    return tfd.Independent(tfd.Normal(tf.zeros([D]), scale), 1)


UNUSUAL = [
    lazy_network,
    frozen_inside,
    dropout,
    layer_of_two_networks,
    computed_when_made,
    constrained,
    other_byte_order,
    numpy_scalars,
    reciprocal,
]


@pytest.mark.parametrize("build", UNUSUAL, ids=lambda build: build.__name__)
def test_unusual_models_come_back_and_train_on(build, tmp_path):
    distribution = build()
    model = saved_cases.trained(distribution, saved_cases.data_for(distribution))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.distribution.dtype == distribution.dtype
    found, expected = saved_cases.described(loaded), saved_cases.described(model)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
        assert value.dtype.kind != "f" or np.isfinite(value).all()


def test_what_tfp_hides_behind_keywords_is_refused_when_saving():
    made = tfd.ZeroInflatedNegativeBinomial(
        inflated_loc_logits=tf.Variable(0.3), total_count=tf.constant(4.0), logits=tf.Variable(0.6)
    )
    with pytest.raises(ValueError, match="`distribution.distribution_class` must be .*Received"):
        encode({"distribution": made})


def test_what_is_frozen_after_compiling_keeps_the_optimizer(tmp_path):
    distribution = gx.flows.real_nvp([D], num_layers=2, hidden_units=[4])
    model = saved_cases.trained(distribution, saved_cases.data_for(distribution))
    gx.core.tracking.networks(distribution)[0].trainable = False
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for found, expected in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert len(loaded.optimizer.variables) > len(loaded.trainable_variables) * 2 + 2


def test_a_model_that_was_never_fitted_loads_without_a_warning(tmp_path, recwarn):
    model = gx.models.DensityModel(saved_cases.sample())
    model.compile(optimizer="adam")
    model.save(tmp_path / "model.keras")
    recwarn.clear()
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not [w for w in recwarn if "__array__" not in str(w.message)]
    (x,) = saved_cases.data_for(loaded.distribution)
    assert np.isfinite(loaded.fit(x, verbose=0).history["nll"]).all()


def test_a_lost_state_of_the_optimizer_is_an_error(tmp_path):
    path = tmp_path / "model.keras"
    saved_cases.trained(saved_cases.sample(), saved_cases.data_for(saved_cases.sample())).save(path)

    def lose(file):
        del file["optimizer"]

    saved_cases.reweighted(path, lose)
    with pytest.raises(ValueError, match="the 6 variables of .optimizer.*Received: 0 variables"):
        keras.saving.load_model(path)


def test_classes_that_are_not_registered_are_given_to_load_model(tmp_path):
    class Own(Lazy):
        pass

    model = gx.models.DensityModel(with_network(Own()))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", custom_objects={"Own": Own})
    x = registry.points((4, D), "float32")
    np.testing.assert_array_equal(loaded.distribution.log_prob(x), model.distribution.log_prob(x))


def test_weights_of_another_model_change_nothing(tmp_path):
    def model(units):
        flow = gx.flows.real_nvp([D], num_layers=2, hidden_units=units)
        registry.perturb(flow)
        return gx.models.DensityModel(flow)

    model([4]).save_weights(tmp_path / "other.weights.h5")
    made = model([6])
    before = [v.numpy() for v in made.variables]
    with pytest.raises(ValueError):
        made.load_weights(tmp_path / "other.weights.h5")
    for variable, value in zip(made.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "latest.keras").symlink_to(tmp_path / "first.keras")
    gx.models.DensityModel(saved_cases.sample()).save(tmp_path / "latest.keras")
    assert (tmp_path / "latest.keras").is_symlink() and (tmp_path / "first.keras").is_file()


def _edited(path, edit, member="config.json"):
    """Edits a member of a model's archive, and returns the path of the new one."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members[member])
    edit(config)
    members[member] = json.dumps(config).encode()
    other = path.with_name("edited.keras")
    with zipfile.ZipFile(other, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return other


def _from_version(version, edit):
    def change(config):
        inner = config["config"]
        assert inner["version"] == gx.__version__
        inner["version"] = version
        if version is None:
            del inner["version"]
        edit(config)

    return change


BREAKING = {
    "an unknown argument": lambda config: config["config"]["arguments"].update(invented=1),
    "a missing entry": lambda config: config["config"].pop("objects"),
    "an unknown class": lambda config: config["config"]["objects"]["objects"][-1].update(
        {"class": "tfp_genext.Invented"}
    ),
    "an unknown argument of compile": lambda config: config["compile_config"].update(invented=1),
}


@pytest.fixture
def saved_flow(tmp_path):
    model = gx.models.DensityModel(gx.flows.real_nvp([2], num_layers=1, hidden_units=[4]))
    model.compile(optimizer="sgd")
    model.save(tmp_path / "flow.keras")
    return tmp_path / "flow.keras"


@pytest.mark.parametrize("broken", BREAKING)
def test_a_newer_file_that_cannot_be_read_says_so(broken, saved_flow):
    path = _edited(saved_flow, _from_version("99.1.0", BREAKING[broken]))
    expected = rf"`path` .*written by tfp_genext 99\.1\.0, this is {gx.__version__} \(\w+: "
    with pytest.raises(ValueError, match=expected):
        keras.saving.load_model(path)


@pytest.mark.parametrize("version", [None, gx.__version__, "0.0.1", "no version", 3, "9" * 10**6])
def test_files_of_other_versions_are_not_called_newer(version, saved_flow):
    path = _edited(saved_flow, _from_version(version, BREAKING["a missing entry"]))
    with pytest.raises(ValueError, match="`path` must hold what `tfp_genext` wrote") as raised:
        keras.saving.load_model(path)
    assert "written by" not in str(raised.value)


@pytest.mark.parametrize("version", [None, "99.1.0"])
def test_a_file_of_another_version_that_can_be_read_is_read(version, saved_flow):
    again = keras.saving.load_model(
        _edited(saved_flow, _from_version(version, lambda config: None))
    )
    x = np.zeros([3, 2], np.float32)
    expected = keras.saving.load_model(saved_flow).predict(x, verbose=0)
    np.testing.assert_array_equal(again.predict(x, verbose=0), expected)


@gx.saving.register("test_saving.Cubed")
class Cubed:
    """A transformer of the user's own, without a base class."""

    params_size = 1

    def bijector(self, params):
        return tfb.Shift(params[0] ** 3)


@gx.saving.register("test_saving.Scaled")
@dataclasses.dataclass(frozen=True)
class Scaled(gx.transformers.Transformer):
    """A transformer with an option."""

    factor: float = 1.0
    params_size = 1

    def bijector(self, params):
        return tfb.Shift(self.factor * params[0])


class NotRegistered(Cubed):
    pass


@pytest.mark.parametrize("transformer", [Cubed(), Scaled(3.0)], ids=["plain", "dataclass"])
def test_a_transformer_of_the_users_own_is_saved_by_one_decorator(transformer, tmp_path):
    coupling = gx.bijectors.Coupling([True, False], gx.networks.MLP([1, 1], [4]), transformer)
    layer = gx.bijectors.Autoregressive(gx.networks.MADE(2, 1, [4]), transformer)
    flow = tfd.TransformedDistribution(
        saved_cases.normal(2), gx.bijectors.Compose([coupling, layer])
    )
    x = tf.ones([3, 2])
    flow.log_prob(tf.identity(x))
    registry.perturb(flow)
    model = gx.models.DensityModel(flow)
    model.save(tmp_path / "own.keras")
    for load in (gx.saving.load_model, keras.saving.load_model):
        found = load(tmp_path / "own.keras").predict(x, verbose=0)
        np.testing.assert_array_equal(found, model.predict(x, verbose=0))


def test_a_transformer_that_is_not_registered_is_named(tmp_path):
    layer = gx.bijectors.Autoregressive(gx.networks.MADE(2, 1, [4]), NotRegistered())
    model = gx.models.DensityModel(tfd.TransformedDistribution(saved_cases.normal(2), layer))
    with pytest.raises(ValueError, match=r"transformer` must be .*gx\.saving\.register"):
        model.save(tmp_path / "own.keras")
    own = Cubed()
    own.option = 2.0
    layer = gx.bijectors.Autoregressive(gx.networks.MADE(2, 1, [4]), own)
    model = gx.models.DensityModel(tfd.TransformedDistribution(saved_cases.normal(2), layer))
    with pytest.raises(ValueError, match="transformer` must be a dataclass"):
        model.save(tmp_path / "own.keras")
