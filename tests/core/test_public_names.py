"""Tests of what `dir` lists and of the advice for names of other libraries."""

from __future__ import annotations

import pytest

import tfp_genext as gx

MODULES = [getattr(gx, name) for name in gx.__all__ if not name.startswith("_")]


def test_dir_lists_the_public_names_alone():
    assert dir(gx) == sorted(gx.__all__)
    for module in MODULES:
        assert dir(module) == sorted(module.__all__)


def test_internal_modules_are_still_imported():
    from tfp_genext.bijectors import act_norm
    from tfp_genext.core import checks

    assert gx.core.checks is checks
    assert gx.bijectors.act_norm is act_norm


@pytest.mark.parametrize(
    "module, name, new",
    [
        (gx.bijectors, "RealNVP", "gx.bijectors.AffineCoupling"),
        (gx.bijectors, "MaskedAutoregressiveFlow", "gx.bijectors.MaskedAutoregressive"),
        (gx.bijectors, "Glow", "gx.flows.glow"),
        (gx.bijectors, "AutoregressiveNetwork", "gx.networks.MADE"),
        (gx.bijectors, "real_nvp_default_template", "gx.networks.MLP"),
        (gx.bijectors, "Chain", "gx.bijectors.Compose"),
        (gx.distributions, "PixelCNN", "gx.autoregressive.pixel_cnn"),
        (gx.autoregressive, "PixelCNN", "gx.autoregressive.pixel_cnn"),
        (gx.layers, "DistributionLambda", "gx.distributions.Conditional"),
        (gx.layers, "IndependentNormal", "gx.distributions.IndependentNormal"),
        (gx.flows, "RealNVP", "gx.flows.real_nvp"),
        (gx.flows, "realnvp", "gx.flows.real_nvp"),
        (gx, "VAE", "gx.models.VAE"),
        (gx, "MADE", "gx.networks.MADE or gx.autoregressive.made"),
        (gx.models, "DensityMdoel", "'DensityModel'"),
    ],
)
def test_a_name_of_another_library_is_told_the_new_one(module, name, new):
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}'") as error:
        getattr(module, name)
    for part in new.split(" or "):
        assert part in str(error.value)


def test_all_names_that_are_advised_exist():
    from tfp_genext.core import public_names as _public_names

    for advice in _public_names._ELSEWHERE.values():
        for word in advice.replace(",", " ").split():
            if word.startswith("gx."):
                _, module, name = word.split(".")
                assert name in dir(getattr(gx, module)), word


def test_private_names_get_no_advice():
    with pytest.raises(AttributeError, match="has no attribute '__wrapped__'$"):
        _ = gx.bijectors.__wrapped__
