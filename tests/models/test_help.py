"""Tests of what `help` says of the methods that models share with Keras."""

from __future__ import annotations

import inspect

import keras
import pytest

import tfp_genext as gx

METHODS = [
    "fit",
    "evaluate",
    "predict",
    "train_on_batch",
    "test_on_batch",
    "predict_on_batch",
    "save",
    "save_weights",
    "load_weights",
    "compile",
    "export",
    "sample",
    "log_prob",
    "adapt",
    "summary",
]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("model", [gx.models.DensityModel, gx.models.VAE, gx.models.GAN])
def test_methods_are_documented(model, name):
    text = inspect.getdoc(getattr(model, name))
    assert text and text.splitlines()[0].endswith((".", "."))


@pytest.mark.parametrize("name", METHODS[:9])
def test_signatures_are_those_of_keras(name):
    ours = inspect.signature(getattr(gx.models.DensityModel, name))
    assert ours == inspect.signature(getattr(keras.Model, name))


@pytest.mark.parametrize("name", METHODS[:6])
def test_docstrings_say_what_arguments_are_called(name):
    text = inspect.getdoc(getattr(gx.models.DensityModel, name))
    assert "\n  x: " in text and "event" in text


def test_docstrings_say_how_contexts_are_given():
    for name, call in (("fit", "fit(c, x)"), ("predict", "predict((c, x))")):
        assert call in inspect.getdoc(getattr(gx.models.VAE, name))
