"""What holds of every head, autoregressive distribution, layer and model: properties."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import scipy.special
import scipy.stats
import strategies as drawn
import tensorflow as tf
import tensorflow_probability as tfp
from properties import SEED, check_bijector, eps, fresh, reloaded, same

import tfp_genext as gx

tfd = tfp.distributions
heads_of = gx.distributions


def heads_give_distributions(case: Any) -> None:
    """Shapes, supports, files, and densities by SciPy."""
    head, params = case.head, case.params()
    made = head(params)
    assert made.batch_shape == case.batch and made.event_shape == head.event_shape
    x = made.sample(3, seed=SEED)
    assert x.shape == (3, *case.batch, *head.event_shape)
    np.testing.assert_array_equal(x, made.sample(3, seed=SEED))
    assert np.isfinite(x).all()
    head.check_values(x.numpy())
    log_prob = made.log_prob(x)
    assert log_prob.shape == (3, *case.batch)
    assert not np.isnan(log_prob).any() and (np.asarray(log_prob) > -np.inf).all()
    expected = _log_density(head, params.numpy(), x.numpy()).astype(case.dtype)
    same(log_prob, expected, amplified=1e2 * _conditioning(head, params.numpy(), x.numpy()))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert again == head and hash(again) == hash(head) and again.params_size == head.params_size


def _log_density(head: Any, params: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns log-densities of a head's events, by SciPy in double precision."""
    params, x = params.astype("float64"), x.astype("float64")
    batch = params.shape[:-1]
    if isinstance(head, heads_of.Mixture):
        logits, rest = np.split(params, [head.num_components], axis=-1)
        rest = rest.reshape([*batch, head.num_components, head.component.params_size])
        parts = np.stack(
            [_log_density(head.component, rest[..., k, :], x) for k in range(head.num_components)],
            axis=-1,
        )
        return scipy.special.logsumexp(parts + scipy.special.log_softmax(logits, axis=-1), axis=-1)
    if isinstance(head, heads_of.MultivariateNormalTriL):
        return _of_normal_vectors(head, params, x)
    if isinstance(head, heads_of.RelaxedOneHotCategorical):
        # The density of the Concrete distribution, Maddison et al., 2017, equation 10.
        logits, size, t = params.reshape([*batch, *head.event_shape]), x.shape[-1], head.temperature
        shifted = logits - t * np.log(x)
        found = (
            scipy.special.gammaln(size)
            + (size - 1) * math.log(t)
            + (shifted - np.log(x)).sum(axis=-1)
            - size * scipy.special.logsumexp(shifted, axis=-1)
        )
        return found.sum(axis=tuple(range(-len(head.event_shape) + 1, 0)))
    if isinstance(head, heads_of.IndependentOneHotCategorical):
        logits = params.reshape([*batch, *head.event_shape])
        found = (x * scipy.special.log_softmax(logits, axis=-1)).sum(axis=-1)
        return found.sum(axis=tuple(range(-len(head.event_shape) + 1, 0)))
    of_entries = params.reshape([*batch, *head.event_shape, head.params_of_entry])
    found = _log_density_of_entries(head, of_entries, x)
    return found.sum(axis=tuple(range(-len(head.event_shape), 0)))


def _of_normal_vectors(head: Any, params: np.ndarray, x: np.ndarray) -> np.ndarray:
    loc, factor = _factor(head, params)
    u = np.linalg.solve(factor, (x - loc)[..., None])[..., 0]
    diagonal = np.diagonal(factor, axis1=-2, axis2=-1)
    return scipy.stats.norm.logpdf(u).sum(axis=-1) - np.log(diagonal).sum(axis=-1)


