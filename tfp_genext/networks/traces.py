"""Traced functions: layers own them, and layers share one only if both compute the same graph.

A trace is freed with the last layer that uses it. Whether it still holds is decided anew at each
use, by a key of what it was made from, see `function_key`. So a function that reads a global, a
closure or its own state samples by the values of the moment, as the density does.
"""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfp_genext.core import hosts

# A layer keeps as many traces, those used last.
_MOST = 64

_lock = threading.Lock()


class Traces:
    """The traces of one layer. They are not part of its state: copies and pickles are empty."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __reduce__(self) -> tuple:
        return Traces, ()

    def keep(self, key: Hashable, trace: Any) -> None:
        """Stores a trace, and drops the least recently used one if there are too many."""
        with _lock:
            self._kept.pop(key, None)
            self._kept[key] = trace
            if len(self._kept) > _MOST:
                del self._kept[next(iter(self._kept))]


class CacheInfo(NamedTuple):
    """Hits, misses and current size of the cache."""

    hits: int
    misses: int
    currsize: int


class SharedTraces:
    """Index of the traces that living layers hold, by key, with weak references."""

    def __init__(self) -> None:
        self.cache_clear()

    def find(
        self, traces: Traces, key: Callable[[], Hashable | None], make: Callable[[], Any]
    ) -> Any:
        """Returns a trace, made if there is none yet; `None` if none can be kept.

        Args:
          traces: those of the layer that asks, which will keep this one too.
          key: returns what the trace depends on, or `None` if that is unknown.
          make: traces the function.
        """
        wanted = key()
        if wanted is None:
            return None
        found = self._alive.get(wanted)
        self._hits += found is not None
        if found is None:
            if key() != wanted:  # A function that is another one at each call.
                return None
            self._misses += 1
            # Outside of the graph that asks: the trace would keep it alive.
            with tf.init_scope():
                found = make()
            self._alive[wanted] = found
        traces.keep(wanted, found)
        return found

    def cache_info(self) -> CacheInfo:
        """Returns counts since the last `cache_clear`."""
        return CacheInfo(self._hits, self._misses, len(self._alive))

    def cache_clear(self) -> None:
        """Forgets all traces, so that each is made anew at its next use."""
        self._alive: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
        self._hits = self._misses = 0


def function_key(function: Callable, signature: Sequence[Any]) -> Hashable | None:
    """Returns a key that is equal for functions only if they compute the same; or `None`.

    Functions of this package and of `keras.activations` never change and are their own keys. The
    key of any other is the graph that it makes now, with the tensors and variables that it reads.
    A function has none if it cannot be traced or reads tensors of a graph that is being built.

    Args:
      function: of tensors.
      signature: its arguments, `tf.TensorSpec`s or sequences of them.
    """
    if _is_constant(function):
        return function
    try:
        trace = as_graph(function, signature).get_concrete_function()
    except Exception:  # Any error of a user's function, which may still run eagerly.
        return None
    if any(map(tf.is_symbolic_tensor, trace.captured_inputs)):
        return None
    definition = trace.graph.as_graph_def().SerializeToString(deterministic=True)
    return definition, tuple(tensor.ref() for tensor in trace.captured_inputs)


def as_graph(function: Callable, signature: Sequence[Any], **options: Any) -> Any:
    """Returns a `tf.function` with one signature, of any callable."""

    # `tf.function` needs a weak reference, which objects with slots do not allow.
    def call(*args: Any) -> Any:
        hosts.release_bijectors()
        return function(*args)

    return tf.function(call, input_signature=signature, autograph=False, **options)


def _is_constant(thing: Any) -> bool:
    """Returns whether a value consists of this package's own classes and plain data only.

    A subclass is not: it may compute something else.
    """
    kind = type(thing)
    if kind in (bool, int, float, str, type(None)):
        return True
    if kind is tuple:
        return all(map(_is_constant, thing))
    if getattr(keras.activations, getattr(thing, "__name__", ""), None) is thing:
        return True
    own = kind.__module__.partition(".")[0] == __name__.partition(".")[0]
    return (
        own
        and dataclasses.is_dataclass(kind)
        and all(_is_constant(getattr(thing, field.name)) for field in dataclasses.fields(thing))
    )
