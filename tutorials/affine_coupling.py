# %% [markdown]
# # Affine coupling, step by step
#
# The affine coupling is the layer that made normalizing flows practical: a Real NVP is a stack of
# affine couplings. "Generative Models: from Noise to Data" (Li, 2022) introduces it by its
# formulas. This tutorial shows it in pictures of the plane. First one layer bends a grid, then
# twelve layers learn two moons. It takes less than a minute.
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
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from sklearn.datasets import make_moons

import tfp_genext as gx

options = support.options("Affine coupling, step by step.")
start = time.perf_counter()
keras.utils.set_random_seed(1)

# %% [markdown]
# ## One layer
#
# The first coordinate of a point $(z_0, z_1)$ is unchanged. A network computes from it the scale
# and shift of the second coordinate:
#
# $$x_0 = z_0, \qquad x_1 = e^{s(z_0)} z_1 + t(z_0)$$
#
# Any network can be used, because it is never inverted: the inverse computes the same $s$ and $t$
# from $x_0 = z_0$. The Jacobian is triangular, with $1$ and $e^{s(z_0)}$ on its diagonal, so that
# the logarithm of its determinant is $s(z_0)$.
#
# Here the network is a small Keras model with random weights. It returns two numbers for the
# transformed coordinate, $t$ and $s$, as an array `[..., 1, 2]`.

# %%
normal = keras.initializers.RandomNormal
network = keras.Sequential(
    [
        keras.Input([1]),
        keras.layers.Dense(
            16, "tanh", kernel_initializer=normal(stddev=1.5), bias_initializer=normal(stddev=1.5)
        ),
        keras.layers.Dense(2, kernel_initializer=normal(stddev=0.25)),
        keras.layers.Reshape([1, 2]),
    ]
)
coupling = gx.bijectors.AffineCoupling(num_masked=1, shift_and_log_scale_fn=network)

# %% [markdown]
# We check these statements. The first coordinate is unchanged. The inverse returns the original
# points. The log-determinant is that of the Jacobian from automatic differentiation. The bijector
# tracks the weights of the network, and all four arrays have gradients.

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
print("the first coordinate stays, the inverse returns, the log-determinant is the Jacobian's")

num_reached = sum(bool(tf.reduce_any(gradient != 0.0)) for gradient in gradients)
print(f"gradients reach {num_reached} of the network's {len(network.weights)} weight arrays")

# %% [markdown]
# Now we transform a grid. Each column of points is shifted up or down, and stretched or compressed,
# and all points stay in their columns. Colour shows the log-determinant: areas grow where it is
# positive and shrink where it is negative, with the same probability inside.

# %%
COLUMNS = np.linspace(-2.0, 2.0, 81, dtype="float32")


def show_grid(axes: Axes, corners: np.ndarray, log_det: np.ndarray, title: str) -> QuadMesh:
    """Shows a grid of points `[81, 81, 2]`, its area coloured by the log-determinant."""
    bound = np.abs(log_det).max()
    mesh = axes.pcolormesh(
        *np.moveaxis(corners, -1, 0),
        log_det,
        cmap="PuOr",
        vmin=-bound,
        vmax=bound,
        shading="gouraud",
    )
    lines = np.concatenate([corners[::8], corners[:, ::8].swapaxes(0, 1)])
    axes.add_collection(LineCollection(lines, colors="0.25", linewidths=0.8))
    axes.set(title=title, xlabel="first coordinate (stays)", ylabel="second coordinate (moves)")
    axes.set(aspect="equal", xlim=(-2.2, 2.2), ylim=(-4.0, 4.0))
    return mesh


def show_network(axes: Axes) -> None:
    """Shows what the coupling does to the second coordinate, as a function of the first."""
    points = np.stack([COLUMNS, np.zeros_like(COLUMNS)], axis=-1)
    log_scale = coupling.forward_log_det_jacobian(points, event_ndims=1)
    axes.axhline(0.0, color="0.8", linewidth=0.8)
    axes.plot(COLUMNS, coupling.forward(points)[:, 1], color="#0072B2", label="shift t")
    axes.plot(COLUMNS, log_scale, "--", color="#D55E00", label="log-scale s")
    axes.set(title="what the network says", xlabel="first coordinate")
    axes.legend()


square = np.stack(np.meshgrid(COLUMNS, COLUMNS), axis=-1)
log_det = coupling.forward_log_det_jacobian(square, event_ndims=1).numpy()
figure, panels = plt.subplots(1, 3, figsize=(11, 4.8), layout="constrained")
show_grid(panels[0], square, log_det, "z, a square grid")
show_network(panels[1])
mesh = show_grid(
    panels[2], coupling.forward(square).numpy(), log_det, "x, the grid after one coupling"
)
figure.colorbar(mesh, ax=panels[2], label="log-determinant")
support.save(figure, options.output / "affine_coupling_layer.png")

# %% [markdown]
# ## Twelve trained layers
#
# One coupling shifts and stretches columns. The next keeps the second coordinate and transforms the
# first, which shifts rows. A few couplings in turn map noise to nearly any shape. We fit twelve
# layers to 20,000 points of two moons by maximum likelihood. The transformer's `bound` limits the
# scale of each layer to a factor of e, so that all layers contribute.

# %%
NUM_LAYERS = 4 if options.short else 12
NUM_POINTS = 2_000 if options.short else 20_000
EPOCHS = 1 if options.short else 20
BATCH_SIZE = 250


