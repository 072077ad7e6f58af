"""Configurations of Keras layers that can be loaded again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras

from tfp_genext.core import checks, hosts

_LAMBDAS = ("Lambda", "__lambda__")


def layer_config(value: keras.Layer, path: str) -> dict[str, Any]:
    """Returns the configuration of a Keras layer.

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
    """Raises `ValueError` if a configuration holds a function without a name."""
    for name, value in _children(config):
        refuse_lambdas(value, f"{path}.{name}")
    if config == "<lambda>" or (isinstance(config, dict) and config.get("class_name") in _LAMBDAS):
        raise ValueError(checks.message(path, "a registered function, or none", "a lambda"))


def _children(config: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(config, dict):
        return config.items()
    return enumerate(config) if isinstance(config, (list, tuple)) else ()


def mark_shared(written: Sequence[tuple[keras.Layer, dict[str, Any]]]) -> None:
    """Marks a layer that several networks hold in the configuration of each of them.

    Keras marks all but the first, of which a `Sequential` keeps a copy, and cannot read that.
    """
    holders: dict[int, list[dict[str, Any]]] = {}
    inner = [(layer, config) for network, config in written for layer in hosts.layers(network)]
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
