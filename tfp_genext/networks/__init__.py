"""Keras layers that serve as conditioners."""

from tfp_genext.networks.mlp import MLP

__all__ = ["MLP"]
