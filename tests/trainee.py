"""A training that can be killed, and started again, alone or as one of several workers.

It goes on from its backup where there is one, writes the whole model after each epoch, and in the
end the weights, to DIRECTORY.

python tests/trainee.py DIRECTORY [--kind NAME] [--epochs 6] [--rows 320] [--kill-at POINT]
    [--worker NUMBER --ports PORT PORT]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import contextlib
import json
import pathlib
import signal
import socket
import sys

import keras
import numpy as np
import registry
import registry_trained
import tensorflow as tf

import tfp_genext as gx

# Where a process may kill itself: in the middle of the third epoch; when the file of the second is
# written and not yet in its place; when it is, and the rest of the epoch's end is not done.
POINTS = ("batch", "written", "replaced")


def free_ports(number: int) -> list[int]:
    """Returns ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


def main() -> None:
    """Trains, and writes `weights.npz`."""
    arguments = _options().parse_args()
    strategy = _strategy(arguments)
    if arguments.kind == "keras":
        print(_of_keras_itself(strategy))
        return
    (case,) = registry.some(registry_trained.TRAINED, arguments.kind)
    with strategy.scope():
        model = case.compiled(lambda: keras.optimizers.Adam(1e-2))
    print("training", flush=True)
    with _killed(arguments.kill_at):
        history = model.fit(
            *case.data(arguments.rows),
            batch_size=16,
            epochs=arguments.epochs,
            verbose=0,
            callbacks=_callbacks(arguments),
        )
    name = f"weights{arguments.worker}"
    whole = arguments.directory / f"{name}.npz"
    losses = {key: np.array(values) for key, values in history.history.items()}
    values = {f"weight {i}": value for i, value in enumerate(registry_trained.weights(model))}
    np.savez(arguments.directory / f"{name}.part.npz", **losses, **values)
    os.replace(arguments.directory / f"{name}.part.npz", whole)


def _of_keras_itself(strategy: tf.distribute.Strategy) -> str:
    """Returns what becomes of a model of Keras' own, whose logs need no reduction to be built."""
    with strategy.scope():
        model = keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])
        model.compile(optimizer="sgd")
        model.compute_loss = lambda x, y, y_pred, **_: tf.reduce_mean(y_pred)
    try:
        model.fit(np.zeros([4, 2]), np.zeros([4, 1]), verbose=0)
    except (ValueError, TypeError) as error:
        return f"Keras fails: {type(error).__name__}"
    return "Keras trains"


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--kind", default="binarized", help="keras for a model of its own")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rows", type=int, default=320)
    parser.add_argument("--kill-at", choices=POINTS)
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--ports", type=int, nargs="+")
    return parser


def _strategy(arguments: argparse.Namespace) -> tf.distribute.Strategy:
    if arguments.ports is None:
        return tf.distribute.get_strategy()
    workers = [f"localhost:{port}" for port in arguments.ports]
    task = {"type": "worker", "index": arguments.worker}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
    return tf.distribute.MultiWorkerMirroredStrategy()


def _callbacks(arguments: argparse.Namespace) -> list[keras.callbacks.Callback]:
    whole = arguments.directory / f"model{arguments.worker}.keras"
    backup = arguments.directory / f"backup{arguments.worker}"
    callbacks = [
        gx.callbacks.BackupAndRestore(backup),
        keras.callbacks.ModelCheckpoint(str(whole)),
    ]
    if arguments.kill_at == "batch":
        callbacks.append(_KilledInTheThirdEpoch())
    return callbacks


class _KilledInTheThirdEpoch(keras.callbacks.Callback):
    """Ends the process as nothing can be done about."""

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self._epoch == 2 and batch == 1:
            os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def _killed(point: str | None):
    """Has the process end where the file of the second epoch would be put in its place."""
    if point not in POINTS[1:]:
        yield
        return
    replace = os.replace

    def killed(written, path):
        place = pathlib.Path(path)
        in_its_place = place.parent.name.startswith("backup") and "000002" in place.name
        if not in_its_place or point == "replaced":
            replace(written, path)
        if in_its_place:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = killed
    try:
        yield
    finally:
        os.replace = replace


if __name__ == "__main__":
    sys.exit(main())
