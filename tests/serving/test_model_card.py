"""The model card: versions, names, shapes, and metrics that are those of the exported weights."""

from __future__ import annotations

import json
import platform

import cpp_loader
import keras
import numpy as np
import pytest
import registry_models
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx
from tfp_genext.serving import saved_model

tfd = tfp.distributions


def _card(path):
    text = (path / "assets.extra" / "model_card.json").read_text(encoding="utf-8")
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.fixture
def normal():
    loc = tf.Variable([1.0, 2.0])
    return tfd.Independent(tfd.Normal(loc, tf.ones([2])), 1, name="two_normals")


def test_the_card_says_what_the_cpp_loader_reads(normal, tmp_path):
    path = tmp_path / "1"
    gx.serving.export(normal, path, card={"license": "CC0"})
    card = _card(path)
    assert card["versions"] == {
        "tfp_genext": gx.__version__,
        "tensorflow": tf.__version__,
        "tensorflow_probability": tfp.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    assert (card["kind"], card["name"], card["license"]) == ("distribution", "two_normals", "CC0")
    assert card["event"] == {"shape": [2], "dtype": "float32"}
    assert card["context"] is None and card["preprocessing"] is None
    with cpp_loader.SavedModel(path) as loaded:
        assert card["signatures"].keys() == loaded.signatures.keys()
        for name, signature in loaded.signatures.items():
            for side in ("inputs", "outputs"):
                read = {
                    key: {"shape": list(info.shape), "dtype": info.dtype.name}
                    for key, info in getattr(signature, side).items()
                }
                assert card["signatures"][name][side] == read, (name, side)


def test_metrics_are_those_of_the_exported_weights(normal, tmp_path, monkeypatch):
    cards = []
    model = gx.models.DensityModel(
        normal, preprocessing=gx.layers.Dequantize(8), bits_per_dim=True, name="pixels"
    )
    model.compile(keras.optimizers.SGD(0.1))
    x = np.random.default_rng(0).integers(0, 8, [64, 2])
    model.export(tmp_path / "1", verbose=False)
    fresh = _card(tmp_path / "1")
    assert (fresh["kind"], fresh["name"]) == ("DensityModel", "pixels")
    assert fresh["nll"] is None and fresh["metrics"] is None
    assert fresh["preprocessing"]["class"] == "Dequantize"
    assert fresh["preprocessing"]["config"]["num_values"] == 8

    result = model.evaluate(x, verbose=0, return_dict=True)
    model.export(tmp_path / "2", verbose=False)
    evaluated = _card(tmp_path / "2")
    expected = -np.mean(model.predict(x, verbose=0))
    assert evaluated["nll"] == pytest.approx(expected, rel=1e-5)
    assert evaluated["metrics"] == pytest.approx(result, rel=1e-6)

    monkeypatch.setattr(saved_model, "export", lambda *_, card, **__: cards.append(card))
    model.fit(x, verbose=0, validation_data=x)
    model.export(tmp_path / "3", verbose=False)
    model.evaluate(x, verbose=0)
    model.export(tmp_path / "4", verbose=False)
    model.set_weights([w + 1.0 for w in model.get_weights()])
    model.export(tmp_path / "5", verbose=False)
    assert [card["nll"] is None for card in cards] == [True, False, True]


@pytest.mark.parametrize("build", [registry_models.vae, registry_models.conditional_gan])
def test_models_of_other_kinds(build, tmp_path):
    model = build()
    model.export(tmp_path / "1", verbose=False)
    card = _card(tmp_path / "1")
    assert card["kind"] == type(model).__name__
    assert card["event"] == {"shape": [registry_models.D], "dtype": "float32"}
    context = model.conditional_event_shape
    expected = context and {"conditional_input": {"shape": list(context), "dtype": "float32"}}
    assert card["context"] == expected


def test_a_context_of_several_inputs_has_an_entry_for_each(tmp_path):
    inputs = {name: keras.Input([n], name=name) for name, n in (("age", 1), ("income", 2))}
    head = gx.distributions.IndependentNormal([1])
    joined = keras.layers.Concatenate()(list(inputs.values()))
    network = keras.Model(inputs, keras.layers.Dense(head.params_size)(joined))
    gx.models.DensityModel(gx.distributions.Conditional(network, head)).export(
        tmp_path / "1", verbose=False
    )
    context = _card(tmp_path / "1")["context"]
    assert {name: entry["shape"] for name, entry in context.items()} == {"age": [1], "income": [2]}


class Silent(keras.layers.Layer):
    """A layer that does not say how it was made."""

    def call(self, x):
        return x

    def get_config(self):
        raise NotImplementedError


def test_a_layer_that_says_nothing_of_itself_is_named(normal, tmp_path):
    gx.serving.export(normal, tmp_path / "1", preprocessing=Silent())
    assert _card(tmp_path / "1")["preprocessing"] == {"class": "Silent", "config": None}


@pytest.mark.parametrize("wrong", [{"a": object()}, {"a": float("nan")}, 3])
def test_entries_that_json_has_not_are_refused(normal, wrong, tmp_path):
    with pytest.raises((TypeError, ValueError), match="`card` must be a dict of what JSON has"):
        gx.serving.export(normal, tmp_path / "1", card=wrong)
    assert not list(tmp_path.iterdir())
