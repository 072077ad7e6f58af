"""Signatures of VAEs and GANs for serving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfp_genext.models.latent import LatentModel, middle
from tfp_genext.models.players import Players
from tfp_genext.serving import signatures


def vae_signatures(
    model: LatentModel,
    prepared: Callable[..., tf.Tensor],
    samples: Callable[..., tf.Tensor],
) -> signatures.Functions:
    """Returns the functions behind the signatures of a VAE.

    Args:
      model: prior, encoder and decoder.
      prepared: from data, with `training`, to data as the decoder has them.
      samples: from how many, a seed and a context to samples, in the units of the data.
    """
    context = []
    if model.context_shape is not None:
        context = [signatures.context_spec(model.context_shape, model.dtype)]
    x = tf.TensorSpec(model.events.shape, model.dtype, name="x")
    z = tf.TensorSpec(model.latents.shape, model.dtype, name="z")

    def encode(x: tf.Tensor, conditional_input: Any = None) -> dict[str, tf.Tensor]:
        return {"z": middle(model.posterior(prepared(x, training=False), conditional_input))}

    def decode(z: tf.Tensor, conditional_input: Any = None) -> dict[str, tf.Tensor]:
        return {"x": middle(model.likelihood(z, conditional_input))}

    def reconstruct(x: tf.Tensor, conditional_input: Any = None) -> dict[str, tf.Tensor]:
        return decode(encode(x, conditional_input)["z"], conditional_input)

    def sample(
        num_samples: tf.Tensor, seed: tf.Tensor, conditional_input: Any = None
    ) -> dict[str, tf.Tensor]:
        return {"samples": samples(num_samples, seed, conditional_input)}

    def log_prob(
        x: tf.Tensor, num_samples: tf.Tensor, seed: tf.Tensor, conditional_input: Any = None
    ) -> dict[str, tf.Tensor]:
        tf.debugging.assert_positive(num_samples, "`num_samples` must be at least 1")
        x = prepared(x, training=False)
        return {"log_prob": model.estimate(x, conditional_input, num_samples, seed)}

    def log_prob_and_gradient(
        x: tf.Tensor, num_samples: tf.Tensor, seed: tf.Tensor, conditional_input: Any = None
    ) -> dict[str, tf.Tensor]:
        return signatures.with_gradient(log_prob, x, num_samples, seed, conditional_input)

    estimated = [x, signatures.NUM_SAMPLES, signatures.SEED, *context]
    functions: signatures.Functions = {
        "encode": (encode, [x, *context]),
        "decode": (decode, [z, *context]),
        "reconstruct": (reconstruct, [x, *context]),
        signatures.SERVING_DEFAULT: (reconstruct, [x, *context]),
        "sample": (sample, [signatures.NUM_SAMPLES, signatures.SEED, *context]),
        "log_prob": (log_prob, estimated),
    }
    if model.continuous:
        functions["log_prob_and_gradient"] = (log_prob_and_gradient, estimated)
    return functions


def gan_signatures(model: Players) -> signatures.Functions:
    """Returns the functions behind the signatures of a GAN, with its averaged generator."""
    context = []
    if model.context_shape is not None:
        context = [signatures.context_spec(model.context_shape, model.dtype)]

    def sample(
        num_samples: tf.Tensor, seed: tf.Tensor, conditional_input: Any = None
    ) -> dict[str, tf.Tensor]:
        return {"samples": model.sample(num_samples, seed, conditional_input)}

    def discriminate(x: tf.Tensor, conditional_input: Any = None) -> dict[str, tf.Tensor]:
        return {"score": model.scores(x, conditional_input)}

    def log_prob(x: tf.Tensor, conditional_input: Any = None) -> dict[str, tf.Tensor]:
        return {"log_prob": model.log_prob(x, conditional_input)}

    def log_prob_and_gradient(x: tf.Tensor, conditional_input: Any = None) -> dict[str, tf.Tensor]:
        return signatures.with_gradient(log_prob, x, conditional_input)

    drawn = [signatures.NUM_SAMPLES, signatures.SEED, *context]
    functions: signatures.Functions = dict.fromkeys(("sample", "generate"), (sample, drawn))
    functions["discriminate"] = (discriminate, [model.events, *context])
    functions[signatures.SERVING_DEFAULT] = (sample, drawn)
    if model.is_flow:
        functions["log_prob"] = (log_prob, [model.events, *context])
        functions["log_prob_and_gradient"] = (log_prob_and_gradient, [model.events, *context])
    return functions
