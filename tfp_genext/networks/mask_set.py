"""Masks of a MADE: for each, an order of the dimensions and degrees of the hidden units."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_genext import masks
from tfp_genext.networks.triangular import Structure


@dataclasses.dataclass(frozen=True)
class Masks:
    """One mask or several, for the same weights.

    The weights of a single mask are sorted already, and those of several by what they belong to:
    under each mask they are sorted anew.

    Args:
      structures: of the sorted weights, one a mask.
      orders: the dimensions in the order in which they are generated; `None` for left to right.
      hidden: for each mask, the units of each hidden layer by ascending degree; `None` for a
        single one.
    """

    structures: Sequence[Structure]
    orders: Sequence[np.ndarray | None]
    hidden: Sequence[Sequence[np.ndarray]] | None = None

    @classmethod
    def single(cls, structure: Structure, order: Sequence[int] | None) -> Masks:
        """Returns one mask, whose degrees are spread evenly."""
        return cls([structure], [None if order is None else np.array(order)])

    @classmethod
    def random(cls, structure: Structure, number: int, seed: int) -> Masks:
        """Returns several masks of random orders and degrees."""
        structures, orders, hidden = [], [], []
        for i in range(number):
            degrees = masks.random_degrees(
                structure.size, structure.hidden_units, seed=[seed, i], first=structure.first
            )
            by_degree = [np.argsort(d, kind="stable") for d in degrees]
            ascending = tuple(tuple(np.sort(d).tolist()) for d in degrees)
            structures.append(dataclasses.replace(structure, hidden_degrees=ascending))
            orders.append(np.array(masks.random_order(seed)(structure.size, i)))
            hidden.append(by_degree)
        return cls(structures, orders, hidden)

    def sorted(self, mask: int, x: tf.Tensor) -> tf.Tensor:
        """Returns `[N, D]` with the dimensions in the order of a mask."""
        order = self.orders[mask]
        return x if order is None else tf.gather(x, order, axis=1)

    def unsorted(self, mask: int, x: tf.Tensor) -> tf.Tensor:
        """Restores the original order of dimensions that are in the order of a mask."""
        return x if self.orders[mask] is None else tf.gather(x, self.positions(mask), axis=-1)

    def positions(self, mask: int) -> np.ndarray:
        """Returns the place of each dimension in the order of a mask."""
        order = self.orders[mask]
        return np.arange(self.structures[0].size) if order is None else np.argsort(order)

    def sorted_weights(
        self, mask: int, kernels: list[tf.Tensor], offsets: list[tf.Tensor]
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns the matrices and offsets of each layer with units sorted for a mask."""
        if self.hidden is None:
            return kernels, offsets
        units = self._units(mask)
        places = [*itertools.pairwise(units), (units[0], units[-1])]
        kernels = [
            tf.gather(tf.gather(kernel, rows), columns, axis=1)
            for kernel, (rows, columns) in zip(kernels, places)
        ]
        return kernels, [tf.gather(offset, own) for offset, own in zip(offsets, units[1:])]

    def _units(self, mask: int) -> list[np.ndarray]:
        """Returns the units of each layer, inputs and parameters too, sorted for a mask."""
        structure, order = self.structures[mask], self.orders[mask]
        inputs, params = (
            (np.array(order)[:, None] * size + np.arange(size)).ravel()
            for size in (structure.inputs, structure.params_size)
        )
        return [inputs, *(self.hidden or [])[mask], params]

    def params_under(
        self,
        mask: tf.Tensor,
        kernels: Sequence[tf.Tensor],
        offsets: Sequence[tf.Tensor],
        activation: Callable,
        inputs: tf.Tensor,
    ) -> tf.Tensor:
        """Returns the parameters `[params_size, N, D]` for a mask index that is a tensor.

        Nothing is sorted, and no product left out.

        Args:
          mask: int32 `[]`.
          kernels: the matrices.
          offsets: what is added in each layer, `[H, N]` or `[H, 1]`.
          activation: of the hidden layers.
          inputs: `[D * inputs, N]`.
        """
        structure = self.structures[0]
        h = inputs
        for layer, offset in enumerate(offsets):
            h = offset + self._product(layer, mask, kernels[layer], h)
            if layer + 1 < structure.layers:
                h = activation(h)
        if structure.direct:
            h += self._product(structure.layers, mask, kernels[-1], inputs)
        return structure.by_row(h)

    def _product(self, layer: int, mask: Any, kernel: tf.Tensor, h: tf.Tensor) -> tf.Tensor:
        seen, limits = (
            tf.gather(tf.constant(table, tf.int32), mask) for table in self._tables(layer)
        )
        visible = tf.cast(seen[:, tf.newaxis] <= limits[tf.newaxis], kernel.dtype)
        return tf.matmul(kernel * visible, h, transpose_a=True)

    def _tables(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the degrees of the inputs and outputs of a matrix, for each mask."""
        seen, limits = [], []
        for mask, structure in enumerate(self.structures):
            units = self._units(mask) if self.hidden is not None else None
            rows, columns = structure.seen[layer], structure.limits[layer]
            if units is not None:
                from_inputs = layer in (0, structure.layers)
                rows = _back(rows, units[0] if from_inputs else units[layer])
                columns = _back(columns, units[min(layer + 1, structure.layers)])
            seen.append(rows)
            limits.append(columns)
        return np.stack(seen), np.stack(limits)


def _back(values: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Returns values of sorted units in the original order of the units."""
    found = np.empty_like(values)
    found[units] = values
    return found
