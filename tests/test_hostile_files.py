"""Files that are damaged or made to do harm: what is refused before it is made, and what is not.

`campaigns/hostile_files.py` looks for more of them.
"""

from __future__ import annotations

import os
import resource
import tempfile
import zipfile

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
from tfp_genext.saving import config as configs
from tfp_genext.saving import load as loading
from tfp_genext.saving.reader import decode
from tfp_genext.saving.writer import encode

tfb = tfp.bijectors
tfd = tfp.distributions
D = saved_cases.D
NO_SIZE = "have sizes of at most .*`max_bytes` allows more"
NO_WEIGHTS = "hold the weights of all variables, of at most .*Received"
NOT_STORED = "hold weights in full, in one piece and not packed.*Received"
TOO_LARGE = "make tensors of at most .*`max_bytes`.*Received"
UNLISTED = "name registered classes, or classes and functions of Keras.*Received"


def maf():
    return gx.models.DensityModel(gx.flows.maf([D], num_layers=1, hidden_units=[4]))


def perceptron():
    return gx.models.DensityModel(gx.flows.real_nvp([D], num_layers=2, hidden_units=[4, 4]))


def transformed():
    return gx.models.DensityModel(saved_cases.transformed_variables())


def pixels():
    recipe = gx.autoregressive.pixel_cnn
    return gx.models.DensityModel(recipe([2, 2, 1], num_layers=2, filters=2, first_kernel_size=3))


def layers_of(config):
    objects = config["config"]["objects"]["objects"]
    return [node["config"] for node in objects if node["kind"] == "layer"]


def first_layer(**options):
    return lambda config: layers_of(config)[0]["config"].update(options)


def instance(name, **arguments):
    return {"kind": "instance", "class": name, "arguments": arguments}


def bijector(node):
    """Returns a change that puts another bijector into a transformed variable."""

    def change(config):
        objects = config["config"]["objects"]["objects"]
        next(o for o in objects if o["kind"] == "transformed variable")["bijector"] = node

    return change


def argument(**options):
    return lambda config: config["config"]["arguments"].update(options)


def whole_numbers(values):
    return encode({"x": tf.constant(values, tf.int32)})["roots"]["x"]


def autoencoder():
    latents, pixels = (
        gx.distributions.IndependentNormal([2]),
        gx.distributions.IndependentNormal([4]),
    )
    encoder = keras.Sequential([keras.Input([4]), keras.layers.Dense(4)])
    decoder = keras.Sequential(
        [
            keras.Input([2]),
            keras.layers.Reshape([2, 1]),
            keras.layers.UpSampling1D(4),
            keras.layers.UpSampling1D(1),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(pixels.params_size),
        ]
    )
    return gx.models.VAE(
        gx.distributions.Conditional(encoder, latents),
        gx.distributions.Conditional(decoder, pixels),
        prior=saved_cases.normal(2),
    )


def expanding(config):
    """Has the layers of a decoder make much of little."""
    for layer in layers_of(config)[-1]["config"]["network"]["config"]["layers"]:
        if layer["class_name"] == "UpSampling1D":
            layer["config"]["size"] = 4000


SIZES = {
    "one layer": (maf, first_layer(hidden_units=[10**9]), NO_SIZE),
    "no number of layers": (maf, first_layer(event_size=10**30), NO_SIZE),
    "product of layers": (perceptron, first_layer(hidden_units=[4000, 4000]), NO_WEIGHTS),
    "masked product": (maf, first_layer(hidden_units=[4000, 4000]), NO_WEIGHTS),
    "many layers": (perceptron, first_layer(hidden_units=[4] * 10**5), NO_SIZE),
    "too many layers": (perceptron, first_layer(hidden_units=[4] * 300), NO_SIZE),
    "masks": (maf, first_layer(num_masks=10**6), NO_SIZE),
    "convolutions": (pixels, first_layer(num_layers=10**6), NO_SIZE),
    "pixels": (pixels, first_layer(image_shape=[5000, 5000, 1]), NO_SIZE),
    "contexts": (
        registry_models.conditional_vae,
        argument(conditional_event_shape=[4000, 4000]),
        TOO_LARGE,
    ),
    "a decoder that expands": (autoencoder, expanding, TOO_LARGE),
    "padding": (
        transformed,
        bijector(instance("tfb.Pad", paddings=whole_numbers([[0, 10**8]]))),
        NO_SIZE,
    ),
    "paddings": (
        transformed,
        bijector(instance("tfb.Pad", paddings=whole_numbers([[0, 4000]] * 2))),
        "Received",
    ),
    "parts of TFP's": (
        transformed,
        bijector(instance("tfb.Glow", output_shape=whole_numbers([8]), num_glow_blocks=10**6)),
        "a public class of TFP or tfp_genext. Received: 'tfb.Glow'",
    ),
    "thresholds of a metric": (
        maf,
        lambda config: config["compile_config"].update(
            metrics=[keras_node("keras.metrics", "AUC", {"num_thresholds": 16_000_000})]
        ),
        NO_SIZE,
    ),
}


