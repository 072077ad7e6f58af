"""One of several workers that fit a flow together, started by `two_workers.py`.

python tutorials/moons_worker.py FOLDER --worker NUMBER --ports PORT PORT [--epochs 30]
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import make_moons

import tfp_genext as gx

BATCH = 256


def moons(n: int, seed: int) -> np.ndarray:
    """Returns points on two half circles, centred."""
    points, _ = make_moons(n, noise=0.1, random_state=seed)
    return points - [0.5, 0.25]


def compiled() -> gx.models.DensityModel:
    """Returns a flow to be trained, the same at each call."""
    keras.utils.set_random_seed(0)
    # In float64, so that the order of the sum of gradients has a smaller effect.
    flow = gx.flows.nsf([2], num_layers=3, hidden_units=[64, 64], dtype="float64")
    model = gx.models.DensityModel(flow)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    return model


def main() -> None:
    """Trains until the end, from the last backup if this worker was killed before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--worker", type=int, required=True)
    parser.add_argument("--ports", type=int, nargs="+", required=True)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rows", type=int, default=10_240)
    options = parser.parse_args()

    # All workers, and the index of this one. The strategy must be created before other operations.
    workers = [f"localhost:{port}" for port in options.ports]
    task = {"type": "worker", "index": options.worker}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    # Flow, model and optimizer must be created under the scope.
    with strategy.scope():
        model = compiled()
    # Each worker gets all rows, in the same order, and uses its part of each batch.
    model.fit(
        moons(options.rows, 1),
        shuffle=False,
        batch_size=BATCH,
        epochs=options.epochs,
        verbose=0,
        callbacks=[
            gx.callbacks.BackupAndRestore(options.folder / f"backup{options.worker}"),
            keras.callbacks.CSVLogger(options.folder / f"log{options.worker}.csv", append=True),
        ],
    )
    # All workers must save, to separate files, because saving reads metrics from all of them.
    model.save(options.folder / f"flow{options.worker}.keras")


if __name__ == "__main__":
    main()
