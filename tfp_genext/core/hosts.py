"""The private names of TensorFlow, TFP and Keras that the package uses; nothing else may use one.

Each has a test in `tests/core/test_hosts.py`, which fails when a new version changes it. Methods
that TFP documents for subclasses, such as `_forward` or `_log_prob`, are not listed.
"""

from __future__ import annotations

import abc
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework import ops
from tensorflow_probability import bijectors as tfb
from tensorflow_probability.python.bijectors.chain import _Chain as Chain
from tensorflow_probability.python.bijectors.composition import Composition
from tensorflow_probability.python.bijectors.invert import _Invert as Invert
from tensorflow_probability.python.distributions.transformed_distribution import (
    _TransformedDistribution as TransformedDistribution,
)
from tensorflow_probability.python.internal.parameter_properties import (
    NO_EVENT_NDIMS,
    BatchedComponentProperties,
    ParameterProperties,
)

# `tfb.Chain(...)`, `tfb.Invert(...)` and `tfd.TransformedDistribution(...)` return instances of
# private classes, of which the public ones are subclasses.
__all__ = [
    "NO_EVENT_NDIMS",
    "BatchedComponentProperties",
    "Chain",
    "Composition",
    "Invert",
    "ParameterProperties",
    "TransformedDistribution",
]


# TensorFlow.


def leaves(module: tf.Module, kind: type) -> Iterator[Any]:
    """Returns the attributes of one kind, of a `tf.Module` and all modules inside it, each once."""
    return module._flatten(recursive=True, predicate=lambda leaf: isinstance(leaf, kind))


def set_trainable(variable: tf.Variable, trainable: bool) -> None:
    """Sets whether a `tf.Variable` is trainable, which TensorFlow fixes at construction."""
    variable._trainable = trainable


class TrackedByPosition(tf.Module, abc.ABC):
    """A module whose checkpoints and SavedModels hold its variables, by position, and nothing else.

    The C++ loader restores a variable once. It would miss one that is tracked a second time, as an
    attribute of a Keras layer. Keys made from names of layers do not restore either.
    """

    @abc.abstractmethod
    def tracked_variables(self) -> Sequence[tf.Variable]:
        """Returns the variables, in an order that does not change."""

    def untracked(self, value: Any) -> Any:
        """Returns a value that can be set as an attribute without being tracked."""
        return self._no_dependency(value)

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> Mapping:
        del save_type, kwargs
        return {str(i): variable for i, variable in enumerate(self.tracked_variables())}

    def _lookup_dependency(self, name: str, cached_dependencies: Any = None) -> Any:
        del cached_dependencies
        return self._trackable_children().get(name)


# TensorFlow Probability.


def forward_attributes(bijector: tfb.Bijector, x: tf.Tensor, conditions: dict) -> dict[str, Any]:
    """Returns what TFP's cache holds beside the output of `forward`; 'ildj' is its log-det."""
    return bijector._cache.forward_attributes(x, **conditions)


def inverse_attributes(bijector: tfb.Bijector, y: tf.Tensor, conditions: dict) -> dict[str, Any]:
    """Returns what TFP's cache holds beside the output of `inverse`; 'ildj' is its log-det."""
    return bijector._cache.inverse_attributes(y, **conditions)


# The graphs at whose end their entries leave TFP's cache.
_released: weakref.WeakSet[tf.Graph] = weakref.WeakSet()


def release_bijectors() -> None:
    """Has the function that is being traced leave TFP's cache of bijectors at its end.

    The cache is one for the process and holds tensors of traced functions. These hold their graph,
    which holds the tensors: without this no traced function with a bijector is ever freed.
    """
    graph = tf.compat.v1.get_default_graph() if not tf.executing_eagerly() else None
    if isinstance(graph, tf.__internal__.FuncGraph) and graph not in _released:
        _released.add(graph)
        held = weakref.ref(graph)
        ops.add_exit_callback_to_default_func_graph(lambda: _release(held()))


def _release(graph: Any) -> None:
    _released.discard(graph)
    storage = tfb.Bijector._cache.storage
    for key in list(storage):
        entry = storage.get(key)
        if entry is None or not key.alive:
            continue
        output = entry.output_ref() if entry.output_ref else None
        tensors = tf.nest.flatten([key(), output, key.subkey[-1], entry.attributes])
        if any(_is_inside(tensor, graph) for tensor in tensors):
            key.cancel()
            storage.pop(key, None)


def _is_inside(tensor: Any, graph: Any) -> bool:
    """Tells whether a tensor belongs to a graph or to one inside it, such as the body of a loop."""
    inner = tensor.graph if tf.is_symbolic_tensor(tensor) else None
    while inner is not None and inner is not graph:
        inner = getattr(inner, "outer_graph", None)
    return inner is not None


def forward_method(bijector: tfb.Bijector) -> Callable:
    """Returns the method behind `forward`, whose signature names the keywords that it takes."""
    return bijector._forward


# Keras.


def tf_variable(variable: keras.Variable) -> tf.Variable:
    """Returns the `tf.Variable` inside a Keras variable.

    `value` is a cast tensor inside an autocast scope.
    """
    return variable._value


def layers(network: keras.Layer) -> list[keras.Layer]:
    """Returns a Keras layer and all layers inside it, outer ones first, each once."""
    return network._flatten_layers()


def seed_states(network: keras.Layer) -> list[keras.Variable]:
    """Returns the variables of a Keras layer that hold random seeds, which Keras does not save."""
    weights = {id(v) for v in network.weights}
    others = [v for v in network.variables if id(v) not in weights]
    return [v for v in others if v.path.endswith("seed_generator_state")]


def replace_variables(
    layer: keras.Layer, kept: list[keras.Variable], variables: Sequence[keras.Variable]
) -> None:
    """Replaces the variables in a list that a Keras layer tracks, after it was built too."""
    locked = layer._tracker.locked
    layer._tracker.unlock()
    kept.clear()
    kept.extend(variables)
    if locked:
        layer._tracker.lock()


def trained_variables(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Returns the variables that a Keras optimizer was built for."""
    return optimizer._trainable_variables


def num_gradients(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Returns the number of gradients that an optimizer was given, accumulated ones included."""
    return optimizer._iterations


def loss_metric(model: keras.Model) -> keras.metrics.Metric:
    """Returns the metric in which Keras averages the loss of an epoch."""
    return model._loss_tracker


def weights_file(store: Any) -> Any:
    """Returns the HDF5 file of which Keras gives `load_own_variables` a part."""
    return store.h5_file


def weights_archive(store: Any) -> zipfile.ZipFile | None:
    """Returns the archive that holds `weights_file`, if Keras reads it in place.

    It does so when it cannot unpack the file, as after a wrong checksum, which it then overlooks.
    """
    return store.archive


def set_initial_epoch(model: keras.Model, epoch: int | None) -> None:
    """Sets the epoch at which a `fit` that has begun goes on; `None` for the one it was given."""
    model._initial_epoch = epoch


def distributed_spec(iterator: Any) -> Any:
    """Returns the structure of specs of a batch that Keras distributes over replicas."""
    return iterator._distributed_dataset.element_spec


def spec_of_one_replica(spec: Any) -> Any:
    """Returns the spec of one replica's part of a value; other specs unchanged."""
    return getattr(spec, "_value_specs", [spec])[0]
