"""What data of a file are looked at for before anything is made of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tfp_genext import budget
from tfp_genext.core import checks

# Where Keras keeps what models are made of. It has more that a file can name: functions that
# download, that build other models, that change settings.
_MODULES = frozenset(
    {
        "builtins",
        "keras",
        "keras._legacy.layers",
        "keras.activations",
        "keras.constraints",
        "keras.dtype_policies",
        "keras.initializers",
        "keras.layers",
        "keras.losses",
        "keras.metrics",
        "keras.ops",
        "keras.ops.image",
        "keras.optimizers",
        "keras.optimizers.schedules",
        "keras.quantizers",
        "keras.random",
        "keras.regularizers",
    }
)
# Packages of which Keras imports whatever module a file names.
_IMPORTED = ("keras", "keras_hub", "keras_cv", "keras_nlp")
# How often parts may be used again: this often, and this many times as often as there are parts.
_USES = 10_000
_USES_EACH = 10
# Arguments that say how many parts something of TFP has.
_PARTS = frozenset({"num_glow_blocks", "num_steps_per_block", "num_resnet", "num_hierarchies"})
# Whole numbers that are no sizes.
_NO_SIZES = (
    "seed",
    "shared_object_id",
    "decay_steps",
    "warmup_steps",
    "boundaries",
    "ema_overwrite_frequency",
    "initial_scale",
    "dynamic_growth_steps",
    "num_values",
)
# Entries of lists and arrays up to this length may be sizes; longer ones are data.
_SIZES = 16


def keras_config(config: Any, path: str) -> None:
    """Refuses a configuration of Keras that names what no model is made of, or is too large.

    Raises:
      ValueError: for a module that is none of layers and what belongs to them, a size beyond what
        the file may make, or layers that call each other over and over.
    """
    parts = 0
    for node in _dicts(config):
        parts += 1
        _check_module(node.get("module"), path)
    if _calls(config) > _USES + _USES_EACH * parts:
        raise ValueError(checks.message(path, "layers that do not multiply", f"{parts} parts"))
    sizes(config, path)


def sizes(value: Any, path: str) -> None:
    """Refuses whole numbers that can be no size of what a file may make, unless they are seeds."""
    limit = budget.current()
    if limit is None:
        return
    for name, number in _numbers(value, path):
        if abs(number) > limit.limit // 4:
            expected = f"of a size that this file can hold, at most {limit.limit // 4}, unless "
            expected += "`gx.saving.size_limit` allows more"
            raise ValueError(checks.message(name, expected, number))
        if name.rsplit(".", 1)[-1] in _PARTS:
            budget.spend_parts(abs(number), f"parts, {name}")


def references(objects: Sequence[Any], roots: Any) -> None:
    """Refuses objects that refer to later ones, or to others over and over.

    What one object holds twice is one object, but code that goes through it meets it twice: a chain
    of two chains of two chains takes forever.
    """
    uses: list[int] = []
    for i, node in enumerate([*objects, roots]):
        found = list(_references(node))
        late = [number for number in found if not isinstance(number, int) or not 0 <= number < i]
        if late:
            raise ValueError(checks.message("number", "of an object before", late[0]))
        uses.append(1 + sum(uses[number] for number in found))
        if uses[-1] > _USES + _USES_EACH * len(objects):
            raise ValueError(checks.message("objects", "such as do not multiply", uses[-1]))


def _check_module(module: Any, path: str) -> None:
    if not isinstance(module, str) or module in _MODULES:
        return
    package, *inner = module.split(".")
    if package not in _IMPORTED:
        return  # Keras looks such names up among registered classes, and imports nothing.
    public = package == "keras" and inner[:1] != ["src"]
    if public or module not in sys.modules:
        expected = "of imported modules that hold what models are made of"
        raise ValueError(checks.message(path, expected, module))


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for child in _children(value):
        yield from _dicts(child)


def _references(node: Any) -> Iterator[Any]:
    kind = node.get("kind") if isinstance(node, dict) else None
    if kind == "object":
        yield node.get("number")
    # What Keras makes may hold objects, but of a table of its own.
    elif kind not in ("layer", "plain data"):
        for child in _children(node):
            yield from _references(child)


def _calls(config: Any) -> int:
    """Returns how many parts a model calls, those of a layer as often as it is called."""
    calls = sum(map(_calls, _children(config)))
    if not isinstance(config, dict):
        return calls
    nodes = config.get("inbound_nodes")
    return (1 + calls) * (max(1, len(nodes)) if isinstance(nodes, list) else 1)


def _numbers(value: Any, path: str) -> Iterator[tuple[str, int]]:
    if isinstance(value, int):
        yield path, value
    elif isinstance(value, dict):
        for name, child in value.items():
            if not any(part in str(name) for part in _NO_SIZES):
                yield from _numbers(child, f"{path}.{name}")
    elif isinstance(value, (list, tuple)):
        for i, child in enumerate(value):
            if len(value) <= _SIZES or not isinstance(child, int):
                yield from _numbers(child, f"{path}[{i}]")
