"""Numbers of modes that GAN objectives cover on rings and grids of Gaussians, and of good samples.

The ring has 8 Gaussians with standard deviation 0.02 on a circle of radius 2, the grid 25 with 0.05
and distance 2. A sample is good if it is within 3 standard deviations of the nearest mode. A mode
is covered if its good samples are at least a tenth of its share of all samples. All objectives have
the same networks, optimizers and numbers of steps, except that `Wasserstein` has five steps of the
discriminator for each step of the generator.

python benchmarks/modes.py [--objectives Relativistic] [--sets ring grid] [--seeds 0 1 2 3 4]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import dataclasses
import pathlib
import time
from typing import Any

import harness
import keras
import matplotlib.pyplot as plt
import numpy as np
import pictures
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

_HEADER = ("objective", "set", "modes, by seed", "good samples, by seed", "seconds a training")
_OBJECTIVES: dict[str, gx.objectives.Adversarial] = {
    "Minimax": gx.objectives.Minimax(),
    "NonSaturating": gx.objectives.NonSaturating(),
    "LeastSquares": gx.objectives.LeastSquares(),
    "Wasserstein": gx.objectives.Wasserstein(),
    "Hinge": gx.objectives.Hinge(),
    "Relativistic": gx.objectives.Relativistic(),
}
# Steps of the discriminator for each step of the generator, if the paper has more than one.
_DISCRIMINATOR_STEPS = {"Wasserstein": 5}
_BATCH_SIZE = 256
_ROWS = 100 * _BATCH_SIZE
_WIDTH = 128
_NOISE = 16
_LEARNING_RATE = 1e-3
_SAMPLES = 10_000


@dataclasses.dataclass(frozen=True)
class Modes:
    """Gaussians of equal standard deviation around several centres.

    Args:
      centres: `[K, 2]`.
      deviation: standard deviation of each.
    """

    centres: np.ndarray
    deviation: float

    def sample(self, rows: int, seed: int) -> np.ndarray:
        """Returns draws `[rows, 2]`."""
        rng = np.random.default_rng(seed)
        chosen = self.centres[rng.integers(0, len(self.centres), rows)]
        return (chosen + self.deviation * rng.normal(size=[rows, 2])).astype(np.float32)

    def judged(self, samples: np.ndarray) -> tuple[int, float]:
        """Returns the number of covered modes, and the share of good samples."""
        distances = np.linalg.norm(samples[:, np.newaxis] - self.centres, axis=-1)
        good = distances.min(axis=1) <= 3.0 * self.deviation
        counts = np.bincount(distances.argmin(axis=1)[good], minlength=len(self.centres))
        fair = len(samples) / len(self.centres)
        return int(np.sum(counts >= 0.1 * fair)), float(good.mean())


def _ring() -> Modes:
    angles = np.arange(8) * np.pi / 4.0
    return Modes(2.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.02)


def _grid() -> Modes:
    steps = 2.0 * np.arange(-2.0, 3.0)
    return Modes(np.stack(np.meshgrid(steps, steps), axis=-1).reshape([-1, 2]), 0.05)


_SETS = {"ring": _ring(), "grid": _grid()}


def main() -> None:
    """Trains each objective on each set with each seed, and prints the table line by line."""
    arguments = _options().parse_args()
    print(harness.table([], _HEADER), flush=True)
    for name in arguments.objectives:
        for kind in arguments.sets:
            print(f"| {' | '.join(_judged(name, kind, arguments))} |", flush=True)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objectives", nargs="+", choices=_OBJECTIVES, default=list(_OBJECTIVES))
    parser.add_argument("--sets", nargs="+", choices=_SETS, default=list(_SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--steps", type=int, default=20_000, help="of the generator")
    parser.add_argument("--pictures", type=pathlib.Path, help="directory for samples of seed 0")
    parser.add_argument("--gamma", type=float, help="weight of R1 and R2, for trials")
    return parser


def _judged(name: str, kind: str, arguments: argparse.Namespace) -> list[str]:
    modes, found, start = _SETS[kind], [], time.perf_counter()
    for seed in arguments.seeds:
        steps = _DISCRIMINATOR_STEPS.get(name, 1)
        gan = _trained(_objective(name, arguments), modes, seed, arguments.steps, steps)
        samples = gan.sample(_SAMPLES, seed=[0, 1]).numpy()
        found.append(modes.judged(samples))
        if arguments.pictures and seed == arguments.seeds[0]:
            _draw(samples[:2000], arguments.pictures / f"{kind}_{name}.png")
    seconds = (time.perf_counter() - start) / len(arguments.seeds)
    covered = " ".join(str(number) for number, _ in found)
    good = " ".join(f"{100.0 * share:.0f}" for _, share in found)
    return [name, kind, f"{covered} of {len(modes.centres)}", f"{good} %", f"{seconds:.0f}"]


def _objective(name: str, arguments: argparse.Namespace) -> gx.objectives.Adversarial:
    objective = _OBJECTIVES[name]
    if arguments.gamma is None:
        return objective
    return dataclasses.replace(objective, penalty=gx.objectives.ZeroCentered(arguments.gamma))


def _trained(
    objective: gx.objectives.Adversarial,
    modes: Modes,
    seed: int,
    steps: int,
    discriminator_steps: int,
) -> gx.models.GAN:
    keras.utils.set_random_seed(seed)
    gan = gx.models.GAN(
        _network(2, "relu"),
        _network(1, "leaky_relu"),
        prior=tfd.Sample(tfd.Normal(0.0, 1.0), _NOISE),
        objective=objective,
        discriminator_steps=discriminator_steps,
        seed=seed,
    )
    gan.compile(
        generator_optimizer=_optimizer(steps),
        discriminator_optimizer=_optimizer(steps),
        jit_compile=True,
        steps_per_execution=50,
    )
    x = modes.sample(_ROWS, seed)
    gan.fit(x, batch_size=_BATCH_SIZE, epochs=max(1, steps * _BATCH_SIZE // _ROWS), verbose=0)
    return gan


def _network(size: int, activation: str) -> keras.Sequential:
    hidden = [keras.layers.Dense(_WIDTH, activation=activation) for _ in range(3)]
    return keras.Sequential([*hidden, keras.layers.Dense(size)])


def _optimizer(steps: int) -> keras.optimizers.Optimizer:
    rate: Any = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps, alpha=0.01)
    return keras.optimizers.Adam(rate, beta_1=0.0, beta_2=0.99)


def _draw(samples: np.ndarray, path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axis = plt.subplots(figsize=(4, 4))
    axis.scatter(*samples.T, s=2)
    axis.set_aspect("equal")
    pictures.save(figure, path)


if __name__ == "__main__":
    main()
