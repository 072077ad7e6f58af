"""Keras callbacks that let one watch a training, and take it up again."""

from tfp_genext.callbacks.backup_and_restore import BackupAndRestore
from tfp_genext.callbacks.sample_grid import SampleGrid

__all__ = ["BackupAndRestore", "SampleGrid"]
