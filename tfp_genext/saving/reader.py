"""Decoding of TFP objects from plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_genext.core import checks
from tfp_genext.saving import arrays, classes
from tfp_genext.saving.errors import reading
from tfp_genext.saving.plain import PlainData

_PLAIN = (bool, int, float, str, type(None))
# How often objects may be used again: this often, and so many times for each object.
_USES, _USES_EACH = 10_000, 10


def decode(data: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns the objects that `encode` wrote, by name, their Keras layers without their weights.

    Args:
      data: what `encode` returned.
      custom_objects: classes and functions by name, for Keras layers that are not registered.

    Raises:
      ValueError: where the data name a class that is not listed, or are not what `encode` writes.
    """
    with reading():
        _check_references(data["objects"], data["roots"])
        reader = _Reader(data["objects"], custom_objects)
        return {name: reader.value(root, name) for name, root in data["roots"].items()}


def _check_references(objects: Sequence[Any], roots: Any) -> None:
    """Raises `ValueError` if objects refer to later ones, or to others over and over.

    An object that stands in two places is one object, but code that goes through all that an object
    holds meets it twice: a chain of two chains of two chains takes forever.
    """
    uses: list[int] = []
    for i, node in enumerate([*objects, roots]):
        found = list(_references(node))
        late = [number for number in found if type(number) is not int or not 0 <= number < i]
        if late:
            raise ValueError(checks.message("number", "of an object before", late[0]))
        uses.append(1 + sum(uses[number] for number in found))
        if uses[-1] > _USES + _USES_EACH * len(objects):
            raise ValueError(checks.message("objects", "such as do not multiply", uses[-1]))


def _references(node: Any) -> Iterator[Any]:
    kind = node.get("kind") if isinstance(node, dict) else None
    if kind == "object":
        yield node.get("number")
    # Keras objects may hold TFP objects too, with a table of their own.
    elif kind not in ("layer", "plain data"):
        inner = node.values() if isinstance(node, dict) else node
        for child in inner if isinstance(node, (dict, list)) else ():
            yield from _references(child)


class _Reader:
    """Decoder of nodes to values."""

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
            "tensor": lambda node, path: tf.constant(arrays.decode(node, path)),
            "array": arrays.decode,
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
        kind = classes.listed(node["class"])
        if kind is None:
            expected = "of a public class of TFP or tfp_genext"
            raise ValueError(checks.message(path, expected, node["class"]))
        arguments = {k: self.value(v, f"{path}.{k}") for k, v in node["arguments"].items()}
        return kind(**arguments)

    def _layer(self, node: dict[str, Any], path: str) -> Any:
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
        start = arrays.decode(form, path)
        made = tfp.util.TransformedVariable(
            checks.run_trial(lambda: bijector.forward(tf.constant(start))),
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


def _plain_data(node: dict[str, Any], path: str) -> PlainData:
    value = keras.saving.deserialize_keras_object(node["config"])
    if not isinstance(value, PlainData):
        raise ValueError(checks.message(path, "plain data of tfp_genext", value))
    return value


def _new_variable(node: dict[str, Any], path: str) -> tf.Variable:
    constraint = node["constraint"]
    if constraint is not None:
        constraint = keras.saving.deserialize_keras_object(constraint)
    return tf.Variable(
        arrays.decode(node, path),
        trainable=node["trainable"],
        constraint=constraint,
        name=node["name"],
    )
