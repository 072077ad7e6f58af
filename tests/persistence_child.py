"""Takes up in a new process what test_persistence.py put away, and writes what it gives.

Run as a program: `python persistence_child.py DIRECTORY`.
"""

from __future__ import annotations

import sys

import keras
import numpy as np
import registry
import saved_cases
import tensorflow as tf

import tfp_genext as gx


def weights_of(case: registry.DistributionCase, directory: str) -> dict[str, np.ndarray]:
    """Builds a distribution anew, and restores its weights from the files of two kinds."""
    from_weights = case.build(registry.D, "float32")
    gx.models.DensityModel(from_weights).load_weights(f"{directory}/{case.name}.weights.h5")
    from_checkpoint = case.build(registry.D, "float32")
    checkpoint = tf.train.Checkpoint(distribution=from_checkpoint)
    checkpoint.restore(f"{directory}/{case.name}-1").assert_consumed()
    ways = {"h5": from_weights, "checkpoint": from_checkpoint}
    return {
        f"{way}/{key}": value
        for way, distribution in ways.items()
        for key, value in saved_cases.answers(distribution).items()
    }


def main(directory: str) -> None:
    results = {}
    for case in registry.DISTRIBUTIONS:
        results |= {f"{case.name}/{k}": v for k, v in weights_of(case, directory).items()}
    for name in saved_cases.CASES:
        model = keras.saving.load_model(f"{directory}/{name}.keras")
        found = saved_cases.to_compare(name, model)
        results |= {f"{name}/keras/{k}": v for k, v in found.items()}
    np.savez(f"{directory}/results.npz", **results)


if __name__ == "__main__":
    main(sys.argv[1])
