"""Heads of vectors with dependent entries, or with entries of several families."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext.core import checks
from tfp_genext.distributions.head import Head

_LEAST_SCALE = 1e-5


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class MultivariateNormalTriL(Head):
    """Normal vectors with full covariance, from a location and a triangular factor.

        p(x) = Normal(x; loc, L L^T),   L = fill_triangular(raw), its diagonal softplus(raw) + 1e-5

    Args:
      event_size: D.

    Raises:
      TypeError: if `event_size` is not an integer.
      ValueError: if `event_size` is below 1.

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


@keras.saving.register_keras_serializable(package="tfp_genext")
@dataclasses.dataclass(frozen=True)
class Blockwise(Head):
    """Vectors of concatenated, independent blocks, each with its own head.

        p(x) = prod_k p_k(x[block k])
        params = [params of head 1, params of head 2, ...]

    Events have the floating-point dtype of the parameters. A typical use is the decoder of a VAE
    for tables with columns of several types: amounts, shares, counts and classes.

    Args:
      heads: heads of vectors or single numbers, in the order of their columns.

    Raises:
      TypeError: if `heads` is not a sequence of heads.
      ValueError: if `heads` is empty, or an event of a head has more than one dimension.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.Blockwise(
        [
            gx.distributions.IndependentGamma([1]),  # an amount
            gx.distributions.IndependentBernoulli([2]),  # two flags
            gx.distributions.IndependentCategorical([1], 4),  # a class
        ]
    )
    assert head(tf.zeros([5, head.params_size])).sample(seed=[1, 2]).shape == [5, 4]
    ```
    """

    event_shape: tuple[int, ...] = dataclasses.field(init=False)
    heads: Sequence[Head]

    def __post_init__(self) -> None:
        given = self.heads
        if not isinstance(given, (list, tuple)) or not all(isinstance(h, Head) for h in given):
            raise TypeError(checks.message("heads", "a sequence of gx.distributions heads", given))
        if not given or any(len(head.event_shape) > 1 for head in given):
            expected = "heads of vectors or numbers, at least one"
            raise ValueError(checks.message("heads", expected, given))
        object.__setattr__(self, "heads", tuple(given))
        object.__setattr__(self, "event_shape", (sum(self._sizes),))

    @property
    def params_size(self) -> int:
        return sum(head.params_size for head in self.heads)

    @property
    def discrete(self) -> bool:
        return all(head.discrete for head in self.heads)

    @property
    def _sizes(self) -> list[int]:
        return [math.prod(head.event_shape) for head in self.heads]

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        parts = tf.split(params, [head.params_size for head in self.heads], axis=-1)
        blocks = [head(part) for head, part in zip(self.heads, parts, strict=True)]
        return tfd.Blockwise(blocks, dtype_override=params.dtype)

    def check_values(self, x: np.ndarray) -> None:
        start = 0
        for i, (head, size) in enumerate(zip(self.heads, self._sizes, strict=True)):
            block = x[..., start : start + size]
            try:
                head.check_values(block if head.event_shape else block[..., 0])
            except ValueError as error:
                columns = f"columns {start} to {start + size - 1}"
                raise ValueError(f"{error}, in block {i} of `heads`, {columns} of `x`") from error
            start += size
