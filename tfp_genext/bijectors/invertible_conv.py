"""The invertible 1x1 convolution of Glow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_genext.core import checks
from tfp_genext.core.bijector import OneEvaluationBijector, ValueAndLogDet


class Invertible1x1Conv(OneEvaluationBijector):
    """Multiplication of the channels of each pixel by a learned matrix in LU decomposition.

        inverse   x = W y,  W = P L U
        forward   y = W^-1 x
        log-det   -sum(log|diag(U)|) for each pixel, in O(C)

    P is a fixed permutation, L is lower triangular with ones on its diagonal, and U is upper
    triangular with the diagonal sign * exp(log_scale). W is thus never singular (Kingma and
    Dhariwal, 2018, arXiv:1807.03039). As in Glow, W maps data to noise. It acts on the last axis of
    tensors of any rank.

    Args:
      lower_upper: `tf.Variable` `[C, C]`: L below the diagonal, U above; the diagonal is not used.
      log_scale: `tf.Variable` `[C]`, log|diag(U)|.
      sign: signs of diag(U), `[C]`, each 1 or -1.
      permutation: P, as the order of the rows of L U: a permutation of 0 to C - 1.
      validate_args, name: as in `tfb.Bijector`. The default name is `"invertible_1x1_conv"`.

    Raises:
      ValueError: if the shapes do not match, or a sign is neither 1 nor -1.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    conv = gx.bijectors.Invertible1x1Conv.random(4, seed=0)
    y = conv.forward(tf.ones([2, 8, 8, 4]))
    tf.debugging.assert_near(conv.inverse(tf.identity(y)), tf.ones([2, 8, 8, 4]), atol=1e-5)
    ```
    """

    def __init__(
        self,
        lower_upper: tf.Variable,
        log_scale: tf.Variable,
        *,
        sign: Sequence[float],
        permutation: Sequence[int],
        validate_args: bool = False,
        name: str | None = None,
    ) -> None:
        sign = _signs(sign)
        _check_variables(lower_upper, log_scale, len(sign))
        permutation = checks.permutation("permutation", permutation, len(sign))
        parameters = dict(locals())
        self._lower_upper, self._log_scale = lower_upper, log_scale
        self._sign, self._permutation = sign, permutation
        super().__init__(
            forward_min_event_ndims=1,
            is_constant_jacobian=True,
            validate_args=validate_args,
            parameters=parameters,
            name=name or "invertible_1x1_conv",
        )

    @classmethod
    def random(cls, num_channels: int, *, seed: int, dtype: Any = "float32") -> Invertible1x1Conv:
        """Returns a layer whose matrix W is a random rotation, on new variables.

        Args:
          num_channels: C.
          seed: seed of NumPy's random generator.
          dtype: dtype of the variables. Default: float32.
        """
        num_channels = checks.positive_int("num_channels", num_channels)
        dtype = checks.float_dtype("dtype", dtype)
        seed = checks.any_int("seed", seed)
        noise = np.random.default_rng(seed).normal(size=[num_channels, num_channels])
        packed, permutation = tf.linalg.lu(np.linalg.qr(noise)[0])
        diagonal = tf.linalg.diag_part(packed)
        return cls(
            tf.Variable(tf.cast(packed, dtype), name="lower_upper"),
            tf.Variable(tf.cast(tf.math.log(tf.abs(diagonal)), dtype), name="log_scale"),
            sign=np.sign(diagonal).tolist(),
            permutation=np.argsort(permutation).tolist(),
        )

    @property
    def static_event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([len(self._sign)])

    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        self._check_channels("x", x)
        lower, upper = self._factors()
        identity = tf.eye(len(self._sign), dtype=x.dtype)
        unmixed = tf.linalg.triangular_solve(lower, identity)
        unmixed = tf.linalg.triangular_solve(upper, unmixed, lower=False)
        unmixed = tf.gather(unmixed, self._permutation, axis=1)
        return _multiplied(unmixed, x), -tf.reduce_sum(self._log_scale)

    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        self._check_channels("y", y)
        lower, upper = self._factors()
        mixed = tf.gather(tf.matmul(lower, upper), self._permutation, axis=0)
        return _multiplied(mixed, y), tf.reduce_sum(self._log_scale)

    def _factors(self) -> tuple[tf.Tensor, tf.Tensor]:
        packed = tf.convert_to_tensor(self._lower_upper)
        size = len(self._sign)
        below = np.tril(np.ones([size, size]), -1).astype(packed.dtype.as_numpy_dtype)
        diagonal = tf.constant(self._sign, packed.dtype) * tf.exp(self._log_scale)
        lower = tf.linalg.set_diag(packed * below, tf.ones_like(diagonal))
        return lower, tf.linalg.set_diag(packed * below.T, diagonal)

    def _check_channels(self, name: str, x: tf.Tensor) -> None:
        size = len(self._sign)
        if x.shape.rank == 0 or x.shape[-1] not in (None, size):
            raise ValueError(
                f"`{name}` must be of shape [..., {size}] for `{self.name}`. "
                f"Received: shape {x.shape}"
            )


def _multiplied(matrix: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    flat = tf.matmul(tf.reshape(x, [-1, matrix.shape[0]]), matrix, transpose_b=True)
    return tf.ensure_shape(tf.reshape(flat, tf.shape(x)), x.shape)


def _signs(sign: Any) -> tuple[float, ...]:
    try:
        signs = tuple(sign)
    except TypeError as error:
        raise TypeError(checks.message("sign", "a sequence of 1 and -1", sign)) from error
    if not all(s in (-1.0, 1.0) for s in signs):
        raise ValueError(checks.message("sign", "of 1 and -1", sign))
    return signs


def _check_variables(lower_upper: Any, log_scale: Any, size: int) -> None:
    for name, value in (("lower_upper", lower_upper), ("log_scale", log_scale)):
        if not isinstance(value, tf.Variable):
            raise TypeError(checks.message(name, "a tf.Variable", value))
    if lower_upper.dtype not in (tf.float32, tf.float64):
        expected = "of float32 or float64, in which TensorFlow solves triangular systems"
        raise TypeError(f"`lower_upper` must be {expected}. Received: {lower_upper.dtype.name}")
    if lower_upper.shape != [size, size] or log_scale.shape != [size]:
        raise ValueError(
            f"`lower_upper` and `log_scale` must be of shapes [C, C] and [C], with C = {size}, the "
            f"size of `sign`. Received: {lower_upper.shape} and {log_scale.shape}"
        )
