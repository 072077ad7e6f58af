"""MADE: a masked network whose parameters for a dimension depend on earlier dimensions only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.networks.dropout import Dropout
from tfp_genext.networks.encoding import Encoding, OneHot, in_range, optional_range
from tfp_genext.networks.mask_set import Masks
from tfp_genext.networks.shared import flat_context, from_keras
from tfp_genext.networks.solve import Problem, Update
from tfp_genext.networks.traces import Traces
from tfp_genext.networks.triangular import Structure


@keras.saving.register_keras_serializable(package="tfp_genext")
class MADE(keras.layers.Layer):
    """Masked autoencoder: parameters for each dimension from the dimensions before it.

        h_1 = activation(x W_1 + c V_1 + b_1),   h_l = activation(h_(l-1) W_l + c V_l + b_l)
        params = reshape(h_L W + x A + c V + b, [N, D, params_size])          A if `direct`

    The weights W are multiplied by masks at each call, so that no optimizer can break them; the
    context c reaches every layer. Hidden units are sorted by degree, which makes the masked
    matrices block triangular: `call` leaves out many of the products that the masks would void,
    where layers are wide, and `solve` samples at the price of a few densities. The last layer
    starts at zero (Germain et al., 2015 [1]).

    With `num_masks` above 1 the network is several in one, with the same weights under different
    masks: each has a random order of the dimensions and random degrees of the hidden units, the
    order-agnostic and connectivity-agnostic training of the paper. Which one answers is said at
    the call.

    Args:
      event_size: number of dimensions, D.
      params_size: number of parameters for each dimension.
      hidden_units: width of each hidden layer; may be empty, and of any size.
      activation: Keras activation of the hidden layers, elementwise. Default: `"relu"`.
      order: the dimensions in the order in which they are generated; goes with a single mask.
        Default: left to right.
      num_masks: number of masks. Default: 1.
      mask_seed: of the masks, where there are several. Default: 0.
      direct: whether inputs reach the parameters of later dimensions directly too. Default:
        `False`.
      dropout: share of hidden units that a call in training leaves out. Default: 0.
      kernel_regularizer: Keras regularizer of the matrices, part of the loss in training. Default:
        none.
      num_classes: number of classes of a dimension, which the network then sees as vectors with a
        single 1. Default: none, for numbers.
      input_range: `(low, high)`, scaled to [-1, 1]. Default: no scaling.
      conditional_event_shape: shape of one context event; `None`, the default, for no context.
      unstacked: whether to return the parameters as `params_size` tensors `[N, D]`, which is what
        bijectors take. Default: `False`.
      **kwargs: of any Keras layer.

    Call arguments:
      x: `[N, D]`.
      conditional_input: `[N, *conditional_event_shape]`, if given.
      mask_index: which mask, an integer, or a tensor of one, with which no product is left out.
        Default: 0.

    Returns:
      Parameters `[N, D, params_size]`, or a tuple of tensors `[N, D]` if `unstacked`.

    Raises:
      ValueError: at construction for sizes below one and an `order` that is no permutation or does
        not go with several masks; at the call for an event or a `conditional_input` of another
        shape.

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
        num_masks: int = 1,
        mask_seed: int = 0,
        direct: bool = False,
        dropout: float = 0.0,
        kernel_regularizer: Any = None,
        num_classes: int | None = None,
        input_range: Sequence[float] | None = None,
        conditional_event_shape: Sequence[int] | None = None,
        unstacked: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_size = checks.positive_int("event_size", event_size)
        self.params_size = checks.positive_int("params_size", params_size)
        self.hidden_units = checks.positive_ints("hidden_units", hidden_units)
        self.activation = from_keras("activation", keras.activations, activation)
        self.order = None if order is None else checks.permutation("order", order, self.event_size)
        self.num_masks = checks.positive_int("num_masks", num_masks)
        self.mask_seed = checks.any_int("mask_seed", mask_seed)
        self.direct = bool(direct)
        self.dropout = checks.fraction("dropout", dropout)
        # One where there is a dropout, and none else.
        self.dropout_layers = []
        if self.dropout:
            # Units first, then rows: as they are multiplied.
            self.dropout_layers.append(Dropout(self.dropout, rows_axis=1, dtype=self.dtype_policy))
        self.kernel_regularizer = from_keras(
            "kernel_regularizer", keras.regularizers, kernel_regularizer
        )
        self.num_classes = checks.optional_int("num_classes", num_classes, minimum=2)
        self.input_range = optional_range("input_range", input_range)
        self.conditional_event_shape = checks.context_shape(
            "conditional_event_shape", conditional_event_shape
        )
        self.unstacked = unstacked
        self._encode = self._encoding()
        self._masks = self._all_masks()
        self._traces = Traces()

    def _encoding(self) -> Encoding | OneHot:
        if self.num_classes is None:
            return in_range(self.input_range)
        if self.input_range is not None:
            raise ValueError(checks.message("input_range", "None for classes", self.input_range))
        return OneHot(self.num_classes)

    def _all_masks(self) -> Masks:
        if self.num_masks > 1 and self.order is not None:
            expected = "None where `num_masks` is above 1: each mask has an order of its own"
            raise ValueError(checks.message("order", expected, self.order))
        structure = Structure(
            self.event_size,
            self.params_size,
            tuple(self.hidden_units),
            first=1 if self.conditional_event_shape is None else 0,
            inputs=self._encode.size,
            direct=self.direct,
        )
        if self.num_masks > 1:
            return Masks.random(structure, self.num_masks, self.mask_seed)
        return Masks.single(structure, self.order)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return (self.event_size,)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of the parameters, as `summary` shows it."""
        return (None, self.event_size, self.params_size)

    def build(self, x_shape: tuple) -> None:
        if x_shape[-1] != self.event_size:
            raise ValueError(checks.message("x", f"of shape [N, {self.event_size}]", x_shape))
        self.kernels, self.biases, self.context_kernels = [], [], []
        last = len(self.hidden_units)
        for i, shape in enumerate(self._masks.structures[0].shapes):
            start = "zeros" if i >= last else "glorot_uniform"
            regularizer = self.kernel_regularizer
            self.kernels.append(self._weight(f"kernel_{i}", shape, start, regularizer))
            if i > last:
                continue
            self.biases.append(self._weight(f"bias_{i}", shape[1:], "zeros"))
            if self.conditional_event_shape is not None:
                sizes = (math.prod(self.conditional_event_shape), shape[1])
                self.context_kernels.append(self._weight(f"context_kernel_{i}", sizes, start))

    def _weight(
        self, name: str, shape: tuple[int, ...], initializer: str, regularizer: Any = None
    ) -> keras.Variable:
        return self.add_weight(
            name=name, shape=shape, initializer=initializer, regularizer=regularizer
        )

    def call(self, x: Any, conditional_input: Any = None, mask_index: Any = 0) -> Any:
        self._check_size("x", x)
        kernels = [tf.convert_to_tensor(kernel) for kernel in self.kernels]
        offsets = self._offsets(conditional_input)
        if self.num_masks > 1 and tf.is_tensor(mask_index):
            inputs = self._encode(tf.transpose(x))
            params = self._masks.params_under(mask_index, kernels, offsets, self._hidden, inputs)
        else:
            mask = 0 if tf.is_tensor(mask_index) else self._checked_mask(mask_index)
            kernels, offsets = self._masks.sorted_weights(mask, kernels, offsets)
            inputs = self._encode(tf.transpose(self._masks.sorted(mask, x)))
            structure = self._masks.structures[mask]
            params = structure.by_row(structure.params(kernels, offsets, self._hidden, inputs))
            params = self._masks.unsorted(mask, params)
        return tuple(tf.unstack(params)) if self.unstacked else tf.transpose(params, [1, 2, 0])

    def _hidden(self, sums: tf.Tensor) -> tf.Tensor:
        """Returns the hidden units of a layer, after activation and dropout."""
        h = self.activation(sums)
        for layer in self.dropout_layers:
            h = layer(h)
        return h

    @property
    def solves(self) -> bool:
        """Whether `solve` inverts `call`; not if a subclass overrides `call`."""
        return type(self).call is MADE.call

    def solve(
        self,
        update: Update,
        z: Any,
        conditional_input: Any = None,
        *,
        mask_index: int = 0,
        observed: int = 0,
        tolerance: float = 0.0,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Finds x with x_k = update(params_k(x_1 ... x_(k-1)), z_k) for every dimension k.

        Args:
          update: elementwise, from the parameters, a sequence of `params_size` tensors, and noise,
            all of one shape, which may be any: no constant along an axis fits. Its trace is
            kept by the layer, and used again only while the function makes the same graph.
          z: noise `[N, D]`.
          conditional_input: context `[N, *conditional_event_shape]`.
          mask_index: which mask. Default: 0.
          observed: how many dimensions, the first ones in the order of the mask, are known: of
            these z holds not the noise but x. Default: 0.
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
        kernels = [tf.cast(kernel, z.dtype) for kernel in self.kernels]
        offsets = [tf.cast(offset, z.dtype) for offset in self._offsets(conditional_input)]
        mask_index = self._checked_mask(mask_index)
        kernels, offsets = self._masks.sorted_weights(mask_index, kernels, offsets)
        problem = Problem(
            self._masks.structures[mask_index],
            self.activation,
            update,
            float(tolerance),
            self._encode,
            z.dtype,
            observed,
            self._traces,
        )
        context, rows = self.conditional_event_shape is not None, 1 if z.shape[0] == 1 else None
        solve = problem.solver(context=context, rows=rows)
        x, params = solve(tuple(kernels), tuple(offsets), self._masks.sorted(mask_index, z))
        for found in (x, *params):
            found.set_shape(z.shape)
        x, *params = (self._masks.unsorted(mask_index, found) for found in (x, *params))
        return x, params

    def positions(self, mask_index: int = 0) -> np.ndarray:
        """Returns the place of each dimension in the order of a mask, integers `[D]`."""
        return self._masks.positions(self._checked_mask(mask_index))

    def _checked_mask(self, mask_index: int) -> int:
        found = checks.positive_int("mask_index", mask_index, minimum=0)
        if found >= self.num_masks:
            expected = f"below {self.num_masks}, the number of masks"
            raise ValueError(checks.message("mask_index", expected, mask_index))
        return found

    def _check_size(self, name: str, value: Any) -> None:
        if value.shape.rank != 2 or value.shape[-1] != self.event_size:
            raise ValueError(
                f"`{name}` must be of shape [N, {self.event_size}]. "
                f"Received: shape {list(value.shape)}"
            )

    def _offsets(self, conditional_input: Any) -> list[tf.Tensor]:
        """Returns the offsets of each layer: bias `[H, 1]`, or bias and context `[H, N]`."""
        biases = [tf.convert_to_tensor(bias)[:, tf.newaxis] for bias in self.biases]
        context = flat_context(conditional_input, self.conditional_event_shape)
        if context is None:
            return biases
        context = tf.cast(context, biases[0].dtype)
        return [
            bias + tf.matmul(kernel, context, transpose_a=True, transpose_b=True)
            for bias, kernel in zip(biases, self.context_kernels, strict=True)
        ]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "event_size": self.event_size,
            "params_size": self.params_size,
            "hidden_units": self.hidden_units,
            "activation": keras.activations.serialize(self.activation),
            "order": self.order,
            "num_masks": self.num_masks,
            "mask_seed": self.mask_seed,
            "direct": self.direct,
            "dropout": self.dropout,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "num_classes": self.num_classes,
            "input_range": self.input_range,
            "conditional_event_shape": self.conditional_event_shape,
            "unstacked": self.unstacked,
        }
