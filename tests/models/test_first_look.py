"""Data on which training would go wrong in silence: refused, or warned of."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_genext as gx

N = 200


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=[N, 3]).astype("float32")


def _model(**options):
    flow = gx.flows.maf([3], num_layers=1, hidden_units=[8], **options)
    model = gx.models.DensityModel(flow)
    model.compile(optimizer="adam")
    return model


def _warned(model, *data, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(*data, verbose=0, **options)
    # Keras has a warning of its own for generators that end.
    return [str(w.message) for w in caught if w.filename == __file__]


def test_good_data_are_not_warned_of(x):
    assert _warned(_model(), x) == []
    assert _warned(_model(), 3.0 + 2.0 * x) == []
    assert _warned(_model(act_norm=True), 1e6 + 1e4 * x) == []


def _forms(x):
    return {
        "array": x,
        "dataset": tf.data.Dataset.from_tensor_slices(x).batch(50),
        "generator": (x[i : i + 50] for i in range(0, N, 50)),
    }


@pytest.mark.parametrize("form", ["array", "dataset", "generator"])
def test_far_columns_are_named_with_the_way_out(form, x):
    x[:, 1] = 50_000.0 + 9_000.0 * x[:, 1]
    (warning,) = _warned(_model(), _forms(x)[form])
    assert "One of the 3 columns of `x`, number 1, holds values far" in warning
    assert "model.adapt(x)" in warning
    assert "act_norm=True" in warning


def test_narrow_columns_are_named(x):
    x[:, 2] = 0.02 + 1e-3 * x[:, 2]
    (warning,) = _warned(_model(), x)
    assert "number 2, holds values far" in warning


def test_adapted_models_are_silent(x):
    x = 1e5 + 1e-2 * x.astype("float64")
    model = _model(dtype="float64")
    model.adapt(x)
    assert _warned(model, x) == []


def test_targets_of_regressions_are_looked_at(x):
    head = gx.distributions.IndependentNormal([3])
    conditional = gx.distributions.Conditional(keras.layers.Dense(head.params_size), head)
    model = gx.models.DensityModel(conditional)
    model.compile(optimizer="adam")
    (warning,) = _warned(model, x, 2e5 + 5e4 * x)
    assert "All 3 columns of `x` hold values far" in warning


def test_a_trained_model_is_not_measured_again(x):
    model = _model()
    model.fit(x, verbose=0)
    assert _warned(model, 1e3 * x) == []


@pytest.mark.parametrize("form", ["array", "dataset", "generator"])
def test_whole_numbers_are_named(form, x):
    x[:, 0] = np.round(5.0 * x[:, 0])
    (warning,) = _warned(_model(), _forms(x)[form])
    assert "number 0, holds whole numbers only" in warning
    assert "add noise" in warning
    assert "discrete head" in warning


def test_whole_numbers_are_what_discrete_distributions_take(x):
    model = gx.models.DensityModel(gx.autoregressive.made([3], hidden_units=[4]))
    model.compile(optimizer="adam")
    assert _warned(model, (x > 0).astype("float32")) == []
    flow = gx.flows.maf([3], num_layers=1, hidden_units=[4], act_norm=True)
    noisy = gx.models.DensityModel(flow, preprocessing=gx.layers.Dequantize(4))
    noisy.compile(optimizer="adam")
    assert _warned(noisy, np.random.default_rng(0).integers(0, 4, [N, 3])) == []


def test_constant_columns_are_named(x):
    x[:, 1] = 0.25
    (warning,) = _warned(_model(), x)
    assert "number 1, holds a single value" in warning


def _flow():
    return gx.flows.maf([3], num_layers=1, hidden_units=[4])


@pytest.mark.parametrize(
    "layer",
    [
        lambda: keras.layers.Normalization(),
        lambda: keras.layers.Rescaling(1 / 255),
        lambda: keras.layers.BatchNormalization(),
        lambda: keras.Sequential([keras.layers.Rescaling(2.0)]),
    ],
)
def test_layers_that_rescale_are_refused_by_name(layer):
    with pytest.raises(ValueError, match=r"`preprocessing` must be .*keeps the scale.*adapt"):
        gx.models.DensityModel(_flow(), preprocessing=layer())


def test_a_vae_refuses_them_unless_its_data_are_discrete():
    def vae(head):
        latent = gx.distributions.IndependentNormal([2])
        return gx.models.VAE(
            gx.distributions.Conditional(keras.layers.Dense(latent.params_size), latent),
            gx.distributions.Conditional(keras.layers.Dense(head.params_size), head),
            prior=gx.flows.maf([2], num_layers=1, hidden_units=[4]),
            preprocessing=keras.layers.Rescaling(1 / 255),
        )

    with pytest.raises(ValueError, match=r"`preprocessing` must be .*keeps the scale"):
        vae(gx.distributions.IndependentNormal([3]))
    assert vae(gx.distributions.IndependentBernoulli([3])).preprocessing is not None


@keras.saving.register_keras_serializable(package="test_first_look")
class _Own(keras.layers.Layer):
    def __init__(self, factor, shift=0.0):
        super().__init__()
        self.factor, self.shift = factor, shift

    def call(self, x):
        return self.factor * x + self.shift


def test_other_layers_are_measured_on_the_first_batch(x):
    for layer in (_Own(0.01), _Own(-1.0), _Own(1.0, 30.0)):
        model = gx.models.DensityModel(_flow(), preprocessing=layer)
        model.compile(optimizer="adam")
        with pytest.raises(ValueError, match=r"`preprocessing` must be .*keeps the scale"):
            model.fit(x, verbose=0)
    for layer in (keras.layers.GaussianNoise(0.1), _Own(1.0, 0.5)):
        model = gx.models.DensityModel(_flow(), preprocessing=layer)
        model.compile(optimizer="adam")
        assert _warned(model, x) == []
