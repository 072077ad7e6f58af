"""Heads: what makes a distribution of a tensor of parameters."""

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
    """A function from a tensor of parameters to a distribution; abstract.

    A head is to Keras 3 what a layer of `tfp.layers` was to Keras 2: it says how many parameters it
    needs and makes a distribution of them. Parameters come flat, those of one entry of the event
    side by side: what a convolution of `C * k` channels gives needs no more than a `Flatten`.

    Subclasses are frozen dataclasses whose fields are plain data or heads.

    One of your own is such a dataclass, decorated so that models which hold it can be saved and
    loaded; the module that defines it must be imported before loading.

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
        """How many parameters an event needs."""

    @abc.abstractmethod
    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution of checked parameters `[..., params_size]`."""

    def __call__(self, params: Any) -> tfd.Distribution:
        """Returns a distribution of batch shape `[...]`.

        Args:
          params: `[..., params_size]`, floating point.

        Raises:
          ValueError: for another last dimension.
          TypeError: for a dtype that is not floating.
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
        """Raises `ValueError` where an array holds events outside the support."""
        del x

    @property
    def discrete(self) -> bool:
        """Whether events hold whole numbers."""
        return False

    def entry(self) -> Head:
        """Returns the head of a single entry, of event shape `[]`.

        Raises:
          ValueError: where entries are not all of one kind, each with parameters of its own.
        """
        if self.event_shape == ():
            return self
        expected = "a head of independent entries, or of one"
        raise ValueError(checks.message("head", expected, self))

    def from_uniform(self, params: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        """Returns what a uniform number becomes, for a head of a single entry.

        A uniform u becomes a draw from `self(params)`, elementwise: what an autoregressive model
        samples with. Where the head can, it is the quantile, through which gradients pass.

        Args:
          params: `[..., params_size]`.
          u: numbers between 0 and 1, `[...]`.

        Returns:
          Draws `[...]` in the dtype of u.
        """
        return self(params).quantile(u)

    def likeliest(self, params: tf.Tensor) -> tf.Tensor:
        """Returns the mode, `[...]`, for a head of a single entry; of a mixture, that of a part."""
        return self(params).mode()


@dataclasses.dataclass(frozen=True)
class Independent(Head):
    """A head of independent entries, all of one kind; abstract.

    Args:
      event_shape: shape of one event, `[]` for a number.
    """

    def __post_init__(self) -> None:
        shape = checks.shape_tuple("event_shape", self.event_shape)
        object.__setattr__(self, "event_shape", shape)

    @property
    @abc.abstractmethod
    def params_of_entry(self) -> int:
        """How many parameters an entry of the event needs."""

    @abc.abstractmethod
    def entries(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns scalar distributions of batch shape `[..., *event_shape]`.

        Args:
          params: `[..., *event_shape, params_of_entry]`.
        """

    @property
    def params_size(self) -> int:
        return math.prod(self.event_shape) * self.params_of_entry

    def entry(self) -> Head:
        return dataclasses.replace(self, event_shape=())

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        params = in_shape(params, [*self.event_shape, self.params_of_entry])
        entries = self.entries(params)
        return tfd.Independent(entries, len(self.event_shape)) if self.event_shape else entries


def chosen(logits: tf.Tensor, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Chooses classes by uniform numbers, and returns what is left of these.

    Args:
      logits: `[..., K]`.
      u: numbers between 0 and 1, `[...]`.

    Returns:
      Classes `[...]`, int32, and numbers that are uniform again given the class, `[...]`.
    """
    # Not `tf.nn.softmax`, which takes five dimensions at most on processors: batches of images of
    # several samples each have more.
    probs = tf.exp(logits - tf.reduce_logsumexp(logits, axis=-1, keepdims=True))
    above = tf.cumsum(probs, axis=-1)
    index = tf.reduce_sum(tf.cast(above[..., :-1] <= u[..., tf.newaxis], tf.int32), axis=-1)
    own, edge = picked(probs, index), picked(above, index)
    info = checks.finfo(own.dtype)
    rest = (u - (edge - own)) / tf.maximum(own, info.tiny)
    return index, tf.clip_by_value(rest, info.epsneg, 1.0 - info.epsneg)


def picked(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Returns the values `[..., *rest]` that an index `[...]` picks of `[..., K, *rest]`."""
    return tf.gather(values, index, batch_dims=index.shape.rank)


def in_shape(params: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Returns flat parameters `[..., prod(shape)]` as `[..., *shape]`."""
    batch = params.shape[:-1]
    known = batch if batch.is_fully_defined() else tf.shape(params)[:-1]
    return tf.reshape(params, tf.concat([known, shape], axis=0))


def refuse_values(x: np.ndarray, wrong: np.ndarray, expected: str) -> None:
    """Raises `ValueError` where entries of an array are marked as wrong."""
    number = np.count_nonzero(wrong)
    if number:
        raise ValueError(
            f"`x` must hold {expected}. Received: {number} of {x.size} entries are not, such as "
            f"{x[wrong].flat[0]!r}"
        )


def between(u: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """Returns numbers within bounds: noise that a relaxed class is made of, before it is squashed.

    Samples that came out as 0 or 1 would be outside the support; and were they only moved inside,
    TFP, which remembers the noise of a sample, would give them another density than a copy has.
    """
    return tf.clip_by_value(u, tf.constant(low, u.dtype), tf.constant(high, u.dtype))
