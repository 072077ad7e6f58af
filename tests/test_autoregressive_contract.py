"""One contract for every autoregressive distribution of the registry."""

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
import registry_autoregressive as cases
import tensorflow as tf

import tfp_genext as gx

HERE = pathlib.Path(__file__).parent
SEED = [5, 6]


def _ids(case):
    return case.name


each = pytest.mark.parametrize("case", cases.CASES, ids=_ids)
each_discrete = pytest.mark.parametrize("case", [c for c in cases.CASES if c.values], ids=_ids)
each_single = pytest.mark.parametrize("case", [c for c in cases.CASES if c.single], ids=_ids)


def some(*names):
    return pytest.mark.parametrize("case", registry.some(cases.CASES, *names), ids=_ids)


@each_discrete
def test_probabilities_sum_to_one_and_samples_follow_them(case):
    distribution = case.bound("float64")
    every = cases.every_event(case, distribution)
    probabilities = np.exp(distribution.log_prob(every))
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-9)
    assert probabilities.max() > 2.0 * probabilities.min()
    count = 20_000
    samples = distribution.sample(count, seed=SEED).numpy().reshape([count, -1])
    places = samples @ case.values ** np.arange(samples.shape[1])[::-1]
    found = np.bincount(places.astype(int), minlength=len(every))
    expected = count * probabilities
    rare = expected < 5.0
    groups = [(found[~rare], expected[~rare]), ([found[rare].sum()], [expected[rare].sum()])]
    pearson = sum(
        ((np.array(f) - e) ** 2 / np.maximum(e, 1e-9)).sum() for f, e in groups if np.sum(e) > 0.0
    )
    # Mean k, variance 2 k for k + 1 cells: five standard deviations.
    cells = np.sum(~rare)
    assert pearson < cells + 5.0 * np.sqrt(2.0 * cells)


