"""Block triangular structure of masked networks with units sorted by degree.

Tensors of units are `[units, N]`: units are cut and joined all the time, and rows never.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfp_genext import masks

# Groups of units between which void products are left out, and the width from which that pays.
_GROUPS = 3
_WIDE = 256


@dataclasses.dataclass(frozen=True)
class Structure:
    """Dependency structure of a MADE; equal for networks of equal sizes.

    Args:
      size: number of dimensions, D.
      params_size: number of parameters for each dimension.
      hidden_units: width of each hidden layer.
      first: smallest degree of a hidden unit, see `masks.autoregressive_degrees`.
      inputs: number of inputs by which the network sees a dimension.
      direct: whether a last matrix leads from the inputs to the parameters.
      hidden_degrees: ascending degrees of each hidden layer. Default: spread evenly.
    """

    size: int
    params_size: int
    hidden_units: tuple[int, ...]
    first: int
    inputs: int = 1
    direct: bool = False
    hidden_degrees: tuple[tuple[int, ...], ...] | None = None

    @property
    def layers(self) -> int:
        """Number of layers, including that of the parameters."""
        return len(self.hidden_units) + 1

    @property
    def widths(self) -> list[int]:
        """Number of units of each layer, the inputs first and the parameters last."""
        return [self.size * self.inputs, *self.hidden_units, self.size * self.params_size]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Shape of each layer's matrix, and of the direct one."""
        shapes = list(itertools.pairwise(self.widths))
        return [*shapes, (self.widths[0], self.widths[-1])] if self.direct else shapes

    @functools.cached_property
    def degrees(self) -> list[np.ndarray]:
        """Ascending degrees of the dimensions and of each hidden layer."""
        spread = masks.autoregressive_degrees(self.size, self.hidden_units, first=self.first)
        if self.hidden_degrees is None:
            return spread
        return [spread[0], *map(np.array, self.hidden_degrees)]

    @functools.cached_property
    def seen(self) -> list[np.ndarray]:
        """Degrees of the inputs of each matrix."""
        inputs: np.ndarray = np.repeat(self.degrees[0], self.inputs)
        return [inputs, *self.degrees[1:], inputs][: len(self.shapes)]

    @functools.cached_property
    def limits(self) -> list[np.ndarray]:
        """Largest input degrees that the outputs of each matrix may depend on."""
        params: np.ndarray = np.repeat(self.degrees[0], self.params_size) - 1
        return [*self.degrees[1:], params, params][: len(self.shapes)]

    def mask(self, layer: int, rows: slice, columns: slice) -> np.ndarray:
        """Returns the boolean mask of a block of a matrix."""
        return self.seen[layer][rows, None] <= self.limits[layer][None, columns]

    def block(
        self, layer: int, before: Sequence[slice], after: Sequence[slice]
    ) -> tuple[slice, slice]:
        """Returns the slices of a matrix between two groups of units."""
        from_inputs = layer in (0, self.layers)
        rows = _times(before[0], self.inputs) if from_inputs else before[layer]
        return rows, after[min(layer + 1, self.layers)]

    def units(self, start: int, stop: int) -> list[slice]:
        """Returns the slices of the units with degrees in (start, stop], for each layer."""
        own = [slice(_count(d, start), _count(d, stop)) for d in self.degrees]
        return [*own, _times(own[0], self.params_size)]

    @functools.cached_property
    def _groups(self) -> list[list[slice]]:
        """Groups of units that are multiplied together, layer by layer."""
        wide = max(self.hidden_units, default=0) >= _WIDE
        number = min(_GROUPS, self.size) if wide else 1
        edges = np.linspace(0, self.size, number + 1).round().astype(int).tolist()
        return list(zip(*(self.units(*pair) for pair in itertools.pairwise([-1, *edges[1:]]))))

    def params(
        self,
        kernels: Sequence[tf.Tensor],
        offsets: Sequence[tf.Tensor],
        activation: Callable,
        inputs: tf.Tensor,
    ) -> tf.Tensor:
        """Returns the flat parameters `[D * params_size, N]`, skipping most masked products.

        Args:
          kernels: the matrices, not masked.
          offsets: what is added in each layer, `[H, N]` or `[H, 1]`.
          activation: of the hidden layers.
          inputs: `[D * inputs, N]`.
        """
        seen = tf.split(inputs, _sizes([_times(g, self.inputs) for g in self._groups[0]]))
        units: Sequence[tf.Tensor] = seen
        for layer, offset in enumerate(offsets):
            sums = self._sums(layer, kernels[layer], units, offset)
            units = [activation(h) for h in sums] if layer + 1 < self.layers else sums
        if self.direct:
            units = self._sums(self.layers, kernels[-1], seen, tf.concat(units, axis=0))
        return tf.concat(units, axis=0)

    def _sums(
        self, layer: int, kernel: tf.Tensor, units: Sequence[tf.Tensor], offset: tf.Tensor
    ) -> list[tf.Tensor]:
        """Returns masked kernel^T units + offset, group by group, skipping most masked products.

        Args:
          layer: of the matrix.
          kernel: the matrix.
          units: what it multiplies, in groups `[h, N]`.
          offset: what is added, `[H, N]` or `[H, 1]`.
        """
        rows = tf.shape(units[0])[1]
        columns = self._groups[min(layer + 1, self.layers)]
        terms: list[list[tf.Tensor]] = [[] for _ in columns]
        for before, after, block in self._blocks(layer, kernel):
            terms[after].append(tf.matmul(block, units[before], transpose_a=True))
        return [
            total + (tf.add_n(found) if found else tf.zeros([1, rows], total.dtype))
            for total, found in zip(tf.split(offset, _sizes(columns)), terms, strict=True)
        ]

    def _blocks(self, layer: int, kernel: tf.Tensor) -> Iterator[tuple[int, int, tf.Tensor]]:
        """Yields pairs of groups and the masked matrix between them, unless it is empty."""
        groups = [self.block(layer, group, group) for group in zip(*self._groups, strict=True)]
        rows, columns = zip(*groups, strict=True)
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
        # Not -1 for the rows: TensorFlow Lite's converter moves the transposition, and then writes
        # a shape that its interpreter refuses.
        rows = params.shape[1] or tf.shape(params)[1]
        separate = tf.reshape(params, [self.size, self.params_size, rows])
        return tf.transpose(separate, [1, 2, 0])

    def separate(self, params: tf.Tensor) -> list[tf.Tensor]:
        """Returns flat parameters `[b * params_size, N]` as `params_size` tensors `[b, N]`."""
        size = self.params_size
        separate = tf.unstack(tf.reshape(params, [params.shape[0] // size, size, -1]), axis=1)
        # An operation with several outputs, of which a gradient needs the values, gets wrong shapes
        # in a SavedModel, which Python then does not load (TensorFlow 2.21).
        return [tf.identity(part) for part in separate]


def masked(kernel: tf.Tensor, mask: np.ndarray) -> tf.Tensor:
    """Returns a kernel with zeros where the mask is false."""
    return kernel if mask.all() else kernel * tf.constant(mask, kernel.dtype)


def _times(units: slice, number: int) -> slice:
    return slice(units.start * number, units.stop * number)


def _sizes(slices: Sequence[slice]) -> list[int]:
    return [s.stop - s.start for s in slices]


def _count(degrees: np.ndarray, limit: int) -> int:
    """Returns how many of the ascending degrees are at most `limit`."""
    return int(np.searchsorted(degrees, limit, side="right"))
