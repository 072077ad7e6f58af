"""PixelRNN: what it sees, its recurrences by NumPy loops, and samples against D passes."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import registry
import tensorflow as tf

import tfp_genext as gx
from tfp_genext.distributions.factorization import Draw
from tfp_genext.networks.lstm import MapLSTM
from tfp_genext.networks.pixel_rnn import skewed, unskewed

ROW, DIAGONAL = gx.networks.RowLSTM, gx.networks.DiagonalBiLSTM
KINDS = pytest.mark.parametrize("kind", [ROW, DIAGONAL], ids=["row", "diagonal"])
RECIPES = pytest.mark.parametrize(
    "recipe",
    [gx.autoregressive.row_lstm, gx.autoregressive.diagonal_bilstm],
    ids=["row", "diagonal"],
)
CONTEXT = {"conditional_event_shape": [3]}


def options(shape, given):
    return {
        "num_layers": 2,
        "filters": 6 * shape[-1],
        "first_kernel_size": 3,
        "dtype": "float64",
        **given,
    }


def built(kind, shape, *, size=0.5, **given):
    """Returns a network whose variables are off their start."""
    network = kind(shape, 2, **options(shape, given))
    network.build((None, *shape))
    registry.perturb(network, size=size)
    return network


def distribution(recipe, shape, *, num_classes=3, **given):
    found = recipe(shape, num_classes=num_classes, **options(shape, given))
    registry.perturb(found, size=0.5)
    return found


def normal(shape, seed=9):
    return tf.random.stateless_normal(shape, [1, seed], dtype=tf.float64)


# What a pixel sees.


def row_lstm_sees(up, right, *, layers, m, first):
    """Returns whether a Row LSTM sees a pixel `up` rows above and `right` columns to the right."""
    if up == 0:
        return -(first + layers * m) <= right <= -1
    return up > 0 and -(first + (up + layers) * m) <= right <= first + (up - 1) * m


def diagonal_sees(up, right):
    return up > 0 or (up == 0 and right < 0)


def expected_mask(shape, sees):
    """Returns which entries (second index) parameters of entries (first index) depend on."""
    entries = list(itertools.product(*map(range, shape)))
    mask = np.zeros([len(entries)] * 2, bool)
    for a, (i, j, channel) in enumerate(entries):
        for b, (row, column, other) in enumerate(entries):
            same = (i, j) == (row, column)
            mask[a, b] = other < channel if same else sees(i - row, column - j)
    return mask


def dependencies(network):
    """Returns the same of the live network: derivatives at a few images, a copy for each entry."""
    size = int(np.prod(network.image_shape))
    x = tf.repeat(normal([8, *network.image_shape]), size, axis=0)
    each = np.tile(np.eye(size), [8, 1])[..., None]
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(tf.reshape(network(x), [-1, size, 2]) * each)
    return np.abs(np.reshape(tape.gradient(y, x), [8, size, size])).max(axis=0) > 0.0


@pytest.mark.parametrize(
    "shape, layers, kernel_size, first_kernel_size",
    [
        ([4, 4, 1], 2, 3, 3),
        ([3, 3, 3], 1, 3, 3),
        ([3, 7, 1], 1, 3, 3),
        ([3, 7, 1], 3, 3, 3),
        ([3, 7, 1], 1, 5, 3),
        ([3, 7, 1], 1, 3, 5),
        ([4, 4, 1], 2, 3, 7),
        ([1, 3, 1], 1, 1, 3),
    ],
)
def test_a_row_lstm_sees_a_triangle(shape, layers, kernel_size, first_kernel_size):
    network = built(
        ROW,
        shape,
        num_layers=layers,
        kernel_size=kernel_size,
        first_kernel_size=first_kernel_size,
    )
    halves = {"m": kernel_size // 2, "first": first_kernel_size // 2}
    mask = expected_mask(shape, lambda up, right: row_lstm_sees(up, right, layers=layers, **halves))
    np.testing.assert_array_equal(dependencies(network), mask)


def test_more_layers_never_show_a_row_lstm_what_stands_to_the_right():
    deep = dependencies(built(ROW, [3, 7, 1], num_layers=5))
    assert not deep[7, 2] and not deep[14, 3] and deep[7, :2].all() and deep[14, :3].all()
    assert dependencies(built(ROW, [3, 7, 1], kernel_size=13, first_kernel_size=13))[7, :7].all()


@pytest.mark.parametrize(
    "shape, layers",
    [
        ([4, 4, 1], 2),
        ([3, 3, 3], 2),
        ([3, 3, 3], 1),
        ([2, 7, 1], 1),
        ([5, 2, 1], 1),
        ([1, 3, 2], 1),
    ],
)
def test_a_diagonal_bilstm_sees_all_pixels_before_a_pixel(shape, layers):
    found = dependencies(built(DIAGONAL, shape, num_layers=layers))
    np.testing.assert_array_equal(found, expected_mask(shape, diagonal_sees))


# The recurrences, one pixel at a time.


def numpy(variable):
    return variable.value.numpy()


def beside(conv, x):
    """A convolution over a pixel and those to its left, `[H, W, A]` to `[H, W, B]`."""
    kernel = numpy(conv.kernel).copy()
    inputs, outputs = (np.arange(n) // (n // conv.groups) for n in kernel.shape[1:])
    allowed = inputs[:, None] < outputs if conv.strict else inputs[:, None] <= outputs
    kernel[-1] *= allowed
    y = np.zeros([*x.shape[:2], kernel.shape[-1]]) + (numpy(conv.bias) if conv.use_bias else 0.0)
    for i, j, d in np.ndindex(*x.shape[:2], conv.reach + 1):
        if j - d >= 0:
            y[i, j] += x[i, j - d] @ kernel[conv.reach - d]
    return y


def above(conv, x):
    """A convolution over the rows above, without a bias."""
    kernel, reach = numpy(conv.kernel), conv.reach
    y = np.zeros([*x.shape[:2], kernel.shape[-1]])
    for i, j, up, right in np.ndindex(*x.shape[:2], reach, 2 * reach + 1):
        row, column = i - up - 1, j + right - reach
        if row >= 0 and 0 <= column < x.shape[1]:
            y[i, j] += x[row, column] @ kernel[reach - 1 - up, right]
    return y


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def lstm_step(z, c, groups):
    """The paper's equation (3) for a pixel: unit by unit, gates o, f, i, g of its group."""
    size = c.size // groups
    h, after = np.zeros(c.size), np.zeros(c.size)
    for unit in range(c.size):
        group, place = divmod(unit, size)
        o, f, i, g = (z[group * 4 * size + gate * size + place] for gate in range(4))
        after[unit] = sigmoid(f) * c[unit] + sigmoid(i) * np.tanh(g)
        h[unit] = sigmoid(o) * np.tanh(after[unit])
    return h, after


