"""Conditional distributions inside those that TFP builds around them."""

from __future__ import annotations

import cpp_loader
import keras
import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions

C = registry.points((6, 3), "float32")


def maf(size=2, recipe=gx.flows.maf, **options):
    flow = recipe([size], num_layers=2, hidden_units=[8], conditional_event_shape=[3], **options)
    # Not far: the exponential of a steep flow amplifies the rounding of another batch size.
    registry.perturb(flow, size=0.1)
    return flow


def rows_of_maf():
    """Two rows of one event, each a draw of the same flow."""
    flow = maf()
    base = tfd.Independent(tfd.Normal(tf.zeros([2, 2]), 1.0), 1)
    return tfd.Independent(tfd.TransformedDistribution(base, flow.bijector), 1)


def both_conditional():
    return tfd.TransformedDistribution(maf(), maf(recipe=gx.flows.real_nvp).bijector)


def made():
    head = gx.distributions.IndependentNormal([])
    distribution = gx.autoregressive.made(
        [2], hidden_units=[8], head=head, conditional_event_shape=[3]
    )
    registry.perturb(distribution)
    return distribution


outer = tfd.TransformedDistribution
CASES = {
    "exp": lambda: outer(maf(), tfb.Exp()),
    "sigmoid": lambda: outer(maf(), tfb.Sigmoid()),
    "simplex": lambda: outer(maf(), tfb.SoftmaxCentered()),
    "chain": lambda: outer(maf(), tfb.Chain([tfb.Shift(1.0), tfb.Softplus()])),
    "compose": lambda: outer(maf(), gx.bijectors.Compose([tfb.Shift(1.0), tfb.Softplus()])),
    "twice": lambda: outer(outer(maf(recipe=gx.flows.nsf), tfb.Exp()), tfb.Scale(2.0)),
    "reshaped": lambda: outer(maf(4), tfb.Reshape([2, 2], [4])),
    "both": both_conditional,
    "independent": lambda: tfd.Independent(maf(), 0),
    "rows": rows_of_maf,
    "sample": lambda: tfd.Sample(maf(), 3),
    "sample_of_exp": lambda: tfd.Sample(outer(maf(), tfb.Exp()), [3, 2]),
    "exp_of_sample": lambda: outer(tfd.Sample(maf(), 3), tfb.Exp()),
    "made": lambda: outer(made(), tfb.Exp()),
    "sample_of_made": lambda: tfd.Sample(made(), 3),
}
each_case = pytest.mark.parametrize("name", CASES)


@each_case
def test_each_row_has_the_density_of_its_own_context(name):
    distribution = CASES[name]()
    assert gx.flows.conditional_event_shape(distribution) == (3,)
    bound = gx.flows.condition(distribution, C)
    assert bound.batch_shape == [6] and bound.event_shape == distribution.event_shape
    x = bound.sample(seed=[1, 2])
    assert x.shape == [6, *distribution.event_shape]
    kwargs = gx.flows.bijector_kwargs(distribution, C)
    found = distribution.log_prob(tf.identity(x), **kwargs)
    by_row = [gx.flows.condition(distribution, C[i]).log_prob(tf.identity(x[i])) for i in range(6)]
    np.testing.assert_allclose(found, by_row, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(bound.log_prob(tf.identity(x)), by_row, rtol=1e-4, atol=1e-4)
    # Rows depend on their contexts.
    other = gx.flows.condition(distribution, C + 1.0).log_prob(tf.identity(x))
    assert np.all(np.abs(other - found) > 1e-6)


def test_the_density_of_a_nested_flow_is_that_of_one_chain():
    flow = maf()
    nested = tfd.TransformedDistribution(flow, tfb.Exp())
    chain = tfd.TransformedDistribution(
        flow.distribution, gx.bijectors.Compose([tfb.Exp(), flow.bijector])
    )
    x = tf.exp(registry.points((6, 2), "float32"))
    found = nested.log_prob(tf.identity(x), **gx.flows.bijector_kwargs(nested, C))
    expected = chain.log_prob(tf.identity(x), **gx.flows.bijector_kwargs(chain, C))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["exp", "rows", "sample_of_exp"])
def test_models_train_save_and_export_them(name, tmp_path):
    distribution = CASES[name]()
    event = distribution.event_shape.as_list()
    x = np.exp(registry.points((6, *event), "float32"))
    model = gx.models.DensityModel(distribution)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    losses = model.fit(C.numpy(), x, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    predicted = model.predict((C.numpy(), x), verbose=0)
    samples = model.sample(4, seed=[1, 2], conditional_input=C)
    assert samples.shape == [4, 6, *event]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict((C.numpy(), x), verbose=0), predicted)
    model.export(tmp_path / "1", verbose=False)
    served = tf.saved_model.load(tmp_path / "1")
    given = {"conditional_input": C}
    answer = served.signatures["log_prob"](x=tf.constant(x), **given)["log_prob"]
    request = ("log_prob", {"x": x, "conditional_input": C.numpy()})
    outside = cpp_loader.serve(tmp_path / "1", {"all": request})["all"]["log_prob"]
    np.testing.assert_allclose(outside, predicted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(answer, predicted, rtol=1e-4, atol=1e-4)
    drawn = served.signatures["sample"](
        num_samples=tf.constant(4), seed=tf.constant([1, 2]), **given
    )
    np.testing.assert_allclose(drawn["samples"], samples, rtol=1e-4, atol=1e-4)
    seeds = tf.constant([[1, 2]] * 6)
    rows = served.signatures["sample_rows"](seed=seeds, **given)["samples"]
    expected = gx.flows.condition(distribution, C[2]).sample(seed=[1, 2])
    np.testing.assert_allclose(rows[2], expected, rtol=1e-4, atol=1e-4)
    if "inverse" in served.signatures:
        z = served.signatures["inverse"](x=tf.constant(x), **given)
        np.testing.assert_allclose(z["log_prob"], predicted, rtol=1e-4, atol=1e-4)
        back = served.signatures["forward"](z=z["z"], **given)
        np.testing.assert_allclose(back["x"], x, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(back["log_prob"], predicted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("wrap", [lambda flow: tfd.Sample(flow, 3), lambda f: outer(f, tfb.Exp())])
def test_norms_of_nested_flows_are_initialised_by_fit(wrap):
    distribution = wrap(maf(act_norm=True))
    event = distribution.event_shape.as_list()
    x = np.exp(3.0 + 0.1 * registry.points((6, *event), "float32"))
    model = gx.models.DensityModel(distribution)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    model.fit(C.numpy(), x, verbose=0)
    assert all(float(norm.initialized) for norm in gx_norms(distribution))


def gx_norms(distribution):
    return [m for m in distribution.submodules if isinstance(m, gx.bijectors.ActNorm)]


def test_what_hands_no_context_on_is_refused_by_name():
    mixture = tfd.Mixture(tfd.Categorical(logits=[0.0, 0.0]), [maf(), maf()])
    with pytest.raises(ValueError, match=r"`distribution` must be one that hands .* Received: "):
        gx.models.DensityModel(mixture)
    with pytest.raises(ValueError, match=r"`conditional_input` must be None.* shape \[6, 3\]"):
        gx.flows.bijector_kwargs(
            outer(gx.flows.maf([2], num_layers=1, hidden_units=[8]), tfb.Exp()), C
        )
    with pytest.raises(ValueError, match=r"`conditional_input` .* \[\.\.\., 3\]\. Received: shape"):
        gx.flows.condition(CASES["exp"](), tf.zeros([6, 2]))
