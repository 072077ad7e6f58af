"""Heads whose entries hang together."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import checks
from tfp_genext.distributions.head import Head

_LEAST_SCALE = 1e-5


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class MultivariateNormalTriL(Head):
    """A normal vector with any covariance, by a location and a triangular factor.

        p(x) = Normal(x; loc, L L^T),   L = fill_triangular(raw), its diagonal softplus(raw) + 1e-5

    Args:
      event_size: D.

    Raises:
      TypeError, ValueError: where it is no integer of at least 1.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.MultivariateNormalTriL(3)
    assert head.params_size == 3 + 6
    assert head(tf.zeros([5, 9])).sample(seed=[1, 2]).shape == [5, 3]
    ```
    """

    event_shape: tuple[int, ...] = dataclasses.field(init=False)
    event_size: int

    def __post_init__(self) -> None:
        size = checks.positive_int("event_size", self.event_size)
        object.__setattr__(self, "event_shape", (size,))

    @property
    def params_size(self) -> int:
        return self.event_size + self.event_size * (self.event_size + 1) // 2

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw = tf.split(params, [self.event_size, -1], axis=-1)
        fill = tfb.FillScaleTriL(
            diag_bijector=tfb.Softplus(), diag_shift=tf.constant(_LEAST_SCALE, raw.dtype)
        )
        return tfd.MultivariateNormalTriL(loc, fill.forward(raw))
