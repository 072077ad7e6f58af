"""Tracking of variables between TensorFlow and Keras 3.

A `tf.Module` finds only `tf.Variable`s, and a Keras layer only `keras.Variable`s. `KerasNetwork`
shows the variables of a Keras layer to TensorFlow. `networks` and `loose_variables` show those of a
distribution to Keras.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfp_genext.core import checks, hosts, leading_dims


class _LiveVariables(Sequence):
    """The `tf.Variable`s of a Keras layer, read from the layer at each access.

    `tf.Module` flattens any sequence that it finds. Variables that are created later, and changes
    of `trainable`, are therefore seen without a copy that could go stale.
    """

    def __init__(self, network: keras.Layer) -> None:
        self._network = network

    def __getitem__(self, index: Any) -> Any:
        return self._read()[index]

    def __len__(self) -> int:
        return len(self._network.variables)

    def _read(self) -> list[tf.Variable]:
        return [_tf_variable(variable) for variable in self._network.variables]


def _tf_variable(variable: keras.Variable) -> tf.Variable:
    inner = hosts.tf_variable(variable)
    hosts.set_trainable(inner, variable.trainable)
    return inner


class KerasNetwork(hosts.TrackedByPosition):
    """Adapter of a Keras layer for TensorFlow: tracks variables, and accepts any batch shape.

    Args:
      network: the Keras 3 layer.
      event_ndims: rank of one input event. The dimensions before it are batch dimensions.
    """

    def __init__(self, network: keras.Layer, *, event_ndims: int = 1) -> None:
        super().__init__(name=f"{network.name}_adapter")
        self.network = self.untracked(network)
        self.event_ndims = event_ndims
        self._live_variables = _LiveVariables(network)

    def __call__(
        self, x: tf.Tensor, options: Mapping[str, Any] | None = None, **conditions: Any
    ) -> Any:
        """Calls the layer with flattened leading dimensions, and restores them.

        Args:
          x: `[..., *event]`.
          options: further arguments of the layer, passed on unchanged. Default: none.
          **conditions: further inputs, whose leading dimensions broadcast against those of `x`.

        Returns:
          The layer's output, a tensor or a structure of them, in the dtype of `x`.
        """
        batch, first, others = self._flattened(x, conditions, self.network.compute_dtype)
        return batch.restored(self.network(first, **others, **(options or {})), x.dtype)

    @property
    def solves(self) -> bool:
        """Whether the layer has a method `solve`, which is faster than D passes."""
        return bool(getattr(self.network, "solves", False))

    def solve(
        self,
        update: Callable,
        z: tf.Tensor,
        options: Mapping[str, Any] | None = None,
        **conditions: Any,
    ) -> Any:
        """Calls the layer's `solve` with flattened leading dimensions, and restores them.

        Args:
          update: as in `gx.networks.MADE.solve`.
          z: `[..., *event]`.
          options: further arguments of the layer's `solve`. Default: none.
          **conditions: as in a call.

        Returns:
          The layer's solution and the parameters at it.
        """
        # In full precision even under mixed precision, because rounding would change the samples.
        batch, first, others = self._flattened(z, conditions, self.network.variable_dtype)
        return batch.restored(
            self.network.solve(update, first, **others, **(options or {})), z.dtype
        )

    def _flattened(
        self, x: tf.Tensor, conditions: dict[str, Any], dtype: str
    ) -> tuple[leading_dims.Batch, Any, dict]:
        inputs = [leading_dims.Events(x, self.event_ndims)]
        for name, value in conditions.items():
            condition = tf.convert_to_tensor(value)
            shape = conditional_event_shape(self) if name == "conditional_input" else None
            if shape is not None and condition.shape.rank is not None:
                checks.ends_in(name, condition.shape, shape)
            ndims = 1 if shape is None else len(shape)
            inputs.append(leading_dims.Events(condition, ndims))
        batch, flat = leading_dims.flattened(inputs)
        first, *others = [tf.cast(f, dtype) if f.dtype.is_floating else f for f in flat]
        return batch, first, dict(zip(conditions, others, strict=True))

    def tracked_variables(self) -> Sequence[tf.Variable]:
        return self._live_variables

    def __deepcopy__(self, memo: dict) -> KerasNetwork:
        copied = KerasNetwork(copy.deepcopy(self.network, memo), event_ndims=self.event_ndims)
        memo[id(self)] = copied
        return copied


class HeldNetworks(tf.Module):
    """Adapter of a callable `tf.Module` that holds Keras layers: tracks their variables."""

    def __init__(self, module: tf.Module) -> None:
        super().__init__(name=f"{module.name}_adapter")
        self.module = module
        self._networks = [KerasNetwork(network) for network in networks(module)]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def track(conditioner: Any, *, event_ndims: int = 1) -> Any:
    """Wraps a Keras 3 layer in `KerasNetwork`, and a module that holds layers in `HeldNetworks`.

    Other callables and networks of `tf_keras` are returned unchanged.
    """
    if isinstance(conditioner, keras.Layer):
        return KerasNetwork(conditioner, event_ndims=event_ndims)
    if isinstance(conditioner, tf.Module) and networks(conditioner):
        return HeldNetworks(conditioner)
    return conditioner


def _unwrapped(conditioner: Any) -> Any:
    if isinstance(conditioner, KerasNetwork):
        return conditioner.network
    return conditioner.module if isinstance(conditioner, HeldNetworks) else conditioner


def conditional_event_shape(conditioner: Any) -> tuple[int, ...] | None:
    """Returns the shape of one context event of a conditioner, or `None`."""
    network = _unwrapped(conditioner)
    shape = getattr(network, "conditional_event_shape", None)
    return None if shape is None else tuple(shape)


def event_shape(conditioner: Any) -> tuple[int, ...] | None:
    """Returns the event shape of a Keras layer, or `None` if the layer has no such attribute."""
    network = _unwrapped(conditioner)
    shape = getattr(network, "event_shape", None) if isinstance(network, keras.Layer) else None
    return None if shape is None else tuple(shape)


def input_units(conditioner: Any) -> int | None:
    """Returns the last input dimension of a built Keras layer; `None` if unknown."""
    network = _unwrapped(conditioner)
    if not isinstance(network, keras.Layer) or not network.built:
        return None
    shape = (network.get_build_config() or {}).get("input_shape")
    return shape[-1] if isinstance(shape, tuple) and shape else None


def output_units(conditioner: Any) -> int | None:
    """Returns the number of units a Keras layer has parameters for; `None` if unknown."""
    shape = getattr(_unwrapped(conditioner), "params_shape", None)
    return shape[0] if shape else None


def takes(conditioner: Any, condition: str) -> bool:
    """Tells whether a conditioner can be called with the keyword argument `condition`."""
    network = _unwrapped(conditioner)
    if hasattr(network, "conditional_event_shape"):
        return condition == "conditional_input" and network.conditional_event_shape is not None
    return accepts_keyword(network.call if isinstance(network, keras.Layer) else network, condition)


def accepts_keyword(function: Callable, name: str) -> bool:
    """Tells from its signature whether a callable has the keyword argument `name`."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return True
    return name in parameters and parameters[name].kind is not inspect.Parameter.POSITIONAL_ONLY


