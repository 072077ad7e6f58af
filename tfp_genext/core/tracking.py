"""The joint: the only file that knows how both TensorFlow and Keras 3 keep variables.

A `tf.Module` finds `tf.Variable`s only and a Keras layer finds `keras.Variable`s only.
`KerasNetwork` shows a Keras layer to TensorFlow; `networks` and `loose_variables` show a
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
    """The `tf.Variable`s of a Keras layer, read anew at each look.

    `tf.Module` flattens any sequence it finds, so that late variables and a change of `trainable`
    are seen without a copy that could go stale.
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
    """Shows a Keras layer to TensorFlow: its variables, and a call on any leading dimensions.

    Args:
      network: the Keras 3 layer.
      event_ndims: rank of one input event; everything left of it is batch.
    """

    def __init__(self, network: keras.Layer, *, event_ndims: int = 1) -> None:
        super().__init__(name=f"{network.name}_adapter")
        self.network = self.untracked(network)
        self.event_ndims = event_ndims
        self._live_variables = _LiveVariables(network)

    def __call__(
        self, x: tf.Tensor, options: Mapping[str, Any] | None = None, **conditions: Any
    ) -> Any:
        """Calls the layer with one leading dimension and restores the others.

        Args:
          x: `[..., *event]`.
          options: further arguments of the layer, handed over as they are. Default: none.
          **conditions: further inputs, whose leading dimensions broadcast against those of `x`.

        Returns:
          The layer's output, a tensor or a structure of them, in the dtype of `x`.
        """
        batch, first, others = self._flattened(x, conditions, self.network.compute_dtype)
        return batch.restored(self.network(first, **others, **(options or {})), x.dtype)

    @property
    def solves(self) -> bool:
        """Whether the layer inverts what it parameterises itself, faster than by D passes."""
        return bool(getattr(self.network, "solves", False))

    def solve(
        self,
        update: Callable,
        z: tf.Tensor,
        options: Mapping[str, Any] | None = None,
        **conditions: Any,
    ) -> Any:
        """Calls the layer's `solve` with one leading dimension and restores the others.

        Args:
          update: as in `gx.networks.MADE.solve`.
          z: `[..., *event]`.
          options: further arguments of the layer's `solve`. Default: none.
          **conditions: as in a call.

        Returns:
          The layer's solution and the parameters at it.
        """
        # In full precision even where the layer computes in less: rounding in here would be seen.
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
    """A callable `tf.Module` that holds Keras layers, shown with their variables."""

    def __init__(self, module: tf.Module) -> None:
        super().__init__(name=f"{module.name}_adapter")
        self.module = module
        self._networks = [KerasNetwork(network) for network in networks(module)]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def track(conditioner: Any, *, event_ndims: int = 1) -> Any:
    """Returns a Keras 3 layer as `KerasNetwork`, what holds some as `HeldNetworks`.

    Anything else, a plain callable or a network of `tf_keras`, comes back as it is.
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
    """Returns the shape of one context event that a conditioner asks for, or `None`."""
    network = _unwrapped(conditioner)
    shape = getattr(network, "conditional_event_shape", None)
    return None if shape is None else tuple(shape)


def event_shape(conditioner: Any) -> tuple[int, ...] | None:
    """Returns the shape of the events that a Keras layer was made for, where it says it."""
    network = _unwrapped(conditioner)
    shape = getattr(network, "event_shape", None) if isinstance(network, keras.Layer) else None
    return None if shape is None else tuple(shape)


def seen_units(conditioner: Any) -> int | None:
    """Returns the last dimension of what a built Keras layer looks at; `None` if not known."""
    network = _unwrapped(conditioner)
    if not isinstance(network, keras.Layer) or not network.built:
        return None
    shape = (network.get_build_config() or {}).get("input_shape")
    return shape[-1] if isinstance(shape, tuple) and shape else None


def moved_units(conditioner: Any) -> int | None:
    """Returns how many units a Keras layer gives parameters for; `None` where it does not say."""
    shape = getattr(_unwrapped(conditioner), "params_shape", None)
    return shape[0] if shape else None


def takes(conditioner: Any, condition: str) -> bool:
    """Tells whether a conditioner can be called with the keyword argument `condition`."""
    network = _unwrapped(conditioner)
    if hasattr(network, "conditional_event_shape"):
        return condition == "conditional_input" and network.conditional_event_shape is not None
    return accepts_keyword(network.call if isinstance(network, keras.Layer) else network, condition)


def accepts_keyword(function: Callable, name: str) -> bool:
    """Tells from its signature whether a callable takes the keyword argument `name`."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return True
    return name in parameters and parameters[name].kind is not inspect.Parameter.POSITIONAL_ONLY