def moons(num_points: int, seed: int) -> np.ndarray:
    """Returns points of two noisy half circles, in order along the one and then the other."""
    points, _ = make_moons(num_points, shuffle=False, noise=0.07, random_state=seed)
    return points.astype("float32")


flow = gx.flows.real_nvp(
    [2],
    num_layers=NUM_LAYERS,
    hidden_units=[64, 64],
    transformer=gx.transformers.Affine(scale_map=gx.transformers.ExpScale(bound=1.0)),
)
model = gx.models.DensityModel(flow)
learning_rate = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * NUM_POINTS // BATCH_SIZE)
model.compile(optimizer=keras.optimizers.Adam(learning_rate))
model.fit(moons(NUM_POINTS, seed=0), batch_size=BATCH_SIZE, epochs=EPOCHS)

new_points = moons(2_000, seed=1)
nll = -np.mean(model.predict(new_points, verbose=0))
print(f"NLL of points not seen in training: {nll:.2f} nats")

# %% [markdown]
# ## From data to noise, and back
#
# `flow.bijector` is a chain of twelve couplings, the one next to the data first. To compute a
# density, their inverses map data to noise, one after the other. To draw a sample, the couplings
# map noise to data, in reverse order.
#
# Each point keeps its colour through all layers. In the upper row, from left to right, colours vary
# along the moons. In the lower row, from right to left, they vary from the bottom to the top of the
# noise. Panels in the same column are after the same number of layers, and show the same
# distribution if the flow fits well.

# %%
LAYERS_PER_PANEL = NUM_LAYERS // 4


def data_to_noise(points: np.ndarray) -> list[np.ndarray]:
    """Returns points on their way to noise, one array a panel, data first."""
    stages = [points]
    for layer in flow.bijector.bijectors:
        stages.append(layer.inverse(stages[-1]).numpy())
    return stages[::LAYERS_PER_PANEL]


def noise_to_data(points: np.ndarray) -> list[np.ndarray]:
    """Returns points on their way to data, one array a panel, data first."""
    stages = [points]
    for layer in reversed(flow.bijector.bijectors):
        stages.append(layer.forward(stages[-1]).numpy())
    return stages[::-LAYERS_PER_PANEL]


def show_stages(row: Sequence[Axes], stages: Sequence[np.ndarray], label: str) -> None:
    """Shows one cloud a panel; the colour of a point is its place in the order."""
    for axes, points in zip(row, stages, strict=True):
        axes.scatter(*points.T, c=np.arange(len(points)), s=4, cmap="viridis", linewidths=0)
        axes.set(xticks=[], yticks=[])
    row[0].set_ylabel(label, fontsize=12)


def frame_alike(column: Sequence[Axes], clouds: Sequence[np.ndarray]) -> None:
    """Gives the panels of a column one square frame around all but the farthest points."""
    low, high = np.percentile(np.concatenate(clouds), [0.2, 99.8], axis=0)
    middle, half = (low + high) / 2, 0.6 * (high - low).max()
    for axes in column:
        axes.set(xlim=middle[0] + [-half, half], ylim=middle[1] + [-half, half], aspect="equal")


noise = flow.distribution.sample(2_000, seed=[0, 2]).numpy()
noise = noise[np.argsort(noise[:, 1])]
upper, lower = data_to_noise(new_points), noise_to_data(noise)

figure, panels = plt.subplots(2, len(upper), figsize=(13, 5.6), layout="constrained")
show_stages(panels[0], upper, "data to noise →")
show_stages(panels[1], lower, "← noise to data")
for i, column in enumerate(panels.T):
    frame_alike(column, [upper[i], lower[i]])
    column[0].set_title(f"{i * LAYERS_PER_PANEL} couplings from the data")
panels[0, 0].set_title("data")
panels[0, -1].set_title("noise")
support.save(figure, options.output / "affine_coupling_flow.png", palette=True)

# %% [markdown]
# ## The density
#
# Many models draw samples. A flow also computes the density at any point: `log_prob` sums the
# log-determinants of all layers. As a density it must integrate to 1.

# %%
horizontal, vertical = np.linspace(-2.0, 3.0, 601), np.linspace(-1.5, 2.0, 421)
pixels = np.stack(np.meshgrid(horizontal, vertical), axis=-1).astype("float32")
density = np.exp(flow.log_prob(pixels))
integral = density.sum() * (horizontal[1] - horizontal[0]) * (vertical[1] - vertical[0])
print(f"integral of the density over the picture: {integral:.3f}")

figure, panels = plt.subplots(
    1, 2, figsize=(12, 3.9), layout="constrained", sharex=True, sharey=True
)
panels[0].scatter(*new_points.T, s=3, color="black", linewidths=0)
panels[0].set(title="data not seen in training", aspect="equal")
extent = [*horizontal[[0, -1]], *vertical[[0, -1]]]
image = panels[1].imshow(density, origin="lower", extent=extent, cmap="magma")
panels[1].set_title(f"density of the flow, integral {integral:.3f}")
figure.colorbar(image, ax=panels[1], label="density")
support.save(figure, options.output / "affine_coupling_density.png")

# %% [markdown]
# A thin bridge may remain between the moons. This cannot be avoided: the support of the noise is
# connected, couplings are continuous, and so the support of the flow is connected too.

# %%
print(f"done in {time.perf_counter() - start:.0f} s")
