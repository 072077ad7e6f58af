"""Conditional flows and autoregressive distributions used as heads."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext.core import checks
from tfp_genext.distributions import binding
from tfp_genext.distributions.head import unflatten


@dataclasses.dataclass(frozen=True, eq=False)
class DistributionHead:
    """A conditional distribution used as a head: its context is the head's parameters.

    Args:
      distribution: a conditional flow or a `gx.distributions.Autoregressive`, not yet bound to a
        context.
    """

    distribution: tfd.Distribution

    def __post_init__(self) -> None:
        bound = getattr(self.distribution, "conditional_input", None)
        if self._context_shape is None or bound is not None:
            expected = "one that takes a context, and has none yet"
            raise ValueError(checks.message("head", expected, self.distribution))

    @property
    def _context_shape(self) -> tuple[int, ...] | None:
        return binding.conditional_event_shape(self.distribution)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return tuple(self.distribution.event_shape.as_list())

    @property
    def params_size(self) -> int:
        """Number of entries of one context event."""
        return math.prod(self._context_shape or ())

    @property
    def discrete(self) -> bool:
        """Whether the distribution's events are integers."""
        return bool(getattr(self.distribution, "discrete", False))

    def check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` for entries outside the support, if the support is known."""
        check = getattr(self.distribution, "check_values", None)
        if check is not None:
            check(x)

    def context(self, params: tf.Tensor) -> tf.Tensor:
        """Returns parameters `[..., params_size]` in the shape of contexts."""
        return unflatten(params, self._context_shape or ())

    def __call__(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution given contexts `[..., params_size]`."""
        return binding.bind(self.distribution, self.context(params))
