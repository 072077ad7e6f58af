"""Deep sigmoidal transformers, used in neural autoregressive flows."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb

from tfp_genext import numerics
from tfp_genext.core import checks
from tfp_genext.transformers.base import Transformer, insert_axes, log_softmax, unit_offsets
from tfp_genext.transformers.monotone_bijector import MonotoneBijector

_LOG_SLOPE_BOUND = 3.0
_SPREAD = 0.5
# Share of a linear term in each layer. Without it plateaus between units are flat up to rounding,
# and the root finder cannot invert them.
_STRAIGHT = 1e-2


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepSigmoidal(Transformer):
    """The logit of a mixture of sigmoids, the deep sigmoidal flow.

    With J units of slopes a_j > 0, offsets b_j, weights w_j > 0 that sum to 1 (Huang et al., 2018,
    section 3.1, arXiv:1804.00779):

        inverse   x = 0.99 logit(s) + 0.01 y,  s = sum_j w_j s_j,  s_j = sigmoid(a_j y + b_j)
        forward   y = the root, bracketed by the inverses of the single units
        log-det   of the inverse: log(0.99 sum_j w_j s_j (1 - s_j) a_j / (s (1 - s)) + 0.01)

    The inverse, which the density of an autoregressive flow needs, is in closed form. All terms are
    computed from logarithms. Both directions thus stay finite far from the data, where x tends to a
    linear function of y. Slopes are softly bounded to (exp(-3), exp(3)). The linear term 0.01 y,
    which is not in the paper, makes the function increase for all parameters, up to rounding.
    Each dimension has 3 J parameters.

    Identical units would receive identical gradients. Their offsets therefore differ slightly at
    zero parameters, where the bijector is close to the identity but not equal to it.

    Args:
      num_units: J. Default: 8.

    Raises:
      TypeError: if `num_units` is not an integer.
      ValueError: if `num_units` is below 1.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    sigmoidal = gx.transformers.DeepSigmoidal(num_units=4)
    start = sigmoidal.bijector([tf.zeros([2])] * sigmoidal.params_size)
    x = start.inverse([-50.0, 3.0])
    tf.debugging.assert_near(start.forward(tf.identity(x)), [-50.0, 3.0])
    ```
    """

    heavy: ClassVar[bool] = True

    num_units: int = 8

    def __post_init__(self) -> None:
        checks.positive_int("num_units", self.num_units)

    @property
    def params_size(self) -> int:
        return _params_size(_sizes(self.num_units, 1))

    def bijector(self, params: Sequence[tf.Tensor]) -> tfb.Bijector:
        return _Sigmoidal(_layers(params, _sizes(self.num_units, 1)), "deep_sigmoidal")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepDenseSigmoidal(Transformer):
    """Layers of sigmoids and logits, the deep dense sigmoidal flow.

    With h_0 = y and h_L = x scalars and J hidden units between, positive slopes a_l, offsets b_l,
    and matrices U_l and W_l of positive rows that sum to 1 (Huang et al., 2018, section 3.2,
    arXiv:1804.00779):

        inverse   h_(l+1) = 0.99 logit(W_l sigmoid(a_l * U_l h_l + b_l)) + 0.01 mean(U_l h_l)
        forward   y = the root, bracketed by the inverses of the smallest and largest units
        log-det   of the inverse: log of the product of the layers' matrices of derivatives

    As in `DeepSigmoidal`, all terms are computed from logarithms, slopes are in (exp(-3), exp(3)),
    the function increases for all parameters, and zero parameters give nearly the identity. All
    matrices come from the conditioner: each dimension has 3 J parameters for L = 1, and
    2 J (J + 1) more for each further layer.

    Args:
      num_units: J. Default: 4.
      num_layers: L. Default: 2.

    Raises:
      TypeError: if `num_units` or `num_layers` is not an integer.
      ValueError: if `num_units` or `num_layers` is below 1.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    dense = gx.transformers.DeepDenseSigmoidal(num_units=3)
    start = dense.bijector([tf.zeros([2])] * dense.params_size)
    x = start.inverse([-50.0, 3.0])
    tf.debugging.assert_near(start.forward(tf.identity(x)), [-50.0, 3.0])
    ```
    """

    heavy: ClassVar[bool] = True

    num_units: int = 4
    num_layers: int = 2

    def __post_init__(self) -> None:
        checks.positive_int("num_units", self.num_units)
        checks.positive_int("num_layers", self.num_layers)

    @property
    def params_size(self) -> int:
        return _params_size(_sizes(self.num_units, self.num_layers))

    def bijector(self, params: Sequence[tf.Tensor]) -> tfb.Bijector:
        layers = _layers(params, _sizes(self.num_units, self.num_layers))
        return _Sigmoidal(layers, "deep_dense_sigmoidal")


@dataclasses.dataclass(frozen=True)
class _LayerSize:
    """Numbers of inputs, units and outputs of one layer."""

    inputs: int
    units: int
    outputs: int

    @property
    def parts(self) -> list[int]:
        """Numbers of parameters: slopes, offsets, W, and U if there are several inputs."""
        mixing = 0 if self.inputs == 1 else self.units * self.inputs
        return [self.units, self.units, self.units * self.outputs, mixing]


def _sizes(num_units: int, num_layers: int) -> list[_LayerSize]:
    widths = [1, *[num_units] * (num_layers - 1), 1]
    return [_LayerSize(i, num_units, o) for i, o in itertools.pairwise(widths)]


def _params_size(sizes: Sequence[_LayerSize]) -> int:
    return sum(sum(size.parts) for size in sizes)


def _layers(params: Sequence[tf.Tensor], sizes: Sequence[_LayerSize]) -> list[_Layer]:
    rest = iter(params)
    return [_Layer.of(rest, size) for size in sizes]


@dataclasses.dataclass(frozen=True)
class _Layer:
    """One layer of sigmoids; units and inputs are leading axes, `[...]` is the shape of the points.

    Args:
      log_slopes: log(a), `[J, ...]`.
      offsets: b, `[J, ...]`.
      log_weights: log(W), `[outputs, J, ...]`.
      log_mixing: log(U), `[J, inputs, ...]`, or `None` for a single input.
    """

    log_slopes: tf.Tensor
    offsets: tf.Tensor
    log_weights: tf.Tensor
    log_mixing: tf.Tensor | None

    @classmethod
    def of(cls, params: Iterator[tf.Tensor], size: _LayerSize) -> _Layer:
        parts = [list(itertools.islice(params, count)) for count in size.parts]
        slopes, offsets, weights = (tf.stack(part) for part in parts[:3])
        return cls(
            numerics.soft_bound(slopes, _LOG_SLOPE_BOUND),
            offsets + unit_offsets(size.units, _SPREAD, offsets),
            _log_softmax(weights, size.outputs),
            _log_softmax(tf.stack(parts[3]), size.units) if parts[3] else None,
        )

    def for_points(self, x: tf.Tensor) -> _Layer:
        """Returns the layer with parameters that broadcast against points `x`."""
        mixing = self.log_mixing
        return _Layer(
            insert_axes(self.log_slopes, x),
            insert_axes(self.offsets, x),
            insert_axes(self.log_weights, x, axes=2),
            None if mixing is None else insert_axes(mixing, x, axes=2),
        )

    def __call__(self, h: tf.Tensor, log_slope: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the outputs `[outputs, ...]` and the logarithms of their derivatives.

        Args:
          h: inputs `[inputs, ...]`.
          log_slope: logarithms of the inputs' derivatives, `[inputs, ...]`.
        """
        if self.log_mixing is not None:
            h = tf.reduce_sum(tf.exp(self.log_mixing) * h, axis=1)
            log_slope = tf.reduce_logsumexp(self.log_mixing + log_slope, axis=1)
        u = tf.exp(self.log_slopes) * h + self.offsets
        on, log_on = _log_average(self.log_weights, tf.math.log_sigmoid(u))
        off, log_off = _log_average(self.log_weights, tf.math.log_sigmoid(-u))
        # From the units' shares, because far from the data `on` and `off` are large and cancel.
        shares = log_on + log_off - self.log_weights + self.log_slopes + log_slope
        curved = tf.reduce_logsumexp(shares, axis=1) + math.log1p(-_STRAIGHT)
        straight = tf.reduce_logsumexp(log_slope, axis=0) + math.log(_STRAIGHT / log_slope.shape[0])
        outputs = (1.0 - _STRAIGHT) * (on - off) + _STRAIGHT * tf.reduce_mean(h, axis=0)
        return outputs, tfp.math.log_add_exp(curved, straight)

    def lower_bound(self, output: tf.Tensor) -> tf.Tensor:
        """Returns an input at or below which all outputs are at most `output`.

        An output lies between the outputs of the units with the smallest and the largest u.
        """
        return tf.reduce_min(self._unit_inverses(output), axis=0)

    def upper_bound(self, output: tf.Tensor) -> tf.Tensor:
        """Returns an input at or above which all outputs are at least `output`."""
        return tf.reduce_max(self._unit_inverses(output), axis=0)

    def _unit_inverses(self, output: tf.Tensor) -> tf.Tensor:
        """Returns for each unit the input `[J, ...]` at which this unit alone gives `output`."""
        offsets = (1.0 - _STRAIGHT) * self.offsets
        return (output - offsets) / ((1.0 - _STRAIGHT) * tf.exp(self.log_slopes) + _STRAIGHT)


