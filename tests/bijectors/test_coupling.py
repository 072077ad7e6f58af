"""Coupling layers: parity with TFP, masks, and what they refuse."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions

D = 6


def shift_and_log_scale(x0, units, **conditions):
    """A fixed conditioner with TFP's signature."""
    weights = np.linspace(-0.5, 0.5, int(x0.shape[-1]) * units).reshape(-1, units)
    h = tf.tanh(tf.tensordot(x0, tf.constant(weights, x0.dtype), 1))
    for condition in conditions.values():
        h += condition
    return h, 0.5 * h


def gated(x0, units):
    shift, log_scale = shift_and_log_scale(x0, units)
    return tfb.Shift(shift)(tfb.Scale(tf.sigmoid(log_scale)))


PARITY = {
    "num_masked": {"num_masked": 2, "shift_and_log_scale_fn": shift_and_log_scale},
    "all move": {"num_masked": 0, "bijector_fn": lambda x0, units: tfb.Exp()},
    "last masked": {"num_masked": -2, "shift_and_log_scale_fn": shift_and_log_scale},
    "fraction": {"fraction_masked": 0.4, "shift_and_log_scale_fn": shift_and_log_scale},
    "last fraction": {"fraction_masked": -0.4, "shift_and_log_scale_fn": shift_and_log_scale},
    "bijector_fn": {"num_masked": 3, "bijector_fn": gated},
    "shift only": {
        "num_masked": 3,
        "shift_and_log_scale_fn": lambda x0, n: (shift_and_log_scale(x0, n)[0], None),
        "is_constant_jacobian": True,
    },
    "log-scale only": {
        "num_masked": 3,
        "shift_and_log_scale_fn": lambda x0, n: (None, shift_and_log_scale(x0, n)[1]),
    },
    "neither": {"num_masked": 3, "shift_and_log_scale_fn": lambda x0, n: (None, None)},
}


@pytest.mark.parametrize("options", PARITY.values(), ids=PARITY.keys())
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_gives_what_tfp_gives_from_the_same_functions(options, batch):
    theirs, ours = tfb.RealNVP(**options), gx.bijectors.AffineCoupling(**options)
    assert ours.is_constant_jacobian == theirs.is_constant_jacobian
    assert ours.name == theirs.name and ours.forward_min_event_ndims == 1
    x = 0.5 + tf.abs(registry.points((*batch, D), "float64"))
    for method in ("forward", "inverse"):
        log_det = f"{method}_log_det_jacobian"
        a, b = tf.identity(x), tf.identity(x)
        np.testing.assert_allclose(
            getattr(ours, method)(a), getattr(theirs, method)(b), rtol=1e-12, atol=1e-12
        )
        found, expected = getattr(ours, log_det)(a, 1), getattr(theirs, log_det)(b, 1)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert ours._masked_size == theirs._masked_size


def test_takes_the_positional_arguments_of_tfp():
    ours = gx.bijectors.AffineCoupling(2, None, shift_and_log_scale, None, True, False, "named")
    theirs = tfb.RealNVP(2, None, shift_and_log_scale, None, True, False, "named")
    assert ours.name == theirs.name
    assert ours.is_constant_jacobian and not ours.validate_args
    x = registry.points((D,), "float32")
    np.testing.assert_array_equal(ours.forward(x), theirs.forward(tf.identity(x)))


def test_the_default_template_of_tfp_trains():
    """The example of TFP's own docstring, with the class name changed."""
    template = tfb.real_nvp_default_template(hidden_layers=[16, 16])
    with pytest.warns(UserWarning, match="`shift_and_log_scale_fn` must show its variables"):
        coupling = gx.bijectors.AffineCoupling(num_masked=2, shift_and_log_scale_fn=template)
    nvp = tfd.TransformedDistribution(
        distribution=tfd.MultivariateNormalDiag(loc=[0.0, 0.0, 0.0]), bijector=coupling
    )
    x = nvp.sample()
    nvp.log_prob(x)
    with tf.GradientTape() as tape:
        log_prob = nvp.log_prob([0.1, 0.2, 0.3])
    # TFP's template keeps its variables to itself, under `tfb.RealNVP` as well.
    for gradient in tape.gradient(log_prob, template.trainable_variables):
        assert gradient is not None
    assert len(template.trainable_variables) == 6


def test_a_tf_keras_network_is_tracked_and_trained():
    network = tf_keras.Sequential([tf_keras.layers.Dense(8, "tanh"), tf_keras.layers.Dense(6)])
    network.build((None, 3))

    class Conditioner(tf.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def __call__(self, x0, units):
            return tf.split(self.network(x0), [units, units], axis=-1)

    coupling = gx.bijectors.AffineCoupling(3, shift_and_log_scale_fn=Conditioner())
    flow = tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), [D]), coupling)
    assert {id(v) for v in flow.trainable_variables} == {id(v) for v in network.trainable_variables}
    model = gx.models.DensityModel(flow)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    start = [v.numpy() for v in network.trainable_variables]
    model.fit(registry.points((64, D), "float32"), verbose=0)
    for old, variable in zip(start, network.trainable_variables, strict=True):
        assert np.abs(variable.numpy() - old).max() > 0.0


def test_conditions_reach_a_callable():
    ours = gx.bijectors.AffineCoupling(3, shift_and_log_scale_fn=shift_and_log_scale)
    theirs = tfb.RealNVP(3, shift_and_log_scale_fn=shift_and_log_scale)
    x, c = registry.points((4, D), "float32"), tf.constant(0.7)
    np.testing.assert_array_equal(ours.forward(x, c=c), theirs.forward(tf.identity(x), c=c))
    assert ours.takes("c")


