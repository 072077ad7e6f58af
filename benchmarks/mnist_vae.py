"""Log-likelihoods of VAEs on binarised MNIST, for several bounds, priors and posteriors.

There are 50,000 training images, which are binarised again in each epoch, and 10,000 test images.
The other 10,000 are not used. Models have one layer of 50 latents, and two hidden layers of 200
tanh units in encoder and decoder, as in Burda et al., 2016 (https://arxiv.org/abs/1509.00519). The
file is Keras' `mnist.npz`, or any with its arrays `x_train` and `x_test`.

python benchmarks/mnist_vae.py DATA.npz [--models k1 k50] [--minutes 30] [--epochs 0] [--seeds 0]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import pathlib
import time
from collections.abc import Callable
from typing import Any

import clocks
import harness
import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

_HEADER = (
    "model",
    "seed",
    "parameters",
    "minutes",
    "epochs",
    "test, -ELBO",
    "active units",
    "test, NLL (2 s.e.)",
)
_PIXELS = 28 * 28
_LATENTS = 50
_HIDDEN = 200
_BATCH_SIZE = 20
_EVALUATED = 100
_LEARNING_RATE = 1e-3
_CONTEXT = 50
_FLOW = {"num_layers": 2, "hidden_units": [320], "activation": "relu"}


def main() -> None:
    """Trains each model with each seed, and prints the table line by line."""
    arguments = _options().parse_args()
    images = _load(arguments.data, arguments.rows)
    print(harness.table([], _HEADER), flush=True)
    for seed in arguments.seeds:
        for name in arguments.models:
            print(f"| {' | '.join(_trained(name, seed, images, arguments))} |", flush=True)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=pathlib.Path, help="the .npz file")
    parser.add_argument("--models", nargs="+", choices=_MODELS, default=list(_MODELS))
    parser.add_argument("--minutes", type=float, default=30.0, help="time of each training")
    parser.add_argument("--epochs", type=int, default=0, help="train so long instead, if above 0")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rows", type=int, default=50_000, help="most images to train on")
    parser.add_argument("--tested", type=int, default=1000, help="images in the last column")
    parser.add_argument("--samples", type=int, default=5000, help="latents for each of them")
    return parser


def _load(path: pathlib.Path, rows: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as arrays:
        train, test = (arrays[f"x_{part}"].reshape([-1, _PIXELS]) for part in ("train", "test"))
    left_alone = min(10_000, len(train) // 5)
    return train[:-left_alone][:rows], test[:rows]


def _network(size: int, bias: Any = "zeros") -> keras.Sequential:
    hidden = [keras.layers.Dense(_HIDDEN, activation="tanh") for _ in range(2)]
    return keras.Sequential([*hidden, keras.layers.Dense(size, bias_initializer=bias)])


def _encoder(flow: tfd.Distribution | None = None) -> gx.distributions.Conditional:
    head = gx.distributions.IndependentNormal([_LATENTS])
    if flow is None:
        return gx.distributions.Conditional(_network(head.params_size), head)
    network = _network(head.params_size + _CONTEXT)
    return gx.distributions.Conditional(network, head, bijector=flow.bijector)


def _decoder(train: np.ndarray) -> gx.distributions.Conditional:
    head = gx.distributions.IndependentBernoulli([_PIXELS])
    mean = np.clip(train.mean(axis=0) / 255.0, 1e-3, 1.0 - 1e-3)
    bias = keras.initializers.Constant(np.log(mean / (1.0 - mean)))
    return gx.distributions.Conditional(_network(head.params_size, bias), head)


def _normal() -> tfd.Distribution:
    return tfd.Independent(tfd.Normal(tf.zeros([_LATENTS]), 1.0), 1)


def _vae(
    train: np.ndarray,
    seed: int,
    *,
    prior: Callable[[], tfd.Distribution] = _normal,
    posterior: Callable[[], tfd.Distribution] | None = None,
    objective: gx.objectives.Bound | None = None,
) -> gx.models.VAE:
    return gx.models.VAE(
        _encoder(posterior and posterior()),
        _decoder(train),
        prior=prior(),
        objective=objective,
        preprocessing=gx.layers.Binarize(),
        eval_samples=1,
        seed=seed,
    )


def _maf() -> tfd.Distribution:
    return gx.flows.maf([_LATENTS], **_FLOW)


def _iaf() -> tfd.Distribution:
    return gx.flows.iaf([_LATENTS], conditional_event_shape=[_CONTEXT], **_FLOW)


_MODELS: dict[str, dict[str, Any]] = {
    "k1": {"objective": gx.objectives.ImportanceWeighted(1)},
    "k50": {"objective": gx.objectives.ImportanceWeighted(50)},
    "k50_dreg": {"objective": gx.objectives.ImportanceWeighted(50, doubly_reparameterized=True)},
    "elbo": {},
    "maf_prior": {"prior": _maf},
    "iaf_posterior": {"posterior": _iaf},
}


def _trained(name: str, seed: int, images: tuple, arguments: argparse.Namespace) -> list[str]:
    train, test = images
    keras.utils.set_random_seed(seed)
    model = _vae(train, seed, **_MODELS[name])
    steps = -(-len(train) // _BATCH_SIZE)
    rate: Any = _LEARNING_RATE
    if arguments.epochs:
        rate = keras.optimizers.schedules.CosineDecay(rate, steps * arguments.epochs)
    model.compile(
        optimizer=keras.optimizers.Adam(rate, epsilon=1e-4),
        jit_compile=True,
        steps_per_execution=25,
    )
    clock = [] if arguments.epochs else [clocks.Clock(arguments.minutes, _LEARNING_RATE)]
    start = time.perf_counter()
    history = model.fit(
        train,
        batch_size=_BATCH_SIZE,
        epochs=arguments.epochs or 100_000,
        callbacks=clock,
        verbose=0,
    )
    minutes = (time.perf_counter() - start) / 60.0
    scores = model.evaluate(test, batch_size=_EVALUATED, verbose=0, return_dict=True)
    log_prob = np.concatenate(
        [
            model.log_prob(test[i : i + 10], num_samples=arguments.samples, seed=[seed, i])
            for i in range(0, min(arguments.tested, len(test)), 10)
        ]
    )
    error = 2.0 * log_prob.std() / np.sqrt(len(log_prob))
    number = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    return [
        name,
        str(seed),
        f"{number:,}",
        f"{minutes:.1f}",
        str(len(history.epoch)),
        f"{scores['negative_elbo']:.2f}",
        f"{scores['active_units']:.0f}",
        f"{-log_prob.mean():.2f} ({error:.2f})",
    ]


if __name__ == "__main__":
    main()
