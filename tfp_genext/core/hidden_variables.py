"""Warnings about trainable variables of a conditioner that its bijector does not track."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext.core import tracking

_ARGUMENTS = ("shift_and_log_scale_fn", "bijector_fn", "conditioner")


class ShowsVariables(tfb.Bijector):
    """Base class of bijectors that warn once about untracked variables of their conditioner.

    TFP tracks the variables of a `tf.Module`, and this package those of a Keras 3 layer. Variables
    of a TensorFlow 1 template, or inside a Python function, are not in any `trainable_variables`.
    """

    _conditioner: Any
    # Name of a Keras layer that can replace the conditioner.
    _network: str
    _bijector: Callable[..., tfb.Bijector]

    @property
    def _argument(self) -> str:
        """Name of the argument that holds the conditioner."""
        given = self.parameters or {}
        return next((name for name in _ARGUMENTS if given.get(name) is not None), "conditioner")

    def _watch(self, conditioner: Any) -> None:
        """Warns about an object with variables; prepares the check of other callables."""
        self._watched = isinstance(conditioner, tracking.KerasNetwork)
        if isinstance(conditioner, (tf.Module, keras.layers.Layer)):
            return
        if hasattr(conditioner, "trainable_variables"):
            self._warn(f"of type {type(conditioner).__name__}", stacklevel=5)

    def _conditioned(self, *inputs: Any, **conditions: Any) -> tfb.Bijector:
        """Returns the inner bijector, and in the first call watches the variables it reads."""
        if self._watched:
            return self._bijector(*inputs, **conditions)
        self._watched = True
        with tf.GradientTape() as tape:
            inner = self._bijector(*inputs, **conditions)
        shown = {id(variable) for variable in self.variables}
        hidden = sorted(v.name for v in tape.watched_variables() if id(v) not in shown)
        if hidden:
            self._warn(f"with {hidden}", stacklevel=3)
        return inner

    def _warn(self, received: str, *, stacklevel: int) -> None:
        self._watched = True
        name = self._argument
        warnings.warn(
            f"`{name}` must show its variables, as a Keras 3 layer such as {self._network} does, "
            f"or a `tf.Module`: `trainable_variables` of `{self.name}`, and of flows that hold it, "
            "lacks those inside a template or a Python function, and a training loop over it "
            "leaves them as they are. Otherwise set them as an attribute of the bijector. "
            f"Received: {name} {received}",
            UserWarning,
            stacklevel=stacklevel,
        )
