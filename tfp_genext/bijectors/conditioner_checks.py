"""Checks of conditioners."""

from __future__ import annotations

import inspect
from typing import Any

import tensorflow as tf

from tfp_genext.core import checks


def checked_conditioner(argument: str, conditioner: Any) -> Any:
    """Returns a conditioner after checking that it can be called.

    Args:
      argument: name of the argument that holds the conditioner.
      conditioner: a Keras 3 layer, or a callable that takes the number of units.

    Raises:
      ValueError: if it is not callable.
      TypeError: if it is a `tf_keras` layer that does not take the number of units.
    """
    if not callable(conditioner):
        raise ValueError(checks.message(argument, "a Keras layer or callable", conditioner))
    refuse_tf_keras(argument, conditioner)
    return conditioner


def refuse_tf_keras(argument: str, function: Any) -> None:
    """Raises `TypeError` for a `tf_keras` layer that does not take the number of units.

    Functions of coupling layers are called as `function(x0, num_units)`. The second argument of
    such a layer, if it has one, is `training`.
    """
    call = getattr(function, "call", None)
    if not isinstance(function, tf.Module) or call is None:
        return
    parameters = inspect.signature(call).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return
    inputs = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(inputs) < 2 or inputs[1] in ("training", "mask"):
        kind = f"{type(function).__module__.partition('.')[0]}.{type(function).__name__}"
        raise TypeError(
            f"`{argument}` must be a Keras 3 layer, of `import keras`, such as gx.networks.MLP; or "
            "a callable that takes the number of units too, as TFP calls it. "
            f"Received: {argument} of type {kind}, which takes its input alone"
        )
