"""MADE: dependencies, parity with TFP, and the block triangular solve against D passes."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from derivatives import jacobian
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

import tfp_genext as gx
from tfp_genext import masks
from tfp_genext.networks.solve import traced

MADE = gx.networks.MADE


def built(size, hidden_units, *, seed=0, scale=0.8, **options):
    options = {"activation": "tanh", "dtype": "float64", **options}
    network = MADE(size, 2, hidden_units, **options)
    network.build((None, size))
    for i, variable in enumerate(network.variables):
        noise = tf.random.stateless_normal(variable.shape, [i, seed], dtype=tf.float64)
        variable.assign(scale * noise)
    return network


def normal(shape, seed=9):
    return tf.random.stateless_normal(shape, [1, seed], dtype=tf.float64)


def update(params, z):
    shift, log_scale = params
    return z * tf.exp(tf.tanh(log_scale)) + shift


def by_passes(network, z, **conditions):
    """The textbook sampler: one pass for each dimension."""
    x = tf.zeros_like(z)
    for _ in range(z.shape[1]):
        x = update(tf.unstack(network(x, **conditions), axis=-1), z)
    return x


def dependencies(network, x):
    """Tells which dimensions any parameter of each dimension depends on, at any row."""
    each = [jacobian(lambda t, i=i: network(t)[..., i], x) for i in range(network.params_size)]
    return np.abs(each).max(axis=(0, 1)) > 0.0


ORDERS = {
    "left to right": lambda d: None,
    "right to left": lambda d: list(range(d))[::-1],
    "random": lambda d: masks.random_order(1)(d, 0),
}
SIZES = [(1, [4]), (2, []), (5, [3]), (5, []), (7, [16, 16]), (12, [40, 7, 30])]


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
@pytest.mark.parametrize("size", [1, 2, 5, 9])
@pytest.mark.parametrize("hidden_units", [[], [64], [40, 64], [300, 20]])
def test_the_dependency_jacobian_equals_the_mask(order, size, hidden_units):
    order = order(size)
    found = dependencies(built(size, hidden_units, order=order), normal([6, size]))
    rank = np.argsort(range(size) if order is None else order)
    np.testing.assert_array_equal(found, rank[:, None] > rank[None, :])


@pytest.mark.parametrize("context", [None, (3,), (2, 2)])
@pytest.mark.parametrize("size, hidden_units", SIZES)
def test_solve_equals_d_passes_with_its_gradients(size, hidden_units, context):
    order = masks.random_order(0)(size, 1)
    network = built(size, hidden_units, order=order, conditional_event_shape=context)
    kwargs = {} if context is None else {"conditional_input": normal([6, *context], 3)}
    z = normal([6, size])
    variables = [v.value for v in network.variables]
    results = []
    for sampler in ("solve", "passes"):
        with tf.GradientTape() as tape:
            tape.watch(z)
            if sampler == "solve":
                x, params = network.solve(update, z, **kwargs)
            else:
                x = by_passes(network, z, **kwargs)
                params = tf.unstack(network(x, **kwargs), axis=-1)
            loss = tf.reduce_sum(tf.sin(x)) + tf.reduce_sum(params[0] ** 2 * params[1])
        gradients = tape.gradient(loss, [z, *variables], unconnected_gradients="zero")
        results.append([x, *params, *gradients])
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_solve_in_float32_equals_d_passes_within_rounding(jit_compile):
    network = built(30, [64, 64], dtype="float32", scale=1.0)
    weights = [v.numpy() for v in network.variables]
    z = tf.cast(normal([50, 30]), tf.float32)
    solve = tf.function(lambda z: network.solve(update, z)[0], jit_compile=jit_compile)
    # Weak, random and strong: one graph for all, as each takes long to compile.
    for scale in (0.1, 1.0, 4.0):
        network.set_weights([scale / 8.0 * w for w in weights])
        np.testing.assert_allclose(
            solve(z), by_passes(network, tf.identity(z)), rtol=2e-4, atol=2e-4, err_msg=scale
        )


@pytest.mark.parametrize(
    "transformer",
    [gx.transformers.Spline(num_bins=2), gx.transformers.DeepSigmoidal(num_units=2)],
    ids=lambda transformer: type(transformer).__name__,
)
def test_gradients_through_samples_are_the_same_under_xla(transformer):
    network = gx.networks.MADE(3, transformer.params_size, [6], unstacked=True, dtype="float64")
    network.build((None, 3))
    bijector = gx.bijectors.MaskedAutoregressive(network, transformer=transformer)
    for i, variable in enumerate(bijector.trainable_variables):
        variable.assign(0.5 * tf.random.stateless_normal(variable.shape, [3, i], dtype="float64"))

    def gradients(z):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(bijector.forward(z) ** 2)
        return tape.gradient(loss, bijector.trainable_variables)

    z = tf.random.stateless_normal([5, 3], [1, 2], dtype="float64")
    compiled = tf.function(gradients, jit_compile=True)(tf.identity(z))
    for found, expected in zip(compiled, gradients(z), strict=True):
        assert np.abs(expected).max() > 0.0
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_a_tolerance_is_the_users_choice():
    network = built(100, [64, 64])
    z = normal([50, 100])
    exact, rough = (network.solve(update, z, tolerance=t)[0] for t in (0.0, 1e-3))
    assert 0.0 < np.abs(exact - rough).max() < 0.1


@pytest.mark.parametrize("hidden_units", [[20, 12], [300, 260]], ids=["narrow", "wide"])
def test_gives_what_the_network_of_tfp_gives_from_the_same_weights(hidden_units):
    theirs = tfb.AutoregressiveNetwork(
        params=2, event_shape=[7], hidden_units=hidden_units, activation="relu"
    )
    x = np.random.default_rng(0).normal(size=[5, 7]).astype("float32")
    theirs(x)
    ours = MADE(7, 2, hidden_units, activation="relu")
    ours.build((None, 7))
    weights = theirs.get_weights()
    for kernel, bias, (k, b) in zip(
        ours.kernels, ours.biases, zip(weights[::2], weights[1::2], strict=True), strict=True
    ):
        kernel.assign(k)
        bias.assign(b)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-6)
    z = np.random.default_rng(1).normal(size=[5, 7]).astype("float32")
    np.testing.assert_allclose(
        gx.bijectors.MaskedAutoregressive(lambda y: tf.unstack(ours(y), axis=-1)).forward(z),
        tfb.MaskedAutoregressiveFlow(theirs).forward(z),
        rtol=1e-4,
        atol=1e-5,
    )


def by_full_masks(network, x, context):
    """What a MADE computes, from whole masks in NumPy."""
    degrees = masks.autoregressive_degrees(
        network.event_size, network.hidden_units, first=1 if context is None else 0
    )
    limits = [*degrees[1:], np.repeat(degrees[0], network.params_size) - 1]
    h = x.numpy()
    for i, (before, limit) in enumerate(zip(degrees, limits, strict=True)):
        kernel = network.kernels[i].numpy() * (before[:, None] <= limit)
        h = h @ kernel + network.biases[i].numpy()
        if context is not None:
            h += context.numpy() @ network.context_kernels[i].numpy()
        h = np.tanh(h) if i < len(network.hidden_units) else h
    return h.reshape(len(x), network.event_size, network.params_size)


@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("context", [None, 3], ids=["alone", "context"])
@pytest.mark.parametrize(
    "size, hidden_units", [(1, [300]), (2, [300, 1]), (5, [1, 300]), (7, [260, 300]), (3, [1])]
)
def test_leaving_out_void_products_changes_nothing(size, hidden_units, context, rows):
    options = {} if context is None else {"conditional_event_shape": [context]}
    network = built(size, hidden_units, scale=0.3, **options)
    x = normal([rows, size])
    c = None if context is None else normal([rows, context])
    expected = by_full_masks(network, x, c)
    for mode in ({}, {"jit_compile": True}):
        compiled = tf.function(lambda x: network(x, c), **mode)
        np.testing.assert_allclose(compiled(x), expected, rtol=1e-9, atol=1e-9)
    unstacked = built(size, hidden_units, scale=0.3, unstacked=True, **options)
    np.testing.assert_allclose(np.stack(unstacked(x, c), axis=-1), expected, rtol=1e-9, atol=1e-9)


def test_gradients_are_those_of_the_whole_masked_matrices():
    network = built(7, [260, 300], scale=0.3)
    x = normal([6, 7])
    degrees = masks.autoregressive_degrees(7, [260, 300])
    limits = [*degrees[1:], np.repeat(degrees[0], 2) - 1]
    full = [(d[:, None] <= limit).astype(float) for d, limit in zip(degrees, limits, strict=True)]
    variables = [v.value for v in network.variables]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(network(x)))
    found = tape.gradient(loss, variables)
    with tf.GradientTape() as tape:
        h = x
        for i, mask in enumerate(full):
            h = h @ (network.kernels[i].value * mask) + network.biases[i].value
            h = tf.tanh(h) if i < 2 else h
        loss = tf.reduce_sum(tf.sin(h))
    for ours, expected in zip(found, tape.gradient(loss, variables), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)


class Stateful(gx.transformers.Affine):
    """A transformer whose equality forgets an option."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def bijector(self, params):
        return tfb.Chain(
            [tfb.Scale(tf.constant(self.factor, tf.float64)), super().bijector(params)]
        )


