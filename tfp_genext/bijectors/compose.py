"""A chain of bijectors that passes keyword arguments to its members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext.bijectors import conditioning
from tfp_genext.bijectors.squeeze import Squeeze
from tfp_genext.core import checks, hosts
from tfp_genext.core.bijector import OneEvaluationBijector


class Compose(hosts.Chain):
    """A `tfb.Chain` that passes keyword arguments to every member that takes them.

        forward   y = b_1(b_2(... b_n(x)))
        inverse   x = b_n^-1(... b_2^-1(b_1^-1(y)))
        log-det   sum of the log-determinants of the members

    `tfb.Chain` expects keyword arguments by the names of its members, `{member.name: {...}}`, and
    silently drops others. `Compose` passes `conditional_input=c` to each member that takes it,
    through `tfb.Chain`, `tfb.Invert` and `Compose` at any depth, and raises if there is none. It
    also accepts the arguments of `tfb.Chain`.

    Args:
      bijectors: the members, outermost first. `forward` applies the last one first.
      validate_args: as in `tfb.Chain`. Default: `False`.
      validate_event_size: as in `tfb.Chain`. Default: `True`.
      name: name of the bijector. Default: `"compose"`.

    Raises:
      TypeError: if a member is not a `tfb.Bijector`.
      ValueError: in a call, if no member takes a keyword argument.

    Example:

    ```python
    import tensorflow as tf
    import tensorflow_probability as tfp
    import tfp_genext as gx

    network = gx.networks.MLP([1, 2], [16], conditional_event_shape=[3])
    coupling = gx.bijectors.AffineCoupling(1, shift_and_log_scale_fn=network)
    flow = gx.bijectors.Compose([tfp.bijectors.Tanh(), coupling])
    y = flow.forward(tf.zeros([5, 2]), conditional_input=tf.ones([5, 3]))
    assert y.shape == [5, 2]
    ```
    """

    routes_conditions = True

    def __init__(
        self,
        bijectors: Sequence[tfb.Bijector],
        *,
        validate_args: bool = False,
        validate_event_size: bool = True,
        name: str | None = None,
    ) -> None:
        parameters = dict(locals())
        _check_members(bijectors)
        super().__init__(
            bijectors=list(bijectors),
            validate_args=validate_args,
            validate_event_size=validate_event_size and not all(map(_keeps_size, bijectors)),
            parameters=parameters,
            name=name or "compose",
        )

    def _walk_forward(self, step_fn: Callable, x: Any, **conditions: Any) -> Any:
        checks.not_symbolic("x", x)
        self._check_taken(conditions)
        for member in reversed(self.bijectors):
            x = step_fn(member, x, **self._for_member(member, conditions))
        return x

    def _walk_inverse(self, step_fn: Callable, y: Any, **conditions: Any) -> Any:
        checks.not_symbolic("y", y)
        self._check_taken(conditions)
        for member in self.bijectors:
            y = step_fn(member, y, **self._for_member(member, conditions))
        return y

    def _for_member(self, member: tfb.Bijector, conditions: dict[str, Any]) -> dict[str, Any]:
        filed = conditions.get(member.name)
        return {
            **conditioning.route(member, conditions),
            **(filed if isinstance(filed, dict) else {}),
        }

    def _check_taken(self, conditions: dict[str, Any]) -> None:
        names = {member.name for member in self.bijectors}
        for name, value in conditions.items():
            filed = isinstance(value, dict) and name in names
            if not filed and not conditioning.takes(self, name):
                known = [n for n in ("conditional_input",) if conditioning.takes(self, n)]
                near = checks.near_matches(name, [*known, *names])
                raise ValueError(
                    f"`{name}` must be taken by a member of `{self.name}`, and none takes it"
                    f"{f'; did you mean {near}?' if near else '.'} "
                    f"Received: members {[member.name for member in self.bijectors]}"
                )


def _keeps_size(bijector: tfb.Bijector) -> bool:
    """Tells whether a bijector is known to keep the number of entries of an event.

    TFP checks the size in each call of other bijectors, by operations that print and that model
    converters do not support.
    """
    inner = conditioning.members(bijector)
    if inner:
        return all(map(_keeps_size, inner))
    if isinstance(bijector, (OneEvaluationBijector, Squeeze, tfb.Permute, tfb.Reshape)):
        return True
    return bijector.forward_min_event_ndims == bijector.inverse_min_event_ndims == 0


def _check_members(bijectors: Any) -> None:
    members = tf.nest.flatten(bijectors) if isinstance(bijectors, (list, tuple)) else [bijectors]
    if not isinstance(bijectors, (list, tuple)) or not all(
        isinstance(member, tfb.Bijector) for member in members
    ):
        raise TypeError(checks.message("bijectors", "a sequence of tfb.Bijector", bijectors))
