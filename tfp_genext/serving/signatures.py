"""The functions of the signatures of densities."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext.core import checks
from tfp_genext.distributions import Autoregressive, Conditional, adaptation, binding, contexts
from tfp_genext.layers import preprocessing as preprocessing_lib
from tfp_genext.serving import statistics

# Functions and the specs of their arguments, by the name of the signature. Specs are named; that of
# a context may be a structure. A function that raises `NotImplementedError` while it is traced is
# left out.
Functions = dict[str, tuple[Callable, list[Any]]]

NUM_SAMPLES = tf.TensorSpec([], tf.int32, name="num_samples")
SEED = tf.TensorSpec([2], tf.int32, name="seed")
PROBS = "probs"
SERVING_DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def context_spec(event_shape: Any, dtype: tf.DType, distribution: Any = None) -> Any:
    """Returns the tensor specs of a context, in the dtype of the events if that is floating.

    Args:
      event_shape: shape of one context event, or a structure of shapes.
      dtype: dtype of the events.
      distribution: distribution whose network may have names and dtypes of its inputs. Default:
        none.
    """
    spec = contexts.of(distribution).context_spec(event_shape, _floating(dtype))
    names = [part.name for part in tf.nest.flatten(spec)]
    for name in names:
        if not name.isidentifier() or name in _TAKEN or names.count(name) > 1:
            expected = f"of tensors whose names are identifiers, each once and none of {_TAKEN}"
            raise ValueError(checks.message("conditional_event_shape", expected, names))
    return spec


# Names of the other inputs of signatures.
_TAKEN = ("x", "z", "seed", "num_samples", PROBS)


class DensityFunctions:
    """The functions behind the signatures of one distribution.

    Data x are in the units of the preprocessing layer's input. If a function returns x and a
    log-density, it is the density of this x after preprocessing.

    Args:
      distribution: a `tfd.Distribution`, or a `Conditional`.
      context: shape of one context event, or a structure of shapes; `None` for no context.
      preprocessing: the preprocessing layer of the data. Default: none.
    """

    def __init__(
        self,
        distribution: Any,
        context: Any,
        preprocessing: keras.layers.Layer | None = None,
    ) -> None:
        self.distribution = distribution
        self._preprocessing = preprocessing
        self._has_inverse = preprocessing_lib.has_inverse(preprocessing)
        self._events = contexts.of(distribution).event_spec
        self._x = self._events
        if preprocessing is not None:
            self._x = tf.TensorSpec(self._x.shape, _floating(self._x.dtype), name="x")
        self._z = None
        if binding.is_transformed(distribution):
            base = distribution.distribution
            self._z = tf.TensorSpec([None, *base.event_shape.as_list()], base.dtype, name="z")
        self._context = []
        if context is not None:
            self._context = [context_spec(context, self._x.dtype, distribution)]

    def by_name(self) -> Functions:
        """Returns the functions and their specs by the names of the signatures."""
        seeds = tf.TensorSpec([None, 2], tf.int32, name="seed")
        plain: Functions = {
            "log_prob": (self.log_prob, [self._x]),
            SERVING_DEFAULT: (self.log_prob, [self._x]),
            "sample": (self.sample, [NUM_SAMPLES, SEED]),
            "sample_and_log_prob": (self.sample_and_log_prob, [NUM_SAMPLES, SEED]),
            "sample_rows": (self.sample_rows, [seeds]),
        }
        if self._z is not None:
            plain["forward"] = (self.forward, [self._z])
            plain["inverse"] = (self.inverse, [self._x])
        if adaptation.is_continuous(self.distribution):
            plain["log_prob_and_gradient"] = (self.log_prob_and_gradient, [self._x])
        # Not available after an inverse preprocessing: rounding, for instance, changes the mean.
        if not self._has_inverse:
            probs = tf.TensorSpec([None], _floating(self._events.dtype), name=PROBS)
            plain["quantile"] = (self.quantile, [probs])
            if self._context:  # A server accepts no requests without inputs over HTTP.
                plain |= {"mean": (self.mean, []), "stddev": (self.stddev, [])}
        return {name: (f, [*specs, *self._context]) for name, (f, specs) in plain.items()}

    def log_prob(self, x: tf.Tensor, conditional_input: Any = None) -> dict[str, tf.Tensor]:
        x = self._to_events(x)
        return {"log_prob": contexts.of(self.distribution).log_prob(x, conditional_input)}

    def sample(
        self, num_samples: tf.Tensor, seed: tf.Tensor, conditional_input: Any = None
    ) -> dict[str, tf.Tensor]:
        samples = self._bound(conditional_input).sample(num_samples, seed=seed)
        return {"samples": self._to_data(samples)}

    def sample_and_log_prob(
        self, num_samples: tf.Tensor, seed: tf.Tensor, conditional_input: Any = None
    ) -> dict[str, tf.Tensor]:
        bound = self._bound(conditional_input)
        if self._has_inverse:
            samples = self._to_data(bound.sample(num_samples, seed=seed))
            return {"samples": samples, "log_prob": bound.log_prob(self._to_events(samples))}
        samples, log_prob = bound.experimental_sample_and_log_prob(num_samples, seed=seed)
        return {"samples": self._to_data(samples), "log_prob": log_prob}

    def sample_rows(self, seed: tf.Tensor, conditional_input: Any = None) -> dict[str, tf.Tensor]:
        samples = _sample_rows(self.distribution, seed, conditional_input)
        return {"samples": self._to_data(samples)}

    def forward(self, z: tf.Tensor, conditional_input: Any = None) -> dict[str, tf.Tensor]:
        kwargs = self._kwargs(conditional_input)
        bijector, base = self.distribution.bijector, self.distribution.distribution
        x = bijector.forward(z, **kwargs)
        if self._has_inverse:
            x = self._to_data(x)
            return {"x": x, **self.log_prob(x, conditional_input)}
        log_det = bijector.forward_log_det_jacobian(z, len(base.event_shape), **kwargs)
        log_prob = self._log_prob_of_noise(z, conditional_input)
        return {"x": self._to_data(x), "log_prob": log_prob - log_det}

    def inverse(self, x: tf.Tensor, conditional_input: Any = None) -> dict[str, tf.Tensor]:
        x, kwargs = self._to_events(x), self._kwargs(conditional_input)
        bijector = self.distribution.bijector
        z = bijector.inverse(x, **kwargs)
        event_ndims = len(self.distribution.event_shape)
        log_det = bijector.inverse_log_det_jacobian(x, event_ndims, **kwargs)
        return {"z": z, "log_prob": self._log_prob_of_noise(z, conditional_input) + log_det}

    def _log_prob_of_noise(self, z: tf.Tensor, conditional_input: Any) -> tf.Tensor:
        base = self.distribution.distribution
        return contexts.of(base).log_prob(z, _context_for(base, conditional_input))

    def log_prob_and_gradient(
        self, x: tf.Tensor, conditional_input: Any = None
    ) -> dict[str, tf.Tensor]:
        return with_gradient(self.log_prob, x, conditional_input)

    def mean(self, conditional_input: Any = None) -> dict[str, tf.Tensor]:
        return {"mean": statistics.mean(self._bound(conditional_input))}

    def stddev(self, conditional_input: Any = None) -> dict[str, tf.Tensor]:
        return {"stddev": statistics.stddev(self._bound(conditional_input))}

    def quantile(self, probs: tf.Tensor, conditional_input: Any = None) -> dict[str, tf.Tensor]:
        expected = "`probs` must be numbers in [0, 1]"
        tf.debugging.assert_non_negative(probs, expected)
        tf.debugging.assert_less_equal(probs, tf.ones([], probs.dtype), expected)
        quantiles = statistics.quantiles(self._bound(conditional_input), probs)
        if conditional_input is None:
            return {"quantiles": quantiles}
        return {"quantiles": tf.transpose(quantiles, [1, 0, *range(2, quantiles.shape.rank)])}

    def _to_events(self, x: tf.Tensor) -> tf.Tensor:
        """Applies the preprocessing to data `[..., *event]`."""
        if self._preprocessing is None:
            return x
        rows = tf.reshape(x, [-1, *self._x.shape[1:]])
        events = self._preprocessing(rows, training=False)
        return tf.cast(tf.reshape(events, tf.shape(x)), self._events.dtype)

    def _to_data(self, events: tf.Tensor) -> tf.Tensor:
        """Applies the inverse of the preprocessing to events of the distribution."""
        return tf.cast(preprocessing_lib.apply_inverse(self._preprocessing, events), self._x.dtype)

    def _kwargs(self, conditional_input: Any) -> dict[str, Any]:
        kwargs = binding.bijector_kwargs(self.distribution, conditional_input)
        return kwargs.get("bijector_kwargs", {})

    def _bound(self, conditional_input: Any) -> tfd.Distribution:
        return contexts.of(self.distribution).bind(conditional_input)


def with_gradient(log_prob: Callable, x: tf.Tensor, *further: Any) -> dict[str, tf.Tensor]:
    """Returns log-densities of rows, and the gradient of each with respect to its row.

    Args:
      log_prob: function from x and further arguments to a dictionary with `log_prob`.
      x: `[N, ...]`.
      *further: arguments of `log_prob`.

    Raises:
      NotImplementedError: if an operation or the preprocessing has no gradient.
    """
    with tf.GradientTape() as tape:
        tape.watch(x)
        answer = log_prob(x, *further)
    try:
        gradient = tape.gradient(answer["log_prob"], x)
    except LookupError as error:
        raise NotImplementedError("gradient of an operation") from error
    if gradient is None:
        raise NotImplementedError("gradient of what does not depend on x")
    return {**answer, "gradient": tf.ensure_shape(gradient, x.shape)}


def _floating(dtype: tf.DType) -> tf.DType:
    return dtype if dtype.is_floating else tf.as_dtype(keras.config.floatx())


def _sample_rows(distribution: Any, seeds: tf.Tensor, conditional_input: Any = None) -> tf.Tensor:
    # Noise is drawn row by row, as each row has a seed. The networks then run once for all rows.
    if isinstance(distribution, Conditional):
        params = distribution.params(conditional_input)
        return _by_row(
            lambda row: distribution.distribution(row[1]).sample(seed=row[0]),
            (seeds, params),
            contexts.of(distribution).event_spec,
        )
    if isinstance(distribution, Autoregressive):
        of_row = functools.partial(distribution.noise, [])
        noise = tf.map_fn(of_row, seeds, fn_output_signature=distribution.noise_spec)
        return contexts.of(distribution).bind(conditional_input).from_noise(noise)
    if not binding.is_transformed(distribution):
        spec = contexts.of(distribution).event_spec
        if conditional_input is None:
            return _by_row(lambda seed: distribution.sample(seed=seed), seeds, spec)
        rows = (seeds, conditional_input)
        return _by_row(lambda r: contexts.of(distribution).bind(r[1]).sample(seed=r[0]), rows, spec)
    kwargs = binding.bijector_kwargs(distribution, conditional_input).get("bijector_kwargs", {})
    base = distribution.distribution
    noise = _sample_rows(base, seeds, _context_for(base, conditional_input))
    return distribution.bijector.forward(noise, **kwargs)


def _context_for(base: tfd.Distribution, conditional_input: Any) -> Any:
    """Returns the context if a base takes one; else `None`."""
    return conditional_input if contexts.of(base).takes_context else None


def _by_row(sample: Callable, rows: Any, batch: tf.TensorSpec) -> tf.Tensor:
    event = tf.TensorSpec(batch.shape[1:], batch.dtype)
    return tf.map_fn(sample, rows, fn_output_signature=event)