class Unhashable(gx.transformers.Affine):
    """A transformer that cannot be looked up in a table."""

    __hash__ = None


def assert_returns(bijector, z, **conditions):
    y = bijector.forward(z, **conditions)
    found = bijector.inverse(tf.identity(y), **conditions)
    np.testing.assert_allclose(found, z, rtol=1e-8, atol=1e-8)


def test_transformers_are_told_apart_by_all_they_hold():
    network = built(4, [16])
    transformer = Stateful(2.0)
    for factor in (2.0, 5.0):
        assert_returns(
            gx.bijectors.MaskedAutoregressive(network, transformer=Stateful(factor)), normal([6, 4])
        )
        transformer.factor = factor
        assert_returns(
            gx.bijectors.MaskedAutoregressive(network, transformer=transformer), normal([6, 4])
        )


def test_anything_callable_serves_as_activation_or_transformer():
    for activation in (
        lambda x: 2.0 * tf.tanh(x),
        keras.layers.LeakyReLU(dtype="float64"),
        "swish",
    ):
        network = built(4, [16], activation=activation)
        assert_returns(gx.bijectors.MaskedAutoregressive(network), normal([6, 4]))
    transformer = Unhashable()
    assert_returns(
        gx.bijectors.MaskedAutoregressive(network, transformer=transformer), normal([6, 4])
    )