def called(network: keras.Layer, x: Any, conditional_input: Any = None, **kwargs: Any) -> Any:
    """Calls a Keras layer on inputs, and contexts where there are any.

    A context goes by keyword to what names it so, as our networks do, and beside the inputs in a
    list to all others, as functional models take theirs.
    """
    inputs, named = _inputs(network, x, conditional_input)
    return network(inputs, **named, **kwargs)


def called_unchanged(
    network: keras.Layer, x: Any, conditional_input: Any = None, **kwargs: Any
) -> Any:
    """Calls a Keras layer as `called` does, and leaves its statistics and seeds as they were."""
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
    """Tells whether the `call` of a Keras layer takes `conditional_input`."""
    return "conditional_input" in inspect.signature(network.call).parameters


def symbolic_inputs(network: keras.Layer) -> Any:
    """Returns the inputs of a functional Keras model, or `None` for another layer."""
    inputs = getattr(network, "input", None) if isinstance(network, keras.Model) else None
    symbolic = keras.tree.flatten(inputs)
    return inputs if symbolic and all(isinstance(i, keras.KerasTensor) for i in symbolic) else None


def input_event_shape(network: keras.Layer) -> Any:
    """Returns the shape of one input of a built Keras layer, or a structure of them, or `None`.

    Sizes are `None` in functional models that leave them open.
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

    A Keras layer is its own only one; a plain callable has none that could be seen.
    """
    if isinstance(holder, keras.Layer):
        return [holder]
    return list(hosts.leaves(holder, keras.Layer)) if isinstance(holder, tf.Module) else []


def loose_variables(module: Any, known: Sequence[keras.Variable] = ()) -> list[keras.Variable]:
    """Returns, as Keras variables that share storage, the variables that no Keras layer holds.

    Wrapping what a layer already holds would make an optimizer update it twice.

    Args:
      module: a distribution or bijector.
      known: Keras variables returned before, which optimizers know: the same ones are returned.
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


def frozen(network: keras.Layer) -> dict[str, list[bool]]:
    """Returns what in a Keras layer is trainable: the layers inside it, and the variables."""
    return {
        "layers": [bool(layer.trainable) for layer in hosts.layers(network)],
        "variables": [bool(variable.trainable) for variable in network.variables],
    }


def freeze(network: keras.Layer, flags: dict[str, list[bool]]) -> None:
    """Sets what `frozen` returned."""
    for layer, trainable in zip(hosts.layers(network), flags["layers"], strict=True):
        # A layer hands the flag down to those inside it, which come later.
        layer.trainable = trainable
    for variable, trainable in zip(network.variables, flags["variables"], strict=True):
        variable.trainable = trainable


def trained_by(optimizer: Any) -> list[keras.Variable] | None:
    """Returns the variables that a Keras optimizer was built for; `None` where it is not built."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return hosts.trained_variables(inner) if inner.built else None


def batches(optimizer: Any) -> keras.Variable:
    """Returns how many gradients a Keras optimizer was given, those it accumulates among them."""
    return hosts.num_gradients(getattr(optimizer, "inner_optimizer", optimizer))


def own_variables(optimizer: Any) -> set[int]:
    """Returns the identities of the `tf.Variable`s of a Keras optimizer, listed or not."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    members = [v for v in vars(inner).values() if isinstance(v, keras.Variable)]
    return {id(hosts.tf_variable(v)) for v in [*optimizer.variables, *members]}


def tf_variables(layer: keras.Layer) -> set[int]:
    """Returns the identities of the `tf.Variable`s inside the weights of a Keras layer."""
    return {id(hosts.tf_variable(variable)) for variable in layer.variables}


class _SharedVariable(keras.Variable):
    """A Keras variable on the storage of a `tf.Variable`, which follows its `trainable`."""

    def __init__(self, variable: tf.Variable) -> None:
        super().__init__(variable, dtype=variable.dtype.name, trainable=variable.trainable)
        self.constraint = getattr(variable, "constraint", None)

    @property
    def trainable(self) -> bool:
        return hosts.tf_variable(self).trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        hosts.set_trainable(hosts.tf_variable(self), bool(value))
