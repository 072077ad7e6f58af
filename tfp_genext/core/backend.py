"""Checks and warning filters that must run before TensorFlow Probability is imported."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

_SENTENCE = (
    "tfp_genext needs Keras 3 on the TensorFlow backend: set KERAS_BACKEND=tensorflow before "
    "Python starts. Received: {}"
)


def require_tensorflow_backend() -> None:
    """Raises `ImportError` unless Keras 3 runs on TensorFlow."""
    try:
        import keras
    except (ImportError, ValueError) as error:
        raise ImportError(_SENTENCE.format(f"an import of keras that failed ({error})")) from error
    version = getattr(keras, "__version__", "unknown")
    if not version.startswith("3."):
        raise ImportError(_SENTENCE.format(f"keras version {version}"))
    if keras.config.backend() != "tensorflow":
        raise ImportError(_SENTENCE.format(f"the backend {keras.config.backend()!r}"))


@contextlib.contextmanager
def quiet_tfp() -> Iterator[None]:
    """Silences a setuptools deprecation warning that imports of TFP 0.25 cause.

    TFP compares versions by a deprecated class. If warnings are errors, it cannot be imported.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "distutils Version classes", DeprecationWarning)
        yield
