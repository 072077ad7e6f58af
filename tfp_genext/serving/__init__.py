"""Export of distributions as SavedModels with named signatures, for TensorFlow Serving."""

from tfp_genext.serving.saved_model import check_servable, export, traced, write

__all__ = ["check_servable", "export", "traced", "write"]
