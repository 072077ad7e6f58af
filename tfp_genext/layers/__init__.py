"""Keras layers that preprocess data."""

from tfp_genext.core.public_names import module_hooks
from tfp_genext.layers.binarize import Binarize
from tfp_genext.layers.dequantize import Dequantize

__all__ = ["Binarize", "Dequantize"]

__getattr__, __dir__ = module_hooks(__name__, __all__)