def call(network: keras.Layer, x: Any, conditional_input: Any = None, **kwargs: Any) -> Any:
    """Calls a Keras layer on inputs, and on contexts if there are any.

    A context is passed by keyword if the layer's `call` has `conditional_input`, as our networks
    do. Otherwise inputs and context are passed as a list, as functional models take them.
    """
    inputs, named = _inputs(network, x, conditional_input)
    return network(inputs, **named, **kwargs)


def call_unchanged(
    network: keras.Layer, x: Any, conditional_input: Any = None, **kwargs: Any
) -> Any:
    """Calls a Keras layer as `call` does, without updating its statistics and seeds."""
    inputs, named = _inputs(network, x, conditional_input)
    if not network.non_trainable_variables:
        return network(inputs, **named, **kwargs)
    outputs, _ = network.stateless_call(
        [variable.value for variable in network.trainable_variables],
        [variable.value for variable in network.non_trainable_variables],
        inputs,
        **named,
        **kwargs,
    )
    return outputs


def _inputs(network: keras.Layer, x: Any, conditional_input: Any) -> tuple[Any, dict[str, Any]]:
    if conditional_input is None:
        return x, {}
    if takes_named_context(network):
        return x, {"conditional_input": conditional_input}
    return [x, conditional_input], {}


def takes_named_context(network: keras.Layer) -> bool:
    """Tells whether the `call` of a Keras layer has an argument `conditional_input`."""
    return "conditional_input" in inspect.signature(network.call).parameters


def symbolic_inputs(network: keras.Layer) -> Any:
    """Returns the inputs of a functional Keras model, or `None` for other layers."""
    inputs = getattr(network, "input", None) if isinstance(network, keras.Model) else None
    symbolic = keras.tree.flatten(inputs)
    return inputs if symbolic and all(isinstance(i, keras.KerasTensor) for i in symbolic) else None


