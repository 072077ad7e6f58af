"""Keras layers that serve as conditioners."""

from tfp_genext.networks.conv import ConvNet, WeightNormConv
from tfp_genext.networks.made import MADE
from tfp_genext.networks.mlp import MLP
from tfp_genext.networks.moments import MovingMoments

__all__ = ["MADE", "MLP", "ConvNet", "MovingMoments", "WeightNormConv"]
