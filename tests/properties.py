"""What holds of every configuration: properties, each with an oracle of its own.

`test_properties.py` tries each on a few dozen configurations, `campaigns/properties.py` on
thousands.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import derivatives
import keras
import numpy as np
import scipy.special
import scipy.stats
import strategies as drawn
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions

SEED = [3, 4]


def fresh(x: Any) -> Any:
    """Returns copies that TFP's caches have not seen."""
    return tf.nest.map_structure(lambda t: tf.constant(t.numpy()), x)


def eps(dtype: Any) -> float:
    return float(np.finfo(tf.as_dtype(dtype).as_numpy_dtype).eps)


def same(found: Any, expected: Any, *, amplified: float = 1.0) -> None:
    """Asserts that numbers agree to rounding, times what a function may make of it."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    if found.size == 0:
        return
    assert np.isfinite(found).all() and np.isfinite(expected).all(), (found, expected)
    coarse = max(eps(found.dtype), eps(expected.dtype)) if found.dtype.kind == "f" else 0.0
    allowed = 1e3 * coarse * amplified * (1.0 + np.abs(expected).max())
    error = np.abs(found - expected).max()
    assert error <= allowed, f"off by {error:.3g} of {allowed:.3g}: {found} and {expected}"


# Bijectors, and flows by theirs.


def jacobian(
    function: Callable[..., tf.Tensor], y: tf.Tensor, event_ndims: int, **contexts: Any
) -> np.ndarray:
    """Returns the Jacobian of a function of points of any leading dimensions, `[N, D, D]`."""
    shape = y.shape[y.shape.rank - event_ndims :]
    batch = y.shape[: y.shape.rank - event_ndims]
    rows = {
        name: tf.reshape(tf.broadcast_to(value, [*batch, *event]), [-1, *event])
        for name, (value, event) in contexts.items()
    }
    return derivatives.jacobian(function, tf.reshape(y, [-1, *shape]), **rows)


def _given(bijector: tfb.Bijector, conditions: dict[str, Any]) -> dict[str, Any]:
    """Returns keyword arguments as a bijector takes them: a `tfb.Chain` wants them filed."""
    return gx.bijectors.conditioning.route(bijector, conditions) if conditions else {}


@dataclasses.dataclass
class Seen:
    """What a bijector has made of points.

    Args:
      x: where the points went.
      jacobian: of the inverse, `[N, D, D]`.
      slogdet: its log-determinants, `[N]`.
      amplified: by how much rounding may grow.
    """

    x: tf.Tensor
    jacobian: np.ndarray
    slogdet: np.ndarray
    amplified: float


def check_bijector(
    bijector: tfb.Bijector,
    z: tf.Tensor,
    event_ndims: tuple[int, int],
    context: Any = None,
    context_shape: Any = None,
    *,
    by_forward: bool = False,
) -> Seen | None:
    """Asserts that a bijector and its inverse undo each other, and what they say of volumes.

    Args:
      bijector: the bijector.
      z: points of its domain.
      event_ndims: rank of events before and after.
      context: contexts that broadcast, or `None`.
      context_shape: of one context event.
      by_forward: whether the Jacobian is found in the forward direction, where the inverse is a
        dear solve.

    Returns:
      What was seen; `None` where there are no points.
    """
    conditions = {} if context is None else {"conditional_input": context}
    given = _given(bijector, conditions)
    before, after = event_ndims
    batch = tuple(z.shape[: z.shape.rank - before])
    x = bijector.forward(z, **given)
    assert x.dtype == z.dtype and x.shape[: x.shape.rank - after] == batch
    # Of the one evaluation there was; the inverse is one of its own.
    fldj = np.broadcast_to(bijector.forward_log_det_jacobian(z, before, **given), batch)
    y = fresh(x)
    ildj = np.broadcast_to(bijector.inverse_log_det_jacobian(y, after, **given), batch)
    back = bijector.inverse(y, **given)
    assert back.shape == z.shape
    if 0 in batch:
        return None
    assert np.isfinite(x).all() and np.isfinite(ildj).all() and np.isfinite(fldj).all()
    of_rows = {name: (value, context_shape) for name, value in conditions.items()}
    direction, start, ndims = bijector.inverse, x, after
    if by_forward:
        direction, start, ndims = bijector.forward, z, before
    found = jacobian(
        lambda rows, **c: direction(rows, **_given(bijector, c)), fresh(start), ndims, **of_rows
    )
    if by_forward:
        found = np.linalg.inv(found.astype("float64"))
    assert np.isfinite(found).all()
    exact = found.astype("float64")
    stretch = np.linalg.svd(exact, compute_uv=False)
    # Rounding of x grows by the largest stretch on the way back, that of z by the inverse of the
    # smallest on the way there.
    amplified = max(1.0, np.abs(x).max()) * (1.0 + stretch.max()) * (1.0 + 1.0 / stretch.min())
    same(back, z, amplified=amplified)
    sign, slogdet = np.linalg.slogdet(exact)
    assert (sign != 0.0).all()
    same(ildj, -fldj, amplified=amplified)
    same(ildj.reshape(-1), slogdet.astype(ildj.dtype), amplified=amplified)
    return Seen(x, found, slogdet, amplified)


def flow_is_a_change_of_variables(case: drawn.FlowCase) -> None:
    """Round trips, log-determinants by autodiff, densities by NumPy."""
    with drawn.without_graphs():
        flow, z = case.build(), case.noise()
        ndims = len(flow.distribution.event_shape), len(case.recipe.event_shape)
        seen = check_bijector(
            flow.bijector,
            z,
            ndims,
            case.context(),
            case.recipe.context,
            by_forward=case.recipe.name == "iaf",
        )
        if seen is None:
            x = drawn.normal((*case.batch, *case.recipe.event_shape), case.recipe.dtype, 0)
            assert flow.log_prob(x, **case.kwargs()).shape == case.batch
            return
        log_prob = flow.log_prob(fresh(seen.x), **case.kwargs())
        assert log_prob.shape == case.batch and log_prob.dtype == case.recipe.dtype
        assert np.isfinite(log_prob).all()
        base = log_density_of_base(flow.distribution, z.numpy().reshape([len(seen.slogdet), -1]))
        amplified = seen.amplified * (1.0 + np.abs(z).max())
        expected = (base + seen.slogdet).astype(case.recipe.dtype)
        same(np.reshape(log_prob, -1), expected, amplified=amplified)


def log_density_of_base(base: tfd.Distribution, z: np.ndarray) -> np.ndarray:
    """Returns log-densities `[N]` of a recipe's base, by SciPy."""
    z = z.astype("float64")
    if isinstance(base, tfd.MultivariateNormalDiag):
        densities = scipy.stats.norm.logpdf(z, base.mean().numpy().astype("float64"), 2.0)
    elif isinstance(base.distribution, tfd.StudentT):
        densities = scipy.stats.t.logpdf(z, 5.0)
    elif isinstance(base.distribution, tfd.Logistic):
        densities = scipy.stats.logistic.logpdf(z)
    else:
        densities = scipy.stats.norm.logpdf(z)
    return densities.sum(axis=1)