def _factor(head: Any, params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns location and triangular factor of a head of normal vectors."""
    loc, raw = np.split(params.astype("float64"), [head.event_size], axis=-1)
    lower = tfp.math.fill_triangular(tf.constant(raw)).numpy()
    diagonal = np.logaddexp(0.0, np.diagonal(lower, axis1=-2, axis2=-1)) + 1e-5
    return loc, np.tril(lower, -1) + diagonal[..., None] * np.eye(head.event_size)


def _conditioning(head: Any, params: np.ndarray, x: np.ndarray) -> float:
    """Returns by how much rounding moves a density, 1 for most heads."""
    if x.size == 0:
        return 1.0
    if isinstance(head, (heads_of.RelaxedBernoulli, heads_of.RelaxedOneHotCategorical)):
        # Of a sample TFP remembers the logit, of which x near 1 has lost digits.
        return 1.0 + 1e-4 / float((1.0 - x).min())
    if isinstance(head, heads_of.IndependentPoisson):
        # TFP's formula is a difference of numbers as large as these.
        largest = max(float(x.max()), float(np.exp(np.minimum(params.max(), head.bound))))
        return 1.0 + largest * math.log1p(largest) / 1e2
    if isinstance(head, heads_of.Mixture):
        rest = params[..., head.num_components :]
        shape = (*params.shape[:-1], head.num_components, head.component.params_size)
        return _conditioning(head.component, rest.reshape(shape), x)
    if not isinstance(head, heads_of.MultivariateNormalTriL):
        return 1.0
    # Of one solve and the square of what comes out.
    stretch = np.linalg.norm(np.linalg.inv(_factor(head, params)[1]), axis=(-2, -1)).max()
    return float((1.0 + np.abs(x).max() * stretch) ** 2)


def _log_density_of_entries(head: Any, params: np.ndarray, x: np.ndarray) -> np.ndarray:
    if isinstance(head, (heads_of.IndependentNormal, heads_of.IndependentLogistic)):
        loc, raw = params[..., 0], params[..., 1]
        kinds = {heads_of.IndependentNormal: scipy.stats.norm}
        kind = kinds.get(type(head), scipy.stats.logistic)
        return kind.logpdf(x, loc, np.exp(head.bound * np.tanh(raw / head.bound)))
    if isinstance(head, heads_of.IndependentBernoulli):
        logit = params[..., 0]
        return -np.logaddexp(0.0, np.where(x == 1.0, -logit, logit))
    if isinstance(head, heads_of.IndependentPoisson):
        rate = np.exp(head.bound * np.tanh(params[..., 0] / head.bound))
        return x * np.log(rate) - rate - scipy.special.gammaln(x + 1.0)
    if isinstance(head, heads_of.RelaxedBernoulli):
        t, logit = head.temperature, params[..., 0]
        noise = scipy.special.logit(x)
        return scipy.stats.logistic.logpdf(noise, logit / t, 1.0 / t) - np.log(x) - np.log1p(-x)
    if isinstance(head, heads_of.IndependentCategorical):
        log_probs = np.broadcast_to(
            scipy.special.log_softmax(params, axis=-1), (*x.shape, head.num_classes)
        )
        return np.take_along_axis(log_probs, x[..., None].astype(int), axis=-1)[..., 0]
    return _log_density_of_steps(head, params, x)


def _log_density_of_steps(head: Any, params: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The quantised mixture of logistics, by differences of distribution functions."""
    logits, raw_locs, raw_scales = np.split(params, 3, axis=-1)
    step = head.num_values / head.num_components
    locs = step * (np.arange(head.num_components) + 0.5) - 0.5 + step * raw_locs
    scales = 0.5 * step * np.exp(7.0 * np.tanh(raw_scales / 7.0))
    x = x[..., None]
    above = np.where(x == head.num_values - 1, np.inf, (x + 0.5 - locs) / scales)
    below = np.where(x == 0, -np.inf, (x - 0.5 - locs) / scales)
    # Whichever tail is the thinner, so that the difference does not cancel.
    flip = below > 0.0
    high = np.where(flip, -below, above)
    low = np.where(flip, -above, below)
    log_high, log_low = (-np.logaddexp(0.0, -v) for v in (high, low))
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = log_high + np.log1p(-np.exp(log_low - log_high))
    return scipy.special.logsumexp(parts + scipy.special.log_softmax(logits, axis=-1), axis=-1)


def entries_are_drawn_by_quantiles(case: Any) -> None:
    """What a uniform number becomes, by the distribution function of an entry."""
    entry = case.head.entry()
    shape = (*case.batch, entry.params_size)
    params = drawn.normal(shape, case.dtype, case.seed, case.size)
    info = np.finfo(case.dtype)
    u = np.random.default_rng(case.seed + 1).uniform(info.epsneg, 1.0 - info.epsneg, case.batch)
    u = tf.constant(u, case.dtype)
    x = entry.from_uniform(params, u)
    assert x.shape == case.batch and x.dtype == u.dtype and np.isfinite(x).all()
    entry.check_values(x.numpy())
    assert np.isfinite(entry(params).log_prob(x)).all()
    likeliest = entry.likeliest(params).numpy()
    assert likeliest.shape == case.batch and np.isfinite(likeliest).all()
    entry.check_values(likeliest)
    if isinstance(entry, heads_of.Mixture) or 0 in case.batch:
        return
    if not entry.discrete:
        cdf = entry(params).cdf(x)
        # The distribution function of what is rounded, where it is steep.
        slope = np.exp(entry(params).log_prob(x)) * (1.0 + np.abs(x))
        assert np.all(np.abs(cdf - u) <= 1e2 * eps(case.dtype) * (1.0 + slope))
        return
    if isinstance(entry, heads_of.QuantizedLogistics) and entry.num_components > 1:
        return
    values = getattr(entry, "num_classes", getattr(entry, "num_values", 2))
    every = np.arange(values).reshape([-1, *[1] * len(case.batch)])
    every = np.broadcast_to(every, (values, *case.batch))
    log_probs = entry(params).log_prob(tf.constant(every, case.dtype)).numpy()
    same(np.exp(log_probs).sum(axis=0), np.ones(case.batch, case.dtype), amplified=10.0)
    steps = np.concatenate([np.zeros((1, *case.batch)), np.exp(log_probs).cumsum(axis=0)])
    below, upto = (
        np.take_along_axis(steps, x.numpy().astype(int)[None] + k, axis=0)[0] for k in (0, 1)
    )
    slack = 1e2 * eps(case.dtype)
    numbers = u.numpy()
    if isinstance(entry, heads_of.IndependentBernoulli):
        # Ones come first: u < p gives a one.
        below, upto = (
            np.where(x == 1.0, 0.0, 1.0 - np.exp(log_probs[0])),
            np.where(x == 1.0, np.exp(log_probs[1]), 1.0),
        )
    assert np.all((below - slack <= numbers) & (numbers <= upto + slack))
    if not isinstance(entry, heads_of.QuantizedLogistics):
        chosen = np.take_along_axis(log_probs, likeliest.astype(int)[None], axis=0)[0]
        np.testing.assert_array_equal(chosen, log_probs.max(axis=0))


# Autoregressive distributions.


def autoregressive_distributions_are_products(case: Any) -> None:
    """Probabilities sum to one; samples are those of D passes; what is observed is kept."""
    with drawn.without_graphs():
        made = case.bound()
        batch = () if case.context() is None else case.batch
        assert made.batch_shape == batch and made.event_shape == case.event_shape
        x, log_prob = made.experimental_sample_and_log_prob(4, seed=SEED)
        assert x.shape == (4, *batch, *case.event_shape) and log_prob.shape == (4, *batch)
        assert np.isfinite(log_prob).all() and np.isfinite(x).all()
        same(made.log_prob(fresh(x)), log_prob, amplified=1e2)
        np.testing.assert_array_equal(made.sample(4, seed=SEED), x)
        assert np.reshape(made.sample((2, 2), seed=SEED), x.shape).tolist() == x.numpy().tolist()
        if case.values and case.values**case.size <= 81:
            every = case.every_event()
            every = every.reshape([-1, *[1] * len(batch), *case.event_shape])
            every = np.broadcast_to(every, [len(every), *batch, *case.event_shape])
            probabilities = np.exp(made.log_prob(tf.constant(every, made.dtype)))
            total = probabilities.sum(axis=0)
            same(total, np.ones_like(total), amplified=1e2)
        if case.context() is not None:
            contextless = case.build()
            given = contextless.log_prob(fresh(x), conditional_input=case.context())
            same(given, made.log_prob(fresh(x)), amplified=10.0)
        if case.single:
            _check_order(case, made)
            noise = made.noise([2], SEED)
            same(made.from_noise(noise), _by_passes(made, noise.u.numpy()), amplified=1e3)
            _check_completions(case, made, batch)


def _check_order(case: Any, made: Any) -> None:
    positions = made.order_of_entries()
    assert positions.shape == case.event_shape
    assert sorted(positions.ravel()) == list(range(case.size))


def _by_passes(made: Any, u: np.ndarray) -> np.ndarray:
    """Returns what one pass of the network for each entry makes of uniform numbers."""
    event = tuple(made.event_shape)
    x = np.zeros_like(u)
    position = made.order_of_entries()
    seen_event = tuple(made.network.event_shape)
    given = {}
    rows = math.prod(u.shape[: u.ndim - len(event)])
    if made.conditional_input is not None:
        shape = made.conditional_event_shape
        whole = np.broadcast_to(made.conditional_input, [*u.shape[: u.ndim - len(event)], *shape])
        given["conditional_input"] = tf.constant(whole.reshape([rows, *shape]))
    for k in range(position.size):
        params = made.network(tf.constant(x.reshape([rows, *seen_event])), **given)
        params = np.reshape(params, [*u.shape, made.head.params_size])
        own = position == k
        values = made.head.from_uniform(tf.constant(params[..., own, :]), tf.constant(u[..., own]))
        x[..., own] = values
    return x.astype(made.dtype.as_numpy_dtype)


def _check_completions(case: Any, made: Any, batch: tuple[int, ...]) -> None:
    x = tf.constant(case.events(batch), made.dtype)
    number = case.seed % (case.size + 1)
    first = made.order_of_entries() < number
    for greedy in (False, True):
        found = made.complete(fresh(x), number, seed=SEED, greedy=greedy).numpy()
        assert found.shape == x.shape and np.isfinite(found).all()
        np.testing.assert_array_equal(found[..., first], x.numpy()[..., first])
        made.check_values(found)
    np.testing.assert_array_equal(made.complete(x, case.size, seed=SEED), x)


def images_are_seen_in_raster_order(case: Any) -> None:
    """What parameters of PixelCNN and PixelRNN depend on, by changing one entry at a time."""
    made = case.build()
    rows = 1 + case.size
    x = np.repeat(case.events((1,)), rows, axis=0).reshape([rows, case.size]).astype(case.dtype)
    for k in range(case.size):
        x[1 + k, k] = (x[0, k] + 1) % case.values if case.values else x[0, k] + 1.0
    given = {}
    if case.options["conditional_event_shape"] is not None:
        shape = case.options["conditional_event_shape"]
        given["conditional_input"] = drawn.normal((rows, *shape), case.dtype, case.seed) * 0.0
    seen = x.reshape([rows, *made.network.event_shape])
    params = np.reshape(made.network(tf.constant(seen), **given), [rows, case.size, -1])
    moved = np.abs(params[1:] - params[:1]).max(axis=-1)
    before = np.tri(case.size, k=-1, dtype=bool).T
    assert np.isfinite(params).all() and np.all(moved[~before] <= 1e3 * eps(case.dtype))


# Networks with heads, layers and models.


def conditionals_give_distributions(case: Any) -> None:
    """A network and a head, with a flow on top or not: shapes, change of variables, files."""
    with drawn.without_graphs():
        made, points = case.build(), case.points(3)
        conditioned = made(points)
        assert conditioned.batch_shape == [3] and conditioned.event_shape == made.event_shape
        assert made.input_event_shape == (case.inputs,)
        x = conditioned.sample(seed=SEED)
        log_prob = conditioned.log_prob(fresh(x))
        assert log_prob.shape == [3] and np.isfinite(log_prob).all()
        if case.flow is not None:
            z = drawn.normal((3, *case.flow.event_shape), case.dtype, case.seed + 5)
            shape = case.flow.context
            context = None if shape is None else conditioned.bijector.conditional_input
            check_bijector(made.bijector, z, (1, 1), context, shape)
            given = {} if context is None else {"conditional_input": context}
            # The same as bound to what the network says.
            np.testing.assert_array_equal(
                conditioned.bijector.inverse(fresh(x)), made.bijector.inverse(fresh(x), **given)
            )
        else:
            same(
                conditioned.log_prob(fresh(x)),
                case.head(made.params(points)).log_prob(fresh(x)),
                amplified=10.0,
            )
        loaded = reloaded(gx.models.DensityModel(made)).distribution
        np.testing.assert_array_equal(loaded(points).log_prob(fresh(x)), log_prob)


def autoregressive_distributions_are_held_by_files(case: Any) -> None:
    """Densities and samples of an autoregressive distribution after a file."""
    with drawn.without_graphs():
        made = case.build()
        if not case.single and case.options["dropout"]:
            return  # Draws of dropout are a state that no density shows.
        loaded = reloaded(gx.models.DensityModel(made)).distribution
        context = case.context()
        x = tf.constant(case.events((2,)), made.dtype)
        if context is not None:
            if case.batch != ():
                return
            made, loaded = made.condition(context), loaded.condition(context)
        np.testing.assert_array_equal(loaded.log_prob(fresh(x)), made.log_prob(x))
        np.testing.assert_array_equal(loaded.sample(2, seed=SEED), made.sample(2, seed=SEED))


def noise_of_layers_keeps_to_its_pixel(case: tuple[int, int, str, int]) -> None:
    """`Dequantize` and `Binarize`: bounds, and noise that does not depend on the batch."""
    values, seed, dtype, rows = case
    rng = np.random.default_rng(seed)
    x = rng.integers(0, values, [rows, 2, 3, 1])
    layer = gx.layers.Dequantize(values, seed=seed, dtype=dtype)
    for training in (False, True):
        noisy = layer(x, training=training).numpy()
        assert noisy.shape == x.shape and noisy.dtype == dtype
        np.testing.assert_array_equal(np.floor(noisy), x)
    fixed = layer(x).numpy()
    np.testing.assert_array_equal(layer(x[::-1]).numpy(), fixed[::-1])
    for i in range(rows):
        np.testing.assert_array_equal(layer(x[i : i + 1]).numpy()[0], fixed[i])
    grey = gx.layers.Binarize(scale=values - 1.0, seed=seed, dtype=dtype)
    bits = grey(x).numpy()
    assert np.isin(bits, (0.0, 1.0)).all()
    assert np.all(bits[x == 0] == 0.0) and np.all(bits[x == values - 1] == 1.0)
    np.testing.assert_array_equal(grey(x[::-1]).numpy(), bits[::-1])


def models_train_and_answer(case: Any) -> None:
    """One step of a VAE or a GAN moves what it trains, stays finite, and is held by a file."""
    rows = 4
    with drawn.without_graphs():
        model = case.compiled()
        x, context = case.events(rows), case.contexts(rows)
        data = (x,) if context is None else (context, x)
        given = {} if context is None else {"conditional_input": context}
        start = [v.numpy() for v in model.trainable_variables]
        history = model.fit(*data, epochs=1, batch_size=rows, verbose=0).history
        assert all(np.isfinite(v).all() for v in history.values()), history
        ends = [v.numpy() for v in model.trainable_variables]
        assert all(np.isfinite(v).all() for v in ends)
        assert any(np.any(a != b) for a, b in zip(start, ends, strict=True))
        samples = model.sample(3, seed=SEED, **given)
        assert samples.shape == (3, *([] if context is None else [rows]), case.data)
        assert np.isfinite(samples).all()
        np.testing.assert_array_equal(samples, model.sample(3, seed=SEED, **given))
        answers = _answers(case, model, x, given)
        assert all(np.isfinite(v).all() for v in answers.values()), answers
        loaded = reloaded(model)
        for name, value in _answers(case, loaded, x, given).items():
            np.testing.assert_array_equal(value, answers[name], err_msg=name)
        np.testing.assert_array_equal(loaded.sample(3, seed=SEED, **given), samples)
        if case.is_vae:
            logs = model.evaluate(*data, verbose=0, return_dict=True)
            terms = logs["reconstruction"] + logs["kl"]
            assert logs["negative_elbo"] == np.float32(terms) or math.isclose(
                logs["negative_elbo"], terms, rel_tol=1e-4, abs_tol=1e-4
            )


def _answers(case: Any, model: keras.Model, x: np.ndarray, given: dict) -> dict[str, Any]:
    if case.is_vae:
        encoded = model.encode(x, **given)
        return {
            "log_prob": model.log_prob(x, 5, seed=SEED, **given),
            "encode": encoded.mean(),
            "reconstruct": model.reconstruct(x, **given),
        }
    return {"scores": model.discriminate(x, **given)}
