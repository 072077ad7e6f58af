"""Zeros and ones drawn of grey pixels."""

import numpy as np
import pytest
import tensorflow as tf

import tfp_genext as gx

GREY = np.random.default_rng(0).integers(0, 256, [50, 4, 4, 1]).astype("float32")


def test_draws_have_the_intensities_of_the_pixels():
    x = np.full([4000, 5], 64.0, "float32") * np.arange(5)
    x[:, 4] = 255.0
    drawn = gx.layers.Binarize()(x, training=True).numpy()
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(axis=0), x[0] / 255.0, atol=5 * 0.5 / np.sqrt(4000))


@pytest.mark.parametrize(
    "x",
    [GREY / 255.0, (GREY > 100.0).astype("float32"), (GREY > 100.0).astype("uint8"), GREY > 100.0],
)
def test_images_scaled_to_one_are_refused_with_the_way_out(x):
    """They would come out nearly black."""
    with pytest.raises(ValueError, match=r"from 0 to 255.*`Binarize\(scale=1.0\)`. Received"):
        gx.layers.Binarize()(x)
    assert gx.layers.Binarize(scale=1.0)(x).shape == x.shape


def test_numbers_beyond_the_scale_are_refused_eagerly_and_in_graphs():
    layer = gx.layers.Binarize(scale=200.0)
    with pytest.raises(ValueError, match="`x` must hold intensities from 0 to 200"):
        layer(GREY)
    with pytest.raises(tf.errors.InvalidArgumentError, match="intensities from 0 to 200"):
        tf.function(layer)(tf.constant(GREY))


def test_black_images_are_fine():
    assert not gx.layers.Binarize()(np.zeros([3, 2, 2, 1], "float32")).numpy().any()
