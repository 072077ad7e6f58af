"""The common interface of conditional densities: events, contexts, densities and binding."""

from __future__ import annotations

import abc
import functools
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext.bijectors import conditioning
from tfp_genext.core import checks, context_shapes, tracking
from tfp_genext.distributions import binding, initialization, support
from tfp_genext.distributions.conditional import Conditional
from tfp_genext.distributions.distribution_head import DistributionHead


class ConditionalDensity(abc.ABC):
    """Base class of adapters for densities of events, with or without a context."""

    @property
    @abc.abstractmethod
    def event_spec(self) -> tf.TensorSpec:
        """Shape and dtype of a batch of events."""

    @property
    @abc.abstractmethod
    def context_shape(self) -> Any:
        """Shape of one context event, or a structure of shapes; `None` if unknown."""

    @property
    @abc.abstractmethod
    def takes_context(self) -> bool:
        """Whether the density is conditional."""

    @abc.abstractmethod
    def log_prob(self, x: tf.Tensor, context: Any = None) -> tf.Tensor:
        """Returns log p(x), or log p(x | context)."""

    @abc.abstractmethod
    def bind(self, context: Any = None) -> tfd.Distribution:
        """Returns an unconditional distribution, given the context if there is one."""

    def training_log_prob(self, x: tf.Tensor, context: Any, step: Any) -> tf.Tensor:
        """Returns the objective of a training step, by default log p(x)."""
        del step
        return self.log_prob(x, context)

    def context_spec(self, shapes: Any, dtype: tf.DType) -> Any:
        """Returns the tensor specs of a batch of contexts, in the structure of `shapes`.

        Args:
          shapes: shape of one context event, or a structure of shapes.
          dtype: dtype of the tensors for which the network has no dtype.
        """
        return context_shapes.specs(shapes, dtype)

    @property
    def holds_whole_numbers(self) -> bool:
        """Whether the events are integers, according to the head."""
        return False

    @abc.abstractmethod
    def check_takes_context(self, shape: Any) -> None:
        """Raises `ValueError` if no network takes a context of that shape."""

    @property
    @abc.abstractmethod
    def uninitialized(self) -> bool:
        """Whether an `ActNorm` is not initialised yet."""

    @abc.abstractmethod
    def initialize(self, x: tf.Tensor, context: Any = None) -> None:
        """Initialises every `ActNorm` from data."""


def of(distribution: Any) -> ConditionalDensity:
    """Wraps a distribution, flow or `Conditional` in the matching adapter."""
    if isinstance(distribution, Conditional):
        return _OfNetwork(distribution)
    return _OfDistribution(distribution)


class _OfNetwork(ConditionalDensity):
    """Adapter of a `Conditional`: the context is the input of the network."""

    def __init__(self, conditional: Conditional) -> None:
        self._conditional = conditional

    @property
    def event_spec(self) -> tf.TensorSpec:
        conditional = self._conditional
        return tf.TensorSpec([None, *conditional.event_shape], conditional.event_dtype, name="x")

    @property
    def context_shape(self) -> Any:
        return self._conditional.input_event_shape

    @property
    def takes_context(self) -> bool:
        return True

    def log_prob(self, x: tf.Tensor, context: Any = None) -> tf.Tensor:
        return self.bind(context).log_prob(x)

    def bind(self, context: Any = None) -> tfd.Distribution:
        return self._conditional(context)

    def context_spec(self, shapes: Any, dtype: tf.DType) -> Any:
        inputs = tracking.symbolic_inputs(self._conditional.network)
        return context_shapes.specs(shapes, dtype, inputs)

    @property
    def holds_whole_numbers(self) -> bool:
        return self._conditional.bijector is None and self._conditional.head.discrete

    def check_takes_context(self, shape: Any) -> None:
        del shape

    @property
    def _flow_head(self) -> DistributionHead | None:
        head = self._conditional.head
        return head if isinstance(head, DistributionHead) else None

    @property
    def uninitialized(self) -> bool:
        head = self._flow_head
        return head is not None and bool(conditioning.uninitialized(head.distribution))

    def initialize(self, x: tf.Tensor, context: Any = None) -> None:
        head, params = self._flow_head, self._conditional.params(context)
        if head is None:
            return
        if self._conditional.bijector is not None:
            x = self._conditional.distribution(params).bijector.inverse(x)
        context = head.context(params[..., : head.params_size])
        initialization.initialize(head.distribution, x, conditional_input=context)


class _OfDistribution(ConditionalDensity):
    """Adapter of TFP distributions: the context is a keyword argument of their methods."""

    def __init__(self, distribution: tfd.Distribution) -> None:
        self._distribution = distribution

    @property
    def event_spec(self) -> tf.TensorSpec:
        shape = self._distribution.event_shape.as_list()
        return tf.TensorSpec([None, *shape], self._distribution.dtype, name="x")

    @property
    def context_shape(self) -> Any:
        return binding.conditional_event_shape(self._distribution)

    @property
    def takes_context(self) -> bool:
        return binding.takes_context(self._distribution)

    def log_prob(self, x: tf.Tensor, context: Any = None) -> tf.Tensor:
        kwargs = binding.bijector_kwargs(self._distribution, context)
        log_prob = functools.partial(self._distribution.log_prob, **kwargs)
        outer = support.fixed_outer_of(self._distribution)
        if not outer or isinstance(self._distribution, support.ZeroOutside):
            return log_prob(x)
        # TFP's transformed distribution gives NaN outside the support.
        return support.log_prob_of_image(log_prob, outer, x, len(self._distribution.event_shape))

    def bind(self, context: Any = None) -> tfd.Distribution:
        if context is None:
            return self._distribution
        return binding.condition(self._distribution, context)

    def training_log_prob(self, x: tf.Tensor, context: Any, step: Any) -> tf.Tensor:
        # An ensemble of masks trains one mask in each step.
        own = getattr(self._distribution, "training_log_prob", None)
        return self.log_prob(x, context) if own is None else own(x, step, context)

    @property
    def holds_whole_numbers(self) -> bool:
        return getattr(getattr(self._distribution, "head", None), "discrete", False)

    def check_takes_context(self, shape: Any) -> None:
        if not self.takes_context and hasattr(self._distribution, "head"):
            expected = "None: the network takes no context"
            raise ValueError(checks.message("conditional_event_shape", expected, shape))
        if not context_shapes.is_shape(shape) or None in shape:
            raise ValueError(checks.message("conditional_event_shape", checks.ONE_CONTEXT, shape))
        binding.bijector_kwargs(self._distribution, tf.zeros(shape))

    @property
    def uninitialized(self) -> bool:
        return bool(conditioning.uninitialized(self._distribution))

    def initialize(self, x: tf.Tensor, context: Any = None) -> None:
        initialization.initialize(self._distribution, x, conditional_input=context)
