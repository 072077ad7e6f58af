# %% [markdown]
# # Flows in TFP pipelines
#
# A flow of `tfp_genext` is a TFP distribution, and its bijector is a TFP bijector. All TFP tools
# for distributions and bijectors work with flows. This tutorial shows four of them: variational
# inference with `tfp.vi`, NeuTra with the HMC of `tfp.mcmc`, a learned prior in a
# `JointDistribution`, and amortised inference with a conditional flow. It takes two to three
# minutes.
#
#     pip install ".[tutorials]"
#     python tutorials/tfp_pipelines.py

# %%
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import support
import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.axes import Axes
from sklearn.datasets import make_moons

import tfp_genext as gx

tfd = tfp.distributions

options = support.options("Flows in TFP pipelines.")
start = time.perf_counter()
keras.utils.set_random_seed(0)

# %% [markdown]
# ## A posterior that is far from Gaussian
#
# Eight schools coached their pupils for a test, and each measured an effect $y_i$ with a known
# error $\sigma_i$ (Rubin, 1981). The effects $\theta_i$ of the schools are similar, with an unknown
# standard deviation $\tau$:
#
# $$\mu \sim N(0, 10), \quad \log\tau \sim N(0, 2), \quad \theta_i \sim N(\mu, \tau), \quad
# y_i \sim N(\theta_i, \sigma_i)$$
#
# If $\tau$ is small, all $\theta_i$ are close to $\mu$. If it is large, they are spread widely. The
# posterior is a funnel in ten dimensions, wide at one end and narrow at the other. We write it as a
# density of vectors $(\mu, \log\tau, \theta_1, \ldots, \theta_8)$.

