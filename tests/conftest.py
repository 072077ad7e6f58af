"""Settings that all tests share."""

import gc
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# What XLA compiles here runs a few times only: compiling takes longer than running.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import forking
import keras
import pytest
import tensorflow as tf

# These take longest; they come first, so that nothing long is left for one worker at the end.
_LONG = [
    "test_contract.py",
    "test_model_contract.py",
    "test_autoregressive_contract.py",
    "test_benchmarks.py",
    "test_tutorials.py",
    "test_persistence.py",
    "test_served_and_local.py",
    "test_serving.py",
    "test_campaigns.py",
    "test_warmup.py",
    "test_made.py",
    "test_pixel_rnn.py",
    "test_docs.py",
    "test_mixed_precision.py",
    "test_density.py",
]

# What programs import: the package, and what tests share.
_PATH = [pathlib.Path(__file__).parents[1], pathlib.Path(__file__).parent]

# Graphs are large and mostly kept: looking through them often takes a tenth of the time.
gc.set_threshold(50_000, 50, 100)

# Two devices, so that `tf.distribute` has replicas to work with.
_CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * 2)


def pytest_collection_modifyitems(items):
    """Sorts the files; tests of one stay in order."""
    place = {name: i for i, name in enumerate(_LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(_LONG)))


@pytest.fixture(autouse=True)
def _fixed_seeds():
    keras.utils.set_random_seed(20221)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module", autouse=True)
def _nothing_to_look_through():
    """TensorFlow keeps a graph of every function; the collector need not go through all of them."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def two_devices():
    """One strategy: TensorFlow numbers the reductions of a second one like those of the first."""
    devices = tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([d.name for d in devices[:2]])


@pytest.fixture(scope="session")
def launcher():
    """Starts programs of the repository."""
    with forking.Launcher(path=_PATH) as started:
        yield started
