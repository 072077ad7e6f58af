"""Heads of independent normal, logistic, Bernoulli and Poisson entries."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import numerics
from tfp_genext.core import checks, hosts
from tfp_genext.distributions import support
from tfp_genext.distributions.head import Independent, clip_noise, refuse_values
from tfp_genext.saving.classes import register

_LOG_SCALE_BOUND = 5.0


@dataclasses.dataclass(frozen=True)
class LocationScale(Independent):
    """Base class of heads with a location and a softly bounded log-scale for each entry."""

    bound: float = dataclasses.field(default=_LOG_SCALE_BOUND, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive_number("bound", self.bound)

    @property
    def params_of_entry(self) -> int:
        return 2

    def _loc_and_scale(self, params: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        loc, raw = tf.unstack(params, axis=-1)
        return loc, tf.exp(numerics.soft_bound(raw, self.bound))


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class IndependentNormal(LocationScale):
    """Normal entries with a location and a log-scale each, standard normal at zero parameters.

        p(x) = prod_i Normal(x_i; loc_i, scale_i)
        scale = exp(b * tanh(raw / b))                      b = bound
        params = [loc_1, raw_1, loc_2, raw_2, ...]

    Args:
      event_shape: shape of one event.
      bound: soft bound of the log-scale, above 0; see `gx.transformers`. Default: 5.

    Raises:
      ValueError: if a size is below 1, or `bound` is not above 0.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentNormal([3])
    assert head(tf.zeros([7, head.params_size])).batch_shape == [7]
    ```
    """

    def entries(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.Normal(*self._loc_and_scale(params))


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class IndependentLogistic(LocationScale):
    """Logistic entries with a location and a log-scale each, standard logistic at zero parameters.

        p(x) = prod_i Logistic(x_i; loc_i, scale_i)

    Scales and the order of parameters are as in `IndependentNormal`.

    Args:
      event_shape: shape of one event, such as `[8, 8, 1]` for images.
      bound: soft bound of the log-scale, above 0. Default: 5.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentLogistic([8, 8, 1])
    assert head(tf.zeros([head.params_size])).event_shape == [8, 8, 1]
    ```
    """

    def entries(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.Logistic(*self._loc_and_scale(params))


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class IndependentBernoulli(Independent):
    """Binary entries with a logit each, probability 1/2 at zero parameters.

        p(x) = prod_i sigmoid(logit_i)^x_i * (1 - sigmoid(logit_i))^(1 - x_i)

    Args:
      event_shape: shape of one event, `[]` for a single bit.
      fractions: whether entries between 0 and 1 are allowed too, such as grey pixels. The formula
        above is then a cross-entropy instead of a log-likelihood. Default: `False`.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentBernoulli([28, 28, 1])
    assert head.params_size == 784
    ```
    """

    fractions: bool = dataclasses.field(default=False, kw_only=True)

    @property
    def params_of_entry(self) -> int:
        return 1

    def entries(self, params: tf.Tensor) -> tfd.Distribution:
        kind = tfd.Bernoulli if self.fractions else support.Bernoulli
        return kind(logits=params[..., 0], dtype=params.dtype)

    @property
    def discrete(self) -> bool:
        return not self.fractions

    def from_uniform(self, params: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        return tf.cast(u < tf.sigmoid(params[..., 0]), u.dtype)

    def check_values(self, x: np.ndarray) -> None:
        if self.fractions:
            refuse_values(x, (x < 0) | (x > 1), "numbers from 0 to 1")
        else:
            refuse_values(
                x,
                (x != 0) & (x != 1),
                "zeros and ones (with `fractions=True` numbers between them too)",
            )


@register("gx.distributions.independent.OpenSigmoid")
class _OpenSigmoid(tfb.Bijector):
    """A sigmoid with values clipped to the open interval (0, 1), to keep densities finite."""

    def __init__(self, name: str = "open_sigmoid") -> None:
        parameters = dict(locals())
        super().__init__(forward_min_event_ndims=0, parameters=parameters, name=name)

    @classmethod
    def _is_increasing(cls) -> bool:
        return True

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        return _inside(tf.sigmoid(x))

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        y = _inside(y)
        return tf.math.log(y) - tf.math.log1p(-y)

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return -tf.nn.softplus(-x) - tf.nn.softplus(x)


@register("gx.distributions.independent.OpenLogistic")
class _OpenLogistic(tfd.Logistic):
    """A logistic distribution, clipped so that the sigmoid of a sample does not round to 0 or 1."""

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        info = checks.finfo(self.dtype)
        low, high = math.log(2.0 * info.tiny), -math.log(info.epsneg)
        return clip_noise(super()._sample_n(n, seed=seed), low, high)


@register("gx.distributions.independent.OnOpenInterval")
class _OnOpenInterval(hosts.TransformedDistribution):
    """Relaxed Bernoulli distribution with a log-density of -inf outside (0, 1)."""

    def _log_prob(self, y: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        inside = (y > 0.0) & (y < 1.0)
        return support.log_prob_inside(super()._log_prob, y, inside, 0.5)


def _inside(y: tf.Tensor) -> tf.Tensor:
    info = checks.finfo(y.dtype)
    return tf.clip_by_value(y, info.tiny, 1.0 - info.epsneg)


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class RelaxedBernoulli(Independent):
    """Relaxed, reparameterised binary entries in (0, 1).

        x_i = sigmoid((logit_i + l_i) / temperature),   l standard logistic

    Lower temperatures come closer to `IndependentBernoulli`, at the price of gradients with a
    higher variance (Maddison et al., 2017, arXiv:1611.00712).

    Args:
      event_shape: shape of one event, `[]` for one relaxed bit.
      temperature: above 0. Default: 0.5.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.RelaxedBernoulli([20], temperature=0.3)
    assert head(tf.zeros([5, head.params_size])).sample(seed=[1, 2]).shape == [5, 20]
    ```
    """

    temperature: float = dataclasses.field(default=0.5, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive_number("temperature", self.temperature)

    @property
    def params_of_entry(self) -> int:
        return 1

    def entries(self, params: tf.Tensor) -> tfd.Distribution:
        temperature = tf.constant(self.temperature, params.dtype)
        noisy = _OpenLogistic(params[..., 0] / temperature, 1.0 / temperature)
        return _OnOpenInterval(noisy, _OpenSigmoid())

    def check_values(self, x: np.ndarray) -> None:
        refuse_values(x, (x <= 0) | (x >= 1), "numbers between 0 and 1")


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class IndependentPoisson(Independent):
    """Poisson counts with a log-rate each, rate 1 at zero parameters.

        p(x) = prod_i exp(-rate_i) * rate_i^x_i / x_i!      rate = exp(b * tanh(raw / b))

    Args:
      event_shape: shape of one event, `[]` for a single count.
      bound: b, soft bound of the log-rate, above 0. Default: 15.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentPoisson([4])
    assert head(tf.zeros([head.params_size])).mean().numpy().tolist() == [1.0] * 4
    ```
    """

    bound: float = dataclasses.field(default=15.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive_number("bound", self.bound)

    @property
    def params_of_entry(self) -> int:
        return 1

    def entries(self, params: tf.Tensor) -> tfd.Distribution:
        log_rate = numerics.soft_bound(params[..., 0], self.bound)
        return tfd.Poisson(log_rate=log_rate, force_probs_to_zero_outside_support=True)

    @property
    def discrete(self) -> bool:
        return True

    def check_values(self, x: np.ndarray) -> None:
        refuse_values(x, (x < 0) | (x != np.floor(x)), "counts: whole numbers from 0")
