"""The block triangular structure of masked networks whose units are sorted by degree.

Tensors of units are `[units, N]`: units are cut and joined all the time, and rows never.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfp_genext import masks

# Groups of units between which void products are left out, and the width from which that pays.
_GROUPS = 3
_WIDE = 256


@dataclasses.dataclass(frozen=True)
class Structure:
    """Which units of a MADE look at which; a value, equal for networks of equal sizes.

    Args:
      size: number of dimensions, D.
      params_size: number of parameters for each dimension.
      hidden_units: width of each hidden layer.
      first: smallest degree of a hidden unit, see `masks.autoregressive_degrees`.
    """

    size: int
    params_size: int
    hidden_units: tuple[int, ...]
    first: int

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Shape of each layer's matrix."""
        widths = [self.size, *self.hidden_units, self.size * self.params_size]
        return list(itertools.pairwise(widths))

    @functools.cached_property
    def degrees(self) -> list[np.ndarray]:
        """Ascending degrees of the inputs and of each hidden layer."""
        return masks.autoregressive_degrees(self.size, self.hidden_units, first=self.first)

    @functools.cached_property
    def _limits(self) -> list[np.ndarray]:
        """Largest degree that a unit of the hidden layers, and a parameter, may look at."""
        return [*self.degrees[1:], np.repeat(self.degrees[0], self.params_size) - 1]

    def mask(self, layer: int, rows: slice, columns: slice) -> np.ndarray:
        """Returns the boolean mask of a block of a layer's matrix."""
        return self.degrees[layer][rows, None] <= self._limits[layer][None, columns]

    def units(self, start: int, stop: int) -> list[slice]:
        """Returns where the units of degrees above `start`, up to `stop`, stand in each layer."""
        own = [slice(_count(d, start), _count(d, stop)) for d in self.degrees]
        size = self.params_size
        return [*own, slice(own[0].start * size, own[0].stop * size)]

    @functools.cached_property
    def _groups(self) -> list[list[slice]]:
        """Units that are multiplied together, layer by layer."""
        wide = max(self.hidden_units, default=0) >= _WIDE
        number = min(_GROUPS, self.size) if wide else 1
        edges = np.linspace(0, self.size, number + 1).round().astype(int).tolist()
        return list(zip(*(self.units(*pair) for pair in itertools.pairwise([-1, *edges[1:]]))))

    def grouped(self, x: tf.Tensor) -> Sequence[tf.Tensor]:
        """Returns the inputs `[D, N]` in groups, as `sums` takes them."""
        return tf.split(x, _sizes(self._groups[0]))

    def sums(
        self, layer: int, kernel: tf.Tensor, offset: tf.Tensor, units: Sequence[tf.Tensor]
    ) -> list[tf.Tensor]:
        """Returns masked kernel^T units + offset, group by group, without most void products.

        Args:
          layer: which one.
          kernel: its matrix.
          offset: what is added, `[H, N]` or `[H, 1]`.
          units: of the layer before, in groups `[h, N]`.
        """
        rows = tf.shape(units[0])[1]
        columns = self._groups[layer + 1]
        terms: list[list[tf.Tensor]] = [[] for _ in columns]
        for before, after, block in self._blocks(layer, kernel):
            terms[after].append(tf.matmul(block, units[before], transpose_a=True))
        return [
            total + (tf.add_n(found) if found else tf.zeros([1, rows], total.dtype))
            for total, found in zip(tf.split(offset, _sizes(columns)), terms, strict=True)
        ]

    def _blocks(self, layer: int, kernel: tf.Tensor) -> Iterator[tuple[int, int, tf.Tensor]]:
        """Yields two groups and the masked matrix from one to the other, unless it is void."""
        rows, columns = self._groups[layer : layer + 2]
        for before, strip in enumerate(tf.split(kernel, _sizes(rows))):
            # Splitting, not slicing: its gradient is one concatenation.
            void = columns[before].start
            parts = tf.split(strip, [void, *_sizes(columns[before:])], axis=1)
            for after, part in enumerate(parts[1:], start=before):
                mask = self.mask(layer, rows[before], columns[after])
                if mask.any():
                    yield before, after, masked(part, mask)

    def by_row(self, params: tf.Tensor) -> tf.Tensor:
        """Returns flat parameters `[D * params_size, N]` as `[params_size, N, D]`."""
        return tf.transpose(tf.reshape(params, [self.size, self.params_size, -1]), [1, 2, 0])

    def separate(self, params: tf.Tensor) -> list[tf.Tensor]:
        """Returns flat parameters `[b * params_size, N]` as `params_size` tensors `[b, N]`."""
        size = self.params_size
        return tf.unstack(tf.reshape(params, [params.shape[0] // size, size, -1]), axis=1)


def masked(kernel: tf.Tensor, mask: np.ndarray) -> tf.Tensor:
    """Returns a kernel with zeros where the mask is false."""
    return kernel if mask.all() else kernel * tf.constant(mask, kernel.dtype)


def _sizes(slices: Sequence[slice]) -> list[int]:
    return [s.stop - s.start for s in slices]


def _count(degrees: np.ndarray, limit: int) -> int:
    """Returns how many of the ascending degrees are at most `limit`."""
    return int(np.searchsorted(degrees, limit, side="right"))
