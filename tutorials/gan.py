# %% [markdown]
# # GAN: a ring of eight Gaussians, and digits on demand
#
# "Generative Models: from Noise to Data" (Li, 2022) begins with generative adversarial networks. A
# *generator* $G$ turns noise $z$ into samples $x = G(z)$. A *discriminator* $D$ scores its inputs,
# high for data and low for samples. They are trained against each other: the discriminator
# distinguishes data and samples, and the generator learns to make this difficult. There is no
# density.
#
# The first example is a ring of eight Gaussians, which shows missing modes. The second is MNIST,
# with a generator that draws a given digit. It takes some one and a half minutes of processor time.
#
#     pip install ".[tutorials]"
#     python tutorials/gan.py
#
# MNIST is downloaded by Keras, unless `--data FILE` is the path of its `mnist.npz`.

# %%
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import support
from tensorflow_probability import distributions as tfd

import tfp_genext as gx

options = support.options("GAN: a ring of eight Gaussians, and digits on demand.", data=True)
start = time.perf_counter()
keras.utils.set_random_seed(0)

# %% [markdown]
# ## A ring of eight Gaussians
#
# There are eight modes on a circle of radius 2, each with a standard deviation of 0.05. Two
# problems can occur. Samples can be far from all modes, and whole modes can be missing, which is
# called *mode collapse*: a discriminator that scores every sample separately does not penalise
# samples that are all alike.

# %%
DEVIATION = 0.05
BATCH_SIZE = 256
STEPS_PER_EPOCH = 25 if options.short else 100

angles = np.arange(8) * np.pi / 4.0
centres = 2.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
rng = np.random.default_rng(0)
rows = STEPS_PER_EPOCH * BATCH_SIZE
ring = centres[rng.integers(0, 8, rows)] + DEVIATION * rng.normal(size=[rows, 2])


def judged(samples: np.ndarray) -> tuple[float, int]:
    """Returns the share of good samples, and how many modes they cover.

    A sample is good within three standard deviations of a mode. A mode is covered that has at least
    a tenth of its fair share, in good samples.
    """
    distances = np.linalg.norm(samples[:, np.newaxis] - centres, axis=-1)
    good = distances.min(axis=1) <= 3.0 * DEVIATION
    counts = np.bincount(distances.argmin(axis=1)[good], minlength=8)
    return float(good.mean()), int(np.sum(counts >= 0.1 * len(samples) / 8))


share, modes = judged(ring)
print(f"data: {100 * share:.1f} % good, {modes} modes of 8")

# %% [markdown]
# ## Objective
#
# Generator and discriminator are Keras networks, and the noise may have any TFP distribution. The
# default objective is the relativistic one, which compares the score of a sample with that of a
# data point:
#
#     the discriminator minimises   -log sigmoid(D(x) - D(G(z)))
#     the generator minimises       -log sigmoid(D(G(z)) - D(x))
#
# It penalises missing modes. A gradient penalty of the discriminator, at data and at samples, makes
# training converge instead of oscillating. Generator and discriminator have separate optimizers:
# Adam without momentum, because the loss of each changes with the other.


# %%
def network(size: int, activation: str) -> keras.Sequential:
    """Returns a network of three hidden layers."""
    hidden = [keras.layers.Dense(128, activation=activation) for _ in range(3)]
    return keras.Sequential([*hidden, keras.layers.Dense(size)])


def compile_for(gan: gx.models.GAN, steps: int) -> None:
    """Compiles a GAN with learning rates that fall to 0 within so many steps."""
    rates = [keras.optimizers.schedules.CosineDecay(1e-3, steps) for _ in range(2)]
    players = [keras.optimizers.Adam(rate, beta_1=0.0, beta_2=0.99) for rate in rates]
    gan.compile(*players, jit_compile=not options.short, steps_per_execution=25)


gan = gx.models.GAN(
    network(2, "relu"),
    network(1, "leaky_relu"),
    prior=tfd.Sample(tfd.Normal(0.0, 1.0), 16),
    seed=0,
)

# %% [markdown]
# ## Training
#
# Further calls of `fit` continue training. Every frame shows the samples of the same 2,000 noise
# vectors. Samples use a moving average of the generator's weights, which lags behind a little and
# varies less.

# %%
FRAMES = [0, 1, 2] if options.short else [0, 2, 5, 10, 50]

