"""Keras models."""

from tfp_genext.models.density import DensityModel
from tfp_genext.models.gan import GAN
from tfp_genext.models.vae import VAE

__all__ = ["GAN", "VAE", "DensityModel"]
