"""Importing: the right backend, no warnings of our making."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import pytest
import tensorflow_probability  # noqa: F401 - imports tf_keras, whose absence is TFP's own message

from tfp_genext.core import backend as _backend


def _python(code, **environment):
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("backend", ["numpy", "jax", "torch", "nonsense"])
def test_another_backend_fails_with_one_clear_sentence(backend):
    answer = _python("import tfp_genext", KERAS_BACKEND=backend)
    last = answer.stderr.strip().splitlines()[-1]
    assert answer.returncode != 0
    assert last.startswith("ImportError: tfp_genext needs Keras 3 on the TensorFlow backend")
    assert "Received: " in last


def test_another_keras_fails_with_the_same_sentence(monkeypatch):
    monkeypatch.setattr(keras, "__version__", "2.15.0")
    with pytest.raises(ImportError, match=r"needs Keras 3.*Received: keras version 2\.15\.0"):
        _backend.require_tensorflow_backend()


def test_importing_raises_no_warning():
    answer = _python("import tfp_genext", PYTHONWARNINGS="error")
    assert answer.returncode == 0, answer.stderr
