"""Settings that all tests share."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest
import tensorflow as tf

# Two devices, so that `tf.distribute` has replicas to work with.
_CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(autouse=True)
def _fixed_seeds():
    keras.utils.set_random_seed(20221)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def two_devices():
    """One strategy: TensorFlow numbers the reductions of a second one like those of the first."""
    devices = tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([d.name for d in devices[:2]])
