"""Keras models whose likelihoods, priors and samplers are TFP distributions."""

from tfp_genext.models.density import DensityModel

__all__ = ["DensityModel"]