def _log_average(log_weights: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns log(sum_j w_j exp(values_j)) and the logarithm of each unit's share of the sum."""
    terms = log_weights + values
    largest = tf.stop_gradient(tf.reduce_max(terms, axis=1, keepdims=True))
    near = terms - largest
    rest = tf.math.log(tf.reduce_sum(tf.exp(near), axis=1, keepdims=True))
    return tf.squeeze(largest + rest, axis=1), near - rest


def _log_softmax(raw: tf.Tensor, rows: int) -> tf.Tensor:
    """Returns the logarithms of weights `[rows, columns, ...]`; each row sums to 1."""
    raw = tf.reshape(raw, tf.concat([[rows, raw.shape[0] // rows], tf.shape(raw)[1:]], axis=0))
    return log_softmax(raw, axis=1)


class _Sigmoidal(MonotoneBijector):
    """The bijector of one or more layers of sigmoids, from data to noise."""

    def __init__(self, layers: Sequence[_Layer], name: str) -> None:
        self._layers = layers
        super().__init__(name)

    def _evaluate(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        h = y[tf.newaxis]
        log_slope = tf.zeros_like(h)
        for layer in self._layers:
            h, log_slope = layer.for_points(y)(h, log_slope)
        return h[0], log_slope[0]

    def _bracket(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        low = high = x
        for layer in reversed([layer.for_points(x) for layer in self._layers]):
            low, high = layer.lower_bound(low), layer.upper_bound(high)
        return low, high