def input_event_shape(network: keras.Layer) -> Any:
    """Returns the input shape of a built Keras layer without rows, or a structure, or `None`.

    Variable sizes of functional models are `None`.
    """
    inputs = symbolic_inputs(network)
    if inputs is not None:
        return keras.tree.map_structure(lambda i: tuple(i.shape[1:]), inputs)
    return _without_rows((network.get_build_config() or {}).get("input_shape"))


def _without_rows(shape: Any) -> Any:
    if isinstance(shape, dict):
        parts = {key: _without_rows(part) for key, part in shape.items()}
        return None if None in parts.values() else parts
    if isinstance(shape, (list, tuple)) and any(isinstance(n, (list, tuple)) for n in shape):
        several = [_without_rows(part) for part in shape]
        return None if None in several else type(shape)(several)
    return tuple(shape[1:]) if isinstance(shape, (list, tuple)) and shape else None


def networks(holder: Any) -> list[keras.Layer]:
    """Returns the Keras layers held anywhere in a distribution or bijector, each once.

    For a Keras layer the result is the layer itself. For a plain callable it is empty.
    """
    if isinstance(holder, keras.Layer):
        return [holder]
    return list(hosts.leaves(holder, keras.Layer)) if isinstance(holder, tf.Module) else []


def loose_variables(module: Any, known: Sequence[keras.Variable] = ()) -> list[keras.Variable]:
    """Returns the variables that no Keras layer holds, as Keras variables on the same storage.

    If a variable of a layer were wrapped again, an optimizer would update it twice.

    Args:
      module: a distribution or bijector.
      known: Keras variables returned before. They are reused, because optimizers identify them.
    """
    if not isinstance(module, tf.Module):
        return []
    wrapped = {id(hosts.tf_variable(variable)): variable for variable in known}
    held = {id(hosts.tf_variable(v)) for network in networks(module) for v in network.variables}
    found = list(hosts.leaves(module, keras.Variable))
    held.update(id(hosts.tf_variable(v)) for v in found)
    loose = [v for v in module.variables if id(v) not in held]
    return [*found, *(wrapped[id(v)] if id(v) in wrapped else _SharedVariable(v) for v in loose)]


def variables(holder: Any) -> list[tf.Variable]:
    """Returns the `tf.Variable`s of a distribution, a bijector or a Keras layer."""
    if isinstance(holder, keras.Layer):
        return [_tf_variable(variable) for variable in holder.variables]
    return list(holder.variables) if isinstance(holder, tf.Module) else []


def trainable_flags(network: keras.Layer) -> dict[str, list[bool]]:
    """Returns the `trainable` flags of the layers inside a Keras layer, and of its variables."""
    return {
        "layers": [bool(layer.trainable) for layer in hosts.layers(network)],
        "variables": [bool(variable.trainable) for variable in network.variables],
    }


def set_trainable_flags(network: keras.Layer, flags: dict[str, list[bool]]) -> None:
    """Sets the flags that `trainable_flags` returned."""
    for layer, trainable in zip(hosts.layers(network), flags["layers"], strict=True):
        # Setting the flag of a layer also sets those of its inner layers, which come later.
        layer.trainable = trainable
    for variable, trainable in zip(network.variables, flags["variables"], strict=True):
        variable.trainable = trainable


def trained_by(optimizer: Any) -> list[keras.Variable] | None:
    """Returns the variables that a Keras optimizer was built for; `None` if it is not built."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return hosts.trained_variables(inner) if inner.built else None


def num_gradients(optimizer: Any) -> keras.Variable:
    """Returns the number of gradients a Keras optimizer was given, including accumulated ones."""
    return hosts.num_gradients(getattr(optimizer, "inner_optimizer", optimizer))


def own_variables(optimizer: Any) -> set[int]:
    """Returns the ids of the `tf.Variable`s of a Keras optimizer, whether tracked or not."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    members = [v for v in vars(inner).values() if isinstance(v, keras.Variable)]
    return {id(hosts.tf_variable(v)) for v in [*optimizer.variables, *members]}


def tf_variables(layer: keras.Layer) -> set[int]:
    """Returns the ids of the `tf.Variable`s behind the weights of a Keras layer."""
    return {id(hosts.tf_variable(variable)) for variable in layer.variables}


class _SharedVariable(keras.Variable):
    """A Keras variable on the storage of a `tf.Variable`, with its `trainable` flag."""

    def __init__(self, variable: tf.Variable) -> None:
        super().__init__(variable, dtype=variable.dtype.name, trainable=variable.trainable)
        self.constraint = getattr(variable, "constraint", None)

    @property
    def trainable(self) -> bool:
        return hosts.tf_variable(self).trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        hosts.set_trainable(hosts.tf_variable(self), bool(value))
