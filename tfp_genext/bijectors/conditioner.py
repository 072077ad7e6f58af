"""From a conditioner and what it sees to the bijector of what it does not see."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext.core import checks, tracking
from tfp_genext.transformers import Transformer


def transformed_params(
    function: tracking.KerasNetwork | Callable,
    transformer: Transformer,
    visible: tf.Tensor,
    num_units: int,
    *,
    argument: str,
    **conditions: Any,
) -> tfb.Bijector:
    """Returns the scalar bijector whose parameters a conditioner computes from `visible`.

    Args:
      function: a Keras layer, called as `layer(visible, **conditions)`, or another callable, called
        as `function(visible, num_units, **conditions)`. It gives `[..., num_units, params_size]`,
        or a tuple of `params_size` tensors `[..., num_units]`; with one parameter
        `[..., num_units]` does too.
      transformer: turns the parameters into a bijector.
      visible: `[..., d]`, what the conditioner may look at.
      num_units: how many units the bijector acts on.
      argument: what the conditioner is called as an argument.
      **conditions: further keyword arguments, such as `conditional_input`.

    Raises:
      ValueError: where the output has another size.
    """
    if isinstance(function, tracking.KerasNetwork):
        output, name = function(visible, **conditions), function.network.name
    else:
        output = function(visible, num_units, **conditions)
        name = getattr(function, "__name__", type(function).__name__)
    output = tf.nest.map_structure(tf.convert_to_tensor, output)
    params = _unstack(output, transformer.params_size, num_units)
    if params is None:
        shapes = tf.nest.map_structure(lambda t: t.shape.as_list(), output)
        raise ValueError(
            f"`{argument}` must return parameters of shape "
            f"[..., {num_units}, {transformer.params_size}], or a tuple of "
            f"{transformer.params_size} of shape [..., {num_units}]. "
            f"Received: shape {shapes} from the network `{name}`"
        )
    return transformer.bijector(params)


def _unstack(output: Any, size: int, num_units: int) -> Sequence[tf.Tensor] | None:
    if isinstance(output, (list, tuple)):
        fits = len(output) == size and all(t.shape[-1:] == [num_units] for t in output)
        return output if fits else None
    if output.shape[-2:] == [num_units, size]:
        return tf.unstack(output, axis=-1)
    if size == 1 and output.shape[-1:] == [num_units]:
        return [output]
    return None


def one_by_one(params: Any) -> Sequence[tf.Tensor]:
    """Returns what a network's `solve` says: tensors, or one that holds them on its last axis."""
    return tf.unstack(params, axis=-1) if tf.is_tensor(params) else params


def shift_and_scale(shift: tf.Tensor | None, log_scale: tf.Tensor | None) -> tfb.Bijector:
    """Returns the bijector x -> exp(log_scale) * x + shift, as TFP builds it; `None` means zero."""
    parts: list[tfb.Bijector] = []
    if shift is not None:
        parts.append(tfb.Shift(shift))
    if log_scale is not None:
        parts.append(tfb.Scale(log_scale=log_scale))
    return tfb.Chain(parts)


def unpacked_pair(output: Any, argument: str, visible: tf.Tensor, *, axis: int) -> Any:
    """Returns the (shift, log_scale) that a callable returns as a pair, or stacked.

    Args:
      output: of the callable.
      argument: what the callable is called as an argument.
      visible: what it was called with.
      axis: along which TFP takes a single tensor apart.

    Raises:
      ValueError: if it returns anything else.
    """
    if tf.is_tensor(output) and _is_stacked(output, visible, axis):
        return tf.unstack(output, num=2, axis=axis)
    if isinstance(output, (list, tuple)) and len(output) == 2:
        return output
    received = f"shape {output.shape}" if tf.is_tensor(output) else type(output).__name__
    raise ValueError(
        f"`{argument}` must return a pair (shift, log_scale), as TFP's functions do. "
        "A network belongs here as a Keras 3 layer, such as gx.networks.MLP or gx.networks.MADE. "
        f"Received: {received}"
    )