@pytest.mark.parametrize("case", SIZES)
def test_a_file_that_asks_for_too_much_is_refused_before_it_has_it(case, tmp_path):
    build, change, text = SIZES[case]
    path = tmp_path / "model.keras"
    model = build()
    if not model.compiled and case.startswith("thresholds"):
        model.compile(optimizer="adam")
    model.save(path)
    saved_cases.reconfigured(path, change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=f"(?s)^`path` must.*{text}"):
        gx.saving.load_model(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 2**10


def test_nothing_is_left_of_a_load_that_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = tmp_path / "model.keras"
    maf().save(path)
    saved_cases.reconfigured(path, first_layer(hidden_units=[4000, 4000]))
    with pytest.raises(ValueError, match=NO_WEIGHTS):
        gx.saving.load_model(path)
    assert checks.run_trial(lambda: "made") == "made"
    assert os.listdir(tmp_path) == ["model.keras"]
    assert keras.Variable(np.zeros([5000])).shape == (5000,)


def test_the_limit_can_be_raised_and_lowered(tmp_path):
    path = tmp_path / "model.keras"
    model = gx.models.DensityModel(tfd.Sample(tfd.Normal(tf.Variable(0.0), 1.0), [10_000]))
    model.save(path)
    with pytest.raises(ValueError, match=NO_SIZE):
        gx.saving.load_model(path)
    loaded = gx.saving.load_model(path, max_bytes=2**30)
    assert loaded.distribution.event_shape == [10_000]
    with pytest.raises(ValueError, match="must hold at most 1000 bytes, a quarter of `max_bytes`"):
        gx.saving.load_model(path, max_bytes=4000)


def test_keras_loads_without_limits(tmp_path):
    path = tmp_path / "model.keras"
    gx.models.DensityModel(tfd.Sample(tfd.Normal(tf.Variable(0.0), 1.0), [10_000])).save(path)
    assert keras.saving.load_model(path).distribution.event_shape == [10_000]


def test_large_numbers_that_are_no_sizes_are_read(tmp_path):
    model = gx.models.DensityModel(
        gx.flows.maf([D], num_layers=1, hidden_units=[4]),
        preprocessing=gx.layers.Dequantize(2**30),
    )
    inner = keras.optimizers.Adam(use_ema=True, ema_overwrite_frequency=10**9)
    options = {"initial_scale": 2**30, "dynamic_growth_steps": 10**9}
    model.compile(optimizer=keras.optimizers.LossScaleOptimizer(inner, **options))
    model.save(tmp_path / "model.keras")
    loaded = gx.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()


def test_values_of_distributions_are_no_sizes(tmp_path):
    model = gx.models.DensityModel(tfd.Independent(tfd.Binomial(10**6, tf.Variable([0.0])), 1))
    model.save(tmp_path / "model.keras")
    loaded = gx.saving.load_model(tmp_path / "model.keras")
    assert loaded.distribution.distribution.parameters["total_count"] == 10**6


def test_variables_are_limited_by_number_and_by_bytes():
    with loading._limited(10**5, [(100, 100)]):
        keras.Variable("glorot_uniform", shape=(100, 100))
        tf.Variable(lambda: tf.zeros([100, 100]))
        for make in (
            lambda: keras.Variable("zeros", shape=(100, 101)),
            lambda: tf.Variable(np.zeros([10_001], "float32")),
            lambda: tf.Variable(lambda: tf.zeros([100, 100])),
        ):
            with pytest.raises(ValueError, match=NO_WEIGHTS):
                make()


def test_what_a_function_would_make_is_known_without_making_it():
    calls = []

    def make(size):
        calls.append(tf.executing_eagerly())
        return tf.reduce_sum(tf.fill([size, size], 1.0))

    with loading._limited(10**6, []):
        with pytest.raises(ValueError, match="of at most 1000000 bytes.*Fill"):
            checks.run_trial(lambda: make(10**6))
        assert calls == [False]
        assert checks.run_trial(lambda: make(10)) == 100.0
    assert checks.run_trial(lambda: make(10)) == 100.0
    assert calls == [False, False, True, True]


def test_variables_are_counted_where_a_layer_is_built_in_a_graph():
    layer = keras.layers.Dense(1000)
    with loading._limited(10**7, []), pytest.raises(ValueError, match=NO_WEIGHTS):
        checks.run_trial(lambda: layer(tf.zeros([2, 1000])))
    assert not layer.built


def doubled(depth, kind):
    """Returns objects each of which holds the one before twice."""
    objects = [instance("tfb.Shift", shift=1.0)]
    for i in range(depth):
        both = {"kind": "list", "items": [{"kind": "object", "number": i}] * 2}
        objects.append(both if kind == "list" else instance("tfb.Chain", bijectors=both))
    return {"objects": objects, "roots": {"x": {"kind": "object", "number": depth}}}


@pytest.mark.parametrize("kind", ["chain", "list"])
def test_objects_that_double_are_refused_and_such_as_are_used_often_are_not(kind):
    with pytest.raises(ValueError, match="such as do not multiply.*Received"):
        decode(doubled(50, kind))
    assert decode(doubled(3, kind))["x"]
    often = [{"kind": "object", "number": 0}] * 1000
    objects = [instance("tfb.Shift", shift=1.0)]
    data = {"objects": objects, "roots": {"x": {"kind": "list", "items": often}}}
    assert len(decode(data)["x"]) == 1000


def test_objects_inside_a_layer_are_of_a_table_of_its_own():
    flow = gx.flows.iaf([2], num_layers=2, hidden_units=[4])
    head = gx.distributions.IndependentNormal([2])
    network = gx.networks.MLP([head.params_size], [4])
    network.build((None, 3))
    posterior = gx.distributions.Conditional(network, head, bijector=flow.bijector)
    again = decode(encode({"x": posterior}))["x"]
    assert again.bijector.parameters.keys() == posterior.bijector.parameters.keys()


def test_layers_that_call_each_other_over_and_over_are_refused():
    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(2)])
    for depth in range(12):
        if depth == 3:
            configs.check(keras.saving.serialize_keras_object(model))
        inputs = keras.Input([2])
        model = keras.Model(inputs, model(model(inputs)))
    with pytest.raises(ValueError, match="must hold layers that do not multiply"):
        configs.check(keras.saving.serialize_keras_object(model))


