"""Training objectives: lower bounds of the log-likelihood, and adversarial losses."""

from tfp_genext.core.public_names import module_hooks
from tfp_genext.objectives.adversarial import (
    Adversarial,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Relativistic,
    Wasserstein,
)
from tfp_genext.objectives.bounds import ELBO, Bound, ImportanceWeighted, Terms
from tfp_genext.objectives.penalties import OneCentered, Penalty, ZeroCentered

__all__ = [
    "ELBO",
    "Adversarial",
    "Bound",
    "Hinge",
    "ImportanceWeighted",
    "LeastSquares",
    "Minimax",
    "NonSaturating",
    "OneCentered",
    "Penalty",
    "Relativistic",
    "Terms",
    "Wasserstein",
    "ZeroCentered",
]

__getattr__, __dir__ = module_hooks(__name__, __all__)