def by_rows(lstm, z):
    """States from row to row; those of three or more pixels of the row above are seen."""
    kernel = numpy(lstm.kernel)
    reach, (height, width) = len(kernel) // 2, z.shape[:2]
    h, c = np.zeros([2, height, width, lstm.filters])
    for i, j in np.ndindex(height, width):
        own = z[i, j].copy()
        for d in range(-reach, reach + 1):
            if i > 0 and 0 <= j + d < width:
                own += h[i - 1, j + d] @ kernel[reach + d]
        h[i, j], c[i, j] = lstm_step(own, c[i - 1, j] if i else 0.0 * c[i, j], lstm.groups)
    return h


def by_pixels(lstm, z):
    """States from left to right, which see the pixels to the left and above."""
    kernel = numpy(lstm.kernel)
    h, c = np.zeros([2, z.shape[0] + 1, z.shape[1] + 1, lstm.filters])
    for i, j in np.ndindex(*z.shape[:2]):
        own = z[i, j] + h[i + 1, j] @ kernel[0] + h[i, j + 1] @ kernel[1]
        h[i + 1, j + 1], c[i + 1, j + 1] = lstm_step(own, c[i + 1, j], lstm.groups)
    return h[1:, 1:]


def row_layer(network, i, h, x, context):
    del x
    z = beside(network.inputs[i], h) + context @ numpy(network.contexts[i][0].kernel)
    return by_rows(network.lstms[i], z)


def diagonal_layer(network, i, h, x, context):
    z = beside(network.inputs[i], h) + context @ numpy(network.contexts[i][0].kernel)
    seen = np.concatenate([h, x], axis=-1) if i == 0 else h
    back = beside(network.back_inputs[i], seen)
    back += context @ numpy(network.back_contexts[i][0].kernel)
    states = by_pixels(network.lstms[i], z)
    states[1:] += by_pixels(network.back_lstms[i], back[:, ::-1])[:-1, ::-1]
    return states


