"""Trainings that are killed end as those that are not, alone and as workers of several."""

from __future__ import annotations

import concurrent.futures
import pathlib
import signal

import forking
import h5py
import keras
import numpy as np
import pytest
import trainee

import tfp_genext as gx

PROGRAM = pathlib.Path(trainee.__file__)
KILLED = -signal.SIGKILL


def model():
    keras.utils.set_random_seed(1)
    built = gx.models.DensityModel(gx.flows.maf([2], num_layers=1, hidden_units=[4]))
    built.compile(optimizer=keras.optimizers.Adam(1e-2))
    return built


def rows():
    return np.random.default_rng(0).normal(size=[40, 2]).astype("float32")


def results(directory, worker=0):
    with np.load(directory / f"weights{worker}.npz") as found:
        return dict(found)


def weights(directory, worker=0):
    return {k: v for k, v in results(directory, worker).items() if k.startswith("weight")}


def assert_equal(found, expected):
    assert found.keys() == expected.keys() and len(found) > 5
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture(scope="module")
def unharmed(launcher, tmp_path_factory):
    """A training that nothing stops: with noise, shuffled rows and two files an epoch."""
    directory = tmp_path_factory.mktemp("unharmed")
    launcher.run(PROGRAM, [directory], directory)
    return weights(directory)


@pytest.mark.parametrize("point", trainee.POINTS)
def test_a_killed_training_ends_as_one_that_is_not(launcher, tmp_path, unharmed, point):
    launcher.run(PROGRAM, [tmp_path, "--kill-at", point], tmp_path, code=KILLED)
    saved = sorted(path.name for path in (tmp_path / "backup0").glob("*.h5"))
    expected = ["epoch_000001.weights.h5", "epoch_000002.weights.h5"]
    assert saved == (expected[:1] if point == "written" else expected)
    keras.saving.load_model(tmp_path / "model0.keras")
    launcher.run(PROGRAM, [tmp_path], tmp_path)
    assert len(results(tmp_path)["loss"]) == (5 if point == "written" else 4)
    assert_equal(weights(tmp_path), unharmed)
    assert list((tmp_path / "backup0").iterdir()) == []


@pytest.fixture(scope="module")
def launchers(launcher):
    path = [PROGRAM.parents[1], PROGRAM.parent]
    with forking.Launcher(path=path) as second:
        yield launcher, second


def trained_by_workers(launchers, directory, *options, kind="vae_k", codes=(0, 0)):
    given = ["--kind", kind, "--ports", *trainee.free_ports(2), *options]

    def run(worker):
        arguments = [directory, "--worker", worker, *given]
        return launchers[worker].run(PROGRAM, arguments, directory, code=codes[worker])

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(run, range(2)))


def test_two_workers_train_as_one_and_go_on_where_they_were_killed(launcher, launchers, tmp_path):
    directories = [tmp_path / name for name in ("alone", "unharmed", "killed")]
    for directory in directories:
        directory.mkdir()
    alone, unharmed, killed = directories
    launcher.run(PROGRAM, [alone, "--kind", "vae_k"], alone)
    trained_by_workers(launchers, unharmed)
    assert_equal(results(unharmed, 1), results(unharmed, 0))
    for name, value in results(alone).items():
        np.testing.assert_allclose(results(unharmed)[name], value, rtol=1e-4, atol=1e-6)
    trained_by_workers(launchers, killed, "--kill-at", "written", codes=(KILLED, KILLED))
    # As if the second had been faster by a little: it has an epoch more.
    backups = [killed / f"backup{worker}" for worker in range(2)]
    (first,) = backups[1].glob("*.h5")
    (backups[1] / first.name.replace("1.", "2.")).write_bytes(first.read_bytes())
    trained_by_workers(launchers, killed)
    for worker in range(2):
        assert_equal(weights(killed, worker), weights(unharmed))


def test_keras_itself_still_fails_with_workers(launchers, tmp_path):
    """Where it does not, `tfp_genext/models/distributed.py` can go."""
    printed = trained_by_workers(launchers, tmp_path, kind="keras")
    assert all(text.startswith("Keras fails: ") for text in printed), printed


def test_files_are_those_of_the_last_two_epochs(tmp_path):
    backup = gx.callbacks.BackupAndRestore(tmp_path / "new" / "backup", delete_checkpoint=False)
    built = model()
    built.fit(rows(), epochs=4, verbose=0, callbacks=[backup])
    names = sorted(path.name for path in (tmp_path / "new" / "backup").iterdir())
    assert names == ["epoch_000003.weights.h5", "epoch_000004.weights.h5"]
    # A later `fit` without the callback starts at its own beginning.
    assert built.fit(rows(), epochs=2, verbose=0).epoch == [0, 1]


