"""Every kind of VAE and GAN, once; `test_model_contract.py` runs them all.

Adding a kind to the package means adding one line here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfd = tfp.distributions
D, LATENT, ROWS = 6, 3, 64
CONTEXT = (2,)


@dataclasses.dataclass(frozen=True)
class ModelCase:
    """How to build a model, what it is fitted to, and what it serves."""

    name: str
    build: Callable[[], keras.Model]
    signatures: tuple[str, ...]
    context: tuple[int, ...] | None = None

    def compiled(self, **options: Any) -> keras.Model:
        model = self.build()
        if isinstance(model, gx.models.GAN):
            model.compile(
                generator_optimizer=keras.optimizers.SGD(0.01),
                discriminator_optimizer=keras.optimizers.SGD(0.02),
                **options,
            )
        else:
            model.compile(optimizer=keras.optimizers.SGD(0.01), **options)
        return model

    def data(self, rows: int = ROWS) -> tuple[np.ndarray, ...]:
        """Returns events, or contexts and events: zeros and ones, which suit all."""
        rng = np.random.default_rng(0)
        x = rng.integers(0, 2, [rows, D]).astype("float32")
        return (x,) if self.context is None else (rng.normal(size=[rows, 2]).astype("float32"), x)

    def inputs(self, rows: int = ROWS) -> Any:
        """Returns what `predict` takes."""
        data = self.data(rows)
        return data[0] if len(data) == 1 else data


def dense(size: int, **options: Any) -> keras.Sequential:
    layers = [keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(size, **options)]
    return keras.Sequential(layers)


def given(size: int) -> gx.networks.MLP:
    return gx.networks.MLP((size,), [8], activation="tanh", conditional_event_shape=CONTEXT)


def of_two(inputs: int, size: int) -> keras.Model:
    """A functional model of a list, inputs and context."""
    pair = [keras.Input([inputs]), keras.Input(CONTEXT)]
    hidden = keras.layers.Dense(8, activation="tanh")(keras.layers.Concatenate()(pair))
    return keras.Model(pair, keras.layers.Dense(size, use_bias=size > 1)(hidden))


def normal() -> tfd.Distribution:
    return tfd.Independent(tfd.Normal(tf.zeros([LATENT]), 1.0), 1)


def gaussian(**options: Any) -> gx.distributions.Conditional:
    head = gx.distributions.IndependentNormal([LATENT])
    return gx.distributions.Conditional(dense(head.params_size), head, **options)


def likelihood(head: gx.distributions.Head | None = None) -> gx.distributions.Conditional:
    head = head or gx.distributions.IndependentBernoulli([D])
    return gx.distributions.Conditional(dense(head.params_size), head)


def vae(**options: Any) -> gx.models.VAE:
    parts = {"encoder": gaussian(), "decoder": likelihood(), "prior": normal(), "seed": 3}
    return gx.models.VAE(**{**parts, **options})


def maf_prior() -> gx.models.VAE:
    prior = gx.flows.maf([LATENT], num_layers=2, hidden_units=[8])
    return vae(prior=prior)


def iaf_posterior() -> gx.models.VAE:
    flow = gx.flows.iaf([LATENT], num_layers=2, hidden_units=[8], conditional_event_shape=[4])
    head = gx.distributions.IndependentNormal([LATENT])
    network = dense(head.params_size + 4)
    return vae(encoder=gx.distributions.Conditional(network, head, bijector=flow.bijector))


def vamp_prior() -> gx.models.VAE:
    encoder = gaussian()
    inputs = tf.Variable(tf.random.stateless_uniform([4, D], [1, 2]))
    return vae(encoder=encoder, prior=gx.distributions.VampPrior(encoder, inputs))


def bits(objective: gx.objectives.Bound) -> gx.models.VAE:
    head = gx.distributions.IndependentBernoulli([LATENT])
    prior = tfd.Independent(tfd.Bernoulli(logits=tf.Variable(tf.zeros([LATENT]))), 1)
    encoder = gx.distributions.Conditional(dense(head.params_size), head)
    return vae(encoder=encoder, prior=prior, objective=objective)


def relaxed() -> gx.models.VAE:
    head = gx.distributions.RelaxedBernoulli([LATENT])
    encoder = gx.distributions.Conditional(dense(head.params_size), head)
    return vae(encoder=encoder, prior=head(tf.zeros([head.params_size])))


def conditional_vae() -> gx.models.VAE:
    normals, bernoullis = (
        gx.distributions.IndependentNormal([LATENT]),
        gx.distributions.IndependentBernoulli([D]),
    )
    return vae(
        encoder=gx.distributions.Conditional(given(normals.params_size), normals),
        decoder=gx.distributions.Conditional(given(bernoullis.params_size), bernoullis),
        prior=gx.flows.maf(
            [LATENT], num_layers=1, hidden_units=[8], conditional_event_shape=CONTEXT
        ),
        conditional_event_shape=CONTEXT,
    )


def gan(**options: Any) -> gx.models.GAN:
    parts = {
        "generator": dense(D),
        "discriminator": dense(1, use_bias=False),
        "prior": normal(),
        "seed": 3,
    }
    return gx.models.GAN(**{**parts, **options})


def normed_gan() -> gx.models.GAN:
    layers = keras.layers
    generator = [layers.Dense(8), layers.BatchNormalization(), layers.ReLU(), layers.Dense(D)]
    discriminator = [layers.Dense(8), layers.BatchNormalization(), layers.ReLU(), layers.Dense(1)]
    return gan(
        generator=keras.Sequential(generator),
        discriminator=keras.Sequential(discriminator),
        objective=gx.objectives.NonSaturating(),
    )


def flow_gan() -> gx.models.GAN:
    flow = gx.flows.real_nvp([D], num_layers=2, hidden_units=[8])
    return gan(generator=flow, prior=None, likelihood_weight=0.5)


def conditional_gan() -> gx.models.GAN:
    return gan(
        generator=of_two(LATENT, D), discriminator=of_two(D, 1), conditional_event_shape=CONTEXT
    )


_VAE = ("encode", "decode", "reconstruct", "serving_default", "sample", "log_prob")
_GAN = ("sample", "generate", "serving_default", "discriminate")
_BETA = keras.optimizers.schedules.PolynomialDecay(0.1, 10, end_learning_rate=1.0)

VAES = [
    ModelCase("vae", vae, _VAE),
    ModelCase(
        "vae_tricks",
        lambda: vae(objective=gx.objectives.ELBO(2, beta=_BETA, free_bits=0.01)),
        _VAE,
    ),
    ModelCase("vae_k", lambda: vae(objective=gx.objectives.ImportanceWeighted(4)), _VAE),
    ModelCase(
        "vae_dreg",
        lambda: vae(objective=gx.objectives.ImportanceWeighted(4, doubly_reparameterized=True)),
        _VAE,
    ),
    ModelCase("vae_maf_prior", maf_prior, _VAE),
    ModelCase("vae_iaf_posterior", iaf_posterior, _VAE),
    ModelCase("vae_vamp", vamp_prior, _VAE),
    ModelCase("vae_bits", lambda: bits(gx.objectives.ELBO(4)), _VAE),
    ModelCase("vae_vimco", lambda: bits(gx.objectives.ImportanceWeighted(4)), _VAE),
    ModelCase("vae_relaxed", relaxed, _VAE),
    ModelCase("vae_conditional", conditional_vae, _VAE, CONTEXT),
]
GANS = [
    *(
        ModelCase(f"gan_{type(game).__name__}", lambda game=game: gan(objective=game), _GAN)
        for game in (
            gx.objectives.Minimax(),
            gx.objectives.LeastSquares(),
            gx.objectives.Wasserstein(),
            gx.objectives.Hinge(),
            gx.objectives.Relativistic(),
        )
    ),
    ModelCase("gan_normed", normed_gan, _GAN),
    ModelCase("gan_steps", lambda: gan(discriminator_steps=3), _GAN),
    ModelCase("gan_flow", flow_gan, (*_GAN, "log_prob", "log_prob_and_gradient")),
    ModelCase("gan_conditional", conditional_gan, _GAN, CONTEXT),
]
MODELS = [*VAES, *GANS]
