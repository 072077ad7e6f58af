"""One contract for every VAE and GAN of the registry."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import cpp_loader
import keras
import numpy as np
import pytest
import registry
import registry_models
import tensorflow as tf
from counting import count_steps

import tfp_genext as gx

HERE = pathlib.Path(__file__).parent
SEED = np.array([5, 6], np.int32)


def _ids(case):
    return case.name


each_model = pytest.mark.parametrize("case", registry_models.MODELS, ids=_ids)


def some_models(*names):
    return pytest.mark.parametrize("case", registry.some(registry_models.MODELS, *names), ids=_ids)


def losses(history):
    return {name: values for name, values in history.history.items() if "loss" in name}


def fitted(case, *, rows=64, epochs=2, **options):
    model = case.compiled(**options)
    history = model.fit(*case.data(rows), batch_size=16, epochs=epochs, shuffle=False, verbose=0)
    return model, history


@each_model
def test_fit_moves_every_variable_and_evaluate_is_a_function_of_the_data(case):
    model = case.compiled()
    before = [v.numpy() for v in model.trainable_variables]
    with count_steps(model) as steps:
        history = model.fit(*case.data(), epochs=2, verbose=0, validation_data=case.data())
    assert steps.call_count == 1
    assert np.isfinite([v for values in history.history.values() for v in values]).all()
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.abs(variable.numpy() - old).max() > 0.0, variable.path
    first = model.evaluate(*case.data(), verbose=0, return_dict=True)
    assert model.evaluate(*case.data(), verbose=0, return_dict=True) == first
    predicted = model.predict(case.inputs(), verbose=0)
    assert predicted.shape == (registry_models.ROWS,)
    np.testing.assert_array_equal(model.predict(case.inputs(), verbose=0), predicted)


@some_models("vae_conditional", "gan_Relativistic")
def test_every_form_of_data_gives_the_same_losses(case):
    arrays = case.data()
    parts = arrays if len(arrays) > 1 else arrays[0]
    dataset = tf.data.Dataset.from_tensor_slices(parts).batch(16)
    _, expected = fitted(case, epochs=1)
    for data in (dataset, (batch for batch in dataset.as_numpy_iterator())):
        keras.utils.set_random_seed(20221)
        found = case.compiled().fit(data, verbose=0)
        for name, values in losses(expected).items():
            np.testing.assert_allclose(found.history[name], values, rtol=1e-5, err_msg=name)


@some_models("vae_tricks", "vae_vimco", "gan_Wasserstein", "gan_flow")
def test_xla_gives_the_same_losses_but_for_its_own_noise(case):
    _, expected = fitted(case, rows=800, epochs=1)
    keras.utils.set_random_seed(20221)
    _, found = fitted(case, rows=800, epochs=1, jit_compile=True)
    for name, values in losses(expected).items():
        np.testing.assert_allclose(found.history[name], values, rtol=0.05, atol=0.1, err_msg=name)


@some_models("vae", "gan_flow", "gan_normed")
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains(case, policy):
    keras.config.set_dtype_policy(policy)
    model, history = fitted(case)
    assert np.isfinite([v for values in losses(history).values() for v in values]).all()
    assert np.isfinite(model.predict(case.inputs(), verbose=0)).all()


def draws(model, case):
    """What a model gives at fixed inputs and seeds."""
    given = {}
    if case.context is not None:
        given = {"conditional_input": case.data()[0]}
    return {
        "predicted": model.predict(case.inputs(), verbose=0),
        "samples": model.sample(5, seed=[3, 4], **given).numpy(),
    }


# One of each kind of state that training goes on by: schedules, flows, pseudo-inputs, norms,
# averages, several steps of a player.
TRAINED_ON = registry.some(
    registry_models.MODELS,
    "vae_tricks",
    "vae_maf_prior",
    "vae_iaf_posterior",
    "vae_vamp",
    "vae_conditional",
    "gan_Relativistic",
    "gan_normed",
    "gan_steps",
    "gan_flow",
    "gan_conditional",
)


def described(model, case):
    """What a model gives, and the losses of its training when it goes on."""
    found = draws(model, case)
    if case not in TRAINED_ON:
        return found
    # The size of the batches that the model knows: a new one makes a new graph, rounded otherwise.
    history = model.fit(*case.data(), batch_size=16, epochs=2, shuffle=False, verbose=0)
    found |= {f"{name} losses": np.array(values) for name, values in losses(history).items()}
    return found | {f"{name} after": value for name, value in draws(model, case).items()}


def reload_all(directory):
    """Writes what all models of a directory give; run in a process of its own."""
    results = {}
    for case in registry_models.MODELS:
        model = keras.saving.load_model(f"{directory}/{case.name}.keras")
        results |= {f"{case.name}/{k}": v for k, v in described(model, case).items()}
    np.savez(f"{directory}/results.npz", **results)


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models")
    expected = {}
    for case in registry_models.MODELS:
        keras.utils.set_random_seed(7)
        model = fitted(case, epochs=1)[0] if case in TRAINED_ON else case.compiled()
        model.save(directory / f"{case.name}.keras")
        expected[case.name] = described(model, case)
    program = f"import test_model_contract; test_model_contract.reload_all({str(directory)!r})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    with np.load(directory / "results.npz") as found:
        return expected, dict(found)


@each_model
def test_comes_back_in_a_new_process_bit_for_bit_and_trains_on(reloaded, case):
    expected, found = reloaded
    assert len(expected[case.name]) >= (5 if case in TRAINED_ON else 2)
    for name, value in expected[case.name].items():
        np.testing.assert_array_equal(found[f"{case.name}/{name}"], value, err_msg=name)


def _requests(model, case, rows):
    context = {} if case.context is None else {"conditional_input": case.data(rows)[0]}
    x = {"x": case.data(rows)[-1], **context}
    drawn = {"num_samples": np.int32(3), "seed": SEED, **context}
    z = np.random.default_rng(1).normal(size=[rows, registry_models.LATENT]).astype("float32")
    inputs = {
        "encode": x,
        "decode": {"z": z, **context},
        "reconstruct": x,
        "log_prob": x,
        "log_prob_and_gradient": x,
        "discriminate": x,
        "sample": drawn,
        "generate": drawn,
    }
    if isinstance(model, gx.models.VAE):
        inputs["log_prob"] = {**drawn, **x}
        return {**inputs, "serving_default": x}
    return {**inputs, "serving_default": drawn}


def _python(model, name, inputs):
    """What the model's own methods give for a request."""
    is_vae = isinstance(model, gx.models.VAE)
    if name == "serving_default":
        name = "reconstruct" if is_vae else "sample"
    context = {k: v for k, v in inputs.items() if k == "conditional_input"}
    if name in ("sample", "generate"):
        return {"samples": model.sample(3, seed=SEED, **context)}
    if name == "discriminate":
        return {"score": model.discriminate(inputs["x"], **context)}
    if name == "log_prob":
        options = {"num_samples": 3, "seed": SEED} if is_vae else {}
        return {"log_prob": model.log_prob(inputs["x"], **options, **context)}
    if name == "log_prob_and_gradient":
        x = tf.constant(inputs["x"])
        with tf.GradientTape() as tape:
            tape.watch(x)
            log_prob = model.averaged_generator.log_prob(x)
        return {"log_prob": log_prob, "gradient": tape.gradient(log_prob, x)}
    if name == "reconstruct":
        return {"x": model.reconstruct(inputs["x"], **context)}
    if name == "decode":
        return {"x": model.decode(inputs["z"], **context).mean()}
    return {"z": _middle(model.encode(inputs["x"], **context))}