def test_a_later_fit_starts_at_its_own_beginning_after_an_interruption_too(tmp_path):
    def interrupt(epoch, logs):
        raise KeyboardInterrupt

    backup = gx.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    model().fit(rows(), epochs=2, verbose=0, callbacks=[backup])
    resumed = model()
    interrupter = keras.callbacks.LambdaCallback(on_epoch_end=interrupt)
    with pytest.raises(KeyboardInterrupt):
        resumed.fit(rows(), epochs=4, verbose=0, callbacks=[backup, interrupter])
    assert resumed.fit(rows(), epochs=2, verbose=0).epoch == [0, 1]


def test_a_file_of_another_model_is_refused_and_changes_nothing(tmp_path):
    backup = gx.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    model().fit(rows(), epochs=1, verbose=0, callbacks=[backup])
    other = gx.models.DensityModel(gx.flows.maf([2], num_layers=2, hidden_units=[4]))
    other.compile()
    before = [v.numpy() for v in other.variables]
    with pytest.raises(ValueError):
        other.fit(rows(), verbose=0, callbacks=[backup])
    for variable, value in zip(other.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize("wrong", ["", None, 3])
def test_what_names_no_directory_is_refused(wrong):
    with pytest.raises((TypeError, ValueError), match="`backup_dir` must be"):
        gx.callbacks.BackupAndRestore(wrong)


def _small(optimizer="adam"):
    keras.utils.set_random_seed(1)
    model = gx.models.DensityModel(gx.flows.maf([2], num_layers=1, hidden_units=[4]))
    model.compile(optimizer=optimizer)
    return model


def _trained(folder, epochs, optimizer="adam", others=()):
    x = np.random.default_rng(0).normal(size=[64, 2]).astype("float32")
    backup = gx.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
    model = _small(optimizer)
    options = {"shuffle": False, "verbose": 0, "callbacks": [backup, *others]}
    return model, model.fit(x, epochs=epochs, **options)


@pytest.mark.parametrize("other", ["sgd", "rmsprop", "adamax"])
def test_the_state_of_another_optimizer_is_refused(other, tmp_path):
    """Adamax has as many variables as Adam, of the same shapes."""
    _trained(tmp_path, 2)
    with pytest.raises(
        ValueError, match=r"`backup_dir` must hold a training by .*Received: .*Adam"
    ):
        _trained(tmp_path, 4, other)


def test_a_lost_slot_of_the_optimizer_is_refused(tmp_path):
    _trained(tmp_path, 2)
    with h5py.File(max(tmp_path.iterdir()), "a") as file:
        slots = []
        file.visititems(lambda name, item: slots.append(name) if "/vars/" in name else None)
        del file[max(name for name in slots if name.startswith("optimizer"))]
    with pytest.raises(
        ValueError, match=r"`backup_dir` must hold the whole state of the optimizers"
    ):
        _trained(tmp_path, 4)


def test_a_lost_slot_is_refused_of_a_model_that_trained_before(tmp_path):
    _trained(tmp_path, 2)
    with h5py.File(max(tmp_path.iterdir()), "a") as file:
        del file["optimizer/vars/3"]
    model = _small()
    x = np.random.default_rng(0).normal(size=[64, 2]).astype("float32")
    model.fit(x, verbose=0)
    backup = gx.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    with pytest.raises(ValueError, match="`backup_dir` must hold the whole state"):
        model.fit(x, epochs=4, verbose=0, callbacks=[backup])


def test_an_epoch_beyond_the_last_is_warned_of(tmp_path, recwarn):
    _trained(tmp_path, 3)
    _trained(tmp_path, 3)
    assert not [w for w in recwarn if "`epochs`" in str(w.message)]
    with pytest.warns(UserWarning, match="`epochs` must be at least 3"):
        _, history = _trained(tmp_path, 2)
    assert history.epoch == []


class _Halving(keras.callbacks.Callback):
    """Changes the state of the optimizer at the end of an epoch, as ReduceLROnPlateau does."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.optimizer.learning_rate = 0.5 * float(self.model.optimizer.learning_rate)


def test_what_callbacks_listed_after_it_change_is_kept(tmp_path):
    whole, _ = _trained(tmp_path / "whole", 4, others=[_Halving()])
    _trained(tmp_path / "parts", 2, others=[_Halving()])
    resumed, _ = _trained(tmp_path / "parts", 4, others=[_Halving()])
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert float(whole.optimizer.learning_rate) == float(resumed.optimizer.learning_rate)


def test_complex_weights_are_refused(tmp_path):
    path = tmp_path / "model.weights.h5"
    _small().save_weights(path)
    with h5py.File(path, "a") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if "/vars/" in name else None)
        value = file[names[0]][()]
        del file[names[0]]
        file[names[0]] = value.astype("complex64")
    with pytest.raises(ValueError, match="`filepath` must hold real numbers"):
        _small().load_weights(path)
