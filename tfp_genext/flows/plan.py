"""Common parts of the recipes for vectors: checked arguments, networks and layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import bijectors
from tfp_genext.core import checks
from tfp_genext.distributions import support
from tfp_genext.transformers import Affine, Transformer
from tfp_genext.transformers.base import checked_transformer

Permutation = Callable[[int, int], Sequence[int]]


class VectorPlan:
    """The checked common arguments of the recipes for vectors."""

    def __init__(
        self,
        event_shape: Any,
        num_layers: Any,
        hidden_units: Any,
        activation: Any,
        conditional_event_shape: Any,
        base: Any,
        dtype: Any,
        *,
        smallest: int,
    ) -> None:
        (self.size,) = checks.vector_shape("event_shape", event_shape, minimum=smallest)
        self.num_layers = checks.positive_int("num_layers", num_layers)
        self.hidden_units = checks.positive_ints("hidden_units", hidden_units)
        self.activation = activation
        self.context_shape = conditional_event_shape
        self.layer_dtype, self.dtype = dtypes(dtype)
        self.base = base

    def built(
        self,
        network: Callable[..., keras.Layer],
        *args: Any,
        inputs: int,
        index: int,
        **options: Any,
    ) -> Any:
        """Creates a network with the shared options, and builds its variables."""
        made = network(
            *args,
            self.hidden_units,
            activation=self.activation,
            conditional_event_shape=self.context_shape,
            dtype=self.layer_dtype,
            name=f"conditioner_{index}",
            **options,
        )
        made.build((None, inputs))
        return made

    def steps(
        self,
        layer: Callable[[int], tfb.Bijector],
        permutation: Permutation | None,
        act_norm: bool,
        *,
        every: int,
    ) -> list[tfb.Bijector]:
        """Returns layers and ActNorms, with a permutation after `every` layers, outermost first."""
        if permutation is not None and not callable(permutation):
            raise TypeError(checks.message("permutation", "callable, or None", permutation))
        steps: list[tfb.Bijector] = []
        for i in range(self.num_layers):
            if permutation is not None and i > 0 and i % every == 0:
                order = permutation(self.size, i)
                order = checks.permutation("permutation", order, self.size)
                steps.append(bijectors.Permute(order))
            if act_norm:
                steps.append(new_act_norm(self.size, self.dtype))
            steps.append(layer(i))
        return steps

    def transformed(
        self,
        default_base: Callable[[int, tf.DType], tfd.Distribution],
        steps: list[tfb.Bijector],
        validate_args: bool,
        name: str,
    ) -> tfd.TransformedDistribution:
        base = default_base(self.size, self.dtype) if self.base is None else self.base
        _check_base(base, self.size, self.dtype)
        return support.transformed(
            base, bijectors.Compose(steps), validate_args=validate_args, name=name
        )


def dtypes(dtype: Any) -> tuple[str | None, tf.DType]:
    """Returns the `dtype` argument of Keras layers, and the dtype of variables."""
    layer_dtype = None if dtype is None else checks.float_dtype("dtype", dtype).name
    policy = keras.dtype_policies.get(layer_dtype)
    return layer_dtype, tf.as_dtype(policy.variable_dtype)


def new_act_norm(size: int, dtype: tf.DType) -> bijectors.ActNorm:
    """Returns an uninitialised `ActNorm` of `size` dimensions, on new variables."""
    zeros = tf.zeros([size], dtype)
    return bijectors.ActNorm(
        tf.Variable(zeros, name="shift"),
        tf.Variable(zeros, name="log_scale"),
        initialized=tf.Variable(False, trainable=False, name="initialized"),
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


def standard_normal(size: int, dtype: tf.DType) -> tfd.Distribution:
    """Returns the standard normal distribution of vectors."""
    zeros = tf.zeros([size], dtype)
    return tfd.Independent(tfd.Normal(zeros, tf.ones_like(zeros)), reinterpreted_batch_ndims=1)


def standard_logistic(size: int, dtype: tf.DType) -> tfd.Distribution:
    """Returns the standard logistic distribution of vectors."""
    if dtype == tf.bfloat16:
        expected = "float16, float32 or float64, as TFP draws no logistic noise in bfloat16; or "
        raise ValueError(checks.message("dtype", expected + "`base` be given", dtype.name))
    zeros = tf.zeros([size], dtype)
    return tfd.Independent(tfd.Logistic(zeros, tf.ones_like(zeros)), reinterpreted_batch_ndims=1)


def checked_data_bijector(bijector: Any, dtype: tf.DType) -> list[tfb.Bijector]:
    """Returns a list of the data bijector; empty for `None`."""
    if bijector is None:
        return []
    if not isinstance(bijector, tfb.Bijector):
        raise TypeError(checks.message("data_bijector", "a tfb.Bijector, or None", bijector))
    try:
        bijector.forward_dtype(dtype)
    except TypeError as error:
        expected = f"of the flow's dtype, {dtype.name}"
        raise ValueError(checks.message("data_bijector", expected, bijector)) from error
    return [bijector]


def transformer_or_affine(transformer: Any) -> Transformer:
    """Returns the checked transformer; `Affine()` for `None`."""
    return Affine() if transformer is None else checked_transformer(transformer)
