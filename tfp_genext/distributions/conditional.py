"""Conditional distributions: a network followed by a head."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfp_genext import bijectors
from tfp_genext.bijectors import conditioning
from tfp_genext.core import checks, context_shapes, hosts, leading_dims, tracking
from tfp_genext.distributions import binding, support
from tfp_genext.distributions.distribution_head import DistributionHead
from tfp_genext.distributions.head import Head
from tfp_genext.saving import config as config_checks
from tfp_genext.saving.reader import decode
from tfp_genext.saving.writer import encode


@keras.saving.register_keras_serializable(package="tfp_genext")
class Conditional(keras.layers.Layer):
    """A Keras layer that returns a distribution given its input.

        p(y | x) = head(network(x))                                     without a bijector
        y = f(z; c),  z ~ head(params),  [params, c] = network(x)       with a bijector f

    Keras 3 requires that layers return tensors, and the network does. This layer turns them into a
    distribution when it is called, eagerly or in a `tf.function`. It cannot be part of a functional
    model, because symbolic tensors have no distribution.

    With a bijector the distribution is a flow whose base is the head's distribution, such as the
    posterior of a VAE with an inverse autoregressive flow (Kingma et al., 2016, arXiv:1606.04934).
    If the bijector takes `conditional_input`, the network also outputs this context, after the
    head's parameters.

    Args:
      network: a Keras layer or model that returns `[N, params_size]`.
      head: a head of `gx.distributions`, or a conditional distribution whose context is the
        network's output. Such a distribution is a conditional flow, for instance behind a network
        that encodes a sequence, or a `gx.distributions.Autoregressive`, for instance a PixelCNN as
        the decoder of a VAE.
      bijector: bijector applied to the head's events, such as `gx.flows.iaf(...).bijector`.
        Default: none.
      **kwargs: arguments of `keras.layers.Layer`, such as `name`.

    Call arguments:
      x: input of the network: `[*batch, *event]`, or a dictionary, tuple or list of tensors.
      conditional_input: a context in addition to x. It is passed by this name to a network whose
        `call` has such an argument, and as a list `[x, conditional_input]` otherwise. Default:
        none.
      **kwargs: further arguments of the network, such as `training`.

    Returns:
      A `tfd.Distribution` of batch shape `[*batch]`.

    Raises:
      TypeError: if `network` is not a Keras layer, `head` is not a head, `bijector` is not a
        bijector, or x is symbolic.

    Example:

    ```python
    import keras
    import tensorflow as tf
    import tfp_genext as gx

    head = gx.distributions.IndependentNormal([2])
    regression = gx.distributions.Conditional(keras.layers.Dense(head.params_size), head)
    assert regression(tf.zeros([5, 3])).log_prob(tf.zeros([5, 2])).shape == [5]

    flow = gx.flows.iaf([2], num_layers=2, hidden_units=[8], conditional_event_shape=[4])
    posterior = gx.distributions.Conditional(
        keras.layers.Dense(head.params_size + 4), head, bijector=flow.bijector
    )
    assert posterior(tf.zeros([5, 3])).sample(10, seed=[1, 2]).shape == [10, 5, 2]

    embedding = keras.Sequential([keras.Input([None, 1]), keras.layers.LSTM(4)])
    flow = gx.flows.maf([2], num_layers=2, hidden_units=[8], conditional_event_shape=[4])
    of_sequences = gx.distributions.Conditional(embedding, flow)
    assert of_sequences(tf.zeros([5, 7, 1])).sample(10, seed=[1, 2]).shape == [10, 5, 2]
    ```
    """

    def __init__(
        self,
        network: keras.layers.Layer,
        head: Head | tfd.Distribution,
        *,
        bijector: tfb.Bijector | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._named = kwargs.get("name") is not None
        if not isinstance(network, keras.layers.Layer):
            raise TypeError(checks.message("network", "a Keras layer", network))
        if not isinstance(head, Head) and not binding.takes_context(head):
            expected = "a head of gx.distributions, or a conditional distribution"
            raise TypeError(checks.message("head", expected, head))
        if bijector is not None and not isinstance(bijector, tfb.Bijector):
            raise TypeError(checks.message("bijector", "a tfb.Bijector, or None", bijector))
        self.network = network
        self.head = head if isinstance(head, Head) else DistributionHead(head)
        self._bijector = bijector
        # Arguments besides the network that hold variables, by name.
        self._held = {
            name: part
            for name, part in (("head", head), ("bijector", bijector))
            if isinstance(part, tf.Module)
        }
        self._inner_networks = [n for h in self._held.values() for n in tracking.networks(h)]
        self._loose_variables = [
            v for held in self._held.values() for v in tracking.loose_variables(held)
        ]

    @property
    def bijector(self) -> tfb.Bijector | None:
        """The bijector applied to the head's distribution, or `None`."""
        return self._bijector

    def call_unnamed(self, name: str) -> None:
        """Sets the name shown by `summary`, unless one was given at construction."""
        if not self._named:
            self.name, self._named = name, True

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of the parameters, for `summary`."""
        return (None, self.params_size)

    @property
    def params_size(self) -> int:
        """Number of outputs of the network for each input."""
        return self.head.params_size + self._context_size

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event of the distribution."""
        if self._bijector is None:
            return self.head.event_shape
        return tuple(self._bijector.forward_event_shape(self.head.event_shape).as_list())

    @property
    def event_dtype(self) -> tf.DType:
        """Dtype of the events."""
        return self.distribution(tf.zeros([self.params_size], self.variable_dtype)).dtype

    @property
    def input_event_shape(self) -> Any:
        """Shape of one input, or a structure of them; `None` before the network is built."""
        return tracking.input_event_shape(self.network)

    def __call__(self, x: Any, conditional_input: Any = None, **kwargs: Any) -> tfd.Distribution:
        if any(isinstance(part, keras.KerasTensor) for part in keras.tree.flatten(x)):
            expected = "a tensor: a symbolic one has no distribution"
            raise TypeError(checks.message("x", expected, x))
        return self.distribution(self.params(x, conditional_input, **kwargs))

    def params(self, x: Any, conditional_input: Any = None, **kwargs: Any) -> tf.Tensor:
        """Returns the output of the network, `[..., params_size]`."""
        given = {} if conditional_input is None else {"conditional_input": conditional_input}
        if given or self.input_event_shape is None:
            return tf.cast(super().__call__(x, **given, **kwargs), self.variable_dtype)
        batch, rows = self._rows(x)
        params = super().__call__(rows, **kwargs)
        return batch.restored(params, tf.as_dtype(self.variable_dtype))

    def _rows(self, x: Any) -> tuple[leading_dims.Batch, Any]:
        """Flattens the leading dimensions of inputs to one, and returns them with the rows."""
        shapes, dtype = self.input_event_shape, self.variable_dtype
        x = context_shapes.mapped(
            lambda name, shape, part: _as_input(name, shape, part, dtype), shapes, x, name="x"
        )
        parts = context_shapes.flat(shapes, x)
        ndims = context_shapes.flat(shapes, context_shapes.mapped(lambda _, s: len(s), shapes))
        batch, flat = leading_dims.flattened(list(map(leading_dims.Events, parts, ndims)))
        remaining = iter(flat)
        return batch, context_shapes.mapped(lambda name, shape: next(remaining), shapes)

    def build(self, x_shape: Any, conditional_input_shape: Any = None) -> None:
        """Receives input shapes from Keras for `summary`; the network builds itself when called."""
        del x_shape, conditional_input_shape

    def call(self, x: Any, conditional_input: Any = None, **kwargs: Any) -> Any:
        return tracking.call(self.network, x, conditional_input, **kwargs)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution with parameters `[..., params_size]`."""
        if self._bijector is None:
            return self.head(params)
        if params.shape[-1] != self.params_size:
            raise ValueError(
                f"`network` must return [N, {self.params_size}], {self.head.params_size} for the "
                f"head and the rest for the bijector. Received: shape {params.shape}"
            )
        of_head, context = tf.split(params, [self.head.params_size, self._context_size], axis=-1)
        bijector = self._bijector
        if self._context_size:
            bijector = bijectors.Conditioned(bijector, context)
        return support.transformed(self.head(of_head), bijector)

    def with_bijector(self, bijector: tfb.Bijector) -> Conditional:
        """Replaces the bijector on top of the head's distribution, and returns this layer."""
        self._bijector = bijector
        self._held = {**self._held, "bijector": bijector}
        self._inner_networks = [n for h in self._held.values() for n in tracking.networks(h)]
        known = list(self._loose_variables)
        variables = [
            v for held in self._held.values() for v in tracking.loose_variables(held, known)
        ]
        hosts.replace_variables(self, self._loose_variables, variables)
        return self

    def check_values(self, x: np.ndarray) -> None:
        """Raises `ValueError` if an array holds events outside the support."""
        if self._bijector is None:
            self.head.check_values(x)

    @property
    def _context_size(self) -> int:
        if self._bijector is None:
            return 0
        shape = conditioning.conditional_event_shape(self._bijector)
        if shape is not None and len(shape) != 1:
            expected = "one whose context is a vector, a part of what the network returns"
            raise ValueError(checks.message("bijector", expected, f"context shape {shape}"))
        return 0 if shape is None else shape[0]

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
        }
        if "head" not in self._held:
            config["head"] = keras.saving.serialize_keras_object(self.head)
        if self._held:
            config["held"] = encode(self._held)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Conditional:
        config = dict(config)
        config_checks.check(config)
        parts: dict[str, Any] = {
            name: keras.saving.deserialize_keras_object(config.pop(name))
            for name in ("network", "head")
            if name in config
        }
        if "held" in config:
            parts |= decode(config.pop("held"))
        return cls(**parts, **config)


def _as_input(name: str, shape: Any, value: Any, dtype: str) -> tf.Tensor:
    tensor = checks.numeric(name, value, dtype)
    if tensor.shape.rank is not None:
        checks.ends_in(name, tensor.shape, shape)
    return tensor
