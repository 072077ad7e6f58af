"""The contract that every bijector and every distribution of the registry meets."""

from __future__ import annotations

import copy

import keras
import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp
from counting import count_network_calls, count_steps
from derivatives import jacobian

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions

D = registry.D
BATCHES = [(), (3,), (2, 3)]
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


def _ids(case):
    return case.name


each_bijector = pytest.mark.parametrize("case", registry.BIJECTORS, ids=_ids)
each_distribution = pytest.mark.parametrize("case", registry.DISTRIBUTIONS, ids=_ids)
each_recipe = pytest.mark.parametrize(
    "case", [case for case in registry.DISTRIBUTIONS if case.recipe], ids=_ids
)


def some_bijectors(*names):
    return pytest.mark.parametrize("case", registry.some(registry.BIJECTORS, *names), ids=_ids)


def some_distributions(*names):
    return pytest.mark.parametrize("case", registry.some(registry.DISTRIBUTIONS, *names), ids=_ids)


def _built(case, dtype="float32", seed=0):
    bijector = case.build(dtype)
    registry.perturb(bijector, seed)
    return bijector


def _distribution(case, dtype="float32", size=D, seed=0):
    distribution = case.build(size, dtype)
    registry.perturb(distribution, seed)
    return distribution


@each_bijector
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trips_at_every_batch_shape(case, dtype):
    bijector = _built(case, dtype)
    for batch in BATCHES:
        kwargs = registry.conditions(case, batch, dtype)
        x = registry.points((*batch, *case.event), dtype)
        y = bijector.forward(x, **kwargs)
        assert y.dtype == dtype and y.shape == (*batch, *case.after)
        # tf.identity: a fresh tensor, so that TFP's cache cannot hand back what went in.
        back = bijector.inverse(tf.identity(y), **kwargs)
        np.testing.assert_allclose(back, x, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
        y = registry.points((*batch, *case.after), dtype, seed=6)
        z = bijector.inverse(tf.identity(y), **kwargs)
        there = bijector.forward(tf.identity(z), **kwargs)
        np.testing.assert_allclose(there, y, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def _log_abs_det(function, x, **kwargs):
    return np.linalg.slogdet(jacobian(function, x, **kwargs))[1]


@each_bijector
def test_log_determinants_agree_with_autodiff(case):
    bijector = _built(case, "float64")
    kwargs = registry.conditions(case, (4,), "float64")
    x = registry.points((4, *case.event), "float64")
    expected = _log_abs_det(bijector.forward, x, **kwargs)
    found = bijector.forward_log_det_jacobian(tf.identity(x), **kwargs)
    np.testing.assert_allclose(np.broadcast_to(found, [4]), expected, rtol=1e-6, atol=1e-12)
    expected = _log_abs_det(bijector.inverse, x, **kwargs)
    found = bijector.inverse_log_det_jacobian(tf.identity(x), **kwargs)
    np.testing.assert_allclose(np.broadcast_to(found, [4]), expected, rtol=1e-6, atol=1e-12)


@each_bijector
def test_log_determinant_does_not_depend_on_who_asked_first(case):
    bijector = _built(case, "float64")
    kwargs = registry.conditions(case, (4,), "float64")
    x = registry.points((4, *case.event), "float64")
    alone = bijector.forward_log_det_jacobian(tf.identity(x), **kwargs)
    after = tf.identity(x)
    y = bijector.forward(after, **kwargs)
    found = bijector.forward_log_det_jacobian(after, **kwargs)
    np.testing.assert_allclose(found, alone, rtol=1e-12, atol=1e-12)
    found = bijector.inverse_log_det_jacobian(y, **kwargs)
    np.testing.assert_allclose(found, -alone, rtol=1e-12, atol=1e-12)


def _assert_compiled_equals_eager(case, *, jit_compile):
    bijector = _built(case)
    kwargs = registry.conditions(case, (4,), "float32")
    specs = [tf.TensorSpec([None, *case.event])]
    specs += [tf.TensorSpec([None, *c.shape[1:]]) for c in kwargs.values()]

    @tf.function(input_signature=specs, jit_compile=jit_compile)
    def both(x, *conditions):
        named = dict(zip(kwargs, conditions, strict=True))
        y = bijector.forward(x, **named)
        z = bijector.inverse(x, **named)
        log_det = bijector.forward_log_det_jacobian(x, **named)
        return y, z, log_det, bijector.inverse_log_det_jacobian(x, **named)

    x = registry.points((4, *case.event), "float32")
    found = both(x, *kwargs.values())
    expected = (
        bijector.forward(x, **kwargs),
        bijector.inverse(tf.identity(x), **kwargs),
        bijector.forward_log_det_jacobian(tf.identity(x), **kwargs),
        bijector.inverse_log_det_jacobian(tf.identity(x), **kwargs),
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5)


@each_bijector
def test_graph_equals_eager(case):
    _assert_compiled_equals_eager(case, jit_compile=False)


# One of each kind of operation: XLA compiles these, whatever stands around them. The loops of
# splines and of single sigmoidal layers are compiled in `networks/test_made.py`.
@some_bijectors(
    "affine_mask",
    "affine_softplus",
    "affine_sigmoid",
    "affine_conditional",
    "additive",
    "autoregressive_ordered",
    "autoregressive_conditional",
    "spline_conditional",
    "neural_dense_conditional",
    "invertible_1x1_conv",
    "partial",
    "checkerboard_conditional",
    "batch_norm",
    "act_norm",
    "nested_conditional",
)
def test_xla_equals_eager(case):
    _assert_compiled_equals_eager(case, jit_compile=True)


@each_bijector
def test_every_trainable_variable_gets_a_gradient_both_ways(case):
    bijector = _built(case)
    kwargs = registry.conditions(case, (16,), "float32")
    for inverse in (False, True):
        x = registry.points((16, *case.event), "float32")
        with tf.GradientTape() as tape:
            if inverse:
                y, log_det = (
                    bijector.inverse(x, **kwargs),
                    bijector.inverse_log_det_jacobian(x, **kwargs),
                )
            else:
                y, log_det = (
                    bijector.forward(x, **kwargs),
                    bijector.forward_log_det_jacobian(x, **kwargs),
                )
            loss = tf.reduce_sum(y**2) + tf.reduce_sum(log_det)
        for gradient in tape.gradient(loss, bijector.trainable_variables):
            assert gradient is not None and np.abs(gradient).max() > 0.0


@each_bijector
def test_instances_are_told_apart_and_copies_share_weights(case):
    first, second = _built(case, seed=1), _built(case, seed=2)
    kwargs = registry.conditions(case, (4,), "float32")
    x = registry.points((4, *case.event), "float32")
    assert first != second
    assert np.abs(first.forward(x, **kwargs) - second.forward(x, **kwargs)).max() > 1e-3
    shared = first.copy()
    assert {id(v) for v in shared.variables} == {id(v) for v in first.variables}
    np.testing.assert_array_equal(
        shared.forward(tf.identity(x), **kwargs), first.forward(tf.identity(x), **kwargs)
    )


@each_bijector
def test_deepcopy_keeps_values_and_parts_ways(case):
    bijector = _built(case)
    kwargs = registry.conditions(case, (4,), "float32")
    other = copy.deepcopy(bijector)
    x = registry.points((4, *case.event), "float32")
    before = bijector.forward(x, **kwargs).numpy()
    np.testing.assert_array_equal(other.forward(tf.identity(x), **kwargs), before)
    registry.perturb(other, seed=3)
    assert np.abs(other.forward(tf.identity(x), **kwargs) - before).max() > 1e-3
    np.testing.assert_array_equal(bijector.forward(tf.identity(x), **kwargs), before)


@pytest.mark.parametrize(
    "case", [c for c in registry.BIJECTORS if c.dependencies is not None], ids=_ids
)
def test_jacobian_holds_what_the_mask_allows_and_nothing_else(case):
    bijector = _built(case, "float64")
    kwargs = registry.conditions(case, (6,), "float64")
    x = registry.points((6, *case.event), "float64")
    found = np.abs(jacobian(bijector.forward, x, **kwargs)).max(axis=0) > 0.0
    np.testing.assert_array_equal(found, case.dependencies)


@each_bijector
def test_lives_in_the_compositions_of_tfp(case):
    bijector = _built(case, "float64")
    if case.context is not None:
        bijector = gx.bijectors.Conditioned(bijector, tf.ones(case.context, tf.float64))
    base = tfd.Sample(tfd.Normal(tf.constant(0.0, tf.float64), 1.0), case.event)
    x = registry.points((4, *case.event), "float64")
    direct = base.log_prob(bijector.inverse(x)) + bijector.inverse_log_det_jacobian(x)
    shift = tfb.Shift(tf.constant(1.0, tf.float64))
    flows = {
        "transformed": tfd.TransformedDistribution(base, bijector).log_prob(x),
        "chain": tfd.TransformedDistribution(base, tfb.Chain([shift, bijector])).log_prob(x + 1.0),
        "invert twice": bijector(base).copy(bijector=tfb.Invert(tfb.Invert(bijector))).log_prob(x),
        "joint": tfd.JointDistributionSequential(
            [tfd.TransformedDistribution(base, bijector)]
        ).log_prob([x]),
    }
    for name, log_prob in flows.items():
        np.testing.assert_allclose(log_prob, direct, rtol=1e-10, err_msg=name)


def _wrappings(bijector, kwargs):
    yield "plain", bijector, kwargs
    chain = tfb.Chain([tfb.Shift(1.0), bijector])
    named = {bijector.name: kwargs} if kwargs else {}
    if not isinstance(bijector, gx.bijectors.Compose) and kwargs:
        yield "chain", chain, named
        yield "invert of chain", tfb.Invert(chain), named
    elif not kwargs:
        yield "chain", chain, {}
        yield "invert of chain", tfb.Invert(chain), {}
    yield "invert", tfb.Invert(bijector), kwargs


def _calls(flow, event, kwargs):
    def sample():
        return flow.sample(4, seed=[1, 2], bijector_kwargs=kwargs)

    def log_prob():
        return flow.log_prob(registry.points((4, *event), "float32"), bijector_kwargs=kwargs)

    def sample_and_log_prob():
        return flow.experimental_sample_and_log_prob(4, seed=[1, 2], bijector_kwargs=kwargs)

    return sample, log_prob, sample_and_log_prob


def _assert_networks_run_once(case, trace):
    inner = _built(case)
    # One context for all rows: the noise of a bijector has no batch of its own.
    context = registry.conditions(case, (), "float32")
    for name, bijector, kwargs in _wrappings(inner, context):
        base = tfd.Sample(tfd.Normal(0.0, 1.0), case.event)
        flow = tfd.TransformedDistribution(base, bijector)
        for call in _calls(flow, case.event, kwargs):
            with count_network_calls() as counter:
                # The evaluations of a compiled call are those of its one trace.
                trace(call)
            assert counter.total == case.networks, f"{name}: {call.__name__}"


@pytest.mark.parametrize("case", [c for c in registry.BIJECTORS if c.networks], ids=_ids)
def test_each_network_runs_once_per_direction(case):
    _assert_networks_run_once(case, lambda call: call())


# One of each way to reach a network, and one of each that a transformer can be inverted by.
@some_bijectors(
    "affine",
    "affine_mask",
    "affine_conditional",
    "additive_conditional",
    "autoregressive",
    "autoregressive_conditional",
    "spline_conditional",
    "spline_autoregressive",
    "neural_dense_conditional",
    "partial",
    "checkerboard_conditional",
    "composed",
    "nested_conditional",
    "bound",
)
def test_each_network_is_traced_once_per_direction(case):
    _assert_networks_run_once(case, lambda call: tf.function(call).get_concrete_function())


# What is compiled is traced like any other graph: one case of each way to reach a network.
@some_bijectors("affine_conditional", "autoregressive", "partial", "composed", "bound")
def test_each_network_is_traced_once_per_direction_under_xla(case):
    _assert_networks_run_once(
        case, lambda call: tf.function(call, jit_compile=True).get_concrete_function()
    )


@each_distribution
def test_both_worlds_see_the_same_variables(case):
    distribution = case.build(D, "float32")
    model = gx.models.DensityModel(distribution)
    for seen, shown in (
        (distribution.trainable_variables, model.trainable_variables),
        (distribution.variables, model.variables),
    ):
        # The model counts its metrics among its variables.
        ours = [id(v._value) for v in shown if not v.path.startswith(("nll", "mean", "bits"))]
        theirs = [id(v) for v in seen]
        assert theirs and len(set(theirs)) == len(theirs)
        assert sorted(ours) == sorted(theirs)


def _data(case, rows=256):
    x = 1.5 + 2.0 * registry.points((rows, *case.event), "float32", seed=21).numpy()
    if case.context is None:
        return (x,)
    return (registry.points((rows, *case.context), "float32", seed=22).numpy(), x)


@each_distribution
def test_fit_lowers_the_loss_and_moves_every_variable(case):
    distribution = _distribution(case, size=D)
    model = gx.models.DensityModel(distribution)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    *context, x = data = _data(case)
    kwargs = {"bijector_kwargs": {"conditional_input": context[0]}} if context else {}
    before = np.mean(distribution.log_prob(tf.constant(x), **kwargs))
    start = [v.numpy() for v in distribution.trainable_variables]
    with count_steps(model) as steps:
        model.fit(*data, epochs=3, batch_size=32, verbose=0)
    assert steps.call_count == 1
    assert np.mean(distribution.log_prob(tf.constant(x), **kwargs)) > before
    for old, variable in zip(start, distribution.trainable_variables, strict=True):
        assert np.abs(variable.numpy() - old).max() > 0.0


# One of each kind of variable and of place to hold it: the world of Keras sees the same ones in
# every distribution, and `fit` moves them all.
@some_distributions(
    "real_nvp_normed", "maf_conditional", "naf", "maf_mog", "glow", "real_nvp_images", "mixture"
)
def test_a_plain_tape_loop_lowers_the_loss_and_moves_every_variable(case):
    distribution = _distribution(case)
    optimizer = keras.optimizers.Adam(1e-2)
    *context, x = _data(case)
    kwargs = {"bijector_kwargs": {"conditional_input": context[0]}} if context else {}
    start = [v.numpy() for v in distribution.trainable_variables]

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(distribution.log_prob(x, **kwargs))
        variables = distribution.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    losses = [float(step()) for _ in range(20)]
    assert losses[-1] < losses[0]
    for old, variable in zip(start, distribution.trainable_variables, strict=True):
        assert np.abs(variable.numpy() - old).max() > 0.0


@pytest.mark.parametrize(
    "case", [case for case in registry.DISTRIBUTIONS if case.event == (D,)], ids=_ids
)
def test_two_dimensional_density_integrates_to_one_and_samples_follow_it(case):
    distribution = case.build(2, "float64")
    registry.perturb(distribution, size=0.1)
    context = registry.conditions(case, (), "float64")
    kwargs = {"bijector_kwargs": context} if context else {}
    edges = np.linspace(-20.0, 20.0, 801)
    middles = 0.5 * (edges[1:] + edges[:-1])
    x = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1).reshape(-1, 2)
    cells = np.exp(distribution.log_prob(x, **kwargs)) * (edges[1] - edges[0]) ** 2
    assert abs(cells.sum() - 1.0) < 1e-3

    # Boxes of 10 x 10 cells: the frequency of samples in each against the integral over it.
    expected = cells.reshape(80, 10, 80, 10).sum(axis=(1, 3))
    count = 40_000
    samples = distribution.sample(count, seed=[3, 4], **kwargs).numpy()
    found = np.histogram2d(*samples.T, bins=[edges[::10]] * 2)[0]
    busy = expected * count > 20.0
    assert busy.sum() > 50
    pearson = (found[busy] - count * expected[busy]) ** 2 / (count * expected[busy])
    # Mean 1, variance about 2 for each box: five standard deviations of their mean.
    assert abs(pearson.mean() - 1.0) < 5.0 * np.sqrt(2.0 / busy.sum())


@each_recipe
def test_a_new_flow_is_its_base(case):
    flow = case.build(D, "float64")
    x = registry.points((4, *case.event), "float64")
    kwargs = registry.distribution_kwargs(case, (4,), "float64")
    np.testing.assert_allclose(
        flow.log_prob(x, **kwargs), flow.distribution.log_prob(x), rtol=1e-12, atol=case.start
    )


@each_recipe
def test_deep_flows_round_trip_in_float32(case):
    flow = case.build(D, "float32", **case.deep)
    registry.perturb(flow, size=0.1)
    kwargs = registry.conditions(case, (1000,), "float32")
    x = registry.points((1000, *case.event), "float32")
    z = flow.bijector.inverse(x, **kwargs)
    assert np.abs(z - x).max() > 1.0
    back = flow.bijector.forward(tf.identity(z), **kwargs)
    np.testing.assert_allclose(back, x, atol=case.round_trip)
    y = flow.bijector.forward(tf.identity(x), **kwargs)
    back = flow.bijector.inverse(tf.identity(y), **kwargs)
    np.testing.assert_allclose(back, x, atol=case.round_trip)


@each_recipe
def test_far_off_inputs_stay_finite_with_their_gradients(case):
    flow = _distribution(case)
    kwargs = registry.conditions(case, (2,), "float32")
    x = 1e4 * tf.sign(registry.points((2, *case.event), "float32"))
    for direction in (flow.bijector.forward, flow.bijector.inverse):
        x = tf.identity(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = direction(x, **kwargs)
        assert np.isfinite(y).all()
        assert np.isfinite(tape.gradient(y, x)).all()
    log_prob = flow.log_prob(tf.identity(x), **registry.distribution_kwargs(case, (2,), "float32"))
    assert np.isfinite(log_prob).all()


@each_recipe
def test_one_sample_and_its_density_cost_what_a_sample_costs(case):
    flow = _distribution(case)
    if case.context is not None:
        flow = gx.flows.condition(flow, tf.ones(case.context))
    with count_network_calls() as sampling:
        flow.sample(10, seed=[1, 2])
    with count_network_calls() as both:
        x, log_prob = flow.experimental_sample_and_log_prob(10, seed=[1, 2])
    assert sampling.total == both.total == case.networks
    np.testing.assert_allclose(flow.log_prob(tf.identity(x)), log_prob, atol=1e-4)
