"""Steps of training: weighted rows, fresh noise, finite gradients, batches that are wrong."""

import keras
import numpy as np
import pytest
import registry_models
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_genext as gx

tfd = tfp.distributions
N = 60


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=[N, 3]).astype("float32")


@pytest.fixture
def weights():
    return np.random.default_rng(1).exponential(size=N) ** 3


class _Normal(tf.Module):
    """A normal of unknown location, whose gradient is known by hand."""

    def __init__(self):
        super().__init__()
        self.loc = tf.Variable(np.full([3], 0.5))
        self.distribution = tfd.MultivariateNormalDiag(self.loc, np.ones([3]))

    def gradient(self, x, weights):
        """Of sum_i w_i nll_i / sum_i w_i, in a loop over rows."""
        total = sum(w * (self.loc.numpy() - row) for row, w in zip(x, weights))
        return total / sum(weights)


@pytest.mark.parametrize("batch_size", [1, 7, 20, 60])
@pytest.mark.parametrize("magnitude", [1.0, 1e-60, 1e200])
def test_batches_are_unbiased_shares_of_the_weighted_mean(batch_size, magnitude, x, weights):
    """Steps so small that the gradients of an epoch add up: weighted by rows, to that of all."""
    normal = _Normal()
    model = gx.models.DensityModel(normal.distribution)
    rate = 1e-6
    model.compile(optimizer=keras.optimizers.SGD(rate))
    start, expected = normal.loc.numpy(), normal.gradient(x, weights)
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(normal.loc.numpy())

    given = magnitude * weights
    model.fit(
        x.astype("float64"),
        sample_weight=given,
        batch_size=batch_size,
        shuffle=False,
        verbose=0,
        callbacks=[Watch()],
    )
    steps = -np.diff([start, *seen], axis=0) / rate
    rows = [min(batch_size, N - i) for i in range(0, N, batch_size)]
    np.testing.assert_allclose(np.average(steps, axis=0, weights=rows), expected, rtol=1e-3)


def _evaluated(model, x, **options):
    return model.evaluate(x, batch_size=17, verbose=0, return_dict=True, **options)


def test_metrics_are_weighted_means_over_all_rows_at_any_magnitude(x, weights):
    flow = gx.flows.real_nvp([3], num_layers=2, hidden_units=[8])
    model = gx.models.DensityModel(flow)
    model.compile(optimizer="sgd")
    expected = np.average(-model.predict(x, verbose=0), weights=weights)
    for magnitude in (1.0, 1e-60, 1e300):
        found = _evaluated(model, x, sample_weight=magnitude * weights)
        np.testing.assert_allclose([found["nll"], found["loss"]], expected, rtol=1e-5)
    history = model.fit(
        x, sample_weight=weights, validation_data=(x, None, 1e-60 * weights), verbose=0
    ).history
    expected = np.average(-model.predict(x, verbose=0), weights=weights)
    np.testing.assert_allclose(
        [history["val_nll"], history["val_loss"]], [[expected]] * 2, rtol=1e-5
    )


