"""Contexts of several tensors, as functional Keras models take them, and of varying length."""

from __future__ import annotations

import cpp_loader
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

RNG = np.random.default_rng(0)
A = RNG.normal(size=[24, 3]).astype("float32")
B = RNG.normal(size=[24, 5, 1]).astype("float32")
Y = RNG.normal(size=[24, 2]).astype("float32")
HEAD = gx.distributions.IndependentNormal([2])
SHAPES = {"a": (3,), "b": (None, 1)}


def network(kind):
    a, b = keras.Input([3], name="a"), keras.Input([None, 1], name="b")
    features = keras.layers.Concatenate()([a, keras.layers.GlobalAveragePooling1D()(b)])
    params = keras.layers.Dense(HEAD.params_size)(features)
    return keras.Model(structured(kind, a, b), params)


def structured(kind, a, b):
    return {"dict": {"a": a, "b": b}, "list": [a, b], "tuple": (a, b)}[kind]


def by_hand(model, c, y):
    return model.distribution.head(model.distribution.network(c)).log_prob(y).numpy()


def some(c, rows):
    return keras.tree.map_structure(lambda part: part[rows], c)


def fitted(kind):
    keras.utils.set_random_seed(0)
    model = gx.models.DensityModel(gx.distributions.Conditional(network(kind), HEAD))
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    return model


class Batches(keras.utils.PyDataset):
    def __init__(self, c):
        super().__init__()
        self.c = c

    def __len__(self):
        return 3

    def __getitem__(self, i):
        rows = slice(8 * i, 8 * i + 8)
        return some(self.c, rows), Y[rows]


each_kind = pytest.mark.parametrize("kind", ["dict", "list", "tuple"])


@each_kind
def test_arrays_datasets_and_generators_are_taken_alike(kind):
    c = structured(kind, A, B)
    batches = Batches(c)
    dataset = tf.data.Dataset.from_tensor_slices((tuple(c) if kind == "list" else c, Y)).batch(8)
    sources = {
        "arrays": ((c, Y), {"shuffle": False, "batch_size": 8}),
        "dataset": ((dataset,), {}),
        "generator": (((batches[i] for i in range(3)),), {}),
        "py_dataset": ((batches,), {"shuffle": False}),
    }
    trained = {}
    for name, (data, options) in sources.items():
        model = fitted(kind)
        model.fit(*data, epochs=1, verbose=0, **options)
        trained[name] = model.predict((c, Y), verbose=0)
        np.testing.assert_allclose(trained[name], by_hand(model, c, Y), rtol=1e-5)
        nll = model.evaluate(c, Y, verbose=0, return_dict=True)["nll"]
        np.testing.assert_allclose(nll, -np.mean(trained[name]), rtol=1e-5)
        np.testing.assert_allclose(trained[name], trained["arrays"], rtol=1e-5)


@each_kind
def test_files_and_exports_have_one_named_input_each(kind, tmp_path):
    c = structured(kind, A, B)
    model = fitted(kind)
    model.fit(c, Y, validation_split=0.25, sample_weight=np.ones(24), verbose=0)
    expected = model.predict((c, Y), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict((c, Y), verbose=0), expected)
    model.export(tmp_path / "1", verbose=False)
    served = tf.saved_model.load(tmp_path / "1").signatures
    answer = served["log_prob"](x=tf.constant(Y), a=tf.constant(A), b=tf.constant(B))
    np.testing.assert_allclose(answer["log_prob"], expected, rtol=1e-5)
    outside = cpp_loader.serve(tmp_path / "1", {"all": ("log_prob", {"x": Y, "a": A, "b": B})})
    np.testing.assert_allclose(outside["all"]["log_prob"], expected, rtol=1e-5)
    # Rows and lengths are free.
    few = {"a": tf.constant(A[:4]), "b": tf.constant(B[:4, :2])}
    samples = model.sample(3, seed=[1, 2], conditional_input=structured(kind, **few))
    number, seed = tf.constant(3), tf.constant([1, 2])
    drawn = served["sample"](num_samples=number, seed=seed, **few)["samples"]
    np.testing.assert_allclose(drawn, samples, rtol=1e-5)
    rows = served["sample_rows"](seed=tf.constant([[1, 2]] * 4), **few)["samples"]
    one = model.distribution(some(structured(kind, **few), 1)).sample(seed=[1, 2])
    np.testing.assert_allclose(rows[1], one, rtol=1e-5)


