# %% [markdown]
# # From noise to data: GAN, VAE and flow side by side
#
# "Generative Models: from Noise to Data" (Li, 2022) begins with a picture that all its models have
# in common: they map noise to data. In this tutorial a GAN, a VAE and a flow learn the same two
# moons, from noise of two standard normal variables. They differ in their density of a point $x$:
#
# - a **GAN** has none; its discriminator has a score, which is not a density;
# - a **VAE** has a lower bound of log p(x), and an estimate that improves with more samples;
# - a **flow** has the exact log p(x).
#
# It takes some one and a half minutes of processor time.
#
#     pip install ".[tutorials]"
#     python tutorials/side_by_side.py

# %%
import math
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import support
import tensorflow as tf
from sklearn.datasets import make_moons
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

options = support.options("Noise in, data out: GAN, VAE and flow side by side.")
start = time.perf_counter()
keras.utils.set_random_seed(0)

# %% [markdown]
# ## The data
#
# The data are points on two half circles with a little Gaussian noise. Their density is known: it
# is the integral along the curves, approximated by a mean over many points. So we also know the
# smallest negative log-likelihood that a model can have, up to chance.

# %%
DEVIATION = 0.1
NUM_POINTS = 2_560 if options.short else 25_600


def moons(n: int, seed: int) -> np.ndarray:
    """Returns points, centred."""
    points, _ = make_moons(n, noise=DEVIATION, random_state=seed)
    return (points - [0.5, 0.25]).astype("float32")


curves, _ = make_moons(1_000)
truth = tfd.MixtureSameFamily(
    tfd.Categorical(logits=tf.zeros([1_000])),
    tfd.MultivariateNormalDiag(tf.constant(curves - [0.5, 0.25], "float32"), [DEVIATION] * 2),
)
data, held_out = moons(NUM_POINTS, 1), moons(2_000, 2)

# %% [markdown]
# ## Three models
#
# The networks are alike: three hidden layers of 128 for GAN and VAE, two of 64 in each layer of the
# flow, which is autoregressive, with splines. All are trained by Keras' `fit`.
#
# A VAE may be blurred because a latent dies: its KL term is a cost from the start, and the gain
# comes only when the decoder uses the latent. With the full weight of the KL term, `beta`, from the
# start, one of the two latents died here. So `beta` starts at 0.2 and reaches 1 halfway. The VAE
# must then adapt to the full weight. With the learning rate of the other two models and the same
# number of steps, it only reached 1.6 nats. With three times that rate the steps suffice.

# %%
BATCH_SIZE = 256
EPOCHS = {"GAN": 1, "VAE": 1, "flow": 1} if options.short else {"GAN": 50, "VAE": 40, "flow": 15}
NOISE = tfd.Independent(tfd.Normal(tf.zeros([2]), 1.0), 1)


def network(size: int, activation: str = "relu") -> keras.Sequential:
    """Returns a network of three hidden layers."""
    width = 16 if options.short else 128
    hidden = [keras.layers.Dense(width, activation=activation) for _ in range(3)]
    return keras.Sequential([*hidden, keras.layers.Dense(size)])


def optimizer(name: str, rate: float = 1e-3, beta_1: float = 0.9) -> keras.optimizers.Optimizer:
    """Returns Adam with a learning rate that falls to 0."""
    steps = EPOCHS[name] * NUM_POINTS // BATCH_SIZE
    learning_rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    return keras.optimizers.Adam(learning_rate, beta_1=beta_1, beta_2=0.99)


FAST = {"jit_compile": not options.short, "steps_per_execution": 10}
normal = gx.distributions.IndependentNormal([2])

gan = gx.models.GAN(network(2), network(1, "leaky_relu"), prior=NOISE, seed=0)
gan.compile(optimizer("GAN", beta_1=0.0), optimizer("GAN", beta_1=0.0), **FAST)

warm_up = keras.optimizers.schedules.PolynomialDecay(
    0.2, EPOCHS["VAE"] * NUM_POINTS // BATCH_SIZE // 2, end_learning_rate=1.0
)
vae = gx.models.VAE(
    gx.distributions.Conditional(network(normal.params_size), normal),
    gx.distributions.Conditional(network(normal.params_size), normal),
    prior=NOISE,
    objective=gx.objectives.ELBO(num_samples=4, beta=warm_up),
    seed=0,
)
vae.compile(optimizer("VAE", 3e-3), **FAST)

flow = gx.models.DensityModel(
    gx.flows.nsf([2], num_layers=1 if options.short else 4, hidden_units=[64, 64], base=NOISE)
)
flow.compile(optimizer("flow"), **FAST)

