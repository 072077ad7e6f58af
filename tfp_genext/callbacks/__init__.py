"""Keras callbacks that show samples during training, and that resume interrupted training."""

from tfp_genext.callbacks.backup_and_restore import BackupAndRestore
from tfp_genext.callbacks.sample_grid import SampleGrid
from tfp_genext.core.public_names import face

__all__ = ["BackupAndRestore", "SampleGrid"]

__getattr__, __dir__ = face(__name__, __all__)
