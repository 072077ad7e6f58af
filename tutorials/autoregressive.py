# %% [markdown]
# # Autoregressive models on MNIST
#
# The fourth model of "Generative Models: from Noise to Data" (Li, 2022) does not map noise through
# a network. It factorises the probability of an image,
#
#     p(x) = p(x_1) p(x_2 | x_1) p(x_3 | x_1, x_2) ...
#
# and one network computes all the factors at once. The parameters of a pixel may only depend on
# earlier pixels. This tutorial shows two networks with this property: MADE, with masked matrices,
# and PixelCNN, with masked convolutions. Both compute p(x) exactly, and both can complete half an
# image. It takes some four minutes of processor time.
#
#     pip install ".[tutorials]"
#     python tutorials/autoregressive.py
#
# MNIST is downloaded by Keras, unless `--data FILE` is the path of its `mnist.npz`.

# %%
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import support
import tensorflow as tf

import tfp_genext as gx

options = support.options("Autoregressive models on MNIST: one bit after the other.", data=True)
start = time.perf_counter()
keras.utils.set_random_seed(0)

# %% [markdown]
# ## The data
#
# `gx.layers.Binarize` draws binary pixels from grey values: new ones in each training step, and
# fixed ones in evaluation.

# %%
train, held_out = support.mnist(options.data)
train_images, images = (digits.images[..., np.newaxis] for digits in (train, held_out))

# %% [markdown]
# ## Two networks
#
# A recipe creates the masked network and its head. Here the head is a Bernoulli distribution for
# each pixel. It could also be a softmax, a Gaussian or a mixture. The result is a TFP distribution.

# %%
HIDDEN, LAYERS, FILTERS = (32, 3, 6) if options.short else (500, 6, 16)

made = gx.autoregressive.made([28, 28, 1], hidden_units=[HIDDEN])
pixel_cnn = gx.autoregressive.pixel_cnn([28, 28, 1], num_layers=LAYERS, filters=FILTERS)
plain = gx.autoregressive.pixel_cnn([28, 28, 1], num_layers=LAYERS, filters=FILTERS, gated=False)

# %% [markdown]
# ## Receptive fields
#
# Gradients of the networks show their receptive fields: for one pixel in the middle of the image,
# each picture shows the pixels on which its probability depends. In MADE these are all pixels
# before it. In a PixelCNN the receptive field grows with the number of layers. The plain PixelCNN,
# as first published, has a *blind spot* above and to the right of the pixel, for any number of
# layers. The gated one has two stacks of convolutions, one for the rows above and one for the row
# itself, and no blind spot.

# %%
PIXEL = (14, 14)