def by_loops(network, x, context):
    """The whole network for one image."""
    layer = row_layer if isinstance(network, ROW) else diagonal_layer
    h = above(network.first_above, x) + beside(network.first_beside, x)
    for i in range(network.num_layers):
        h = h + beside(network.wide[i], layer(network, i, h, x, context))
    for conv in network.last:
        h = beside(conv, np.maximum(h, 0.0))
    return h.reshape([*x.shape, network.params_size])


@KINDS
@pytest.mark.parametrize("shape", [[3, 4, 1], [4, 3, 2]])
def test_the_network_equals_loops_over_pixels(kind, shape):
    network = built(kind, shape, **CONTEXT)
    x, context = normal([3, *shape]), normal([3, 3], 4)
    found = network(x, conditional_input=context)
    expected = [by_loops(network, *one) for one in zip(x.numpy(), context.numpy())]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_a_wider_kernel_over_rows_equals_loops_too():
    network = built(ROW, [3, 4, 1], kernel_size=5, **CONTEXT)
    x, context = normal([1, 3, 4, 1]), normal([1, 3], 4)
    found = network(x, conditional_input=context)
    np.testing.assert_allclose(found[0], by_loops(network, x[0].numpy(), context[0].numpy()))


@pytest.mark.parametrize("height, width", [(3, 5), (5, 3), (1, 4), (4, 1)])
def test_skewed_maps_hold_the_diagonals(height, width):
    x = normal([2, height, width, 3])
    found = skewed(x).numpy()
    expected = np.zeros([height + width - 1, 2, height, 3])
    for i, j in np.ndindex(height, width):
        expected[i + j, :, i] = x[:, i, j]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(unskewed(tf.constant(found)), x)


@pytest.mark.parametrize(
    "shifts, groups", [((1, 0, -1), 1), ((0, 1), 2), ((0,), 1), ((4, 2, -4), 1)]
)
@pytest.mark.parametrize("number", [1, 4])
def test_derivatives_of_the_lstm_are_those_of_differences(shifts, groups, number):
    lstm = MapLSTM(2, shifts, groups=groups, dtype="float64")
    lstm.build((number, 1, 3, 8))
    kernel = normal(lstm.kernel.shape, 3)

    @tf.function
    def run(x, kernel):
        with keras.StatelessScope([(lstm.kernel, kernel)]):
            return lstm.call(x)

    analytic, numeric = tf.test.compute_gradient(
        run, [normal([number, 1, 3, 8]), kernel], delta=1e-6
    )
    for a, n in zip(analytic, numeric):
        np.testing.assert_allclose(a, n, atol=1e-8)
    assert np.abs(analytic[0]).max() > 0.01
    assert number == 1 or np.abs(analytic[1]).max() > 0.01


def test_the_lstm_says_that_it_has_no_second_derivative():
    network = built(ROW, [2, 2, 1])
    x = normal([1, 2, 2, 1])
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = tf.reduce_sum(network(x) ** 2)
        first = inner.gradient(y, x)
    with pytest.raises(LookupError, match="no second derivative"):
        outer.gradient(first, x)


# The distribution.


@RECIPES
def test_probabilities_of_all_images_sum_to_one(recipe):
    images = np.reshape(list(itertools.product(range(3), repeat=6)), [-1, 2, 3, 1])
    probabilities = np.exp(distribution(recipe, [2, 3, 1]).log_prob(images))
    assert probabilities.max() > 5 * probabilities.mean()
    np.testing.assert_allclose(probabilities.sum(), 1.0, atol=1e-12)


@RECIPES
@pytest.mark.parametrize("observed", [0, 7])
@pytest.mark.parametrize("shape", [[3, 3, 1], [2, 2, 3]])
def test_samples_equal_d_passes_under_the_same_noise(recipe, shape, observed):
    model = distribution(recipe, shape, **CONTEXT).condition(normal([6, 3], 4))
    u = model.noise([], [1, 2]).u
    z = tf.where(model.order_of_entries() < observed, tf.floor(3.0 * u), u)
    draw = Draw(model.head)
    parts, given = model._factorization, model.conditional_input
    x, params = parts.solve(draw, z, given, observed)
    expected = tf.function(lambda z: parts._solve_by_passes(draw, z, given, observed))(z)
    np.testing.assert_array_equal(x, expected[0])
    np.testing.assert_allclose(params, expected[1], rtol=1e-9, atol=1e-9)
    assert len(np.unique(x)) == 3


