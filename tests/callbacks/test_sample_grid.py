"""Pictures of samples during training."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_genext as gx


class Images(keras.Model):
    """Something that samples known images and trains on nothing."""

    def __init__(self, event=(2, 3, 1)):
        super().__init__()
        self._event = event
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    def sample(self, n, seed=None, conditional_input=None):
        if conditional_input is None:
            shade = np.linspace(0.0, 1.0, n)
        else:
            shade = np.arange(n)[:, None] / 10.0 + conditional_input[None, :, 0]
        ones = np.ones([1] * len(self._event))
        return tf.constant(shade.reshape([*shade.shape, *ones.shape]) * np.ones(self._event))


def fitted(model, callback, epochs=1):
    model.compile(optimizer="sgd", loss="mse")
    model.fit(np.zeros([4, 1]), np.zeros([4, 1]), epochs=epochs, verbose=0, callbacks=[callback])


def read(path):
    return tf.io.decode_png(tf.io.read_file(str(path))).numpy()


def test_samples_stand_row_by_row_with_a_border(tmp_path):
    fitted(Images(), gx.callbacks.SampleGrid(tmp_path / "new", rows=2, columns=3, every=2), 5)
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["epoch_0000.png", "epoch_0002.png", "epoch_0004.png"]
    picture = read(tmp_path / "new" / names[0])
    assert picture.shape == (2 * 2 + 1, 3 * 3 + 2, 1)
    shades = np.round(255.0 * np.linspace(0.0, 1.0, 6)).reshape([2, 3])
    np.testing.assert_array_equal(picture[::3, ::4, 0], shades)
    np.testing.assert_array_equal(picture[2], 0)
    np.testing.assert_array_equal(picture[:, 3], 0)


def test_contexts_have_rows_of_their_own_and_values_a_range(tmp_path):
    contexts = np.array([[0.0], [0.5], [2.0]])
    callback = gx.callbacks.SampleGrid(
        tmp_path, columns=2, conditional_input=contexts, value_range=(-1.0, 1.0)
    )
    fitted(Images((1, 1, 3)), callback)
    picture = read(tmp_path / "epoch_0001.png")
    assert picture.shape == (5, 3, 3)
    shades = np.clip(0.5 + 0.5 * np.add(contexts, [[0.0, 0.1]]), 0.0, 1.0)
    np.testing.assert_array_equal(picture[::2, ::2, 1], np.round(255.0 * shades.astype("float32")))


def test_ink_on_paper(tmp_path):
    fitted(Images(), gx.callbacks.SampleGrid(tmp_path, rows=1, columns=2, value_range=(1.0, 0.0)))
    picture = read(tmp_path / "epoch_0001.png")
    assert picture[0, 0, 0] == 255 and picture[0, -1, 0] == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"every": 0}, "`every`"),
        ({"rows": 2, "conditional_input": np.zeros([3, 1])}, "`rows`"),
        ({"value_range": (1.0, 1.0)}, "`value_range`"),
    ],
)
def test_wrong_arguments_are_named(options, text, tmp_path):
    with pytest.raises(ValueError, match=text + ".*Received"):
        gx.callbacks.SampleGrid(tmp_path, **options)


def test_models_without_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`model` must be one whose samples are images.*Received"):
        fitted(Images((5,)), gx.callbacks.SampleGrid(tmp_path))
    plain = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="`model` must be one with a method `sample`.*Received"):
        fitted(plain, gx.callbacks.SampleGrid(tmp_path))


class Shades(Images):
    """Something whose samples lie between two values."""

    def __init__(self, low, high):
        super().__init__()
        self._low, self._high = low, high

    def sample(self, n, seed=None, conditional_input=None):
        return self._low + (self._high - self._low) * super().sample(n, seed)


@pytest.mark.parametrize(
    ("samples", "options"),
    [((0.0, 255.0), {}), ((0.0, 1.0), {"value_range": (0, 255)}), ((0.5, 0.5), {})],
)
def test_a_range_that_shows_nothing_is_warned_of_once(samples, options, tmp_path):
    callback = gx.callbacks.SampleGrid(tmp_path, **options)
    with pytest.warns(
        UserWarning, match=r"`value_range` must be .* Received: value_range="
    ) as told:
        fitted(Shades(*samples), callback, epochs=2)
    assert len([w for w in told if "value_range" in str(w.message)]) == 1


@pytest.mark.parametrize("samples", [(-3.0, 4.0), (0.3, 0.6)])
def test_samples_near_the_range_are_not(samples, tmp_path, recwarn):
    fitted(Shades(*samples), gx.callbacks.SampleGrid(tmp_path))
    assert not [w for w in recwarn if "value_range" in str(w.message)]


def test_contexts_of_several_tensors(tmp_path):
    class Model:
        def sample(self, n, seed, conditional_input):
            assert sorted(conditional_input) == ["a", "b"]
            rows = len(conditional_input["a"])
            return tf.random.stateless_uniform([n, rows, 4, 4, 1], seed)

    contexts = {"a": [[0.0], [1.0], [2.0]], "b": np.zeros([3, 2])}
    grid = gx.callbacks.SampleGrid(tmp_path, columns=2, conditional_input=contexts)
    grid.set_model(Model())
    grid.on_train_begin()
    assert tf.io.decode_png(tf.io.read_file(str(tmp_path / "epoch_0000.png"))).shape[0] >= 12
    with pytest.raises(ValueError, match="`rows` must be 3, one for each context"):
        gx.callbacks.SampleGrid(tmp_path, rows=2, conditional_input=contexts)
