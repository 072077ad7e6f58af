"""Autoregressive distributions in the place of heads."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import tensorflow as tf

from tfp_genext import checks
from tfp_genext.distributions.autoregressive import Autoregressive
from tfp_genext.distributions.head import in_shape


@dataclasses.dataclass(frozen=True, eq=False)
class ContextHead:
    """An autoregressive distribution as a head: its context is the head's parameters.

    Args:
      distribution: one that takes a context, and has none yet.
    """

    distribution: Autoregressive

    def __post_init__(self) -> None:
        shape = self.distribution.conditional_event_shape
        if shape is None or self.distribution.conditional_input is not None:
            expected = "one that takes a context, and has none yet"
            raise ValueError(checks.message("head", expected, self.distribution))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return tuple(self.distribution.event_shape.as_list())

    @property
    def params_size(self) -> int:
        """How many numbers a context has."""
        return math.prod(self.distribution.conditional_event_shape or ())

    @property
    def discrete(self) -> bool:
        """Whether events hold whole numbers."""
        return self.distribution.discrete

    def check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` where an array holds entries outside the support."""
        self.distribution.check_values(x)

    def __call__(self, params: tf.Tensor) -> Autoregressive:
        """Returns the distribution given contexts `[..., params_size]`."""
        shape = self.distribution.conditional_event_shape or ()
        return self.distribution.condition(in_shape(params, shape))
