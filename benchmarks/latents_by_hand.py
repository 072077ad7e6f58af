"""VAE and GANs written directly in Keras 3, each with a `train_step` of a few lines."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Decay of the averaged weights of our GAN.
_EMA = 0.999
_GAMMA = 0.1


class VAE(keras.Model):
    """A VAE with normal latents, Bernoulli pixels, and the closed-form KL divergence in its bound.

    Args:
      encoder: layer that returns means and raw log-scales, concatenated.
      decoder: layer that returns logits.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.seeds = keras.random.SeedGenerator(0)
        names = ("loss", "reconstruction", "kl")
        self._means = [keras.metrics.Mean(name=name) for name in names]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return self._means

    def train_step(self, x: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            params = tf.reshape(
                self.encoder(x, training=True), [-1, self.decoder.input_shape[1], 2]
            )
            mean, log_scale = params[..., 0], 5.0 * tf.tanh(params[..., 1] / 5.0)
            noise = keras.random.normal(tf.shape(mean), seed=self.seeds)
            logits = self.decoder(mean + tf.exp(log_scale) * noise, training=True)
            reconstruction = tf.reduce_sum(
                tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits), axis=1
            )
            kl = 0.5 * (tf.square(mean) + tf.exp(2.0 * log_scale) - 1.0) - log_scale
            kl = tf.reduce_sum(kl, axis=1)
            loss = tf.reduce_mean(reconstruction + kl)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        for metric, value in zip(self._means, (loss, reconstruction, kl), strict=True):
            metric.update_state(value)
        return {metric.name: metric.result() for metric in self._means}


class GAN(keras.Model):
    """A non-saturating GAN, with a moving average of the generator's weights.

    Args:
      generator: layer from noise to samples.
      discriminator: layer from samples to scores `[N, 1]`.
      noise: number of noise variables of a sample.
    """

    def __init__(self, generator: keras.Model, discriminator: keras.Model, noise: int) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.average = keras.models.clone_model(generator)
        self.noise = noise
        self.seeds = keras.random.SeedGenerator(0)
        names = ("generator_loss", "discriminator_loss", "penalty", "real_score", "fake_score")
        self._means = {name: keras.metrics.Mean(name=name) for name in names}

    def compile(
        self, generator_optimizer: Any, discriminator_optimizer: Any, **kwargs: Any
    ) -> None:
        super().compile(**kwargs)
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self._means.values())

    def train_step(self, x: Any) -> dict[str, Any]:
        fake = self.generator(self._noise(x), training=True)
        with tf.GradientTape() as tape:
            real_score, fake_score, penalty = self.scored(x, fake)
            loss = self.discriminator_loss(real_score, fake_score)
            total = tf.reduce_mean(loss + penalty)
        self._step(self.discriminator_optimizer, tape, total, self.discriminator)
        found = {"real_score": real_score, "fake_score": fake_score, "penalty": penalty}
        found["discriminator_loss"] = loss
        noise = self._noise(x)
        with tf.GradientTape() as tape:
            loss = self.generator_loss(x, self.generator(noise, training=True))
            total = tf.reduce_mean(loss)
        self._step(self.generator_optimizer, tape, total, self.generator)
        found["generator_loss"] = loss
        for own, current in zip(self.average.variables, self.generator.variables, strict=True):
            own.assign_add((1.0 - _EMA) * (current - own))
        for name, value in found.items():
            self._means[name].update_state(value)
        return {name: metric.result() for name, metric in self._means.items()}

    def scored(self, real: tf.Tensor, fake: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns scores and a penalty."""
        real_score = self.discriminator(real, training=True)[:, 0]
        fake_score = self.discriminator(fake, training=True)[:, 0]
        return real_score, fake_score, tf.zeros_like(real_score)

    def discriminator_loss(self, real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
        """Returns the loss of scores."""
        return tf.nn.softplus(-real) + tf.nn.softplus(fake)

    def generator_loss(self, x: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
        """Returns the loss of samples."""
        del x
        return tf.nn.softplus(-self.discriminator(fake, training=True)[:, 0])

    def _noise(self, x: tf.Tensor) -> tf.Tensor:
        return keras.random.normal([tf.shape(x)[0], self.noise], seed=self.seeds)

    def _step(self, optimizer: Any, tape: Any, loss: tf.Tensor, player: keras.Model) -> None:
        gradients = tape.gradient(loss, player.trainable_variables)
        optimizer.apply_gradients(zip(gradients, player.trainable_variables, strict=True))


class RelativisticGAN(GAN):
    """A relativistic GAN with the gradient penalties R1 and R2."""

    def scored(self, real: tf.Tensor, fake: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns scores, and half of gamma times the squared slopes at data and samples."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([real, fake])
            real_score = self.discriminator(real, training=True)[:, 0]
            fake_score = self.discriminator(fake, training=True)[:, 0]
            total = tf.reduce_sum(real_score) + tf.reduce_sum(fake_score)
        slopes = tape.gradient(total, [real, fake])
        squares = [tf.reduce_sum(tf.square(slope), axis=1) for slope in slopes]
        return real_score, fake_score, 0.5 * np.float32(_GAMMA) * (squares[0] + squares[1])

    def discriminator_loss(self, real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
        """Returns the loss of scores."""
        return tf.nn.softplus(fake - real)

    def generator_loss(self, x: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
        """Returns the loss of samples beside data."""
        real_score = self.discriminator(x, training=True)[:, 0]
        return tf.nn.softplus(real_score - self.discriminator(fake, training=True)[:, 0])


GANS = {"NonSaturating": GAN, "Relativistic": RelativisticGAN}
