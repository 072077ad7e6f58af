"""Served equals local, to rounding: every kind of model, preprocessing and signature in one table.

All exports run in one child process, through TensorFlow's C++ loader. The local answers come from
the public methods of the models, and from the distributions they hold. Every recipe and every
kind of VAE and GAN is in `test_serving.py` and `test_model_contract.py`; here are those that
differ in how data go in and come out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import cpp_loader
import keras
import numpy as np
import pytest
import registry_models
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import tfp_genext as gx
from tfp_genext.distributions import contexts

tfd = tfp.distributions
tfb = tfp.bijectors
D, LATENT, ROWS = registry_models.D, registry_models.LATENT, 3
CONTEXT = registry_models.CONTEXT
SEED = np.array([5, 6], np.int32)
SEEDS = np.array([[1, 2], [3, 4], [5, 6]], np.int32)

_DENSITY = ("log_prob", "serving_default", "sample", "sample_and_log_prob", "sample_rows")
_REAL = (*_DENSITY, "log_prob_and_gradient")
_FLOW = (*_REAL, "forward", "inverse")
_MOMENTS = ("mean", "stddev")
_REGRESSION = (*_REAL, *_MOMENTS, "quantile")
_COUNTS = (*_DENSITY, *_MOMENTS)
_VAE, _GAN = registry_models._VAE, registry_models._GAN
_REAL_VAE = (*_VAE, "log_prob_and_gradient")


@dataclasses.dataclass(frozen=True)
class Row:
    """A kind of model with a preprocessing, and what its export serves."""

    build: Callable[[], keras.Model]
    signatures: tuple[str, ...]
    # Data are whole numbers below this; real ones if 0.
    values: int = 0
    dtype: str = "float32"

    def data(self, rows: int = ROWS) -> np.ndarray:
        rng = np.random.default_rng(1)
        if self.values:
            return rng.integers(0, self.values, [rows, D]).astype(self.dtype)
        return rng.normal(size=[rows, D]).astype(self.dtype)


def density(distribution: Any, **options: Any) -> gx.models.DensityModel:
    return gx.models.DensityModel(distribution, **options)


def pixels(values: int = 4, **options: Any) -> gx.layers.Dequantize:
    return gx.layers.Dequantize(values, **options)


def flow(**options: Any) -> tfd.Distribution:
    return gx.flows.real_nvp([D], num_layers=1, hidden_units=[4], **options)


def made(**options: Any) -> tfd.Distribution:
    return gx.autoregressive.made([D], hidden_units=[4], **options)


def regression(head: gx.distributions.Head) -> gx.distributions.Conditional:
    network = keras.layers.Dense(head.params_size)
    network.build((None, *CONTEXT))
    return gx.distributions.Conditional(network, head)


def normals(**options: Any) -> gx.models.VAE:
    decoder = registry_models.likelihood(gx.distributions.IndependentNormal([D]))
    return registry_models.vae(**{"decoder": decoder, **options})


TABLE = {
    "flow": Row(lambda: density(flow()), _FLOW),
    "flow, pixels": Row(lambda: density(flow(), preprocessing=pixels()), _FLOW, 4),
    "conditional flow, pixels": Row(
        lambda: density(flow(conditional_event_shape=CONTEXT), preprocessing=pixels(256)),
        _FLOW,
        256,
    ),
    "TFP's own": Row(
        lambda: density(tfd.MultivariateNormalDiag(tf.Variable(tf.zeros([D])))),
        (*_FLOW, "quantile"),
    ),
    "TFP's own, pixels": Row(
        lambda: density(
            tfd.Independent(tfd.Normal(tf.Variable(tf.zeros([D], tf.float64)), 3.0), 1),
            preprocessing=pixels(),
        ),
        _REAL,
        4,
        "float64",
    ),
    "MADE, binarized": Row(
        lambda: density(made(), preprocessing=gx.layers.Binarize(1.0)), _DENSITY, 2
    ),
    "conditional MADE": Row(lambda: density(made(conditional_event_shape=CONTEXT)), _DENSITY, 2),
    "regression": Row(
        lambda: density(regression(gx.distributions.IndependentNormal([D]))),
        _REGRESSION,
    ),
    "regression, pixels": Row(
        lambda: density(
            regression(gx.distributions.IndependentNormal([D])), preprocessing=pixels()
        ),
        _REAL,
        4,
    ),
    "regression of counts": Row(
        lambda: density(regression(gx.distributions.IndependentPoisson([D]))),
        (*_DENSITY, *_MOMENTS),
        4,
    ),
    "VAE, pixels": Row(
        lambda: normals(preprocessing=pixels(256)), (*_VAE, "log_prob_and_gradient"), 256
    ),
    "VAE, binarized": Row(
        lambda: registry_models.vae(preprocessing=gx.layers.Binarize(255)), _VAE, 256
    ),
    "conditional VAE, pixels": Row(
        lambda: normals(
            encoder=gx.distributions.Conditional(
                registry_models.given(2 * LATENT), gx.distributions.IndependentNormal([LATENT])
            ),
            decoder=gx.distributions.Conditional(
                registry_models.given(2 * D), gx.distributions.IndependentNormal([D])
            ),
            conditional_event_shape=CONTEXT,
            preprocessing=pixels(),
        ),
        _REAL_VAE,
        4,
    ),
    "GAN": Row(registry_models.gan, _GAN),
    "flow GAN": Row(registry_models.flow_gan, (*_GAN, "log_prob", "log_prob_and_gradient")),
    "conditional GAN": Row(registry_models.conditional_gan, _GAN),
}


def _requests(row: Row, model: keras.Model) -> dict[str, tuple[str, dict[str, np.ndarray]]]:
    """Returns one request for each signature that the row names."""
    values = {
        "x": row.data(),
        "z": np.random.default_rng(2).normal(size=[ROWS, _noise_size(model)]).astype(row.dtype),
        "num_samples": np.int32(4),
        "seed": SEED,
        "probs": np.array([0.1, 0.5, 0.9, 0.99], row.dtype),
    }
    inputs = {
        "sample": ("num_samples", "seed"),
        "sample_and_log_prob": ("num_samples", "seed"),
        "generate": ("num_samples", "seed"),
        "sample_rows": ("seed",),
        "forward": ("z",),
        "decode": ("z",),
        "mean": (),
        "stddev": (),
        "quantile": ("probs",),
    }
    if isinstance(model, gx.models.VAE):
        inputs["log_prob"] = inputs["log_prob_and_gradient"] = ("x", "num_samples", "seed")
    if isinstance(model, gx.models.GAN):
        inputs["serving_default"] = inputs["sample"]
    context = {}
    if model.conditional_event_shape is not None:
        shape = [ROWS, *model.conditional_event_shape]
        context["conditional_input"] = np.random.default_rng(3).normal(size=shape).astype(row.dtype)
    requests = {}
    for name in row.signatures:
        given = {key: values[key] for key in inputs.get(name, ("x",))}
        if name == "sample_rows":
            given["seed"] = SEEDS
        requests[name] = (name, {**given, **context})
    return requests


def _noise_size(model: keras.Model) -> int:
    return LATENT if isinstance(model, gx.models.VAE) else D


def _local(row: Row, model: keras.Model, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Returns what the model itself gives for a request."""
    kinds = {gx.models.VAE: _of_vae, gx.models.GAN: _of_gan}
    return kinds.get(type(model), _of_density)(row, model, name, **given)


