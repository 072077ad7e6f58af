"""Encoding of TFP objects as plain data."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_genext import transformers
from tfp_genext.core import checks
from tfp_genext.saving import arrays, classes, keras_layers
from tfp_genext.saving.plain import PlainData

_HOLDABLE = (
    "something a file can hold: a number, string, dtype, tensor, variable, Keras layer, one of "
    "TFP's public distributions or bijectors, one of tfp_genext, an instance of a class of yours "
    "under `gx.saving.register`, or a list, tuple or dict of these"
)
_PLAIN = (bool, int, str, type(None))


def encode(values: dict[str, Any]) -> dict[str, Any]:
    """Returns TFP objects as plain data: lists, dicts and strings.

    Args:
      values: distributions, bijectors and Keras layers, by the names that messages call them. What
        several of them share is written once.

    Raises:
      ValueError: where one holds what a file cannot, such as a function.
    """
    writer = _Writer()
    roots = {name: writer.node(value, name) for name, value in values.items()}
    keras_layers.mark_shared(writer.layers)
    return {"objects": writer.objects, "roots": roots}


class _Writer:
    """Encoder of values as nodes, with a table of objects that have an identity."""

    def __init__(self) -> None:
        self.objects: list[dict[str, Any]] = []
        self.layers: list[tuple[keras.Layer, dict[str, Any]]] = []
        self._numbers: dict[int, int] = {}
        self._alive: list[Any] = []
        self._forms = self._all_forms()

    def node(self, value: Any, path: str) -> Any:
        if isinstance(value, _PLAIN):
            return value
        for kinds, write in self._forms.items():
            if isinstance(value, kinds):
                return write(value, path)
        return self._dataclass(value, path)

    def _all_forms(self) -> dict[Any, Callable]:
        return {
            (tf.Tensor, np.ndarray, np.generic): arrays.encode,
            float: lambda value, path: _float_node(value),
            tf.Variable: self._shared(_variable),
            tfp.util.TransformedVariable: self._shared(self._transformed_variable),
            tfp.util.DeferredTensor: self._shared(self._deferred_tensor),
            keras.Layer: self._shared(self._layer),
            PlainData: lambda value, path: {
                "kind": "plain data",
                "config": keras.saving.serialize_keras_object(value),
            },
            (tfp.distributions.Distribution, tfp.bijectors.Bijector): self._shared(self._instance),
            (transformers.Transformer, transformers.ScaleMap): self._dataclass,
            tf.DType: lambda value, path: {"kind": "dtype", "name": value.name},
            tf.TensorShape: lambda value, path: {"kind": "shape", "dims": _dims(value)},
            (list, tuple): self._sequence,
            dict: self._mapping,
        }

    def _shared(self, write: Callable) -> Callable:
        def shared(value: Any, path: str) -> dict[str, Any]:
            if id(value) not in self._numbers:
                written = write(value, path)
                self._numbers[id(value)] = len(self.objects)
                self.objects.append(written)
                self._alive.append(value)
            return {"kind": "object", "number": self._numbers[id(value)]}

        return shared

    def _layer(self, value: keras.Layer, path: str) -> dict[str, Any]:
        config = keras_layers.layer_config(value, path)
        self.layers.append((value, config))
        return {"kind": "layer", "config": config}

    def _instance(self, value: Any, path: str) -> dict[str, Any]:
        name = classes.class_name(type(value))
        if name is None:
            raise ValueError(checks.message(path, _HOLDABLE, value))
        given = _without_defaults(classes.classes()[name], value.parameters)
        arguments = {k: self.node(v, f"{path}.{k}") for k, v in given.items()}
        return {"kind": "instance", "class": name, "arguments": arguments}

    def _dataclass(self, value: Any, path: str) -> dict[str, Any]:
        name = classes.class_name(type(value))
        if name is None:
            raise ValueError(checks.message(path, _HOLDABLE, value))
        if not dataclasses.is_dataclass(value) and vars(value):
            expected = "a dataclass, or without attributes, to be saved"
            raise ValueError(checks.message(path, expected, value))
        known = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
        fields = {f.name: getattr(value, f.name) for f in known}
        arguments = {k: self.node(v, f"{path}.{k}") for k, v in fields.items()}
        return {"kind": "instance", "class": name, "arguments": arguments}

    def _transformed_variable(self, value: Any, path: str) -> dict[str, Any]:
        return {
            "kind": "transformed variable",
            "bijector": self.node(value.bijector, f"{path}.bijector"),
            "pretransformed": self.node(value.pretransformed_input, f"{path}.pretransformed_input"),
            "name": value.name,
        }

    def _deferred_tensor(self, value: Any, path: str) -> dict[str, Any]:
        transform = value.transform_fn
        # TFP shows the method of a bijector that it was given.
        bijector = getattr(transform, "__self__", transform)
        if not isinstance(bijector, tfp.bijectors.Bijector) or transform != bijector.forward:
            raise ValueError(checks.message(f"{path}.transform_fn", "a bijector", transform))
        return {
            "kind": "deferred tensor",
            "bijector": self.node(bijector, f"{path}.transform_fn"),
            "pretransformed": self.node(value.pretransformed_input, f"{path}.pretransformed_input"),
            "dtype": tf.as_dtype(value.dtype).name,
            "name": value.name,
        }

    def _sequence(self, value: Any, path: str) -> dict[str, Any]:
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {"kind": kind, "items": [self.node(v, f"{path}[{i}]") for i, v in enumerate(value)]}

    def _mapping(self, value: Any, path: str) -> dict[str, Any]:
        keys = [key for key in value if not isinstance(key, str)]
        if keys:
            raise ValueError(checks.message(path, "a dict of strings to values", value))
        items = {key: self.node(v, f"{path}[{key!r}]") for key, v in value.items()}
        return {"kind": "dict", "items": items}


def _without_defaults(kind: type, parameters: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments that differ from the constructor's defaults.

    A default that is a function, as some of TFP's are, needs no place in a file.
    """
    known = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    named = {k: v for k, v in parameters.items() if k in known or open_ended}
    return {k: v for k, v in named.items() if k not in known or v is not known[k].default}


def _float_node(value: float) -> Any:
    return value if math.isfinite(value) else {"kind": "float", "value": repr(value)}


def _variable(value: tf.Variable, path: str) -> dict[str, Any]:
    return {
        **arrays.encode(value.numpy(), path),
        "kind": "variable",
        "trainable": bool(value.trainable),
        "constraint": _constraint(getattr(value, "constraint", None), f"{path}.constraint"),
        "name": value.name.split(":")[0],
    }


def _constraint(value: Any, path: str) -> Any:
    if value is None:
        return None
    if not isinstance(value, keras.constraints.Constraint):
        raise ValueError(checks.message(path, "a keras.constraints.Constraint", value))
    return keras.saving.serialize_keras_object(value)


def _dims(shape: tf.TensorShape) -> list[int | None] | None:
    return None if shape.rank is None else shape.as_list()
