# %% [markdown]
# # Glow: images at several temperatures, and interpolation
#
# Glow is the image flow of "Generative Models: from Noise to Data" (Li, 2022). It has several
# scales. At each scale a *squeeze* reshapes blocks of 2 x 2 pixels to channels, and a few *steps*
# map them closer to noise. Half of the channels are then finished, and the other half continues to
# the next scale. A step consists of three bijectors: ActNorm, a multiplication of the channels by a
# matrix (a 1 x 1 convolution), and an affine coupling with a convolutional network.
#
# We fit a class-conditional Glow to images of handwritten digits. Then we draw samples at three
# temperatures, compute the noise of real images, and interpolate between images. It takes two to
# three minutes on two processor cores.
#
#     pip install ".[tutorials]"
#     python tutorials/glow.py

# %%
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import support
import tensorflow as tf
from matplotlib.axes import Axes
from sklearn.datasets import load_digits

import tfp_genext as gx

options = support.options("Glow: images at several temperatures, and the way between two.")
start = time.perf_counter()
keras.utils.set_random_seed(0)

# %% [markdown]
# ## The data
#
# scikit-learn has 1,797 digits of 8 x 8 pixels, integers from 0 to 16. 297 are held out. The class
# of a digit is a one-hot vector of ten numbers.

# %%
NUM_VALUES = 17
NUM_CLASSES = 10

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.images))
images = digits.images[order][..., np.newaxis].astype("uint8")
labels = digits.target[order]
classes = np.eye(NUM_CLASSES, dtype="float32")[labels]
train, held_out = slice(0, 1500), slice(1500, None)

# %% [markdown]
# ## The flow
#
# The flow has two scales, so that 8 x 8 pixels become 4 x 4 and then 2 x 2. `data_bijector` maps
# real numbers to the scale of the pixels, numbers between 0 and 17. It is part of the flow,
# including its log-determinant. The class is an input of all couplings and of the noise of the
# coarsest scale.

# %%
flow = gx.flows.glow(
    [8, 8, 1],
    num_levels=2,
    num_steps=1 if options.short else 8,
    hidden_channels=8 if options.short else 64,
    data_bijector=gx.flows.pixels(NUM_VALUES, alpha=0.02),
    conditional_event_shape=[NUM_CLASSES],
)

# %% [markdown]
# Integers have no density. `Dequantize` spreads each integer over a unit interval, by noise that is
# new in every training step and fixed in evaluation. The metric is then bits per dimension, the
# size of a pixel after compression. Without a model it is log2(17), a little over four bits.

# %%
EPOCHS = 1 if options.short else 60
BATCH_SIZE = 50

model = gx.models.DensityModel(
    flow, preprocessing=gx.layers.Dequantize(NUM_VALUES), bits_per_dim=True
)
learning_rate = keras.optimizers.schedules.CosineDecay(2e-3, EPOCHS * 1500 // BATCH_SIZE)
model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=0.1, clipnorm=50.0))
model.fit(classes[train], images[train], batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=2)
bits = model.evaluate(classes[held_out], images[held_out], verbose=0, return_dict=True)
print(f"held-out images: {bits['bits_per_dim']:.3f} bits/dim of {np.log2(NUM_VALUES):.3f}")

# %% [markdown]
# ## Three temperatures
#
# A sample is the image of noise under the flow. With a smaller standard deviation of the noise, the
# *temperature*, samples have fewer defects and less variety. `gx.flows.tempered` returns the same
# flow at a lower temperature, and `gx.flows.condition` binds the class. Each row is one digit, next
# to real ones.

# %%
TEMPERATURES = (0.5, 0.75, 1.0)
COLUMNS = 8


def show(axes: Axes, pictures: np.ndarray, title: str) -> None:
    """Shows images `[rows, columns, 8, 8, 1]` as one."""
    rows, columns = pictures.shape[:2]
    framed = np.pad(pictures[..., 0], [[0, 0], [0, 0], [1, 1], [1, 1]])
    sheet = framed.transpose([0, 2, 1, 3]).reshape([10 * rows, 10 * columns])
    whole = np.clip(np.floor(sheet), 0, NUM_VALUES - 1)
    axes.imshow(whole, cmap="gray_r", vmin=0, vmax=NUM_VALUES - 1)
    axes.set_title(title)
    axes.axis("off")


real = np.stack([images[held_out][labels[held_out] == k][:COLUMNS] for k in range(NUM_CLASSES)])
figure, panels = plt.subplots(1, 4, figsize=(11, 4), layout="constrained")
show(panels[0], real, "real, held out")
for axes, temperature in zip(panels[1:], TEMPERATURES, strict=True):
    cooler = gx.flows.condition(gx.flows.tempered(flow, temperature), np.eye(10, dtype="float32"))
    samples = cooler.sample(COLUMNS, seed=[0, 1]).numpy().swapaxes(0, 1)
    show(axes, samples, f"temperature {temperature}")
    print(f"temperature {temperature}: pixels vary by {samples.std(axis=1).mean():.2f}")
support.save(figure, options.output / "glow_temperatures.png", palette=True)

# %% [markdown]
# ## The noise of real images
#
# The inverse of the flow maps every image to noise, from which the flow recovers the image. On the
# straight line between the noise of two images, each point thus gives an image. The first and the
# last column are real, held-out images, and those between are interpolated. In the lower rows the
# class is interpolated too.

# %%
NUM_BETWEEN = 9
PAIRS = [(3, 3), (0, 0), (9, 9), (1, 7), (4, 9), (3, 8)]


def of_class(label: int, index: int) -> int:
    """Returns where a held-out image of a class stands."""
    return 1500 + int(np.flatnonzero(labels[held_out] == label)[index])


ends = [(of_class(first, 0), of_class(second, 1)) for first, second in PAIRS]
left, right = (np.array(side) for side in zip(*ends, strict=True))
# A pixel's value is mapped to the middle of its interval.
values = images.astype("float32") + 0.5
noise = [
    flow.bijector.inverse(values[side], conditional_input=classes[side]) for side in (left, right)
]
returned = flow.bijector.forward(tf.identity(noise[0]), conditional_input=classes[left])
error = np.abs(returned - values[left]).max()
print(f"real images come back from their noise within {error:.1e} of a pixel's step")

between = []
for share in np.linspace(0.0, 1.0, NUM_BETWEEN, dtype="float32"):
    point = (1.0 - share) * noise[0] + share * noise[1]
    label = (1.0 - share) * classes[left] + share * classes[right]
    between.append(flow.bijector.forward(point, conditional_input=label).numpy())

figure, panels = plt.subplots(1, 1, figsize=(8, 5.4), layout="constrained")
show(panels, np.stack(between, axis=1), "real, and what lies between, and real")
support.save(figure, options.output / "glow_between.png", palette=True)

# %%
print(f"done in {time.perf_counter() - start:.0f} s")
