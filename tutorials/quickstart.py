# %% [markdown]
# # Quickstart: two normalizing flows, from data to server
#
# A normalizing flow is an invertible network $f$ that maps noise $z$ to data $x = f(z)$. The
# inverse gives the exact density of any data point:
#
# $$\log p(x) = \log p_Z(f^{-1}(x)) + \log \left| \det \frac{\partial f^{-1}}{\partial x} \right|$$
#
# We fit two flows, a Real NVP and a masked autoregressive flow (MAF), to images of handwritten
# digits. The tutorial covers training with Keras, a comparison on held-out images, samples, saved
# weights, and a SavedModel that runs without this package, TFP or Keras. It takes two to three
# minutes on two processor cores.
#
#     pip install ".[tutorials]"
#     python tutorials/quickstart.py

# %%
import subprocess
import sys
import time
from typing import Any

import keras
import matplotlib.pyplot as plt
import numpy as np
import support
import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.axes import Axes
from sklearn.datasets import load_digits

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions

options = support.options("Two normalizing flows, from data to server.")
start = time.perf_counter()
keras.utils.set_random_seed(0)

# %% [markdown]
# ## The data
#
# scikit-learn has 1,797 handwritten digits of 8 x 8 pixels, each pixel an integer from 0 to 16. The
# density of integers is unbounded, so we *dequantise* them: noise $u$, uniform on [0, 1), spreads
# every integer over a unit interval, and division by 17 maps all of them to [0, 1).
#
# 297 images are held out for the final results. Of the other 1,500, the flow is trained on 1,350,
# and the last 150 are for early stopping.

# %%
NUM_PIXELS = 64
NUM_LEVELS = 17


def dequantize(images: Any, noise: Any) -> Any:
    """Returns pixels in [0, 1) for whole numbers from 0 to 16 and noise in [0, 1)."""
    return (images + noise) / NUM_LEVELS


rng = np.random.default_rng(0)
images = rng.permutation(load_digits().data.astype("float32"))
pixels = dequantize(images, rng.random(images.shape, dtype="float32"))
train, held_out = pixels[:1500], pixels[1500:]
stopping = train[1350:]
print(f"{len(train)} training rows of {NUM_PIXELS} pixels, {len(held_out)} held out")

# %% [markdown]
# New noise in each epoch prevents the flow from memorising 1,350 points. On held-out images this
# gains some six nats.

# %%


def batches(images: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """Returns shuffled batches, each with noise of its own."""
    dataset = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images)).batch(batch_size)
    return dataset.map(lambda x: dequantize(x, tf.random.uniform(tf.shape(x)))).prefetch(2)


# %% [markdown]
# ## The flows
#
# `gx.flows.real_nvp` returns a TFP distribution: noise, transformed by affine couplings. Each
# coupling keeps half of the pixels unchanged. A network computes from them the shift and scale of
# the other half. The next coupling exchanges the halves. After each pair of couplings a fixed
# random permutation divides the pixels into new halves.
#
# `gx.flows.maf` transforms pixel by pixel: a masked network, MADE, computes the shift and scale of
# each pixel from all pixels before it. A layer is thus more expressive. The density needs one pass
# through a network, as in Real NVP. Naive sampling needs one pass for each pixel, since each
# depends on the ones before. Here it costs about two passes, because the network solves a
# triangular system of equations.
#
# Pixels are in [0, 1), but flows are unbounded. The outermost bijector is therefore a sigmoid,
# whose inverse is a logit. Its range is a little wider than [0, 1), so that pixels near 0 and 1 are
# not mapped to infinity. `gx.bijectors.Compose` chains bijectors, ours and TFP's, outermost first.


# %%
def build_model(name: str) -> gx.models.DensityModel:
    """Returns a new, untrained model, `Real NVP` or `MAF`; always the same architecture."""
    recipe, num_layers = {"Real NVP": (gx.flows.real_nvp, 12), "MAF": (gx.flows.maf, 5)}[name]
    flow = recipe(
        [NUM_PIXELS],
        num_layers=2 if options.short else num_layers,
        hidden_units=[32] if options.short else [256, 256],
        activation="swish",
        permutation=gx.masks.random_order(1),
        act_norm=True,
    )
    to_pixels = gx.bijectors.Compose([tfb.Sigmoid(low=-0.01, high=1.01), flow.bijector])
    distribution = tfd.TransformedDistribution(flow.distribution, to_pixels)
    return gx.models.DensityModel(distribution)


models = {name: build_model(name) for name in ("Real NVP", "MAF")}
for name, model in models.items():
    num_parameters = sum(np.prod(v.shape) for v in model.trainable_variables)
    print(f"{name}: {num_parameters:,} trainable parameters")

# %% [markdown]
# ## Training
#
# `DensityModel` is a Keras model of any TFP distribution. Its loss is the negative log-likelihood
# (NLL) in nats. With hundreds of parameters for each image, overfitting is prevented by strong
# weight decay, a learning rate that decreases to zero, and early stopping on 150 rows.

# %%
BATCH_SIZE = 128
EPOCHS = 2 if options.short else 60

for name, model in models.items():
    print(f"training {name}")
    training = batches(images[:1350], BATCH_SIZE)
    learning_rate = keras.optimizers.schedules.CosineDecay(1e-3, EPOCHS * len(training))
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=3.0))
    model.fit(
        training,
        validation_data=stopping,
        epochs=EPOCHS,
        callbacks=[keras.callbacks.EarlyStopping(patience=20, restore_best_weights=True)],
    )

