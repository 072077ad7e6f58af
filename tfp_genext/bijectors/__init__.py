"""Bijectors: `tfb.Bijector` subclasses whose networks are Keras 3 layers."""

from tfp_genext.bijectors.act_norm import ActNorm
from tfp_genext.bijectors.additive_coupling import AdditiveCoupling
from tfp_genext.bijectors.autoregressive import Autoregressive
from tfp_genext.bijectors.batch_norm import BatchNorm
from tfp_genext.bijectors.compose import Compose
from tfp_genext.bijectors.conditioning import Conditioned
from tfp_genext.bijectors.coupling import Coupling
from tfp_genext.bijectors.invertible_conv import Invertible1x1Conv
from tfp_genext.bijectors.neural_autoregressive import NeuralAutoregressive
from tfp_genext.bijectors.partial import Partial
from tfp_genext.bijectors.permute import Permute
from tfp_genext.bijectors.spline_coupling import SplineCoupling
from tfp_genext.bijectors.squeeze import Squeeze
from tfp_genext.bijectors.standardize import Standardize
from tfp_genext.bijectors.tfp_signatures import AffineCoupling, MaskedAutoregressive
from tfp_genext.core.bijector import OneEvaluationBijector
from tfp_genext.core.public_names import module_hooks

__all__ = [
    "ActNorm",
    "AdditiveCoupling",
    "AffineCoupling",
    "Autoregressive",
    "BatchNorm",
    "Compose",
    "Conditioned",
    "Coupling",
    "Invertible1x1Conv",
    "MaskedAutoregressive",
    "NeuralAutoregressive",
    "OneEvaluationBijector",
    "Partial",
    "Permute",
    "SplineCoupling",
    "Squeeze",
    "Standardize",
]

__getattr__, __dir__ = module_hooks(__name__, __all__)