models = {"GAN": gan, "VAE": vae, "flow": flow}
for name, model in models.items():
    before = time.perf_counter()
    model.fit(data, batch_size=BATCH_SIZE, epochs=EPOCHS[name], verbose=0)
    print(f"{name}: {time.perf_counter() - before:.0f} s of training")

# %% [markdown]
# ## Log-likelihood of unseen points
#
# The negative log-likelihoods are in nats, for 2,000 unseen points; lower is better. Negative ELBO
# and importance-weighted estimate are upper bounds of the VAE's negative log-likelihood, on
# average. The flow's number is exact. None can be better than the true density, up to chance.

# %%
NUM_LATENTS = 10 if options.short else 300

best = -np.mean(truth.log_prob(held_out))
negative_elbo = vae.evaluate(held_out, verbose=0, return_dict=True)["negative_elbo"]
estimate = -np.mean(vae.log_prob(held_out, num_samples=NUM_LATENTS, seed=[0, 1]))
exact = -np.mean(flow.predict(held_out, verbose=0))

print("model | samples | bound        | estimate     | exact density")
print("GAN   | yes     | none         | none         | none")
print(f"VAE   | yes     | {negative_elbo:.3f} nats   | {estimate:.3f} nats   | none")
print(f"flow  | yes     | not needed   | not needed   | {exact:.3f} nats")
print(f"truth | yes     | not needed   | not needed   | {best:.3f} nats")

# %% [markdown]
# ## From noise to data
#
# Each row is a model. On the left is its noise, coloured by direction. In the middle are the
# samples from that noise, with the same colours. Both GAN and flow are maps of the plane, but only
# the flow must be invertible, and cannot fold the plane. The VAE's decoder returns a distribution
# for each latent, which adds noise at the end.
#
# On the right is the density or score in the plane. The discriminator's score is not useful as a
# density: for a good generator it is almost constant. The VAE's speckles are errors of its
# estimate.

# %%
EXTENT = (-2.0, 2.0, -1.4, 1.4)
NUM_SHOWN = 4_000

noise = NOISE.sample(NUM_SHOWN, seed=[0, 3])
colours = plt.get_cmap("hsv")(np.arctan2(noise[:, 1], noise[:, 0]) / (2.0 * math.pi) + 0.5)
samples = {
    "GAN": gan.averaged_generator(noise),
    "VAE": vae.decode(noise).sample(seed=[0, 4]),
    "flow": flow.distribution.bijector.forward(noise),
}

size = (50, 35) if options.short else (160, 112)
plane = np.meshgrid(np.linspace(*EXTENT[:2], size[0]), np.linspace(*EXTENT[2:], size[1]))
points = np.stack(plane, axis=-1).reshape([-1, 2]).astype("float32")
estimates = [
    vae.log_prob(part, num_samples=NUM_LATENTS, seed=[0, 5]) for part in np.array_split(points, 20)
]
told = {
    "GAN": gan.discriminate(points).numpy(),
    "VAE": np.exp(np.concatenate(estimates)),
    "flow": np.exp(flow.predict(points, batch_size=2_000, verbose=0)),
}
titles = {
    "GAN": "the discriminator's score: no density",
    "VAE": f"estimate of p(x), {NUM_LATENTS:,} latents each",
    "flow": "p(x), exact",
}

area = (EXTENT[1] - EXTENT[0]) * (EXTENT[3] - EXTENT[2]) / len(points)
for name in ("VAE", "flow"):
    print(f"integral of what the {name} says over the picture: {told[name].sum() * area:.3f}")

# %%
brightest = told["flow"].max()
figure, panels = plt.subplots(
    3, 3, figsize=(10.5, 8.4), layout="constrained", width_ratios=[1, 1.43, 1.43]
)
for row, name in zip(panels, models, strict=True):
    row[0].scatter(*np.transpose(noise), s=3, c=colours, linewidths=0)
    row[0].set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), ylabel=name, title="noise")
    row[1].scatter(*np.transpose(samples[name]), s=3, c=colours, linewidths=0)
    row[1].set(xlim=EXTENT[:2], ylim=EXTENT[2:], title="samples")
    values = told[name].reshape(size[::-1])
    low, high = np.quantile(values, [0.02, 0.98]) if name == "GAN" else (0.0, brightest)
    colour_map = "coolwarm" if name == "GAN" else "magma"
    row[2].imshow(values, origin="lower", extent=EXTENT, cmap=colour_map, vmin=low, vmax=high)
    row[2].set_title(titles[name])
    row[0].yaxis.label.set_size(14)
    for axes in row:
        axes.set(xticks=[], yticks=[], aspect="equal")
support.save(figure, options.output / "side_by_side.png", palette=True)

# %%
print(f"done in {time.perf_counter() - start:.0f} s")
