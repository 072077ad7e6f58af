"""MINIBOONE-4307: what flows reach on test, in nats, beside a Gaussian.

The rows are those of the MAF paper's MINIBOONE [1] as far as they could be had: 4,307 to train on,
500 to stop on, and the paper's own 3,648 test rows, all of 43 columns. The file is not part of the
package; it holds arrays `train`, `val` and `test`.

python benchmarks/miniboone.py DATA.npz [--flows real_nvp maf nsf naf] [--seeds 0 1 2] [--epochs 80]

[1]: George Papamakarios, Theo Pavlakou, Iain Murray. Masked Autoregressive Flow for Density
     Estimation. 2017. https://arxiv.org/abs/1705.07057
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import pathlib
import time
from typing import Any

import harness
import keras
import numpy as np
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

_HEADER = ("flow", "seed", "test, nats", "2 s.e.", "stopping rows, nats", "epochs", "seconds")
_STOPPING_ROWS = 500
_LAYERS = 5
_HIDDEN = (512, 512)
_ACTIVATION = "tanh"
_LEARNING_RATE = 5e-4
_WEIGHT_DECAY = 1.0
_BATCH_SIZE = 100
_PATIENCE = 20
_FLOWS = {
    "real_nvp": gx.flows.real_nvp,
    "maf": gx.flows.maf,
    "nsf": gx.flows.nsf,
    "naf": gx.flows.naf,
}

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def main() -> None:
    """Trains each flow with each seed, a line of the table at a time."""
    arguments = _options().parse_args()
    rows = load(arguments.data)
    print(harness.table([_gaussian(rows)], _HEADER), flush=True)
    for flow in arguments.flows:
        for seed in arguments.seeds:
            cells = _trained(flow, seed, rows, arguments)
            print(f"| {' | '.join(cells)} |", flush=True)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=pathlib.Path, help="the .npz file")
    parser.add_argument("--flows", nargs="+", choices=_FLOWS, default=list(_FLOWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=80, help="most epochs of a training")
    parser.add_argument("--hidden", nargs="+", type=int, default=_HIDDEN, help="hidden units")
    return parser


def load(path: pathlib.Path) -> Rows:
    """Returns the rows to train on, to stop on and to test on.

    The training rows are the few official ones and most of the official validation rows; the last
    500 of those are for stopping. None is from the official test split.
    """
    with np.load(path) as arrays:
        train, val, test = (arrays[name].astype("float32") for name in ("train", "val", "test"))
    return np.concatenate([train, val[:-_STOPPING_ROWS]]), val[-_STOPPING_ROWS:], test


def _gaussian(rows: Rows) -> list[str]:
    train, stopping, test = rows
    cholesky = np.linalg.cholesky(np.cov(train, rowvar=False)).astype("float32")
    gaussian = tfd.MultivariateNormalTriL(train.mean(axis=0), cholesky)
    log_prob = gaussian.log_prob(test).numpy()
    return ["Gaussian", "", *_mean(log_prob), f"{np.mean(gaussian.log_prob(stopping)):.2f}", "", ""]


def _trained(name: str, seed: int, rows: Rows, arguments: argparse.Namespace) -> list[str]:
    train, stopping, test = rows
    keras.utils.set_random_seed(seed)
    model = gx.models.DensityModel(_flow(name, train.shape[1], arguments.hidden))
    steps = arguments.epochs * -(-len(train) // _BATCH_SIZE)
    learning_rate = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=_WEIGHT_DECAY))
    early = keras.callbacks.EarlyStopping(
        "val_nll", mode="min", patience=_PATIENCE, restore_best_weights=True
    )
    start = time.perf_counter()
    history = model.fit(
        train,
        validation_data=stopping,
        batch_size=_BATCH_SIZE,
        epochs=arguments.epochs,
        callbacks=[early],
        verbose=0,
    )
    seconds = time.perf_counter() - start
    best = -min(history.history["val_nll"])
    log_prob = model.predict(test, verbose=0)
    return [
        name,
        str(seed),
        *_mean(log_prob),
        f"{best:.2f}",
        str(len(history.epoch)),
        f"{seconds:.0f}",
    ]


def _flow(name: str, size: int, hidden: Any) -> tfd.Distribution:
    return _FLOWS[name]([size], num_layers=_LAYERS, hidden_units=hidden, activation=_ACTIVATION)


def _mean(log_prob: np.ndarray) -> list[str]:
    error = 2.0 * log_prob.std() / np.sqrt(len(log_prob))
    return [f"{log_prob.mean():.2f}", f"{error:.2f}"]


if __name__ == "__main__":
    main()
