"""Monotone rational-quadratic splines, used in neural spline flows."""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext.core import checks
from tfp_genext.core.bijector import OneEvaluationBijector, ValueAndLogDet
from tfp_genext.transformers.base import Transformer, insert_axes

# Smallest bin, relative to the mean size, and smallest slope. They bound the loss of digits.
_LEAST_BIN = 1e-2
_LEAST_SLOPE = 1e-2
_TINY = 1e-30
_SLOPE_OF_ZERO = math.log(math.expm1(1.0 - _LEAST_SLOPE))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spline(Transformer):
    """Monotone rational-quadratic spline on [-bound, bound]; the identity outside.

    There are K bins of widths w_k and heights h_k, with slopes d_k at their edges and
    s_k = h_k / w_k. Inside bin k, with t = (x - x_k) / w_k (Durkan et al., 2019, arXiv:1906.04032):

        r         s_k + (d_(k+1) + d_k - 2 s_k) t (1 - t)
        forward   y = y_k + h_k (s_k t^2 + d_k t (1 - t)) / r
        inverse   x = x_k + w_k t, t the root of a quadratic equation
        log-det   sum(log(s_k^2 (d_(k+1) t^2 + 2 s_k t (1 - t) + d_k (1 - t)^2) / r^2))

    Widths and heights are softmaxes of the parameters, slopes are softpluses. The slopes at the two
    ends are 1, as in the tails. Each bin has at least 1 % of the mean size, and each slope at a
    knot is at least 0.01. Between knots of bins of different shape it may be smaller. Each
    dimension has 3 K - 1 parameters.

    Args:
      num_bins: K. Default: 8.
      bound: half the width of the interval, in units of the data. Default: 4.

    Raises:
      TypeError: if `num_bins` is not an integer.
      ValueError: if `num_bins` is below 1, or `bound` is not a finite number above 0.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    spline = gx.transformers.Spline(num_bins=4)
    start = spline.bijector([tf.zeros([3])] * spline.params_size)
    tf.debugging.assert_near(start.forward([-9.0, 0.5, 2.0]), [-9.0, 0.5, 2.0])
    ```
    """

    heavy: ClassVar[bool] = True

    num_bins: int = 8
    bound: float = 4.0

    def __post_init__(self) -> None:
        checks.positive_int("num_bins", self.num_bins)
        real = isinstance(self.bound, numbers.Real) and not isinstance(self.bound, bool)
        if not (real and 0.0 < self.bound < math.inf):
            raise ValueError(checks.message("bound", "a finite number above 0", self.bound))

    @property
    def params_size(self) -> int:
        return 3 * self.num_bins - 1

    def bijector(self, params: Sequence[tf.Tensor]) -> tfb.Bijector:
        count = self.num_bins
        inner = [_LEAST_SLOPE + tf.math.softplus(p + _SLOPE_OF_ZERO) for p in params[2 * count :]]
        one = tf.ones_like(params[0])
        return _RationalQuadratic(
            self._bins(params[:count]),
            self._bins(params[count : 2 * count]),
            tf.stack([one, *inner, one]),
            self.bound,
        )

    def _bins(self, raw: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns the sizes of the bins, `[K, ...]`, which sum to the length of the interval."""
        stacked = tf.stack(raw)
        weights = tf.exp(stacked - tf.stop_gradient(tf.reduce_max(stacked, axis=0)))
        shares = weights / tf.reduce_sum(weights, axis=0)
        even = _LEAST_BIN / self.num_bins
        return 2.0 * self.bound * ((1.0 - _LEAST_BIN) * shares + even)


class _RationalQuadratic(OneEvaluationBijector):
    """The bijector of `Spline`; parameters have the bins on the first axis, contiguous in memory.

    `tfb.RationalQuadraticSpline` has the same formulas and is the oracle of the tests. It is not
    used here for three reasons. Its inverse takes the square root of a difference that rounding in
    float32 makes negative at steep bins. Its gathers have slow gradients. It evaluates the spline
    twice, for the value and for the log-determinant.

    Args:
      widths: `[K, ...]`, with sum 2 * bound.
      heights: `[K, ...]`, with the same sum.
      slopes: `[K + 1, ...]`, at the edges of the bins.
      bound: half the length of the interval.
    """

    def __init__(
        self, widths: tf.Tensor, heights: tf.Tensor, slopes: tf.Tensor, bound: float
    ) -> None:
        self._widths, self._heights, self._slopes = widths, heights, slopes
        self._bound = bound
        super().__init__(forward_min_event_ndims=0, name="spline")

    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        inside, safe = self._inside(x)
        bin_ = self._bin_of(safe, self._widths)
        t = (safe - bin_.x) / bin_.width
        y = bin_.y + bin_.height * (bin_.steepness * t**2 + bin_.slope * t * (1.0 - t)) / bin_.r(t)
        return tf.where(inside, y, x), tf.where(inside, bin_.log_slope(t), tf.zeros_like(x))

    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        inside, safe = self._inside(y)
        bin_ = self._bin_of(safe, self._heights)
        t = bin_.solve(safe)
        x = bin_.x + bin_.width * t
        return tf.where(inside, x, y), tf.where(inside, -bin_.log_slope(t), tf.zeros_like(y))

    def _inside(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the mask of points inside the interval, and points with 0 for those outside."""
        inside = tf.abs(x) < self._bound
        return inside, tf.where(inside, x, tf.zeros_like(x))

    def _bin_of(self, x: tf.Tensor, sizes: tf.Tensor) -> _Bin:
        """Returns the bin of each point x; `sizes` are the widths or the heights of all bins."""
        widths, heights, slopes, sizes = (
            insert_axes(values, x) for values in (self._widths, self._heights, self._slopes, sizes)
        )
        ends = tf.cumsum(sizes[:-1], axis=0) - self._bound
        beyond = tf.cast(x >= ends, x.dtype)
        one = tf.ones_like(x + widths[0])[tf.newaxis]
        chosen = tf.concat([one, beyond], 0) - tf.concat([beyond, tf.zeros_like(one)], 0)

        def pick(values: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(chosen * values, axis=0)

        def start(sizes: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(beyond * sizes[:-1], axis=0) - self._bound

        return _Bin(
            x=start(widths),
            y=start(heights),
            width=pick(widths),
            height=pick(heights),
            slope=pick(slopes[:-1]),
            next_slope=pick(slopes[1:]),
        )


@dataclasses.dataclass(frozen=True)
class _Bin:
    """The bin that contains a point, for each point; t in [0, 1] is the position inside it."""

    x: tf.Tensor
    y: tf.Tensor
    width: tf.Tensor
    height: tf.Tensor
    slope: tf.Tensor
    next_slope: tf.Tensor

    @functools.cached_property
    def steepness(self) -> tf.Tensor:
        return self.height / self.width

    @functools.cached_property
    def bend(self) -> tf.Tensor:
        return self.next_slope + self.slope - 2.0 * self.steepness

    def r(self, t: tf.Tensor) -> tf.Tensor:
        return self.steepness + self.bend * t * (1.0 - t)

    def log_slope(self, t: tf.Tensor) -> tf.Tensor:
        rest = 1.0 - t
        s, first, last = self.steepness, self.slope, self.next_slope
        numerator = last * t**2 + 2.0 * s * t * rest + first * rest**2
        return 2.0 * tf.math.log(s / self.r(t)) + tf.math.log(numerator)

    def solve(self, y: tf.Tensor) -> tf.Tensor:
        """Returns the t at which the spline has the value y."""
        rise = y - self.y
        bent = rise * self.bend
        a = self.height * (self.steepness - self.slope) + bent
        b = self.height * self.slope - bent
        c = -self.steepness * rise
        # The discriminant is positive up to rounding. Of the two forms of a root, the one without
        # cancellation is taken.
        root = tf.sqrt(tf.maximum(b**2 - 4.0 * a * c, _TINY))
        rising = b >= 0.0
        denominator = tf.where(rising, b + root, 2.0 * a)
        return tf.clip_by_value(tf.where(rising, -2.0 * c, root - b) / denominator, 0.0, 1.0)
