"""Log-likelihoods of MADE on binary data sets of the literature on tractable models.

Each set is a file with binary arrays `train`, `valid` and `test`. A row of the table is one set,
with the mean of the test log-likelihood over seeds. Training stops early on the validation set, and
the weights of the best epoch are tested.

python benchmarks/binary.py nltcs.npz plants.npz dna.npz [--seeds 0 1 2]
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
import numpy as np

import tfp_genext as gx

_HEADER = ("set", "rows", "D", "test, nats, by seed", "mean", "validation", "epochs", "seconds")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Hyperparameters of the model and its training.

    Args:
      hidden_units: widths of the hidden layers.
      num_masks: number of masks of the network.
      dropout: dropout rate of the hidden units.
      direct: 1 for direct connections from inputs to outputs, else 0.
      l1: weight of an L1 penalty of the kernels.
      weight_decay: weight decay of AdamW.
      learning_rate: initial learning rate of a cosine schedule.
      batch_size: number of rows of a step.
      epochs: largest number of epochs.
    """

    hidden_units: tuple[int, ...] = (500,)
    num_masks: int = 8
    dropout: float = 0.0
    direct: int = 1
    l1: float = 0.0
    weight_decay: float = 1e-3
    learning_rate: float = 1e-3
    batch_size: int = 100
    epochs: int = 100


_SETTINGS = {
    "nltcs": Settings(),
    "plants": Settings(hidden_units=(1000,), num_masks=1, dropout=0.3, l1=3e-5, epochs=120),
    "dna": Settings(
        hidden_units=(200,),
        num_masks=1,
        l1=2e-3,
        weight_decay=0.0,
        learning_rate=3e-3,
        batch_size=50,
    ),
}


def main() -> None:
    """Fits each set with each seed, and prints the table line by line."""
    arguments = _options().parse_args()
    print(harness.table([], _HEADER), flush=True)
    for path in arguments.data:
        settings = _changed(_SETTINGS.get(path.stem, Settings()), arguments)
        with np.load(path) as arrays:
            data = {name: arrays[name][: arguments.rows] for name in ("train", "valid", "test")}
        print(f"| {' | '.join(_row(path.stem, data, settings, arguments))} |", flush=True)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=pathlib.Path, help="the .npz files")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=None, help="most rows of each part")
    for field in dataclasses.fields(Settings):
        name = f"--{field.name.replace('_', '-')}"
        if field.name == "hidden_units":
            parser.add_argument(name, nargs="*", type=int, help="for trials")
        else:
            parser.add_argument(name, type=type(field.default), help="for trials")
    return parser


def _changed(settings: Settings, arguments: argparse.Namespace) -> Settings:
    given = {f.name: getattr(arguments, f.name) for f in dataclasses.fields(Settings)}
    return dataclasses.replace(settings, **{k: v for k, v in given.items() if v is not None})


def _row(name: str, data: dict, settings: Settings, arguments: argparse.Namespace) -> list[str]:
    start = time.perf_counter()
    found = [_fitted(data, settings, seed) for seed in arguments.seeds]
    seconds = (time.perf_counter() - start) / len(found)
    tests, validations, epochs = zip(*found, strict=True)
    return [
        name,
        f"{len(data['train']):,}",
        str(data["train"].shape[1]),
        " ".join(f"{t:.3f}" for t in tests),
        f"{np.mean(tests):.3f}",
        f"{np.mean(validations):.3f}",
        " ".join(map(str, epochs)),
        f"{seconds:.0f}",
    ]


def _fitted(data: dict, settings: Settings, seed: int) -> tuple[float, float, int]:
    """Returns log-likelihoods of test and validation rows, and the best epoch."""
    keras.utils.set_random_seed(seed)
    model = gx.models.DensityModel(
        gx.autoregressive.made(
            data["train"].shape[1:],
            hidden_units=settings.hidden_units,
            num_masks=settings.num_masks,
            mask_seed=seed,
            dropout=settings.dropout,
            direct=bool(settings.direct),
            kernel_regularizer=keras.regularizers.L1(settings.l1) if settings.l1 else None,
        )
    )
    steps = settings.epochs * -(-len(data["train"]) // settings.batch_size)
    rate: Any = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay),
        jit_compile=True,
        steps_per_execution=10,
    )
    stopping = keras.callbacks.EarlyStopping(
        "val_nll", mode="min", patience=20, restore_best_weights=True
    )
    history = model.fit(
        data["train"],
        validation_data=data["valid"],
        validation_batch_size=1000,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        callbacks=[stopping],
        verbose=0,
    )
    test = model.evaluate(data["test"], batch_size=1000, verbose=0, return_dict=True)["nll"]
    validation = np.array(history.history["val_nll"])
    return -test, -float(validation.min()), int(validation.argmin()) + 1


if __name__ == "__main__":
    main()