def sight(distribution: gx.distributions.Autoregressive) -> np.ndarray:
    """Returns how much the logit of one pixel depends on each pixel, from 0 to 1."""
    network, found = distribution.network, np.zeros([28, 28])
    weights = network.get_weights()
    for i, variable in enumerate(network.trainable_variables):
        # A new network has the same output for all images, because its last layer is zero.
        noise = tf.random.stateless_normal(variable.shape, [7, i])
        variable.assign_add(noise / np.sqrt(np.prod(variable.shape[:-1])))
    x = tf.cast(tf.random.stateless_uniform([8, *network.event_shape], [1, 2]) < 0.5, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = tf.reshape(network(x), [-1, 28, 28])
        middle = logits[:, PIXEL[0], PIXEL[1]]
    found = np.abs(tape.gradient(middle, x)).sum(axis=0).reshape([28, 28])
    network.set_weights(weights)
    return found / found.max()


figure, panels = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
for axes, (name, distribution) in zip(
    panels, {"MADE": made, "PixelCNN, plain": plain, "PixelCNN, gated": pixel_cnn}.items()
):
    found = sight(distribution)
    seen = np.where(found > 0.0, 0.35 + 0.65 * found**0.3, 0.0)
    axes.imshow(seen, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.scatter(PIXEL[1], PIXEL[0], marker="s", s=28, color="tab:orange")
    number = int(np.count_nonzero(found))
    axes.set(title=f"{name}: sees {number} pixels", xticks=[], yticks=[])
    print(f"{name} sees {number} of {14 * 28 + 14} earlier pixels")
support.save(figure, options.output / "autoregressive_sight.png", palette=True)

# %% [markdown]
# ## Training
#
# We maximise the exact likelihood with Keras' `fit`, a few epochs each. The NLL in nats per image
# can be compared with the bounds of a VAE.


# %%
BATCH_SIZE = 50


def fitted(
    name: str, distribution: gx.distributions.Autoregressive, epochs: int, rows: int, rate: float
) -> gx.models.DensityModel:
    """Returns a model after some training, and prints what it reaches."""
    model = gx.models.DensityModel(distribution, preprocessing=gx.layers.Binarize())
    steps = epochs * -(-rows // BATCH_SIZE)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(optimizer=keras.optimizers.Adam(schedule))
    model.fit(train_images[:rows], batch_size=BATCH_SIZE, epochs=epochs, verbose=2)
    nll = model.evaluate(images[:2000], batch_size=200, verbose=0, return_dict=True)["nll"]
    print(f"{name}: {nll:.2f} nats on held-out images")
    return model


EPOCHS, ROWS, ROWS_CNN = (1, 300, 200) if options.short else (6, 60_000, 20_000)
made_model = fitted("MADE", made, EPOCHS, ROWS, 2e-3)
cnn_model = fitted("PixelCNN", pixel_cnn, 1 if options.short else 4, ROWS_CNN, 4e-3)

# %% [markdown]
# ## Samples
#
# A sample is drawn pixel by pixel. The naive method needs 784 passes of the whole network. Here
# MADE solves a triangular system, and PixelCNN computes each activation once.

# %%
SHOWN = 10
pictures = {
    "data": np.round(images[: 2 * SHOWN] / 255.0),
    "MADE": made_model.sample(2 * SHOWN, seed=[0, 1]).numpy(),
    "PixelCNN": cnn_model.sample(2 * SHOWN, seed=[0, 1]).numpy(),
}


def sheet(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Returns images `[N, 28, 28, 1]` side by side in rows."""
    padded = np.pad(tiles[..., 0], [[0, 0], [0, 2], [0, 2]], constant_values=0.3)
    return padded.reshape([-1, columns, 30, 30]).swapaxes(1, 2).reshape([-1, columns * 30])


figure, panels = plt.subplots(1, 3, figsize=(13, 1.45), layout="constrained")
for axes, (name, tiles) in zip(panels, pictures.items()):
    axes.imshow(sheet(tiles, SHOWN), cmap="gray_r")
    axes.set_title(name)
    axes.axis("off")
support.save(figure, options.output / "autoregressive_samples.png", palette=True)

# %% [markdown]
# ## The other half
#
# Given the upper half of an image, the lower half is drawn from its exact conditional distribution.
# Each digit is completed several times by draws, and once by greedy decoding, with the most likely
# value of each pixel in turn.

# %%
HALF = 14 * 28
chosen = [int(np.argmax(held_out.labels == digit)) for digit in (2, 3, 5, 6, 8)]
digits = np.round(images[chosen] / 255.0).astype("float32")
columns = ["seen", *["drawn"] * 3, "greedy", "true"]

figure, panels = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
for axes, (name, distribution) in zip(panels, {"MADE": made, "PixelCNN": pixel_cnn}.items()):
    seen = digits.copy()
    seen.reshape([len(digits), -1])[:, HALF:] = 0.3
    drawn = [distribution.complete(digits, HALF, seed=[0, k]).numpy() for k in range(3)]
    greedy = distribution.complete(digits, HALF, greedy=True, seed=[0, 0]).numpy()
    tiles = np.stack([seen, *drawn, greedy, digits], axis=1)
    assert np.array_equal(drawn[0][:, :14], digits[:, :14])
    axes.imshow(sheet(tiles.reshape([-1, 28, 28, 1]), len(columns)), cmap="gray_r")
    axes.set_title(name)
    axes.set_xticks(30 * np.arange(len(columns)) + 14, columns)
    axes.set_yticks([])
support.save(figure, options.output / "autoregressive_halves.png", palette=True)
print("the upper halves are kept, bit for bit")

# %%
print(f"done in {time.perf_counter() - start:.0f} s")