class Halved(MADE):
    """A network with a `call` of its own, which `solve` knows nothing of."""

    def call(self, x, conditional_input=None):
        return 0.5 * super().call(x, conditional_input)


def test_a_subclass_with_its_own_call_takes_d_passes():
    network = Halved(4, 2, [16], activation="tanh", dtype="float64")
    network.build((None, 4))
    for i, variable in enumerate(network.variables):
        variable.assign(tf.random.stateless_normal(variable.shape, [i, 0], dtype=tf.float64))
    assert_returns(gx.bijectors.MaskedAutoregressive(network), normal([6, 4]))


@pytest.mark.parametrize("size", [6, 70])
@pytest.mark.parametrize("rows", [1, 5])
def test_forward_runs_under_vectorized_map(size, rows):
    bijector = gx.bijectors.MaskedAutoregressive(built(size, [16], scale=0.3))
    z = normal([rows, size])
    found = tf.vectorized_map(bijector.forward, z)
    np.testing.assert_allclose(found, bijector.forward(tf.identity(z)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("context", [None, 2], ids=["alone", "context"])
def test_samples_have_full_precision_under_a_mixed_policy(policy, context):
    options = {} if context is None else {"conditional_event_shape": [context]}
    conditions = {} if context is None else {"conditional_input": tf.ones([8, context])}
    mixed, full = (
        built(6, [16], dtype=dtype, scale=0.3, **options) for dtype in (policy, "float32")
    )
    z = tf.cast(normal([8, 6]), tf.float32)
    found, expected = (
        gx.bijectors.MaskedAutoregressive(network).forward(z, **conditions)
        for network in (mixed, full)
    )
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, expected)
    density = gx.bijectors.MaskedAutoregressive(mixed).inverse(tf.identity(found), **conditions)
    np.testing.assert_allclose(density, z, atol=0.1)


def test_contexts_may_be_integers():
    network = built(3, [8], conditional_event_shape=[2])
    x = normal([4, 3])
    np.testing.assert_array_equal(
        network(x, tf.ones([4, 2], tf.int32)), network(x, tf.ones([4, 2], tf.float64))
    )


@pytest.mark.parametrize("activation", ["relu", "tanh", "swish", "gelu", "elu", "leaky_relu"])
def test_one_solver_serves_all_networks_of_one_size(activation):
    networks = [built(6, [16], seed=seed, activation=activation) for seed in (0, 1)]
    z = normal([4, 6])
    traced.cache_clear()
    for network in networks:
        np.testing.assert_allclose(network.solve(update, z)[0], by_passes(network, z), rtol=1e-9)
    assert traced.cache_info().misses == 1


def test_samples_do_not_depend_on_what_was_drawn_before():
    network = built(6, [16], dtype="float32")
    z = tf.cast(normal([9, 6]), tf.float32)
    before = network.solve(update, z)[0]
    for rows in (1, 3, 5):
        network.solve(update, z[:rows])
    np.testing.assert_array_equal(network.solve(update, tf.identity(z))[0], before)


def test_one_layer_is_the_gaussian_autoregressive_model_of_the_same_weights():
    """log p(x) = sum_k log N(x_k; shift_k, scale_k), each from the dimensions before."""
    network = built(5, [16])
    flow = gx.bijectors.MaskedAutoregressive(network)(
        gx.flows.maf([5], num_layers=1, hidden_units=[4], dtype="float64").distribution
    )
    x = normal([8, 5])
    shift, raw = np.moveaxis(network(x).numpy(), -1, 0)
    log_scale = 2.0 * np.tanh(raw / 2.0)
    z = (x.numpy() - shift) * np.exp(-log_scale)
    expected = (-0.5 * z**2 - 0.5 * np.log(2.0 * np.pi) - log_scale).sum(axis=1)
    np.testing.assert_allclose(flow.log_prob(x), expected, rtol=1e-10)


def test_no_optimizer_step_breaks_the_masks():
    network = built(5, [16])
    for variable in network.variables:
        variable.assign_add(tf.ones_like(variable))
    assert not np.triu(dependencies(network, normal([6, 5]))).any()


def test_config_round_trip_keeps_everything(tmp_path):
    network = MADE(5, 3, [8], activation="gelu", order=[4, 2, 0, 1, 3], conditional_event_shape=[2])
    network.build((None, 5))
    other = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
    assert other.get_config() == network.get_config()
    assert [v.shape for v in other.variables] == [v.shape for v in network.variables]
    inputs = keras.Input([5])
    model = keras.Model(inputs, MADE(5, 2, [8])(inputs))
    model.save(tmp_path / "made.keras")
    x = np.ones([2, 5], "float32")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "made.keras")(x), model(x))


