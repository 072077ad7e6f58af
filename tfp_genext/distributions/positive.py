"""Heads of positive, bounded, heavy-tailed and overdispersed entries."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext import numerics
from tfp_genext.core import checks
from tfp_genext.distributions import support
from tfp_genext.distributions.head import Independent, refuse_values
from tfp_genext.distributions.independent import LocationScale

_LOG_LOCATION_BOUND = 30.0


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class IndependentLogNormal(LocationScale):
    """Log-normal entries with a location and a log-scale each.

        log(x_i) ~ Normal(loc_i, scale_i)
        loc = 30 * tanh(raw / 30),   scale = exp(b * tanh(raw / b))
        params = [raw of loc_1, raw of scale_1, ...]

    The bounds keep all samples within the range of float32.

    Args:
      event_shape: shape of one event, `[]` for a positive number.
      bound: b, soft bound of the log-scale, above 0. Default: 2.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentLogNormal([2])
    assert head(tf.zeros([7, head.params_size])).sample(seed=[1, 2]).shape == [7, 2]
    ```
    """

    bound: float = dataclasses.field(default=2.0, kw_only=True)

    def entries(self, params: tf.Tensor) -> tfd.Distribution:
        loc, scale = self._loc_and_scale(params)
        return support.LogNormal(numerics.soft_bound(loc, _LOG_LOCATION_BOUND), scale)

    def check_values(self, x: np.ndarray) -> None:
        refuse_values(x, x <= 0, "numbers above 0")


@dataclasses.dataclass(frozen=True)
class _TwoLogarithms(Independent):
    """Base class of heads with two positive, softly bounded parameters for each entry."""

    bound: float = dataclasses.field(default=5.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive_number("bound", self.bound)

    @property
    def params_of_entry(self) -> int:
        return 2

    def _positive(self, params: tf.Tensor) -> list[tf.Tensor]:
        return tf.unstack(tf.exp(numerics.soft_bound(params, self.bound)), axis=-1)


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class IndependentGamma(_TwoLogarithms):
    """Gamma-distributed entries, exponential with rate 1 at zero parameters.

        p(x) = prod_i rate_i^a_i * x_i^(a_i - 1) * exp(-rate_i * x_i) / Gamma(a_i)
        a, rate = exp(b * tanh(raw / b))
        params = [raw of a_1, raw of rate_1, ...]

    Args:
      event_shape: shape of one event, `[]` for an amount.
      bound: b, soft bound of log(a) and log(rate), above 0. Default: 5.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentGamma([2])
    assert head(tf.zeros([head.params_size])).mean().numpy().tolist() == [1.0, 1.0]
    ```
    """

    def entries(self, params: tf.Tensor) -> tfd.Distribution:
        return support.Gamma(*self._positive(params))

    def check_values(self, x: np.ndarray) -> None:
        refuse_values(x, x <= 0, "numbers above 0")


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class IndependentBeta(_TwoLogarithms):
    """Beta-distributed entries in (0, 1), uniform at zero parameters.

        p(x) = prod_i x_i^(a_i - 1) * (1 - x_i)^(c_i - 1) / Beta(a_i, c_i)
        a, c = exp(b * tanh(raw / b))
        params = [raw of a_1, raw of c_1, ...]

    Args:
      event_shape: shape of one event, `[]` for a share.
      bound: b, soft bound of log(a) and log(c), above 0. Default: 5.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentBeta([2])
    assert head(tf.zeros([head.params_size])).log_prob([0.3, 0.9]).numpy() == 0.0
    ```
    """

    def entries(self, params: tf.Tensor) -> tfd.Distribution:
        return support.Beta(*self._positive(params))

    def check_values(self, x: np.ndarray) -> None:
        refuse_values(x, (x <= 0) | (x >= 1), "numbers between 0 and 1")


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class IndependentStudentT(LocationScale):
    """Heavy-tailed entries with Student's t distributions.

        x_i = loc_i + scale_i * t_i,   t_i with 1 + 3 * exp(b * tanh(raw / b)) degrees of freedom
        scale = exp(b * tanh(raw / b))
        params = [loc_1, raw of scale_1, raw of degrees_1, ...]

    At zero parameters there are 4 degrees of freedom. With more than 1 the mean exists, with more
    than 2 the standard deviation.

    Args:
      event_shape: shape of one event, `[]` for a real number.
      bound: b, above 0. Default: 5.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentStudentT([2])
    assert head.params_size == 6
    assert head(tf.zeros([7, 6])).log_prob(tf.fill([7, 2], 1e6)).shape == [7]
    ```
    """

    @property
    def params_of_entry(self) -> int:
        return 3

    def entries(self, params: tf.Tensor) -> tfd.Distribution:
        loc, scale = self._loc_and_scale(params[..., :2])
        degrees = 1.0 + 3.0 * tf.exp(numerics.soft_bound(params[..., 2], self.bound))
        return tfd.StudentT(degrees, loc, scale)


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class IndependentNegativeBinomial(_TwoLogarithms):
    """Overdispersed counts with a mean and a dispersion each.

        p(x) = prod_i Gamma(x_i + r_i) / (Gamma(r_i) x_i!) * (1 - q_i)^r_i * q_i^x_i
        mean = r q / (1 - q),   variance = mean + mean^2 / r
        mean, r = exp(b * tanh(raw / b))
        params = [raw of mean_1, raw of r_1, ...]

    At zero parameters the mean is 1 and the variance 2.

    Args:
      event_shape: shape of one event, `[]` for one count.
      bound: b, soft bound of both logarithms, above 0. Default: 15.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentNegativeBinomial([2])
    assert head(tf.zeros([head.params_size])).variance().numpy().tolist() == [2.0, 2.0]
    ```
    """

    bound: float = dataclasses.field(default=15.0, kw_only=True)

    def entries(self, params: tf.Tensor) -> tfd.Distribution:
        log_mean, log_count = tf.unstack(numerics.soft_bound(params, self.bound), axis=-1)
        return support.NegativeBinomial(
            tf.exp(log_count), logits=log_mean - log_count, require_integer_total_count=False
        )

    @property
    def discrete(self) -> bool:
        return True

    def check_values(self, x: np.ndarray) -> None:
        refuse_values(x, (x < 0) | (x != np.floor(x)), "counts: whole numbers from 0")
