"""Changes to the configuration in a `.keras` file, such as an attacker would make."""

from __future__ import annotations

import base64
import copy
import inspect
import json
import marshal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tfp_genext.saving import classes

Change = Callable[[Any, np.random.Generator], Any]

_BIG = [10**4, 10**6, 10**7, 10**9, 2**31, 2**63, 10**30]
_ODD = [0, -1, -(10**9), 0.5, 1e308, float("nan"), float("inf"), True, None, "", "x", "1", [], {}]
_SIZES = frozenset(
    [
        *("units", "filters", "kernel_size", "hidden_units", "event_size", "params_size", "axis"),
        *("params_shape", "image_shape", "event_shape", "input_shape", "shape", "dims", "order"),
        *("num_layers", "num_masks", "num_classes", "num_components", "num_values", "num_bins"),
        *("batch_shape", "levels", "block_size", "permutation"),
    ]
)


def paths(node: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yields the way to each value inside a configuration."""
    children: Any = ()
    if isinstance(node, dict):
        children = node.items()
    elif isinstance(node, list):
        children = enumerate(node)
    for key, child in children:
        yield (*path, key)
        yield from paths(child, (*path, key))


def at(node: Any, path: tuple) -> Any:
    """Returns the value at the end of a way."""
    for key in path:
        node = node[key]
    return node


def put(node: Any, path: tuple, value: Any) -> None:
    """Sets the value at the end of a way."""
    at(node, path[:-1])[path[-1]] = value


def _pick(rng: np.random.Generator, things: Any) -> Any:
    things = list(things)
    return things[int(rng.integers(len(things)))]


def _some(config: Any, rng: np.random.Generator, wanted: Callable[[tuple, Any], bool]) -> tuple:
    """Returns the way to one of the values that are wanted, or else to any."""
    every = list(paths(config))
    found = [path for path in every if wanted(path, at(config, path))]
    return _pick(rng, found or every)


def _size(config: Any, rng: np.random.Generator) -> None:
    path = _some(config, rng, lambda p, v: any(key in _SIZES for key in p) and isinstance(v, int))
    put(config, path, _pick(rng, _BIG))


def _number(config: Any, rng: np.random.Generator) -> None:
    path = _some(config, rng, lambda _, v: isinstance(v, (int, float)))
    put(config, path, _pick(rng, [*_BIG, *_ODD]))


def _kind(config: Any, rng: np.random.Generator) -> None:
    put(config, _some(config, rng, lambda *_: True), copy.deepcopy(_pick(rng, _ODD)))


def _lost(config: Any, rng: np.random.Generator) -> None:
    path = _some(config, rng, lambda *_: True)
    del at(config, path[:-1])[path[-1]]


def _twice(config: Any, rng: np.random.Generator) -> None:
    path = _some(config, rng, lambda _, v: isinstance(v, list) and len(v) > 0)
    value = at(config, path)
    if isinstance(value, list):
        value.extend(copy.deepcopy(value) * int(rng.integers(1, 4)))


def _moved(config: Any, rng: np.random.Generator) -> None:
    taken = copy.deepcopy(at(config, _some(config, rng, lambda *_: True)))
    put(config, _some(config, rng, lambda *_: True), taken)


def _foreign(config: Any, rng: np.random.Generator) -> None:
    # In the place of something that is made, or of a plain value.
    wanted = _pick(rng, [_is_made, lambda *_: True])
    put(config, _some(config, rng, wanted), copy.deepcopy(_pick(rng, FOREIGN)))


def _is_made(path: tuple, value: Any) -> bool:
    names = ("activation", "constraint", "optimizer", "objective", "preprocessing", "config")
    return (isinstance(value, dict) and "class_name" in value) or path[-1] in names


def _renamed(config: Any, rng: np.random.Generator) -> None:
    path = _some(config, rng, lambda p, _: p[-1] in ("class_name", "module", "registered_name"))
    names = ["system", "os", "os.path", "builtins", "eval", "function", "keras.utils", "get_file"]
    names += ["Lambda", "keras.src.utils.file_utils", "keras.src.testing", "tfp_genext>MADE"]
    put(config, path, _pick(rng, names))


def _class(config: Any, rng: np.random.Generator) -> None:
    path = _some(config, rng, lambda p, _: p[-1] == "class")
    put(
        config,
        path,
        _pick(rng, [*classes.classes(), "os.system", "tfd.__builtins__", "tfb._cache"]),
    )


def _instance(config: Any, rng: np.random.Generator) -> None:
    """Puts a class with sizes, numbers and tensors for arguments where another object was."""
    name, kind = _pick(rng, classes.classes().items())
    known = [p for p in inspect.signature(kind.__init__).parameters if p != "self"]
    whole = _tensor(np.array([_pick(rng, [3, 10**9])], "int64"))
    values = [2, 3.0, [2], _tensor(np.ones([2], "float32")), whole, *_BIG[:4]]
    values = [{"kind": "list", "items": v} if isinstance(v, list) else v for v in values]
    given = {p: _pick(rng, values) for p in known if rng.random() < 0.6}
    path = _some(config, rng, lambda _, v: isinstance(v, dict) and v.get("kind") == "instance")
    put(config, path, {"kind": "instance", "class": name, "arguments": given})


def _tensor(array: np.ndarray) -> dict[str, Any]:
    data = base64.b64encode(array.tobytes()).decode()
    return {
        "kind": "tensor",
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "bytes": data,
    }


def _bytes(config: Any, rng: np.random.Generator) -> None:
    path = _some(config, rng, lambda p, _: p[-1] in ("bytes", "dtype", "shape", "dims"))
    values = ["", "====", "A" * 1000, "\x00", "complex64", "string", "resource", "object", [-1, -4]]
    put(config, path, _pick(rng, [*values, [10**9, 0], [2**40, 2**40], [], [1] * 100, None]))


def _reference(config: Any, rng: np.random.Generator) -> None:
    path = _some(config, rng, lambda p, _: p[-1] == "number")
    put(config, path, _pick(rng, [0, 1, 2, -1, 10**9, "0", None, 0.0, True]))


def _doubling(config: Any, rng: np.random.Generator) -> None:
    """Has each of many objects hold the one before twice."""
    objects = config["config"]["objects"]["objects"]
    depth = int(rng.integers(20, 60))
    start = len(objects)
    shift = {"kind": "instance", "class": "tfb.Shift", "arguments": {"shift": 1.0}}
    objects.append(shift)
    way = _pick(rng, ["tfb.Chain", "list"])
    for i in range(start, start + depth):
        both = {"kind": "list", "items": [{"kind": "object", "number": i}] * 2}
        chain = {"kind": "instance", "class": "tfb.Chain", "arguments": {"bijectors": both}}
        objects.append(both if way == "list" else chain)
    last = {"kind": "object", "number": len(objects) - 1}
    put(config, _some(config, rng, lambda p, _: p[-1] == "bijector"), last)


def _nested(config: Any, rng: np.random.Generator) -> None:
    depth = int(_pick(rng, [50, 200, 400]))
    value: Any = {"kind": "instance", "class": "tfb.Exp", "arguments": {}}
    for _ in range(depth):
        value = {"kind": "instance", "class": "tfb.Invert", "arguments": {"bijector": value}}
    put(config, _some(config, rng, lambda p, _: p[-1] in ("bijector", "items")), value)


def _flags(config: Any, rng: np.random.Generator) -> None:
    path = _some(config, rng, lambda p, _: {"frozen", "trained", "seed"} & {*p})
    values = [*_BIG, *_ODD, [0] * 50, [-1, -2], {"layers": [], "variables": []}, [10**6]]
    put(config, path, copy.deepcopy(_pick(rng, values)))


def _lambda() -> Any:
    code = compile("open('RUN', 'w').close()", "<lambda>", "exec")
    return [base64.b64encode(marshal.dumps(code)).decode(), None, None]


def _made(module: Any, name: str, config: Any, registered: Any = None) -> dict[str, Any]:
    return {
        "module": module,
        "class_name": name,
        "config": config,
        "registered_name": registered,
    }


def _huge() -> Iterator[dict[str, Any]]:
    """Yields layers of Keras that are larger than they look."""
    for units in (10**5, 10**8, 10**12):
        wide = _made("keras.layers", "Dense", {"units": units, "name": "wide"})
        yield {**wide, "build_config": {"input_shape": [None, units]}}
        options = {"input_dim": units, "output_dim": units, "name": "table"}
        yield {**_made("keras.layers", "Embedding", options), "build_config": {"input_shape": [1]}}
        yield _made("keras.layers", "UpSampling2D", {"size": [units, units], "name": "up"})
        yield _made("keras.layers", "ZeroPadding2D", {"padding": units, "name": "pad"})
        yield _made("keras.layers", "Reshape", {"target_shape": [units, units], "name": "reshape"})
        yield _made("keras.layers", "RepeatVector", {"n": units, "name": "repeat"})


FOREIGN = [
    _made("os", "system", {"command": "touch RUN"}),
    _made("os", "system", {"command": "touch RUN"}, "os>system"),
    _made("subprocess", "Popen", {"args": ["touch", "RUN"]}),
    _made("builtins", "eval", {"source": "open('RUN', 'w')"}),
    _made("os", "function", "system", "system"),
    _made("builtins", "function", "eval", "eval"),
    _made("builtins", "function", "exec", "function"),
    _made("keras.utils", "function", "get_file", "get_file"),
    _made("keras.saving", "function", "load_model", "load_model"),
    _made("keras.config", "function", "enable_unsafe_deserialization"),
    _made("keras.config", "function", "set_floatx", "set_floatx"),
    _made("keras.datasets.mnist", "function", "load_data", "load_data"),
    _made("keras.applications.vgg16", "function", "VGG16", "VGG16"),
    _made("keras.src.testing.test_case", "TestCase", {}),
    _made("keras_hub.models", "Backbone", {}),
    _made("keras.layers", "Lambda", {"function": {"class_name": "__lambda__", "config": {}}}),
    _made("keras.layers", "TFSMLayer", {"filepath": "/tmp/model", "call_endpoint": "serve"}),
    _made("keras.layers", "TextVectorization", {"vocabulary": "/etc/passwd"}),
    _made("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
    _made("tfp_genext.models.density", "DensityModel", {}, "tfp_genext>DensityModel"),
    {"class_name": "__lambda__", "config": {"value": _lambda()}},
    {"class_name": "__tensor__", "config": {"value": [[1.0], [2.0]], "dtype": "float32"}},
    {"class_name": "__tensor__", "config": {"value": "x", "dtype": "variant"}},
    {"class_name": "__numpy__", "config": {"value": [[1], 2], "dtype": "O"}},
    {"class_name": "__slice__", "config": {"start": 0, "stop": 10**9, "step": 1}},
    {"class_name": "__bytes__", "config": {"value": "x"}},
    {"class_name": "__ellipsis__", "config": {}},
    {
        "class_name": "__typespec__",
        "spec_name": "system",
        "module": "os",
        "config": ["touch RUN"],
        "registered_name": None,
    },
    {"class_name": "__keras_tensor__", "config": {"shape": [10**9], "dtype": "x"}},
    {"kind": "pickle", "data": "gASVIAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAl0b3VjaCBSVU6UhZRSlC4="},
    {"kind": "layer", "config": _made("builtins", "function", "tanh", "function")},
    {"kind": "layer", "config": "eval"},
    *({"kind": "layer", "config": layer} for layer in _huge()),
    *_huge(),
]

CHANGES: dict[str, Change] = {
    "a size": _size,
    "a number": _number,
    "a value of another kind": _kind,
    "a lost value": _lost,
    "a list repeated": _twice,
    "a part in the place of another": _moved,
    "a foreign class": _foreign,
    "another name": _renamed,
    "another class of the list": _class,
    "a class with any arguments": _instance,
    "bytes, dtypes and shapes": _bytes,
    "a reference": _reference,
    "objects that double": _doubling,
    "objects in each other": _nested,
    "what is frozen and trained": _flags,
}


def _deep(text: bytes, rng: np.random.Generator) -> bytes:
    depth = int(_pick(rng, [500, 10**5]))
    return _pick(rng, [b"[" * depth, b'{"a":' * depth, text[:-1] + b',"x":' + b"[" * depth])


def _letters(text: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(text)
    for _ in range(int(rng.integers(1, 4))):
        changed[int(rng.integers(len(changed)))] = int(rng.integers(256))
    return bytes(changed)


def _other_json(text: bytes, rng: np.random.Generator) -> bytes:
    del text
    return _pick(rng, [b"", b"null", b"[]", b"{}", b"1", b'"x"', b"\xff\xfe", b"9" * 10**5, b"NaN"])


TEXT_CHANGES: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "letters of the configuration": _letters,
    "a configuration in each other": _deep,
    "no configuration": _other_json,
}


def changed(text: bytes, change: Change, rng: np.random.Generator) -> bytes:
    """Returns a configuration after a change to what it says of our model."""
    config = json.loads(text)
    # The class of the model itself stays: of another one, Keras alone makes what the file says.
    inner = {key: config[key] for key in ("config", "compile_config")}
    change(inner, rng)
    return json.dumps({**config, **inner}).encode()