def _of_density(
    row: Row,
    model: gx.models.DensityModel,
    name: str,
    x: Any = None,
    z: Any = None,
    num_samples: Any = None,
    seed: Any = None,
    probs: Any = None,
    conditional_input: Any = None,
) -> dict[str, Any]:
    context = {} if conditional_input is None else {"conditional_input": conditional_input}
    bound = contexts.of(model.distribution).bind(conditional_input)
    samples = log_prob = None
    if num_samples is not None:
        samples = model.sample(int(num_samples), seed=seed, **context).numpy()
        log_prob = np.stack(
            [_predicted(model, part, **context) for part in _parts(samples, context)]
        )
        log_prob = log_prob if context else log_prob[0]
    if name == "sample":
        return {"samples": samples}
    if name == "sample_and_log_prob":
        return {"samples": samples, "log_prob": log_prob}
    if name == "sample_rows":
        parts = [{k: v[i] for k, v in context.items()} for i in range(len(seed))]
        rows = [
            contexts.of(model.distribution).bind(part.get("conditional_input", [None])[np.newaxis])
            if context
            else bound
            for part in parts
        ]
        drawn = [r.sample(seed=s).numpy().reshape([D]) for r, s in zip(rows, seed)]
        return {"samples": _whole(row, model, np.stack(drawn))}
    if name == "forward":
        made = _whole(row, model, bound.bijector.forward(z).numpy())
        return {"x": made, "log_prob": _predicted(model, made, **context)}
    if name in _MOMENTS:
        return {name: getattr(bound, name)()}
    if name == "quantile":
        return {"quantiles": _normal_quantiles(bound.mean(), bound.stddev(), probs)}
    if name == "log_prob_and_gradient":
        found = _watched(lambda x: model(x if not context else (conditional_input, x)), x)
        return {"log_prob": _predicted(model, x, **context), "gradient": found}
    prepared = x if model.preprocessing is None else model.preprocessing(x)
    if name == "log_prob":
        inputs = (conditional_input, x) if context else x
        return {"log_prob": model.predict(inputs, verbose=0)}
    found = {"log_prob": _predicted(model, x, **context)}
    return {"z": bound.bijector.inverse(prepared), **found} if name == "inverse" else found


