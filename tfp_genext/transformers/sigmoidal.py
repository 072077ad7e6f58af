"""Deep sigmoidal transformers, those of neural autoregressive flows."""

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
from tfp_genext.transformers.base import Transformer, aligned, log_softmax, spread
from tfp_genext.transformers.monotone import Rising

_LOG_SLOPE_BOUND = 3.0
_SPREAD = 0.5
# Share of a straight line in each layer: it keeps plateaus between units from being flat to
# rounding, where no inverse would be found.
_STRAIGHT = 1e-2


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepSigmoidal(Transformer):
    """Mixture of sigmoids behind a logit: the deep sigmoidal flow.

    With J units of slopes a_j > 0, offsets b_j, weights w_j > 0 that sum to 1 (Huang et al., 2018,
    section 3.1 [1]):

        inverse   x = 0.99 logit(s) + 0.01 y,  s = sum_j w_j s_j,  s_j = sigmoid(a_j y + b_j)
        forward   y = the root, in a bracket made of what each unit would give alone
        log-det   of the inverse: log(0.99 sum_j w_j s_j (1 - s_j) a_j / (s (1 - s)) + 0.01)

    The inverse, which the density of an autoregressive flow needs, is a formula. Everything is
    computed from logarithms, so that both directions stay finite far off, where x tends to a
    straight line in y. Slopes are bounded softly to (exp(-3), exp(3)) and the straight line, which
    is not in the paper, has a slope of its own, so that the function rises whatever the parameters,
    but for rounding. 3 J parameters a dimension.

    Equal units would be moved alike for ever: at zero parameters they are spread a little, and the
    bijector is near the identity, not at it.

    Args:
      num_units: J. Default: 8.

    Raises:
      TypeError: where `num_units` is no integer.
      ValueError: where it is below 1.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    sigmoidal = gx.transformers.DeepSigmoidal(num_units=4)
    start = sigmoidal.bijector([tf.zeros([2])] * sigmoidal.params_size)
    x = start.inverse([-50.0, 3.0])
    tf.debugging.assert_near(start.forward(tf.identity(x)), [-50.0, 3.0])
    ```

    #### References

    [1]: Chin-Wei Huang, David Krueger, Alexandre Lacoste, Aaron Courville. Neural Autoregressive
         Flows. 2018. https://arxiv.org/abs/1804.00779
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
    """Layers of sigmoids, each behind a logit: the deep dense sigmoidal flow.

    With h_0 = y and h_L = x scalars and J hidden units between, positive slopes a_l, offsets b_l,
    and matrices U_l and W_l of positive rows that sum to 1 (Huang et al., 2018, section 3.2 [1]):

        inverse   h_(l+1) = 0.99 logit(W_l sigmoid(a_l * U_l h_l + b_l)) + 0.01 mean(U_l h_l)
        forward   y = the root, found in a bracket made of the smallest and largest units
        log-det   of the inverse: log of the product of the layers' matrices of derivatives

    As in `DeepSigmoidal`, everything is computed from logarithms, slopes lie in (exp(-3), exp(3)),
    the function rises whatever the parameters, and starts near the identity. All matrices come from
    the conditioner: 3 J parameters a dimension for L = 1, 2 J (J + 1) more for each further layer.

    Args:
      num_units: J. Default: 4.
      num_layers: L. Default: 2.

    Raises:
      TypeError: where `num_units` or `num_layers` is no integer.
      ValueError: where one is below 1.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    dense = gx.transformers.DeepDenseSigmoidal(num_units=3)
    start = dense.bijector([tf.zeros([2])] * dense.params_size)
    x = start.inverse([-50.0, 3.0])
    tf.debugging.assert_near(start.forward(tf.identity(x)), [-50.0, 3.0])
    ```

    #### References

    [1]: Chin-Wei Huang, David Krueger, Alexandre Lacoste, Aaron Courville. Neural Autoregressive
         Flows. 2018. https://arxiv.org/abs/1804.00779
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
    """Numbers of inputs, of sigmoids and of outputs of one layer."""

    inputs: int
    units: int
    outputs: int

    @property
    def parts(self) -> list[int]:
        """Numbers of parameters: slopes, offsets, W, and U where there is a choice of inputs."""
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
    """One layer of sigmoids; units and inputs stand on leading axes, `[...]` stands for the points.

    Args:
      log_slopes: log(a), `[J, ...]`.
      offsets: b, `[J, ...]`.
      log_weights: log(W), `[outputs, J, ...]`.
      log_mixing: log(U), `[J, inputs, ...]`; `None` where there is a single input.
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
            offsets + spread(size.units, _SPREAD, offsets),
            _log_softmax(weights, size.outputs),
            _log_softmax(tf.stack(parts[3]), size.units) if parts[3] else None,
        )

    def for_points(self, x: tf.Tensor) -> _Layer:
        """Returns the layer with parameters that broadcast against points."""
        mixing = self.log_mixing
        return _Layer(
            aligned(self.log_slopes, x),
            aligned(self.offsets, x),
            aligned(self.log_weights, x, axes=2),
            None if mixing is None else aligned(mixing, x, axes=2),
        )

    def __call__(self, h: tf.Tensor, log_slope: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the outputs `[outputs, ...]` and the logarithms of their slopes.

        Args:
          h: inputs `[inputs, ...]`.
          log_slope: logarithms of the inputs' own slopes, `[inputs, ...]`.
        """
        if self.log_mixing is not None:
            h = tf.reduce_sum(tf.exp(self.log_mixing) * h, axis=1)
            log_slope = tf.reduce_logsumexp(self.log_mixing + log_slope, axis=1)
        u = tf.exp(self.log_slopes) * h + self.offsets
        on, log_on = _log_average(self.log_weights, tf.math.log_sigmoid(u))
        off, log_off = _log_average(self.log_weights, tf.math.log_sigmoid(-u))
        # From the units' shares, not from `on` and `off`: far off these are large, and cancel.
        shares = log_on + log_off - self.log_weights + self.log_slopes + log_slope
        curved = tf.reduce_logsumexp(shares, axis=1) + math.log1p(-_STRAIGHT)
        straight = tf.reduce_logsumexp(log_slope, axis=0) + math.log(_STRAIGHT / log_slope.shape[0])
        outputs = (1.0 - _STRAIGHT) * (on - off) + _STRAIGHT * tf.reduce_mean(h, axis=0)
        return outputs, tfp.math.log_add_exp(curved, straight)

    def below(self, output: tf.Tensor) -> tf.Tensor:
        """Returns an input at or below which all outputs are at most `output`.

        An output lies between what the unit of the least and the one of the largest u would give.
        """
        return tf.reduce_min(self._alone(output), axis=0)

    def above(self, output: tf.Tensor) -> tf.Tensor:
        """Returns an input at or above which all outputs are at least `output`."""
        return tf.reduce_max(self._alone(output), axis=0)

    def _alone(self, output: tf.Tensor) -> tf.Tensor:
        """Returns the inputs `[J, ...]` at which each unit, were it alone, would give `output`."""
        offsets = (1.0 - _STRAIGHT) * self.offsets
        return (output - offsets) / ((1.0 - _STRAIGHT) * tf.exp(self.log_slopes) + _STRAIGHT)


def _log_average(log_weights: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns log(sum_j w_j exp(values_j)), and the logarithm of each unit's share in it."""
    terms = log_weights + values
    largest = tf.stop_gradient(tf.reduce_max(terms, axis=1, keepdims=True))
    near = terms - largest
    rest = tf.math.log(tf.reduce_sum(tf.exp(near), axis=1, keepdims=True))
    return tf.squeeze(largest + rest, axis=1), near - rest


def _log_softmax(raw: tf.Tensor, rows: int) -> tf.Tensor:
    """Returns logarithms of weights `[rows, columns, ...]`, each row of which sums to 1."""
    raw = tf.reshape(raw, tf.concat([[rows, raw.shape[0] // rows], tf.shape(raw)[1:]], axis=0))
    return log_softmax(raw, axis=1)


class _Sigmoidal(Rising):
    """Layers of sigmoids, from data to noise."""

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
            low, high = layer.below(low), layer.above(high)
        return low, high
