"""Keras layers that serve as conditioners, and as networks of autoregressive distributions."""

from tfp_genext.core.public_names import module_hooks
from tfp_genext.networks.conv import ConvNet, WeightNormConv
from tfp_genext.networks.made import MADE
from tfp_genext.networks.mlp import MLP
from tfp_genext.networks.moments import MovingMoments
from tfp_genext.networks.pixel_cnn import PixelCNN, PlainPixelCNN
from tfp_genext.networks.pixel_rnn import DiagonalBiLSTM, RowLSTM
from tfp_genext.networks.raster import RasterNetwork

__all__ = [
    "MADE",
    "MLP",
    "ConvNet",
    "DiagonalBiLSTM",
    "MovingMoments",
    "PixelCNN",
    "PlainPixelCNN",
    "RasterNetwork",
    "RowLSTM",
    "WeightNormConv",
]

__getattr__, __dir__ = module_hooks(__name__, __all__)
