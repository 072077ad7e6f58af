"""Contexts far from 0, drawn from N(10, 1), as unscaled ones are, in every conditional model."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import registry
import registry_autoregressive
import registry_models
import tensorflow as tf

import tfp_genext as gx

heads = gx.distributions
ROWS = 16
_CONDITIONAL = {"conditional_event_shape": registry.CONTEXT}

# Recipes that the registry has without a context only.
FURTHER = [
    registry.DistributionCase(name, registry._flow(recipe, **options, **_CONDITIONAL), (3,))
    for name, recipe, options in (
        ("nsf_autoregressive", gx.flows.nsf, {"num_bins": 4}),
        ("naf", gx.flows.naf, {"transformer": registry.SIGMOIDAL}),
        ("maf_mog", gx.flows.maf, {"num_components": 2}),
    )
]
FURTHER.append(
    registry.DistributionCase(
        "real_nvp_images",
        registry._image(gx.flows.real_nvp_images, **registry._IMAGES, **_CONDITIONAL),
        (3,),
        event=registry.IMAGE,
    )
)
FLOWS = [case for case in registry.DISTRIBUTIONS if case.context is not None] + FURTHER
AUTOREGRESSIVE = [case for case in registry_autoregressive.CASES if case.context is not None]
MODELS = [case for case in registry_models.MODELS if case.context is not None]
HEADS = {
    "normal": heads.IndependentNormal([2]),
    "logistic": heads.IndependentLogistic([2]),
    "bernoulli": heads.IndependentBernoulli([2]),
    "poisson": heads.IndependentPoisson([2]),
    "categorical": heads.IndependentCategorical([2], 3),
    "one_hot": heads.IndependentOneHotCategorical([2, 3]),
    "relaxed_bernoulli": heads.RelaxedBernoulli([2], temperature=0.7),
    "relaxed_one_hot": heads.RelaxedOneHotCategorical([2, 3], temperature=0.7),
    "triangular": heads.MultivariateNormalTriL(2),
    "mixture": heads.Mixture(2, heads.IndependentNormal([2])),
    "quantized": heads.QuantizedLogistics([2], num_components=2, num_values=4),
}


def _ids(case):
    return case.name


def far(shape, rows=ROWS):
    return 10.0 + registry.points((rows, *shape), "float32", seed=9)


def assert_trains(variables, context, log_prob):
    """Asserts finite densities with finite, non-zero gradients of variables and context."""
    context = tf.identity(context)
    with tf.GradientTape() as tape:
        tape.watch(context)
        found = log_prob(context)
        total = tf.reduce_mean(found)
    gradients = tape.gradient(total, [*variables, context])
    assert np.isfinite(found).all()
    for variable, gradient in zip([*variables, context], gradients, strict=True):
        assert gradient is not None, variable
        values = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(values).all() and values.any(), variable


@pytest.mark.parametrize("case", FLOWS, ids=_ids)
def test_flows(case):
    flow = case.build(registry.D, "float32", activation="relu")
    registry.perturb(flow)
    c = far(case.context)
    x = registry.points((ROWS, *case.event), "float32")

    def log_prob(context):
        kwargs = gx.flows.bijector_kwargs(flow, context)
        return flow.log_prob(tf.identity(x), **kwargs)

    assert_trains(flow.trainable_variables, c, log_prob)
    samples, densities = gx.flows.condition(flow, c).experimental_sample_and_log_prob(seed=[1, 2])
    assert np.isfinite(samples).all() and np.isfinite(densities).all()


@pytest.mark.parametrize("case", AUTOREGRESSIVE, ids=_ids)
def test_autoregressive_distributions(case):
    distribution = case.perturbed(size=0.3)
    c = far(case.context)
    x = case.events(distribution, ROWS)
    assert_trains(
        distribution.trainable_variables,
        c,
        lambda context: distribution.log_prob(x, conditional_input=context),
    )
    assert np.isfinite(distribution.condition(c).sample(seed=[1, 2])).all()


@pytest.mark.parametrize("name", HEADS)
def test_heads(name):
    head = HEADS[name]
    network = gx.networks.MLP([head.params_size], [8])
    network.build((None, 3))
    conditional = gx.distributions.Conditional(network, head)
    registry.perturb(tf_module(conditional))
    c = far((3,))
    x = tf.identity(conditional(c).sample(seed=[1, 2]))
    variables = [v.value for v in conditional.trainable_variables]
    assert_trains(variables, c, lambda context: conditional(context).log_prob(x))


def tf_module(layer):
    module = tf.Module()
    module.held = [variable.value for variable in layer.trainable_variables]
    return module


@pytest.mark.parametrize("case", MODELS, ids=_ids)
def test_models_move_every_variable_and_stay_finite(case):
    keras.utils.set_random_seed(0)
    model = case.compiled()
    _, x = case.data(ROWS)
    c = far(case.context).numpy()
    model.fit(c, x, epochs=1, batch_size=8, verbose=0)
    before = [variable.numpy() for variable in model.trainable_variables]
    losses = model.fit(c, x, epochs=2, batch_size=8, verbose=0).history
    assert all(np.isfinite(values).all() for values in losses.values())
    for old, variable in zip(before, model.trainable_variables, strict=True):
        assert np.isfinite(variable).all() and np.any(variable != old), variable.path
    assert np.isfinite(model.sample(3, seed=[1, 2], conditional_input=c)).all()