def keras_node(module, name, config=None):
    return {"module": module, "class_name": name, "config": config, "registered_name": None}


LOADERS = [keras.saving.load_model, gx.saving.load_model]
FOREIGN = {
    "a function that downloads": keras_node("keras.utils", "function", "get_file"),
    "a function that builds": keras_node("keras.applications.vgg16", "function", "VGG16"),
    "a setting": keras_node("keras.config", "function", "set_floatx"),
    "a module": keras_node("keras.src.testing.test_case", "TestCase", {}),
    "another package": keras_node("keras_hub.models", "Backbone", {}),
}


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("case", FOREIGN)
def test_what_no_model_is_made_of_is_neither_imported_nor_called(case, load, tmp_path):
    path = tmp_path / "model.keras"
    maf().save(path)
    saved_cases.reconfigured(path, first_layer(activation=FOREIGN[case]))
    with pytest.raises(ValueError, match=UNLISTED):
        load(path)


@pytest.mark.parametrize(
    "config", [keras_node("builtins", "function", "tanh"), "tanh", None], ids=str
)
def test_what_stands_for_a_layer_must_be_one(config):
    data = {"objects": [], "roots": {"x": {"kind": "layer", "config": config}}}
    with pytest.raises(ValueError, match="`x` must be a Keras layer.*Received"):
        decode(data)


def test_functions_of_keras_in_the_arguments_and_when_compiling_are_refused(tmp_path):
    path = tmp_path / "model.keras"
    model = maf()
    model.compile(optimizer="adam")
    for change in (
        argument(bits_per_dim=FOREIGN["a setting"]),
        lambda config: config["compile_config"].update(metrics=[FOREIGN["a setting"]]),
    ):
        model.save(path)
        saved_cases.reconfigured(path, change)
        with pytest.raises(ValueError, match=UNLISTED):
            keras.saving.load_model(path)


