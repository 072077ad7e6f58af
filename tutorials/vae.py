# %% [markdown]
# # VAE on MNIST: a map of digits, and a learned prior
#
# The second model of "Generative Models: from Noise to Data" (Li, 2022) is the variational
# autoencoder. It is a model of how data are generated: a *latent* $z$ is drawn from a *prior*
# $p(z)$, a network, the *decoder*, maps it to a distribution $p(x | z)$, and the image $x$ is drawn
# from that. For training one needs the latents $z$ of an image. The *encoder* is a network that
# computes their approximate *posterior* $q(z | x)$.
#
# Here the latent has only two dimensions, so that we can draw a map of all digits, and the density
# of the prior. First the prior is a Gaussian, then a flow that is trained with the VAE. It takes
# some two minutes of processor time.
#
#     pip install ".[tutorials]"
#     python tutorials/vae.py
#
# MNIST is downloaded by Keras, unless `--data FILE` is the path of its `mnist.npz`.

# %%
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import support
import tensorflow as tf
from matplotlib.axes import Axes
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

options = support.options("VAE on MNIST: a map of digits, and a prior that learns.", data=True)
start = time.perf_counter()
keras.utils.set_random_seed(0)

# %% [markdown]
# ## The data
#
# The data are images of 28 x 28 pixels from 0 to 255, as vectors. `gx.layers.Binarize` draws binary
# pixels with the grey values as probabilities: new ones in each training step, and fixed ones in
# evaluation. Then p(x | z) is a Bernoulli distribution for each pixel, and p(x) is the probability
# of an image of 784 bits.

# %%
NUM_PIXELS = 28 * 28

train, held_out = support.mnist(options.data)
train_images = train.images.reshape([-1, NUM_PIXELS])
images = held_out.images.reshape([-1, NUM_PIXELS])

# %% [markdown]
# ## The model
#
# Encoder and decoder each consist of a network and a *head*, which maps the network's output to a
# distribution: two means and two log-scales for the encoder, and 784 logits for the decoder. The
# bias of the decoder's last layer is initialised to the mean image.

# %%
WIDTH = 32 if options.short else 256
MEAN = np.clip(train_images.mean(axis=0) / 255.0, 1e-3, 1.0 - 1e-3)


def network(size: int, bias: keras.initializers.Initializer) -> keras.Sequential:
    """Returns a network of two hidden layers."""
    hidden = [keras.layers.Dense(WIDTH, activation="relu") for _ in range(2)]
    return keras.Sequential([*hidden, keras.layers.Dense(size, bias_initializer=bias)])


def new_vae(prior: tfd.Distribution) -> gx.models.VAE:
    """Returns a VAE that has not been trained yet."""
    latent = gx.distributions.IndependentNormal([2])
    pixels = gx.distributions.IndependentBernoulli([NUM_PIXELS])
    bias = keras.initializers.Constant(np.log(MEAN / (1.0 - MEAN)))
    return gx.models.VAE(
        gx.distributions.Conditional(
            network(latent.params_size, keras.initializers.Zeros()), latent
        ),
        gx.distributions.Conditional(network(pixels.params_size, bias), pixels),
        prior=prior,
        preprocessing=gx.layers.Binarize(),
        eval_samples=10 if options.short else 50,
        seed=0,
    )


# %% [markdown]
# ## The bound
#
# log p(x) is an integral over all latents, which cannot be computed. `fit` maximises the *evidence
# lower bound* instead:
#
#     ELBO(x) = E_q log p(x | z) - KL(q(z | x) || p(z))  <=  log p(x)
#
# Its first term is the *reconstruction* term: the log-likelihood of an image given its latents. The
# second, the *Kullback-Leibler divergence* of the posterior from the prior, is the information of a
# latent about its image, in nats. The gap between the bound and log p(x) is KL(q(z | x) || p(z |
# x)), the error of the approximate posterior. Importance weighting reduces it, with many latents
# per image:
#
#     log p(x) ~ log(1/K sum_k p(x, z_k) / q(z_k | x)),   z_k ~ q(z | x)
#
# `evaluate` reports all of them, and the last as `nll`, here with K = 50.

# %%
EPOCHS = 1 if options.short else 12
MORE_EPOCHS = 1 if options.short else 6
BATCH_SIZE = 100


def train_further(vae: gx.models.VAE, epochs: int, learning_rate: float) -> None:
    """Trains a VAE, with a learning rate that falls to 0."""
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate, epochs * len(train_images) // BATCH_SIZE
    )
    vae.compile(keras.optimizers.Adam(schedule), steps_per_execution=5)
    vae.fit(train_images, batch_size=BATCH_SIZE, epochs=epochs, verbose=2)


def judged(name: str, vae: gx.models.VAE) -> dict[str, float]:
    """Evaluates held-out images, and prints and returns the metrics."""
    found = vae.evaluate(images, batch_size=BATCH_SIZE, verbose=0, return_dict=True)
    print(
        f"{name} prior, held-out images: negative ELBO {found['negative_elbo']:.2f} nats = "
        f"reconstruction {found['reconstruction']:.2f} + KL {found['kl']:.2f}; "
        f"NLL {found['nll']:.2f} nats"
    )
    return found


vae = new_vae(tfd.Independent(tfd.Normal(tf.zeros([2]), 1.0), 1))
train_further(vae, EPOCHS, 2e-3)

# %% [markdown]
# ## The map
#
# On the left are the posterior means of held-out images, in the colour of their digit. The model
# was trained without labels. On the right are the decoded images of a grid of latents, which are
# quantiles of the prior. One digit changes continuously into the next, and neighbours on the left
# are neighbours on the right.

# %%
NUM_TILES = 15


