# %% [markdown]
# # Affine coupling, step by step
#
# The affine coupling is the layer that made normalizing flows practical; Real NVP is nothing but a
# stack of them. "Generative Models: from Noise to Data" (Li, 2022) introduces it by its formulas;
# here it is in pictures, in the plane, where everything can be seen. First one layer bends a grid;
# then eight of them learn two moons. It takes under a minute.
#
#     pip install ".[tutorials]"
#     python tutorials/affine_coupling.py

# %%
import time
from collections.abc import Sequence

import keras
import matplotlib.pyplot as plt
import numpy as np
import support
import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from sklearn.datasets import make_moons

import tfp_genext as gx

tfb = tfp.bijectors

options = support.options("Affine coupling, step by step.")
start = time.perf_counter()
keras.utils.set_random_seed(0)

# %% [markdown]
# ## One layer
#
# Of a point $(z_0, z_1)$ the first coordinate stays. A network looks at it, and at nothing else, and
# says how the second one is scaled and shifted:
#
# $$x_0 = z_0, \qquad x_1 = e^{s(z_0)} z_1 + t(z_0)$$
#
# The network may be anything, for it is never inverted: going back, $x_0$ is still there, so the very
# same $s$ and $t$ can be computed and undone. The Jacobian is triangular with $1$ and $e^{s(z_0)}$ on
# its diagonal; the logarithm of its determinant is simply $s(z_0)$.
#
# Here the network is a small Keras model with random weights. It returns the two numbers $t$ and $s$
# for the one coordinate that moves: an array `[..., 1, 2]`.

# %%
network = keras.Sequential(
    [
        keras.Input([1]),
        keras.layers.Dense(16, "tanh", kernel_initializer=keras.initializers.RandomNormal(0, 1.5)),
        keras.layers.Dense(2, kernel_initializer=keras.initializers.RandomNormal(0, 0.3)),
        keras.layers.Reshape([1, 2]),
    ]
)
coupling = gx.bijectors.AffineCoupling(num_masked=1, shift_and_log_scale_fn=network)

# %% [markdown]
# The words above can be checked: the first coordinate is untouched, the way back leads to where we
# came from, and the log-determinant is that of the Jacobian which automatic differentiation finds.
# And the network is alive: TFP sees its weights and gradients reach them, all four.

# %%
z = tf.random.stateless_normal([1000, 2], seed=[0, 1])
with tf.GradientTape() as tape:
    tape.watch(z)
    x = coupling.forward(z)
jacobian = tape.batch_jacobian(x, z)

with tf.GradientTape() as tape:
    log_det = coupling.forward_log_det_jacobian(z, event_ndims=1)
    objective = tf.reduce_sum(coupling.forward(z) ** 2) + tf.reduce_sum(log_det)
gradients = tape.gradient(objective, coupling.trainable_variables)

np.testing.assert_array_equal(x[:, 0], z[:, 0])
np.testing.assert_allclose(coupling.inverse(tf.identity(x)), z, atol=1e-4)
np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-4)
num_reached = sum(bool(tf.reduce_any(gradient != 0.0)) for gradient in gradients)
print("the first coordinate stays, the inverse returns, the log-determinant is the Jacobian's")
print(f"gradients reach {num_reached} of {len(network.trainable_variables)} weight arrays")

# %% [markdown]
# Now a grid. Every column of it slides up or down as a whole and is stretched or squeezed, and no
# point ever leaves its column.

# %%
LIMIT = 2.0


def square_grid(num_cells: int) -> np.ndarray:
    """Returns the corners `[num_cells + 1, num_cells + 1, 2]` of a grid over a square."""
    ticks = np.linspace(-LIMIT, LIMIT, num_cells + 1, dtype="float32")
    return np.stack(np.meshgrid(ticks, ticks), axis=-1)


def show_grid(axes: Axes, corners: np.ndarray, log_det: np.ndarray, title: str) -> None:
    """Shows a warped grid, its area coloured by the log-determinant."""
    bound = np.abs(log_det).max()
    mesh = axes.pcolormesh(
        *np.moveaxis(corners, -1, 0),
        log_det,
        cmap="PuOr",
        vmin=-bound,
        vmax=bound,
        shading="gouraud",
    )
    every_fourth = corners[::4], corners[:, ::4].swapaxes(0, 1)
    axes.add_collection(LineCollection(np.concatenate(every_fourth), colors="0.25", linewidths=0.7))
    axes.set_title(title)
    axes.set_xlabel("first coordinate (stays)")
    axes.set_ylabel("second coordinate (moves)")
    axes.set_aspect("equal")
    axes.figure.colorbar(mesh, ax=axes, shrink=0.7, label="log-determinant")


