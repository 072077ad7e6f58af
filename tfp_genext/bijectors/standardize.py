"""Location and scale of data as a fixed bijector."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext.core import checks, hosts


class Standardize(tfb.Bijector):
    """Fixed affine map from standardised values to the scale of the data.

        forward   y = loc + scale * x
        inverse   x = (y - loc) / scale
        log-det   sum(log(scale))

    `model.adapt(x)` and `gx.flows.standardized` insert this bijector in a density. The inputs of
    its networks then have mean 0 and standard deviation 1, but log-densities and samples are in the
    units of the data. The variables are saved with the weights and are not trained. Both directions
    are cheap.

    Args:
      loc: `tf.Variable` `[D]`, or `[]` for scalar events; not trainable.
      scale: `tf.Variable` of the same shape, above 0; not trainable.
      validate_args, name: as in `tfb.Bijector`. The default name is `"standardize"`.

    Raises:
      TypeError: if `loc` or `scale` is not a `tf.Variable`.
      ValueError: if they differ in shape or dtype, or are trainable.

    Example:

    ```python
    import tensorflow as tf
    import tfp_genext as gx

    to_data = gx.bijectors.Standardize(
        tf.Variable([40.0, 0.1], trainable=False), tf.Variable([10.0, 0.05], trainable=False)
    )
    tf.debugging.assert_near(to_data.inverse([[50.0, 0.1]]), [[1.0, 0.0]])
    ```
    """

    def __init__(
        self,
        loc: tf.Variable,
        scale: tf.Variable,
        *,
        validate_args: bool = False,
        name: str | None = None,
    ) -> None:
        parameters = dict(locals())
        _check_fixed(loc, scale)
        name = name or "standardize"
        with tf.name_scope(name) as name:
            self._loc = loc
            self._scale = scale
            super().__init__(
                forward_min_event_ndims=0,
                is_constant_jacobian=True,
                dtype=loc.dtype,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )

    @classmethod
    def of(cls, loc: np.ndarray, scale: np.ndarray, dtype: tf.DType) -> Standardize:
        """Returns a `Standardize` on new variables.

        Args:
          loc: `[D]` or `[]`.
          scale: array of the same shape, above 0.
          dtype: dtype of the variables.
        """
        return cls(
            tf.Variable(loc, dtype=dtype, trainable=False, name="loc"),
            tf.Variable(scale, dtype=dtype, trainable=False, name="scale"),
        )

    @property
    def loc(self) -> tf.Variable:
        """Location in the units of the data, `[D]` or `[]`."""
        return self._loc

    @property
    def scale(self) -> tf.Variable:
        """Scale in the units of the data, `[D]` or `[]`."""
        return self._scale

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        del dtype
        return {"loc": hosts.ParameterProperties(), "scale": hosts.ParameterProperties()}

    @classmethod
    def _is_increasing(cls) -> bool:
        return True

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        return self._loc + self._scale * x

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        return (y - self._loc) / self._scale

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        # Of the shape of x, because TensorFlow Lite sums a single vector incorrectly.
        return tf.math.log(self._scale) + tf.zeros_like(x)


def _check_fixed(loc: Any, scale: Any) -> None:
    for name, value in (("loc", loc), ("scale", scale)):
        if not isinstance(value, tf.Variable):
            raise TypeError(checks.message(name, "a tf.Variable", value))
        if value.trainable:
            raise ValueError(checks.message(name, "a variable that is not trainable", value))
    if loc.shape != scale.shape or loc.dtype != scale.dtype:
        raise ValueError(
            "`loc` and `scale` must be of one shape and dtype. "
            f"Received: {loc.shape} {loc.dtype.name} and {scale.shape} {scale.dtype.name}"
        )
