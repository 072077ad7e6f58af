"""Builds every distribution of the registry anew, restores its weights, and writes what it gives.

Run as a program: `python persistence_child.py DIRECTORY`.
"""

from __future__ import annotations

import sys

import keras
import numpy as np
import registry
import tensorflow as tf

import tfp_genext as gx


def answers(case: registry.DistributionCase, distribution: tf.Module) -> dict[str, np.ndarray]:
    """Returns log-densities and samples of a distribution at fixed points and seeds."""
    x = registry.points((7, registry.D), "float32")
    kwargs = registry.distribution_kwargs(case, (7,), "float32")
    samples = distribution.sample(7, seed=[3, 4], **kwargs)
    return {
        "log_prob": distribution.log_prob(x, **kwargs).numpy(),
        "samples": samples.numpy(),
    }


def main(directory: str) -> None:
    results = {}
    for case in registry.DISTRIBUTIONS:
        from_weights = case.build(registry.D, "float32")
        gx.models.DensityModel(from_weights).load_weights(f"{directory}/{case.name}.weights.h5")
        from_checkpoint = case.build(registry.D, "float32")
        checkpoint = tf.train.Checkpoint(distribution=from_checkpoint)
        checkpoint.restore(f"{directory}/{case.name}-1").assert_consumed()
        from_model = keras.saving.load_model(f"{directory}/{case.name}.keras").distribution
        ways = {"h5": from_weights, "checkpoint": from_checkpoint, "keras": from_model}
        for way, distribution in ways.items():
            for key, value in answers(case, distribution).items():
                results[f"{case.name}/{way}/{key}"] = value
    np.savez(f"{directory}/results.npz", **results)


if __name__ == "__main__":
    main(sys.argv[1])
