"""Weights and whole models come back bit for bit in a new process, and train on."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import registry
import saved_cases
import tensorflow as tf

import tfp_genext as gx

HERE = pathlib.Path(__file__).parent


def put_away(name, directory):
    """Saves a model in training in every form, and returns what must come back."""
    distribution = saved_cases.CASES[name]()
    registry.perturb(distribution, size=0.1)
    if name in saved_cases.TRAINED_ON:
        model = saved_cases.trained(distribution, saved_cases.data_for(distribution))
    else:
        model = saved_cases.stepped(distribution)
    model.save_weights(directory / f"{name}.weights.h5")
    model.save(directory / f"{name}.keras")
    tf.train.Checkpoint(distribution=distribution).save(str(directory / name))
    return saved_cases.to_compare(name, model)


@pytest.fixture(scope="module")
def restored(tmp_path_factory):
    """What each model gives here, and in a process that took it up."""
    directory = tmp_path_factory.mktemp("models")
    expected = {name: put_away(name, directory) for name in saved_cases.CASES}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    subprocess.run(
        [sys.executable, str(HERE / "persistence_child.py"), str(directory)],
        check=True,
        env=environment,
    )
    with np.load(directory / "results.npz") as found:
        return expected, dict(found)


@pytest.mark.parametrize("way", ["h5", "checkpoint"])
@pytest.mark.parametrize("case", registry.DISTRIBUTIONS, ids=lambda case: case.name)
def test_weights_reload_in_a_new_process_bit_for_bit(restored, case, way):
    expected, found = restored
    for key in ("log_prob", "samples"):
        np.testing.assert_array_equal(found[f"{case.name}/{way}/{key}"], expected[case.name][key])


@pytest.mark.parametrize("name", saved_cases.CASES)
def test_a_model_in_a_new_process_is_the_same_with_its_optimizer(restored, name):
    expected, found = restored
    assert np.isfinite(expected[name]["log_prob"]).all()
    # Two slots a variable, beside the count of steps and the learning rate.
    slots = sum(key.startswith("optimizer") for key in expected[name])
    assert slots == 2 + 2 * len(expected[name]["trainable"])
    for key, value in expected[name].items():
        np.testing.assert_array_equal(found[f"{name}/keras/{key}"], value, err_msg=key)


@pytest.mark.parametrize("name", saved_cases.TRAINED_ON)
def test_a_model_in_a_new_process_trains_on_to_the_same_losses(restored, name):
    expected, found = restored
    assert len(expected[name]["losses"]) == 2
    np.testing.assert_array_equal(found[f"{name}/keras/losses"], expected[name]["losses"])


def test_a_checkpoint_of_the_model_restores_the_distribution(tmp_path):
    case = registry.DISTRIBUTIONS[1]
    saved, restored = case.build(registry.D, "float32"), case.build(registry.D, "float32")
    registry.perturb(saved)
    path = tf.train.Checkpoint(model=gx.models.DensityModel(saved)).save(str(tmp_path / "model"))
    tf.train.Checkpoint(model=gx.models.DensityModel(restored)).restore(path).expect_partial()
    x = registry.points((7, registry.D), "float32")
    np.testing.assert_array_equal(restored.log_prob(x), saved.log_prob(tf.identity(x)))