def mosaic(pictures: np.ndarray) -> np.ndarray:
    """Returns images `[rows, columns, 784]` as one."""
    rows, columns = pictures.shape[:2]
    tiles = pictures.reshape([rows, columns, 28, 28]).swapaxes(1, 2)
    return tiles.reshape([28 * rows, 28 * columns])


means = vae.encode(images).mean().numpy()
quantiles = tfd.Normal(0.0, 1.0).quantile((np.arange(NUM_TILES, dtype="float32") + 0.5) / NUM_TILES)
# The second latent increases upwards, as on the left.
across, up = np.meshgrid(quantiles, quantiles[::-1])
tiles = vae.decode(np.stack([across, up], axis=-1).reshape([-1, 2])).mean().numpy()

figure, panels = plt.subplots(1, 2, figsize=(11, 5.3), layout="constrained")
for digit in range(10):
    points = means[held_out.labels == digit][:400]
    panels[0].scatter(*points.T, s=5, color=f"C{digit}", label=digit, linewidths=0)
panels[0].set(title="posterior means of held-out images", xlabel="$z_0$", ylabel="$z_1$")
panels[0].set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
panels[0].legend(title="digit", markerscale=3, loc="lower left", ncols=2, fontsize=8)
panels[1].imshow(mosaic(tiles.reshape([NUM_TILES, NUM_TILES, -1])), cmap="gray_r")
panels[1].set(title="decoded latents", xticks=[], yticks=[])
support.save(figure, options.output / "vae_map.png", palette=True)

# %% [markdown]
# ## A learned prior
#
# The mean of $q(z | x)$ over all images is the *aggregate posterior*. Samples start from the prior.
# In regions with mass of the prior, but none of the aggregate posterior, the decoder was never
# trained. Any difference between the two also increases the KL term.
#
# A flow can be a better prior. `VAE` takes any TFP distribution as the prior, and trains its
# variables with all others. At initialisation a MAF is the standard normal distribution, so it can
# replace the Gaussian without other changes. From the same encoder and decoder, both VAEs are
# trained for the same number of further epochs. The gain is only a fraction of a nat, and when both
# were trained from scratch for 10 epochs, the flow prior was worse.

# %%
flow_vae = new_vae(
    gx.flows.maf(
        [2],
        num_layers=2 if options.short else 6,
        hidden_units=[16] if options.short else [48, 48],
    )
)
flow_vae.encoder.set_weights(vae.encoder.get_weights())
flow_vae.decoder.set_weights(vae.decoder.get_weights())
for model in (vae, flow_vae):
    train_further(model, MORE_EPOCHS, 1e-3)
of_gaussian, of_flow = judged("Gaussian", vae), judged("flow", flow_vae)
for name in ("negative_elbo", "nll"):
    print(f"the flow prior gains {of_gaussian[name] - of_flow[name]:.2f} nats of {name}")

# %% [markdown]
# Contours show the density of the prior, and points are draws from the posteriors of held-out
# images.


# %%
def draw(axes: Axes, model: gx.models.VAE, title: str) -> None:
    """Shows a prior's density below the aggregate posterior."""
    latents = model.encode(images[:3_000]).sample(seed=[0, 1]).numpy()
    reach = 1.1 * np.quantile(np.abs(latents), 0.999)
    line = np.linspace(-reach, reach, 200, dtype="float32")
    grid = np.stack(np.meshgrid(line, line), axis=-1)
    density = np.exp(model.prior.log_prob(grid.reshape([-1, 2]))).reshape([200, 200])
    levels = density.max() * np.array([0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.contourf(line, line, density, levels=levels, cmap="Blues")
    axes.scatter(*latents.T, s=2, color="black", alpha=0.5, linewidths=0)
    axes.set(title=title, aspect="equal", xlabel="$z_0$", ylabel="$z_1$")
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))


figure, panels = plt.subplots(1, 2, figsize=(10, 5.3), layout="constrained")
title = "{} prior\nnegative ELBO {:.2f}, NLL {:.2f} nats"
results = [("Gaussian", vae, of_gaussian), ("flow", flow_vae, of_flow)]
for axes, (name, model, found) in zip(panels, results, strict=True):
    draw(axes, model, title.format(name, found["negative_elbo"], found["nll"]))
support.save(figure, options.output / "vae_priors.png", palette=True)

# %% [markdown]
# ## Reconstructions and samples
#
# The picture shows reconstructions of images from two numbers, and samples of both models. Shown
# are the probabilities of the pixels, $E(x | z)$; `sample` would return zeros and ones.

# %%
COLUMNS = 20

first = np.sort([np.flatnonzero(held_out.labels == k)[i] for k in range(10) for i in range(2)])
first = first[np.argsort(held_out.labels[first], kind="stable")]
shown = {
    "held-out images": images[first] / 255.0,
    "reconstructions, Gaussian prior": vae.reconstruct(images[first]),
    "reconstructions, flow prior": flow_vae.reconstruct(images[first]),
}
for name, model, _ in results:
    drawn = [model.decode(model.prior.sample(COLUMNS, seed=[0, i])).mean() for i in range(2)]
    shown[f"samples, {name} prior"] = np.concatenate(drawn)
figure, panels = plt.subplots(5, 1, figsize=(9, 5.6), layout="constrained")
for axes, (title, pictures) in zip(panels, shown.items(), strict=True):
    axes.imshow(mosaic(np.reshape(pictures, [-1, COLUMNS, NUM_PIXELS])), cmap="gray_r")
    axes.set_title(title, fontsize=10)
    axes.axis("off")
support.save(figure, options.output / "vae_images.png", palette=True)

# %%
print(f"done in {time.perf_counter() - start:.0f} s")
