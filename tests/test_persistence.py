"""Weights come back bit for bit in a new process."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import persistence_child
import pytest
import registry
import tensorflow as tf

import tfp_genext as gx

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def restored(tmp_path_factory):
    """What the weights of each case give here, and in a process that restored them."""
    directory = tmp_path_factory.mktemp("weights")
    expected = {}
    for case in registry.DISTRIBUTIONS:
        distribution = case.build(registry.D, "float32")
        registry.perturb(distribution)
        expected[case.name] = persistence_child.answers(case, distribution)
        model = gx.models.DensityModel(distribution)
        model.save_weights(directory / f"{case.name}.weights.h5")
        model.save(directory / f"{case.name}.keras")
        tf.train.Checkpoint(distribution=distribution).save(str(directory / case.name))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    subprocess.run(
        [sys.executable, str(HERE / "persistence_child.py"), str(directory)],
        check=True,
        env=environment,
    )
    with np.load(directory / "results.npz") as found:
        return expected, dict(found)


@pytest.mark.parametrize("way", ["h5", "checkpoint", "keras"])
@pytest.mark.parametrize("case", registry.DISTRIBUTIONS, ids=lambda case: case.name)
def test_weights_reload_in_a_new_process_bit_for_bit(restored, case, way):
    expected, found = restored
    for key, value in expected[case.name].items():
        np.testing.assert_array_equal(found[f"{case.name}/{way}/{key}"], value)


def test_a_checkpoint_of_the_model_restores_the_distribution(tmp_path):
    case = registry.DISTRIBUTIONS[1]
    saved, restored = case.build(registry.D, "float32"), case.build(registry.D, "float32")
    registry.perturb(saved)
    path = tf.train.Checkpoint(model=gx.models.DensityModel(saved)).save(str(tmp_path / "model"))
    tf.train.Checkpoint(model=gx.models.DensityModel(restored)).restore(path).expect_partial()
    x = registry.points((7, registry.D), "float32")
    np.testing.assert_array_equal(restored.log_prob(x), saved.log_prob(tf.identity(x)))
