"""One numbered table of wrong inputs: each names the argument, what was expected and what came.

A row is (what goes wrong, what is called, the exception, a pattern of its message). Every message
must also hold "Received".
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions

SMALL = {"num_layers": 2, "hidden_units": [4]}
N, D = 20, 3


def flow(**options):
    return gx.flows.real_nvp([D], **{**SMALL, **options})


def model(**options):
    made = gx.models.DensityModel(flow(**options))
    made.compile(optimizer=keras.optimizers.SGD(0.1))
    return made


def conditional():
    return model(conditional_event_shape=[2])


def images_model():
    made = gx.models.DensityModel(flow(), preprocessing=gx.layers.Dequantize(256))
    made.compile()
    return made


def affine(*args, **kwargs):
    return gx.bijectors.AffineCoupling(
        *args, **{"shift_and_log_scale_fn": lambda x0, n: (x0[..., :1], None), **kwargs}
    )


def layer_of(units):
    return gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=keras.layers.Dense(units))


def _out_of_reach():
    norm = gx.bijectors.ActNorm(
        tf.Variable(tf.zeros([1])),
        tf.Variable(tf.zeros([1])),
        initialized=tf.Variable(False, trainable=False),
    )
    blocks = tfb.Blockwise([norm, tfb.Identity()], block_sizes=[1, 2])
    made = gx.models.DensityModel(blocks(tfd.Sample(tfd.Normal(0.0, 1.0), [3])))
    made.compile()
    return made


def good(rows=N, columns=D):
    return np.random.default_rng(0).normal(size=[rows, columns]).astype("float32")


def spoiled(value):
    x = good()
    x[N // 2, 1] = value
    return x


def dataset(*parts):
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0]).batch(5)


def recipe_row(argument, options, error, pattern):
    """A wrong option of every recipe."""
    for recipe in (gx.flows.real_nvp, gx.flows.nice):
        shape = options.get("event_shape", [D])
        rest = {k: v for k, v in options.items() if k != "event_shape"}
        yield (
            f"{recipe.__name__}: {argument}",
            lambda recipe=recipe, shape=shape, rest=rest: recipe(shape, **{**SMALL, **rest}),
            error,
            pattern,
        )


X_SHAPE = r"`x` must be of shape \[N, 3\] and dtype float32"
C_SHAPE = r"`conditional_input` must be numbers of shape \[N, 2\]"
ONE_ROW = "`x` must hold at least one row"
FINITE = "`x` must be finite"
LAYERS = "`num_layers` must be an integer of at least 1"
EVENT = r"`event_shape` must be a shape \[D\] with D of at least 2"

TABLE = [
    # Recipes.
    *recipe_row("one dimension", {"event_shape": [1]}, ValueError, EVENT),
    *recipe_row("scalar events", {"event_shape": []}, ValueError, EVENT),
    *recipe_row("matrix events", {"event_shape": [2, 3]}, ValueError, EVENT),
    *recipe_row(
        "size zero", {"event_shape": [0]}, ValueError, r"`event_shape\[0\]` must be an integer"
    ),
    *recipe_row("text shape", {"event_shape": "ab"}, TypeError, "`event_shape` must be a sequence"),
    *recipe_row("no layers", {"num_layers": 0}, ValueError, LAYERS),
    *recipe_row("half a layer", {"num_layers": 2.5}, TypeError, LAYERS),
    *recipe_row("layers by truth", {"num_layers": True}, TypeError, LAYERS),
    *recipe_row("width zero", {"hidden_units": [8, 0]}, ValueError, r"`hidden_units\[1\]` must be"),
    *recipe_row("bare width", {"hidden_units": 8}, TypeError, "`hidden_units` must be a sequence"),
    *recipe_row("integer dtype", {"dtype": "int32"}, TypeError, "`dtype` must be a floating point"),
    *recipe_row("no dtype", {"dtype": "float33"}, TypeError, "`dtype` must be a floating point"),
    *recipe_row(
        "base of another size",
        {"base": tfd.MultivariateNormalDiag(tf.zeros([4]))},
        ValueError,
        r"`base` must be a tfd.Distribution of event shape \[3\]",
    ),
    *recipe_row("base no distribution", {"base": tfb.Exp()}, TypeError, "`base` must be a tfd"),
    *recipe_row(
        "no permutation",
        {"num_layers": 3, "permutation": lambda size, step: [0, 0, 1]},
        ValueError,
        "`permutation` must hold each of 0 to 2 once",
    ),
    *recipe_row(
        "context of size zero",
        {"conditional_event_shape": [0]},
        ValueError,
        r"`conditional_event_shape\[0\]` must be an integer",
    ),
    (
        "real_nvp: transformer by name",
        lambda: flow(transformer="affine"),
        TypeError,
        "`transformer` must be a gx.transformers.Transformer",
    ),
    *[
        (
            f"{recipe.__name__}: {name}",
            lambda recipe=recipe, options=options: recipe([D], **{**SMALL, **options}),
            error,
            pattern,
        )
        for recipe in (gx.flows.maf, gx.flows.iaf)
        for name, options, error, pattern in (
            ("no layers", {"num_layers": 0}, ValueError, LAYERS),
            (
                "negative tolerance",
                {"tolerance": -1e-3},
                ValueError,
                "`tolerance` must be a number",
            ),
            ("tolerance NaN", {"tolerance": float("nan")}, ValueError, "`tolerance` must be a num"),
            (
                "a transformer by name",
                {"transformer": "affine"},
                TypeError,
                "`transformer` must be",
            ),
        )
    ],
    (
        "maf: events of another size",
        lambda: gx.flows.maf([D], **SMALL).log_prob(good(columns=4)),
        ValueError,
        r"`x` must be of shape \[N, 3\]",
    ),
    (
        "maf: noise of another size",
        lambda: gx.flows.maf([D], **SMALL).bijector.forward(good(columns=4)),
        ValueError,
        r"`z` must be of shape \[N, 3\]",
    ),
    (
        "no function for an autoregressive layer",
        lambda: gx.bijectors.MaskedAutoregressive(),
        ValueError,
        "Exactly one of `shift_and_log_scale_fn` and `bijector_fn`",
    ),
    # Masks.
    ("num_masked and fraction", lambda: affine(1, 0.5), ValueError, "Exactly one of `num_masked`"),
    ("num_masked and mask", lambda: affine(1, mask=[True, False]), ValueError, "Exactly one of"),
    ("neither", lambda: affine(), TypeError, "`fraction_masked` must be a float"),
    ("half a unit", lambda: affine(1.5), TypeError, "`num_masked` must be an integer"),
    ("integer fraction", lambda: affine(None, 1), TypeError, "`fraction_masked` must be a float"),
    ("fraction of one", lambda: affine(None, 1.0), ValueError, r"`fraction_masked` must be in"),
    ("fraction NaN", lambda: affine(None, float("nan")), ValueError, "`fraction_masked` must be"),
    (
        "all masked",
        lambda: affine(3).forward(good()),
        ValueError,
        "Number of masked units 3 must be smaller than the event size 3",
    ),
    (
        "more than all masked, last ones",
        lambda: affine(-7).inverse(good()),
        ValueError,
        "Number of masked units -7 must be smaller",
    ),
    (
        "one dimension",
        lambda: affine(1).forward(good(columns=1)),
        ValueError,
        "Number of masked units 1 must be smaller than the event size 1",
    ),
    (
        "mask of another size",
        lambda: affine(mask=[True, False]).forward(good()),
        ValueError,
        "`x` must have events of size 2, that of `mask`",
    ),
    ("mask of numbers", lambda: affine(mask=[1, 0]), TypeError, "`mask` must be a boolean vector"),
    ("mask of one kind", lambda: affine(mask=[True] * 2), ValueError, "`mask` must be a boolean"),
    ("a scalar event", lambda: affine(1).forward(1.0), ValueError, r"`x` must be of shape"),
    # Conditioners.
    (
        "no function",
        lambda: gx.bijectors.AffineCoupling(1),
        ValueError,
        "Exactly one of `shift_and_log_scale_fn` and `bijector_fn`",
    ),
    ("two functions", lambda: affine(1, bijector_fn=tf.exp), ValueError, "Exactly one of `shift"),
    *(
        (
            f"{name}: {wrong}",
            lambda build=build, options=options: build(**options),
            TypeError,
            pattern,
        )
        for name, build in (
            ("coupling", lambda **options: gx.bijectors.AffineCoupling(2, **options)),
            ("autoregressive", gx.bijectors.MaskedAutoregressive),
        )
        for wrong, options, pattern in (
            (
                "transformer by name",
                {"shift_and_log_scale_fn": keras.layers.Dense(2), "transformer": "affine"},
                "`transformer` must be a gx.transformers.Transformer.*transformer='affine'",
            ),
            (
                "function by name",
                {"shift_and_log_scale_fn": "mlp"},
                "`shift_and_log_scale_fn` must be a Keras layer or callable",
            ),
            ("a number as function", {"bijector_fn": 3}, "`bijector_fn` must be a Keras layer"),
        )
    ),
    (
        "transformer beside a callable",
        lambda: affine(1, transformer=gx.transformers.Affine()),
        ValueError,
        "`transformer` must be None unless the function is a Keras layer",
    ),
    (
        "network of the wrong size",
        lambda: layer_of(5).forward(good()),
        ValueError,
        r"must return parameters of shape \[\.\.\., 2, 2\]",
    ),
    (
        "network of flat parameters",
        lambda: layer_of(4).forward(good()),
        ValueError,
        r"must return parameters of shape \[\.\.\., 2, 2\]",
    ),
    (
        "network for another event",
        lambda: flow().log_prob(good(columns=4)),
        ValueError,
        "`y` must have events of size 3, that of `mask`",
    ),
    (
        "additive without conditioner",
        lambda: gx.bijectors.AdditiveCoupling(1),
        ValueError,
        "`conditioner` must be a Keras layer or callable",
    ),
    # Contexts.
    (
        "missing context",
        lambda: flow(conditional_event_shape=[2]).log_prob(good()),
        ValueError,
        r"`conditional_input` must be of shape \[N, 2\]",
    ),
    (
        "context of the wrong size",
        lambda: flow(conditional_event_shape=[2]).log_prob(
            good(), bijector_kwargs={"conditional_input": good(columns=4)}
        ),
        ValueError,
        r"`conditional_input` must be of shape \[\.\.\., 2\]",
    ),
    (
        "context that nobody takes",
        lambda: flow().log_prob(good(), bijector_kwargs={"conditional_input": good()}),
        ValueError,
        "`conditional_input` must be taken by a member",
    ),
    # Data.
    ("wrong event size", lambda: model().fit(good(columns=4)), ValueError, X_SHAPE),
    ("one column", lambda: model().fit(good(columns=1)), ValueError, X_SHAPE),
    ("wrong rank", lambda: model().fit(good()[None]), ValueError, X_SHAPE),
    ("one event", lambda: model().fit(good()[0]), ValueError, X_SHAPE),
    ("integers", lambda: model().fit(good().astype("int64")), TypeError, X_SHAPE),
    ("truth values", lambda: model().fit(good() > 0), TypeError, X_SHAPE),
    ("text", lambda: model().fit(good().astype(str)), TypeError, "`x` must be an array of numbers"),
    ("complex", lambda: model().fit(good() * 1j), TypeError, "`x` must be an array of numbers"),
    ("nothing", lambda: model().fit(None), TypeError, "`x` must be an array of numbers"),
    ("ragged", lambda: model().fit([[1.0], [1.0, 2.0]]), ValueError, "`x` must be an array of num"),
    ("no rows", lambda: model().fit(good()[:0]), ValueError, ONE_ROW),
    ("NaN", lambda: model().fit(spoiled(np.nan)), ValueError, FINITE),
    ("infinity", lambda: model().fit(spoiled(-np.inf)), ValueError, FINITE),
    ("NaN in evaluate", lambda: model().evaluate(spoiled(np.nan)), ValueError, FINITE),
    ("NaN in predict", lambda: model().predict(spoiled(np.nan)), ValueError, FINITE),
    ("NaN in a step", lambda: model().train_on_batch(spoiled(np.nan)), ValueError, FINITE),
    (
        "NaN in validation",
        lambda: model().fit(good(), validation_data=spoiled(np.nan)),
        ValueError,
        FINITE,
    ),
    ("NaN in a dataset", lambda: model().fit(dataset(spoiled(np.nan))), ValueError, FINITE),
    (
        "NaN in a dataset of evaluate",
        lambda: model().evaluate(dataset(spoiled(np.nan)), verbose=0),
        ValueError,
        FINITE,
    ),
    ("NaN in a generator", lambda: model().fit(spoiled(np.nan) for _ in "a"), ValueError, FINITE),
    ("wrong dataset", lambda: model().fit(dataset(good(columns=4))), ValueError, X_SHAPE),
    ("integer dataset", lambda: model().fit(dataset(np.ones([N, D], int))), TypeError, X_SHAPE),
    (
        "unbatched dataset",
        lambda: model().fit(tf.data.Dataset.from_tensor_slices(good())),
        ValueError,
        X_SHAPE,
    ),
    (
        "empty dataset",
        lambda: model().fit(dataset(good()[:0])),
        ValueError,
        "`x` must hold at least one batch",
    ),
    (
        "empty generator",
        lambda: model().fit(x for x in ()),
        ValueError,
        "`x` must hold at least one batch",
    ),
    ("targets", lambda: model().fit(good(), good()), ValueError, "`y` must be None"),
    ("targets in a dataset", lambda: model().fit(dataset(good(), good())), ValueError, "`y` must"),
    (
        "weights beside a dataset",
        lambda: model().fit(dataset(good()), sample_weight=np.ones(N)),
        ValueError,
        "`y` and `sample_weight` must be None",
    ),
    (
        "weights of another length",
        lambda: model().fit(good(), sample_weight=np.ones(N - 1)),
        ValueError,
        r"`sample_weight` must be numbers of shape \[20\]",
    ),
    (
        "weights as a column",
        lambda: model().fit(good(), sample_weight=np.ones([N, 1])),
        ValueError,
        r"`sample_weight` must be numbers of shape \[20\]",
    ),
    (
        "NaN weights",
        lambda: model().fit(good(), sample_weight=np.full([N], np.nan)),
        ValueError,
        "`sample_weight` must be finite",
    ),
    (
        "negative weights",
        lambda: model().fit(good(), sample_weight=-np.ones(N)),
        ValueError,
        "`sample_weight` must not be negative",
    ),
    (
        "class weights",
        lambda: model().fit(good(), class_weight={0: 1.0}),
        ValueError,
        "`class_weight` must be None",
    ),
    (
        "numbers beyond the dtype",
        lambda: model().predict(np.full([N, D], 1e300)),
        ValueError,
        FINITE,
    ),
    (
        "floats for a categorical",
        lambda: gx.models.DensityModel(tfd.Categorical(logits=[0.0, 1.0])).predict(np.zeros(3)),
        TypeError,
        r"`x` must be of shape \[N\] and dtype int32",
    ),
    (
        "weights as a column of a dataset",
        lambda: model().fit(
            dataset(good(), np.ones([N, 1], "float32")).map(lambda x, w: (x, None, w))
        ),
        ValueError,
        r"`sample_weight` must be numbers of shape \[N\]",
    ),
    (
        "negative weights of a dataset",
        lambda: model().fit(dataset(good(), -np.ones(N, "float32")).map(lambda x, w: (x, None, w))),
        (ValueError, tf.errors.InvalidArgumentError),
        "`sample_weight` must not be negative",
    ),
    (
        "an empty dataset of unknown length",
        lambda: model().fit(dataset(good()).filter(lambda x: False), verbose=0),
        ValueError,
        "`x` must hold at least one batch",
    ),
    (
        "the same with norms",
        lambda: model(act_norm=True).fit(dataset(good()).filter(lambda x: False), verbose=0),
        ValueError,
        "`x` must hold at least one batch",
    ),
    ("dictionaries", lambda: model().fit({"x": good()}), TypeError, "`x` must be an array of num"),
    (
        "a dataset of dictionaries",
        lambda: model().fit(dataset(good()).map(lambda x: {"x": x})),
        TypeError,
        X_SHAPE,
    ),
    (
        "validation split of everything",
        lambda: model().fit(good(), validation_split=0.99),
        ValueError,
        "`validation_split` must leave at least one row",
    ),
    (
        "norms out of reach",
        lambda: _out_of_reach().fit(good()),
        ValueError,
        "`flow` must hold its ActNorms in chains",
    ),
    # Conditional data.
    (
        "a context for a flow that takes none",
        lambda: gx.flows.bijector_kwargs(flow(), good()),
        ValueError,
        "`conditional_input` must be None",
    ),
    (
        "a context shape for a flow that takes none",
        lambda: gx.models.DensityModel(flow(), conditional_event_shape=(2,)),
        ValueError,
        "`conditional_input` must be None",
    ),
    (
        "a permutation by name",
        lambda: flow(permutation="reversed"),
        TypeError,
        "`permutation` must be callable",
    ),
    ("events alone", lambda: conditional().fit(good()), ValueError, "`conditional_input` must be"),
    (
        "events alone in predict",
        lambda: conditional().predict(good()),
        ValueError,
        "`conditional_input` must be given",
    ),
    (
        "events alone in a dataset",
        lambda: conditional().fit(dataset(good())),
        ValueError,
        "`conditional_input` must be given",
    ),
    ("wrong context", lambda: conditional().fit(good(), good()), ValueError, C_SHAPE),
    (
        "text context",
        lambda: conditional().fit(good(columns=2).astype(str), good()),
        TypeError,
        "`conditional_input` must be an array of numbers",
    ),
    (
        "NaN context",
        lambda: conditional().fit(good(columns=2) * np.nan, good()),
        ValueError,
        "`conditional_input` must be finite",
    ),
    (
        "fewer contexts than events",
        lambda: conditional().fit(good(columns=2)[1:], good()),
        ValueError,
        "`conditional_input` and `x` must have as many rows",
    ),
    # Models.
    ("a bijector", lambda: gx.models.DensityModel(tfb.Exp()), TypeError, "`distribution` must be"),
    (
        "a batch of distributions",
        lambda: gx.models.DensityModel(tfd.Normal([0.0, 1.0], 1.0)),
        ValueError,
        r"`distribution` must have batch shape \[\]",
    ),
    (
        "a joint distribution",
        lambda: gx.models.DensityModel(tfd.JointDistributionSequential([tfd.Normal(0.0, 1.0)] * 2)),
        TypeError,
        "`distribution` must have events of a single tensor",
    ),
    ("a loss", lambda: model().compile(loss="mse"), ValueError, "`loss` must be None"),
    ("no samples", lambda: model().sample(0), ValueError, "`n` must be an integer of at least 1"),
    (
        "context of an unconditional model",
        lambda: model().sample(1, conditional_input=good()),
        ValueError,
        "`conditional_input` must be None",
    ),
    (
        "no context of a conditional model",
        lambda: conditional().sample(1),
        ValueError,
        "`conditional_input` must be given",
    ),
    (
        "another context shape than the network's",
        lambda: gx.models.DensityModel(
            flow(conditional_event_shape=[2]), conditional_event_shape=(3,)
        ),
        ValueError,
        r"`conditional_event_shape` must be \(2,\)",
    ),
    ("a seed of three", lambda: model().sample(1, seed=[1, 2, 3]), ValueError, "`seed` must be an"),
    ("a seed of text", lambda: model().sample(1, seed="a"), TypeError, "`seed` must be an integer"),
    ("half a seed", lambda: model().sample(1, seed=0.5), TypeError, "`seed` must be an integer"),
    ("a seed by truth", lambda: model().sample(1, seed=True), TypeError, "`seed` must be an int"),
    (
        "batches of no rows",
        lambda: model().fit(good(), batch_size=0),
        ValueError,
        "`batch_size` must be an integer of at least 1",
    ),
    (
        "batches of half a row",
        lambda: model().predict(good(), batch_size=0.5),
        TypeError,
        "`batch_size` must be an integer of at least 1",
    ),
    (
        "weights of losses",
        lambda: model().compile(loss_weights=[2.0]),
        ValueError,
        "`loss_weights` must be None",
    ),
    (
        "bits of events without entries",
        lambda: gx.numerics.bits_per_dim(1.0, [0]),
        ValueError,
        r"`event_shape\[0\]` must be an integer of at least 1",
    ),
    (
        "binding a context of NaN",
        lambda: gx.flows.condition(
            flow(conditional_event_shape=[2]), np.full([4, 2], np.nan, "float32")
        ),
        ValueError,
        "`conditional_input` must be finite",
    ),
    # Networks and transformers.
    (
        "MLP of no parameters",
        lambda: gx.networks.MLP((3, 0), [4]),
        ValueError,
        r"`params_shape\[1\]` must be an integer of at least 1",
    ),
    (
        "MLP without a context",
        lambda: gx.networks.MLP((3, 2), [4], conditional_event_shape=[2])(good()),
        ValueError,
        r"`conditional_input` must be of shape \[N, 2\]",
    ),
    (
        "no optimizer",
        lambda: gx.models.DensityModel(flow()).compile(optimizer=None),
        ValueError,
        "`optimizer` must be a Keras optimizer",
    ),
    (
        "MADE of no parameters",
        lambda: gx.networks.MADE(3, 0, [4]),
        ValueError,
        "`params_size` must be an integer of at least 1",
    ),
    (
        "MADE with an order that is none",
        lambda: gx.networks.MADE(3, 2, [4], order=[0, 0, 1]),
        ValueError,
        "`order` must hold each of 0 to 2 once",
    ),
    (
        "MADE of another event size",
        lambda: gx.networks.MADE(3, 2, [4])(good(columns=4)),
        ValueError,
        r"`x` must be of shape \[N, 3\]",
    ),
    (
        "a bound of zero",
        lambda: gx.transformers.SigmoidScale(bound=0.0),
        ValueError,
        r"`bound` must be a number in \(0, 40\)",
    ),
    (
        "a scale map that is a function",
        lambda: gx.transformers.Affine(scale_map=tf.exp),
        TypeError,
        "`scale_map` must be a ScaleMap",
    ),
    # Parts.
    (
        "an order with a hole",
        lambda: gx.bijectors.Permute([0, 2, 2]),
        ValueError,
        "`permutation` must hold each of 0 to 2 once",
    ),
    (
        "an order of floats",
        lambda: gx.bijectors.Permute([1.0, 0.0]),
        TypeError,
        "`permutation` must be a sequence of the integers 0 to 1",
    ),
    (
        "an order of fewer dimensions",
        lambda: gx.bijectors.Permute([1, 0]).forward(good()),
        ValueError,
        "of the event of `permute` must be of size 2",
    ),
    (
        "an order of more dimensions",
        lambda: gx.bijectors.Permute([3, 1, 0, 2]).inverse(good()),
        ValueError,
        "of the event of `permute` must be of size 4",
    ),
    (
        "norms of two sizes",
        lambda: gx.bijectors.ActNorm(tf.Variable(tf.zeros([3])), tf.Variable(tf.zeros([2]))),
        ValueError,
        "`shift` and `log_scale` must be of one shape",
    ),
    (
        "a norm of another size",
        lambda: gx.bijectors.ActNorm(*[tf.Variable(tf.zeros([2]))] * 2).forward(good()),
        ValueError,
        "The event of `act_norm` must be of size 2",
    ),
    (
        "composing a function",
        lambda: gx.bijectors.Compose([tf.exp]),
        TypeError,
        "`bijectors` must be a sequence of tfb.Bijector",
    ),
    (
        "conditioning what takes no context",
        lambda: gx.bijectors.Conditioned(tfb.Exp(), tf.zeros([2])),
        ValueError,
        "`bijector` must take `conditional_input`",
    ),
    (
        "binding a context of another size",
        lambda: gx.flows.condition(flow(conditional_event_shape=[2]), good()),
        ValueError,
        r"`conditional_input` must be of shape \[\.\.\., 2\]",
    ),
    (
        "initialising from NaN",
        lambda: gx.flows.initialize(flow(act_norm=True), spoiled(np.nan)),
        ValueError,
        FINITE,
    ),
    # Splines and monotone networks.
    (
        "a spline without bins",
        lambda: gx.transformers.Spline(num_bins=0),
        ValueError,
        "`num_bins` must be an integer of at least 1",
    ),
    (
        "a spline without an interval",
        lambda: gx.transformers.Spline(bound=0.0),
        ValueError,
        "`bound` must be a finite number above 0",
    ),
    (
        "half a unit of a monotone network",
        lambda: gx.transformers.DeepSigmoidal(num_units=2.5),
        TypeError,
        "`num_units` must be an integer of at least 1",
    ),
    (
        "a monotone network without layers",
        lambda: gx.transformers.DeepDenseSigmoidal(num_layers=0),
        ValueError,
        "`num_layers` must be an integer of at least 1",
    ),
    (
        "a mixture without components",
        lambda: gx.flows.maf([D], **SMALL, num_components=0),
        ValueError,
        "`num_components` must be an integer of at least 1",
    ),
    (
        "a base under a mixture",
        lambda: gx.flows.maf(
            [D], **SMALL, num_components=2, base=tfd.MultivariateNormalDiag(tf.zeros([D]))
        ),
        ValueError,
        "`base` must be None beside `num_components`",
    ),
    (
        "a spline coupling without conditioner",
        lambda: gx.bijectors.SplineCoupling(1),
        ValueError,
        "`conditioner` must be a Keras layer or callable",
    ),
    (
        "a spline coupling by name",
        lambda: gx.bijectors.SplineCoupling(1, conditioner=tf.exp, transformer="spline"),
        TypeError,
        "`transformer` must be a gx.transformers.Transformer",
    ),
    (
        "a monotone layer on too few parameters",
        lambda: gx.bijectors.NeuralAutoregressive(gx.networks.MADE(D, 2, [4])),
        ValueError,
        "`conditioner` must return parameters of shape",
    ),
    (
        "one dimension of couplings",
        lambda: gx.flows.nsf([1], **SMALL, autoregressive=False),
        ValueError,
        EVENT,
    ),
    # Images.
    (
        "an odd height",
        lambda: gx.bijectors.Squeeze().forward(np.zeros([2, 3, 4, 1])),
        ValueError,
        "The height of an image must be a multiple of 2",
    ),
    (
        "an odd width",
        lambda: gx.bijectors.Squeeze().forward(np.zeros([2, 4, 3, 1])),
        ValueError,
        "The width of an image must be a multiple of 2",
    ),
    (
        "three channels to space",
        lambda: gx.bijectors.Squeeze().inverse(np.zeros([2, 4, 4, 3])),
        ValueError,
        "The number of channels of an image must be a multiple of 4",
    ),
    (
        "blocks of one pixel",
        lambda: gx.bijectors.Squeeze(1),
        ValueError,
        "`block_size` must be an integer of at least 2",
    ),
    (
        "mixing other channels",
        lambda: gx.bijectors.Invertible1x1Conv.random(3, seed=0).forward(np.zeros([2, 4])),
        ValueError,
        r"`x` must be of shape \[\.\.\., 3\]",
    ),
    (
        "a part of fewer channels",
        lambda: gx.bijectors.Partial(tfb.Exp(), 3).forward(np.zeros([2, 2])),
        ValueError,
        "`x` must have at least 3 channels",
    ),
    (
        "a mask of another image",
        lambda: affine(mask=gx.masks.checkerboard(2, 2), event_ndims=3).forward(
            np.zeros([5, 4, 4, 1], "float32")
        ),
        ValueError,
        "`mask` must broadcast to events",
    ),
    (
        "an image without channels",
        lambda: affine(1, event_ndims=3).forward(np.zeros([4, 4], "float32")),
        ValueError,
        r"`x` must be of shape \[\.\.\., H, W, C\]",
    ),
    (
        "an even kernel",
        lambda: gx.networks.WeightNormConv(3, 2),
        ValueError,
        "`kernel_size` must be odd",
    ),
    (
        "images that cannot be halved so often",
        lambda: gx.flows.glow([28, 28, 1], num_levels=3, num_steps=1, hidden_channels=4),
        ValueError,
        "`image_shape` must have a height and a width that are multiples of 8",
    ),
    (
        "as many widths as there are no levels",
        lambda: gx.flows.glow([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=[4, 4, 4]),
        ValueError,
        "`hidden_channels` must be an integer, or 2, one for each level",
    ),
    (
        "no steps at a level",
        lambda: gx.flows.glow([8, 8, 1], num_levels=2, num_steps=[1, 0], hidden_channels=4),
        ValueError,
        r"`num_steps\[1\]` must be an integer of at least 1",
    ),
    (
        "images without channels",
        lambda: gx.flows.glow([28, 28], num_levels=1, num_steps=1, hidden_channels=4),
        ValueError,
        r"`image_shape` must be a shape \[H, W, C\]",
    ),
    (
        "a checkerboard of one pixel",
        lambda: gx.flows.real_nvp_images([4, 4, 1], num_levels=3, hidden_channels=4),
        ValueError,
        "`image_shape` must leave two pixels at the coarsest of 3 scales",
    ),
    (
        "a momentum of one",
        lambda: gx.networks.MovingMoments(momentum=1.0),
        ValueError,
        r"`momentum` must be a number in \[0, 1\)",
    ),
    (
        "moments that are none",
        lambda: gx.bijectors.BatchNorm(tf.exp, *[tf.Variable(tf.zeros([2]))] * 2),
        TypeError,
        "`moments` must be a gx.networks.MovingMoments",
    ),
    (
        "a data bijector that is none",
        lambda: gx.flows.glow(
            [4, 4, 1], num_levels=1, num_steps=1, hidden_channels=4, data_bijector=256
        ),
        TypeError,
        "`data_bijector` must be a tfb.Bijector",
    ),
    (
        "a data bijector of another dtype",
        lambda: gx.flows.glow(
            [4, 4, 1],
            num_levels=1,
            num_steps=1,
            hidden_channels=4,
            data_bijector=gx.flows.pixels(),
            dtype="float64",
        ),
        ValueError,
        "`data_bijector` must be of the flow's dtype, float64",
    ),
    (
        "a seed below zero",
        lambda: gx.flows.glow([4, 4, 1], num_levels=1, num_steps=1, hidden_channels=4, seed=-1),
        ValueError,
        "`seed` must be an integer of at least 0",
    ),
    (
        "a Glow of half precision",
        lambda: gx.flows.glow(
            [4, 4, 1], num_levels=1, num_steps=1, hidden_channels=4, dtype="float16"
        ),
        TypeError,
        "`lower_upper` must be of float32 or float64",
    ),
    (
        "moments that are not built",
        lambda: gx.bijectors.BatchNorm(
            gx.networks.MovingMoments(), *[tf.Variable(tf.zeros([2])) for _ in range(2)]
        ),
        ValueError,
        "`moments` must be built",
    ),
    (
        "a part that does not keep the shape",
        lambda: gx.bijectors.Partial(gx.bijectors.Squeeze(), 1).forward(tf.zeros([2, 4, 4, 3])),
        ValueError,
        "`bijector` must keep the shape of its events",
    ),
    (
        "a mask of whole images for vectors",
        lambda: affine(mask=gx.masks.checkerboard(4, 4)),
        ValueError,
        "`mask` must be a boolean vector.*`event_ndims=3`",
    ),
    (
        "a convolution of nothing",
        lambda: gx.networks.WeightNormConv(4)(tf.zeros([2, 4, 4, 0])),
        ValueError,
        "`x` must be of at least one channel",
    ),
    (
        "an alpha that is no number",
        lambda: gx.flows.pixels(alpha="a"),
        TypeError,
        "`alpha` must be a number",
    ),
    (
        "a temperature that is no number",
        lambda: gx.flows.tempered(gx.flows.maf([2], num_layers=1, hidden_units=[4]), None),
        TypeError,
        "`temperature` must be a number above 0",
    ),
    (
        "bytes to initialise from",
        lambda: gx.flows.initialize(
            gx.flows.glow([4, 4, 1], num_levels=1, num_steps=1, hidden_channels=4),
            np.zeros([2, 4, 4, 1], np.uint8),
        ),
        TypeError,
        "`x` must be of shape .* and dtype float32",
    ),
    (
        "half of everything kept from the logit",
        lambda: gx.flows.pixels(alpha=0.5),
        ValueError,
        r"`alpha` must be a number in \(0, 1/2\)",
    ),
    (
        "temperature zero",
        lambda: gx.flows.tempered(flow(), 0.0),
        ValueError,
        "`temperature` must be a number above 0",
    ),
    (
        "temperature of other noise",
        lambda: gx.flows.tempered(gx.flows.nice([D], **SMALL), 0.5),
        ValueError,
        "`flow` must be of standard normal noise",
    ),
    (
        "one value",
        lambda: gx.layers.Dequantize(1),
        ValueError,
        "`num_values` must be an integer of at least 2",
    ),
    (
        "pixels between values",
        lambda: images_model().fit(np.full([4, D], 0.5)),
        ValueError,
        "`x` must hold whole numbers from 0 to 255. Received: 12 of 12 entries are not",
    ),
    (
        "pixels out of range",
        lambda: images_model().predict(np.full([4, D], 256)),
        ValueError,
        "`x` must hold whole numbers from 0 to 255",
    ),
    (
        "noise that is no layer",
        lambda: gx.models.DensityModel(flow(), preprocessing=tf.exp),
        TypeError,
        "`preprocessing` must be a Keras layer",
    ),
    # Found by `properties_wrong.py`, which tries thousands.
    *[
        (
            f"an activation that Keras does not know: {network.__name__}",
            lambda network=network, sizes=sizes: network(*sizes, activation="rellu"),
            ValueError,
            "`activation` must be the name of one of `keras.activations` .did you mean .*'relu'",
        )
        for network, sizes in (
            (gx.networks.MLP, ([3, 2], [4])),
            (gx.networks.MADE, (3, 2, [4])),
            (gx.networks.ConvNet, ([1, 2], 4)),
        )
    ],
    (
        "a regularizer that Keras does not know",
        lambda: gx.networks.MADE(3, 2, [4], kernel_regularizer="l3"),
        ValueError,
        "`kernel_regularizer` must be the name of one of `keras.regularizers`",
    ),
    (
        "an endless tolerance",
        lambda: gx.flows.maf([D], **SMALL, tolerance=float("inf")),
        ValueError,
        "`tolerance` must be a number of at least 0",
    ),
    (
        "a range that is a number",
        lambda: gx.networks.MADE(3, 2, [4], input_range=3),
        TypeError,
        "`input_range` must be a pair of finite numbers",
    ),
    *[
        (
            f"masked units that are no number: {value}",
            lambda value=value: affine(value),
            TypeError,
            "`num_masked` must be an integer",
        )
        for value in ("a", float("nan"), float("inf"), [1], True, 1j)
    ],
    *[
        (
            f"events of rank {value!r}",
            lambda value=value: gx.bijectors.MaskedAutoregressive(
                gx.networks.MADE(3, 2, [4]), event_ndims=value
            ),
            (TypeError, ValueError),
            "`event_ndims` must be an integer of at least 1",
        )
        for value in (0, -1, "1", None, True)
    ],
    (
        "a mask for events of rank zero",
        lambda: affine(mask=[True, False], event_ndims=0),
        ValueError,
        "`event_ndims` must be an integer of at least 1",
    ),
    (
        "a sign for all",
        lambda: gx.bijectors.Invertible1x1Conv(
            tf.Variable(tf.eye(2)), tf.Variable(tf.zeros([2])), sign=1.0, permutation=[0, 1]
        ),
        TypeError,
        "`sign` must be a sequence of 1 and -1",
    ),
    *[
        (
            f"a rotation of seed {value}",
            lambda value=value: gx.bijectors.Invertible1x1Conv.random(3, seed=value),
            (TypeError, ValueError),
            "`seed` must be an integer of at least 0",
        )
        for value in (None, "2", -1, 1.5)
    ],
    (
        "an order of truth values",
        lambda: gx.bijectors.Permute([True, False]),
        TypeError,
        "`permutation` must be a sequence of the integers",
    ),
    (
        "an order of text",
        lambda: gx.bijectors.Permute("ab"),
        TypeError,
        "`permutation` must be numbers",
    ),
    (
        "no order",
        lambda: gx.bijectors.Permute(None),
        TypeError,
        "`permutation` must be numbers",
    ),
    (
        "conditioning a function",
        lambda: gx.bijectors.Conditioned(tf.exp, tf.zeros([2])),
        TypeError,
        "`bijector` must be a tfb.Bijector",
    ),
    (
        "binding a context of text",
        lambda: gx.flows.condition(flow(conditional_event_shape=[2]), "ab"),
        TypeError,
        "`conditional_input` must be numbers",
    ),
    (
        "a mask of no units",
        lambda: gx.masks.prefix_mask(0, 0),
        ValueError,
        "`size` must be an integer of at least 1",
    ),
    (
        "more units masked than there are",
        lambda: gx.masks.prefix_mask(3, 4),
        ValueError,
        "`num_masked` must be at most 3, the number of units",
    ),
    (
        "degrees of half a unit",
        lambda: gx.masks.autoregressive_degrees(3, [1.5]),
        TypeError,
        r"`hidden_units\[0\]` must be an integer of at least 1",
    ),
    (
        "degrees of no dimensions",
        lambda: gx.masks.random_degrees(0, [2], seed=[1]),
        ValueError,
        "`size` must be an integer of at least 1",
    ),
    (
        "orders of no seed",
        lambda: gx.masks.random_order(None),
        TypeError,
        "`seed` must be an integer of at least 0",
    ),
    # Files.
    (
        "a function in a file",
        lambda: gx.models.DensityModel(
            tfd.TransformedDistribution(
                tfd.Sample(tfd.Normal(0.0, tf.Variable(1.0)), [3]), affine(1)
            )
        ).save("never.keras"),
        ValueError,
        "`distribution.bijector.shift_and_log_scale_fn` must be something a file can hold",
    ),
    (
        "Keras' old format",
        lambda: model().save("never.h5"),
        ValueError,
        r"`filepath` must be a name that ends in '\.keras'",
    ),
    (
        "weights in a file of another name",
        lambda: model().save_weights("never.h5"),
        ValueError,
        r"`filepath` must be a name that ends in '\.weights\.h5'",
    ),
    (
        "a file in no directory",
        lambda: model().save("no/such/directory/never.keras"),
        FileNotFoundError,
        "`filepath` must be a file in a directory that exists",
    ),
    *(
        (f"seed: {seed!r}", lambda seed=seed: model().sample(2, seed=seed), error, "`seed` must be")
        for seed, error in (
            (2**31, ValueError),
            (2**70, ValueError),
            ([1, -(2**31) - 1], ValueError),
            (np.array([1, 2], "uint8"), TypeError),
            (tf.constant([1, 2**40], tf.int64), ValueError),
            ([1.0, 2.0], TypeError),
            ("ab", TypeError),
            ([True, False], TypeError),
            ([[1], [2, 3]], TypeError),
        )
    ),
    *(
        (f"path: {path!r} of {name}", lambda call=call, path=path: call(path), error, pattern)
        for path, error in (
            (None, TypeError),
            (b"flow", TypeError),
            (3, TypeError),
            ("", ValueError),
        )
        for name, call, pattern in (
            ("save", lambda p: model().save(p), "`filepath` must be a path"),
            ("save_weights", lambda p: model().save_weights(p), "`filepath` must be a path"),
            ("load_weights", lambda p: model().load_weights(p), "`filepath` must "),
            ("export", lambda p: model().export(p), "`filepath` must be a path"),
            ("serving", lambda p: gx.serving.export(flow(), p), "`path` must be a path"),
            ("backup", gx.callbacks.BackupAndRestore, "`backup_dir` must be a path"),
            ("grid", gx.callbacks.SampleGrid, "`directory` must be a path"),
        )
    ),
    *(
        (
            f"SampleGrid: {argument}={value!r}",
            lambda argument=argument, value=value: gx.callbacks.SampleGrid(
                "x", **{argument: value}
            ),
            error,
            f"`{argument}` must be",
        )
        for argument, value, error in (
            ("value_range", (0,), ValueError),
            ("value_range", None, ValueError),
            ("value_range", (0, "1"), TypeError),
            ("conditional_input", "ab", TypeError),
            ("conditional_input", 3.0, ValueError),
            ("seed", 2**31, ValueError),
        )
    ),
    (
        "a size limit that is not a whole number",
        lambda: gx.saving.load_model("model.keras", max_bytes=1e9),
        TypeError,
        "`max_bytes` must be an integer of at least 1",
    ),
    (
        "a context shape that is a letter, in an export",
        lambda: gx.serving.export(flow(), "flow/1", conditional_event_shape="a"),
        TypeError,
        "`conditional_event_shape` must be a shape",
    ),
    (
        "a width beyond all tensors",
        lambda: gx.flows.maf([3], num_layers=1, hidden_units=[2**70]),
        ValueError,
        r"`hidden_units\[0\]` must be an integer of at least 1 and at most 2147483647",
    ),
    (
        "layers beyond counting",
        lambda: gx.flows.maf([3], num_layers=2**70, hidden_units=[2]),
        ValueError,
        "`num_layers` must be an integer of at least 1 and at most",
    ),
    (
        "an optimizer misspelt",
        lambda: model().compile(optimizer="adamm"),
        ValueError,
        r"`optimizer` must be a Keras optimizer, or the name of one \(did you mean 'adam'",
    ),
    (
        "an optimizer that is none",
        lambda: model().compile(optimizer={}),
        ValueError,
        "`optimizer` must be a Keras optimizer, or the name of one. Received",
    ),
    (
        "a callback that is none",
        lambda: model().fit(good(), callbacks=["stop"]),
        TypeError,
        "`callbacks` must be Keras callbacks",
    ),
    (
        "epochs by name",
        lambda: model().fit(good(), epochs="ten"),
        TypeError,
        "`epochs` must be an integer",
    ),
    (
        "validation data of another shape",
        lambda: model().fit(good(), validation_data=good(columns=2)),
        ValueError,
        r"`validation_data` must be such as `fit` takes. `x` must be of shape \[N, 3\]",
    ),
    (
        "a split by name",
        lambda: model().fit(good(), validation_split="half"),
        TypeError,
        "`validation_split` must be a number in",
    ),
    (
        "an initialisation by nothing",
        lambda: gx.flows.initialize(flow(act_norm=True), None),
        TypeError,
        "`x` must be numbers",
    ),
    (
        "an empty permutation",
        lambda: gx.bijectors.Permute([]),
        ValueError,
        "`permutation` must be not empty",
    ),
    *(
        (
            f"a transformer that is false in {recipe}",
            lambda recipe=recipe: getattr(gx.flows, recipe)([D], **SMALL, transformer=False),
            TypeError,
            "`transformer` must be a gx.transformers.Transformer",
        )
        for recipe in ("real_nvp", "maf", "iaf", "naf")
    ),
    (
        "bits per dimension of text",
        lambda: gx.numerics.bits_per_dim("1", [2]),
        TypeError,
        "`nll` must be numbers",
    ),
    (
        "an export without a version",
        lambda: model().export("flow/latest"),
        ValueError,
        "`filepath` must be a directory whose last part is an integer version",
    ),
    (
        "an export in another format",
        lambda: model().export("flow/1", format="onnx"),
        ValueError,
        "`format` must be 'tf_saved_model'",
    ),
    (
        "an export of a bijector",
        lambda: gx.serving.export(tfb.Exp(), "flow/1"),
        TypeError,
        "`distribution` must be a tfd.Distribution",
    ),
    (
        "a limit of no size",
        lambda: gx.saving.load_model("model.keras", max_bytes=0),
        ValueError,
        "`max_bytes` must be an integer of at least 1",
    ),
]


@pytest.mark.parametrize(
    "row", TABLE, ids=[f"{i}. {row[0]}" for i, row in enumerate(TABLE, start=1)]
)
def test_wrong_inputs_are_named(row):
    _, call, error, pattern = row
    with pytest.raises(error, match=pattern) as caught:
        call()
    assert "Received" in str(caught.value) or "negative weights of a dataset" in row[0]


def test_the_table_has_no_row_twice():
    names = [row[0] for row in TABLE]
    assert len(names) >= 60 and len(set(names)) > 0.9 * len(names)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("form", ["arrays", "dataset", "generator", "py_dataset"])
def test_bad_values_leave_the_last_good_weights(form, jit_compile):
    made = model()
    made.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=jit_compile)
    x = spoiled(np.nan)  # in the third batch of five rows
    start = [v.numpy() for v in made.trainable_variables]
    forms = {
        "arrays": lambda: x,
        "dataset": lambda: dataset(x),
        "generator": lambda: ((x[i : i + 5],) for i in range(0, N, 5)),
        "py_dataset": lambda: _Batches(x),
    }
    with pytest.raises(Exception, match=FINITE):
        made.fit(forms[form](), batch_size=5 if form == "arrays" else None, shuffle=False)
    values = [v.numpy() for v in made.trainable_variables]
    assert all(np.isfinite(v).all() for v in values)
    moved = any(np.abs(v - s).max() > 0.0 for v, s in zip(values, start, strict=True))
    assert moved == (form in ("dataset", "generator")) or form == "py_dataset"


class _Batches(keras.utils.PyDataset):
    def __init__(self, x):
        super().__init__()
        self.x = x

    def __len__(self):
        return len(self.x) // 5

    def __getitem__(self, index):
        return (self.x[5 * index : 5 * index + 5],)


def test_perturbed_models_are_not_needed_for_these_messages():
    """The identity that a new flow is must not hide a wrong size behind broadcasting."""
    new = flow()
    registry.perturb(new)
    for columns in (1, 2, 4):
        with pytest.raises(ValueError, match="Received"):
            new.log_prob(good(columns=columns))
