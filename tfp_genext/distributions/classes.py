"""Heads of class labels, one-hot vectors, and their relaxations."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext.core import checks
from tfp_genext.distributions import support
from tfp_genext.distributions.head import (
    Head,
    Independent,
    clip_noise,
    draw_class,
    refuse_values,
    unflatten,
)
from tfp_genext.saving.classes import register


@dataclasses.dataclass(frozen=True)
class _Classes(Independent):
    """Base class of heads whose entries have a logit for each class."""

    num_classes: int

    def __post_init__(self) -> None:
        super().__post_init__()
        number = checks.positive_int("num_classes", self.num_classes, minimum=2)
        object.__setattr__(self, "num_classes", number)

    @property
    def params_of_entry(self) -> int:
        return self.num_classes


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class IndependentCategorical(_Classes):
    """Class labels 0 to K - 1 with K logits each, equally likely at zero parameters.

        p(x) = prod_i softmax(logits_i)[x_i]

    Args:
      event_shape: shape of one event, `[]` for a single label.
      num_classes: K, at least 2.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentCategorical([28, 28, 1], num_classes=4)
    assert head(tf.zeros([2, head.params_size])).sample(seed=[1, 2]).dtype == tf.int32
    ```
    """

    def entries(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.Categorical(logits=params)

    @property
    def discrete(self) -> bool:
        return True

    def from_uniform(self, params: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        return tf.cast(draw_class(params, u)[0], u.dtype)

    def check_values(self, x: np.ndarray) -> None:
        wrong = (x < 0) | (x >= self.num_classes) | (x != np.floor(x))
        refuse_values(x, wrong, f"classes from 0 to {self.num_classes - 1}")


def _classes_last(event_shape: Any) -> tuple[int, ...]:
    shape = checks.shape_tuple("event_shape", event_shape)
    if not shape or shape[-1] < 2:
        expected = "a shape whose last dimension is that of at least 2 classes"
        raise ValueError(checks.message("event_shape", expected, event_shape))
    return shape


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class IndependentOneHotCategorical(Head):
    """One-hot vectors with a logit for each class, equally likely at zero parameters.

        p(x) = prod_i sum_k x_ik * softmax(logits_i)_k

    Args:
      event_shape: shape of one event, whose last dimension is the number of classes, at least 2.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentOneHotCategorical([20, 10])
    assert tf.reduce_sum(head(tf.zeros([200])).sample(seed=[1, 2])) == 20.0
    ```
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "event_shape", _classes_last(self.event_shape))

    @property
    def params_size(self) -> int:
        return math.prod(self.event_shape)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        logits = unflatten(params, self.event_shape)
        return tfd.Independent(self._vectors(logits), len(self.event_shape) - 1)

    @property
    def discrete(self) -> bool:
        return True

    def _vectors(self, logits: tf.Tensor) -> tfd.Distribution:
        return tfd.OneHotCategorical(logits=logits, dtype=logits.dtype)

    def check_values(self, x: np.ndarray) -> None:
        refuse_values(x, (x != 0) & (x != 1), "vectors with a single 1")
        sums = np.broadcast_to(x.sum(axis=-1, keepdims=True), x.shape)
        refuse_values(x, sums != 1, "vectors with a single 1")


@register("gx.distributions.classes.OpenExpRelaxedOneHotCategorical")
class _OpenExpRelaxedOneHotCategorical(tfd.ExpRelaxedOneHotCategorical):
    """Log-space relaxed one-hot vectors, clipped so that no entry rounds to 0 or 1."""

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        info = checks.finfo(self.dtype)
        low, high = math.log(2.0 * info.tiny), math.log1p(-info.epsneg)
        return clip_noise(super()._sample_n(n, seed=seed), low, high)


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class RelaxedOneHotCategorical(IndependentOneHotCategorical):
    """Relaxed, reparameterised one-hot vectors: Gumbel-softmax.

        x_i = softmax((logits_i + g_i) / temperature),   g standard Gumbel

    Lower temperatures come closer to `IndependentOneHotCategorical`, at the price of gradients with
    a higher variance (Maddison et al., 2017, arXiv:1611.00712; Jang et al., 2017,
    arXiv:1611.01144).

    Args:
      event_shape: shape of one event, as in `IndependentOneHotCategorical`.
      temperature: above 0. Default: 0.5.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.RelaxedOneHotCategorical([3], temperature=0.3)
    tf.debugging.assert_near(tf.reduce_sum(head(tf.zeros([3])).sample(seed=[1, 2])), 1.0)
    ```
    """

    temperature: float = dataclasses.field(default=0.5, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive_number("temperature", self.temperature)

    @property
    def discrete(self) -> bool:
        return False

    def _vectors(self, logits: tf.Tensor) -> tfd.Distribution:
        noisy = _OpenExpRelaxedOneHotCategorical(self.temperature, logits=logits)
        return support.ZeroOutside(noisy, tfb.Exp())

    def check_values(self, x: np.ndarray) -> None:
        refuse_values(x, (x <= 0) | (x >= 1), "numbers between 0 and 1")