WRONG = {
    "frozen": lambda config: config["config"]["frozen"].append({}),
    "no list of the frozen": lambda config: config["config"].update(frozen=3),
    "trained twice": lambda config: config["compile_config"]["trained"].update(optimizer=[0, 0]),
    "trained from the end": lambda config: config["compile_config"]["trained"].update(
        optimizer=[-1]
    ),
    "trained beyond": lambda config: config["compile_config"]["trained"].update(optimizer=[99]),
    "no optimizer": lambda config: config["compile_config"].update(optimizer=7),
    "no objects": lambda config: config["config"].update(objects=[]),
    "no name": lambda config: config["config"].pop("name"),
    "bytes": lambda config: config["config"]["objects"]["objects"].insert(
        0, {"kind": "variable", "bytes": "=x=", "dtype": "float32", "shape": [1]}
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_fields_of_another_kind_are_errors_that_name_the_file(case, tmp_path):
    path = tmp_path / "model.keras"
    saved_cases.stepped(gx.flows.maf([D], num_layers=1, hidden_units=[4])).save(path)
    saved_cases.reconfigured(path, WRONG[case])
    with pytest.raises(ValueError, match="^`path` must hold what `tfp_genext` wrote. Received"):
        keras.saving.load_model(path)


def test_a_message_does_not_hold_the_whole_file(tmp_path):
    path = tmp_path / "model.keras"
    maf().save(path)
    saved_cases.reconfigured(path, first_layer(hidden_units=["x" * 10**6]))
    with pytest.raises(ValueError, match="^`path` must hold") as raised:
        keras.saving.load_model(path)
    assert len(str(raised.value)) < 2000


@pytest.mark.parametrize("load", LOADERS)
def test_flipped_bits_never_load_as_other_numbers(load, tmp_path):
    path = tmp_path / "model.keras"
    model = maf()
    registry.perturb(model.distribution)
    model.save(path)
    whole = path.read_bytes()
    for variable in model.variables:
        # Where the numbers themselves stand.
        place = whole.index(variable.numpy().tobytes())
        spoiled = bytearray(whole)
        spoiled[place] ^= 1
        path.write_bytes(spoiled)
        with pytest.raises((ValueError, zipfile.BadZipFile), match="CRC"):
            load(path)


def claiming(shape, **options):
    """Returns a change by which some weights claim a shape, and hold nothing."""

    def change(file):
        names = []
        file.visit(names.append)
        name = next(n for n in names if n.endswith("vars/0"))
        del file[name]
        file.create_dataset(name, shape=shape, dtype="float32", fillvalue=1.0, **options)

    return change


@pytest.mark.parametrize("options", [{}, {"chunks": True}], ids=["whole", "in chunks"])
def test_weights_that_claim_to_be_huge_are_never_read(options, tmp_path):
    path, weights = tmp_path / "model.keras", tmp_path / "model.weights.h5"
    model = maf()
    model.save(path)
    saved_cases.reweighted(path, claiming((2**15, 2**14), **options))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with zipfile.ZipFile(path) as file:
        weights.write_bytes(file.read("model.weights.h5"))
    for load in (gx.saving.load_model, model.load_weights):
        with pytest.raises(ValueError, match=NOT_STORED):
            load(path)
    with pytest.raises(ValueError, match=NOT_STORED):
        model.load_weights(weights)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 2**10


def test_an_archive_that_swells_is_not_unpacked_and_one_that_is_packed_is(tmp_path):
    path = tmp_path / "model.keras"
    model = maf()
    model.save(path)
    saved_cases.repacked(path, lambda parts: None, zipfile.ZIP_DEFLATED)
    loaded = gx.saving.load_model(path)
    for found, expected in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_array_equal(found, expected)
    for name, text in (("assets/x", "alone.*assets/x"), ("metadata.json", "at most .*metadata")):
        model.save(path)
        saved_cases.repacked(
            path, lambda parts, name=name: parts.update({name: bytes(2**27)}), zipfile.ZIP_DEFLATED
        )
        with pytest.raises(ValueError, match=f"^`path` must.*{text}"):
            gx.saving.load_model(path)


def test_weights_that_are_not_hdf5_are_refused(tmp_path):
    path = tmp_path / "model.keras"
    maf().save(path)
    saved_cases.repacked(
        path, lambda parts: parts.update({"model.weights.npz": parts.pop("model.weights.h5")})
    )
    with pytest.raises(ValueError, match="must be an archive with the members .*Received"):
        gx.saving.load_model(path)


def test_damaged_weights_change_nothing(tmp_path):
    path = tmp_path / "model.weights.h5"
    model = maf()
    model.save_weights(path)
    path.write_bytes(path.read_bytes()[:-500])
    before = [v.numpy() for v in model.variables]
    with pytest.raises(ValueError, match="^`filepath` must hold.*OSError"):
        model.load_weights(path)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    with pytest.raises(FileNotFoundError):
        model.load_weights(tmp_path / "none.weights.h5")