# %% [markdown]
# ## Evaluation
#
# The baseline is a Gaussian with full covariance, fitted to all 1,500 training rows, and evaluated
# on the same 297 held-out rows with the same noise. Lower NLL is better. It is negative because
# densities on a scale as small as [0, 1) are large. Bits per dimension do not depend on that scale:
# on the scale of integers the density is smaller by a factor of 17 for each pixel, so the NLL is
# larger by 64 log(17) nats, and one bit is log(2) nats.

# %%


def report(name: str, nll: float) -> None:
    """Prints a held-out NLL in nats of pixels in [0, 1), and in bits a pixel of whole numbers."""
    nll_of_whole_numbers = nll + NUM_PIXELS * np.log(NUM_LEVELS)
    bits = gx.numerics.bits_per_dim(nll_of_whole_numbers, [NUM_PIXELS])
    print(f"held-out NLL, {name:<10}{nll:8.2f} nats{bits:8.3f} bits/dim")


cholesky = np.linalg.cholesky(np.cov(train, rowvar=False)).astype("float32")
gaussian = tfd.MultivariateNormalTriL(train.mean(axis=0), scale_tril=cholesky)
log_probs = {name: model.predict(held_out, verbose=0) for name, model in models.items()}
nlls = {"Gaussian": -np.mean(gaussian.log_prob(held_out))}
nlls.update({name: -np.mean(log_prob) for name, log_prob in log_probs.items()})

for name, nll in nlls.items():
    report(name, nll)
for name in models:
    print(f"{name} is better by {nlls['Gaussian'] - nlls[name]:.1f} nats an image")

# %% [markdown]
# ## Samples
#
# The samples of all models are not selected. Rounding down inverts the dequantisation. The Gaussian
# only models correlations of pairs of pixels, and its samples are smudged. The flows draw strokes,
# and most samples are digits.

# %%


def show_digits(axes: Axes, pixels: np.ndarray, title: str) -> None:
    """Shows the first 64 rows of pixels as images, eight by eight."""
    levels = np.floor(NUM_LEVELS * pixels[:64]).clip(0, NUM_LEVELS - 1)
    framed = np.pad(levels.reshape(8, 8, 8, 8), [(0, 0), (0, 0), (1, 1), (1, 1)])
    axes.imshow(framed.swapaxes(1, 2).reshape(80, 80), cmap="gray_r")
    axes.set_title(title, fontsize=14)
    axes.set(xticks=[], yticks=[])


seed = [0, 1]
figure, panels = plt.subplots(1, 4, figsize=(13.3, 3.7), layout="constrained")
show_digits(panels[0], held_out, "held-out digits")
for panel, name in zip(panels[1:], [*models, "Gaussian"], strict=True):
    samples = (models.get(name) or gaussian).sample(64, seed=seed).numpy()
    show_digits(panel, samples, f"{name} (NLL {nlls[name]:.1f} nats)")
support.save(figure, options.output / "quickstart.png")

# %% [markdown]
# ## Saving the weights
#
# We save the better of the two. The weights of all networks and bijectors are weights of the model,
# so Keras saves them. A new model that loads them computes the same densities, bit by bit.

# %%
name = min(models, key=lambda name: nlls[name])
model = models[name]
weights = options.output / "quickstart.weights.h5"
model.save_weights(weights)

copy = build_model(name)
copy.load_weights(weights)
np.testing.assert_array_equal(copy.predict(held_out, verbose=0), log_probs[name])
print(
    f"weights of {name} written to {weights}; a newly built model that reads them agrees to the last bit"
)

# %% [markdown]
# ## Serving
#
# `export` writes a SavedModel with the signatures `log_prob`, `sample` and a few more, in a
# directory whose name is the version, as TensorFlow Serving requires.

# %%
saved_model = options.output / "digits" / "1"
model.export(saved_model, overwrite=True)

# %% [markdown]
# We test it in another process that only uses TensorFlow:
# [query_savedmodel.py](query_savedmodel.py) makes it impossible to import `tfp_genext`,
# `tensorflow_probability` or Keras. It gets the held-out rows and a seed, and its results are
# compared with ours.

# %%
request, answer = options.output / "request.npz", options.output / "answer.npz"
np.savez(request, x=held_out, seed=np.array(seed, dtype="int32"))
client = support.HERE / "query_savedmodel.py"
subprocess.run([sys.executable, client, saved_model, request, answer], check=True)

answers = np.load(answer)
differences = {
    "log-densities": answers["log_prob"] - log_probs[name],
    "samples": answers["samples"] - model.sample(len(held_out), seed=seed).numpy(),
}
for name, difference in differences.items():
    print(f"largest difference between served and local {name}: {np.abs(difference).max():.1e}")
    np.testing.assert_allclose(difference, 0.0, atol=1e-2)

# %% [markdown]
# The results may only differ in the last digits of 32-bit numbers, because two programs round
# differently.
#
# Next steps: try more or fewer layers, or a conditional flow that draws a given digit, with
# `conditional_event_shape=[10]` and `model.fit(labels, pixels)` for one-hot labels. The tutorial
# [affine_coupling.py](affine_coupling.py) explains the layers of Real NVP, and
# [tfp_pipelines.py](tfp_pipelines.py) uses flows in variational inference, MCMC and joint
# distributions.

# %%
print(f"done in {time.perf_counter() - start:.0f} s")