def show_network(axes: Axes, coupling: tfb.Bijector) -> None:
    """Shows what a coupling does to the second coordinate, as a function of the first."""
    first = np.linspace(-LIMIT, LIMIT, 200, dtype="float32")
    points = np.stack([first, np.zeros_like(first)], axis=-1)
    axes.plot(first, coupling.forward(points)[:, 1], color="#0072B2", label="shift t")
    log_scale = coupling.forward_log_det_jacobian(points, event_ndims=1)
    axes.plot(first, log_scale, "--", color="#D55E00", label="log-scale s")
    axes.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
    axes.set_title("What the network says")
    axes.set_xlabel("first coordinate")
    axes.legend()


corners = square_grid(40)
log_det = coupling.forward_log_det_jacobian(corners, event_ndims=1).numpy()
figure, panels = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
show_grid(panels[0], corners, log_det, "z: a square grid")
show_network(panels[1], coupling)
show_grid(panels[2], coupling.forward(corners).numpy(), log_det, "x: the grid after one coupling")
support.save(figure, options.output / "affine_coupling_layer.png")

# %% [markdown]
# Orange regions...

# %% [markdown]
# ## Eight layers that learn
#
# One coupling can only slide and stretch columns. The next one keeps the second coordinate and moves
# the first, so it slides rows; a few of them in turn can bend noise into nearly any shape. We let
# eight learn two moons from 20,000 points, by maximum likelihood.

# %%
NUM_POINTS = 2_000 if options.short else 20_000
BATCH_SIZE = 256
EPOCHS = 1 if options.short else 20


def moons(num_points: int, seed: int) -> np.ndarray:
    """Returns points of two noisy half circles, in order along the one and then the other."""
    points, _ = make_moons(num_points, shuffle=False, noise=0.07, random_state=seed)
    return points.astype("float32")


flow = gx.flows.real_nvp([2], num_layers=8, hidden_units=[128, 128])
model = gx.models.DensityModel(flow)
learning_rate = keras.optimizers.schedules.CosineDecay(2e-3, EPOCHS * NUM_POINTS // BATCH_SIZE)
model.compile(optimizer=keras.optimizers.Adam(learning_rate))
model.fit(moons(NUM_POINTS, seed=0), batch_size=BATCH_SIZE, epochs=EPOCHS)

new_points = moons(2_000, seed=1)
nll = -np.mean(model.predict(new_points, verbose=0))
print(f"NLL of points not seen in training: {nll:.2f} nats")

# %% [markdown]
# ## From data to noise, and back
#
# `flow.bijector` is a chain whose members can be applied one at a time. Upwards...

# %%
STEP = 2


def data_to_noise(points: np.ndarray) -> list[np.ndarray]:
    """Returns points after 0, 2, ... 8 couplings towards noise."""
    stages = [points]
    for layer in flow.bijector.bijectors:
        stages.append(layer.inverse(stages[-1]).numpy())
    return stages[::STEP]


def noise_to_data(points: np.ndarray) -> list[np.ndarray]:
    """Returns points after 8, 6, ... 0 couplings away from noise, those nearest to data first."""
    stages = [points]
    for layer in reversed(flow.bijector.bijectors):
        stages.append(layer.forward(stages[-1]).numpy())
    return stages[::-STEP]


def show_stages(row: Sequence[Axes], stages: list[np.ndarray], colour: np.ndarray) -> None:
    """Shows one scatter plot a stage; a point keeps its colour."""
    for axes, points in zip(row, stages, strict=True):
        axes.scatter(*points.T, c=colour, s=3, cmap="viridis", linewidths=0)
        axes.set_aspect("equal")


noise = np.asarray(flow.distribution.sample(2_000, seed=[0, 2]))
figure, panels = plt.subplots(2, 5, figsize=(13, 5.6), layout="constrained")
show_stages(panels[0], data_to_noise(new_points), np.arange(len(new_points)))
show_stages(panels[1], noise_to_data(noise), noise[:, 1])
support.save(figure, options.output / "affine_coupling_flow.png")

# %% [markdown]
# ## The density
#

# %%
horizontal, vertical = np.linspace(-2, 3, 500), np.linspace(-1.5, 2, 350)
grid = np.stack(np.meshgrid(horizontal, vertical), axis=-1).astype("float32")
density = np.exp(flow.log_prob(grid))
cell = (horizontal[1] - horizontal[0]) * (vertical[1] - vertical[0])
integral = density.sum() * cell
print(f"integral of the density over the picture: {integral:.3f}")

figure, panels = plt.subplots(1, 2, figsize=(12, 4), layout="constrained", sharex=True, sharey=True)
extent = [*horizontal[[0, -1]], *vertical[[0, -1]]]
panels[0].scatter(*new_points.T, s=2, color="black", linewidths=0)
image = panels[1].imshow(density, origin="lower", extent=extent, cmap="magma")
figure.colorbar(image, ax=panels[1], label="density")
support.save(figure, options.output / "affine_coupling_density.png")

# %%
print(f"done in {time.perf_counter() - start:.0f} s")
