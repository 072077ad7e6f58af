"""MADE: a masked network whose parameters for one dimension depend on earlier ones only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext import checks
from tfp_genext.networks.shared import flat_context
from tfp_genext.networks.solve import Problem, Update
from tfp_genext.networks.triangular import Structure


@keras.saving.register_keras_serializable(package="tfp_genext")
class MADE(keras.layers.Layer):
    """Masked autoencoder: parameters for each dimension from the dimensions before it.

        h_1 = activation(x W_1 + c V_1 + b_1),   h_l = activation(h_(l-1) W_l + c V_l + b_l)
        params = reshape(h_L W + c V + b, [N, D, params_size])

    The weights W are multiplied by masks at each call, so that no optimizer can break them; the
    context c reaches every layer. Hidden units are sorted by degree, which makes the masked
    matrices block triangular: `call` leaves out many of the products that the masks would void,
    where layers are wide, and `solve` samples at the price of a few densities. The last layer
    starts at zero (Germain et al., 2015 [1]).

    Args:
      event_size: number of dimensions, D.
      params_size: number of parameters for each dimension.
      hidden_units: width of each hidden layer; may be empty, and of any size.
      activation: Keras activation of the hidden layers, elementwise. Default: `"relu"`.
      order: the dimensions in the order in which they are generated. Default: left to right.
      conditional_event_shape: shape of one context event; `None`, the default, for no context.
      unstacked: whether to return the parameters as `params_size` tensors `[N, D]`, which is what
        bijectors take. Default: `False`.
      **kwargs: further arguments of `keras.layers.Layer`.

    Call arguments:
      x: `[N, D]`.
      conditional_input: `[N, *conditional_event_shape]`, required exactly where
        `conditional_event_shape` is given.

    Returns:
      Parameters `[N, D, params_size]`, or a tuple of tensors `[N, D]` if `unstacked`.

    Raises:
      ValueError: at construction for sizes below one and an `order` that is no permutation; at the
        call for an event or a `conditional_input` of another shape.

    Example:

    ```python
    import keras
    import tfp_genext as gx

    network = gx.networks.MADE(4, 2, hidden_units=[16, 16], order=[3, 2, 1, 0])
    assert network(keras.ops.ones([5, 4])).shape == (5, 4, 2)
    ```

    #### References

    [1]: Mathieu Germain, Karol Gregor, Iain Murray, Hugo Larochelle. MADE: Masked Autoencoder for
         Distribution Estimation. 2015. https://arxiv.org/abs/1502.03509
    """

    def __init__(
        self,
        event_size: int,
        params_size: int,
        hidden_units: Sequence[int],
        *,
        activation: Any = "relu",
        order: Sequence[int] | None = None,
        conditional_event_shape: Sequence[int] | None = None,
        unstacked: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_size = checks.positive_int("event_size", event_size)
        self.params_size = checks.positive_int("params_size", params_size)
        self.hidden_units = checks.positive_ints("hidden_units", hidden_units)
        self.activation = keras.activations.get(activation)
        self.order = None if order is None else checks.permutation("order", order, self.event_size)
        self.conditional_event_shape = checks.optional_shape(
            "conditional_event_shape", conditional_event_shape
        )
        self.unstacked = unstacked
        first = 1 if self.conditional_event_shape is None else 0
        self._structure = Structure(
            self.event_size, self.params_size, tuple(self.hidden_units), first
        )

    def build(self, x_shape: tuple) -> None:
        if x_shape[-1] != self.event_size:
            raise ValueError(checks.message("x", f"of shape [N, {self.event_size}]", x_shape))
        self.kernels, self.biases, self.context_kernels = [], [], []
        for i, (before, after) in enumerate(self._structure.shapes):
            start = "zeros" if i == len(self.hidden_units) else "glorot_uniform"
            self.kernels.append(self._weight(f"kernel_{i}", (before, after), start))
            self.biases.append(self._weight(f"bias_{i}", (after,), "zeros"))
            if self.conditional_event_shape is not None:
                shape = (math.prod(self.conditional_event_shape), after)
                self.context_kernels.append(self._weight(f"context_kernel_{i}", shape, start))

    def _weight(self, name: str, shape: tuple[int, ...], initializer: str) -> keras.Variable:
        return self.add_weight(name=name, shape=shape, initializer=initializer)

    def call(self, x: Any, conditional_input: Any = None) -> Any:
        self._check_size("x", x)
        structure = self._structure
        units = structure.grouped(tf.transpose(self._sorted(x)))
        offsets = self._offsets(conditional_input)
        for i, (kernel, offset) in enumerate(zip(self.kernels, offsets, strict=True)):
            units = structure.sums(i, tf.convert_to_tensor(kernel), offset, units)
            if i < len(self.hidden_units):
                units = [self.activation(h) for h in units]
        params = self._unsorted(structure.by_row(tf.concat(units, axis=0)))
        return tuple(tf.unstack(params)) if self.unstacked else tf.transpose(params, [1, 2, 0])

    @property
    def solves(self) -> bool:
        """Whether `solve` inverts `call`: not so in a subclass with a `call` of its own."""
        return type(self).call is MADE.call

    def solve(
        self,
        update: Update,
        z: Any,
        conditional_input: Any = None,
        *,
        tolerance: float = 0.0,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Finds x with x_k = update(params_k(x_1 ... x_(k-1)), z_k) for every dimension k.

        Args:
          update: elementwise, from the parameters, a sequence of `params_size` tensors, and noise,
            all of one shape, which may be any: no constant along an axis fits. A function that
            closes over nothing, or a frozen dataclass, is traced once for all networks of a size.
          z: noise `[N, D]`.
          conditional_input: context `[N, *conditional_event_shape]`.
          tolerance: relative change below which a block of dimensions counts as solved. Default: 0,
            which stops where a sweep changes no bit; the answer is then that of D passes. Up to 64
            dimensions are solved one by one, without sweeps.

        Returns:
          x `[N, D]` and the parameters at x, `params_size` tensors `[N, D]`; differentiable in
          everything.
        """
        self._check_size("z", z)
        if not self.built:
            self.build(tuple(z.shape))
        checks.floating("z", z)
        kernels = tuple(tf.cast(kernel, z.dtype) for kernel in self.kernels)
        offsets = tuple(tf.cast(offset, z.dtype) for offset in self._offsets(conditional_input))
        problem = Problem(self._structure, self.activation, update, float(tolerance))
        context, rows = self.conditional_event_shape is not None, 1 if z.shape[0] == 1 else None
        solve = problem.solver(z.dtype, context=context, rows=rows)
        x, params = solve(kernels, offsets, self._sorted(z))
        for found in (x, *params):
            found.set_shape(z.shape)
        return self._unsorted(x), [self._unsorted(p) for p in params]

    def _check_size(self, name: str, value: Any) -> None:
        if value.shape.rank != 2 or value.shape[-1] != self.event_size:
            raise ValueError(
                f"`{name}` must be of shape [N, {self.event_size}]. "
                f"Received: shape {list(value.shape)}"
            )

    def _offsets(self, conditional_input: Any) -> list[tf.Tensor]:
        """Returns what is added in each layer: bias `[H, 1]`, or bias and context `[H, N]`."""
        biases = [tf.convert_to_tensor(bias)[:, tf.newaxis] for bias in self.biases]
        context = flat_context(conditional_input, self.conditional_event_shape)
        if context is None:
            return biases
        context = tf.cast(context, biases[0].dtype)
        return [
            bias + tf.matmul(kernel, context, transpose_a=True, transpose_b=True)
            for bias, kernel in zip(biases, self.context_kernels, strict=True)
        ]

    def _sorted(self, x: Any) -> Any:
        return x if self.order is None else tf.gather(x, self.order, axis=1)

    def _unsorted(self, x: Any) -> Any:
        return x if self.order is None else tf.gather(x, np.argsort(self.order), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "event_size": self.event_size,
            "params_size": self.params_size,
            "hidden_units": self.hidden_units,
            "activation": keras.activations.serialize(self.activation),
            "order": self.order,
            "conditional_event_shape": self.conditional_event_shape,
            "unstacked": self.unstacked,
        }
