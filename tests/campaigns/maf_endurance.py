"""A trained MAF of ten layers: 100,000 finite samples, and densities that leave no memory behind.

Rows of a heavy-tailed, curved distribution are learned; then samples are drawn, which must all be
finite, and log_prob is called over and over, eagerly and compiled, while the size of the process is
watched.

python tests/campaigns/maf_endurance.py [--samples 100000] [--calls 1000] [--epochs 20]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import sys

import growth
import keras
import numpy as np
import tensorflow as tf

import tfp_genext as gx

_SIZE = 10
_LAYERS = 10
_CHUNK = 10_000
_ROWS = 5000


def main() -> int:
    """Prints what was found; returns 1 where a sample is not finite or memory grows."""
    arguments = _options().parse_args()
    keras.utils.set_random_seed(0)
    model = _trained(arguments.epochs)
    finite = _finite(model, arguments.samples)
    print(f"{finite} of {arguments.samples} samples are finite")
    x = tf.constant(_rows(500, seed=1))
    growths = {
        "eager": growth.growth(model.distribution.log_prob, x, arguments.calls),
        "compiled": growth.growth(tf.function(model.distribution.log_prob), x, arguments.calls),
    }
    for name, added in growths.items():
        print(f"{name}: the last {arguments.calls} calls of log_prob added {added:.1f} MB")
    return int(finite < arguments.samples or max(growths.values()) > growth.SLACK)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=20)
    return parser


def _rows(number: int, seed: int) -> np.ndarray:
    """Returns standardised rows with heavy tails, bent along one another."""
    rng = np.random.default_rng(seed)
    x = rng.standard_t(4, size=[number, _SIZE])
    x[:, 1:] += 0.5 * x[:, :-1] ** 2 / (1.0 + np.abs(x[:, :-1]))
    return ((x - x.mean(axis=0)) / x.std(axis=0)).astype("float32")


def _trained(epochs: int) -> gx.models.DensityModel:
    flow = gx.flows.maf([_SIZE], num_layers=_LAYERS, hidden_units=[64, 64])
    model = gx.models.DensityModel(flow)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    x = _rows(_ROWS, seed=0)
    before = model.evaluate(x, verbose=0, return_dict=True)["nll"]
    model.fit(x, batch_size=100, epochs=epochs, verbose=0)
    after = model.evaluate(x, verbose=0, return_dict=True)["nll"]
    print(f"NLL before and after training: {before:.2f} and {after:.2f} nats")
    return model


def _finite(model: gx.models.DensityModel, samples: int) -> int:
    """Returns how many samples are finite, with a finite density."""
    finite = 0
    for start in range(0, samples, _CHUNK):
        number = min(_CHUNK, samples - start)
        x = model.sample(number, seed=[start, 1])
        log_prob = model.distribution.log_prob(x)
        rows = np.isfinite(x).all(axis=1) & np.isfinite(log_prob)
        finite += int(rows.sum())
    return finite


if __name__ == "__main__":
    sys.exit(main())
