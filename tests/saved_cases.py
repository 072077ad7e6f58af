"""Distributions that whole models are saved with: the registry, and ways of sharing and nesting."""

from __future__ import annotations

import io
import json
import zipfile

import h5py
import keras
import numpy as np
import registry
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions
D = registry.D


def normal(size=D):
    return tfd.MultivariateNormalDiag(tf.zeros([size]))


def shared_network():
    network = registry.mlp(2, (3, 2), "float32")
    steps = [
        gx.bijectors.AffineCoupling(2, shift_and_log_scale_fn=network),
        gx.bijectors.Permute([4, 3, 2, 1, 0]),
        gx.bijectors.AffineCoupling(2, shift_and_log_scale_fn=network),
    ]
    return tfd.TransformedDistribution(normal(), tfb.Chain(steps))


def shared_variable():
    variable = tf.Variable(tf.ones([D]), name="both")
    return tfd.TransformedDistribution(
        tfd.Independent(tfd.Normal(variable, 1.0), 1), tfb.Invert(tfb.Shift(variable))
    )


def shared_bijector():
    scale = tfb.Scale(tf.Variable(2.0))
    return tfd.TransformedDistribution(normal(), tfb.Chain([scale, tfb.Shift(1.0), scale]))


def transformed_variables():
    scale = tfp.util.TransformedVariable(tf.fill([D], 0.7), tfb.Softplus(), name="scale")
    rate = tfp.util.DeferredTensor(tf.Variable(tf.zeros([D])), tfb.Exp())
    return tfd.BatchReshape(
        tfd.Independent(tfd.Normal(rate, scale), reinterpreted_batch_ndims=1), []
    )


def sample():
    return tfd.Sample(tfd.StudentT(tf.Variable(3.0), 0.0, tf.Variable(1.0)), [D])


def frozen():
    flow = gx.flows.real_nvp([D], num_layers=2, hidden_units=[4], act_norm=True)
    gx.core.tracking.networks(flow)[0].trainable = False
    return flow


def constants():
    loc = tf.constant([0.1, np.inf, 1e-30, -0.0, np.pi], tf.float32)
    loc = tf.where(tf.math.is_finite(loc), loc, 7.0)
    return tfd.Independent(tfd.Normal(loc, tf.Variable(tf.ones([D]))), 1)


def float64():
    return gx.flows.maf([D], num_layers=1, hidden_units=[4], dtype="float64")


def bound():
    flow = gx.flows.maf([D], num_layers=2, hidden_units=[4], conditional_event_shape=[3])
    return gx.flows.condition(flow, tf.constant([0.1, 0.2, 0.3]))


def nested():
    """Chains in inversions in chains, on TFP's own trainable bijectors."""
    inner = tfb.Chain([tfb.Softplus(), tfb.Shift(tf.Variable(tf.zeros([D])))])
    scale = tfb.ScaleMatvecTriL(tf.Variable(tf.eye(D)))
    chain = tfb.Chain([tfb.Invert(tfb.Chain([tfb.Invert(inner)])), scale])
    return tfd.TransformedDistribution(normal(), tfb.Chain([tfb.Invert(tfb.Exp()), chain]))


def mixture_of_mixed():
    return tfd.Mixture(
        tfd.Categorical(logits=tf.Variable([0.3, -0.3])),
        [gx.flows.real_nvp([D], num_layers=2, hidden_units=[4]), transformed_variables()],
    )


BUILDERS = [
    shared_network,
    shared_variable,
    shared_bijector,
    transformed_variables,
    sample,
    frozen,
    constants,
    float64,
    bound,
    nested,
    mixture_of_mixed,
]


def repacked(path, change, method=zipfile.ZIP_STORED):
    """Changes the members of a `.keras` file, bytes by their names."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def reconfigured(path, change):
    """Changes the configuration in a `.keras` file."""

    def change_config(parts):
        config = json.loads(parts["config.json"])
        change(config)
        parts["config.json"] = json.dumps(config).encode()

    repacked(path, change_config)


def tampered(path, change):
    """Changes what a `.keras` file says of TFP's objects."""
    reconfigured(path, lambda config: change(config["config"]["objects"]))


def reweighted(path, change):
    """Changes the HDF5 file of weights in a `.keras` file."""

    def change_weights(parts):
        buffer = io.BytesIO(parts["model.weights.h5"])
        with h5py.File(buffer, "a") as file:
            change(file)
        parts["model.weights.h5"] = buffer.getvalue()

    repacked(path, change_weights)


def trained(distribution, data):
    model = gx.models.DensityModel(distribution)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    model.fit(*data, epochs=1, verbose=0)
    return model


def data_for(distribution):
    rows = registry.points((64, *distribution.event_shape), distribution.dtype.name).numpy()
    context = gx.flows.conditional_event_shape(distribution)
    if context is None:
        return (rows,)
    return registry.points((64, *context), distribution.dtype.name, seed=9).numpy(), rows


def answers(distribution):
    """Returns log-densities and samples of a distribution at fixed points and seeds."""
    *context, x = data_for(distribution)
    kwargs = gx.flows.bijector_kwargs(distribution, tf.constant(*context) if context else None)
    return {
        "log_prob": distribution.log_prob(tf.constant(x), **kwargs).numpy(),
        "samples": distribution.sample(64, seed=[3, 4], **kwargs).numpy(),
    }


def stepped(distribution):
    """Returns a model whose optimizer has made a step, along fixed gradients: no `fit` to trace."""
    model = gx.models.DensityModel(distribution)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    gradients = [
        tf.random.stateless_normal(v.shape, [7, i], dtype=v.dtype)
        for i, v in enumerate(model.trainable_variables)
    ]
    model.optimizer.apply(gradients, model.trainable_variables)
    return model


def state(model):
    """Returns what a model and its optimizer hold, and what the model gives."""
    seen = {
        "trainable": model.trainable_variables,
        "frozen": model.non_trainable_variables,
        "all": model.distribution.variables,
    }
    shapes = {k: np.array([str((v.shape, v.trainable)) for v in vs]) for k, vs in seen.items()}
    slots = {f"optimizer {i}": v.numpy() for i, v in enumerate(model.optimizer.variables)}
    return {**shapes, **slots, **answers(model.distribution)}


def described(model):
    """Returns what a model holds and gives, and its losses when its training goes on."""
    found = state(model)
    data = data_for(model.distribution)
    losses = model.fit(*data, epochs=2, verbose=0, shuffle=False).history["nll"]
    return {**found, "losses": np.array(losses)}


CASES = {
    **{case.name: lambda case=case: case.build(D, "float32") for case in registry.DISTRIBUTIONS},
    **{build.__name__: build for build in BUILDERS},
}
# What training may go on otherwise by: state beside the weights (norms and their first batch,
# moments), contexts, another dtype, variables that are frozen, shared, wrapped or TFP's own. The
# distributions that are not here add none.
TRAINED_ON = [
    "real_nvp_normed",
    "maf_conditional",
    "glow_conditional",
    "real_nvp_images",
    "mixture",
    *(build.__name__ for build in BUILDERS),
]


def to_compare(name, model):
    """Returns what must be the same in two processes: with losses where training goes on."""
    return described(model) if name in TRAINED_ON else state(model)
