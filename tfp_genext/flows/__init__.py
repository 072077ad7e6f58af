"""Recipes that build networks and variables and return TFP distributions.

Recipes create variables, bijectors receive them: all variables exist when a recipe returns.
"""

from tfp_genext.core.public_names import module_hooks
from tfp_genext.distributions.binding import bijector_kwargs, condition, conditional_event_shape
from tfp_genext.distributions.initialization import initialize
from tfp_genext.flows.autoregressive import iaf, maf
from tfp_genext.flows.coupling import nice, real_nvp
from tfp_genext.flows.image import glow, pixels, real_nvp_images, tempered
from tfp_genext.flows.neural import naf, nsf
from tfp_genext.flows.standardized import standardized

__all__ = [
    "bijector_kwargs",
    "condition",
    "conditional_event_shape",
    "glow",
    "iaf",
    "initialize",
    "maf",
    "naf",
    "nice",
    "nsf",
    "pixels",
    "real_nvp",
    "real_nvp_images",
    "standardized",
    "tempered",
]

__getattr__, __dir__ = module_hooks(__name__, __all__)
