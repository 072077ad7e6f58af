"""Scalar bijectors built from a parameter tensor."""

from tfp_genext.core.public_names import module_hooks
from tfp_genext.transformers.affine import Additive, Affine
from tfp_genext.transformers.base import Transformer
from tfp_genext.transformers.mixture import MixtureOfGaussians
from tfp_genext.transformers.scales import (
    ExpScale,
    PlainScale,
    ScaleMap,
    SigmoidScale,
    SoftplusScale,
)
from tfp_genext.transformers.sigmoidal import DeepDenseSigmoidal, DeepSigmoidal
from tfp_genext.transformers.spline import Spline

__all__ = [
    "Additive",
    "Affine",
    "DeepDenseSigmoidal",
    "DeepSigmoidal",
    "ExpScale",
    "MixtureOfGaussians",
    "PlainScale",
    "ScaleMap",
    "SigmoidScale",
    "SoftplusScale",
    "Spline",
    "Transformer",
]

__getattr__, __dir__ = module_hooks(__name__, __all__)
