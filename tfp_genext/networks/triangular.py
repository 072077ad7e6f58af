"""Masked networks as block triangular systems: products without the void half, and solving.

With units sorted by degree, the masked matrices of a MADE are block lower triangular. Sampling,
x_k = update(params_k(x_1 ... x_(k-1)), z_k), is then a nonlinear triangular solve, and the blocked
algorithm of LAPACK's triangular solve applies: for each block of dimensions, first what the
finished blocks contribute, one matrix product a layer; then sweeps over the small network inside.
After j sweeps the first j dimensions of a block are exact, so that at most b sweeps are needed; a
sweep that changes nothing ends them sooner.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

Update = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
_MOST_BLOCKS = 14


class Structure:
    """Which units look at which, layer by layer: unit i at unit j where degree_i <= limit_j.

    Args:
      degrees: ascending degrees of the inputs and of each hidden layer.
      params_size: number of parameters for each dimension.
    """

    def __init__(self, degrees: Sequence[np.ndarray], params_size: int) -> None:
        self.size = len(degrees[0])
        self.params_size = params_size
        outputs: np.ndarray = np.repeat(degrees[0], params_size)
        self.degrees = list(degrees)
        self.limits = [*degrees[1:], outputs - 1]

    def mask(self, layer: int, rows: slice, columns: slice) -> np.ndarray:
        """Returns the boolean mask of a block of a layer's matrix."""
        return self.degrees[layer][rows, None] <= self.limits[layer][None, columns]

    def matmul(self, layer: int, h: Any, kernel: Any) -> Any:
        """Returns h times the masked kernel."""
        rows, columns = (slice(0, size) for size in kernel.shape)
        return ops.matmul(h, masked(kernel, self.mask(layer, rows, columns)))

    def blocks(self) -> list[tuple[int, int]]:
        """Returns the blocks of dimensions in which a system is solved."""
        # More blocks save products inside them and cost loops, to trace and to run.
        number = min(_MOST_BLOCKS, round(math.sqrt(self.size)))
        edges = np.linspace(0, self.size, number + 1).round().astype(int)
        return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def masked(kernel: Any, mask: np.ndarray) -> Any:
    """Returns a kernel with zeros where the mask is false."""
    return kernel if mask.all() else ops.where(mask, kernel, ops.zeros_like(kernel))