def _watched(log_prob: Callable[[tf.Tensor], tf.Tensor], x: np.ndarray) -> tf.Tensor:
    """Returns the gradient of log-densities with respect to data."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(log_prob(x))
    return tape.gradient(total, x)


def _normal_quantiles(mean: Any, stddev: Any, probs: np.ndarray) -> np.ndarray:
    """Returns quantiles `[N, Q, *event]`, or `[Q, *event]` of an event, by SciPy."""
    mean, stddev = (np.asarray(part)[..., np.newaxis, :] for part in (mean, stddev))
    return stats.norm.ppf(probs[:, np.newaxis], mean, stddev)


def _parts(samples: np.ndarray, context: dict[str, Any]) -> Iterator[np.ndarray]:
    return iter(samples) if context else iter([samples])


def _predicted(model: keras.Model, x: Any, conditional_input: Any = None) -> np.ndarray:
    """Returns what `predict` gives; its own graph is made for one signature alone, to save time."""
    return model(x if conditional_input is None else (conditional_input, x))


def _whole(row: Row, model: keras.Model, x: np.ndarray) -> np.ndarray:
    """Returns whole numbers if the model was given them with noise."""
    if model.preprocessing is None or isinstance(model.preprocessing, gx.layers.Binarize):
        return x
    return np.clip(np.floor(x), 0, row.values - 1)


def _of_vae(
    row: Row, model: gx.models.VAE, name: str, conditional_input: Any = None, **given: Any
) -> dict[str, Any]:
    del row
    context = {} if conditional_input is None else {"conditional_input": conditional_input}
    if name == "encode":
        return {"z": model.encode(given["x"], **context).mean()}
    if name == "decode":
        return {"x": model.decode(given["z"], **context).mean()}
    if name == "sample":
        drawn = model.sample(int(given["num_samples"]), seed=given["seed"], **context)
        return {"samples": drawn}
    if name.startswith("log_prob"):
        number, seed = int(given["num_samples"]), given["seed"]
        found = {"log_prob": model.log_prob(given["x"], number, seed, **context)}
        if name == "log_prob_and_gradient":
            estimate = lambda x: model._model.estimate(  # noqa: E731
                model.prepared(x, training=False),
                None if conditional_input is None else tf.constant(conditional_input),
                number,
                seed,
            )
            found["gradient"] = _watched(estimate, given["x"])
        return found
    return {"x": model.reconstruct(given["x"], **context)}


def _of_gan(
    row: Row, model: gx.models.GAN, name: str, conditional_input: Any = None, **given: Any
) -> dict[str, Any]:
    del row
    context = {} if conditional_input is None else {"conditional_input": conditional_input}
    if name == "discriminate":
        return {"score": model.discriminate(given["x"], **context)}
    if name.startswith("log_prob"):
        found = {"log_prob": model.log_prob(given["x"], **context)}
        if name == "log_prob_and_gradient":
            found["gradient"] = _watched(model.averaged_generator.log_prob, given["x"])
        return found
    drawn = model.sample(int(given["num_samples"]), seed=given["seed"], **context)
    return {"samples": drawn}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Models, requests and answers of all rows, from one child process."""
    folder = tmp_path_factory.mktemp("served")
    models = {}
    for number, (name, row) in enumerate(TABLE.items(), 1):
        model = row.build()
        rng = np.random.default_rng(number)
        for variable in model.trainable_variables:
            variable.assign_add(0.2 * rng.normal(size=variable.shape))
        model.export(folder / str(number), verbose=False)
        models[name] = (model, folder / str(number), _requests(row, model))
    answers = cpp_loader.serve_all({path: asked for _, path, asked in models.values()})
    return {name: (model, asked, answers[path]) for name, (model, path, asked) in models.items()}


@pytest.mark.parametrize("name", TABLE)
def test_every_signature_gives_what_the_model_gives(name, served):
    row, (model, requests, answers) = TABLE[name], served[name]
    assert set(answers) == set(row.signatures)
    for signature, (_, inputs) in requests.items():
        expected = _local(row, model, signature, inputs)
        assert answers[signature].keys() == expected.keys(), signature
        for output, value in expected.items():
            found = answers[signature][output]
            assert np.isfinite(found).all() and found.dtype == row.dtype
            rounding = 1e-5 * max(1.0, np.abs(value).max())
            np.testing.assert_allclose(found, value, rtol=0, atol=rounding, err_msg=signature)


@pytest.mark.parametrize("name", [name for name in TABLE if "pixels" in name])
def test_samples_of_whole_numbers_are_whole_numbers(name, served):
    row, (model, _, answers) = TABLE[name], served[name]
    of_many = model.sample(200, seed=[1, 2], **_context(model)).numpy()
    for samples in (answers["sample"]["samples"], of_many):
        np.testing.assert_array_equal(samples, np.floor(samples))
        assert samples.min() >= 0 and samples.max() <= row.values - 1
    assert len(np.unique(of_many)) > 2


def _context(model: keras.Model) -> dict[str, Any]:
    shape = model.conditional_event_shape
    return {} if shape is None else {"conditional_input": np.zeros([2, *shape], np.float32)}