def test_a_scattered_mask_is_a_permuted_prefix():
    mask = np.array([True, False, True, False, False, True])
    order = np.r_[np.flatnonzero(mask), np.flatnonzero(~mask)]
    scattered = gx.bijectors.AffineCoupling(mask=mask, shift_and_log_scale_fn=shift_and_log_scale)
    prefix = gx.bijectors.AffineCoupling(3, shift_and_log_scale_fn=shift_and_log_scale)
    x = registry.points((4, D), "float64").numpy()
    expected = prefix.forward(x[:, order]).numpy()[:, np.argsort(order)]
    np.testing.assert_array_equal(scattered.forward(x), expected)
    back = scattered.inverse(expected).numpy()
    np.testing.assert_allclose(back, x, rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3)], ids=["stacked", "tuple"])
def test_a_layer_may_return_one_tensor_or_a_tuple(shape):
    inputs = keras.Input([3])
    h = keras.layers.Dense(6)(inputs)
    if shape == (3, 2):
        network = keras.Model(inputs, keras.layers.Reshape(shape)(h))
        kernel_of = lambda j: slice(j, None, 2)  # noqa: E731
    else:
        network = keras.Model(inputs, [h[:, :3], h[:, 3:]])
        kernel_of = lambda j: slice(3 * j, 3 * j + 3)  # noqa: E731
    coupling = gx.bijectors.AffineCoupling(3, shift_and_log_scale_fn=network)
    x = registry.points((4, D), "float32").numpy()
    kernel = network.layers[1].kernel.numpy()
    shift, raw = (x[:, :3] @ kernel[:, kernel_of(j)] for j in range(2))
    expected = np.c_[x[:, :3], np.exp(2.0 * np.tanh(raw / 2.0)) * x[:, 3:] + shift]
    np.testing.assert_allclose(coupling.forward(x), expected, rtol=1e-5, atol=1e-6)


def test_additive_coupling_takes_a_plain_dense_layer():
    network = keras.layers.Dense(4)
    coupling = gx.bijectors.AdditiveCoupling(2, conditioner=network)
    x = registry.points((3, 5, D), "float32").numpy()
    y = coupling.forward(x).numpy()
    np.testing.assert_allclose(y[..., 2:], x[..., 2:] + x[..., :2] @ network.kernel.numpy(), 1e-5)
    assert not coupling.is_constant_jacobian
    assert len(coupling.trainable_variables) == 2


def test_a_wider_context_widens_the_event_batch():
    coupling = registry.affine("float32", conditional_event_shape=(3,))
    registry.perturb(coupling)
    x = registry.points((registry.D,), "float32")
    c = registry.points((7, 3), "float32")
    y = coupling.forward(x, conditional_input=c)
    rows = [coupling.forward(tf.identity(x), conditional_input=row) for row in c]
    np.testing.assert_allclose(y, np.stack(rows), rtol=1e-5, atol=1e-6)


def test_validate_args_refuses_bijectors_that_change_rank():
    x = tf.ones([4, D])
    for inner, text in (
        (tfb.Reshape(event_shape_out=[2, 2], event_shape_in=[4]), "alter `event_ndims`"),
        (tfb.CholeskyOuterProduct(), "forward_min_event_ndims` > 1"),
    ):
        coupling = gx.bijectors.AffineCoupling(
            2, bijector_fn=lambda x0, n, inner=inner: inner, validate_args=True
        )
        with pytest.raises(ValueError, match=f"{text}.*Received: "):
            coupling.forward(x)


def test_unknown_event_size_is_refused():
    coupling = gx.bijectors.AffineCoupling(2, shift_and_log_scale_fn=shift_and_log_scale)
    run = tf.function(coupling.forward, input_signature=[tf.TensorSpec([None, None])])
    with pytest.raises(NotImplementedError, match="Rightmost dimension must be known.*Received"):
        run(tf.ones([2, D]))


def test_an_event_size_seen_before_serves_where_the_graph_does_not_know_it():
    ours = gx.bijectors.AffineCoupling(2, shift_and_log_scale_fn=shift_and_log_scale)
    x = registry.points((2, D), "float32")
    expected = ours.forward(x)
    run = tf.function(ours.forward, input_signature=[tf.TensorSpec([None, None])])
    np.testing.assert_allclose(run(tf.identity(x)), expected, rtol=1e-6)


def test_an_inner_bijector_without_log_determinant_still_samples():
    inline = tfb.Inline(
        forward_fn=lambda x: x + 1.0, inverse_fn=lambda y: y - 1.0, forward_min_event_ndims=1
    )
    ours = gx.bijectors.AffineCoupling(2, bijector_fn=lambda x0, n: inline)
    x = registry.points((2, D), "float32")
    np.testing.assert_allclose(ours.inverse(tf.identity(ours.forward(x))), x, atol=1e-6)
    with pytest.raises(NotImplementedError):
        ours.forward_log_det_jacobian(tf.identity(x))


def test_a_wider_context_widens_the_event_batch_in_a_graph_of_unknown_sizes():
    coupling = registry.affine("float32", conditional_event_shape=(3,))
    registry.perturb(coupling)
    x, c = registry.points((1, registry.D), "float32"), registry.points((7, 3), "float32")
    run = tf.function(
        lambda x, c: coupling.forward(x, conditional_input=c),
        input_signature=[tf.TensorSpec([None, registry.D]), tf.TensorSpec([None, 3])],
    )
    np.testing.assert_allclose(run(x, c), coupling.forward(x, conditional_input=c), rtol=1e-5)


def test_equal_masks_are_equal_and_hash_alike():
    mask = np.array([True, False, True])
    first, second = (
        gx.bijectors.AffineCoupling(mask=m, shift_and_log_scale_fn=shift_and_log_scale)
        for m in (mask, mask.copy())
    )
    assert first == second and hash(first) == hash(second)
