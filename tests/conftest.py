"""Settings that all tests share."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest


@pytest.fixture(autouse=True)
def _fixed_seeds():
    keras.utils.set_random_seed(20221)
    yield
    keras.config.set_dtype_policy("float32")
