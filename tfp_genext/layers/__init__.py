"""Keras layers that prepare data."""

from tfp_genext.layers.dequantize import Dequantize

__all__ = ["Dequantize"]
