"""Configurations that are refused, wherever the name stands, and those that are not."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from tfp_genext.saving import config
from tfp_genext.saving.config import Sizes

UNLISTED = "^`path` must name registered classes, or classes and functions of Keras.*Received"


def node(module, name, options=None):
    return {"module": module, "class_name": name, "config": options or {}, "registered_name": None}


def function(module, name):
    return node(module, "function", name)


def functional():
    inputs = keras.Input([3])
    hidden = keras.ops.tanh(2.0 * inputs) + keras.layers.Dense(3)(inputs)
    scaled = keras.ops.multiply(hidden[:, :2], np.ones([1, 2], "float32"))
    outputs = keras.ops.concatenate([hidden, scaled], axis=1)
    written = keras.saving.serialize_keras_object(keras.Model(inputs, outputs))
    return json.loads(json.dumps(written))


def test_a_functional_model_of_operations_passes():
    config.check(functional())


UNSAFE = {
    "a layer of another framework": node("keras.layers", "TFSMLayer", {"filepath": "x"}),
    "its module": node("keras.src.export.tfsm_layer", "TFSMLayer", {"filepath": "x"}),
    "a dotted name": node("keras", "layers.TFSMLayer", {"filepath": "x"}),
    "an older format": {"class_name": "TFSMLayer", "config": {"filepath": "x"}},
    "no module": {**node(None, "Dense"), "module": None},
    "a lambda": node("keras.layers", "Lambda"),
    "code": {"class_name": "__lambda__", "config": {"value": ["", None, None]}},
    "a type": {"class_name": "__typespec__", "spec_name": "x", "module": "os", "config": []},
    "a vocabulary": node("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
    "an operation on functions": node("keras.src.ops.core", "Map"),
    "a setting": function("keras.config", "set_floatx"),
    "a dotted setting": function("keras", "config.set_floatx"),
    "a setting among builtins": function("builtins", "config.set_floatx"),
    "a download": function("keras.utils", "get_file"),
    "a data set": function("keras", "datasets.mnist.load_data"),
    "another package": node("os", "system"),
    "no text": {**node("keras.layers", "Dense"), "class_name": ["Dense"]},
    "a function that is a class": function("keras.layers", "Dense"),
    "a class that is a function": node("keras.activations", "tanh"),
}


def _arguments(found):
    return found["config"]["layers"][1]["inbound_nodes"][0]["args"]


PLACES = {
    "alone": lambda found, bad: bad,
    "a layer": lambda found, bad: found["config"]["layers"].append(bad),
    "in a layer": lambda found, bad: found["config"]["layers"][1]["config"].update(layer=bad),
    "an argument of a call": lambda found, bad: _arguments(found).append([bad]),
    "a keyword of a call": lambda found, bad: found["config"]["layers"][1]["inbound_nodes"][0][
        "kwargs"
    ].update(mask={"deep": [bad]}),
    "a part of compile": lambda found, bad: found.update(compile_config={"metrics": [{"a": bad}]}),
    "a part of build": lambda found, bad: found.update(build_config={"input_shape": bad}),
    "a plain value": lambda found, bad: found.update(
        {"class_name": "__slice__", "config": {"start": bad, "stop": 0, "step": 1}}
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_are_not_listed_are_refused_everywhere(name, place):
    found = functional()
    changed = PLACES[place](found, UNSAFE[name]) or found
    with pytest.raises(ValueError, match=UNLISTED):
        config.check(changed)


@pytest.mark.parametrize("arguments", [[[30_000, 30_000], 1.0], []])
def test_calls_that_compute_something_are_refused(arguments):
    found = functional()
    call = {"args": arguments, "kwargs": {}}
    full = {**node("keras.src.ops.numpy", "Full"), "name": "full", "inbound_nodes": [call]}
    found["config"]["layers"].append(full)
    with pytest.raises(ValueError, match="must hold calls of layers on tensors of the model"):
        config.check(found)


@pytest.mark.parametrize("dtype", ["U100000000", "V100000000", "O", "variant", "string", None, 3])
@pytest.mark.parametrize("kind", ["__numpy__", "__tensor__"])
def test_values_must_be_numbers(kind, dtype):
    with pytest.raises((TypeError, ValueError)):
        config.check({"class_name": kind, "config": {"value": 1, "dtype": dtype}})
    config.check({"class_name": kind, "config": {"value": 1, "dtype": "float32"}})


def test_classes_of_the_user_are_registered_or_given():
    class Own(keras.layers.Layer):
        pass

    written = keras.saving.serialize_keras_object(Own())
    with pytest.raises(ValueError, match=UNLISTED):
        config.check(written)
    config.check(written, custom_objects={"Own": Own})
    with keras.saving.custom_object_scope({"Own": Own}):
        config.check(written)
    with pytest.raises(ValueError, match="import the module that defines 'Own', decorated"):
        config.check({**written, "registered_name": "unknown>Own"})


def test_sizes_are_limited_in_lists_and_small_arrays():
    sizes = Sizes(largest=1000, parts=10)
    array = {"kind": "array", "dtype": "int32", "shape": [1], "bytes": "QEIPAA=="}  # 10**6
    for wrong in (
        {"units": 1001},
        {"units": -1001},
        {"shape": [None, [1001]]},
        {"hidden_units": [4] * 11},
        {"num_layers": 11},
        {"kind": "instance", "class": "tfb.Reshape", "arguments": {"event_shape_out": array}},
    ):
        with pytest.raises(ValueError, match="^`path` must have sizes of at most .*Received: "):
            config.check(wrong, sizes)
        config.check(wrong)
    config.check({"units": 1000, "hidden_units": [1000] * 10, "seed": 10**12}, sizes)
    total = {"kind": "instance", "class": "tfd.Binomial", "arguments": {"total_count": 10**6}}
    config.check(total, sizes)


HIDDEN = {
    "beside a class of TFP": {"kind": "instance", "class": "tfb.Exp", "arguments": {}},
    "beside bytes": {"bytes": "", "dtype": "int32", "shape": [0], "kind": "array"},
}


@pytest.mark.parametrize("sizes", [None, Sizes(largest=1000, parts=10)])
@pytest.mark.parametrize("key", ["loc", "seed", "boundaries", "value", "arguments"])
@pytest.mark.parametrize("name", HIDDEN)
def test_no_name_hides_what_stands_under_it(name, key, sizes):
    bad = {**HIDDEN[name], **node("keras", "Sequential", {key: [UNSAFE["a lambda"]]})}
    for found in (
        bad,
        {**HIDDEN[name], key: UNSAFE["a lambda"]},
        {"kind": "instance", "class": "tfd.Normal", "arguments": {key: bad}},
        {"kind": "instance", "class": "tfd.Normal", "arguments": {"loc": {key: [bad]}}},
    ):
        with pytest.raises(ValueError, match="^`path` must name"):
            config.check(found, sizes)


def test_sizes_under_a_name_of_values_are_sizes():
    layer = node("keras.layers", "Dense", {"units": 10**6})
    for key in ("seed", "loc", "value"):
        inside = {"kind": "instance", "class": "tfd.Normal", "arguments": {key: [layer]}}
        with pytest.raises(ValueError, match="must have sizes of at most"):
            config.check(inside, Sizes(largest=1000, parts=10))


@pytest.mark.parametrize("hidden", ["__slice__", "Dense"])
def test_a_tensor_inside_another_object_is_not_an_argument(hidden):
    found = functional()
    tensor = _arguments(found)[0]
    inside = {**node("keras.layers", hidden, {"start": tensor, "stop": 0, "step": 1})}
    call = {"args": [[30_000, 30_000], 1.0], "kwargs": {"dtype": inside}}
    full = {**node("keras.src.ops.numpy", "Full"), "name": "full", "inbound_nodes": [call]}
    found["config"]["layers"].append(full)
    with pytest.raises(ValueError, match="must hold calls of layers on tensors of the model"):
        config.check(found)


def test_deep_configurations_are_refused():
    deep = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(ValueError, match="a configuration of at most 100 levels"):
        config.check(deep)
