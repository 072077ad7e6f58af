"""The model card of an export: a JSON file with a description of the model and library versions.

It is `assets.extra/model_card.json` in the version's directory. The SavedModel format reserves
`assets.extra` for such files: TensorFlow's loaders and TensorFlow Serving ignore unknown files
there.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_genext._version import __version__
from tfp_genext.core import checks
from tfp_genext.serving import warmup

FILE = "model_card.json"
# Inputs of `sample` that are not contexts.
_DRAWING = ("num_samples", "seed")


def versions() -> dict[str, str]:
    """Returns the versions of this package and of its main dependencies."""
    return {
        "tfp_genext": __version__,
        "tensorflow": tf.__version__,
        "tensorflow_probability": tfp.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def checked(card: Any) -> dict[str, Any]:
    """Returns the user's entries of a card, after checking that they are valid JSON."""
    if card is None:
        return {}
    try:
        return json.loads(json.dumps(dict(card), allow_nan=False))
    except (TypeError, ValueError) as error:
        expected = "a dict of what JSON has: strings, finite numbers, lists, dicts"
        raise ValueError(checks.message("card", expected, card)) from error


def preprocessing_entry(layer: keras.layers.Layer | None) -> dict[str, Any] | None:
    """Returns class and configuration of a preprocessing layer, or `None` without a layer."""
    if layer is None:
        return None
    entry = {"class": type(layer).__name__, "config": None}
    try:
        return {**entry, "config": json.loads(json.dumps(layer.get_config(), default=str))}
    except (NotImplementedError, TypeError, ValueError):  # A layer without a valid configuration.
        return entry


def finite(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Returns metrics as JSON values: finite numbers, or strings such as "nan"."""
    return {k: v if math.isfinite(v) else str(v) for k, v in metrics.items()}


def write(directory: str, signatures: Mapping[str, Callable], card: Mapping[str, Any]) -> None:
    """Writes the card of a SavedModel.

    Args:
      directory: directory of the SavedModel.
      signatures: all its traced functions by name.
      card: further entries of the card.
    """
    extra = os.path.join(directory, warmup.DIRECTORY)
    os.makedirs(extra, exist_ok=True)
    of_signatures = {name: _signature(function) for name, function in signatures.items()}
    inputs = {name: of_signatures[name]["inputs"] for name in of_signatures}
    whole = {
        "versions": versions(),
        **card,
        "event": next((_event(given["x"]) for given in inputs.values() if "x" in given), None),
        "context": {k: _event(v) for k, v in inputs["sample"].items() if k not in _DRAWING} or None,
        "signatures": of_signatures,
    }
    with open(os.path.join(extra, FILE), "w", encoding="utf-8") as file:
        json.dump(whole, file, indent=2, allow_nan=False)


def _signature(function: Any) -> dict[str, Any]:
    outputs = function.get_concrete_function().structured_outputs
    return {
        "inputs": _tensors({spec.name: spec for spec in function.input_signature}),
        "outputs": _tensors(outputs),
    }


def _tensors(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {"shape": _dims(tensor.shape), "dtype": tensor.dtype.name}
        for name, tensor in tensors.items()
    }


def _dims(shape: tf.TensorShape) -> Sequence[int | None] | None:
    return None if shape.rank is None else shape.as_list()


def _event(rows: dict[str, Any]) -> dict[str, Any]:
    """Returns the entry of a batch without its first dimension."""
    return {**rows, "shape": rows["shape"][1:]}
