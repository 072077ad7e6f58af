"""TFP objects as plain data, so that a `.keras` file can hold a whole model.

A distribution becomes the name of its public class and the arguments it was made with; so does
every bijector in it. Constants become typed arrays, to the bit. What has an identity, a variable, a
Keras layer, a distribution or a bijector that stands in two places, is written once and referred to
by number, so that what was shared is shared again. Variables stand here with their values, from
which some of TFP's classes compute when they are made; those of Keras layers are in the weights.

Reading runs nothing that the file names: classes come from a closed list, TFP's public
distributions and bijectors and ours; Keras layers from Keras, in its own safe mode; functions are
refused on the way in.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import inspect
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_genext import bijectors, checks, tracking, transformers

_HOLDABLE = (
    "something a file can hold: a number, string, dtype, tensor, variable, Keras layer, one of "
    "TFP's public distributions or bijectors, one of tfp_genext, or a list, tuple or dict of these"
)
_SOURCES = {
    "tfd": (tfp.distributions, tfp.distributions.Distribution),
    "tfb": (tfp.bijectors, tfp.bijectors.Bijector),
    "gx.bijectors": (bijectors, tfp.bijectors.Bijector),
    "gx.transformers": (transformers, (transformers.Transformer, transformers.ScaleMap)),
}
_LAMBDAS = ("Lambda", "__lambda__")
_PLAIN = (bool, int, str, type(None))
_UNREADABLE = (
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    RecursionError,
    tf.errors.InvalidArgumentError,
)


@functools.cache
def _classes() -> dict[str, type]:
    """Returns the closed list: the classes that a file may name."""
    found = {}
    for prefix, (module, kinds) in _SOURCES.items():
        for name in dir(module):
            member = getattr(module, name)
            if inspect.isclass(member) and issubclass(member, kinds):
                found[f"{prefix}.{name}"] = member
    return found


def _class_name(kind: type) -> str | None:
    for name, listed in _classes().items():
        # TFP makes some objects of a class of the same name with an underscore before it.
        twin = kind.__name__ == f"_{listed.__name__}" and kind.__module__ == listed.__module__
        if kind is listed or twin:
            return name
    return None


def encode(value: Any, path: str) -> dict[str, Any]:
    """Returns a TFP object as plain data: lists, dicts and strings.

    Args:
      value: a distribution or a bijector.
      path: what to call it in messages.

    Raises:
      ValueError: where it holds what a file cannot, such as a function.
    """
    writer = _Writer()
    root = writer.node(value, path)
    _mark_shared(writer.layers)
    return {"objects": writer.objects, "root": root}


def decode(data: dict[str, Any], path: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """Returns the object that `encode` wrote, its Keras layers without their weights.

    Args:
      data: what `encode` returned.
      path: what to call it in messages.
      custom_objects: classes and functions by name, for Keras layers that are not registered.

    Raises:
      ValueError: where the data name a class that is not listed, or are not what `encode` writes.
    """
    try:
        return _Reader(data["objects"], custom_objects).value(data["root"], path)
    except _UNREADABLE as error:
        raise ValueError(
            f"`{path}` must be what `tfp_genext` wrote. Received: data that cannot be read "
            f"({type(error).__name__}: {error})"
        ) from error


class _Writer:
    """Turns values into nodes; keeps what has an identity in a table."""

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
        raise ValueError(checks.message(path, _HOLDABLE, value))

    def _all_forms(self) -> dict[Any, Callable]:
        return {
            (tf.Tensor, np.ndarray, np.generic): _array,
            float: lambda value, path: _float_node(value),
            tf.Variable: self._shared(_variable),
            tfp.util.TransformedVariable: self._shared(self._transformed_variable),
            tfp.util.DeferredTensor: self._shared(self._deferred_tensor),
            keras.Layer: self._shared(self._layer),
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
        config = layer_config(value, path)
        self.layers.append((value, config))
        return {"kind": "layer", "config": config}

    def _instance(self, value: Any, path: str) -> dict[str, Any]:
        name = _class_name(type(value))
        if name is None:
            raise ValueError(checks.message(path, _HOLDABLE, value))
        given = _without_defaults(_classes()[name], value.parameters)
        arguments = {k: self.node(v, f"{path}.{k}") for k, v in given.items()}
        return {"kind": "instance", "class": name, "arguments": arguments}

    def _dataclass(self, value: Any, path: str) -> dict[str, Any]:
        name = _class_name(type(value))
        if name is None or not dataclasses.is_dataclass(value):
            raise ValueError(checks.message(path, _HOLDABLE, value))
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
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
        **_array(value.numpy(), path),
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


def layer_config(value: keras.Layer, path: str) -> dict[str, Any]:
    """Returns a Keras layer as Keras writes it.

    Raises:
      ValueError: where it cannot be made again from that.
    """
    expected = "a Keras layer with a `get_config` from which it can be made again"
    try:
        config = keras.saving.serialize_keras_object(value)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(f"{checks.message(path, expected, value)}: {error}") from error
    refuse_lambdas(config, path)
    return config


def refuse_lambdas(config: Any, path: str) -> None:
    """Raises `ValueError` where a configuration of Keras holds a function without a name."""
    for name, value in _children(config):
        refuse_lambdas(value, f"{path}.{name}")
    if config == "<lambda>" or (isinstance(config, dict) and config.get("class_name") in _LAMBDAS):
        raise ValueError(checks.message(path, "a registered function, or none", "a lambda"))


def _children(config: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(config, dict):
        return config.items()
    return enumerate(config) if isinstance(config, (list, tuple)) else ()


def _mark_shared(written: Sequence[tuple[keras.Layer, dict[str, Any]]]) -> None:
    """Marks a layer that several networks hold in the configuration of each of them.

    Keras marks all but the first, of which a `Sequential` keeps a copy, and cannot read that.
    """
    holders: dict[int, list[dict[str, Any]]] = {}
    inner = [(layer, config) for network, config in written for layer in tracking.layers(network)]
    for layer, config in inner:
        holders.setdefault(id(layer), []).append(config)
    for layer, config in inner:
        if len(holders[id(layer)]) > 1:
            _mark(config, type(layer).__name__, layer.name, id(layer))


def _mark(config: Any, kind: str, name: str, number: int) -> None:
    for _, value in _children(config):
        _mark(value, kind, name, number)
    if isinstance(config, dict) and config.get("class_name") == kind:
        inner = config.get("config")
        if isinstance(inner, dict) and inner.get("name") == name:
            config["shared_object_id"] = number


def _array(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, (np.ndarray, np.generic)) and not hasattr(value, "numpy"):
        raise ValueError(checks.message(path, "a tensor with a value, not of a graph", value))
    array = np.asarray(value)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.hasobject or array.dtype.kind in "SU":
        raise ValueError(checks.message(path, "an array of numbers", value))
    return {
        "kind": "tensor" if tf.is_tensor(value) else "array",
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "bytes": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii"),
    }


def _dims(shape: tf.TensorShape) -> list[int | None] | None:
    return None if shape.rank is None else shape.as_list()


class _Reader:
    """Turns nodes back into values."""

    def __init__(self, objects: list[dict[str, Any]], custom_objects: Any) -> None:
        self._objects = objects
        self._custom_objects = custom_objects
        self._made: dict[int, Any] = {}
        self._forms = self._all_forms()

    def value(self, node: Any, path: str) -> Any:
        if isinstance(node, (*_PLAIN, float)):
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
        kind = _classes().get(node["class"])
        if kind is None:
            expected = "of a public class of TFP or tfp_genext"
            raise ValueError(checks.message(path, expected, node["class"]))
        arguments = {k: self.value(v, f"{path}.{k}") for k, v in node["arguments"].items()}
        return kind(**arguments)

    def _layer(self, node: dict[str, Any], path: str) -> Any:
        return keras.saving.deserialize_keras_object(
            node["config"], custom_objects=self._custom_objects
        )

    def _transformed_variable(self, node: dict[str, Any], path: str) -> Any:
        number = node["pretransformed"]["number"]
        if number in self._made:  # Something else holds the variable too.
            return self._deferred_tensor({**node, "dtype": None}, path)
        form = self._objects[number]
        bijector = self.value(node["bijector"], f"{path}.bijector")
        made = tfp.util.TransformedVariable(
            bijector.forward(tf.constant(_new_array(form, path))),
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


def _new_variable(node: dict[str, Any], path: str) -> tf.Variable:
    constraint = node["constraint"]
    if constraint is not None:
        constraint = keras.saving.deserialize_keras_object(constraint)
    return tf.Variable(
        _new_array(node, path),
        trainable=node["trainable"],
        constraint=constraint,
        name=node["name"],
    )


def _new_array(node: dict[str, Any], path: str) -> np.ndarray:
    dtype = np.dtype(tf.as_dtype(node["dtype"]).as_numpy_dtype)
    data = base64.b64decode(node["bytes"])
    if len(data) != math.prod(node["shape"]) * dtype.itemsize:
        expected = f"{dtype.name} numbers of shape {node['shape']}"
        raise ValueError(checks.message(path, expected, f"{len(data)} bytes"))
    return np.frombuffer(data, dtype).reshape(node["shape"])


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[str]:
    """Gives a file name to write to that becomes `path` in one rename, or not at all."""
    # A link stays one.
    path = os.path.realpath(os.fsdecode(path))
    if not os.path.isdir(os.path.dirname(path)) or os.path.isdir(path):
        expected = "a file in a directory that exists"
        raise FileNotFoundError(checks.message("filepath", expected, path))
    # Keras reads the format from the end of the name.
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=os.path.dirname(path)) as directory:
        written = os.path.join(directory, os.path.basename(path))
        yield written
        os.replace(written, path)
