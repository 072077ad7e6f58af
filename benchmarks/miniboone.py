"""Test log-likelihoods of flows on MINIBOONE-4307, in nats, compared to a Gaussian.

The rows are the available part of the MAF paper's MINIBOONE [1]: 4,307 training rows, 500 rows for
early stopping, and the paper's 3,648 test rows, with 43 columns. The file is not part of the
package. It holds arrays `train`, `val` and `test`.

python benchmarks/miniboone.py DATA.npz [--flows nsf naf naf_dense] [--seeds 0 1 2] [--epochs 80]

[1]: George Papamakarios, Theo Pavlakou, Iain Murray. Masked Autoregressive Flow for Density
     Estimation. 2017. https://arxiv.org/abs/1705.07057
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Sequence

import harness
import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

_HEADER = (
    "flow",
    "seed",
    "test, nats",
    "2 s.e.",
    "stopping rows, nats",
    "epochs",
    "seconds",
    "to noise and back",
)
_STOPPING_ROWS = 500
_LAYERS = 5
_ACTIVATION = "tanh"
_LEARNING_RATE = 5e-4
_WEIGHT_DECAY = 1.0
_BATCH_SIZE = 100
_PATIENCE = 20


@dataclasses.dataclass(frozen=True)
class Setting:
    """A recipe with the hyperparameters that were best on the stopping rows.

    Args:
      recipe: recipe of the flow.
      hidden: widths of the hidden layers of its networks.
      epochs: largest number of epochs, and length of the learning rate schedule.
    """

    recipe: Callable[..., tfd.Distribution]
    hidden: Sequence[int] = (512, 512)
    epochs: int = 80


_FLOWS = {
    "real_nvp": Setting(gx.flows.real_nvp),
    "maf": Setting(gx.flows.maf),
    # Large enough for the tails of standardised data, which exceed 10.
    "nsf": Setting(functools.partial(gx.flows.nsf, bound=16.0)),
    "naf": Setting(gx.flows.naf, hidden=(256, 256), epochs=50),
    "naf_dense": Setting(
        functools.partial(gx.flows.naf, transformer=gx.transformers.DeepDenseSigmoidal()),
        hidden=(256, 256),
        epochs=50,
    ),
}

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def main() -> None:
    """Trains each flow with each seed, and prints the table line by line."""
    arguments = _options().parse_args()
    rows = load(arguments.data)
    print(harness.table([_gaussian(rows)], _HEADER), flush=True)
    for name in arguments.flows:
        options = {"hidden": arguments.hidden, "epochs": arguments.epochs}
        given = {option: value for option, value in options.items() if value is not None}
        setting = dataclasses.replace(_FLOWS[name], **given)
        for seed in arguments.seeds:
            cells = [name, str(seed), *_trained(setting, seed, rows)]
            print(f"| {' | '.join(cells)} |", flush=True)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=pathlib.Path, help="the .npz file")
    parser.add_argument("--flows", nargs="+", choices=_FLOWS, default=list(_FLOWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="most epochs, for all flows")
    parser.add_argument("--hidden", nargs="+", type=int, help="hidden units, for all flows")
    return parser


def load(path: pathlib.Path) -> Rows:
    """Returns the rows for training, early stopping and testing.

    The training rows are the available official ones and most of the official validation rows. The
    last 500 validation rows are for early stopping. None is from the official test split.
    """
    with np.load(path) as arrays:
        train, val, test = (arrays[name].astype("float32") for name in ("train", "val", "test"))
    return np.concatenate([train, val[:-_STOPPING_ROWS]]), val[-_STOPPING_ROWS:], test


def _gaussian(rows: Rows) -> list[str]:
    train, stopping, test = rows
    cholesky = np.linalg.cholesky(np.cov(train, rowvar=False)).astype("float32")
    gaussian = tfd.MultivariateNormalTriL(train.mean(axis=0), cholesky)
    log_prob = gaussian.log_prob(test).numpy()
    return [
        "Gaussian",
        "",
        *_mean(log_prob),
        f"{np.mean(gaussian.log_prob(stopping)):.2f}",
        *[""] * 3,
    ]


def _trained(setting: Setting, seed: int, rows: Rows) -> list[str]:
    train, stopping, test = rows
    keras.utils.set_random_seed(seed)
    flow = setting.recipe(
        train.shape[1:],
        num_layers=_LAYERS,
        hidden_units=setting.hidden,
        activation=_ACTIVATION,
    )
    model = gx.models.DensityModel(flow)
    steps = setting.epochs * -(-len(train) // _BATCH_SIZE)
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
        epochs=setting.epochs,
        callbacks=[early],
        verbose=0,
    )
    seconds = time.perf_counter() - start
    best = -min(history.history["val_nll"])
    log_prob = model.predict(test, verbose=0)
    return [
        *_mean(log_prob),
        f"{best:.2f}",
        str(len(history.epoch)),
        f"{seconds:.0f}",
        f"{_way_back(flow.bijector, test):.1e}",
    ]


def _way_back(bijector: tfb.Bijector, rows: np.ndarray) -> float:
    """Returns the largest error of rows that are mapped to noise and back."""
    noise = tf.function(bijector.inverse)(tf.constant(rows))
    return float(np.abs(tf.function(bijector.forward)(noise) - rows).max())


def _mean(log_prob: np.ndarray) -> list[str]:
    error = 2.0 * log_prob.std() / np.sqrt(len(log_prob))
    return [f"{log_prob.mean():.2f}", f"{error:.2f}"]


if __name__ == "__main__":
    main()
