"""Loading of models from files that are not trusted."""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.saving import archive
from tfp_genext.saving.config import Sizes, check
from tfp_genext.saving.errors import reading, wrong

# Sizes in a configuration are at most one byte in so many of the limit, or so many times the
# largest dimension of a weight; the parts of a network at most one in so many.
_BYTES_A_SIZE, _TIMES_A_DIMENSION, _BYTES_A_PART = 2**14, 4, 2**18
# A variable with fewer numbers needs no counterpart in the file: states of seeds, metrics.
_SMALL = 2**12


def load_model(
    path: Any,
    *,
    max_bytes: int | None = None,
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
) -> keras.Model:
    """Loads a model from a `.keras` file that need not be trusted.

    Nothing that the file names is run, imported or read, other than the classes and functions of
    Keras, TFP and this package that models are made of, and registered classes of the user. The
    file is looked through before anything is made: the archive, the configuration, and the weights
    of which the declared shapes must be those that are stored. What loading takes is limited by
    `max_bytes`. `keras.saving.load_model` loads the same files, with the same list of classes, but
    without limits of size.

    Args:
      path: name of the file, which ends in `.keras` and must not change while it is loaded.
      max_bytes: limit of memory for what the file asks for; the file itself may unpack to a quarter
        of it. Default: 4 times the size of the file, and 64 MiB.
      custom_objects: classes and functions by name, for those that are not registered.
      compile: whether to compile the model as it was when it was saved. Default: `True`.

    Raises:
      ValueError: if the file is missing, damaged, names something else, or asks for more.

    Example:

    ```python
    import os
    import tempfile

    import tfp_genext as gx

    path = os.path.join(tempfile.mkdtemp(), "flow.keras")
    gx.models.DensityModel(gx.flows.maf([2], num_layers=1, hidden_units=[8])).save(path)
    model = gx.saving.load_model(path, max_bytes=2**30)
    ```
    """
    if max_bytes is not None:
        max_bytes = checks.positive_int("max_bytes", max_bytes, maximum=None)
    with reading():
        path = checks.path("path", path)
        if not path.endswith(".keras") or not os.path.isfile(path):
            raise wrong("be a file that exists, and whose name ends in '.keras'", path)
        limit = archive.default_size(path) if max_bytes is None else max_bytes
        found = archive.contents(path, limit)
        shapes = archive.weight_shapes(io.BytesIO(found.weights))
        dimensions = [size for shape in shapes if math.prod(shape) for size in shape]
        largest = max(limit // _BYTES_A_SIZE, _TIMES_A_DIMENSION * max(dimensions, default=0))
        check(found.config, Sizes(largest, limit // _BYTES_A_PART), custom_objects)
        with _limited(limit, shapes):
            model = keras.saving.load_model(path, custom_objects, compile)
        if not isinstance(model, keras.Model):
            raise wrong("hold a model", model)
        return model


@contextlib.contextmanager
def _limited(max_bytes: int, shapes: Sequence[tuple[int, ...]]) -> Iterator[None]:
    """Limits variables and trials of parts of a model inside the block."""
    token = checks.trial.set(lambda make: _traced_first(make, max_bytes))
    try:
        with tf.variable_creator_scope(_Creator(max_bytes, max(map(math.prod, shapes), default=0))):
            yield
    finally:
        checks.trial.reset(token)


class _Creator:
    """Variable creator that refuses variables without weights in the file."""

    def __init__(self, max_bytes: int, largest: int) -> None:
        self._largest = max(_SMALL, largest)
        self._left = max_bytes
        self._graph = tf.Graph()

    def __call__(self, create: Callable, **kwargs: Any) -> Any:
        value: Any = kwargs.get("initial_value")
        if callable(value):
            value = self._traced(value)
        number = math.prod(value.shape if hasattr(value, "shape") else np.shape(value))
        self._left -= number * tf.as_dtype(getattr(value, "dtype", tf.float32)).size
        if number > self._largest or self._left < 0:
            expected = f"hold the weights of all variables, of at most {self._largest} numbers each"
            raise wrong(f"{expected} and `max_bytes` together", f"{kwargs.get('name')}: {number}")
        return create(**kwargs)

    def _traced(self, value: Callable[[], Any]) -> Any:
        """Returns an initial value without computing it."""
        try:
            with self._graph.as_default():
                return value()
        except RuntimeError:  # It reads a variable, as that of a seed; slower by half.
            return tf.function(value, autograph=False).get_concrete_function().structured_outputs


def _traced_first(make: Callable[[], Any], max_bytes: int) -> Any:
    """Calls a function after checking the sizes in its graph."""

    def traced() -> None:
        make()

    graph = tf.function(traced, autograph=False).get_concrete_function().graph
    for operation in graph.get_operations():
        for tensor in operation.outputs:
            known = tensor.shape.is_fully_defined() and tensor.dtype.size
            if known and tensor.shape.num_elements() * tensor.dtype.size > max_bytes:
                expected = f"make tensors of at most {max_bytes} bytes, or `max_bytes`"
                raise wrong(expected, f"{operation.name}: {tensor.shape}")
    return make()