def test_inputs_of_no_name_are_numbered(tmp_path):
    class Network(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(HEAD.params_size)

        def build(self, shapes):
            self.dense.build((None, 5))

        def call(self, inputs):
            first, second = inputs
            return self.dense(keras.ops.concatenate([first, second], axis=-1))

    conditional = gx.distributions.Conditional(Network(), HEAD)
    model = gx.models.DensityModel(conditional, conditional_event_shape=((3,), (2,)))
    model.compile(optimizer="adam")
    model.fit((A, Y), Y, verbose=0)
    model.export(tmp_path / "1", verbose=False)
    served = tf.saved_model.load(tmp_path / "1").signatures["log_prob"]
    answer = served(x=Y, conditional_input_0=tf.constant(A), conditional_input_1=tf.constant(Y))
    np.testing.assert_allclose(answer["log_prob"], model.predict(((A, Y), Y), verbose=0), rtol=1e-5)


def test_the_first_data_tell_the_structure_to_a_network_that_is_not_built():
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding = keras.layers.Embedding(4, 2)
            self.dense = keras.layers.Dense(HEAD.params_size)

        def call(self, inputs):
            known = self.embedding(inputs["kind"])
            return self.dense(keras.ops.concatenate([inputs["a"], known], axis=-1))

    conditional = gx.distributions.Conditional(Network(), HEAD)
    model = gx.models.DensityModel(conditional)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    c = {"a": A, "kind": np.arange(24) % 4}
    losses = model.fit(c, Y, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert model.conditional_event_shape == {"a": (3,), "kind": ()}
    np.testing.assert_allclose(model.predict((c, Y), verbose=0), by_hand(model, c, Y), rtol=1e-5)
    assert model.sample(2, seed=[1, 2], conditional_input=c).shape == [2, 24, 2]


@pytest.mark.parametrize("layer", [keras.layers.LSTM(4), keras.layers.GlobalAveragePooling1D()])
def test_sequences_of_another_length_in_each_batch(layer, tmp_path):
    sequence = keras.Sequential(
        [keras.Input([None, 1]), layer, keras.layers.Dense(HEAD.params_size)]
    )
    conditional = gx.distributions.Conditional(sequence, HEAD)
    model = gx.models.DensityModel(conditional, conditional_event_shape=(None, 1))
    model.compile(optimizer=keras.optimizers.Adam(1e-2))

    def batches():
        for length in (2, 3, 5):
            yield B[:, :length], Y

    model.fit(batches(), verbose=0)
    spec = (tf.TensorSpec([None, None, 1]), tf.TensorSpec([None, 2]))
    model.fit(tf.data.Dataset.from_generator(batches, output_signature=spec), verbose=0)
    model.export(tmp_path / "1", verbose=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    served = tf.saved_model.load(tmp_path / "1").signatures["log_prob"]
    for length in (1, 4):
        c = B[:, :length]
        expected = by_hand(model, c, Y)
        np.testing.assert_allclose(model.predict((c, Y), verbose=0), expected, rtol=1e-5)
        np.testing.assert_allclose(loaded.predict((c, Y), verbose=0), expected, rtol=1e-5)
        answer = served(x=tf.constant(Y), conditional_input=tf.constant(c))["log_prob"]
        np.testing.assert_allclose(answer, expected, rtol=1e-5)
    assert model.sample(2, seed=[1, 2], conditional_input=B[:, :3]).shape == [2, 24, 2]


def test_warm_up_requests_know_all_inputs(tmp_path):
    pytest.importorskip("tensorflow_serving")
    model = fitted("dict")
    model.export(tmp_path / "1", warmup=[1, 2], verbose=False)
    assert (tmp_path / "1" / "assets.extra" / "tf_serving_warmup_requests").exists()


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"a": A}, r"`conditional_input` must be a dictionary of \['a', 'b'\]. Received: keys"),
        (A, r"`conditional_input` must be a dictionary .* Received: shape \[24, 3\]"),
        ([A, B], r"`conditional_input` must be a dictionary .* Received: a list of 2"),
        ({"a": A, "b": B[0]}, r"`conditional_input\['b'\]` .*\[N, None, 1\].* shape \[5, 1\]"),
        ({"a": A[:3], "b": B}, r"must have as many rows. Received: 24 and 3"),
    ],
)
def test_other_structures_are_refused_everywhere(context, message):
    model = fitted("dict")
    for call in (
        lambda: model.fit(context, Y, verbose=0),
        lambda: model.predict((context, Y), verbose=0),
        lambda: model.sample(2, conditional_input=context),
        lambda: model.fit((batch for batch in [(context, Y)]), verbose=0),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def embedding():
    a, b = keras.Input([3], name="a"), keras.Input([None, 1], name="b")
    features = keras.layers.Concatenate()([a, keras.layers.LSTM(4)(b)])
    return keras.Model({"a": a, "b": b}, keras.layers.Dense(3)(features))


@pytest.mark.parametrize("wrap", ["plain", "nested", "made"])
def test_a_network_in_front_of_a_flow_makes_one_vector_of_all(wrap, tmp_path):
    options = {"hidden_units": [8], "conditional_event_shape": [3]}
    if wrap == "made":
        flow = gx.autoregressive.made([2], head=gx.distributions.IndependentNormal([]), **options)
    else:
        flow = gx.flows.maf([2], num_layers=2, act_norm=True, **options)
    if wrap == "nested":
        flow = tfp.distributions.TransformedDistribution(flow, tfp.bijectors.Softplus())
    conditional = gx.distributions.Conditional(embedding(), flow)
    model = gx.models.DensityModel(conditional)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    c, y = {"a": A, "b": B}, np.abs(Y) + 3.0
    losses = model.fit(c, y, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    norms = [m for m in flow.submodules if isinstance(m, gx.bijectors.ActNorm)]
    assert all(bool(norm.initialized) for norm in norms) and (norms or wrap == "made")
    expected = model.predict((c, y), verbose=0)
    vectors = conditional.network(c)
    kwargs = gx.flows.bijector_kwargs(flow, vectors)
    np.testing.assert_allclose(flow.log_prob(tf.constant(y), **kwargs), expected, rtol=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict((c, y), verbose=0), expected, rtol=1e-5)
    model.export(tmp_path / "1", verbose=False)
    served = tf.saved_model.load(tmp_path / "1").signatures["log_prob"]
    answer = served(x=tf.constant(y), a=tf.constant(A), b=tf.constant(B))["log_prob"]
    np.testing.assert_allclose(answer, expected, rtol=1e-4)
    assert model.sample(2, seed=[1, 2], conditional_input=c).shape == [2, 24, 2]


def beside(size, kind, units):
    """A functional model of inputs and a structure of contexts."""
    x, a, b = keras.Input([size]), keras.Input([3], name="a"), keras.Input([None, 1], name="b")
    b_mean = keras.layers.GlobalAveragePooling1D()(b)
    features = keras.layers.Concatenate()([x, a, b_mean])
    return keras.Model([x, structured(kind, a, b)], keras.layers.Dense(units)(features))


@pytest.mark.parametrize("kind", ["dict", "tuple"])
def test_vaes_take_structures(kind, tmp_path):
    normals = gx.distributions.IndependentNormal([2])
    model = gx.models.VAE(
        gx.distributions.Conditional(beside(2, kind, normals.params_size), normals),
        gx.distributions.Conditional(beside(2, kind, normals.params_size), normals),
        prior=gx.distributions.Conditional(network(kind), HEAD),
        conditional_event_shape=structured(kind, (3,), (None, 1)),
        seed=3,
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    c = structured(kind, A, B)
    losses = model.fit(c, Y, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    expected = model.predict((c, Y), verbose=0)
    assert model.encode(Y, c).batch_shape == [24] and model.reconstruct(Y, c).shape == [24, 2]
    assert model.log_prob(Y, 5, seed=[1, 2], conditional_input=c).shape == [24]
    samples = model.sample(3, seed=[1, 2], conditional_input=c)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict((c, Y), verbose=0), expected, rtol=1e-5)
    model.export(tmp_path / "1", verbose=False)
    served = tf.saved_model.load(tmp_path / "1").signatures["sample"]
    a, b = ("a", "b") if kind == "dict" else ("conditional_input_0", "conditional_input_1")
    given = {a: tf.constant(A), b: tf.constant(B)}
    drawn = served(num_samples=tf.constant(3), seed=tf.constant([1, 2]), **given)["samples"]
    np.testing.assert_allclose(drawn, samples, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"`conditional_input.*` must be .*Received: shape"):
        model.encode(Y, A)
    with pytest.raises(
        ValueError, match=r"`conditional_input` and `z` .* rows. Received: 24 and 3"
    ):
        model.decode(Y[:3], c)


def test_gans_take_structures(tmp_path):
    prior = tfp.distributions.Independent(tfp.distributions.Normal(tf.zeros([2]), 1.0), 1)
    model = gx.models.GAN(
        beside(2, "dict", 2),
        beside(2, "dict", 1),
        prior=prior,
        conditional_event_shape={"a": (3,), "b": (None, 1)},
        seed=3,
    )
    model.compile(generator_optimizer="adam", discriminator_optimizer="adam")
    c = {"a": A, "b": B}
    model.fit(c, Y, verbose=0)
    samples = model.sample(3, seed=[1, 2], conditional_input=c)
    assert samples.shape == [3, 24, 2] and np.isfinite(samples).all()
    model.export(tmp_path / "1", verbose=False)
    served = tf.saved_model.load(tmp_path / "1").signatures["sample"]
    given = {"a": tf.constant(A), "b": tf.constant(B)}
    drawn = served(num_samples=tf.constant(3), seed=tf.constant([1, 2]), **given)["samples"]
    np.testing.assert_allclose(drawn, samples, rtol=1e-4, atol=1e-5)


def test_what_takes_one_tensor_says_what_to_write_instead():
    message = r"`conditional_event_shape` must be .* gx.distributions.Conditional\(network, flow\)"
    for shapes in (SHAPES, [(3,), (2,)], (None, 1)):
        with pytest.raises(ValueError, match=message):
            gx.flows.maf([2], num_layers=1, hidden_units=[4], conditional_event_shape=shapes)
        with pytest.raises(ValueError, match=message):
            gx.autoregressive.made([2], hidden_units=[4], conditional_event_shape=shapes)
    flow = gx.flows.maf([2], num_layers=1, hidden_units=[4], conditional_event_shape=[3])
    with pytest.raises(ValueError, match=message):
        gx.models.DensityModel(flow, conditional_event_shape=SHAPES)


def test_names_that_signatures_have_already_are_refused(tmp_path):
    a = keras.Input([3], name="seed")
    params = keras.layers.Dense(HEAD.params_size)(a)
    conditional = gx.distributions.Conditional(keras.Model({"seed": a}, params), HEAD)
    model = gx.models.DensityModel(conditional)
    with pytest.raises(ValueError, match=r"`conditional_event_shape` .* Received: .*'seed'"):
        model.export(tmp_path / "1", verbose=False)
