"""The list of Keras' classes and functions follows Keras, and has nothing that does more."""

from __future__ import annotations

import importlib
import inspect

import keras
import pytest

from tfp_genext.saving import config, keras_names

# Layers that read files, run code of other frameworks or functions, or are bases of others.
NOT_LISTED = {
    *("FlaxLayer", "IntegerLookup", "JaxLayer", "Lambda", "StringLookup", "TFSMLayer"),
    *("TextVectorization", "TorchModuleWrapper", "Layer", "Wrapper"),
}
NEVER = {
    *("keras.config.", "keras.utils.", "keras.datasets.", "keras.saving.", "keras.applications."),
    *("keras.tree.", "keras.export.", "keras.distribution.", "keras.backend.", "keras.callbacks."),
}


def member(name):
    module, _, name = name.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", sorted(keras_names.classes()))
def test_classes_are_classes_of_keras(name):
    kind = member(name)
    assert inspect.isclass(kind) and kind.__module__.startswith("keras.src.")
    assert not any(name.startswith(module) for module in NEVER)


def test_functions_are_functions_of_keras():
    modules = ("activations", "losses", "metrics")
    for name in keras_names.functions():
        module, _, name = name.rpartition(".")
        places = modules if module == "builtins" else [module.removeprefix("keras.")]
        found = [getattr(getattr(keras, place), name, None) for place in places]
        assert any(map(inspect.isfunction, found)), name
        assert name not in ("get", "deserialize", "serialize")


def test_layers_that_are_not_listed_are_known():
    names = [n for n, v in vars(keras.layers).items() if inspect.isclass(v)]
    layers = {n for n in names if issubclass(getattr(keras.layers, n), keras.layers.Layer)}
    listed = {member(name) for name in keras_names.classes()}
    missing = {name for name in layers if getattr(keras.layers, name) not in listed}
    assert missing == NOT_LISTED & layers, keras.__version__


def test_operations_take_no_functions():
    operations = [n for n in keras_names.classes() if n.startswith("keras.src.ops.")]
    assert len(operations) > 250
    for name in operations:
        parameters = {
            *inspect.signature(member(name).call).parameters,
            *inspect.signature(member(name).__init__).parameters,
        }
        assert not parameters & {"f", "fun", "function", "cond", "body", "branches", "true_fn"}, (
            name
        )


@pytest.mark.parametrize(
    "thing",
    [
        keras.layers.LSTM(3, kernel_regularizer="l2", recurrent_constraint="unit_norm"),
        keras.layers.Bidirectional(keras.layers.GRU(2)),
        keras.layers.TimeDistributed(keras.layers.Conv1D(2, 3, activation=keras.ops.tanh)),
        keras.initializers.GlorotUniform(seed=keras.random.SeedGenerator(1)),
        keras.layers.Dense(2, activation="gelu", dtype="mixed_float16"),
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.1, 10), clipnorm=1.0),
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(momentum=0.9)),
        keras.losses.BinaryCrossentropy(),
        keras.losses.hinge,
        keras.activations.tanh,
        keras.metrics.MeanMetricWrapper(keras.metrics.hinge),
    ],
    ids=lambda thing: getattr(thing, "__name__", type(thing).__name__),
)
def test_things_of_keras_pass(thing):
    config.check(keras.saving.serialize_keras_object(thing))
