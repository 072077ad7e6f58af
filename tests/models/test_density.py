"""DensityModel: maximum likelihood by the ordinary Keras calls."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import registry
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfb = tfp.bijectors
tfd = tfp.distributions


class Exact(tf.Module):
    """Numbers every test can work out by hand: a normal of unknown location."""

    def __init__(self):
        super().__init__()
        self.loc = tf.Variable([0.5, -0.5])
        self.distribution = tfd.MultivariateNormalDiag(loc=self.loc)

    def nll(self, x):
        difference = np.asarray(x) - self.loc.numpy()
        return 0.5 * (difference**2).sum(-1) + math.log(2.0 * math.pi)


@pytest.fixture
def exact():
    return Exact()


@pytest.fixture
def x():
    return np.random.default_rng(3).normal(size=[50, 2]).astype("float32")


@pytest.fixture
def c():
    return np.random.default_rng(4).normal(size=[50, 3]).astype("float32")


def flow_model(**options):
    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[8], **options)
    registry.perturb(flow)
    model = gx.models.DensityModel(flow)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    return model


def test_predict_evaluate_and_loss_are_the_likelihood_by_hand(exact, x):
    model = gx.models.DensityModel(exact.distribution, bits_per_dim=True)
    model.compile(optimizer="sgd")
    np.testing.assert_allclose(model.predict(x, verbose=0), -exact.nll(x), rtol=1e-5)
    np.testing.assert_allclose(model(x), -exact.nll(x), rtol=1e-5)
    np.testing.assert_allclose(model.predict_on_batch(x), -exact.nll(x), rtol=1e-5)
    results = model.evaluate(x, verbose=0, batch_size=7, return_dict=True)
    expected = exact.nll(x).mean()
    np.testing.assert_allclose(results["nll"], expected, rtol=1e-5)
    np.testing.assert_allclose(results["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(results["bits_per_dim"], expected / (2 * math.log(2)), rtol=1e-5)


def test_a_step_of_sgd_by_hand(exact, x):
    model = gx.models.DensityModel(exact.distribution)
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    expected = exact.loc.numpy() - 0.1 * (exact.loc.numpy() - x.mean(axis=0))
    model.fit(x, batch_size=50, verbose=0)
    np.testing.assert_allclose(exact.loc, expected, rtol=1e-5)


def test_weights_by_hand_in_every_form_of_data(x):
    weights = np.linspace(0.0, 3.0, 50).astype("float32")
    after = {}
    for form in ("arrays", "tensors", "dataset", "generator"):
        exact = Exact()
        model = gx.models.DensityModel(exact.distribution)
        model.compile(optimizer=keras.optimizers.SGD(0.1))
        # Arrays are brought to a mean weight of 1; the weights of a batch are used as they are.
        used = weights / weights.mean() if form in ("arrays", "tensors") else weights
        gradient = (used[:, None] * (exact.loc.numpy() - x)).mean(axis=0)
        expected = exact.loc.numpy() - 0.1 * gradient
        dataset = tf.data.Dataset.from_tensor_slices((x, weights)).batch(50)
        if form == "arrays":
            model.fit(x, sample_weight=weights, batch_size=50, verbose=0)
        elif form == "tensors":
            model.fit(tf.constant(x), sample_weight=weights, batch_size=50, verbose=0)
        elif form == "dataset":
            model.fit(dataset.map(lambda x, w: (x, None, w)), verbose=0)
        else:
            model.fit(((x, None, weights) for _ in range(1)), verbose=0)
        np.testing.assert_allclose(exact.loc, expected, rtol=1e-5, err_msg=form)
        results = model.evaluate(x, sample_weight=weights, verbose=0, return_dict=True)
        nll = np.average(exact.nll(x), weights=weights)
        np.testing.assert_allclose(results["nll"], nll, rtol=1e-5)
        after[form] = results["nll"]
    assert len(after) == 4


def test_weights_count_like_repeated_rows(x):
    """A full-batch step from weights k is the step from rows that stand there k times."""
    counts = np.arange(50) % 4
    repeated = np.repeat(x, counts, axis=0)
    results = []
    for rows, options in ((repeated, {}), (x, {"sample_weight": counts})):
        keras.utils.set_random_seed(5)
        model = flow_model()
        model.fit(rows, batch_size=200, epochs=3, shuffle=False, verbose=0, **options)
        results.append(model.evaluate(repeated, verbose=0)[0])
    np.testing.assert_allclose(*results, rtol=1e-5)


def test_validation_by_split_and_by_data(exact, x):
    model = gx.models.DensityModel(exact.distribution)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    history = model.fit(x, validation_split=0.2, verbose=0).history
    np.testing.assert_allclose(history["val_nll"], exact.nll(x[40:]).mean(), rtol=1e-5)
    history = model.fit(x, validation_data=x[:10], verbose=0).history
    np.testing.assert_allclose(history["val_nll"], exact.nll(x[:10]).mean(), rtol=1e-5)
    weights = np.r_[np.zeros(5), np.ones(5)]
    history = model.fit(x, validation_data=(x[:10], None, weights), verbose=0).history
    np.testing.assert_allclose(history["val_nll"], exact.nll(x[5:10]).mean(), rtol=1e-5)
    dataset = tf.data.Dataset.from_tensor_slices(x[:10]).batch(3)
    history = model.fit(x, validation_data=dataset, verbose=0).history
    np.testing.assert_allclose(history["val_nll"], exact.nll(x[:10]).mean(), rtol=1e-5)


class Batches(keras.utils.PyDataset):
    """Arrays as a `PyDataset`."""

    def __init__(self, *arrays, size=10):
        super().__init__()
        self.arrays, self.size, self.ended = arrays, size, 0

    def __len__(self):
        return -(-len(self.arrays[0]) // self.size)

    def __getitem__(self, index):
        rows = slice(index * self.size, (index + 1) * self.size)
        batch = tuple(a[rows] for a in self.arrays)
        return batch if len(batch) > 1 else batch[0]

    def on_epoch_end(self):
        self.ended += 1


@pytest.mark.parametrize("conditional", [False, True])
def test_every_form_of_data_gives_the_same_numbers(conditional, x, c):
    model = flow_model(conditional_event_shape=[3] if conditional else None)
    arrays = (c, x) if conditional else (x,)
    expected = model.evaluate(*arrays, verbose=0)
    parts = arrays if conditional else arrays[0]
    dataset = tf.data.Dataset.from_tensor_slices(parts).batch(10)
    np.testing.assert_allclose(model.evaluate(dataset, verbose=0), expected, rtol=1e-5)
    batches = Batches(*arrays)
    np.testing.assert_allclose(model.evaluate(batches, verbose=0), expected, rtol=1e-5)
    generator = (tuple(a[i : i + 10] for a in arrays) for i in range(0, 50, 10))
    np.testing.assert_allclose(model.evaluate(generator, verbose=0), expected, rtol=1e-5)
    np.testing.assert_allclose(
        model.evaluate(*(a.astype("float64") for a in arrays), verbose=0), expected, rtol=1e-5
    )
    log_prob = model.predict(parts, verbose=0)
    assert log_prob.shape == (50,)
    np.testing.assert_allclose(-log_prob.mean(), expected[0], rtol=1e-5)
    np.testing.assert_allclose(model.predict(dataset, verbose=0), log_prob, rtol=1e-5)
    batches.ended = 0
    model.fit(batches, epochs=2, verbose=0)
    assert batches.ended >= 2
    model.fit(dataset.repeat(), steps_per_epoch=3, verbose=0)
    assert model.optimizer.iterations == 13


def test_train_and_test_on_batch(exact, x):
    model = gx.models.DensityModel(exact.distribution)
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    expected = exact.nll(x).mean()
    np.testing.assert_allclose(model.test_on_batch(x, return_dict=True)["nll"], expected, 1e-5)
    before = exact.loc.numpy()
    model.train_on_batch(x)
    assert np.abs(exact.loc.numpy() - before).max() > 0.0


def test_conditional_density_by_hand(c):
    """x = A c + noise, with the shift linear in the context: least squares finds A."""
    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[], conditional_event_shape=[3])
    matrix = np.array([[1.0, -2.0], [0.5, 0.0], [0.0, 3.0]])
    rng = np.random.default_rng(0)
    c = rng.normal(size=[2000, 3]).astype("float32")
    x = (c @ matrix + 0.5 * rng.normal(size=[2000, 2])).astype("float32")
    model = gx.models.DensityModel(flow)
    assert model.conditional_event_shape == (3,)
    model.compile(optimizer=keras.optimizers.Adam(3e-2))
    model.fit(c, x, epochs=15, batch_size=100, verbose=0)
    entropy = 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.5))
    assert abs(model.evaluate(c, x, verbose=0)[0] - entropy) < 0.15
    samples = model.sample(500, seed=1, conditional_input=c[:4])
    assert samples.shape == [500, 4, 2]
    np.testing.assert_allclose(np.mean(samples, axis=0), c[:4] @ matrix, atol=0.3)


def test_user_metrics_see_events_and_log_densities(exact, x):
    def first_coordinate(y_true, y_pred):
        return y_true[:, 0] + 0.0 * y_pred

    model = gx.models.DensityModel(exact.distribution)
    model.compile(metrics=[first_coordinate])
    results = model.evaluate(x, verbose=0, return_dict=True)
    np.testing.assert_allclose(results["first_coordinate"], x[:, 0].mean(), rtol=1e-4, atol=1e-6)


def test_regularisation_adds_to_the_loss_and_not_to_the_nll(x):
    network = keras.Sequential(
        [
            keras.Input([1]),
            keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.5)),
            keras.layers.Reshape([1, 2]),
        ]
    )
    coupling = gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=network)
    model = gx.models.DensityModel(coupling(tfd.Sample(tfd.Normal(0.0, 1.0), [2])))
    model.compile()
    results = model.evaluate(x, verbose=0, return_dict=True)
    penalty = 0.5 * np.sum(network.layers[0].kernel.numpy() ** 2)
    assert penalty > 0.0
    np.testing.assert_allclose(results["loss"] - results["nll"], penalty, rtol=1e-4)


def test_callbacks(x, tmp_path):
    model = flow_model()
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.weights.h5", save_weights_only=True, save_best_only=True
    )
    stop = keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True, min_delta=1e9)
    board = keras.callbacks.TensorBoard(tmp_path / "logs", write_graph=False)
    history = model.fit(x, validation_split=0.2, epochs=9, callbacks=[best, stop, board], verbose=0)
    assert len(history.epoch) == 2
    assert list((tmp_path / "logs").rglob("events*"))
    restored = flow_model()
    restored.load_weights(tmp_path / "best.weights.h5")
    assert np.isfinite(restored.predict(x, verbose=0)).all()


def test_the_first_batch_sets_the_norms_of_a_loop_of_ones_own(x):
    model = flow_model(act_norm=True)
    model.train_on_batch(x)
    assert not gx.bijectors.conditioning.uninitialized(model.distribution)


def test_weights_file_gives_the_same_likelihood(x, tmp_path):
    first, second = flow_model(act_norm=True), flow_model(act_norm=True)
    first.fit(x, verbose=0)
    first.save_weights(tmp_path / "flow.weights.h5")
    second.load_weights(tmp_path / "flow.weights.h5")
    np.testing.assert_array_equal(first.predict(x, verbose=0), second.predict(x, verbose=0))


@pytest.mark.parametrize("conditional", [False, True])
def test_jit_and_several_steps_per_execution(conditional, x, c):
    arrays = (c, x) if conditional else (x,)
    losses = []
    for options in ({}, {"jit_compile": True}, {"steps_per_execution": 3}):
        keras.utils.set_random_seed(5)
        model = flow_model(conditional_event_shape=[3] if conditional else None)
        model.compile(optimizer=keras.optimizers.Adam(1e-2), **options)
        model.fit(*arrays, batch_size=10, epochs=2, shuffle=False, verbose=0)
        losses.append(model.evaluate(*arrays, verbose=0)[0])
    np.testing.assert_allclose(losses, losses[0], rtol=1e-4)


def test_samples_are_stateless():
    model = flow_model()
    np.testing.assert_array_equal(model.sample(5, seed=[1, 2]), model.sample(5, seed=[1, 2]))
    np.testing.assert_array_equal(model.sample(5, seed=7), model.sample(5, seed=[0, 7]))
    np.testing.assert_array_equal(
        model.sample(5, seed=[1, 2]), model.distribution.sample(5, seed=[1, 2])
    )


def test_discrete_distributions_train_on_integers():
    bernoulli = tfd.Independent(tfd.Bernoulli(logits=tf.Variable([0.0, 0.0])), 1)
    model = gx.models.DensityModel(bernoulli)
    model.compile(optimizer=keras.optimizers.SGD(1.0))
    x = (np.random.default_rng(0).uniform(size=[400, 2]) < [0.2, 0.7]).astype("int64")
    model.fit(x, epochs=40, batch_size=400, verbose=0)
    np.testing.assert_allclose(bernoulli.mean(), x.mean(axis=0), atol=0.02)


def test_a_model_without_trainable_variables_says_so(x):
    model = gx.models.DensityModel(tfd.MultivariateNormalDiag(loc=[0.0, 0.0]))
    model.compile()
    assert np.isfinite(model.evaluate(x, verbose=0)[0])
    with pytest.raises(ValueError, match="`distribution` must have a trainable variable.*Received"):
        model.fit(x, verbose=0)


def test_a_likelihood_that_is_not_finite_takes_no_step(x):
    scale = tf.Variable(1.0)
    model = gx.models.DensityModel(tfd.Sample(tfd.Uniform(0.0, scale), 2))
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match="log-likelihood, must be finite.*no step was taken.*Rec"):
        model.fit(x, verbose=0)
    assert scale.numpy() == 1.0


def _network_model(*layers):
    """A coupling on two dimensions around a Keras network that is not built yet."""
    network = keras.Sequential([*layers, keras.layers.Dense(2), keras.layers.Reshape([1, 2])])
    coupling = gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=network)
    model = gx.models.DensityModel(coupling(tfd.Sample(tfd.Normal(0.0, 1.0), [2])))
    model.compile(optimizer=keras.optimizers.SGD(1e-2))
    return model, network


def test_networks_train_in_training_mode_and_answer_out_of_it(x):
    norm = keras.layers.BatchNormalization(momentum=0.5)
    modes = []

    class Spy(keras.layers.Layer):
        def call(self, inputs, training=None):
            modes.append(training)
            return inputs

    model, _ = _network_model(norm, Spy())
    model.fit(x + 5.0, verbose=0)
    assert np.abs(norm.moving_mean.numpy()).max() > 1.0 and modes[-1] is True
    before = norm.moving_mean.numpy()
    model.evaluate(x, verbose=0)
    model.predict(x, verbose=0)
    assert not modes[-1]
    np.testing.assert_array_equal(norm.moving_mean, before)


def test_networks_that_wait_for_their_first_call_are_built(x, tmp_path):
    model, network = _network_model(keras.layers.Dense(4, "tanh"))
    assert len(model.trainable_variables) == len(model.distribution.trainable_variables) == 4
    model.save_weights(tmp_path / "early.weights.h5")
    other, _ = _network_model(keras.layers.Dense(4, "tanh"))
    other.load_weights(tmp_path / "early.weights.h5")
    np.testing.assert_array_equal(other.predict(x, verbose=0), model.predict(x, verbose=0))
    fresh = keras.Sequential([keras.layers.Dense(2), keras.layers.Reshape([1, 2])])
    coupling = gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=fresh)
    gx.serving.export(coupling(tfd.Sample(tfd.Normal(0.0, 1.0), [2])), tmp_path / "1")
    assert network.built and fresh.built


def test_a_network_hidden_beside_visible_variables_is_named(x):
    network = keras.layers.Dense(1)
    network.build((None, 1))
    base = tfd.MultivariateNormalDiag(loc=tf.Variable([0.0, 0.0]))
    coupling = gx.bijectors.AffineCoupling(
        1, shift_and_log_scale_fn=lambda x0, n: (network(x0), None)
    )
    model = gx.models.DensityModel(coupling(base))
    model.compile()
    with pytest.raises(ValueError, match=r"must hold variables.*Received: .*kernel"):
        model.fit(x, verbose=0)


def test_keras_layers_inside_a_module_are_seen_from_both_sides(x):
    class Conditioner(tf.Module):
        def __init__(self):
            super().__init__()
            self.layers = {"shift": keras.layers.Dense(1), "scale": [keras.layers.Dense(1)]}

        def __call__(self, x0, units):
            return self.layers["shift"](x0), self.layers["scale"][0](x0)

    coupling = gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=Conditioner())
    flow = coupling(tfd.Sample(tfd.Normal(0.0, 1.0), [2]))
    model = gx.models.DensityModel(flow)
    assert len(flow.trainable_variables) == len(model.trainable_variables) == 4
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    before = [v.numpy() for v in flow.trainable_variables]
    model.fit(x, verbose=0)
    for old, variable in zip(before, flow.trainable_variables, strict=True):
        assert np.abs(variable.numpy() - old).max() > 0.0


def test_float64_is_not_rounded_on_the_way():
    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[8], dtype="float64")
    registry.perturb(flow)
    model = gx.models.DensityModel(flow)
    model.compile(optimizer=keras.optimizers.SGD(1e-9))
    x = 100.0 * np.random.default_rng(0).normal(size=[70, 2])
    expected = flow.log_prob(x)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-12)
    weights = np.linspace(0.0, 1.0, 70)
    nll = model.evaluate(x, sample_weight=weights, verbose=0, return_dict=True)["nll"]
    np.testing.assert_allclose(nll, -np.average(expected, weights=weights), rtol=1e-6)
    model.fit(x, validation_split=0.2, batch_size=20, epochs=2, verbose=0)
    assert model.optimizer.iterations == 6


def test_constraints_of_variables_hold_in_fit(x):
    loc = tf.Variable([0.1, 0.1], constraint=lambda v: tf.maximum(v, 0.05))
    model = gx.models.DensityModel(tfd.MultivariateNormalDiag(loc=loc))
    model.compile(optimizer=keras.optimizers.SGD(10.0))
    model.fit(x - 5.0, verbose=0)
    np.testing.assert_allclose(loc, 0.05)


def test_two_models_of_one_distribution_agree_on_freezing(exact):
    first, second = (gx.models.DensityModel(exact.distribution) for _ in range(2))
    first.trainable = False
    assert not second.trainable_variables and not exact.distribution.trainable_variables


def test_xla_does_not_hide_a_loss_that_is_not_finite():
    model = flow_model()
    model.compile(optimizer="adam", jit_compile=True)
    with pytest.raises(ValueError, match="`loss` and its gradient must be finite.*Received: loss="):
        model.fit(np.full([64, 2], 1e25, "float32"), verbose=0)


def _regression(bijector=None):
    head = gx.distributions.IndependentNormal([2])
    size = head.params_size + (3 if bijector else 0)
    layers = [keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(size)]
    return gx.distributions.Conditional(keras.Sequential(layers), head, bijector=bijector)


def _posterior_flow():
    flow = gx.flows.iaf([2], num_layers=2, hidden_units=[4], conditional_event_shape=[3])
    return _regression(flow.bijector)


@pytest.mark.parametrize("build", [_regression, _posterior_flow], ids=["head", "flow"])
def test_a_network_with_a_head_trains_by_the_protocol_of_conditional_flows(build, tmp_path):
    rng = np.random.default_rng(3)
    c = rng.normal(size=[200, 5]).astype("float32")
    x = (c[:, :2] + 0.1 * rng.normal(size=[200, 2])).astype("float32")
    model = gx.models.DensityModel(build())
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    start = model.evaluate(c, x, verbose=0, return_dict=True)["nll"]
    model.fit(c, x, epochs=5, verbose=0)
    assert model.evaluate(c, x, verbose=0, return_dict=True)["nll"] < start - 0.3
    expected = model.distribution(c).log_prob(x)
    log_prob = model.predict((c, x), batch_size=64, verbose=0)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5, atol=1e-5)
    assert model.sample(4, seed=1, conditional_input=c[:7]).shape == [4, 7, 2]
    model.save(tmp_path / "regression.keras")
    loaded = keras.saving.load_model(tmp_path / "regression.keras")
    np.testing.assert_array_equal(loaded.predict((c, x), batch_size=64, verbose=0), log_prob)
    model.export(tmp_path / "1", verbose=False)
    served = tf.saved_model.load(tmp_path / "1").signatures
    answer = served["log_prob"](x=tf.constant(x), conditional_input=tf.constant(c))["log_prob"]
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)
    rows = served["sample_rows"](seed=tf.constant([[1, 2]] * 3), conditional_input=c[:3])["samples"]
    params = model.distribution.params(tf.constant(c[:3]))
    first = model.distribution.distribution(params[0]).sample(seed=[1, 2])
    np.testing.assert_allclose(rows[0], first, rtol=1e-5)


def test_a_network_learns_its_contexts_from_datasets_and_not_from_generators():
    c, x = np.zeros([8, 5], "float32"), np.zeros([8, 2], "float32")
    model = gx.models.DensityModel(_regression())
    assert model.distribution.input_event_shape is None
    model.compile()
    with pytest.raises(ValueError, match="`conditional_event_shape` must be given"):
        model.fit((batch for batch in [(c, x)]), verbose=0)
    model.fit(tf.data.Dataset.from_tensor_slices((c, x)).batch(4), verbose=0)
    assert model.conditional_event_shape == (5,)
    model = gx.models.DensityModel(_regression(), conditional_event_shape=[5])
    model.compile()
    model.fit((batch for batch in [(c, x)]), verbose=0)
    with pytest.raises(ValueError, match="`x` must hold counts"):
        counts = gx.distributions.IndependentPoisson([2])
        head = gx.distributions.Conditional(keras.layers.Dense(2), counts)
        model = gx.models.DensityModel(head, conditional_event_shape=[5])
        model.compile()
        model.fit(tf.data.Dataset.from_tensor_slices((c, x - 1.0)).batch(4), verbose=0)