@dataclasses.dataclass(frozen=True)
class Problem:
    """A triangular system: a masked network and an elementwise update.

    Args:
      structure: the degrees.
      kernels: unmasked matrices, one a layer.
      offsets: what is added in each layer, `[H]` or `[N, H]`.
      activation: of the hidden layers.
      update: from parameters `[N, b, params_size]` and noise `[N, b]` to `[N, b]`.
    """

    structure: Structure
    kernels: Sequence[tf.Tensor]
    offsets: Sequence[tf.Tensor]
    activation: Callable
    update: Update

    def solve(self, z: tf.Tensor, tolerance: float) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns x `[N, D]` and the parameters `[N, D, params_size]` at x."""
        finished = self._without_inputs(z)
        xs, params = [], []
        for start, stop in self.structure.blocks():
            block = self._block(start, stop, finished)
            x = block.fixed_point(z[:, start:stop], tolerance)
            *hidden, last = block.evaluate(x)
            finished = [
                tf.concat(pair, axis=1) for pair in zip(finished, [x, *hidden], strict=True)
            ]
            xs.append(x)
            params.append(block.stacked(last))
        return tf.concat(xs, axis=1), tf.concat(params, axis=1)

    def _without_inputs(self, z: tf.Tensor) -> list[tf.Tensor]:
        """Returns, layer by layer, the units of degree 0, which see a context at most."""
        finished = [z[:, :0]]
        for layer, degrees in enumerate(self.structure.degrees[1:]):
            columns = slice(0, _count(degrees, 0))
            finished.append(self.activation(self._constant(layer, columns, finished[-1])))
        return finished

    def _constant(self, layer: int, columns: slice, before: tf.Tensor) -> tf.Tensor:
        """Returns what units get from offsets and finished units, `[N, columns]`."""
        constant = self.offsets[layer][..., columns]
        kernel = self.kernels[layer][: before.shape[1], columns]
        if 0 in kernel.shape:
            return constant + tf.zeros([tf.shape(before)[0], 1], constant.dtype)
        # Every finished unit has a lower degree than these: nothing is masked here.
        return constant + before @ kernel

    def _block(self, start: int, stop: int, finished: Sequence[tf.Tensor]) -> _Block:
        structure = self.structure
        own = [slice(_count(d, start), _count(d, stop)) for d in structure.degrees]
        own.append(slice(start * structure.params_size, stop * structure.params_size))
        constants, kernels = [], []
        for layer, (rows, columns) in enumerate(itertools.pairwise(own)):
            constants.append(self._constant(layer, columns, finished[layer]))
            mask = structure.mask(layer, rows, columns)
            kernels.append(masked(self.kernels[layer][rows, columns], mask))
        return _Block(self, constants, kernels, stop - start)


@dataclasses.dataclass(frozen=True)
class _Block:
    """The small network of one block of dimensions, given the finished ones."""

    problem: Problem
    constants: Sequence[tf.Tensor]
    kernels: Sequence[tf.Tensor]
    length: int

    def evaluate(self, x: tf.Tensor) -> list[tf.Tensor]:
        """Returns the hidden units of each layer and the flat parameters."""
        layers, h = [], x
        for i, (constant, kernel) in enumerate(zip(self.constants, self.kernels, strict=True)):
            # A product of width zero crashes inside a loop: leave it out.
            h = constant if 0 in kernel.shape else constant + h @ kernel
            if i + 1 < len(self.kernels):
                h = self.problem.activation(h)
            layers.append(h)
        return layers

    def stacked(self, params: tf.Tensor) -> tf.Tensor:
        """Returns flat parameters as `[N, length, params_size]`."""
        return tf.reshape(params, [-1, self.length, self.problem.structure.params_size])

    def fixed_point(self, z: tf.Tensor, tolerance: float) -> tf.Tensor:
        """Returns x = update(params(x), z), differentiable by the implicit function theorem."""
        number = len(self.constants)

        def sweep(x: tf.Tensor, *tensors: tf.Tensor) -> tf.Tensor:
            *parts, noise = tensors
            block = dataclasses.replace(self, constants=parts[:number], kernels=parts[number:])
            return self.problem.update(block.stacked(block.evaluate(x)[-1]), noise)

        tensors = (*self.constants, *self.kernels, z)
        return _fixed_point(sweep, z, tensors, self.length, tolerance)


def _fixed_point(
    sweep: Callable, start: tf.Tensor, tensors: Sequence[tf.Tensor], most: int, tolerance: float
) -> tf.Tensor:
    """Returns x = sweep(x, *tensors) of a strictly triangular sweep of `most` dimensions."""

    @tf.custom_gradient
    def solve(*tensors: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        x = _iterate(lambda x: sweep(x, *tensors), start, most, tolerance)

        def gradient(upstream: tf.Tensor) -> Sequence[tf.Tensor]:
            # (1 - dF/dx)^T u = upstream is triangular too, and solved by the same sweeps.
            def back(u: tf.Tensor) -> tf.Tensor:
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = sweep(x, *tensors)
                return upstream + tape.gradient(y, x, u, unconnected_gradients="zero")

            u = _iterate(back, upstream, most, tolerance)
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                y = sweep(x, *tensors)
            return tape.gradient(y, tensors, u, unconnected_gradients="zero")

        return x, gradient

    return solve(*tensors)


def _iterate(step: Callable, start: tf.Tensor, most: int, tolerance: float) -> tf.Tensor:
    """Repeats a step until it changes nothing, or as often as makes it exact."""

    def unfinished(count: tf.Tensor, x: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
        del x
        return tf.logical_and(moved, count < most)

    def body(count: tf.Tensor, x: tf.Tensor, moved: tf.Tensor) -> tuple:
        del moved
        after = step(x)
        return count + 1, after, _moved(x, after, tolerance)

    return tf.while_loop(unfinished, body, (0, step(start), most > 1))[1]


def _moved(before: tf.Tensor, after: tf.Tensor, tolerance: float) -> tf.Tensor:
    if tolerance == 0.0:
        return tf.reduce_any(before != after)
    scale = 1.0 + tf.abs(after)
    return tf.reduce_any(tf.abs(after - before) > tolerance * scale)


def _count(degrees: np.ndarray, limit: int) -> int:
    """Returns how many of the ascending degrees are at most `limit`."""
    return int(np.searchsorted(degrees, limit, side="right"))