@RECIPES
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_graphs_of_an_unknown_batch_size_and_xla_equal_eager_calls(recipe, jit_compile):
    model = distribution(recipe, [2, 3, 1], num_layers=1)
    signature = [tf.TensorSpec([5 if jit_compile else None, 2, 3, 1], tf.float64)]

    def log_prob_and_gradients(x):
        with tf.GradientTape() as tape:
            found = model.log_prob(x)
        return found, tape.gradient(found, model.trainable_variables)

    x = tf.cast(model.sample(5, seed=[1, 2]), tf.float64)
    graph = tf.function(log_prob_and_gradients, input_signature=signature, jit_compile=jit_compile)
    for found, expected in zip(
        tf.nest.flatten(graph(x)), tf.nest.flatten(log_prob_and_gradients(x))
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    noise = model.noise(5, [1, 2])
    of_noise = tf.function(model.from_noise, jit_compile=jit_compile)
    np.testing.assert_array_equal(of_noise(noise), x)


@RECIPES
def test_a_context_counts_and_is_broadcast(recipe):
    model = distribution(recipe, [3, 3, 1], **CONTEXT)
    contexts = normal([2, 3], 4)
    bound = model.condition(contexts)
    x = bound.sample(5, seed=[1, 2])
    assert x.shape == [5, 2, 3, 3, 1]
    found = bound.log_prob(x[:, :1])
    assert np.abs(found[:, 0] - found[:, 1]).min() > 1e-4
    for i in range(2):
        alone = model.condition(contexts[i]).log_prob(x[:, 0])
        np.testing.assert_allclose(found[:, i], alone, rtol=1e-12)


@KINDS
def test_a_network_comes_back_from_its_config(kind):
    given = {"kernel_size": 5} if kind is ROW else {}
    network = built(kind, [3, 4, 2], input_range=(0.0, 2.0), **given, **CONTEXT)
    config = keras.saving.serialize_keras_object(network)
    assert config["registered_name"] == f"tfp_genext>{kind.__name__}"
    copy = keras.saving.deserialize_keras_object(config)
    copy.build((None, 3, 4, 2))
    copy.set_weights(network.get_weights())
    x, context = normal([2, 3, 4, 2]), normal([2, 3], 4)
    np.testing.assert_array_equal(copy(x, context), network(x, context))
    assert copy.get_config() == network.get_config()


@KINDS
@pytest.mark.parametrize("channels", [1, 2])
def test_gradients_reach_every_variable(kind, channels):
    network = built(kind, [3, 3, channels], **CONTEXT)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(normal([4, 3, 3, channels]), normal([4, 3], 4)) ** 2)
    gradients = tape.gradient(loss, [v.value for v in network.trainable_variables])
    for variable, gradient in zip(network.trainable_variables, gradients):
        assert gradient is not None and np.abs(gradient).max() > 0.0, variable.path


@KINDS
def test_a_new_network_gives_zeros(kind):
    network = kind([3, 3, 1], 2, **options([3, 3, 1], {}))
    np.testing.assert_array_equal(network(normal([2, 3, 3, 1])), np.zeros([2, 3, 3, 1, 2]))


@KINDS
@pytest.mark.parametrize(
    "name, value, error",
    [
        ("num_layers", 0, ValueError),
        ("filters", 4, ValueError),
        ("first_kernel_size", 4, ValueError),
        ("num_layers", 1.5, TypeError),
    ],
)
def test_sizes_out_of_range_are_refused(kind, name, value, error):
    given = {"num_layers": 2, "filters": 6, "first_kernel_size": 3, name: value}
    with pytest.raises(error, match=rf"`{name}` must be .* Received: {name}={value}"):
        kind([3, 3, 3], 2, **given)


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match=r"`kernel_size` must be odd. Received: kernel_size=2"):
        ROW([3, 3, 3], 2, num_layers=2, filters=6, kernel_size=2)


@KINDS
def test_images_of_another_shape_are_refused(kind):
    with pytest.raises(ValueError, match=r"`x` must be of shape \[N, 3, 4, 1\]"):
        built(kind, [3, 4, 1])(normal([2, 4, 3, 1]))
