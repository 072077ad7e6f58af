"""Every kind of model on two devices: an epoch gives the losses and weights of one device.

Rows are divided evenly, unevenly, and so that one device has none. Distributions compute in float64
where they can, so that only faults are seen and no rounding; models with latents in float32.

python tests/campaigns/two_devices.py [--only NAME ...] [--rows 64 63 65]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import keras
import numpy as np
import registry_trained
import tensorflow as tf

_OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(0.01),
    "Adam": lambda: keras.optimizers.Adam(1e-3),
}
_RELATIVE, _ABSOLUTE = 1e-5, 1e-8
# Unequal parts draw latents of their own where these are not normal.
_EVEN_ONLY = ("vae_bits", "vae_vimco", "vae_relaxed")


def main() -> int:
    """Prints the largest differences of each kind; returns 1 where one is too large."""
    arguments = _options().parse_args()
    strategy = _two_devices()
    failed = []
    for case in registry_trained.TRAINED:
        if arguments.only and case.name not in arguments.only:
            continue
        for name, optimizer in _OPTIMIZERS.items():
            for rows in arguments.rows:
                if rows % 2 and case.name in _EVEN_ONLY:
                    continue
                of_losses, of_weights = _differences(case, optimizer, strategy, rows)
                print(
                    f"{case.name}, {name}, {rows} rows: losses {of_losses:.1e}, "
                    f"weights {of_weights:.1e} of what is allowed",
                    flush=True,
                )
                if not max(of_losses / _RELATIVE, of_weights) <= 1.0:
                    failed.append((case.name, name, rows))
    print(f"failed: {failed}" if failed else "two devices train as one")
    return int(bool(failed))


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--rows", nargs="+", type=int, default=[64, 63, 65])
    return parser


def _two_devices() -> tf.distribute.Strategy:
    processor = tf.config.list_physical_devices("CPU")[0]
    virtual = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(processor, virtual)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def _differences(case, optimizer, strategy, rows) -> tuple[float, float]:
    """Returns the largest relative difference of losses, and of weights as a share of the bound."""
    alone = case.compiled(optimizer)
    expected = registry_trained.fitted(alone, case, rows)
    with strategy.scope():
        shared = case.compiled(optimizer)
    found = registry_trained.fitted(shared, case, rows)
    of_losses = [abs(found[n] - v) / max(abs(v), 1e-3) for n, v in expected.items()]
    after, others = registry_trained.weights(alone), registry_trained.weights(shared)
    of_weights = [
        np.max(np.abs(other - v) / (_RELATIVE * np.abs(v) + _ABSOLUTE), initial=0.0)
        for v, other in zip(after, others, strict=True)
    ]
    return float(np.max(of_losses)), float(np.max(of_weights))


if __name__ == "__main__":
    sys.exit(main())
