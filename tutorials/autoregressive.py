# %% [markdown]
# # Autoregressive models on MNIST: one bit after the other
#
# The fourth model of "Generative Models: from Noise to Data" (Li, 2022) needs no noise that is
# pushed through a network. It writes the probability of an image as a product,
#
#     p(x) = p(x_1) p(x_2 | x_1) p(x_3 | x_1, x_2) ...
#
# and has one network give all the factors at once. The network must not cheat: what it says of a
# pixel may depend on earlier pixels only. Two ways to see to that are shown here, MADE, whose
# matrices are masked, and PixelCNN, whose convolutions are. Both know p(x) exactly, and both can go
# on from half an image. It takes some four minutes of processor time.
#
#     pip install ".[tutorials]"
#     python tutorials/autoregressive.py
#
# MNIST is downloaded by Keras, unless `--data FILE` says where its `mnist.npz` lies.

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
# `gx.layers.Binarize` makes zeros and ones of grey pixels: new ones whenever an image is seen in
# training, the same ones whenever a model is judged.

# %%
train, held_out = support.mnist(options.data)
train_images, images = (digits.images[..., np.newaxis] for digits in (train, held_out))

# %% [markdown]
# ## Two networks
#
# A recipe makes the network, masks included, and puts a head on it; the head is a coin for each
# pixel here, and could be a softmax, a Gaussian or a mixture. What comes back is a distribution like
# any other of TFP.

# %%
HIDDEN, LAYERS, FILTERS = (32, 3, 6) if options.short else (500, 6, 16)

made = gx.autoregressive.made([28, 28, 1], hidden_units=[HIDDEN])
pixel_cnn = gx.autoregressive.pixel_cnn([28, 28, 1], num_layers=LAYERS, filters=FILTERS)
plain = gx.autoregressive.pixel_cnn([28, 28, 1], num_layers=LAYERS, filters=FILTERS, gated=False)

# %% [markdown]
# ## What a pixel sees
#
# The gradients of the live networks tell. For one pixel in the middle of the image, each picture
# shows which pixels its probability depends on. MADE sees everything before it. A PixelCNN sees as
# far as its layers reach. The plain one, as it was first published, has a *blind spot*: above and to
# the right of the pixel a wedge is missing, however many layers there are. The gated one has two
# stacks of convolutions, one for the rows above and one for the row itself, and no blind spot.

# %%
PIXEL = (14, 14)


def sight(distribution: gx.distributions.Autoregressive) -> np.ndarray:
    """Returns how much the logit of one pixel depends on each pixel, from 0 to 1."""
    network, found = distribution.network, np.zeros([28, 28])
    weights = network.get_weights()
    for i, variable in enumerate(network.trainable_variables):
        # A new network says the same of all images: its last layer is zero.
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
# Exact likelihood, by Keras' `fit`, a few epochs each: in nats an image, to compare with the bounds
# of a VAE.


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
# ## Samples, and where they come from
#
# A sample is drawn pixel by pixel. Done naively that is 784 passes of the whole network. Here MADE
# solves a triangular system, and PixelCNN computes each activation once.

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
# Given the upper half of an image, the rest is drawn from its exact conditional distribution: that
# is what a product of conditionals is for. Each digit is completed several times, and once greedily,
# by the likeliest value of each pixel in turn.

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
