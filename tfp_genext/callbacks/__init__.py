"""Keras callbacks that show samples during training, and that resume interrupted training."""

from tfp_genext.callbacks.backup_and_restore import BackupAndRestore
from tfp_genext.callbacks.sample_grid import SampleGrid
from tfp_genext.core.public_names import module_hooks

__all__ = ["BackupAndRestore", "SampleGrid"]

__getattr__, __dir__ = module_hooks(__name__, __all__)
