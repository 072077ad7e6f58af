"""From plain data back to TFP objects."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_genext import budget
from tfp_genext.core import checks
from tfp_genext.saving import listed, vetted
from tfp_genext.saving.guard import reading
from tfp_genext.saving.plain import PlainData

_PLAIN = (bool, int, float, str, type(None))


def decode(data: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns the objects that `encode` wrote, by name, their Keras layers without their weights.

    Args:
      data: what `encode` returned.
      custom_objects: classes and functions by name, for Keras layers that are not registered.

    Raises:
      ValueError: where the data name a class that is not listed, or are not what `encode` writes.
    """
    with reading():
        vetted.references(data["objects"], data["roots"])
        reader = _Reader(data["objects"], custom_objects)
        return {name: reader.value(root, name) for name, root in data["roots"].items()}


class _Reader:
    """Turns nodes back into values."""

    def __init__(self, objects: list[dict[str, Any]], custom_objects: Any) -> None:
        self._objects = objects
        self._custom_objects = custom_objects
        self._made: dict[int, Any] = {}
        self._forms = self._all_forms()

    def value(self, node: Any, path: str) -> Any:
        if isinstance(node, _PLAIN):
            return node
        read = self._forms.get(node["kind"])
        if read is None:
            raise ValueError(checks.message(path, f"of a kind in {sorted(self._forms)}", node))
        return read(node, path)

    def _all_forms(self) -> dict[str, Callable]:
        return {
            "object": self._object,
            "instance": self._instance,
            "variable": _new_variable,
            "transformed variable": self._transformed_variable,
            "deferred tensor": self._deferred_tensor,
            "layer": self._layer,
            "plain data": _plain_data,
            "tensor": lambda node, path: tf.constant(_new_array(node, path)),
            "array": _new_array,
            "float": lambda node, path: float(node["value"]),
            "dtype": lambda node, path: tf.as_dtype(node["name"]),
            "shape": lambda node, path: tf.TensorShape(node["dims"]),
            "list": lambda node, path: list(self._items(node, path)),
            "tuple": lambda node, path: tuple(self._items(node, path)),
            "dict": lambda node, path: {
                key: self.value(v, f"{path}[{key!r}]") for key, v in node["items"].items()
            },
        }

    def _items(self, node: dict[str, Any], path: str) -> Iterator[Any]:
        return (self.value(v, f"{path}[{i}]") for i, v in enumerate(node["items"]))

    def _object(self, node: dict[str, Any], path: str) -> Any:
        number = node["number"]
        if number not in self._made:
            self._made[number] = self.value(self._objects[number], path)
        return self._made[number]

    def _instance(self, node: dict[str, Any], path: str) -> Any:
        kind = listed.classes().get(node["class"])
        if kind is None:
            expected = "of a public class of TFP or tfp_genext"
            raise ValueError(checks.message(path, expected, node["class"]))
        arguments = {k: self.value(v, f"{path}.{k}") for k, v in node["arguments"].items()}
        values = _value_arguments(kind)
        for name, value in arguments.items():
            if name not in values:
                vetted.sizes(_plain_sizes(value), f"{path}.{name}")
        return kind(**arguments)

    def _layer(self, node: dict[str, Any], path: str) -> Any:
        vetted.keras_config(node["config"], path)
        layer = keras.saving.deserialize_keras_object(
            node["config"], custom_objects=self._custom_objects
        )
        if not isinstance(layer, keras.Layer):
            raise ValueError(checks.message(path, "a Keras layer", layer))
        return layer

    def _transformed_variable(self, node: dict[str, Any], path: str) -> Any:
        number = node["pretransformed"]["number"]
        if number in self._made:  # Something else holds the variable too.
            return self._deferred_tensor({**node, "dtype": None}, path)
        form = self._objects[number]
        bijector = self.value(node["bijector"], f"{path}.bijector")
        start = _new_array(form, path)
        made = tfp.util.TransformedVariable(
            budget.tried(lambda: bijector.forward(tf.constant(start))),
            bijector,
            trainable=form["trainable"],
            name=node["name"],
        )
        self._made[number] = made.pretransformed_input
        return made

    def _deferred_tensor(self, node: dict[str, Any], path: str) -> Any:
        return tfp.util.DeferredTensor(
            self.value(node["pretransformed"], f"{path}.pretransformed_input"),
            self.value(node["bijector"], f"{path}.transform_fn"),
            dtype=node["dtype"],
            name=node["name"],
        )


def _value_arguments(kind: Any) -> set[str]:
    """Returns the names of arguments that are numbers to compute with, and no sizes."""
    if not issubclass(kind, tfp.distributions.Distribution):
        return set()
    try:
        return set(kind.parameter_properties())
    except NotImplementedError:
        return set()


def _plain_sizes(value: Any) -> Any:
    """Returns an argument as lists and numbers, so far as it may be sizes."""
    if isinstance(value, tf.TensorShape):
        return value.as_list() if value.rank is not None else None
    if tf.is_tensor(value) or isinstance(value, np.ndarray):
        whole = tf.as_dtype(value.dtype).is_integer
        return np.asarray(value).ravel().tolist() if whole else None
    return value


def _plain_data(node: dict[str, Any], path: str) -> PlainData:
    vetted.keras_config(node["config"], path)
    value = keras.saving.deserialize_keras_object(node["config"])
    if not isinstance(value, PlainData):
        raise ValueError(checks.message(path, "plain data of tfp_genext", value))
    return value


def _new_variable(node: dict[str, Any], path: str) -> tf.Variable:
    constraint = node["constraint"]
    if constraint is not None:
        vetted.keras_config(constraint, path)
        constraint = keras.saving.deserialize_keras_object(constraint)
    return tf.Variable(
        _new_array(node, path),
        trainable=node["trainable"],
        constraint=constraint,
        name=node["name"],
    )


def _new_array(node: dict[str, Any], path: str) -> np.ndarray:
    dtype = np.dtype(tf.as_dtype(node["dtype"]).as_numpy_dtype)
    data = base64.b64decode(node["bytes"], validate=True)
    if len(data) != math.prod(node["shape"]) * dtype.itemsize:
        expected = f"{dtype.name} numbers of shape {node['shape']}"
        raise ValueError(checks.message(path, expected, f"{len(data)} bytes"))
    return np.frombuffer(data, dtype).reshape(node["shape"])
