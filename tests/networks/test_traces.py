"""Which traces of samplers are kept, shared and freed, and that none is used when it is stale."""

from __future__ import annotations

import copy
import dataclasses
import functools
import gc
import pickle
import threading
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx
from tfp_genext.networks import solve

tfb, tfd = tfp.bijectors, tfp.distributions
SLOPE = 1.0


def reads_a_global(x):
    return tf.tanh(SLOPE * x)


class Scaled:
    def __init__(self, slope):
        self.slope = slope

    def __call__(self, x):
        return tf.tanh(self.slope * x)

    def method(self, x):
        return tf.tanh(self.slope * x)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    slope: float = 2.0

    def __call__(self, x):
        return tf.tanh(self.slope * x)


@dataclasses.dataclass(frozen=True)
class Equal(gx.transformers.Transformer):
    """Compares equal to all others of its class, and differs."""

    factor: float = dataclasses.field(compare=False)
    params_size = 2

    def bijector(self, params):
        shift, raw = params
        return tfb.Shift(shift)(tfb.Scale(self.factor * (1.5 + tf.tanh(raw))))


class Doubled(gx.transformers.Affine):
    """A subclass that computes something else and compares equal to others of it."""

    factor = 2.0

    def bijector(self, params):
        return tfb.Scale(tf.constant(self.factor, params[0].dtype))(super().bijector(params))


@dataclasses.dataclass
class Mutable:
    factor: float
    heavy: bool = False
    params_size: int = 2

    def bijector(self, params):
        return Equal(self.factor).bijector(params)


def made(size=3, seed=1, **options):
    network = gx.networks.MADE(size, 2, hidden_units=[8], **options)
    network.build((None, size))
    rng = np.random.default_rng(seed)
    for variable in network.variables:
        variable.assign(rng.normal(size=variable.shape))
    return network


def flow(network, transformer=None):
    bijector = gx.bijectors.MaskedAutoregressive(network, transformer=transformer)
    (size,) = network.event_shape
    return tfd.TransformedDistribution(tfd.MultivariateNormalDiag(tf.zeros([size])), bijector)


def gap(distribution):
    """Largest difference of the density of samples and the one that comes with them."""
    x, log_prob = distribution.experimental_sample_and_log_prob(20, seed=[1, 2])
    return np.abs(distribution.log_prob(tf.identity(x)) - log_prob).max()


def alive():
    gc.collect()
    return solve.traced.cache_info().currsize


@pytest.mark.parametrize("is_new", [True, False])
def test_samples_follow_a_global(is_new, monkeypatch):
    one = flow(made(activation=reads_a_global))
    assert gap(one) < 1e-4
    before = one.sample(5, seed=[1, 2])
    monkeypatch.setitem(globals(), "SLOPE", 3.0)
    other = flow(made(activation=reads_a_global)) if is_new else one
    assert gap(other) < 1e-4
    assert np.abs(other.sample(5, seed=[1, 2]) - before).max() > 1e-3


def _closure():
    slope = tf.Variable(1.0)
    return (lambda x: tf.tanh(slope * x)), lambda: slope.assign(3.0)


def _cell():
    slope = [1.0]
    return (lambda x: tf.tanh(slope[0] * x)), lambda: slope.__setitem__(0, 3.0)


def _object():
    scaled = Scaled(1.0)
    return scaled, lambda: setattr(scaled, "slope", 3.0)


def _method():
    scaled = Scaled(1.0)
    return scaled.method, lambda: setattr(scaled, "slope", 3.0)


def _partial():
    scaled = Scaled(1.0)
    return functools.partial(Scaled.method, scaled), lambda: setattr(scaled, "slope", 3.0)


@pytest.mark.parametrize("make", [_closure, _cell, _object, _method, _partial])
def test_samples_follow_the_state_of_an_activation(make):
    activation, change = make()
    one = flow(made(activation=activation))
    assert gap(one) < 1e-4
    before = one.sample(5, seed=[1, 2])
    change()
    assert gap(one) < 1e-4
    assert np.abs(one.sample(5, seed=[1, 2]) - before).max() > 1e-3


@pytest.mark.parametrize(
    "activation", [Slotted(), lambda x: tf.where(x > 0, x, 0.5 * x), lambda x: tf.nn.silu(2.0 * x)]
)
def test_activations_of_any_kind_sample(activation):
    assert gap(flow(made(activation=activation))) < 1e-4


def test_a_function_that_cannot_be_traced_is_run_eagerly():
    network = made(activation=lambda x: tf.constant(np.tanh(x.numpy())))
    assert gap(flow(network)) < 1e-4
    assert len(network._traces) == 0