@pytest.mark.parametrize(
    "arguments, options, text",
    [
        ((0, 2, [8]), {}, "`event_size` must be an integer of at least 1"),
        ((5, 0, [8]), {}, "`params_size` must be an integer of at least 1"),
        ((5, 2, [0]), {}, r"`hidden_units\[0\]` must be an integer of at least 1"),
        ((3, 2, [8]), {"order": [0, 0, 1]}, "`order` must hold each of 0 to 2 once"),
        ((3, 2, [8]), {"order": [0.9, 1.9, 2.9]}, "`order` must be a sequence of the integers"),
        ((3, 2, [8]), {"order": "right-to-left"}, "`order` must be a sequence of the integers"),
        ((3, 2, [8]), {"order": 5}, "`order` must be a sequence of the integers"),
    ],
)
def test_refuses_bad_sizes(arguments, options, text):
    with pytest.raises((TypeError, ValueError), match=text + ".*Received"):
        MADE(*arguments, **options)


def test_refuses_events_of_another_size():
    with pytest.raises(ValueError, match=r"`x` must be of shape \[N, 5\].*Received"):
        MADE(5, 2, [8])(np.ones([2, 4], "float32"))
    with pytest.raises(ValueError, match=r"`x` must be of shape \[N, 3\].*Received"):
        MADE(3, 2, [8])(np.ones([2, 3, 3], "float32"))


@pytest.mark.parametrize(
    "options, text",
    [
        ({"tolerance": None}, "`tolerance` must be a number of at least 0"),
        ({"tolerance": -1.0}, "`tolerance` must be a number of at least 0"),
        ({"transformer": gx.transformers.Affine}, "`transformer` must be a gx.transformers"),
        ({"transformer": gx.transformers.Additive()}, "as many as `transformer` needs"),
    ],
)
def test_the_bijector_refuses_what_does_not_fit_the_network(options, text):
    with pytest.raises((TypeError, ValueError), match=text + ".*Received"):
        gx.bijectors.MaskedAutoregressive(MADE(3, 2, [8]), **options)


@dataclasses.dataclass(frozen=True, slots=True)
class _Slotted:
    """An activation without a dictionary of attributes."""

    slope: float = 2.0

    def __call__(self, x):
        return tf.tanh(self.slope * x)


class _Further(_Slotted):
    """One with an attribute that equality does not see."""

    __slots__ = ("shift",)

    def __call__(self, x):
        return tf.tanh(self.slope * x + self.shift)


@pytest.mark.parametrize("shift", [None, 0.0, 3.0])
def test_activations_in_slots_sample_as_they_are_called(shift):
    activation = _Slotted() if shift is None else _Further()
    if shift is not None:
        object.__setattr__(activation, "shift", shift)
    network = gx.networks.MADE(3, 2, [8], activation=activation)
    network.build((None, 3))
    for i, variable in enumerate(network.variables):
        variable.assign(tf.random.stateless_normal(variable.shape, [1, i]))
    flow = tfd.TransformedDistribution(
        tfd.MultivariateNormalDiag(tf.zeros([3])), gx.bijectors.MaskedAutoregressive(network)
    )
    x, log_prob = flow.experimental_sample_and_log_prob(50, seed=[1, 2])
    np.testing.assert_allclose(flow.log_prob(tf.identity(x)), log_prob, rtol=1e-4, atol=1e-4)