def _middle(posterior):
    """The mean; of a flow, or of relaxed bits, that of the base pushed forward."""
    try:
        return posterior.mean()
    except NotImplementedError:
        flow = posterior if hasattr(posterior, "bijector") else posterior.distribution
        return flow.bijector.forward(flow.distribution.mean())


@some_models(
    "vae_maf_prior",
    "vae_iaf_posterior",
    "vae_vamp",
    "vae_bits",
    "vae_relaxed",
    "vae_conditional",
    "gan_normed",
    "gan_flow",
    "gan_conditional",
)
def test_every_signature_runs_in_the_cpp_loader_and_equals_python(case, tmp_path):
    model, _ = fitted(case, epochs=1)
    model.export(tmp_path / "1", verbose=False)
    requests = {
        f"{name}-{rows}": (name, _requests(model, case, rows)[name])
        for name in case.signatures
        for rows in (1, 7)
    }
    answers = cpp_loader.serve(tmp_path / "1", requests)
    assert set(tf.saved_model.load(str(tmp_path / "1")).signatures) == set(case.signatures)
    for key, (name, inputs) in requests.items():
        expected = _python(model, name, inputs)
        assert set(answers[key]) == set(expected)
        for output, value in expected.items():
            np.testing.assert_allclose(answers[key][output], value, rtol=1e-4, atol=1e-5)
