# %% [markdown]
# # Three autoregressive flows compared to known densities
#
# "Generative Models: from Noise to Data" (Li, 2022) ends with autoregressive flows. All of them
# transform each number by an increasing function whose parameters depend on the numbers before it.
# They differ in the flexibility of this function:
#
# - **MAF**, masked autoregressive flow: a straight line, $x_k = \mu_k + e^{\alpha_k} z_k$.
# - **NSF**, neural spline flow: a smooth curve of a few bins.
# - **NAF**, neural autoregressive flow: a small, monotone network of sigmoids.
#
# This tutorial fits them to three known densities in the plane, so that their error can be seen and
# measured. It takes some five minutes on two processor cores.
#
#     pip install ".[tutorials]"
#     python tutorials/densities.py

# %%
import dataclasses
import math
import time
from collections.abc import Callable

import keras
import matplotlib.pyplot as plt
import numpy as np
import support
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

options = support.options("Three autoregressive flows beside the truth.")
start = time.perf_counter()
keras.utils.set_random_seed(0)

# %% [markdown]
# ## Three densities
#
# - *Eight Gaussians* on a circle, almost separate.
# - *Two rings*: the distance from the centre has a mixture of two narrow Gaussians.
# - A *checkerboard*, constant on every other square of 4 x 4, and zero beyond a sharp edge.


# %%
@dataclasses.dataclass(frozen=True)
class Truth:
    """A density that is known exactly.

    Args:
      sample: points `[n, 2]` from how many and a seed.
      log_prob: log-densities `[...]` of points `[..., 2]`, in nats.
    """

    sample: Callable[[int, int], np.ndarray]
    log_prob: Callable[[np.ndarray], np.ndarray]


angles = np.linspace(0.0, 2.0 * math.pi, 8, endpoint=False, dtype="float32")
gaussians = tfd.MixtureSameFamily(
    tfd.Categorical(probs=np.full([8], 1.0 / 8.0, "float32")),
    tfd.MultivariateNormalDiag(
        2.0 * np.stack([np.cos(angles), np.sin(angles)], axis=-1), np.full([2], 0.2, "float32")
    ),
)
radius = tfd.MixtureSameFamily(tfd.Categorical(probs=[0.4, 0.6]), tfd.Normal([1.0, 2.2], 0.1))


def sample_rings(n: int, seed: int) -> np.ndarray:
    """Returns points at a random distance from the middle, in a random direction."""
    angle = tf.random.stateless_uniform([n], [1, seed], maxval=2.0 * math.pi)
    return (radius.sample(n, seed=[0, seed]) * [tf.cos(angle), tf.sin(angle)]).numpy().T


def log_prob_rings(points: np.ndarray) -> np.ndarray:
    """Returns the density of the distance, spread along the circle of that radius."""
    distance = np.linalg.norm(points, axis=-1)
    return radius.log_prob(distance).numpy() - np.log(2.0 * math.pi * distance)


def sample_checkerboard(n: int, seed: int) -> np.ndarray:
    """Returns points in the dark squares of a board of 4 x 4 from -2 to 2."""
    rng = np.random.default_rng(seed)
    column, half = rng.integers(0, 4, n), rng.integers(0, 2, n)
    corner = np.stack([column, 2 * half + column % 2], axis=-1)
    return (corner + rng.random([n, 2]) - 2.0).astype("float32")


def log_prob_checkerboard(points: np.ndarray) -> np.ndarray:
    """Returns log(1 / 8) in the eight dark squares of area 1, and minus infinity elsewhere."""
    dark = np.floor(points).sum(axis=-1) % 2 == 0
    inside = (np.abs(points) < 2.0).all(axis=-1)
    return np.where(dark & inside, -math.log(8.0), -np.inf)


TRUTHS = {
    "eight Gaussians": Truth(
        lambda n, seed: gaussians.sample(n, seed=[0, seed]).numpy(),
        lambda points: gaussians.log_prob(points).numpy(),
    ),
    "two rings": Truth(sample_rings, log_prob_rings),
    "checkerboard": Truth(sample_checkerboard, log_prob_checkerboard),
}

# %% [markdown]
# ## Three flows
#
# All three have the same masked networks. Only the *transformer* differs, the function of one
# number: `Affine`, `Spline` or `DeepDenseSigmoidal`. The order of the two coordinates is reversed
# after each layer. MAF has twice as many layers as the others, because its layers are less
# expressive.

# %%
NUM_POINTS = 2_000 if options.short else 50_000
EPOCHS = 1 if options.short else 12
BATCH_SIZE = 250
NUM_LAYERS = 1 if options.short else 4
NUM_UNITS = 2 if options.short else 8
HIDDEN = [64, 64]

