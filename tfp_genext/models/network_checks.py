"""Checks of the networks passed to models."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfp_genext.core import tracking


def require_built(name: str, holder: Any) -> None:
    """Raises `ValueError` if a distribution holds a network that is not built.

    Networks of Keras 3 are built by the models. One of `tf_keras` that is not built would have its
    variables made during training, where no optimizer knows them.
    """
    for module in holder.submodules if isinstance(holder, tf.Module) else ():
        if getattr(module, "built", True) is False and not module.variables:
            raise ValueError(
                f"`{name}` must hold networks that are built, so that their variables exist to be "
                "trained: call `log_prob` on a batch of events first, or the network's "
                f"`build([None, D])`. Received: {type(module).__name__} {module.name!r}, not built"
            )


def refuse_single_input(name: str, part: Any) -> None:
    """Raises `ValueError` if a part of a conditional model is a Keras model with one input.

    Args:
      name: what to call the part.
      part: a Keras model, or what holds one as `network`.
    """
    model = getattr(part, "network", part)
    if not isinstance(model, keras.Model) or tracking.takes_named_context(model):
        return
    if isinstance(model, keras.Sequential) or len(getattr(model, "inputs", None) or ()) == 1:
        raise ValueError(
            f"`{name}` must have a model of two inputs, its own and the context, as "
            "`conditional_event_shape` is given:\n\n"
            "    x, c = keras.Input(shape), keras.Input(conditional_event_shape)\n"
            "    model = keras.Model([x, c], network(keras.layers.Concatenate()([x, c])))\n\n"
            "or a layer whose `call` takes `conditional_input`. "
            f"Received: {type(model).__name__} {model.name!r}, of one input"
        )