def _is_stacked(output: tf.Tensor, visible: tf.Tensor, axis: int) -> bool:
    """Tells whether a tensor may hold two of the shape of another, as far as the graph knows."""
    if output.shape.rank is None:
        return True
    same = visible.shape.rank in (None, output.shape.rank - 1)
    return same and output.shape[axis] in (2, None)


def refuse_other_keras(argument: str, function: Any) -> None:
    """Raises `TypeError` for a layer of `tf_keras` that cannot be given the number of units.

    TFP calls functions of coupling layers as `function(x0, num_units)`; the second argument of
    such a layer is `training`, if it has one.
    """
    call = getattr(function, "call", None)
    if not isinstance(function, tf.Module) or call is None:
        return
    inputs = [
        name
        for name, parameter in inspect.signature(call).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(call).parameters.values()):
        return
    if len(inputs) < 2 or inputs[1] in ("training", "mask"):
        kind = f"{type(function).__module__.partition('.')[0]}.{type(function).__name__}"
        raise TypeError(
            f"`{argument}` must be a Keras 3 layer, of `import keras`, such as gx.networks.MLP; or "
            "a callable that takes the number of units too, as TFP calls it. "
            f"Received: {argument} of type {kind}, which takes its input alone"
        )


def one_function(
    shift_and_log_scale_fn: Any,
    bijector_fn: Any,
    transformer: Any,
    *,
    event_ndims: int,
    takes_units: bool,
) -> Any:
    """Returns the one function that is given, a Keras layer as `KerasNetwork`.

    Raises:
      ValueError: if not exactly one is given, or a transformer beside a callable.
      TypeError: if it is not callable, or `transformer` is not a transformer.
    """
    given = [f for f in (shift_and_log_scale_fn, bijector_fn) if f is not None]
    if len(given) != 1:
        raise ValueError(
            "Exactly one of `shift_and_log_scale_fn` and `bijector_fn` should be specified. "
            f"Received: {shift_and_log_scale_fn=}, {bijector_fn=}"
        )
    name = "bijector_fn" if shift_and_log_scale_fn is None else "shift_and_log_scale_fn"
    if not callable(given[0]):
        raise TypeError(checks.message(name, "a Keras layer or callable", given[0]))
    if takes_units:
        refuse_other_keras(name, given[0])
    event_ndims = checks.positive_int("event_ndims", event_ndims)
    function = tracking.track(given[0], event_ndims=event_ndims)
    if transformer is not None:
        checked_transformer(transformer)
    if transformer is not None and not isinstance(function, tracking.KerasNetwork):
        raise ValueError(
            "`transformer` must be None unless the function is a Keras layer: a callable's "
            f"parameters are used as they are given. Received: {transformer=}"
        )
    return function


def checked_transformer(transformer: Any) -> Transformer:
    """Returns a transformer as it is.

    Raises:
      TypeError: where it is none.
    """
    if not isinstance(transformer, Transformer):
        raise TypeError(checks.message("transformer", "a gx.transformers.Transformer", transformer))
    return transformer


def checked_network(conditioner: Any, *, event_ndims: int = 1) -> Any:
    """Returns a conditioner, a Keras layer as `KerasNetwork`.

    Raises:
      ValueError: where it cannot be called.
    """
    if not callable(conditioner):
        raise ValueError(checks.message("conditioner", "a Keras layer or callable", conditioner))
    refuse_other_keras("conditioner", conditioner)
    event_ndims = checks.positive_int("event_ndims", event_ndims)
    return tracking.track(conditioner, event_ndims=event_ndims)


def checked_inner(inner: tfb.Bijector, *, most: int) -> tfb.Bijector:
    """Returns the bijector of a `bijector_fn` if it keeps the rank and acts on rank `most` at most.

    Raises:
      ValueError: where it does not.
    """
    if inner.forward_min_event_ndims != inner.inverse_min_event_ndims:
        raise ValueError(
            "Bijectors which alter `event_ndims` are not supported. "
            f"Received: {inner.forward_min_event_ndims=}, {inner.inverse_min_event_ndims=}"
        )
    if inner.forward_min_event_ndims > most:
        raise ValueError(
            f"Bijectors with `forward_min_event_ndims` > {most} are not supported. "
            f"Received: {inner.forward_min_event_ndims=}"
        )
    return inner
