"""Masks and orders."""

from __future__ import annotations

import numpy as np
import pytest

from tfp_genext import masks


@pytest.mark.parametrize("size", [1, 2, 5])
def test_prefix_masks_by_enumeration(size):
    for count in range(-size + 1, size):
        expected = [i < count if count >= 0 else i >= size - abs(count) for i in range(size)]
        np.testing.assert_array_equal(masks.prefix_mask(size, count), expected)


def test_orders_are_permutations_and_repeatable():
    assert list(masks.reversed_order(4, 9)) == [3, 2, 1, 0]
    order = masks.random_order(3)
    assert sorted(order(20, 1)) == list(range(20))
    assert order(20, 1) == masks.random_order(3)(20, 1)
    assert order(20, 1) != order(20, 2) and order(20, 1) != masks.random_order(4)(20, 1)


@pytest.mark.parametrize(
    "mask, error",
    [
        ([True, True], ValueError),
        ([False, False], ValueError),
        ([[True, False]], ValueError),
        ([], TypeError),
        ([1, 0], TypeError),
        (["True", "False"], TypeError),
    ],
)
def test_refuses_masks_that_leave_nothing_to_do(mask, error):
    with pytest.raises(error, match="`mask` must be a boolean vector with at least one.*Received"):
        masks.coupling_mask(mask)