def test_transformers_that_compare_equal_share_no_trace():
    network = made()
    first, second = (flow(network, Equal(factor)) for factor in (1.0, 3.0))
    assert Equal(1.0) == Equal(3.0)
    x, y = (one.sample(20, seed=[1, 2]) for one in (first, second))
    assert np.abs(x - y).max() > 1e-2
    assert gap(first) < 1e-4 and gap(second) < 1e-4


def test_a_subclass_of_a_transformer_shares_no_trace_with_it(monkeypatch):
    network = made()
    plain, doubled = flow(network, gx.transformers.Affine()), flow(network, Doubled())
    assert np.abs(plain.sample(5, seed=[1, 2]) - doubled.sample(5, seed=[1, 2])).max() > 1e-2
    assert gap(plain) < 1e-4 and gap(doubled) < 1e-4
    monkeypatch.setattr(Doubled, "factor", 4.0)
    assert gap(doubled) < 1e-4


@pytest.mark.parametrize("heavy", [True, False])
def test_samples_follow_a_transformer_that_changes(heavy):
    transformer = Mutable(1.0, heavy)
    one = flow(made(), transformer)
    assert gap(one) < 1e-4
    transformer.factor = 3.0
    assert gap(one) < 1e-4


def test_layers_of_a_flow_share_a_trace_that_dies_with_the_last():
    before = alive()
    layers = [made(seed=seed, size=7) for seed in range(3)]
    for layer in layers:
        assert gap(flow(layer)) < 1e-4
    assert solve.traced.cache_info().currsize == before + 1
    del layers[:2]
    assert alive() == before + 1
    del layer
    layers.clear()
    assert alive() == before


def test_a_layer_keeps_a_limited_number_of_traces():
    network = made()
    for key in range(70):
        network._traces.keep(key, object())
    flow(network).sample(1, seed=[1, 2])
    assert len(network._traces) == 64


def test_a_layer_of_two_flows_serves_both():
    network = made()
    one, other = flow(network), flow(network)
    np.testing.assert_array_equal(one.sample(5, seed=[1, 2]), other.sample(5, seed=[1, 2]))
    del one
    gc.collect()
    assert gap(other) < 1e-4


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_have_no_traces_and_sample_alike(copied):
    network = made()
    expected = flow(network).sample(5, seed=[1, 2])
    assert len(network._traces) == 1
    other = copied(network)
    assert len(other._traces) == 0
    np.testing.assert_array_equal(flow(other).sample(5, seed=[1, 2]), expected)
    assert not [name for name in network.get_config() if "trace" in name]


def test_threads_sample_alike():
    network = made(size=5)
    found = [None] * 4

    def draw(i):
        found[i] = flow(network).sample(5, seed=[1, 2]).numpy()

    threads = [threading.Thread(target=draw, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_samples_survive_a_cleared_session():
    network = made()
    before = flow(network).sample(5, seed=[1, 2])
    keras.backend.clear_session()
    np.testing.assert_array_equal(flow(network).sample(5, seed=[1, 2]), before)


def test_an_outer_graph_dies_before_the_layer():
    network = made()
    distribution = flow(network)
    sampled = tf.function(lambda: distribution.sample(5, seed=[1, 2]), autograph=False)
    graph = weakref.ref(sampled.get_concrete_function().graph)
    del sampled
    gc.collect()
    assert graph() is None
    assert len(network._traces) == 1


def _graphs():
    gc.collect()
    return sum(type(o).__name__ == "FuncGraph" for o in gc.get_objects())


@pytest.mark.parametrize("method", ["sample", "log_prob"])
def test_traced_functions_of_a_flow_are_freed(method):
    # One layer: TensorFlow never frees the graph of a custom gradient, which `Permute` has.
    distribution = gx.flows.maf([3], num_layers=1, hidden_units=[4])

    def call():
        if method == "sample":
            return distribution.sample(2, seed=[1, 2])
        return distribution.log_prob(tf.ones([2, 3]))

    counts = []
    for _ in range(3):
        tf.function(call, autograph=False)()
        counts.append(_graphs())
    assert counts[-1] == counts[0]


def test_a_pixel_network_dies_with_its_traces():
    distribution = gx.autoregressive.pixel_cnn([3, 3, 1], num_layers=1, filters=2)
    first = distribution.sample(2, seed=[1, 2])
    np.testing.assert_array_equal(distribution.sample(2, seed=[1, 2]), first)
    network = distribution.network
    assert len(network._traces) == 1
    held = weakref.ref(network)
    del distribution, network
    gc.collect()
    assert held() is None
