"""The closed list: the classes that a file may name."""

from __future__ import annotations

import inspect

import tensorflow_probability as tfp

from tfp_genext import bijectors, transformers

_SOURCES = {
    "tfd": (tfp.distributions, tfp.distributions.Distribution),
    "tfb": (tfp.bijectors, tfp.bijectors.Bijector),
    "gx.bijectors": (bijectors, tfp.bijectors.Bijector),
    "gx.transformers": (transformers, (transformers.Transformer, transformers.ScaleMap)),
}


def classes() -> dict[str, type]:
    """Returns the classes that a file may name, by the names it gives them."""
    found = {}
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
