"""Keras models."""

from tfp_genext.core.public_names import module_hooks
from tfp_genext.models.density import DensityModel
from tfp_genext.models.gan import GAN
from tfp_genext.models.vae import VAE

__all__ = ["GAN", "VAE", "DensityModel"]

__getattr__, __dir__ = module_hooks(__name__, __all__)