RECIPES = {
    "MAF": lambda: gx.flows.maf([2], num_layers=2 * NUM_LAYERS, hidden_units=HIDDEN),
    "NSF": lambda: gx.flows.nsf([2], num_layers=NUM_LAYERS, hidden_units=HIDDEN, num_bins=16),
    "NAF": lambda: gx.flows.naf(
        [2],
        num_layers=NUM_LAYERS,
        hidden_units=HIDDEN,
        transformer=gx.transformers.DeepDenseSigmoidal(num_units=NUM_UNITS, num_layers=2),
    ),
}


def trained(recipe: Callable[[], tfd.Distribution], truth: Truth) -> gx.models.DensityModel:
    """Returns a new flow, fitted to points of the truth."""
    model = gx.models.DensityModel(recipe())
    steps = EPOCHS * NUM_POINTS // BATCH_SIZE
    learning_rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate, clipnorm=10.0))
    model.fit(truth.sample(NUM_POINTS, 1), batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0)
    return model


# %% [markdown]
# ## Error of the flows
#
# We measure the error by the Kullback-Leibler divergence, the mean of $\log p(x) - \log q(x)$ over
# new points of the true density $p$. It is 0 for a perfect flow, and its unit is the nat. As the
# true density is known, it is estimated by a mean of 20,000 differences, reported with two standard
# errors.

# %%
models = {}
for title, truth in TRUTHS.items():
    unseen = truth.sample(20_000, 2)
    for name, recipe in RECIPES.items():
        model = trained(recipe, truth)
        surplus = truth.log_prob(unseen) - model.predict(unseen, batch_size=2_000, verbose=0)
        error = 2.0 * surplus.std() / math.sqrt(len(surplus))
        print(f"{title}, {name}: {surplus.mean():.3f} +- {error:.3f} nats from the truth")
        models[title, name] = model, surplus.mean()

# %% [markdown]
# ## Side by side
#
# Rows are densities and columns are flows, with the true density on the left. The colour scale is
# the same along a row. A MAF leaves bridges between the parts: a continuous function cannot
# separate the noise, and a nearly linear one crosses a gap slowly. Splines and sigmoids cross it
# steeply, and the bridges almost vanish.

# %%
GRID = np.linspace(-3.0, 3.0, 40 if options.short else 200, dtype="float32")
points = np.stack(np.meshgrid(GRID, GRID), axis=-1)
figure, panels = plt.subplots(3, 4, figsize=(10, 7.8), layout="constrained")
for row, (title, truth) in zip(panels, TRUTHS.items(), strict=True):
    density = np.exp(truth.log_prob(points + 1e-4))
    shown = [("truth", density)]
    for name in RECIPES:
        model, divergence = models[title, name]
        found = model.predict(points.reshape([-1, 2]), batch_size=2_000, verbose=0)
        shown.append((f"{name}: {divergence:.3f} nats", np.exp(found).reshape(density.shape)))
    for axes, (label, values) in zip(row, shown, strict=True):
        axes.imshow(values, origin="lower", cmap="magma", vmin=0.0, vmax=1.1 * density.max())
        axes.set(title=label, xticks=[], yticks=[])
    row[0].set_ylabel(title)
support.save(figure, options.output / "densities.png", palette=True)

# %% [markdown]
# ## Both ways
#
# A NAF has no closed-form inverse. As each function is increasing, its root can be bracketed, and
# root finding maps noise to data with an error of floating-point rounding. We map points from noise
# to data and back:

# %%
for name in RECIPES:
    flow = models["two rings", name][0].distribution
    noise = flow.distribution.sample(1_000, seed=[0, 3])
    data = flow.bijector.forward(noise)
    back = flow.bijector.inverse(tf.identity(data))
    error = float(tf.reduce_max(tf.abs(back - noise)))
    print(f"{name}: noise to data and back is off by {error:.1e} at most")

figure, panels = plt.subplots(1, 4, figsize=(13, 3.7), layout="constrained")
clouds = [("points of the truth", TRUTHS["two rings"].sample(3_000, 4))]
for name in RECIPES:
    clouds.append((name, models["two rings", name][0].sample(3_000, seed=4)))
for axes, (label, cloud) in zip(panels, clouds, strict=True):
    axes.scatter(*np.transpose(cloud), s=2, color="black", linewidths=0)
    axes.set(title=label, xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
support.save(figure, options.output / "densities_samples.png", palette=True)

# %%
print(f"done in {time.perf_counter() - start:.0f} s")
