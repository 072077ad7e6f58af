"""Classes of TFP and of this package that a file may name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow_probability as tfp

from tfp_genext import bijectors, transformers

_Kind = TypeVar("_Kind", bound=type)

_SOURCES = {
    "tfd": (tfp.distributions, tfp.distributions.Distribution),
    "tfb": (tfp.bijectors, tfp.bijectors.Bijector),
    "gx.bijectors": (bijectors, tfp.bijectors.Bijector),
    "gx.transformers": (transformers, (transformers.Transformer, transformers.ScaleMap)),
}
# They make networks themselves, whose weights are in no file.
_NOT_LISTED = frozenset({"tfb.BatchNormalization", "tfb.Glow", "tfd.PixelCNN"})
_ADDED: dict[str, type] = {}


def register(name: str) -> Callable[[_Kind], _Kind]:
    """Returns a decorator of classes that files may name: own transformers and the like.

    Instances are written as the arguments that they were made with: the fields of a dataclass, or
    the `parameters` of a `tfd.Distribution` or `tfb.Bijector`. The class must be registered before
    a file that names it is loaded. Heads are Keras objects, and registered by
    `keras.saving.register_keras_serializable`.

    Args:
      name: of the class in files, such as `"my_package.Mine"`.

    Example:

    ```python
    import dataclasses
    import tensorflow_probability as tfp
    import tfp_genext as gx

    @gx.saving.register("my_package.Shift")
    @dataclasses.dataclass(frozen=True)
    class Shift(gx.transformers.Transformer):
        params_size = 1

        def bijector(self, params):
            return tfp.bijectors.Shift(params[0])
    ```
    """

    def add(kind: _Kind) -> _Kind:
        _ADDED[name] = kind
        return kind

    return add


def classes() -> dict[str, type]:
    """Returns the classes that a file may name, by the names it gives them."""
    return {**_public(), **_ADDED}


def listed(name: Any) -> type | None:
    """Returns the class of a name in a file; `None` if there is none."""
    return classes().get(name) if isinstance(name, str) else None


def class_name(kind: type) -> str | None:
    """Returns the name of a listed class or of its private TFP counterpart, else `None`."""
    for name, listed in classes().items():
        # TFP makes some objects of a class of the same name with an underscore before it.
        twin = kind.__name__ == f"_{listed.__name__}" and kind.__module__ == listed.__module__
        if kind is listed or twin:
            return name
    return None


@functools.cache
def value_arguments(kind: Any) -> frozenset[str]:
    """Returns the arguments of a distribution that are numbers to compute with, not sizes."""
    if kind is None or not issubclass(kind, tfp.distributions.Distribution):
        return frozenset()
    try:
        return frozenset(kind.parameter_properties())
    except NotImplementedError:
        return frozenset()


@functools.cache
def _public() -> dict[str, type]:
    found = {}
    for prefix, (module, kinds) in _SOURCES.items():
        for name in dir(module):
            member = getattr(module, name)
            if inspect.isclass(member) and issubclass(member, kinds):
                found[f"{prefix}.{name}"] = member
    return {name: kind for name, kind in found.items() if name not in _NOT_LISTED}
