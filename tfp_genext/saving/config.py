"""Checks of a file's configuration before anything is made of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Set
from typing import Any

import keras

from tfp_genext.saving import arrays, classes, keras_names
from tfp_genext.saving.errors import wrong

# Keras' own forms of plain values.
_PLAIN = ["__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"]
# Levels of lists and dicts in each other: each takes several frames of Python's stack.
_DEPTH = 100
# How often layers may be called inside models that are layers themselves: this often, and so many
# times for each part of the configuration.
_CALLS, _CALLS_EACH = 10_000, 10
# Arguments that say how many parts a network or metric has, or list one size for each.
_COUNTS = frozenset({"hidden_units", "num_blocks", "num_layers", "num_masks", "num_thresholds"})
# Arguments that are whole numbers, but not sizes.
_NOT_SIZES = frozenset(
    {
        *("boundaries", "decay_steps", "first_decay_steps", "warmup_steps", "seed", "mask_seed"),
        *("dynamic_growth_steps", "ema_overwrite_frequency", "initial_scale", "num_values"),
        *("shared_object_id", "value"),
    }
)
# Arrays of more numbers than this are data, not sizes.
_SIZES = 16


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Limits of the sizes that a configuration names.

    Args:
      largest: whole number that is a size.
      parts: number of layers or masks of one network.
    """

    largest: int
    parts: int


def check(
    config: Any, sizes: Sizes | None = None, custom_objects: dict[str, Any] | None = None
) -> None:
    """Checks that a configuration names listed classes and functions only, of allowed sizes.

    Classes and functions of the user are allowed if they are registered with Keras, or in a scope
    of custom objects.

    Args:
      config: of Keras; nodes of Functional models and arguments of `compile` are checked too.
      sizes: limits. Default: none.
      custom_objects: classes and functions by name, beside those that are registered.

    Raises:
      ValueError: if it names something else, is nested too deeply, multiplies, or is too large.
    """
    walk = _Walk(sizes, custom_objects)
    if walk.calls("", config, 0) > _CALLS + _CALLS_EACH * walk.parts:
        raise wrong("hold layers that do not multiply", f"{walk.parts} parts, nested")


class _Walk:
    """A walk through all of a configuration that checks each value."""

    def __init__(self, sizes: Sizes | None, custom_objects: dict[str, Any] | None) -> None:
        self._sizes = sizes
        self._custom_objects = custom_objects
        self.parts = 0

    def calls(
        self,
        name: str,
        value: Any,
        depth: int,
        values: Set[str] = frozenset(),
        *,
        sized: bool = True,
    ) -> int:
        """Checks a value recursively; returns the number of calls that constructing it makes.

        Args:
          name: of the value.
          value: a part of the configuration.
          depth: how many lists and dicts it is in.
          values: names of entries that are numbers to compute with.
          sized: whether numbers are sizes.
        """
        if depth > _DEPTH:
            raise wrong(f"hold a configuration of at most {_DEPTH} levels", "more")
        if self._sizes is not None and sized:
            _check_size(name, value, self._sizes)
        if isinstance(value, (list, tuple)):
            item = f"{name}[...]"
            return sum(self.calls(item, v, depth + 1, sized=sized) for v in value)
        return self._calls_of_part(value, depth, values) if isinstance(value, dict) else 0

    def _calls_of_part(self, part: dict[str, Any], depth: int, values: Set[str]) -> int:
        self.parts += 1
        _check_names(part, self._custom_objects)
        nodes = part.get("inbound_nodes")
        _check_nodes(nodes)
        below = classes.value_arguments(classes.listed(part.get("class")))
        # The shape of an array is that of the bytes beside it.
        plain = _NOT_SIZES | values | ({"shape"} if "bytes" in part else set())
        inner = sum(
            self.calls(
                name,
                value,
                depth + 1,
                below if name == "arguments" else frozenset(),
                sized=name not in plain or not _is_number(value),
            )
            for name, value in part.items()
        )
        return (1 + inner) * (max(1, len(nodes)) if isinstance(nodes, list) else 1)


def _check_names(node: dict[str, Any], custom_objects: dict[str, Any] | None) -> None:
    """Raises `ValueError` if a part of a configuration names something that is not listed."""
    if node.get("kind") == "instance" and classes.listed(node.get("class")) is None:
        raise wrong("name a public class of TFP or tfp_genext", repr(node.get("class")))
    kind = node.get("class_name")
    if "class_name" not in node or _is_plain(node):
        return
    module, name = node.get("module"), node.get("registered_name", kind)
    listed = keras_names.classes()
    if kind == "function":
        kind = name = node.get("config")
        listed = keras_names.functions()
    # Without a module, Keras reads an older format, by other rules.
    if isinstance(module, str) and isinstance(kind, str):
        own = name if isinstance(name, str) else ""
        if keras.saving.get_registered_object(own, custom_objects) is not None:
            return
        if f"{module}.{kind}" in listed:
            return
    if isinstance(name, str) and ">" in name:
        raise wrong(
            "name classes that are registered: import the module that defines "
            f"{kind!r}, decorated with `keras.saving.register_keras_serializable`, before loading",
            f"{name!r}, which is not registered",
        )
    expected = "name registered classes, or classes and functions of Keras that models need"
    raise wrong(expected, f"{kind!r} of {module!r}")


def _is_plain(node: dict[str, Any]) -> bool:
    """Returns whether a node is a plain value: its dtype, if any, must be one of numbers."""
    inner = node.get("config")
    if node["class_name"] not in _PLAIN:
        return False
    if isinstance(inner, dict) and "dtype" in inner:
        arrays.number_dtype(inner["dtype"])
    return True


def _check_nodes(nodes: Any) -> None:
    """Raises `ValueError` for a call without a symbolic tensor, which would compute something."""
    for node in nodes if isinstance(nodes, list) else ():
        if isinstance(node, dict) and not _has_tensor(node):
            raise wrong("hold calls of layers on tensors of the model", node)


def _has_tensor(value: Any) -> bool:
    if isinstance(value, dict):
        # In a dict that Keras makes an object of, Keras does not look for tensors.
        kind = value.get("class_name")
        return kind == "__keras_tensor__" or (
            "class_name" not in value and any(map(_has_tensor, value.values()))
        )
    return isinstance(value, (list, tuple)) and any(map(_has_tensor, value))


def _is_number(value: Any) -> bool:
    """Returns whether a value is a number, a list of numbers or an array."""
    if isinstance(value, list):
        return all(map(_is_number, value))
    is_array = isinstance(value, dict) and value.get("kind") in ("array", "tensor")
    return is_array or isinstance(value, (int, float))


def _check_size(name: str, value: Any, sizes: Sizes) -> None:
    """Raises `ValueError` for a whole number that is too large, in a small array as well."""
    number = len(value) if name in _COUNTS and isinstance(value, list) else value
    largest = sizes.parts if name in _COUNTS and number is not None else sizes.largest
    numbers = [number]
    if isinstance(value, dict) and value.get("kind") in ("tensor", "array"):
        numbers = _whole_numbers(value)
    if any(isinstance(n, int) and abs(n) > largest for n in numbers):
        expected = f"have sizes of at most {largest} in its configuration, of which "
        raise wrong(f"{expected}`max_bytes` allows more", f"{name}={numbers}")


def _whole_numbers(node: dict[str, Any]) -> list[int]:
    """Returns the whole numbers of an array that is small enough to be sizes."""
    small = math.prod(node["shape"]) <= _SIZES and arrays.number_dtype(node["dtype"]).kind in "iu"
    return arrays.decode(node, "array").ravel().tolist() if small else []
