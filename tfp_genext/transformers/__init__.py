"""Scalar bijectors built from a parameter tensor."""

from tfp_genext.transformers.affine import Additive, Affine
from tfp_genext.transformers.base import Transformer
from tfp_genext.transformers.scales import (
    ExpScale,
    PlainScale,
    ScaleMap,
    SigmoidScale,
    SoftplusScale,
)

__all__ = [
    "Additive",
    "Affine",
    "ExpScale",
    "PlainScale",
    "ScaleMap",
    "SigmoidScale",
    "SoftplusScale",
    "Transformer",
]
