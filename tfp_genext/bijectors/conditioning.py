"""Routing of keyword arguments such as `conditional_input`, and binding of contexts."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext.core import checks, hosts, tracking
from tfp_genext.core.bijector import OneEvaluationBijector, ValueAndLogDet

_CONDITIONERS = ("shift_and_log_scale_fn", "bijector_fn")


def members(bijector: tfb.Bijector) -> list[tfb.Bijector]:
    """Returns the direct members of a composition or inversion."""
    if isinstance(bijector, hosts.Composition):
        return tf.nest.flatten(bijector.bijectors)
    inner = getattr(bijector, "bijector", None)
    return [inner] if isinstance(inner, tfb.Bijector) else []


def is_inversion(bijector: tfb.Bijector) -> bool:
    """Tells whether a bijector is a `tfb.Invert`, which has two classes."""
    return isinstance(bijector, hosts.Invert)


def takes(bijector: tfb.Bijector, condition: str) -> bool:
    """Tells whether a bijector, or a member at any depth, takes the keyword `condition`."""
    if isinstance(bijector, OneEvaluationBijector):
        return bijector.takes(condition)
    inner = members(bijector)
    if inner:
        return any(takes(member, condition) for member in inner)
    functions = [(bijector.parameters or {}).get(name) for name in _CONDITIONERS]
    if any(functions):
        return any(f is not None and tracking.takes(f, condition) for f in functions)
    return tracking.accepts_keyword(hosts.forward_method(bijector), condition)


def conditional_event_shape(bijector: tfb.Bijector) -> tuple[int, ...] | None:
    """Returns the shape of one context event of a bijector or its members, or `None`."""
    if isinstance(bijector, OneEvaluationBijector):
        return bijector.conditional_event_shape
    shapes = [conditional_event_shape(member) for member in members(bijector)]
    return next((shape for shape in shapes if shape is not None), None)


def route(bijector: tfb.Bijector, conditions: dict[str, Any]) -> dict[str, Any]:
    """Returns the keyword arguments with which `bijector` passes `conditions` to its members.

    `tfb.Chain` expects them by the names of its members. All other bijectors take them unchanged.
    Keyword arguments that the bijector does not take are left out.
    """
    taken = {name: value for name, value in conditions.items() if takes(bijector, name)}
    if isinstance(bijector, OneEvaluationBijector) or not taken:
        return taken
    if is_inversion(bijector):
        return route(bijector.bijector, taken)
    if isinstance(bijector, hosts.Composition) and not getattr(
        bijector, "routes_conditions", False
    ):
        return _filed_by_name(bijector, taken)
    return taken


def _filed_by_name(bijector: hosts.Composition, conditions: dict[str, Any]) -> dict[str, Any]:
    filed: dict[str, Any] = {}
    for member in members(bijector):
        routed = route(member, conditions)
        if filed.setdefault(member.name, routed).keys() != routed.keys():
            raise ValueError(
                f"Members of `{bijector.name}` must have names of their own for keyword arguments "
                f"to reach them. Received: two members named {member.name!r}, of which only one "
                f"takes {sorted(conditions)}"
            )
    return {name: routed for name, routed in filed.items() if routed}


def initialize(
    bijector: tfb.Bijector, values: tf.Tensor, *, forward: bool = False, **conditions: Any
) -> tf.Tensor:
    """Passes data through a bijector, and initialises its data-dependent state.

    Args:
      bijector: the bijector, which may be a chain or inversion of TFP.
      values: a batch of inputs of the pass.
      forward: whether the pass is `forward` instead of `inverse`. Default: `False`.
      **conditions: keyword arguments of the bijector, such as `conditional_input`.

    Returns:
      The values after the pass.
    """
    if is_inversion(bijector):
        return initialize(bijector.bijector, values, forward=not forward, **conditions)
    if isinstance(bijector, hosts.Chain):
        for member in reversed(bijector.bijectors) if forward else bijector.bijectors:
            values = initialize(member, values, forward=forward, **conditions)
        return values
    routed = route(bijector, conditions)
    if isinstance(bijector, OneEvaluationBijector):
        return bijector.initialize_from(values, forward=forward, **routed)
    return (bijector.forward if forward else bijector.inverse)(values, **routed)


def uninitialized(module: tf.Module) -> list[OneEvaluationBijector]:
    """Returns the bijectors inside a module whose data-dependent state is not initialised."""
    modules = (module, *module.submodules)
    return [m for m in modules if isinstance(m, OneEvaluationBijector) and not m.initialized]


class Conditioned(OneEvaluationBijector):
    """A bijector with a fixed `conditional_input`, which takes no keyword arguments.

        forward   y = f(x; c)
        inverse   x = f^-1(y; c)
        log-det   the log-determinant of f(.; c)

    The leading dimensions of `c` become the bijector's batch shape. Costs are those of `f`.

    Args:
      bijector: the bijector `f`, ours or a composition, that takes `conditional_input`.
      conditional_input: context `[..., *conditional_event_shape]`.
      validate_args, name: as in `tfb.Bijector`. The default name is `"conditioned"`.

    Raises:
      TypeError: if `bijector` is not a bijector, or `conditional_input` is not numeric.
      ValueError: if `bijector` takes no `conditional_input`, or one of another shape.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[8], conditional_event_shape=[3])
    bound = gx.bijectors.Conditioned(flow.bijector, tf.ones([5, 3]))
    assert bound.forward(tf.zeros([10, 5, 2])).shape == [10, 5, 2]
    ```
    """

    def __init__(
        self,
        bijector: tfb.Bijector,
        conditional_input: Any,
        *,
        validate_args: bool = False,
        name: str | None = None,
    ) -> None:
        parameters = dict(locals())
        if not isinstance(conditional_input, tf.Variable):
            conditional_input = checks.numeric("conditional_input", conditional_input)
        _check_condition(bijector, conditional_input)
        name = name or "conditioned"
        with tf.name_scope(name) as name:
            self._bijector = bijector
            self._conditional_input = conditional_input
            super().__init__(
                forward_min_event_ndims=bijector.forward_min_event_ndims,
                inverse_min_event_ndims=bijector.inverse_min_event_ndims,
                is_constant_jacobian=bijector.is_constant_jacobian,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )

    @property
    def bijector(self) -> tfb.Bijector:
        """The bijector without a fixed context."""
        return self._bijector

    @property
    def conditional_input(self) -> Any:
        """The fixed context."""
        return self._conditional_input

    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        del conditions
        bound = self._bound()
        return self._bijector.forward(x, **bound), self._bijector.forward_log_det_jacobian(
            x, self._bijector.forward_min_event_ndims, **bound
        )

    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        del conditions
        bound = self._bound()
        return self._bijector.inverse(y, **bound), self._bijector.inverse_log_det_jacobian(
            y, self._bijector.inverse_min_event_ndims, **bound
        )

    def initialize_from(
        self, values: tf.Tensor, *, forward: bool = False, **conditions: Any
    ) -> tf.Tensor:
        del conditions
        c = tf.convert_to_tensor(self._conditional_input)
        return initialize(self._bijector, values, forward=forward, conditional_input=c)

    def _bound(self) -> dict[str, Any]:
        # One tensor for both calls, because TFP's cache compares tensors by identity.
        c = tf.convert_to_tensor(self._conditional_input)
        return route(self._bijector, {"conditional_input": c})

    def _forward_event_shape(self, shape: Any) -> Any:
        return self._bijector.forward_event_shape(shape)

    def _forward_event_shape_tensor(self, shape: Any) -> Any:
        return self._bijector.forward_event_shape_tensor(shape)

    def _inverse_event_shape(self, shape: Any) -> Any:
        return self._bijector.inverse_event_shape(shape)

    def _inverse_event_shape_tensor(self, shape: Any) -> Any:
        return self._bijector.inverse_event_shape_tensor(shape)

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        del dtype
        return {
            # Left out if it has no batch shape, because TFP cannot slice a permutation.
            "bijector": hosts.BatchedComponentProperties(
                event_ndims=lambda self, ndims: (
                    hosts.NO_EVENT_NDIMS
                    if self.bijector.experimental_batch_shape(ndims).rank == 0
                    else ndims
                )
            ),
            "conditional_input": hosts.ParameterProperties(
                event_ndims=lambda self, ndims: _context_ndims(self.bijector)
            ),
        }


def _context_ndims(bijector: tfb.Bijector) -> int:
    shape = conditional_event_shape(bijector)
    return 1 if shape is None else len(shape)


def _check_condition(bijector: Any, conditional_input: tf.Tensor) -> None:
    if not isinstance(bijector, tfb.Bijector):
        raise TypeError(checks.message("bijector", "a tfb.Bijector", bijector))
    if not takes(bijector, "conditional_input"):
        raise ValueError(
            "`bijector` must take `conditional_input`. Received: "
            f"{bijector.name}, in which no network does"
        )
    expected = conditional_event_shape(bijector)
    if expected is not None:
        checks.ends_in("conditional_input", conditional_input.shape, expected)
