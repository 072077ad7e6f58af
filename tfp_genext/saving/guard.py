"""What holds while a file is read: sizes are counted, and what fails names the file."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from packaging.version import InvalidVersion, Version

from tfp_genext import budget
from tfp_genext._version import __version__
from tfp_genext.core import checks
from tfp_genext.saving import archive

# Of a message that may hold all of a file.
_LONGEST = 1000
_LONGEST_VERSION = 50
# What a variable counts for beside its numbers; in a file it takes some 800 bytes.
_OVERHEAD = 4 * 2**10


class Unregistered(ValueError):
    """A file names a class of the user's that Keras does not know."""


def require_registered(config: Any) -> None:
    """Raises `Unregistered` if a configuration of Keras names a class that is not registered."""
    name = config.get("registered_name") if isinstance(config, dict) else None
    if name and ">" in name and keras.saving.get_registered_object(name) is None:
        raise Unregistered(
            "`filepath` must name classes that are registered: import the module that defines "
            f"{config.get('class_name')!r}, decorated with "
            "`keras.saving.register_keras_serializable`, before loading. "
            f"Received: {name!r}, which is not registered"
        )


@contextlib.contextmanager
def reading(version: Any = None) -> Iterator[None]:
    """Converts errors inside the block to a `ValueError` that names the file.

    While Keras reads an archive, what the block makes is counted against what the archive weighs.

    Args:
      version: of the package that wrote the file, as the file says it. If that is newer than this
        one, errors say so first. Default: not known, as in files from before versions were written.
    """
    try:
        with _counted():
            yield
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:
        told = _cause(error, budget.TooLarge) or _cause(error, Unregistered)
        if told is not None:
            raise told from None
        if _is_newer(version):
            raise ValueError(
                f"`filepath` must hold what tfp_genext {__version__} can read. Received: a file "
                f"written by tfp_genext {version}, this is {__version__} "
                f"({type(error).__name__}: {_short(error)})"
            ) from error
        if isinstance(error, ValueError) and str(error).startswith("`filepath`"):
            raise
        raise ValueError(
            "`filepath` must hold what `tfp_genext` wrote. Received: data that cannot be read "
            f"({type(error).__name__}: {_short(error)})"
        ) from error


@contextlib.contextmanager
def size_limit(*, gigabytes: float) -> Iterator[None]:
    """Has a file that is read in a block make so much, whatever it weighs.

    Without it, what `keras.saving.load_model` makes of a file, weights, slots of optimizers and
    masks, may be 4 times as large as the file and 64 MiB: a model whose weights are in its file
    takes far less, and a file that lies about sizes cannot fill the memory. A size that a file
    names may be a quarter of that; what one step of a network makes of the two rows on which a VAE
    or GAN tries its parts, 256 MiB if that is more. What is not read from a file,
    `from_config` alone, has no limit.

    Args:
      gigabytes: how much, in units of 2**30 bytes.

    Raises:
      ValueError: if that is not above 0, or above 1e9.

    Example:

    ```python
    import os
    import tempfile

    import keras
    import tfp_genext as gx

    path = os.path.join(tempfile.mkdtemp(), "flow.keras")
    gx.models.DensityModel(gx.flows.maf([2], num_layers=1, hidden_units=[8])).save(path)
    with gx.saving.size_limit(gigabytes=8):
        model = keras.saving.load_model(path)
    ```
    """
    size = checks.number(
        "gigabytes", gigabytes, "above 0 and at most 1e9", lambda n: 0.0 < n <= 1e9
    )
    with budget.allowing(int(size * 2**30)):
        yield


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    file = archive.opened() if budget.current() is None else None
    if file is None:
        yield
        return
    found = budget.for_file(archive.checked_size(file))
    with budget.within(found), tf.variable_creator_scope(_Counting()):
        yield


class _Counting:
    """A creator of variables that counts them before they take up memory."""

    def __init__(self) -> None:
        self._graph = tf.Graph()

    def __call__(self, create: Callable, **kwargs: Any) -> Any:
        value: Any = kwargs.get("initial_value")
        if callable(value):
            known = _known_variable(value)
            value = self._in_a_graph(value) if known is None else known
        shape = value.shape if hasattr(value, "shape") else np.shape(value)
        dtype = tf.as_dtype(getattr(value, "dtype", kwargs.get("dtype")) or tf.float32)
        size = math.prod(tf.TensorShape(shape).as_list()) * dtype.size
        budget.spend(size + _OVERHEAD, f"the variable {kwargs.get('name')!r}")
        return create(**kwargs)

    def _in_a_graph(self, value: Callable[[], tf.Tensor]) -> tf.Tensor:
        """Returns an initial value of which nothing is computed."""
        with self._graph.as_default():
            return value()


def _known_variable(value: Callable) -> keras.Variable | None:
    """Returns the variable of Keras whose initial value a function gives, if it can be seen.

    Else one has to see in a graph how large that is, which takes as long as to compute it.
    """
    held = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    return next((thing for thing in held if isinstance(thing, keras.Variable)), None)


def _is_newer(version: Any) -> bool:
    """Tells whether a file's version is later than this package's; what is no version is not."""
    # A file may hold anything in its place.
    if not isinstance(version, str) or len(version) > _LONGEST_VERSION:
        return False
    try:
        return Version(version) > Version(__version__)
    except InvalidVersion:
        return False


def _cause(error: BaseException | None, kind: type[Exception]) -> Exception | None:
    """Returns the error of a kind from which another comes: Keras makes its own of many."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


def _short(error: Exception) -> str:
    """Returns a message without its middle, where Keras writes what the file holds."""
    text = str(error)
    return (
        text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    )