@each
def test_a_sample_comes_with_its_density_at_every_batch_shape(case):
    distribution = case.perturbed()
    for batch in [(), (3,), (2, 3)]:
        bound = distribution
        if case.context is not None:
            contexts = np.random.default_rng(0).normal(size=[*batch, *case.context])
            bound = distribution.condition(contexts.astype("float32"))
            assert bound.batch_shape == batch
        x, log_prob = bound.experimental_sample_and_log_prob([4], seed=SEED)
        own = batch if case.context is not None else ()
        assert x.shape == (4, *own, *distribution.event_shape) and x.dtype == distribution.dtype
        np.testing.assert_allclose(bound.log_prob(tf.identity(x)), log_prob, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(bound.sample([2, 2], seed=SEED).shape[:2], [2, 2])
        flat = bound.sample(4, seed=SEED).numpy()
        np.testing.assert_array_equal(
            bound.sample([2, 2], seed=SEED).numpy().reshape(flat.shape), flat
        )


@each_single
def test_samples_are_those_of_one_pass_for_each_entry(case):
    distribution = case.bound("float64")
    noise = distribution.noise([20], SEED)
    found = distribution.from_noise(noise)
    np.testing.assert_allclose(found, cases.by_passes(distribution, noise.u), rtol=1e-9, atol=1e-9)


@each_single
def test_what_is_observed_is_kept_and_the_rest_drawn_given_it(case):
    distribution = case.bound("float64")
    size = int(np.prod(distribution.event_shape))
    x = case.events(distribution, 10)
    first = distribution.order_of_entries() < 3
    for greedy in (False, True):
        completed = distribution.complete(x, 3, seed=SEED, greedy=greedy).numpy()
        np.testing.assert_array_equal(completed[:, first], x[:, first])
        assert np.any(completed[:, ~first] != x[:, ~first])
    # Given all but the last entry, as often as its probability says.
    copies = np.repeat(x[:1], 4000, axis=0)
    completed = distribution.complete(copies, size - 1, seed=SEED).numpy()
    last = distribution.order_of_entries() == size - 1
    if case.values:
        each_value = copies[: case.values].copy()
        each_value[:, last] = np.arange(case.values)[:, None]
        logits = distribution.log_prob(each_value).numpy()
        expected = np.exp(logits - np.logaddexp.reduce(logits))
        found = np.bincount(completed[:, last].ravel().astype(int), minlength=case.values) / 4000
        np.testing.assert_allclose(found, expected, atol=0.04)
    np.testing.assert_array_equal(distribution.complete(x, size, seed=SEED), x)


@each_single
def test_greedy_entries_are_the_likeliest_given_those_before(case):
    distribution = case.bound("float64")
    x = distribution.greedy().numpy()
    assert x.shape == distribution.event_shape
    if not case.values or isinstance(distribution.head, gx.distributions.QuantizedLogistics):
        return  # Of a mixture it is the middle of a part.
    position = distribution.order_of_entries()
    for k in range(position.size):
        # Of all ways to go on, entry by entry, the first one is likelier than its alternatives.
        parts = np.exp(distribution.log_prob(cases.every_event(case, distribution)))
        every = cases.every_event(case, distribution)
        agrees = (every == x)[:, position < k].all(axis=1)
        values = every[:, position == k].ravel()
        mass = [parts[agrees & (values == v)].sum() for v in range(case.values)]
        assert int(x[position == k][0]) == int(np.argmax(mass))


@some(
    "made_masks_conditional", "made_normal", "made_classes", "pixel_cnn_colours", "pixel_cnn_plain"
)
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_graph_and_xla_equal_eager(case, jit_compile):
    distribution = case.bound()
    x = tf.constant(case.events(distribution, 5))

    @tf.function(
        input_signature=[tf.TensorSpec([None, *x.shape[1:]], x.dtype)], jit_compile=jit_compile
    )
    def log_prob(x):
        return distribution.log_prob(x)

    np.testing.assert_allclose(log_prob(x), distribution.log_prob(x), rtol=1e-5, atol=1e-5)
    if case.single or not jit_compile:  # Several masks divide the rows, which XLA cannot.
        noise = distribution.noise([5], SEED)  # XLA has random numbers of its own.
        compiled = tf.function(distribution.from_noise, jit_compile=jit_compile)
        np.testing.assert_allclose(
            compiled(noise), distribution.from_noise(noise), rtol=1e-4, atol=1e-4
        )


@each
def test_fit_lowers_the_loss_and_moves_every_variable_that_both_worlds_see(case):
    distribution = case.perturbed()
    model = gx.models.DensityModel(distribution)
    ours = [id(v._value) for v in model.trainable_variables]
    assert sorted(ours) == sorted(id(v) for v in distribution.trainable_variables)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    data = case.data(distribution)
    before = model.evaluate(*data, verbose=0, return_dict=True)["nll"]
    start = [v.numpy() for v in distribution.trainable_variables]
    model.fit(*data, epochs=3, batch_size=16, verbose=0)
    assert model.evaluate(*data, verbose=0, return_dict=True)["nll"] < before
    for old, variable in zip(start, distribution.trainable_variables, strict=True):
        assert np.abs(variable.numpy() - old).max() > 0.0, variable.name


def described(model, case):
    """What a model gives, and the losses of its training when it goes on."""
    data = case.data(model.distribution)
    context = {} if case.context is None else {"conditional_input": data[0][:3]}
    return {
        "predicted": model.predict(data if len(data) > 1 else data[0], verbose=0),
        "samples": model.sample(3, seed=SEED, **context).numpy(),
        "losses": np.array(
            model.fit(*data, batch_size=16, epochs=2, shuffle=False, verbose=0).history["nll"]
        ),
    }


def reload_all(directory):
    """Writes what all models of a directory give; run in a process of its own."""
    results = {}
    for case in cases.CASES:
        model = keras.saving.load_model(f"{directory}/{case.name}.keras")
        results |= {f"{case.name}/{k}": v for k, v in described(model, case).items()}
    np.savez(f"{directory}/results.npz", **results)


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models")
    expected = {}
    for case in cases.CASES:
        model = gx.models.DensityModel(case.perturbed())
        model.compile(optimizer=keras.optimizers.Adam(1e-3))
        model.fit(*case.data(model.distribution), batch_size=16, verbose=0)
        model.save(directory / f"{case.name}.keras")
        expected[case.name] = described(model, case)
    module = "test_autoregressive_contract"
    program = f"import {module}; {module}.reload_all({str(directory)!r})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    with np.load(directory / "results.npz") as found:
        return expected, dict(found)


@each
def test_comes_back_in_a_new_process_bit_for_bit_and_trains_on(reloaded, case):
    expected, found = reloaded
    for name, value in expected[case.name].items():
        np.testing.assert_array_equal(found[f"{case.name}/{name}"], value, err_msg=name)


@some("made_masks_conditional", "made_normal", "pixel_cnn_colours")
def test_every_signature_runs_in_the_cpp_loader_and_equals_python(case, tmp_path):
    distribution = case.perturbed()
    gx.serving.export(distribution, tmp_path / "1")
    *contexts, x = case.data(distribution, 7)
    given = {"conditional_input": contexts[0]} if contexts else {}
    draw = {"num_samples": np.int32(3), "seed": np.array(SEED, np.int32), **given}
    seeds = np.arange(14, dtype=np.int32).reshape([7, 2])
    answers = cpp_loader.serve(
        tmp_path / "1",
        {
            "log_prob": ("log_prob", {"x": x, **given}),
            "serving_default": ("serving_default", {"x": x, **given}),
            "sample": ("sample", draw),
            "sample_and_log_prob": ("sample_and_log_prob", draw),
            "sample_rows": ("sample_rows", {"seed": seeds, **given}),
        },
    )
    bound = distribution.condition(contexts[0]) if contexts else distribution
    log_prob = bound.log_prob(x)
    samples = bound.sample(3, seed=SEED)
    rows = [
        (distribution.condition(contexts[0][i]) if contexts else distribution).sample(seed=seed)
        for i, seed in enumerate(seeds)
    ]
    close = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(answers["log_prob"]["log_prob"], log_prob, **close)
    np.testing.assert_allclose(answers["serving_default"]["log_prob"], log_prob, **close)
    np.testing.assert_allclose(answers["sample"]["samples"], samples, **close)
    both = answers["sample_and_log_prob"]
    np.testing.assert_allclose(both["samples"], samples, **close)
    np.testing.assert_allclose(both["log_prob"], bound.log_prob(tf.identity(samples)), **close)
    np.testing.assert_allclose(answers["sample_rows"]["samples"], np.stack(rows), **close)


@some("made_masks", "pixel_cnn")
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains(case, policy):
    keras.config.set_dtype_policy(policy)
    distribution = case.build(None)
    model = gx.models.DensityModel(distribution)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    (x,) = case.data(distribution)
    history = model.fit(x, epochs=3, verbose=0).history["nll"]
    assert np.isfinite(history).all() and history[-1] < history[0]
    assert distribution.log_prob(x).dtype == tf.float32
    assert np.isfinite(distribution.log_prob(distribution.sample(3, seed=SEED))).all()
