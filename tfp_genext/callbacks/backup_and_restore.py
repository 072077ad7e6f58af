"""A callback that resumes training after an interruption."""

from __future__ import annotations

import json
import os
import pathlib
import re
import warnings
from typing import Any

import h5py
import keras
import tensorflow as tf

from tfp_genext.core import checks, hosts, replicas
from tfp_genext.saving import files, optimizer_state
from tfp_genext.saving.errors import reading

_OPTIMIZERS = "tfp_genext_optimizers"
_NAME = re.compile(r"epoch_(\d+)\.weights\.h5")


class BackupAndRestore(keras.callbacks.Callback):
    """A callback that saves the state of training after each epoch, and resumes from it.

    After each epoch the state of the model, its optimizers and seeds is saved atomically to one
    file, with the number of the epoch in its name. If the program is started again with the same
    arguments, training continues after the last saved epoch. The final weights are bit-identical to
    those of an uninterrupted run on the same machine if the order of the rows is the same, that is
    with `keras.utils.set_random_seed` or without shuffling.

    `keras.callbacks.BackupAndRestore` writes weights and epoch to two files in turn. If the process
    is killed between them, training resumes at the wrong epoch. With several workers of a
    `tf.distribute.MultiWorkerMirroredStrategy`, their directories may also be an epoch apart. This
    callback keeps the last two epochs of each worker, and all workers resume from the last epoch
    that they have in common.

    The state of other callbacks, such as the patience of `EarlyStopping`, is not restored. The file
    is written after all other callbacks of an epoch, whatever their order in the list, so that a
    learning rate that one of them has changed is saved.

    Args:
      backup_dir: directory for this training and this worker only. It is created if necessary.
      delete_checkpoint: whether to delete the files at the end of training. If the program
        continues after `fit` and may be interrupted there, `False` avoids a second training.
        Default: `True`.

    Raises:
      ValueError: in `fit`, if the workers have no epoch in common, or a file holds the weights of
        another model or does not hold the state of these optimizers.

    Example:

    ```python
    import tempfile
    import keras
    import numpy as np
    import tfp_genext as gx

    x = np.random.default_rng(0).normal(size=[64, 2]).astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        backup = gx.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
        for _ in range(2):  # As if the program were started twice.
            keras.utils.set_random_seed(1)
            model = gx.models.DensityModel(gx.flows.maf([2], num_layers=1, hidden_units=[8]))
            model.compile()
            history = model.fit(x, epochs=3, verbose=0, callbacks=[backup])
    assert history.epoch == []  # There was nothing left to do.
    ```
    """

    # Other callbacks of an epoch run first, because they may change the saved state.
    runs_last = True

    def __init__(self, backup_dir: str | os.PathLike, *, delete_checkpoint: bool = True) -> None:
        super().__init__()
        self._directory = pathlib.Path(checks.path("backup_dir", backup_dir))
        self._delete = delete_checkpoint

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        found = self._found()
        epoch = _common(max(found, default=0), self.model.distribute_strategy)
        for later in [number for number in found if number > epoch]:
            # A stale later backup would be restored instead of newer ones.
            found.pop(later).unlink()
        if not epoch:
            return
        if epoch not in found:
            expected = f"one that holds epoch {epoch}, as those of the other workers"
            raise ValueError(checks.message("backup_dir", expected, sorted(found)))
        self._restore(found[epoch])
        hosts.set_initial_epoch(self.model, epoch)
        epochs = self.params.get("epochs")
        if epochs is not None and epoch > epochs:
            warnings.warn(
                f"`epochs` must be at least {epoch} for a training to go on: `backup_dir` holds "
                "that epoch, its weights are restored and nothing is trained. "
                f"Received: epochs={epochs}",
                UserWarning,
                stacklevel=2,
            )

    def _restore(self, path: pathlib.Path) -> None:
        """Loads weights, and the state of the optimizers that wrote them."""
        with reading(name="backup_dir"), h5py.File(path) as file:
            written = json.loads(file.attrs.get(_OPTIMIZERS, "{}"))
            optimizers = _optimizers(self.model)
            kinds = {name: type(optimizer).__name__ for name, optimizer in optimizers.items()}
            if written and written != kinds:
                raise ValueError(
                    f"`backup_dir` must hold a training by the optimizers {kinds}: compile the "
                    "model as before, or use another directory. "
                    f"Received: {path}, written with {written}"
                )
            optimizer_state.check(file, optimizers)
        self.model.load_weights(path)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Keras has read it by now. If it were kept, a later `fit` would start at that epoch too.
        hosts.set_initial_epoch(self.model, None)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        with files.replacing(self._directory / f"epoch_{epoch + 1:06d}.weights.h5") as path:
            self.model.save_weights(path)
            optimizers = _optimizers(self.model)
            kinds = {name: type(optimizer).__name__ for name, optimizer in optimizers.items()}
            with h5py.File(path, "a") as file:
                file.attrs[_OPTIMIZERS] = json.dumps(kinds)
        for old in sorted(self._found().items())[:-2]:
            old[1].unlink()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        hosts.set_initial_epoch(self.model, None)  # If no epoch was left.
        if self._delete:
            for path in self._found().values():
                path.unlink()

    def _found(self) -> dict[int, pathlib.Path]:
        """Returns the backup files by number of completed epochs."""
        names = ((_NAME.fullmatch(path.name), path) for path in self._directory.iterdir())
        return {int(name[1]): path for name, path in names if name}


def _optimizers(model: keras.Model) -> dict[str, keras.optimizers.Optimizer]:
    """Returns the optimizers of a model by attribute name; a GAN has two."""
    names = ("optimizer", "generator_optimizer", "discriminator_optimizer")
    found = {name: getattr(model, name, None) for name in names}
    return {name: optimizer for name, optimizer in found.items() if optimizer is not None}


def _common(epoch: int, strategy: tf.distribute.Strategy) -> int:
    """Returns the last epoch that all workers have saved."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return epoch
    gather = tf.function(lambda: strategy.run(replicas.gather, [epoch]), autograph=False)
    return int(tf.reduce_min(strategy.experimental_local_results(gather())[0]))
