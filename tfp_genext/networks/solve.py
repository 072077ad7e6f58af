"""Triangular solver of a MADE for its own inputs: samples at the cost of a few densities.

With units sorted by degree, the masked matrices of a MADE are block lower triangular. Sampling,
x_k = update(params_k(x_1 ... x_(k-1)), z_k), is then a nonlinear triangular solve, and LAPACK's
recursion for triangular solves applies: solve the first half of the dimensions, add what they
contribute to the second half, one matrix product a layer, and solve that. Halving ends at single
dimensions or, where there are many, at blocks of them, each solved by sweeps over its own small
network: j sweeps make its first j dimensions exact, so that as many sweeps as dimensions do at
most; one that changes nothing ends them sooner.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_genext.networks.traces import SharedTraces, Traces, as_graph, function_key
from tfp_genext.networks.triangular import Structure, masked

Update = Callable[[Sequence[tf.Tensor], tf.Tensor], tf.Tensor]

# More leaves take longer to trace and to compile, larger blocks more sweeps.
_MOST_SINGLE = 64
_MOST_BLOCKS = 14


# The solvers of all MADEs that are alive, and their heavy updates.
traced = SharedTraces()
_updates = SharedTraces()


@dataclasses.dataclass(frozen=True)
class Problem:
    """A triangular system, up to the values of the weights.

    Args:
      structure: sizes of the network.
      activation: of the hidden layers.
      update: elementwise and pure, from `params_size` parameters and noise of one shape. If its
        attribute `heavy` is true, it is traced once and evaluated for blocks of dimensions.
      tolerance: relative change at which a block counts as solved; 0 for no change at all.
      encode: from dimensions `[b, N]` to the inputs of the network, `[b * inputs, N]`.
      dtype: of all tensors.
      observed: how many dimensions, the first ones, are known: their noise is their value.
      traces: of the layer. Default: none yet.
    """

    structure: Structure
    activation: Callable
    update: Update
    tolerance: float
    encode: Callable[[tf.Tensor], tf.Tensor]
    dtype: tf.DType
    observed: int = 0
    traces: Traces = dataclasses.field(default_factory=Traces, compare=False)

    def updated(self, flat_params: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        """Returns entries `[b, N]` from flat parameters `[b * params_size, N]` and noise."""
        params = self.structure.separate(flat_params)
        if self._traced_update is None:
            return self.update(params, z)
        x = self._traced_update(*params, z)
        x.set_shape(z.shape)
        return x

    @functools.cached_property
    def _traced_update(self) -> Callable | None:
        if not getattr(self.update, "heavy", False):
            return None
        return _updates.find(
            self.traces,
            lambda: _joint_key((self.dtype, self.structure.params_size), [self._update_key()]),
            lambda: _as_one_graph(self.update, self._update_signature),
        )

    @property
    def _update_signature(self) -> list[Any]:
        spec = tf.TensorSpec([None, None], self.dtype)
        return [[spec] * self.structure.params_size, spec]

    def _update_key(self) -> Hashable | None:
        return function_key(self.update, self._update_signature)

    def solver(self, *, context: bool, rows: int | None) -> Callable:
        """Returns `solve` as a graph that the layer keeps, if it can be kept.

        One trace serves all layers of a flow, as a function of its own in their graph: tracing and
        compiling it for each would take as many times longer.

        Args:
          context: whether the offsets differ from row to row.
          rows: number of rows if it is one; `None` for any other number.
        """
        found = traced.find(
            self.traces,
            lambda: self._key(context, rows),
            lambda: self._trace(context, rows),
        )
        return found or self.solve

    def _key(self, context: bool, rows: int | None) -> Hashable | None:
        spec = tf.TensorSpec([None, None], self.dtype)
        of_functions = [function_key(self.activation, [spec]), self._update_key()]
        sizes = (self.structure, self.tolerance, self.encode, self.dtype, self.observed)
        return _joint_key((*sizes, context, rows), of_functions)

    def _trace(self, context: bool, rows: int | None) -> Callable:
        signature = _signature(self.structure, self.dtype, context, rows)
        # Its own traces, as it may outlive the layer.
        solve = dataclasses.replace(self, traces=Traces()).solve
        return as_graph(solve, signature, **_APART).get_concrete_function()

    def solve(
        self, kernels: Sequence[tf.Tensor], offsets: Sequence[tf.Tensor], z: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns x and the `params_size` parameters at x, each `[N, D]`.

        Args:
          kernels: one a layer, not masked.
          offsets: added in each layer, `[H, 1]`, or `[H, N]` with a context.
          z: noise `[N, D]`.
        """
        x, params = _System(self, kernels).solve(offsets, tf.transpose(z))
        return tf.transpose(x), [tf.transpose(p) for p in params]


