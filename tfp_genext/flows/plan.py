"""What the recipes for vectors share: checked arguments, networks, norms and permutations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import bijectors, checks
from tfp_genext.networks import MLP

Permutation = Callable[[int, int], Sequence[int]]


class VectorPlan:
    """The checked arguments that all recipes for vectors share."""

    def __init__(
        self,
        event_shape: Any,
        num_layers: Any,
        hidden_units: Any,
        activation: Any,
        conditional_event_shape: Any,
        base: Any,
        dtype: Any,
    ) -> None:
        (self.size,) = checks.vector_shape("event_shape", event_shape, minimum=2)
        self.num_layers = checks.positive_int("num_layers", num_layers)
        self.hidden_units = checks.positive_ints("hidden_units", hidden_units)
        self.activation = activation
        self.context_shape = conditional_event_shape
        self.layer_dtype = None if dtype is None else checks.float_dtype("dtype", dtype).name
        policy = keras.dtype_policies.get(self.layer_dtype)
        self.dtype = tf.as_dtype(policy.variable_dtype)
        self.base = base

    def network(self, num_visible: int, params_shape: tuple[int, ...], index: int) -> MLP:
        network = MLP(
            params_shape,
            self.hidden_units,
            activation=self.activation,
            conditional_event_shape=self.context_shape,
            unstacked=True,
            dtype=self.layer_dtype,
            name=f"conditioner_{index}",
        )
        network.build((None, num_visible))
        return network

    def steps(
        self,
        couple: Callable[[int, keras.Layer], tfb.Bijector],
        params_size: int,
        permutation: Permutation | None,
        act_norm: bool,
    ) -> list[tfb.Bijector]:
        """Returns couplings, norms and permutations, outermost first."""
        if permutation is not None and not callable(permutation):
            raise TypeError(checks.message("permutation", "callable, or None", permutation))
        half = self.size // 2
        steps: list[tfb.Bijector] = []
        for i in range(self.num_layers):
            if permutation is not None and i > 0 and i % 2 == 0:
                steps.append(tfb.Permute(_checked_order(permutation, self.size, i)))
            if act_norm:
                steps.append(self._act_norm())
            num_masked = half if i % 2 == 0 else half - self.size
            num_moved = self.size - abs(num_masked)
            network = self.network(abs(num_masked), (num_moved, params_size), i)
            steps.append(couple(num_masked, network))
        return steps

    def _act_norm(self) -> bijectors.ActNorm:
        zeros = tf.zeros([self.size], self.dtype)
        return bijectors.ActNorm(
            tf.Variable(zeros, name="shift"),
            tf.Variable(zeros, name="log_scale"),
            initialized=tf.Variable(False, trainable=False, name="initialized"),
        )

    def transformed(
        self,
        default_base: Callable[[int, tf.DType], tfd.Distribution],
        steps: list[tfb.Bijector],
        validate_args: bool,
        name: str,
    ) -> tfd.TransformedDistribution:
        base = default_base(self.size, self.dtype) if self.base is None else self.base
        _check_base(base, self.size, self.dtype)
        return tfd.TransformedDistribution(
            base, bijectors.Compose(steps), validate_args=validate_args, name=name
        )


def _check_base(base: Any, size: int, dtype: tf.DType) -> None:
    expected = f"a tfd.Distribution of event shape [{size}] and dtype {dtype.name}"
    if not isinstance(base, tfd.Distribution):
        raise TypeError(checks.message("base", expected, base))
    if base.event_shape != [size] or base.dtype != dtype:
        raise ValueError(
            f"`base` must be {expected}. "
            f"Received: event shape {base.event_shape}, dtype {base.dtype}"
        )


def _checked_order(permutation: Permutation, size: int, step: int) -> list[int]:
    order = [int(i) for i in permutation(size, step)]
    if sorted(order) != list(range(size)):
        raise ValueError(
            f"`permutation` must return each of 0 to {size - 1} once. Received: {order}"
        )
    return order
