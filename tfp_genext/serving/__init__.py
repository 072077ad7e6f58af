"""Export of distributions as SavedModels with named signatures, for TensorFlow Serving."""

from tfp_genext.core.public_names import module_hooks
from tfp_genext.serving.saved_model import export

__all__ = ["export"]

__getattr__, __dir__ = module_hooks(__name__, __all__)
