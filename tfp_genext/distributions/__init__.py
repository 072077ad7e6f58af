"""Heads, conditional and autoregressive distributions, and the VampPrior."""

from tfp_genext.core.public_names import module_hooks
from tfp_genext.distributions.autoregressive import Autoregressive
from tfp_genext.distributions.classes import (
    IndependentCategorical,
    IndependentOneHotCategorical,
    RelaxedOneHotCategorical,
)
from tfp_genext.distributions.conditional import Conditional
from tfp_genext.distributions.head import Head
from tfp_genext.distributions.independent import (
    IndependentBernoulli,
    IndependentLogistic,
    IndependentNormal,
    IndependentPoisson,
    RelaxedBernoulli,
)
from tfp_genext.distributions.mixture import Mixture, QuantizedLogistics
from tfp_genext.distributions.multivariate import Blockwise, MultivariateNormalTriL
from tfp_genext.distributions.positive import (
    IndependentBeta,
    IndependentGamma,
    IndependentLogNormal,
    IndependentNegativeBinomial,
    IndependentStudentT,
)
from tfp_genext.distributions.vamp import VampPrior

__all__ = [
    "Autoregressive",
    "Blockwise",
    "Conditional",
    "Head",
    "IndependentBernoulli",
    "IndependentBeta",
    "IndependentCategorical",
    "IndependentGamma",
    "IndependentLogNormal",
    "IndependentLogistic",
    "IndependentNegativeBinomial",
    "IndependentNormal",
    "IndependentOneHotCategorical",
    "IndependentPoisson",
    "IndependentStudentT",
    "Mixture",
    "MultivariateNormalTriL",
    "QuantizedLogistics",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "VampPrior",
]

__getattr__, __dir__ = module_hooks(__name__, __all__)
