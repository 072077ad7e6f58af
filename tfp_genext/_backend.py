"""The one requirement that must hold before anything else is imported."""

from __future__ import annotations

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
