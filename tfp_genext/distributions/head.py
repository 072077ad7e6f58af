"""Base classes of heads, which map parameters to distributions."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext.core import checks
from tfp_genext.saving.plain import PlainData


@dataclasses.dataclass(frozen=True)
class Head(PlainData, abc.ABC):
    """Base class of maps from a parameter tensor to a distribution.

    A head corresponds to a distribution layer of `tfp.layers` in Keras 2. It has the number of
    parameters, `params_size`, and turns a tensor of them into a distribution. Parameters are flat,
    and those of one entry of the event are adjacent. The output of a convolution with `C * k`
    channels therefore only needs a `Flatten`.

    Subclasses must be frozen dataclasses whose fields are plain data or heads. A subclass of yours
    must be decorated as below, so that models that hold it can be saved, and the module that
    defines it must be imported before such a model is loaded.

    All heads of this package raise `ValueError` at construction if a size is below 1, or a bound or
    temperature is not above 0.

    Args:
      event_shape: shape of one event.

    Example:

    ```python
    import dataclasses
    import math
    import keras
    import tensorflow as tf
    import tfp_genext as gx
    from tensorflow_probability import distributions as tfd

    @keras.saving.register_keras_serializable(package="my_package")
    @dataclasses.dataclass(frozen=True)
    class Laplace(gx.distributions.Head):
        @property
        def params_size(self):
            return 2 * math.prod(self.event_shape)

        def distribution(self, params):
            loc, raw = tf.split(params, 2, axis=-1)
            return tfd.Independent(tfd.Laplace(loc, tf.nn.softplus(raw) + 1e-3), 1)

    head = Laplace((3,))
    model = gx.models.DensityModel(
        gx.distributions.Conditional(keras.layers.Dense(head.params_size), head)
    )
    assert model.predict((tf.ones([5, 2]), tf.zeros([5, 3])), verbose=0).shape == (5,)
    ```
    """

    event_shape: tuple[int, ...]

    @property
    @abc.abstractmethod
    def params_size(self) -> int:
        """Number of parameters of one event."""

    @abc.abstractmethod
    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution with the checked parameters `[..., params_size]`."""

    def __call__(self, params: Any) -> tfd.Distribution:
        """Returns the distribution with batch shape `[...]`.

        Args:
          params: `[..., params_size]`, floating point.

        Raises:
          ValueError: if the last dimension is not `params_size`.
          TypeError: if the dtype is not floating point.
        """
        params = tf.convert_to_tensor(params)
        checks.floating("params", params)
        if params.shape.rank == 0 or params.shape[-1] != self.params_size:
            raise ValueError(
                f"`params` must be of shape [..., {self.params_size}] for {self}. "
                f"Received: shape {params.shape}"
            )
        return self.distribution(params)

    def check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` if an array holds events outside the support."""
        del x

    @property
    def discrete(self) -> bool:
        """Whether events are integers."""
        return False

    def entry(self) -> Head:
        """Returns the head of one entry, with event shape `[]`.

        Raises:
          ValueError: if the entries are not independent with the same distribution family.
        """
        if self.event_shape == ():
            return self
        expected = "a head of independent entries, or of one"
        raise ValueError(checks.message("head", expected, self))

    def from_uniform(self, params: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        """Returns draws as a function of uniform numbers, for a head of one entry.

        Autoregressive models draw samples with it. By default it is the quantile function of
        `self(params)`, through which gradients pass.

        Args:
          params: `[..., params_size]`.
          u: numbers between 0 and 1, `[...]`.

        Returns:
          Draws `[...]` in the dtype of u.
        """
        return self(params).quantile(u)

    def likeliest(self, params: tf.Tensor) -> tf.Tensor:
        """Returns the mode, `[...]`, for a head of one entry.

        For a mixture it is the mode of the component with the largest weight.
        """
        return self(params).mode()


@dataclasses.dataclass(frozen=True)
class Independent(Head):
    """Base class of heads with independent entries of one distribution family.

    Args:
      event_shape: shape of one event, `[]` for a single number.
    """

    def __post_init__(self) -> None:
        shape = checks.shape_tuple("event_shape", self.event_shape)
        object.__setattr__(self, "event_shape", shape)

    @property
    @abc.abstractmethod
    def params_of_entry(self) -> int:
        """Number of parameters of one entry."""

    @abc.abstractmethod
    def entries(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns scalar distributions with batch shape `[..., *event_shape]`.

        Args:
          params: `[..., *event_shape, params_of_entry]`.
        """

    @property
    def params_size(self) -> int:
        return math.prod(self.event_shape) * self.params_of_entry

    def entry(self) -> Head:
        return dataclasses.replace(self, event_shape=())

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        params = unflatten(params, [*self.event_shape, self.params_of_entry])
        entries = self.entries(params)
        return tfd.Independent(entries, len(self.event_shape)) if self.event_shape else entries


def draw_class(logits: tf.Tensor, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws classes by inversion of uniform numbers, and returns the remaining randomness.

    Args:
      logits: `[..., K]`.
      u: numbers between 0 and 1, `[...]`.

    Returns:
      Classes `[...]`, int32, and numbers `[...]` that are uniform given the class.
    """
    # Not `tf.nn.softmax`, which supports at most five dimensions on CPUs. Batches of several
    # samples of images have more.
    probs = tf.exp(logits - tf.reduce_logsumexp(logits, axis=-1, keepdims=True))
    above = tf.cumsum(probs, axis=-1)
    index = tf.reduce_sum(tf.cast(above[..., :-1] <= u[..., tf.newaxis], tf.int32), axis=-1)
    own, edge = gather_at(probs, index), gather_at(above, index)
    info = checks.finfo(own.dtype)
    rest = (u - (edge - own)) / tf.maximum(own, info.tiny)
    return index, tf.clip_by_value(rest, info.epsneg, 1.0 - info.epsneg)


def gather_at(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Gathers one element of the last batch axis: `[..., K, *rest]` at index `[...]`."""
    return tf.gather(values, index, batch_dims=index.shape.rank)


def unflatten(params: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Reshapes flat parameters `[..., prod(shape)]` to `[..., *shape]`."""
    batch = params.shape[:-1]
    known = batch if batch.is_fully_defined() else tf.shape(params)[:-1]
    return tf.reshape(params, tf.concat([known, shape], axis=0))


def refuse_values(x: np.ndarray, wrong: np.ndarray, expected: str) -> None:
    """Raises `ValueError` if any entry of an array is marked as wrong."""
    number = np.count_nonzero(wrong)
    if number:
        raise ValueError(
            f"`x` must hold {expected}. Received: {number} of {x.size} entries are not, such as "
            f"{x[wrong].flat[0]!r}"
        )


def clip_noise(u: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """Clips noise, before it is squashed to a relaxed class, to the given bounds.

    Samples that round to 0 or 1 would be outside the support. Clipping the samples instead of the
    noise is not enough, because TFP caches the noise of a sample: the cached sample would have
    another density than a copy of it.
    """
    return tf.clip_by_value(u, tf.constant(low, u.dtype), tf.constant(high, u.dtype))