compile_for(gan, FRAMES[-1] * STEPS_PER_EPOCH)
figure, panels = plt.subplots(1, len(FRAMES), figsize=(14, 3.5), layout="constrained")
for axes, before, epoch in zip(panels, [0, *FRAMES], FRAMES, strict=False):
    gan.fit(ring, batch_size=BATCH_SIZE, initial_epoch=before, epochs=epoch, verbose=0)
    samples = gan.sample(2_000, seed=[0, 1]).numpy()
    share, modes = judged(samples)
    steps = epoch * STEPS_PER_EPOCH
    print(f"after {steps} steps: {100 * share:.1f} % good, {modes} modes of 8")
    axes.scatter(*centres.T, s=90, facecolors="none", edgecolors="tab:orange", linewidths=0.8)
    axes.scatter(*samples.T, s=2, color="black", linewidths=0)
    axes.set(title=f"{steps:,} steps", xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
    axes.set(xticks=[], yticks=[])
axes.set_title(f"{steps:,} steps: {100 * share:.0f} % good,\n{modes} modes of 8")
support.save(figure, options.output / "gan_ring.png", palette=True)

# %% [markdown]
# ## Digits on demand
#
# With `conditional_event_shape` generator and discriminator have an additional input, here the
# class as a one-hot vector of ten numbers. The generator draws that digit. The discriminator scores
# whether an image looks real *and* like that digit. Networks get both inputs in a list. The
# generator is convolutional, for smooth strokes. A few dense layers suffice for the discriminator.

# %%
train, held_out = support.mnist(options.data)
classes = np.eye(10, dtype="float32")
NUM_NOISE = 32
WIDTH = 32 if options.short else 256
CHANNELS = 4 if options.short else 32


def generator() -> keras.Model:
    """Returns a network from noise and class to an image of 7 x 7, 14 x 14, and 28 x 28 pixels."""
    inputs = [keras.Input([NUM_NOISE]), keras.Input([10])]
    hidden = keras.layers.Concatenate()(inputs)
    for units in (4 * CHANNELS, 7 * 7 * CHANNELS):
        hidden = keras.layers.Dense(units, activation="relu")(hidden)
    image = keras.layers.Reshape([7, 7, CHANNELS])(hidden)
    for channels, activation in ((CHANNELS // 2, "relu"), (1, "sigmoid")):
        image = keras.layers.Conv2DTranspose(channels, 4, 2, "same", activation=activation)(image)
    return keras.Model(inputs, keras.layers.Reshape([28, 28])(image))


def discriminator() -> keras.Model:
    """Returns a network from an image and a class to a score."""
    inputs = [keras.Input([28, 28]), keras.Input([10])]
    hidden = keras.layers.Concatenate()([keras.layers.Flatten()(inputs[0]), inputs[1]])
    for _ in range(2):
        hidden = keras.layers.Dense(WIDTH, activation="leaky_relu")(hidden)
    return keras.Model(inputs, keras.layers.Dense(1)(hidden))


digits = gx.models.GAN(
    generator(),
    discriminator(),
    prior=tfd.Sample(tfd.Normal(0.0, 1.0), NUM_NOISE),
    conditional_event_shape=[10],
    seed=0,
)

# %% [markdown]
# `SampleGrid` writes a picture after some epochs, with one row for each class, always from the same
# noise.

# %%
EPOCHS = 2 if options.short else 5
SHOWN = [0, 1, 2] if options.short else [0, 1, 2, 5]
BATCH_SIZE = 60

images = train.images.astype("float32") / 255.0
compile_for(digits, EPOCHS * len(images) // BATCH_SIZE)
grid = gx.callbacks.SampleGrid(options.output / "gan_digits", columns=8, conditional_input=classes)
digits.fit(
    classes[train.labels],
    images,
    batch_size=BATCH_SIZE,
    epochs=EPOCHS,
    callbacks=[grid],
    verbose=2,
)

real = np.stack([held_out.images[held_out.labels == k][:8] for k in range(10)])
sheet = np.pad(real, [[0, 0], [0, 0], [0, 1], [0, 1]]).swapaxes(1, 2).reshape([290, 232])
figure, panels = plt.subplots(1, len(SHOWN) + 1, figsize=(13, 3.7), layout="constrained")
for axes, epoch in zip(panels, SHOWN, strict=False):
    picture = plt.imread(options.output / "gan_digits" / f"epoch_{epoch:04d}.png")
    axes.imshow(picture, cmap="gray_r", vmin=0, vmax=1)
    axes.set_title(f"samples, epoch {epoch}")
panels[-1].imshow(sheet, cmap="gray_r")
panels[-1].set_title("real, held out")
for axes in panels:
    axes.axis("off")
support.save(figure, options.output / "gan_digits.png", palette=True)

# %% [markdown]
# ## Evaluation by a classifier
#
# A GAN has no likelihood. Instead, a small classifier that is trained on real images classifies the
# samples.

# %%
classifier = keras.Sequential(
    [
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dense(10),
    ]
)
classifier.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
classifier.fit(images, train.labels, batch_size=128, epochs=1 if options.short else 2, verbose=0)


def read(pictures: np.ndarray) -> np.ndarray:
    """Returns the digit that the classifier sees in each image."""
    return classifier.predict(pictures, batch_size=500, verbose=0).argmax(axis=1)


right = np.mean(read(held_out.images / 255.0) == held_out.labels)
samples = digits.sample(500, seed=[0, 2], conditional_input=classes).numpy()
asked = np.tile(np.arange(10), 500)
agreed = np.mean(read(samples.reshape([-1, 28, 28])) == asked)
print(f"the classifier is right on {100 * right:.1f} % of real held-out images")
print(f"it sees the digit asked for in {100 * agreed:.1f} % of samples")

# %%
print(f"done in {time.perf_counter() - start:.0f} s")