def samples_come_with_their_densities(case: drawn.FlowCase) -> None:
    """Samples are stateless, of the shape asked for, and come with what `log_prob` says of them."""
    with drawn.without_graphs():
        flow = case.build()
        bound = flow if case.recipe.context is None else gx.flows.condition(flow, case.context())
        batch = bound.batch_shape
        assert batch == (() if case.recipe.context is None else case.context_batch)
        event = case.recipe.event_shape
        x, log_prob = bound.experimental_sample_and_log_prob((2, 3), seed=SEED)
        assert x.shape == (2, 3, *batch, *event) and log_prob.shape == (2, 3, *batch)
        assert x.dtype == case.recipe.dtype
        flat = bound.sample(6, seed=SEED)
        np.testing.assert_array_equal(np.reshape(flat, x.shape), x)
        other = bound.sample(seed=[5, 6])
        assert other.shape == (*batch, *event)
        if 0 in batch:
            return
        assert np.all(np.any(other != flat, axis=tuple(range(1, flat.shape.rank))))
        again = bound.log_prob(fresh(x))
        assert np.isfinite(log_prob).all()
        # How much rounding grows is looked at where Jacobians are.
        loose = {"float32": 3e2, "float64": 1e6}[case.recipe.dtype]
        same(again, log_prob, amplified=loose)


