"""Keras layers that prepare data."""

from tfp_genext.layers.binarize import Binarize
from tfp_genext.layers.dequantize import Dequantize

__all__ = ["Binarize", "Dequantize"]
