"""Hooks of public modules: `dir` lists public names, and unknown names raise with advice."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import NoReturn

from tfp_genext.core import checks

_PACKAGE = __name__.partition(".")[0]

# Names of TFP, tf_keras, TF-GAN, zuko and normflows, with their counterparts here.
_ELSEWHERE = {
    "AutoregressiveNetwork": "gx.networks.MADE",
    "BatchNormalization": "gx.bijectors.BatchNorm",
    "CategoricalMixtureOfOneHotCategorical": "gx.distributions.Mixture",
    "Chain": "gx.bijectors.Compose",
    "DistributionLambda": "gx.distributions.Conditional",
    "GANEstimator": "gx.models.GAN",
    "GANModel": "gx.models.GAN",
    "Glow": "gx.flows.glow",
    "GlowDefaultNetwork": "gx.networks.ConvNet",
    "IAF": "gx.flows.iaf",
    "InverseAutoregressiveFlow": "gx.flows.iaf",
    "KLDivergenceAddLoss": "gx.models.VAE, whose objective has the KL divergence",
    "KLDivergenceRegularizer": "gx.models.VAE, whose objective has the KL divergence",
    "MAF": "gx.flows.maf",
    "MaskedAffineAutoregressive": "gx.bijectors.MaskedAutoregressive",
    "MaskedAutoregressiveFlow": "gx.bijectors.MaskedAutoregressive, or as a whole gx.flows.maf",
    "MaskedDense": "gx.networks.MADE",
    "MixtureLogistic": "gx.distributions.Mixture",
    "MixtureNormal": "gx.distributions.Mixture",
    "MixtureSameFamily": "gx.distributions.Mixture",
    "NAF": "gx.flows.naf",
    "NICE": "gx.flows.nice",
    "NSF": "gx.flows.nsf",
    "NeuralSplineFlow": "gx.flows.nsf",
    "NormalizingFlow": "gx.models.DensityModel of a flow such as gx.flows.maf",
    "OneHotCategorical": "gx.distributions.IndependentOneHotCategorical",
    "PixelCNN": "gx.autoregressive.pixel_cnn, or its network gx.networks.PixelCNN",
    "PixelRNN": "gx.autoregressive.row_lstm or gx.autoregressive.diagonal_bilstm",
    "RationalQuadraticSpline": "gx.transformers.Spline, in gx.bijectors.SplineCoupling",
    "RealNVP": "gx.bijectors.AffineCoupling, or as a whole gx.flows.real_nvp",
    "masked_autoregressive_default_template": "gx.networks.MADE",
    "masked_dense": "gx.networks.MADE",
    "real_nvp_default_template": "gx.networks.MLP",
    # Earlier names of this package.
    "size_limit": "gx.saving.load_model, whose argument is max_bytes",
}


def module_hooks(module: str, public: Sequence[str]) -> tuple[Callable, Callable]:
    """Returns `__getattr__` and `__dir__` of a module with the given public names.

    Args:
      module: full name of the module.
      public: its public names.
    """

    def module_getattr(name: str) -> NoReturn:
        advice = "" if name.startswith("_") else _advice(name, public)
        message = f"module {module!r} has no attribute {name!r}{advice}"
        raise AttributeError(message, name=name)

    return module_getattr, lambda: sorted(public)


def _advice(name: str, public: Sequence[str]) -> str:
    if name in _ELSEWHERE:
        return f". Here it is {_ELSEWHERE[name]}"
    if found := _same_elsewhere(name):
        return f". Here it is {' or '.join(found)}"
    if near := checks.near_matches(name, public):
        return f". Did you mean {near}?"
    return ""


def _same_elsewhere(name: str) -> list[str]:
    """Returns the names in all public modules that are equal up to case and underscores."""
    package = importlib.import_module(_PACKAGE)
    modules = [getattr(package, module) for module in package.__all__ if module[0] != "_"]
    return [
        f"gx.{module.__name__.rpartition('.')[2]}.{other}"
        for module in modules
        for other in getattr(module, "__all__", ())
        if _plain(other) == _plain(name)
    ]


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