def rows_do_not_depend_on_each_other(case: drawn.FlowCase) -> None:
    """Densities of a batch are those of its rows; contexts that broadcast are tiled ones."""
    with drawn.without_graphs():
        flow, event = case.build(), case.recipe.event_shape
        x = drawn.normal((*case.batch, *event), case.recipe.dtype, case.seed + 3)
        if case.recipe.options.get("data_bijector"):
            x = tf.sigmoid(x) * case.recipe.options["data_bijector"][0]
        log_prob = flow.log_prob(x, **case.kwargs())
        assert log_prob.shape == case.batch
        tiled = case.kwargs(case.batch)
        np.testing.assert_array_equal(log_prob, flow.log_prob(fresh(x), **tiled))
        if 0 in case.batch:
            return
        rows = tf.reshape(x, [-1, *event])
        context = case.context(case.batch)
        own = [None] * len(rows)
        if context is not None:
            own = tf.unstack(tf.reshape(context, [-1, *case.recipe.context]))
        one_by_one = [
            flow.log_prob(row, **gx.flows.bijector_kwargs(flow, c)) for row, c in zip(rows, own)
        ]
        same(np.reshape(log_prob, -1), np.stack(one_by_one), amplified=1e2)
        if context is not None:
            bound = gx.flows.condition(flow, context)
            assert bound.batch_shape == case.batch
            same(bound.log_prob(fresh(x)), log_prob, amplified=10.0)
            z = case.noise()
            np.testing.assert_array_equal(
                bound.bijector.forward(z),
                flow.bijector.forward(fresh(z), conditional_input=fresh(context)),
            )


