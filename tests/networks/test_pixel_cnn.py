"""PixelCNN, gated and plain: what each pixel sees, and pixels in the making."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import registry
import tensorflow as tf

import tfp_genext as gx

KINDS = {"gated": gx.networks.PixelCNN, "plain": gx.networks.PlainPixelCNN}
each_kind = pytest.mark.parametrize("kind", KINDS)


def built(kind, image_shape, *, size=0.5, **options):
    defaults = {"num_layers": 3, "filters": 12, "first_kernel_size": 3, "dtype": "float64"}
    network = KINDS[kind](image_shape, 2, **{**defaults, **options})
    network.build((None, *image_shape))
    for i, variable in enumerate(network.trainable_variables):
        noise = tf.random.stateless_normal(variable.shape, [3, i], dtype=variable.dtype)
        variable.assign_add(size * noise)
    return network


def seen(network):
    """Which entries each entry's parameters depend on, by the live network's gradients."""
    size = int(np.prod(network.event_shape))
    x = tf.random.stateless_normal([4, *network.event_shape], [1, 2], dtype="float64")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        # Its square: two parameters of an entry must not cancel.
        y = tf.reshape(tf.reduce_sum(network(x) ** 2, axis=-1), [4, size])
    jacobian = tape.batch_jacobian(y, x, experimental_use_pfor=False)
    return np.abs(np.reshape(jacobian, [4, size, size])).max(axis=0) > 0.0


def earlier(size):
    return np.tril(np.ones([size, size], bool), -1)


def plain_sight(side, layers):
    """What one stack of 3 x 3 convolutions sees: steps to the left, or up by one and aside by one.

    The first convolution takes a step and each later one takes one or none.
    """
    pixels = [(i, j) for i in range(side) for j in range(side)]
    steps = [(0, -1), (-1, -1), (-1, 0), (-1, 1)]

    def after(places, moves):
        return {(i + di, j + dj) for i, j in places for di, dj in moves} & set(pixels)

    sight = np.zeros([len(pixels)] * 2, bool)
    for k, pixel in enumerate(pixels):
        found = {pixel}
        for _ in range(layers - 1):
            found = after(found, [(0, 0), *steps])
        for place in after(found, steps):
            sight[k, pixels.index(place)] = True
    return sight


@pytest.mark.parametrize("channels", [1, 3])
def test_the_gated_form_sees_all_that_comes_before_and_nothing_else(channels):
    network = built("gated", (4, 4, channels), num_layers=4, filters=8 * channels)
    size = 16 * channels
    np.testing.assert_array_equal(seen(network), earlier(size))


def test_the_plain_form_has_a_blind_spot_and_no_other():
    network = built("plain", (5, 5, 1), num_layers=6)
    found = seen(network)
    np.testing.assert_array_equal(found, plain_sight(5, 6))
    # The pixel below the right end of the first row does not see that end.
    assert not found[6, 4] and found[6, 2]
    assert (earlier(25) & ~found).sum() > 10


def test_colours_of_a_pixel_come_one_after_the_other_in_the_plain_form_too():
    found = seen(built("plain", (2, 2, 3)))
    np.testing.assert_array_equal(found, earlier(12))


def test_a_shallow_network_sees_as_far_as_its_kernels_reach():
    network = built("gated", (1, 6, 1), num_layers=1, first_kernel_size=3)
    expected = np.eye(6, k=-1, dtype=bool)
    np.testing.assert_array_equal(seen(network), expected)
    network = built("gated", (1, 6, 1), num_layers=2, first_kernel_size=3)
    np.testing.assert_array_equal(seen(network), expected | np.eye(6, k=-2, dtype=bool))


@each_kind
def test_the_last_layer_starts_at_zero(kind):
    network = KINDS[kind]((3, 3, 1), 2, num_layers=2, filters=4)
    assert np.abs(network(tf.ones([2, 3, 3, 1]))).max() == 0.0


@each_kind
def test_every_variable_gets_a_gradient(kind):
    network = built(kind, (4, 4, 1), conditional_event_shape=[2], size=0.2)
    x = registry.points((8, 4, 4, 1), "float64")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(x, conditional_input=tf.ones([8, 2], tf.float64)) ** 2)
    variables = [v.value for v in network.trainable_variables]
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert gradient is not None and np.abs(gradient).max() > 0.0, variable.name


@each_kind
def test_gradients_pass_through_images_in_the_making(kind):
    network = built(kind, (2, 3, 1), size=0.3)
    z = registry.points((2, 2, 3, 1), "float64")

    def shifted(params, z):
        return z + 0.3 * tf.tanh(params[:, 0])

    def last(z):
        return tf.reduce_sum(network.solve(shifted, z)[0][:, -1, -1])

    with tf.GradientTape() as tape:
        tape.watch(z)
        value = last(z)
    found = tape.gradient(value, z).numpy()
    step = np.zeros(z.shape)
    step[0, 0, 1, 0] = 1e-6
    numeric = (last(z + step) - last(z - step)) / 2e-6
    assert found[0, 0, 1, 0] == pytest.approx(float(numeric), rel=1e-5, abs=1e-9)
    assert np.abs(found).min(initial=1.0, where=earlier(6)[-1].reshape([2, 3, 1])) > 0.0


@each_kind
def test_comes_back_from_its_config(kind):
    network = built(kind, (3, 3, 1), conditional_event_shape=[2], input_range=(0.0, 2.0))
    config = keras.saving.serialize_keras_object(network)
    other = keras.saving.deserialize_keras_object(config)
    other.build((None, 3, 3, 1))
    other.set_weights(network.get_weights())
    x, c = registry.points((2, 3, 3, 1), "float64"), registry.points((2, 2), "float64")
    np.testing.assert_array_equal(network(x, conditional_input=c), other(x, conditional_input=c))


@each_kind
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"filters": 4, "image_shape": (3, 3, 3)}, "`filters` must be a multiple of 3"),
        ({"kernel_size": 2}, "`kernel_size` must be odd"),
        ({"first_kernel_size": 4}, "`first_kernel_size` must be odd"),
        ({"first_kernel_size": 1}, "`first_kernel_size` must be an integer of at least 3"),
        ({"kernel_size": 1}, "`kernel_size` must be an integer of at least 3"),
        ({"image_shape": (3, 3)}, r"`image_shape` must be a shape \[H, W, C\]"),
        ({"num_layers": 0}, "`num_layers` must be"),
        ({"input_range": (1.0, 1.0)}, "`input_range` must be a pair"),
    ],
)
def test_wrong_arguments_are_named(kind, options, text):
    given = {"image_shape": (3, 3, 1), "num_layers": 1, "filters": 3, **options}
    image_shape = given.pop("image_shape")
    with pytest.raises(ValueError, match=text + ".*Received"):
        KINDS[kind](image_shape, 2, **given)


@each_kind
def test_another_shape_is_refused(kind):
    network = built(kind, (3, 3, 1))
    for wrong in ((2, 3, 4, 1), (2, 9)):
        with pytest.raises(ValueError, match=r"`x` must be of shape \[N, 3, 3, 1\].*Received"):
            network(tf.zeros(wrong))
