"""Messages for what users of TFP, tf_keras and Keras try first: each says the way out."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions

FLOW = {"num_layers": 2, "hidden_units": [4]}


def normal(size):
    return tfd.Sample(tfd.Normal(0.0, 1.0), size)


@pytest.mark.parametrize(
    "call",
    [
        lambda: gx.flows.real_nvp([2], **FLOW).log_prob(keras.Input([2])),
        lambda: gx.flows.maf([2], **FLOW).log_prob(keras.Input([2])),
        lambda: gx.flows.maf([2], **FLOW).bijector.forward(keras.Input([2])),
        lambda: gx.bijectors.Permute([1, 0]).forward(keras.Input([2])),
        lambda: gx.bijectors.Squeeze().inverse(keras.Input([2, 2, 4])),
    ],
    ids=["real_nvp", "maf", "forward", "permute", "squeeze"],
)
def test_a_symbolic_tensor_of_keras(call):
    with pytest.raises(TypeError, match=r"must be a tensor of TensorFlow.*symbolic.*Received: "):
        call()


@pytest.mark.parametrize("network", [tf_keras.layers.Dense(4), tf_keras.Sequential()])
def test_a_network_of_tf_keras_in_a_coupling(network):
    pattern = r"must be a Keras 3 layer.*gx\.networks\.MLP.*Received: .*of type tf_keras\."
    with pytest.raises(TypeError, match=f"`shift_and_log_scale_fn` {pattern}"):
        gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=network)
    with pytest.raises(TypeError, match=f"`conditioner` {pattern}"):
        gx.bijectors.AdditiveCoupling(1, conditioner=network)


def test_a_layer_of_tf_keras_that_takes_the_number_of_units_is_taken():
    class Shift(tf_keras.layers.Layer):
        def call(self, x0, num_units):
            return tf.repeat(x0, num_units, axis=-1), None

    coupling = gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=Shift())
    assert coupling.forward([1.0, 2.0, 3.0]).numpy().tolist() == [1.0, 3.0, 4.0]


@pytest.mark.parametrize(
    "build, value",
    [
        (lambda f: gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=f), tf.ones([2, 4])),
        (lambda f: gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=f), 3.0),
        (gx.bijectors.MaskedAutoregressive, tf.ones([2, 6])),
        (gx.bijectors.MaskedAutoregressive, (1.0, 2.0, 3.0)),
    ],
)
def test_a_function_that_returns_no_pair(build, value):
    bijector = build(lambda *inputs: value)
    pattern = r"`shift_and_log_scale_fn` must return a pair \(shift, log_scale\).*Received: "
    with pytest.raises(ValueError, match=pattern):
        bijector.inverse(tf.ones([2, 3]))


def test_a_stacked_pair_is_taken_as_tfp_takes_it():
    x = tf.constant([[1.0, 2.0, 3.0]])
    stack = lambda x0, n: tf.stack([tf.repeat(x0, n, axis=-1)] * 2)  # noqa: E731
    ours = gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=stack)
    theirs = tfb.RealNVP(1, shift_and_log_scale_fn=stack)
    np.testing.assert_allclose(ours.forward(x), theirs.forward(x), rtol=1e-6)


def test_a_stacked_pair_of_a_shape_that_the_graph_has_lost_is_taken():
    def function(y):
        stacked = tf.stack([y[..., :1] + tf.zeros_like(y), tf.zeros_like(y)], axis=-1)
        return tf.py_function(lambda value: value, [stacked], tf.float32)

    flow = gx.bijectors.MaskedAutoregressive(function)
    x = tf.constant([[1.0, 2.0]])
    inverse = tf.function(flow.inverse, autograph=False)
    np.testing.assert_allclose(inverse(x), [[0.0, 1.0]], rtol=1e-6)


def test_the_argument_of_a_network_of_another_size_is_named():
    layer = keras.layers.Dense(5, name="five")
    coupling = gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=layer)
    pattern = r"`shift_and_log_scale_fn` must return parameters of shape.*\[2, 5\].*`five`"
    with pytest.raises(ValueError, match=pattern):
        coupling.forward(tf.ones([2, 3]))


def test_a_misspelt_activation():
    with pytest.raises(ValueError, match="`activation` must be .*did you mean 'relu'"):
        gx.flows.maf([2], **FLOW, activation="rellu")


def dense(size, **options):
    return keras.Sequential([keras.layers.Dense(size, **options)])


def test_a_network_of_tf_keras_that_is_not_built():
    network = tfb.AutoregressiveNetwork(2, hidden_units=[4])
    flow = tfd.TransformedDistribution(normal(3), tfb.MaskedAutoregressiveFlow(network))
    with pytest.raises(ValueError, match=r"`distribution` must hold networks that are built.*log_"):
        gx.models.DensityModel(flow)
    flow.log_prob(tf.zeros([2, 3]))
    assert len(gx.models.DensityModel(flow).trainable_variables) == 4


def gan(columns=3, **options):
    return gx.models.GAN(dense(columns), dense(1), prior=normal(4), **options)


def test_one_optimizer_for_a_gan():
    pattern = "`optimizer` must be None, for a GAN: it has two.*generator_optimizer=.*'adam'"
    with pytest.raises(ValueError, match=pattern):
        gan().compile(optimizer="adam")
    with pytest.raises(ValueError, match="`discriminator_optimizer` must be .* a GAN has two"):
        gan().compile("adam")


def test_a_generator_of_another_size_than_the_data():
    model = gan(4)
    model.compile("adam", "adam")
    pattern = r"`generator` must return .*\[N, 5\], or .*\[N, 4\].*Received: x of shape \[8, 5\]"
    with pytest.raises(ValueError, match=pattern):
        model.fit(np.zeros([8, 5], "float32"), verbose=0)


def vae(size=3, context=None):
    latents = gx.distributions.IndependentNormal([2])
    data = gx.distributions.IndependentNormal([size])
    return gx.models.VAE(
        gx.distributions.Conditional(dense(latents.params_size), latents),
        gx.distributions.Conditional(dense(data.params_size), data),
        prior=normal(2),
        conditional_event_shape=context,
    )


def test_a_decoder_of_another_size_than_the_data():
    model = vae(4)
    model.compile()
    with pytest.raises(ValueError, match=r"`decoder` must return .*Received: x of shape \[8, 5\]"):
        model.fit(np.zeros([8, 5], "float32"), verbose=0)


def test_conditional_models_of_sequential_networks():
    pattern = r"must have a model of two inputs.*keras\.Model\(\[x, c\].*Received: Sequential"
    with pytest.raises(ValueError, match=f"(?s)`generator` {pattern}") as error:
        gan(conditional_event_shape=[3])
    assert len(str(error.value).splitlines()) < 8
    with pytest.raises(ValueError, match=f"(?s)`decoder` {pattern}"):
        vae(context=[3])


def test_the_way_that_the_message_shows_works():
    def of_two(shape, network):
        x, c = keras.Input(shape), keras.Input([2])
        return keras.Model([x, c], network(keras.layers.Concatenate()([x, c])))

    model = gx.models.GAN(
        of_two([4], dense(3)),
        of_two([3], dense(1)),
        prior=normal(4),
        conditional_event_shape=[2],
    )
    assert model.sample(5, conditional_input=tf.ones([1, 2])).shape == [5, 1, 3]


def conditional():
    flow = gx.flows.maf([3], **FLOW, conditional_event_shape=[2])
    model = gx.models.DensityModel(flow)
    model.compile()
    return model


X, C = np.zeros([8, 3], "float32"), np.zeros([8, 2], "float32")


def pairs(*parts):
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0])


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.fit(X, C),
        lambda m: m.fit(C, X, validation_data=(X, C)),
        lambda m: m.evaluate(X, C),
        lambda m: m.predict((X, C)),
        lambda m: m.train_on_batch(X, C),
        lambda m: m.fit(pairs(X, C).batch(4)),
        lambda m: m.fit(batch for batch in [(X, C)]),
    ],
    ids=["fit", "validation", "evaluate", "predict", "on_batch", "dataset", "generator"],
)
def test_contexts_after_events(call):
    pattern = r"`conditional_input` must come before `x`: `fit\(c, x\)`.*Received: "
    with pytest.raises(ValueError, match=pattern):
        call(conditional())


def model():
    made = gx.models.DensityModel(gx.flows.maf([3], **FLOW))
    made.compile()
    return made


def test_a_dataset_without_batches():
    for call in (lambda: model().fit(pairs(X)), lambda: conditional().fit(pairs(C, X))):
        with pytest.raises(ValueError, match=r"Received: shape \[3\], a single row: `\.batch`"):
            call()
    with pytest.raises(ValueError, match=r"Received: shape \[3\], a single row"):
        model().predict(X[0])


class Frame:
    """What this package takes of a data frame: `columns`, `shape` and `__array__`."""

    def __init__(self, **columns):
        self._table = np.stack([np.asarray(v) for v in columns.values()], axis=1)
        self.columns = list(columns)
        self.shape = self._table.shape

    def __len__(self):
        return len(self._table)

    def __array__(self, dtype=None, copy=None):
        return self._table.astype(dtype or self._table.dtype)


def test_a_column_with_nan_is_named():
    x = X.copy()
    x[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"`x` must be finite.* 1 NaN .*24 entries, in column 1$"):
        model().fit(x)
    frame = Frame(age=x[:, 0], income=x[:, 1], rate=x[:, 2])
    with pytest.raises(ValueError, match="in column 'income'$"):
        model().fit(frame)
    with pytest.raises(ValueError, match="`conditional_input` must be finite.*in column 'b'$"):
        conditional().fit(Frame(a=x[:, 0], b=x[:, 1]), X)


def test_columns_of_text_are_named():
    table = X.astype(object)
    table[:, 2] = "north"
    pattern = r"`x` must be an array of numbers.*Received: dtype object.*, in column 2$"
    with pytest.raises(TypeError, match=pattern):
        model().fit(table)
    with pytest.raises(TypeError, match="Received: dtype <U.*, in column 2$"):
        model().fit(table.astype(str))
    frame = Frame(age=table[:, 0], income=table[:, 1], place=table[:, 2])
    with pytest.raises(TypeError, match="in column 'place'$"):
        model().fit(frame)
    with pytest.raises(TypeError, match="of numbers: convert them"):
        model().fit(X.astype(object))


def test_many_bad_columns_are_cut_short():
    wide = gx.models.DensityModel(gx.flows.maf([12], **FLOW))
    wide.compile()
    pattern = r"in columns 0, 1, 2, 3, 4, 5, 6, 7 and 4 more$"
    with pytest.raises(ValueError, match=pattern):
        wide.fit(np.full([4, 12], np.inf, "float32"))


def test_the_argument_of_an_export_is_its_own(tmp_path):
    with pytest.raises(ValueError, match="`filepath` must be a directory whose last part"):
        model().export(tmp_path / "latest")
    with pytest.raises(ValueError, match="`path` must be a directory whose last part"):
        gx.serving.export(gx.flows.maf([3], **FLOW), tmp_path / "latest")
    (tmp_path / "1").mkdir()
    with pytest.raises(FileExistsError, match="`filepath` must not exist.*Received: filepath="):
        model().export(tmp_path / "1")
