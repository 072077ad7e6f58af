"""The closed list: the classes that a file may name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar

import tensorflow_probability as tfp

from tfp_genext import bijectors, transformers

_Kind = TypeVar("_Kind", bound=type)

_SOURCES = {
    "tfd": (tfp.distributions, tfp.distributions.Distribution),
    "tfb": (tfp.bijectors, tfp.bijectors.Bijector),
    "gx.bijectors": (bijectors, tfp.bijectors.Bijector),
    "gx.transformers": (transformers, (transformers.Transformer, transformers.ScaleMap)),
}


_ADDED: dict[str, type] = {}


def holdable(name: str) -> Callable[[_Kind], _Kind]:
    """Returns a decorator that lists a class of a floor above this one, by its public name."""

    def add(kind: _Kind) -> _Kind:
        _ADDED[name] = kind
        return kind

    return add


def classes() -> dict[str, type]:
    """Returns the classes that a file may name, by the names it gives them."""
    found = dict(_ADDED)
    for prefix, (module, kinds) in _SOURCES.items():
        for name in dir(module):
            member = getattr(module, name)
            if inspect.isclass(member) and issubclass(member, kinds):
                found[f"{prefix}.{name}"] = member
    return found


def class_name(kind: type) -> str | None:
    """Returns the name of a listed class, or of what TFP makes in its place; else `None`."""
    for name, listed in classes().items():
        # TFP makes some objects of a class of the same name with an underscore before it.
        twin = kind.__name__ == f"_{listed.__name__}" and kind.__module__ == listed.__module__
        if kind is listed or twin:
            return name
    return None
