"""Bodies of TensorFlow Serving's REST API as tensors, and answers as bodies, as the server does it.

Written after its documentation [1] and its source (`tensorflow_serving/util/json_tensor.cc`).

[1]: "RESTful API", TensorFlow Serving, https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import cpp_loader
import numpy as np

Arrays = dict[str, np.ndarray]


def tensors(body: str, signatures: Mapping[str, cpp_loader.Signature]) -> tuple[str, Arrays]:
    """Returns the signature that a body asks for and the inputs that the server makes of it."""
    given = json.loads(body)
    signature = given.get("signature_name", "serving_default")
    infos = signatures[signature].inputs
    if ("instances" in given) == ("inputs" in given):
        raise ValueError("a body has either `inputs` or `instances`")
    if "inputs" in given:
        return signature, _of_columns(given["inputs"], infos)
    return signature, _of_rows(given["instances"], infos)


def _of_columns(inputs: Any, infos: Mapping[str, cpp_loader.TensorInfo]) -> Arrays:
    if not isinstance(inputs, dict):
        inputs = {_only(infos): inputs}
    # The server reads the inputs that it knows, and no others.
    return {name: _array(inputs[name], info) for name, info in infos.items()}


def _of_rows(instances: Any, infos: Mapping[str, cpp_loader.TensorInfo]) -> Arrays:
    if not isinstance(instances, list) or not instances:
        raise ValueError("`instances` is a list of at least one row")
    if not isinstance(instances[0], dict):
        instances = [{_only(infos): row} for row in instances]
    for row in instances:
        if row.keys() != infos.keys():
            raise ValueError(f"a row has the keys {sorted(infos)}")
    return {name: _array([row[name] for row in instances], info) for name, info in infos.items()}


def _only(infos: Mapping[str, cpp_loader.TensorInfo]) -> str:
    if len(infos) > 1:
        raise ValueError(f"several inputs are given by name: {sorted(infos)}")
    return next(iter(infos))


def _array(value: Any, info: cpp_loader.TensorInfo) -> np.ndarray:
    array = np.array(value)  # a ragged list is an error
    if array.dtype.kind not in ("if" if info.dtype.kind == "f" else "i"):
        raise ValueError(f"{value} is not of expected type {info.dtype}")
    return array.astype(info.dtype)


def body(outputs: Arrays, *, rows: bool) -> dict[str, Any]:
    """Returns the body of an answer, to a request in rows or in columns."""
    lists = {name: array.tolist() for name, array in outputs.items()}
    alone = next(iter(lists.values())) if len(lists) == 1 else None
    if not rows:
        return {"outputs": lists if alone is None else alone}
    if len({len(array) for array in lists.values()}) > 1:
        raise ValueError("outputs in rows have as many of them as each other")
    named = [dict(zip(lists, row)) for row in zip(*lists.values())]
    return {"predictions": named if alone is None else alone}
