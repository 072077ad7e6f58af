"""Compose delivers keyword arguments, and raises where nobody takes them."""

from __future__ import annotations

import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.bijectors import chain, composition, invert

import tfp_genext as gx

tfb = tfp.bijectors
Compose = gx.bijectors.Compose

C = {"conditional_event_shape": (3,)}


def conditional(num_masked=2):
    bijector = registry.affine("float32", num_masked=num_masked, **C)
    registry.perturb(bijector)
    return bijector


@pytest.fixture
def x():
    return registry.points((4, registry.D), "float32")


@pytest.fixture
def c():
    return registry.points((4, 3), "float32", seed=6)


def test_tfp_keeps_the_private_names_we_lean_on():
    assert issubclass(chain.Chain, chain._Chain)
    assert issubclass(chain._Chain, composition.Composition)
    assert isinstance(tfb.Chain([registry.affine("float32")]), chain._Chain)
    assert isinstance(tfb.Invert(registry.affine("float32")), invert._Invert)
    assert {"_walk_forward", "_walk_inverse"} <= set(vars(chain._Chain))


def test_is_the_chain_of_tfp_without_conditions(x):
    members = [registry.affine("float32"), tfb.Permute([4, 2, 0, 1, 3]), tfb.Tanh()]
    registry.perturb(members[0])
    ours, theirs = Compose(members), tfb.Chain(members)
    np.testing.assert_array_equal(ours.forward(x), theirs.forward(tf.identity(x)))
    y = tf.tanh(x)
    np.testing.assert_array_equal(
        ours.inverse_log_det_jacobian(y, 1), theirs.inverse_log_det_jacobian(tf.identity(y), 1)
    )
    assert isinstance(ours, chain._Chain) and ours.name == "compose"


def test_the_last_member_is_the_first_to_act():
    composed = Compose([tfb.Exp(), tfb.Scale(2.0)])
    np.testing.assert_allclose(composed.forward(1.0), np.exp(2.0), rtol=1e-6)


def test_delivers_through_any_nesting(x, c):
    first, second, third = conditional(), conditional(-2), conditional(3)
    plain = registry.act_norm("float32")
    nested = Compose(
        [first, Compose([plain, second]), tfb.Invert(tfb.Chain([third, tfb.Shift(1.0)]))]
    )
    expected = tf.identity(x) - 1.0
    expected = third.inverse(tf.identity(x), conditional_input=c) - 1.0
    expected = second.forward(expected, conditional_input=c)
    expected = first.forward(plain.forward(expected), conditional_input=c)
    np.testing.assert_allclose(nested.forward(x, conditional_input=c), expected, rtol=1e-5)
    back = nested.inverse(tf.identity(expected), conditional_input=c)
    np.testing.assert_allclose(back, x, atol=1e-5)
    assert nested.forward_log_det_jacobian(x, conditional_input=c).shape == [4]


def test_takes_the_filing_of_tfp_too(x, c):
    bijector = conditional()
    composed = Compose([bijector, tfb.Shift(1.0)])
    filed = composed.forward(x, **{bijector.name: {"conditional_input": c}})
    named = composed.forward(tf.identity(x), conditional_input=c)
    np.testing.assert_array_equal(filed, named)


def test_delivers_to_bijectors_of_tfp(x, c):
    network = tfb.AutoregressiveNetwork(
        params=2, hidden_units=[8], conditional=True, conditional_event_shape=[3], event_shape=[5]
    )
    theirs = tfb.MaskedAutoregressiveFlow(network)
    composed = Compose([conditional(), theirs])
    z = composed.inverse(x, conditional_input=c)
    other = composed.inverse(tf.identity(x), conditional_input=c + 1.0)
    assert z.shape == x.shape and np.abs(z - other).max() > 1e-3


def test_raises_where_nobody_takes_it(x, c):
    composed = Compose([registry.affine("float32"), tfb.Shift(1.0)], name="both")
    text = (
        r"`conditional_input` must be taken by a member of `both`.*Received: members \['real_nvp'"
    )
    for call in (
        composed.forward,
        composed.inverse,
        composed.forward_log_det_jacobian,
        composed.inverse_log_det_jacobian,
    ):
        with pytest.raises(ValueError, match=text):
            call(x, conditional_input=c)
    with pytest.raises(ValueError, match="`absent` must be taken by a member"):
        composed.forward(x, absent={"conditional_input": c})


def test_names_in_a_chain_of_tfp_must_tell_members_apart(x, c):
    twins = tfb.Chain([conditional(), registry.affine("float32")])
    with pytest.raises(ValueError, match="names of their own.*Received: two members named"):
        Compose([twins]).forward(x, conditional_input=c)


@pytest.mark.parametrize("members", [None, tfb.Exp(), [tf.exp], "abc"])
def test_refuses_what_is_no_sequence_of_bijectors(members):
    with pytest.raises(TypeError, match="`bijectors` must be a sequence of tfb.Bijector. Received"):
        Compose(members)


def test_copies_and_equality_follow_the_members(x):
    members = [registry.affine("float32"), tfb.Shift(1.0)]
    composed = Compose(members)
    assert composed == Compose(members) and composed != Compose(members[::-1])
    copied = composed.copy(name="other")
    assert type(copied) is Compose and copied.name == "other"
    assert {id(v) for v in copied.variables} == {id(v) for v in composed.variables}