# A function of its own in the graph that calls it, which XLA then compiles once.
_APART = {"experimental_attributes": {"_noinline": True}}


def _joint_key(known: tuple, of_functions: Sequence[Hashable | None]) -> Hashable | None:
    return None if None in of_functions else (*known, *of_functions)


def _as_one_graph(update: Update, signature: Sequence[Any]) -> Callable:
    """Returns a heavy update as a graph, which all blocks of all networks call.

    Its gradient is another graph, which evaluates the update again: XLA must know all shapes, and
    loses those that one graph hands to another.
    """
    *_, spec = signature

    def pulled_back(params: Sequence[tf.Tensor], z: tf.Tensor, upstream: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([params, z])
            x = update(params, z)
        return tape.gradient(x, [params, z], upstream, unconnected_gradients="zero")

    forward = as_graph(update, signature, **_APART)
    backward = as_graph(pulled_back, [*signature, spec], **_APART)

    @tf.custom_gradient
    def updated(*tensors: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        *params, z = tensors

        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            return tf.nest.flatten(backward(params, z, upstream))

        return forward(params, z), gradient

    return updated


def _signature(structure: Structure, dtype: tf.DType, context: bool, rows: int | None) -> list[Any]:
    # One trace for any number of rows, so that rounding does not depend on earlier calls. But a
    # single row must be known: without that `tf.vectorized_map` infers shapes wrongly.
    shapes = structure.shapes
    return [
        tuple(tf.TensorSpec(shape, dtype) for shape in shapes),
        tuple(tf.TensorSpec([h, rows if context else 1], dtype) for h in structure.widths[1:]),
        tf.TensorSpec([rows, structure.size], dtype),
    ]


@dataclasses.dataclass(frozen=True)
class _System:
    """A triangular system: a problem with the matrices of a network."""

    problem: Problem
    kernels: Sequence[tf.Tensor]

    @property
    def structure(self) -> Structure:
        return self.problem.structure

    def solve(
        self, offsets: Sequence[tf.Tensor], z: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns x and the parameters at x, of offsets `[H, N or 1]` and noise `[D, N]`."""
        rows = tf.shape(z)[1]
        offsets = [tf.broadcast_to(o, [o.shape[0], rows]) for o in offsets]
        x, *_, params = self._halves(self._leaves(), self._constants(offsets, z), z)
        return x, self.structure.separate(params)

    def _leaves(self) -> list[int]:
        """Returns the edges of the leaves, the blocks of dimensions at which halving ends."""
        start, size = self.problem.observed, self.structure.size
        left = size - start
        single = left <= _MOST_SINGLE and not getattr(self.problem.update, "heavy", False)
        number = left if single else min(_MOST_BLOCKS, round(math.sqrt(left)))
        edges = np.linspace(start, size, number + 1).round().astype(int).tolist()
        return [0, *edges] if start else edges

    def _constants(self, offsets: Sequence[tf.Tensor], z: tf.Tensor) -> list[tf.Tensor]:
        """Returns the constant inputs of the units that depend on some dimension."""
        still, moving = self.structure.units(-1, 0), self.structure.units(0, self.structure.size)
        sums = [offset[own] for offset, own in zip(offsets, still[1:], strict=True)]
        units = _Block(self.problem, sums, self._products(still, still)).evaluate(z[:0])
        sums = [offset[own] for offset, own in zip(offsets, moving[1:], strict=True)]
        return self._added(sums, [z[:0], *units], self._products(still, moving))

    def _halves(
        self, edges: Sequence[int], sums: Sequence[tf.Tensor], z: tf.Tensor
    ) -> list[tf.Tensor]:
        """Returns x, hidden units and flat parameters of the dimensions between two edges.

        Args:
          edges: of the leaves.
          sums: for each layer, the contributions of all earlier units to these.
          z: noise of these dimensions.
        """
        if len(edges) == 2:
            own = self.structure.units(*edges)
            block = _Block(self.problem, sums, self._products(own, own))
            x = z if edges[-1] <= self.problem.observed else block.solve(z)
            return [x, *block.evaluate(x)]
        half = len(edges) // 2
        before = self.structure.units(edges[0], edges[half])
        after = self.structure.units(edges[half], edges[-1])
        (z_early, *early), (z_late, *late) = zip(
            *(_cut(x, own) for x, own in zip([z, *sums], before, strict=True)), strict=True
        )
        first = self._halves(edges[: half + 1], early, z_early)
        late = self._added(late, first, self._products(before, after))
        second = self._halves(edges[half:], late, z_late)
        return [tf.concat(pair, axis=0) for pair in zip(first, second, strict=True)]

    def _products(self, before: Sequence[slice], after: Sequence[slice]) -> dict[int, tf.Tensor]:
        """Returns the masked matrices between groups of units by layer, without empty ones."""
        found = {}
        for layer in range(len(self.kernels)):
            rows, columns = self.structure.block(layer, before, after)
            mask = self.structure.mask(layer, rows, columns)
            # A product of width zero crashes inside a loop.
            if mask.any():
                corner = [rows.start, columns.start]
                found[layer] = masked(tf.slice(self.kernels[layer], corner, mask.shape), mask)
        return found

    def _added(
        self,
        sums: Sequence[tf.Tensor],
        units: Sequence[tf.Tensor],
        products: Mapping[int, tf.Tensor],
    ) -> list[tf.Tensor]:
        """Adds the contributions of earlier units to the sums of each layer.

        Args:
          sums: of each layer.
          units: dimensions, hidden units and flat parameters, `[h, N]` each.
          products: masked matrices by layer.
        """
        seen = self.problem.encode(units[0])
        below = zip(sums, [seen, *units[1:]])
        added = [_with_product(total, products.get(i), h) for i, (total, h) in enumerate(below)]
        added[-1] = _with_product(added[-1], products.get(self.structure.layers), seen)
        return added


def _with_product(total: tf.Tensor, product: tf.Tensor | None, h: tf.Tensor) -> tf.Tensor:
    return total if product is None else total + tf.matmul(product, h, transpose_a=True)


def _cut(x: tf.Tensor, first: slice) -> Sequence[tf.Tensor]:
    size = first.stop - first.start
    return tf.split(x, [size, x.shape[0] - size], axis=0)


@dataclasses.dataclass(frozen=True)
class _Block:
    """Subnetwork of one block of dimensions, given all earlier dimensions.

    Args:
      problem: the problem of which it solves a part.
      sums: for each layer, the contributions of all earlier units to its units.
      products: masked matrices inside the block, by layer.
    """

    problem: Problem
    sums: Sequence[tf.Tensor]
    products: Mapping[int, tf.Tensor]

    def evaluate(self, x: tf.Tensor) -> list[tf.Tensor]:
        """Returns the hidden units of each layer and the flat parameters."""
        seen = h = self.problem.encode(x)
        number = len(self.sums)
        layers = []
        for layer, total in enumerate(self.sums):
            h = _with_product(total, self.products.get(layer), h)
            if layer + 1 < number:
                h = self.problem.activation(h)
            layers.append(h)
        layers[-1] = _with_product(h, self.products.get(number), seen)
        return layers

    def solve(self, z: tf.Tensor) -> tf.Tensor:
        """Returns x = update(params(x), z), differentiable by the implicit function theorem."""
        number = len(self.sums)
        if not {number - 1, number} & set(self.products):
            # The parameters do not depend on x: it is a single dimension.
            return self.problem.updated(self.sums[-1], z)

        def sweep(x: tf.Tensor, *tensors: tf.Tensor) -> tf.Tensor:
            *parts, noise = tensors
            products = dict(zip(self.products, parts[number:], strict=True))
            block = dataclasses.replace(self, sums=parts[:number], products=products)
            return self.problem.updated(block.evaluate(x)[-1], noise)

        tensors = (*self.sums, *self.products.values(), z)
        return _fixed_point(sweep, z, tensors, z.shape[0], self.problem.tolerance)


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
    """Repeats a step until nothing changes, at most as often as needed to be exact."""

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