# %%
EFFECTS = tf.constant([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = tf.constant([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
SIZE = 2 + len(EFFECTS)

schools = tfd.JointDistributionSequentialAutoBatched(
    [
        tfd.Normal(0.0, 10.0, name="mu"),
        tfd.Normal(0.0, 2.0, name="log_tau"),
        lambda log_tau, mu: tfd.Sample(tfd.Normal(mu, tf.exp(log_tau)), len(EFFECTS), name="theta"),
        lambda theta: tfd.Independent(tfd.Normal(theta, ERRORS), 1, name="y"),
    ]
)


def log_posterior(vector: tf.Tensor) -> tf.Tensor:
    """Returns the unnormalised log-density `[...]` of vectors `[..., 10]`."""
    mu, log_tau, theta = tf.split(vector, [1, 1, len(EFFECTS)], axis=-1)
    return schools.log_prob([mu[..., 0], log_tau[..., 0], theta, EFFECTS])


# %% [markdown]
# ## Variational inference
#
# `tfp.vi` fits a distribution $q$ to a posterior of which only the unnormalised density is known,
# by maximising the ELBO, $E_q[\log p(\theta, y) - \log q(\theta)]$. It draws from $q$ in each step
# and computes the density of the draws. An inverse autoregressive flow gives both with one
# evaluation of each network. `gx.flows.iaf` and a Keras optimizer work without changes.
#
# We compare it with the usual choice, a Gaussian with independent dimensions.

# %%
NUM_STEPS = 20 if options.short else 3000

surrogate = gx.flows.iaf(
    [SIZE], num_layers=2 if options.short else 4, hidden_units=[64, 64], act_norm=True
)
mean_field = tfd.MultivariateNormalDiag(
    loc=tf.Variable(tf.zeros([SIZE])),
    scale_diag=tfp.util.TransformedVariable(tf.ones([SIZE]), tfp.bijectors.Softplus()),
)


def fit(posterior: tfd.Distribution, learning_rate: float) -> float:
    """Fits a surrogate posterior and returns its ELBO, in nats."""
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, NUM_STEPS)
    losses = tfp.vi.fit_surrogate_posterior(
        log_posterior,
        posterior,
        optimizer=keras.optimizers.Adam(schedule, clipnorm=10.0),
        num_steps=NUM_STEPS,
        sample_size=32,
        seed=[0, 1],
    )
    return -np.mean(losses[-NUM_STEPS // 10 :])


elbos = {"Gaussian": fit(mean_field, 0.1), "flow": fit(surrogate, 3e-3)}
for name, elbo in elbos.items():
    print(f"ELBO of the {name}: {elbo:.2f} nats")

# %% [markdown]
# ## NeuTra
#
# Funnels are also difficult for Hamiltonian Monte Carlo: a step size for the wide end is far too
# large for the neck. NeuTra (Hoffman et al., 2019) runs HMC in the noise space of the fitted flow,
# where the posterior is almost a standard normal. In TFP this takes one line,
# `TransformedTransitionKernel`, since the flow's bijector is a TFP bijector. The draws are from the
# exact posterior, even if the flow does not fit well.

# %%
NUM_CHAINS = 8
NUM_RESULTS = 50 if options.short else 1000


def hmc(bijector: tfp.bijectors.Bijector) -> tuple[np.ndarray, float]:
    """Returns draws `[steps, chains, 10]`, and how many independent ones they are worth.

    Args:
      bijector: from the space in which HMC walks to that of the posterior.
    """
    kernel = tfp.mcmc.HamiltonianMonteCarlo(log_posterior, step_size=0.1, num_leapfrog_steps=8)
    kernel = tfp.mcmc.TransformedTransitionKernel(kernel, bijector)
    kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(
        kernel, num_adaptation_steps=NUM_RESULTS // 2, target_accept_prob=0.8
    )

    @tf.function
    def run(initial: tf.Tensor) -> tf.Tensor:
        return tfp.mcmc.sample_chain(
            NUM_RESULTS,
            initial,
            kernel=kernel,
            num_burnin_steps=NUM_RESULTS // 2,
            trace_fn=None,
            seed=[0, 2],
        )

    initial = bijector.forward(tf.random.stateless_normal([NUM_CHAINS, SIZE], seed=[0, 3]))
    draws = run(initial)
    return draws.numpy(), _effective(draws)


def _effective(draws: tf.Tensor) -> float:
    """Returns how many independent draws of log(tau) the chains are worth, all together."""
    return float(tfp.mcmc.effective_sample_size(draws[..., 1], cross_chain_dims=1))


plain, plain_effective = hmc(tfp.bijectors.Identity())
neutra, neutra_effective = hmc(surrogate.bijector)
print(f"{plain[..., 1].size} draws of HMC are worth {plain_effective:.0f} independent ones")
print(f"{neutra[..., 1].size} draws of NeuTra are worth {neutra_effective:.0f} independent ones")

# %% [markdown]
# The picture shows $\log\tau$ against the effect of the first school. The Gaussian covers the wide
# part and misses the neck. The flow has the shape of the funnel. The traces of HMC show that it
# gets stuck, and those of NeuTra that it moves freely.

# %%
GREY, BLUE, ORANGE, GREEN = "0.55", "#0072B2", "#D55E00", "#009E73"


def show_funnel(axes: Axes, vectors: np.ndarray, color: str, title: str) -> None:
    """Shows draws `[..., 10]` in the plane of the first effect and log(tau)."""
    flat = vectors.reshape(-1, SIZE)[:: max(1, vectors[..., 0].size // 2000)]
    axes.plot(flat[:, 2], flat[:, 1], ".", markersize=3, color=color, alpha=0.5)
    axes.set(title=title, xlabel="effect of the first school", xlim=(-25, 45), ylim=(-7, 5))


figure, rows = plt.subplots(2, 4, figsize=(13.3, 7.0), layout="constrained")
draws = {"Gaussian": mean_field, "flow": surrogate}
for panel, (name, q), color in zip(rows[0], draws.items(), (GREY, BLUE), strict=False):
    show_funnel(
        panel, q.sample(2000, seed=[0, 4]).numpy(), color, f"{name}, ELBO {elbos[name]:.1f} nats"
    )
show_funnel(rows[0, 2], plain, ORANGE, f"HMC, {plain_effective:.0f} effective draws")
show_funnel(rows[0, 3], neutra, GREEN, f"NeuTra, {neutra_effective:.0f} effective draws")
rows[0, 0].set_ylabel("log(tau)")
grid = rows[1, 0].get_gridspec()
for panel in rows[1]:
    panel.remove()
for columns, chains, color, name in (
    (slice(0, 2), plain, ORANGE, "HMC"),
    (slice(2, 4), neutra, GREEN, "NeuTra"),
):
    panel = figure.add_subplot(grid[1, columns])
    panel.plot(chains[:, 0, 1], color=color, linewidth=0.6)
    panel.set(title=f"one chain of {name}", xlabel="step", ylim=(-7, 5), ylabel="log(tau)")
support.save(figure, options.output / "tfp_pipelines_posterior.png", palette=True)

# %% [markdown]
# ## A learned prior in a joint distribution
#
# Often the prior is only known from examples. Here these are points on two moons. A MAF learns
# their density and is used in a `JointDistribution` like any other distribution. The observation is
# one noisy number, the sum of the two coordinates.

# %%
points = make_moons(4000, noise=0.08, random_state=0)[0].astype("float32")
points = (points - points.mean(axis=0)) / points.std(axis=0)

BATCH_SIZE = 200


def train(flow: tfd.Distribution, *data: np.ndarray, epochs: int) -> gx.models.DensityModel:
    """Fits a flow to x, or to x given c for data c, x; prints the NLL and returns the model."""
    steps = epochs * -(-len(data[0]) // BATCH_SIZE)
    learning_rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    model = gx.models.DensityModel(flow)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate))
    model.fit(*data, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)
    nll = model.evaluate(*data, batch_size=len(data[0]), verbose=0, return_dict=True)["nll"]
    print(f"NLL of the {flow.name}: {nll:.2f} nats")
    return model


NUM_LAYERS = 2 if options.short else 12
prior = gx.flows.maf([2], num_layers=NUM_LAYERS, hidden_units=[64, 64], act_norm=True, name="prior")
train(prior, points, epochs=1 if options.short else 100)

NOISE = 0.3
joint = tfd.JointDistributionNamed(
    {"x": prior, "y": lambda x: tfd.Normal(tf.reduce_sum(x, axis=-1), NOISE)}
)

# %% [markdown]
# The joint distribution has samples and a density. In two dimensions the exact posterior can be
# computed from the density on a grid, normalised.

# %%
SIDE = np.linspace(-2.6, 2.6, 131, dtype="float32")
PLANE = np.stack(np.meshgrid(SIDE, SIDE), axis=-1).reshape(-1, 2)


def exact_posterior(y: float) -> np.ndarray:
    """Returns the density of x given y on the grid."""
    log_prob = joint.log_prob(x=PLANE, y=tf.fill([len(PLANE)], y)).numpy()
    prob = np.exp(log_prob - log_prob.max())
    return prob / (prob.sum() * (SIDE[1] - SIDE[0]) ** 2)


# %% [markdown]
# ## Amortised inference
#
# A grid is not feasible in many more dimensions. But we can draw any number of pairs $(x, y)$ from
# the joint distribution, and fit a *conditional* flow to the density of $x$ given $y$. After this
# training, the posterior for every $y$ costs a single evaluation. `conditional_event_shape` makes a
# flow conditional, `model.fit(y, x)` trains it, and `gx.flows.condition` returns the posterior as a
# distribution.

# %%
pairs = joint.sample(2000 if options.short else 40_000, seed=[0, 5])
x, y = pairs["x"].numpy(), pairs["y"].numpy()[:, np.newaxis]

posterior = gx.flows.maf(
    [2],
    num_layers=NUM_LAYERS,
    hidden_units=[64, 64],
    act_norm=True,
    conditional_event_shape=[1],
    name="amortised_posterior",
)
train(posterior, y, x, epochs=1 if options.short else 20)

# %% [markdown]
# For three observations, the picture shows the exact posterior above the amortised one. The error
# is the Kullback-Leibler divergence on the same grid. The thin bridges between modes remain because
# a continuous map cannot separate the noise; more modes are more difficult.

# %%
figure, rows = plt.subplots(2, 4, figsize=(13.3, 6.8), layout="constrained")


def show_density(axes: Axes, density: np.ndarray, title: str) -> None:
    """Shows a density on the grid."""
    image = density.reshape(len(SIDE), len(SIDE))
    extent = (SIDE[0], SIDE[-1], SIDE[0], SIDE[-1])
    axes.imshow(image, origin="lower", extent=extent, cmap="magma")
    axes.set(title=title, xticks=[], yticks=[])


rows[0, 0].plot(*points[:2000].T, ".", markersize=2, color=BLUE)
rows[0, 0].set(title="examples", xlim=SIDE[[0, -1]], ylim=SIDE[[0, -1]], xticks=[], yticks=[])
rows[0, 0].set_aspect("equal")
show_density(rows[1, 0], np.exp(prior.log_prob(PLANE).numpy()), "the prior learned from them")
for column, observed in enumerate((-1.5, 0.0, 1.5), start=1):
    exact = exact_posterior(observed)
    bound = gx.flows.condition(posterior, tf.constant([observed]))
    learned = np.exp(bound.log_prob(PLANE).numpy())
    cell = (SIDE[1] - SIDE[0]) ** 2
    divergence = np.sum(exact * np.log((exact + 1e-12) / (learned + 1e-12))) * cell
    print(
        f"y = {observed:4.1f}: divergence of amortised from exact posterior: {divergence:.3f} nats"
    )
    show_density(rows[0, column], exact, f"exact posterior, y = {observed}")
    show_density(rows[1, column], learned, f"amortised, KL {divergence:.2f} nats")
support.save(figure, options.output / "tfp_pipelines_amortised.png")

# %% [markdown]
# Next steps: `gx.flows.condition(posterior, y)` with many observations is a batch of posteriors.
# The surrogate flow in `tfp.vi` may be conditional too. Every flow here can be exported with
# `gx.serving.export`.

# %%
print(f"done in {time.perf_counter() - start:.0f} s")
