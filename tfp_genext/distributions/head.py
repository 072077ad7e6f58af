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

from tfp_genext import checks
from tfp_genext.saving import PlainData


@dataclasses.dataclass(frozen=True)
class Head(PlainData, abc.ABC):
    """A function from a tensor of parameters to a distribution; abstract.

    A head is to Keras 3 what a layer of `tfp.layers` was to Keras 2: it says how many parameters it
    needs and makes a distribution of them. Parameters come flat, those of one entry of the event
    side by side: what a convolution of `C * k` channels gives needs no more than a `Flatten`.

    Subclasses are frozen dataclasses whose fields are plain data or heads.

    Args:
      event_shape: shape of one event.
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

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        params = in_shape(params, [*self.event_shape, self.params_of_entry])
        return tfd.Independent(self.entries(params), len(self.event_shape))


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
            f"`x` must hold {expected}. Received: {number} others of {x.size} entries, such as "
            f"{x[wrong].flat[0]!r}"
        )
