"""Heads of mixture distributions."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import numerics
from tfp_genext.core import checks
from tfp_genext.distributions import support
from tfp_genext.distributions.head import (
    Head,
    Independent,
    draw_class,
    gather_at,
    refuse_values,
    unflatten,
)

_LOG_SCALE_BOUND = 7.0


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class Mixture(Head):
    """A mixture of events of one family, with weights as parameters.

        p(x) = sum_k softmax(logits)_k * p(x; params_k)

    At zero parameters all components are equal, and their gradients are equal too. A network that
    is initialised near zero should therefore have some noise in its last bias.

    Args:
      num_components: K.
      component: head of one component, such as `gx.distributions.IndependentNormal([3])`.

    Raises:
      ValueError: if `num_components` is below 1.
      TypeError: if `component` is not a head.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.Mixture(4, gx.distributions.IndependentLogistic([2]))
    assert head.params_size == 4 + 4 * 4
    ```
    """

    event_shape: tuple[int, ...] = dataclasses.field(init=False)
    num_components: int
    component: Head

    def __post_init__(self) -> None:
        checks.positive_int("num_components", self.num_components)
        if not isinstance(self.component, Head):
            raise TypeError(checks.message("component", "a head", self.component))
        object.__setattr__(self, "event_shape", self.component.event_shape)

    @property
    def params_size(self) -> int:
        return self.num_components * (1 + self.component.params_size)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        logits, rest = self._separate(params)
        return tfd.MixtureSameFamily(tfd.Categorical(logits=logits), self.component(rest))

    def _separate(self, params: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns logits `[..., K]` and the parameters of the components `[..., K, size]`."""
        logits, rest = tf.split(params, [self.num_components, -1], axis=-1)
        return logits, unflatten(rest, [self.num_components, self.component.params_size])

    def check_values(self, x: np.ndarray) -> None:
        self.component.check_values(x)

    @property
    def discrete(self) -> bool:
        return self.component.discrete

    def entry(self) -> Head:
        return Mixture(self.num_components, self.component.entry())

    def from_uniform(self, params: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        logits, rest = self._separate(params)
        index, u = draw_class(logits, u)
        return self.component.from_uniform(gather_at(rest, index), u)

    def likeliest(self, params: tf.Tensor) -> tf.Tensor:
        logits, rest = self._separate(params)
        return self.component.likeliest(gather_at(rest, _largest_component(logits)))


class _QuantizedLogistic(tfd.QuantizedDistribution):
    """A logistic variable rounded to integers within bounds, with the mean that TFP does not have.

        E x = low + sum_{v = low}^{high - 1} P(x > v)

    The sum is approximated by an integral with a closed form, of which it is the midpoint rule. The
    error is less than half a step, and only matters if the scale is much smaller than a step.
    """

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        inside = (x >= self.low) & (x <= self.high) & (x == tf.floor(x))
        return support.log_prob_inside(super()._log_prob, x, inside, 0.0)

    def _mean(self) -> tf.Tensor:
        logistic = self.distribution.distribution
        loc, scale = logistic.loc, logistic.scale
        above = [tf.nn.softplus((loc - end) / scale) for end in (self.low, self.high)]
        return self.low + scale * (above[0] - above[1])


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class QuantizedLogistics(Independent):
    """Integers such as pixels, with a mixture of discretised logistics for each entry.

        p(x) = prod_i sum_k w_ik * (F_ik(x_i + 1/2) - F_ik(x_i - 1/2))

    F_ik is the logistic distribution function of component k. The lowest and the highest value get
    the whole tail (Salimans et al., 2017, arXiv:1701.05517). At zero parameters the components are
    spaced evenly over all values.

    Args:
      event_shape: shape of one event, `[]` for a single value.
      num_components: number of components of each entry. Default: 5.
      num_values: number of values, at least 2. Values are 0 to num_values - 1. Default: 256.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.QuantizedLogistics([28, 28, 1], num_components=3)
    assert head.params_size == 28 * 28 * 9
    ```
    """

    num_components: int = dataclasses.field(default=5, kw_only=True)
    num_values: int = dataclasses.field(default=256, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive_int("num_components", self.num_components)
        checks.positive_int("num_values", self.num_values, minimum=2)

    @property
    def params_of_entry(self) -> int:
        return 3 * self.num_components

    def entries(self, params: tf.Tensor) -> tfd.Distribution:
        logits, locs, scales = self._separate(params)
        half, low, high = tf.unstack(tf.constant([-0.5, 0.0, self.num_values - 1.0], params.dtype))
        logistic = tfd.TransformedDistribution(tfd.Logistic(locs, scales), tfb.Shift(half))
        steps = _QuantizedLogistic(logistic, low=low, high=high)
        return tfd.MixtureSameFamily(tfd.Categorical(logits=logits), steps)

    def _separate(self, params: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns logits, locations and scales, each `[..., K]`."""
        logits, raw_locs, raw_scales = tf.split(params, 3, axis=-1)
        step = self.num_values / self.num_components
        places = step * (np.arange(self.num_components) + 0.5) - 0.5
        locs = tf.constant(places, params.dtype) + step * raw_locs
        scales = 0.5 * step * tf.exp(numerics.soft_bound(raw_scales, _LOG_SCALE_BOUND))
        return logits, locs, scales

    @property
    def discrete(self) -> bool:
        return True

    def from_uniform(self, params: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        logits, locs, scales = self._separate(params)
        index, u = draw_class(logits, u)
        logistic = tfd.Logistic(gather_at(locs, index), gather_at(scales, index))
        return self._rounded(logistic.quantile(u))

    def likeliest(self, params: tf.Tensor) -> tf.Tensor:
        logits, locs, _ = self._separate(params)
        return self._rounded(gather_at(locs, _largest_component(logits)))

    def _rounded(self, x: tf.Tensor) -> tf.Tensor:
        # x represents the interval from x - 1/2 to x + 1/2, as in `entries`.
        return tf.clip_by_value(tf.math.ceil(x - 0.5) + 0.0, 0.0, self.num_values - 1.0)

    def check_values(self, x: np.ndarray) -> None:
        wrong = (x < 0) | (x >= self.num_values) | (x != np.floor(x))
        refuse_values(x, wrong, f"whole numbers from 0 to {self.num_values - 1}")


def _largest_component(logits: tf.Tensor) -> tf.Tensor:
    return tf.argmax(logits, axis=-1, output_type=tf.int32)
