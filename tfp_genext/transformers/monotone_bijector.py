"""Monotone scalar bijectors whose forward direction is found by bracketed root finding."""

from __future__ import annotations

import abc
import math
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_genext.core import checks
from tfp_genext.core.bijector import OneEvaluationBijector, ValueAndLogDet

_MOST_ITERATIONS = 100
_LARGEST_EXPONENT = 40.0


class MonotoneBijector(OneEvaluationBijector):
    """Base class of bijectors whose inverse is an increasing function F of each number.

        inverse   x = F(y)
        forward   y = F^-1(x), by bracketed root finding, to the rounding of F
        log-det   -log(F'(y))

    The inverse, which densities need, is one evaluation of F. Gradients of the forward direction
    follow from the implicit function theorem. They reach the point and the parameters of F.
    """

    def __init__(self, name: str) -> None:
        super().__init__(forward_min_event_ndims=0, name=name)

    @abc.abstractmethod
    def _evaluate(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns F(y) and log(F'(y))."""

    @abc.abstractmethod
    def _bracket(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns a lower and an upper bound of F^-1(x)."""

    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        return self._evaluate(y)

    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        root, error = self._root(x)
        root = self._newton_step(root, x, error)
        return root, -self._evaluate(root)[1]

    def _root(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns F^-1(x) without gradients, and a bound of its error.

        The bracket may be thousands of times wider than the root is large, and the tolerance of the
        first search is proportional to the bracket. A second search in a small interval around the
        first result is accurate to the rounding of the root itself.
        """
        eps = checks.finfo(x.dtype).eps
        low, high = self._bracket(x)
        # Rounding can move an end of the bracket past the root, by less than this.
        error = math.sqrt(eps) * (1.0 + tf.abs(low) + tf.abs(high))
        root = self._find_root(x, low - error, high + error, error)
        finer = 4.0 * eps * (1.0 + tf.abs(root))
        root = self._find_root(x, root - 2.0 * error, root + 2.0 * error, finer)
        return tf.stop_gradient(root), tf.stop_gradient(finer)

    def _find_root(
        self, x: tf.Tensor, low: tf.Tensor, high: tf.Tensor, tolerance: tf.Tensor
    ) -> tf.Tensor:
        return tfp.math.find_root_chandrupatla(
            lambda y: self._evaluate(y)[0] - x,
            low,
            high,
            position_tolerance=tolerance,
            max_iterations=_MOST_ITERATIONS,
        ).estimated_root

    def _newton_step(self, root: tf.Tensor, x: tf.Tensor, error: tf.Tensor) -> tf.Tensor:
        """Returns the root after one bounded Newton step, with the gradient of F^-1(x).

        By the implicit function theorem dy = (dx - dF(y)) / F'(y), which is the gradient of the
        unbounded step. The step's length is bounded because rounding of F can make it jump along a
        plateau.
        """
        value, log_slope = self._evaluate(root)
        reciprocal = tf.exp(tf.minimum(-log_slope, _LARGEST_EXPONENT))
        step = (value - x) * tf.stop_gradient(reciprocal)
        bounded = tf.clip_by_value(step, -2.0 * error, 2.0 * error)
        return root - (tf.stop_gradient(bounded) + (step - tf.stop_gradient(step)))

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        del dtype
        return {}
