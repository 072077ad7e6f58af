"""Keras callbacks that let one watch a training."""

from tfp_genext.callbacks.sample_grid import SampleGrid

__all__ = ["SampleGrid"]
