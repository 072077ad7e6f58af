"""Moments of columns that come in batches, against NumPy on all rows at once."""

import numpy as np
import pytest

from tfp_genext.core.column_moments import ColumnMoments


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (4, 2, 3)])
def test_batches_give_the_moments_of_all_rows(shape):
    rng = np.random.default_rng(0)
    x = 1e6 + rng.normal(size=[101, *shape])
    moments = ColumnMoments()
    for part in (x[:1], x[1:60], x[60:60], x[60:]):
        moments.update(part)
    columns = x.reshape([-1, shape[-1]]) if shape else x
    np.testing.assert_allclose(moments.mean, columns.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(moments.stddev, columns.std(axis=0), rtol=1e-9)
    expected = np.sqrt(np.square(columns).mean(axis=0))
    np.testing.assert_allclose(moments.root_mean_square(), expected, rtol=1e-12)


def test_weights_count_rows():
    x = np.random.default_rng(1).normal(size=[20, 3])
    number = np.arange(20)
    moments = ColumnMoments()
    moments.update(x[:7], 1e-60 * number[:7])
    moments.update(x[7:], 1e-60 * number[7:])
    repeated = np.repeat(x, number, axis=0)
    np.testing.assert_allclose(moments.mean, repeated.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.stddev, repeated.std(axis=0), rtol=1e-12)


def test_constant_columns_are_those_within_rounding():
    x = np.stack([np.full(9, 0.1), 0.1 + 1e-12 * np.arange(9), np.arange(9.0)], axis=1)
    moments = ColumnMoments()
    moments.update(x)
    assert moments.constant(float(np.finfo(np.float32).eps)).tolist() == [True, True, False]
    assert moments.constant(1e-15).tolist() == [True, False, False]


def test_nothing_is_seen_of_rows_without_weight():
    moments = ColumnMoments()
    moments.update(np.zeros([0, 2]))
    moments.update(np.ones([3, 2]), np.zeros(3))
    assert not moments.seen
