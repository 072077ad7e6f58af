"""The VampPrior, a mixture of posteriors as the prior of a VAE."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfp_genext.core import checks, tracking
from tfp_genext.saving.classes import register


@register("gx.distributions.VampPrior")
class VampPrior(tfd.Distribution):
    """The mixture of a VAE's posteriors at learned pseudo-inputs.

        p(z) = 1/K * sum_k q(z | u_k)

    The optimal prior of a VAE is the average of the posteriors of all data. This prior approximates
    it with K pseudo-inputs u_k (Tomczak and Welling, 2018, arXiv:1705.07120).

    Args:
      encoder: the Keras layer that computes q, a `gx.distributions.Conditional` shared with the
        VAE.
      pseudo_inputs: K inputs of the encoder, `[K, ...]`, as a `tf.Variable`, or as a
        `tfp.util.TransformedVariable` that keeps them within bounds.
      validate_args: as in TFP. Default: `False`.
      name: name of the distribution. Default: `"VampPrior"`.

    Raises:
      TypeError: if `encoder` is not a Keras layer.
      ValueError: if `pseudo_inputs` is not a tensor of rank 1 or more.

    Example:

    ```python
    import keras
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentNormal([2])
    encoder = gx.distributions.Conditional(keras.layers.Dense(head.params_size), head)
    prior = gx.distributions.VampPrior(encoder, tf.Variable(tf.random.normal([10, 5])))
    assert prior.sample(3, seed=[1, 2]).shape == [3, 2]
    ```
    """

    def __init__(
        self,
        encoder: keras.layers.Layer,
        pseudo_inputs: Any,
        validate_args: bool = False,
        name: str = "VampPrior",
    ) -> None:
        parameters = dict(locals())
        if not isinstance(encoder, keras.layers.Layer):
            raise TypeError(checks.message("encoder", "a Keras layer", encoder))
        if not hasattr(pseudo_inputs, "shape") or not pseudo_inputs.shape.rank:
            expected = "a tensor of at least one input of the encoder, [K, ...]"
            raise ValueError(checks.message("pseudo_inputs", expected, pseudo_inputs))
        self._encoder = tracking.track(encoder)
        self._pseudo_inputs = pseudo_inputs
        posteriors = encoder(tf.convert_to_tensor(pseudo_inputs))  # Builds the encoder.
        self._event = posteriors.event_shape
        super().__init__(
            dtype=posteriors.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=False,
            parameters=parameters,
            name=name,
        )

    @property
    def encoder(self) -> keras.layers.Layer:
        """The layer that computes the posteriors."""
        return self._encoder.network

    @property
    def pseudo_inputs(self) -> Any:
        """The inputs at which the posteriors are mixed."""
        return self._pseudo_inputs

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict[str, Any]:
        del dtype, num_classes
        return {"pseudo_inputs": tfp.util.ParameterProperties(event_ndims=None)}

    def _mixture(self) -> tfd.Distribution:
        inputs = tf.convert_to_tensor(self._pseudo_inputs)
        posteriors = self.encoder(inputs)
        return tfd.MixtureSameFamily(
            tfd.Categorical(logits=tf.zeros(inputs.shape[:1], self.dtype)), posteriors
        )

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        return self._mixture().log_prob(z)

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        return self._mixture().sample(n, seed=seed)

    def _mean(self) -> tf.Tensor:
        return self._mixture().mean()

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _batch_shape_tensor(self, **parameters: Any) -> tf.Tensor:
        del parameters
        return tf.zeros([0], tf.int32)

    def _event_shape(self) -> tf.TensorShape:
        return self._event

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant(self._event.as_list(), tf.int32)
