"""Keras models."""

from tfp_genext.models.density import DensityModel
from tfp_genext.models.vae import VAE

__all__ = ["VAE", "DensityModel"]