def _streams(x, weights):
    halves = [slice(None, N // 2), slice(N // 2, None)]

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return x[halves[index]], None, weights[halves[index]]

    pairs = tf.data.Dataset.from_tensor_slices((x, weights)).batch(N // 2)
    return {
        "dataset": lambda: pairs.map(lambda x, w: (x, None, w)),
        "generator": lambda: ((x[rows], None, weights[rows]) for rows in halves),
        "sequence": Sequence,
    }


FORMS = ("dataset", "generator", "sequence")


def _model(**options):
    flow = gx.flows.real_nvp([3], num_layers=1, hidden_units=[4])
    model = gx.models.DensityModel(flow)
    model.compile(optimizer="adam", **options)
    return model


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("change", "message"),
    [(-1.0, "must not be negative"), (1e60, "must have its largest"), (np.nan, "must be finite")],
)
def test_wrong_weights_of_later_batches_are_named(form, change, message, x, weights):
    weights = weights.copy()
    weights[-3] = change
    model = _model()
    before = model.get_weights()
    for method in (model.evaluate, model.fit):
        with pytest.raises(ValueError, match=f"`(sample_weight|x)` {message}"):
            method(_streams(x, weights)[form](), verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert len(before) == len(model.get_weights())


def test_wrong_weights_of_arrays_are_named(x):
    model = _model()
    with pytest.raises(ValueError, match="`sample_weight` must not be 0 for all rows"):
        model.fit(x, sample_weight=np.zeros(N), verbose=0)
    with pytest.raises(ValueError, match="`sample_weight` must not be negative"):
        model.train_on_batch(x, sample_weight=np.full(N, -1.0))
    with pytest.raises(ValueError, match="`sample_weight` must have its largest between"):
        model.train_on_batch(x, sample_weight=np.full(N, 1e-60))


@pytest.mark.parametrize("form", FORMS)
def test_nan_in_a_later_batch_is_the_error_that_arrays_get(form, x):
    x[-1, 1] = np.nan
    model = _model()
    with pytest.raises(ValueError, match="`x` must be finite"):
        model.fit(_streams(x, np.ones(N))[form](), verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_another_shape_in_a_later_batch_is_the_error_that_arrays_get(x):
    with pytest.raises(ValueError, match=r"`x` must be of shape \[N, 3\]"):
        _model().fit((batch for batch in (x, x, x[:, :2])), verbose=0)


def _far(model, x, **options):
    model.compile(**options)
    before = [v.numpy() for v in model.trainable_variables]
    with pytest.raises(ValueError, match="must be finite, and (is|are) not; no step was taken"):
        model.fit(1e15 * x, batch_size=N, verbose=0)
    for variable, value in zip(model.trainable_variables, before):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.filterwarnings("ignore:.*far from where:UserWarning")
def test_a_gradient_that_is_not_finite_takes_no_step(jit_compile, x):
    """The loss is finite: it is the gradient that overflows."""
    model = gx.models.DensityModel(gx.flows.maf([3], num_layers=2, hidden_units=[8]))
    assert np.isfinite(model.predict(1e15 * x, verbose=0)).all()
    _far(model, x, optimizer="adam", jit_compile=jit_compile)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_gan_takes_no_step_either(jit_compile, x):
    def network(size):
        squares = [keras.layers.Dense(4, lambda t: tf.square(tf.square(t))) for _ in range(2)]
        return keras.Sequential([*squares, keras.layers.Dense(size)])

    gan = gx.models.GAN(network(3), network(1), prior=tfd.Sample(tfd.Normal(0.0, 1.0), 2), ema=0.0)
    players = {f"{name}_optimizer": "sgd" for name in ("generator", "discriminator")}
    _far(gan, x, jit_compile=jit_compile, **players)


def test_a_compiled_step_that_is_finite_is_taken_as_without_xla(x):
    found = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(1)
        model = _model(jit_compile=jit_compile)
        history = model.fit(x, batch_size=20, epochs=2, shuffle=False, verbose=0).history
        found.append([*history["loss"], *np.concatenate([w.ravel() for w in model.get_weights()])])
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_accumulated_batches_draw_noise_of_their_own(kind, x, monkeypatch):
    """Each batch of an accumulated step has the seed that it has alone."""
    from tfp_genext.models import noise

    drawn, original = [], noise.seeds_of_step

    def seeds_of_step(seed, step, number):
        seeds = original(seed, step, number)
        drawn.append(tuple(seeds[0].numpy()))
        return seeds

    monkeypatch.setattr(noise, "seeds_of_step", seeds_of_step)
    seen = []
    for steps in (None, 2):
        drawn.clear()
        adam = {"gradient_accumulation_steps": steps}
        if kind == "vae":
            model = registry_models.vae()
            data = np.random.default_rng(0).integers(0, 2, [16, registry_models.D])
            model.compile(optimizer=keras.optimizers.Adam(1e-3, **adam), run_eagerly=True)
        else:
            prior = tfd.Sample(tfd.Normal(0.0, 1.0), 2)
            dense = keras.layers.Dense
            model, data = gx.models.GAN(dense(3), dense(1), prior=prior, seed=3), x[:16]
            optimizers = [keras.optimizers.Adam(1e-3, **adam) for _ in range(2)]
            model.compile(*optimizers, run_eagerly=True)
        model.fit(data, batch_size=4, verbose=0)
        seen.append([pair[1] for pair in drawn])
    assert len(seen[0]) == len(set(seen[0])) == 4
    assert seen[1] == seen[0]


def test_compile_forgets_what_a_vae_traced_before():
    x = np.random.default_rng(0).integers(0, 2, [5, registry_models.D])
    vae = registry_models.vae()
    vae.compile(optimizer="adam")
    before = vae.log_prob(x, 200, seed=1)
    vae.decoder.network.layers[-1].activation = lambda t: 5.0 * t + 3.0
    vae.compile(optimizer="adam")
    after = vae.log_prob(x, 200, seed=1)
    assert np.abs(after - before).max() > 0.1
    fresh = vae._model.estimate(*vae._checked(x, None), tf.constant(200), tf.constant([0, 1]))
    np.testing.assert_allclose(after, fresh, rtol=1e-5)