def both_worlds_see_the_same_variables(case: drawn.FlowCase) -> None:
    """TFP and Keras see the same variables, once each; copies share them; all get a gradient."""
    with drawn.without_graphs():
        flow = case.build()
        variables = flow.trainable_variables
        assert variables and len({id(v) for v in variables}) == len(variables)
        model = gx.models.DensityModel(flow)
        seen = [id(v._value) for v in model.trainable_variables]
        assert sorted(seen) == sorted(map(id, variables))
        assert sorted(id(v._value) for v in model.variables if v.name != "step") == sorted(
            map(id, flow.variables)
        )
        copy = flow.copy()
        assert {id(v) for v in copy.trainable_variables} == set(map(id, variables))
        assert copy.bijector == flow.bijector and hash(copy.bijector) == hash(flow.bijector)
        assert case.build().bijector != flow.bijector
        x = drawn.normal((3, *case.recipe.event_shape), case.recipe.dtype, case.seed + 3)
        if case.recipe.options.get("data_bijector"):
            x = tf.sigmoid(x) * case.recipe.options["data_bijector"][0]
        kwargs = {}
        if case.recipe.context is not None:
            context = drawn.normal((3, *case.recipe.context), case.recipe.dtype, case.seed)
            kwargs = gx.flows.bijector_kwargs(flow, context)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(flow.log_prob(x, **kwargs))
        np.testing.assert_array_equal(copy.log_prob(fresh(x), **kwargs), flow.log_prob(x, **kwargs))
        gradients = tape.gradient(loss, variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            # What an event of one entry has nothing to say to: no unit sees anything.
            if gradient is not None:
                assert np.isfinite(gradient).all(), variable.name
        missed = [v.name for v, g in zip(variables, gradients, strict=True) if g is None]
        # A MADE of one dimension has nothing before it to look at.
        assert not missed or case.recipe.event_shape == (1,), missed


def graphs_give_the_same(case: drawn.FlowCase) -> None:
    """Densities and samples in a graph that does not know the size of the batch."""
    flow, dtype, given = case.build(), case.recipe.dtype, {}
    if case.recipe.context is not None:
        given["conditional_input"] = drawn.normal((3, *case.recipe.context), dtype, case.seed)
    z = drawn.normal((3, *flow.distribution.event_shape), dtype, case.seed + 1)
    specs = [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in (z, *given.values())]

    @tf.function(input_signature=specs, autograph=False)
    def both(z: tf.Tensor, *context: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        conditions = dict(zip(given, context, strict=True))
        x = flow.bijector.forward(z, **_given(flow.bijector, conditions))
        return x, flow.log_prob(
            tf.identity(x), **gx.flows.bijector_kwargs(flow, *context or [None])
        )

    x, log_prob = both(z, *given.values())
    with drawn.without_graphs():
        expected = flow.bijector.forward(fresh(z), **_given(flow.bijector, given))
        same(x, expected, amplified=1e2)
        kwargs = gx.flows.bijector_kwargs(flow, given.get("conditional_input"))
        same(log_prob, flow.log_prob(fresh(x), **kwargs), amplified=1e2)


def files_hold_whole_flows(case: drawn.FlowCase) -> None:
    """A saved flow comes back with its densities, its samples and its variables."""
    with drawn.without_graphs():
        flow = case.build()
        loaded = reloaded(gx.models.DensityModel(flow)).distribution
        x = drawn.normal((3, *case.recipe.event_shape), case.recipe.dtype, case.seed + 3)
        if case.recipe.options.get("data_bijector"):
            x = tf.sigmoid(x) * case.recipe.options["data_bijector"][0]
        kwargs = {}
        if case.recipe.context is not None:
            context = drawn.normal((3, *case.recipe.context), case.recipe.dtype, case.seed)
            kwargs = gx.flows.bijector_kwargs(flow, context)
        np.testing.assert_array_equal(
            loaded.log_prob(fresh(x), **kwargs), flow.log_prob(x, **kwargs)
        )
        np.testing.assert_array_equal(
            loaded.sample(3, seed=SEED, **kwargs), flow.sample(3, seed=SEED, **kwargs)
        )
        for ours, theirs in zip(flow.variables, loaded.variables, strict=True):
            assert ours.dtype == theirs.dtype and ours.trainable == theirs.trainable
            np.testing.assert_array_equal(ours, theirs)


def reloaded(model: keras.Model) -> keras.Model:
    """Returns a model from its file."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "model.keras")
        model.save(path)
        return keras.saving.load_model(path)


def nested_bijectors_are_bijectors(case: drawn.BijectorCase) -> None:
    """Bare bijectors and nests of all kinds: round trips, log-determinants, copies."""
    with drawn.without_graphs():
        bijector, ndims, given = case.build(), len(case.event), case.conditions()
        context = given.get("conditional_input")
        seen = check_bijector(bijector, case.noise(), (ndims, ndims), context, case.context_shape)
        if case.part.kind == "coupling":
            _check_coupling(case, bijector, seen)
        if case.part.kind == "autoregressive" and seen is not None:
            _check_order(case, seen.jacobian)
        if case.part.kind not in ("chain", "invert"):
            copy = type(bijector)(**bijector.parameters)
            assert copy == bijector and hash(copy) == hash(bijector)
            z = case.noise()
            np.testing.assert_array_equal(
                copy.forward(fresh(z), **given), bijector.forward(z, **given)
            )


def _check_order(case: drawn.BijectorCase, jacobians: np.ndarray) -> None:
    """Asserts that no entry looks at one after it."""
    order, size = case.part.options["order"], case.event[-1]
    ranks = np.arange(size)
    if order is not None:
        ranks = np.argsort(gx.masks.random_order(order)(size, 0))
    own = _diagonal_blocks(jacobians, case.event)
    assert np.all(own[..., ranks[:, None] < ranks[None, :]] == 0.0)


def _diagonal_blocks(jacobians: np.ndarray, event: tuple[int, ...]) -> np.ndarray:
    """Returns what entries of a last axis get from those beside them, `[N, places, D, D]`."""
    places = math.prod(event[:-1])
    flat = jacobians.reshape([len(jacobians), places, event[-1], places, event[-1]])
    return np.stack([flat[:, i, :, i] for i in range(places)], axis=1)


def _check_coupling(case: drawn.BijectorCase, bijector: tfb.Bijector, seen: Seen | None) -> None:
    """Asserts that what the mask keeps stays, and that nothing looks at what it does not."""
    kept = np.broadcast_to(case.part.mask(case.event), case.event)
    z = case.noise()
    x = bijector.forward(z, **case.conditions()).numpy()
    np.testing.assert_array_equal(x[..., kept], z.numpy()[..., kept])
    if seen is not None:
        flat = kept.ravel()
        allowed = np.eye(flat.size, dtype=bool) | (~flat[:, None] & flat[None, :])
        assert np.all(seen.jacobian[:, ~allowed] == 0.0)


# Transformers and numbers.


def transformers_rise_and_come_back(case: drawn.TransformerCase) -> None:
    """Whatever the parameters: monotone, finite, invertible, with the slope that it says."""
    transformer, points = case.transformer, case.points()
    with drawn.without_graphs():
        params = case.params()
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([points, *params])
            # The direction that is a formula, in which nothing is searched for.
            bijector = transformer.bijector(params)
            x = bijector.inverse(points)
            ildj = bijector.inverse_log_det_jacobian(points, 0)
            total = tf.reduce_sum(x)
        slope = tape.gradient(total, points)
        gradients = tape.gradient(ildj, [points, *params], unconnected_gradients="zero")
        gradients += tape.gradient(x, params, unconnected_gradients="zero")
        forward, start = transformer.bijector(params), fresh(x)
        y = forward.forward(start)
        fldj = forward.forward_log_det_jacobian(start, 0)
    assert x.shape == points.shape and y.shape == points.shape and x.dtype == case.dtype
    for tensor in (x, ildj, y, slope, *gradients, fldj):
        assert np.isfinite(tensor).all()
    ildj = np.broadcast_to(ildj, points.shape)
    negative = _falls(transformer, params)
    steps = np.diff(x, axis=0) * np.where(negative, -1.0, 1.0)
    # Rounding may level what hardly rises.
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.abs(x).max() + np.abs(points).max() * np.exp(np.abs(ildj)).max() + 1.0
        ratio = np.abs(slope) * np.exp(-ildj)
        flat = np.exp(-np.minimum(ildj, 0.0)) * (1.0 + np.abs(x)) + 1.0 + np.abs(points)
    assert steps.min() >= -50.0 * eps(case.dtype) * size, steps.min()
    assert np.all(np.sign(slope) == np.where(negative, -1.0, 1.0)) or np.abs(slope).min() == 0.0
    steep = np.abs(slope) > 1e3 * np.finfo(case.dtype).tiny
    # What is computed of logarithms, -u^2 / 2 far off, is as exact as these are.
    allowed = 1e3 * np.sqrt(eps(case.dtype)) + 1e2 * eps(case.dtype) * np.abs(x)
    assert np.all(np.abs(np.log(ratio[steep])) < allowed[steep]), ratio
    _check_scales(transformer, ildj)
    # Where it is flat, points that rounding cannot tell apart come back as any of them.
    error = np.abs(y - points)
    assert np.all(error <= 3e3 * eps(case.dtype) * flat), (error / flat).max()


def _falls(transformer: Any, params: list[tf.Tensor]) -> Any:
    scale_map = getattr(transformer, "scale_map", None)
    if not isinstance(scale_map, gx.transformers.PlainScale):
        return False
    return params[1].numpy() < -1.0


def _check_scales(transformer: Any, ildj: np.ndarray) -> None:
    if isinstance(transformer, gx.transformers.Affine):
        assert np.abs(ildj).max() <= transformer.scale_map.bound * (1.0 + 1e-6)
    if isinstance(transformer, gx.transformers.Additive):
        assert np.all(ildj == 0.0)


def scalars_are_what_mathematics_says(case: tuple[str, float, float]) -> None:
    """Bounded maps, log-softplus and bits by Python's own floats, gradients finite."""
    dtype, value, bound = case
    x = tf.constant(value, dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        bounded = gx.numerics.soft_bound(x, bound)
        log_softplus = gx.numerics.log_softplus(x)
    assert abs(float(bounded)) <= bound * (1.0 + 2.0 * eps(dtype))
    expected = bound * math.tanh(float(x) / bound)
    assert abs(float(bounded) - expected) <= 10.0 * eps(dtype) * (abs(expected) + eps(dtype))
    exact = float(x)
    if exact > -15.0:
        softplus = (
            exact + math.log1p(math.exp(-exact)) if exact > 0.0 else math.log1p(math.exp(exact))
        )
        exact = math.log(softplus)
    assert abs(float(log_softplus) - exact) <= 1e-6 * (1.0 + abs(exact)) + 10.0 * eps(dtype)
    for output in (bounded, log_softplus):
        slope = float(tape.gradient(output, x))
        assert math.isfinite(slope) and 0.0 <= slope <= 1.0 + 1e-5
    assert gx.numerics.bits_per_dim(float(x), [2, 3]) == float(x) / (6.0 * math.log(2.0))


# Masks.


def masks_are_those_of_the_definition(case: tuple[int, tuple[int, ...], int, int]) -> None:
    """Masks and degrees by loops over single units."""
    size, hidden, first, seed = case
    for count in range(-size, size + 1):
        mask = gx.masks.prefix_mask(size, count)
        assert mask.shape == (size,) and mask.sum() == abs(count)
        assert (mask[: abs(count)] if count >= 0 else mask[size - abs(count) :]).all()
    order = gx.masks.random_order(seed)(size, first)
    assert sorted(order) == list(range(size)) == sorted(gx.masks.reversed_order(size, seed))
    board = gx.masks.checkerboard(size, len(hidden) + 1, first=bool(first))
    assert board.shape == (size, len(hidden) + 1, 1)
    assert all(
        board[i, j, 0] == ((i + j) % 2 == (0 if first else 1))
        for i, j, _ in np.ndindex(board.shape)
    )
    for degrees in (
        gx.masks.autoregressive_degrees(size, hidden, first=first)[1:],
        gx.masks.random_degrees(size, hidden, seed=[seed], first=first),
    ):
        lowest = min(first, size - 1)
        assert [len(d) for d in degrees] == list(hidden)
        for layer in degrees:
            assert lowest <= layer.min() and layer.max() <= max(size - 1, lowest)
            lowest = layer.min()


def made_sees_what_comes_before(case: Any) -> None:
    """What a MADE's parameters depend on, by changing one entry after the other."""
    network = case.build()
    rows = 1 + case.size
    for mask in range(case.options["num_masks"]):
        x = np.repeat(case.inputs(1), rows, axis=0)
        for k in range(case.size):
            x[1 + k, k] = (x[0, k] + 1.0) % case.classes if case.classes else x[0, k] + 1.0
        context = {name: tf.repeat(value, rows, axis=0) for name, value in case.contexts(1).items()}
        params = network(tf.constant(x), mask_index=mask, **context)
        params = np.stack(params, axis=-1) if case.options["unstacked"] else params.numpy()
        assert params.shape == (rows, case.size, case.params_size)
        assert np.isfinite(params).all()
        # [entry that moved, whose parameters]; sums of one row may be rounded as no other's are.
        rounding = 1e3 * eps(case.dtype) * (1.0 + np.abs(params).max())
        changed = (np.abs(params[1:] - params[:1]) > rounding).any(axis=-1)
        positions = network.positions(mask)
        assert sorted(positions) == list(range(case.size))
        before = positions[:, None] < positions[None, :]
        assert not (changed & ~before).any()
        expected = _reached(network, mask, case) & before
        assert not (changed & ~expected).any()
        if case.options["direct"]:
            assert (expected == before).all()
        traced = network(tf.constant(x), mask_index=tf.constant(mask), **context)
        traced = np.stack(traced, axis=-1) if case.options["unstacked"] else traced.numpy()
        same(traced, params, amplified=10.0)


def _reached(network: Any, mask: int, case: Any) -> np.ndarray:
    """Returns which entries reach whose parameters, by the product of the masks as numbers."""
    structure = network._masks.structures[mask]
    whole = slice(None)
    matrices = [structure.mask(i, whole, whole).astype(int) for i in range(len(structure.shapes))]
    paths = matrices[0]
    for matrix in matrices[1 : structure.layers]:
        paths = paths @ matrix
    if structure.direct:
        paths = paths + matrices[-1]
    inputs = structure.inputs
    by_entry = paths.reshape([case.size, inputs, case.size, case.params_size])
    ordered = by_entry.any(axis=(1, 3))
    positions = network.positions(mask)
    return ordered[positions][:, positions]


def made_solves_for_its_inputs(case: Any) -> None:
    """The block triangular solve by D passes of the network."""
    network = case.build()
    z = drawn.normal((3, case.size), case.dtype, case.seed + 3)
    context = case.contexts(3)
    for mask in range(case.options["num_masks"]):
        with drawn.without_graphs():
            x, params = network.solve(_update(case.classes), z, mask_index=mask, **context)
        by_passes = tf.zeros_like(z)
        for _ in range(case.size):
            raw = network(by_passes, mask_index=mask, **context)
            raw = raw if case.options["unstacked"] else tf.unstack(raw, axis=-1)
            by_passes = _update(case.classes)(raw, z)
        same(x, by_passes, amplified=1e3)
        for one, other in zip(params, raw, strict=True):
            same(one, other, amplified=1e3)


def _update(classes: int | None) -> Callable:
    """Returns an update that gives numbers, or classes."""

    def numbers(params: Any, z: tf.Tensor) -> tf.Tensor:
        return z + tf.tanh(sum(params))

    def of_classes(params: Any, z: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.floor((classes or 1) * tf.sigmoid(z + sum(params))), z.dtype)

    return of_classes if classes else numbers
