"""What a transformer is."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import tensorflow as tf
from tensorflow_probability import bijectors as tfb


class Transformer(abc.ABC):
    """A rule that turns parameters into a bijector of scalars.

    A transformer is a value, best a frozen dataclass: two with equal options are equal and hash
    alike. It has no variables. Its bijector is elementwise: it treats all dimensions alike, and may
    be asked for any part of them, in any layout.
    Zero parameters give the identity, or what is nearest to it, so that a network whose last layer
    starts at zero starts as the identity.
    """

    @property
    @abc.abstractmethod
    def params_size(self) -> int:
        """How many parameters one dimension needs."""

    @abc.abstractmethod
    def bijector(self, params: Sequence[tf.Tensor]) -> tfb.Bijector:
        """Returns the scalar bijector of `params_size` tensors of one shape, whatever shape."""
