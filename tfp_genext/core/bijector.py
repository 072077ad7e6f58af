"""Base classes of bijectors whose value and log-determinant come from one evaluation."""

from __future__ import annotations

import abc
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfp_genext.core import checks, hosts, leading_dims, tracking
from tfp_genext.core.hidden_variables import ShowsVariables

ValueAndLogDet = tuple[tf.Tensor, tf.Tensor | None]


class OneEvaluationBijector(tfb.Bijector):
    """Base class of bijectors that compute value and log-determinant in one evaluation.

    Subclasses implement the computation of both. TFP's cache keeps the log-determinant until it is
    needed, in eager, graph and XLA execution alike. `sample`, `log_prob` and
    `experimental_sample_and_log_prob` of a transformed distribution thus evaluate a network once.
    A keyword argument for which `takes` is false raises ValueError.
    """

    @abc.abstractmethod
    def _forward_and_log_det(self, x: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        """Returns y = f(x) and log|det df/dx|, summed over the event."""

    @abc.abstractmethod
    def _inverse_and_log_det(self, y: tf.Tensor, **conditions: Any) -> ValueAndLogDet:
        """Returns x = f^-1(y) and log|det df^-1/dy|, summed over the event."""

    @property
    def conditional_event_shape(self) -> tuple[int, ...] | None:
        """Shape of one context event; `None` if there is no context."""
        return None

    def takes(self, condition: str) -> bool:
        """Tells whether the bijector has the keyword argument `condition`."""
        del condition
        return False

    @property
    def static_event_shape(self) -> tf.TensorShape:
        """Shape of an event, as far as the bijector's parts determine it; unknown by default.

        It is needed because a graph may lose the shape, as `tfd.Sample` does if the batch size is
        unknown.
        """
        return tf.TensorShape(None)

    @property
    def initialized(self) -> bool:
        """Whether data-dependent state is initialised; `True` for most bijectors. Eager only."""
        return True

    def initialize_from(
        self, values: tf.Tensor, *, forward: bool = False, **conditions: Any
    ) -> tf.Tensor:
        """Initialises the data-dependent state of this bijector and its members from data.

        Args:
          values: a batch of inputs of the pass.
          forward: whether the pass is `forward` instead of `inverse`. Default: `False`.
          **conditions: keyword arguments of the bijector, such as `conditional_input`.

        Returns:
          The values after the pass.
        """
        return (self.forward if forward else self.inverse)(values, **conditions)

    def _forward(self, x: tf.Tensor, **conditions: Any) -> tf.Tensor:
        y, log_det = self._evaluated(self._forward_and_log_det, x, conditions)
        ildj = None if log_det is None else -log_det
        _remember(hosts.forward_attributes(self, x, conditions), y, ildj)
        return y

    def _inverse(self, y: tf.Tensor, **conditions: Any) -> tf.Tensor:
        x, log_det = self._evaluated(self._inverse_and_log_det, y, conditions)
        _remember(hosts.inverse_attributes(self, y, conditions), x, log_det)
        return x

    def _forward_log_det_jacobian(self, x: tf.Tensor, **conditions: Any) -> tf.Tensor:
        return _required(self._evaluated(self._forward_and_log_det, x, conditions)[1])

    def _inverse_log_det_jacobian(self, y: tf.Tensor, **conditions: Any) -> tf.Tensor:
        return _required(self._evaluated(self._inverse_and_log_det, y, conditions)[1])

    def _evaluated(
        self, function: Callable[..., ValueAndLogDet], x: tf.Tensor, conditions: dict[str, Any]
    ) -> ValueAndLogDet:
        """Evaluates a direction on a tensor whose static shape may be unknown."""
        checks.not_symbolic("x", x)
        self._check_taken(conditions)
        hosts.release_bijectors()
        event = self.static_event_shape
        if x.shape.rank is None and event.rank is not None:
            return self._evaluated_in_rows(function, x, conditions)
        return function(leading_dims.with_event_shape(x, event), **conditions)

    def _evaluated_in_rows(
        self, function: Callable[..., ValueAndLogDet], x: tf.Tensor, conditions: dict[str, Any]
    ) -> ValueAndLogDet:
        event = self.static_event_shape
        inputs = [leading_dims.Events(x, event.rank)]
        for name, value in conditions.items():
            shape = self.conditional_event_shape if name == "conditional_input" else None
            ndims = 1 if shape is None else len(shape)
            inputs.append(leading_dims.Events(tf.convert_to_tensor(value), ndims))
        batch, (first, *others) = leading_dims.flattened(inputs)
        first = tf.ensure_shape(first, [None, *event])
        value, log_det = function(first, **dict(zip(conditions, others, strict=True)))
        if log_det is not None and log_det.shape.rank != 0:
            log_det = batch.restored(log_det, log_det.dtype)
        return batch.restored(value, value.dtype), log_det

    def _check_taken(self, conditions: dict[str, Any]) -> None:
        for name in conditions:
            if not self.takes(name):
                known = [known for known in ("conditional_input",) if self.takes(known)]
                raise ValueError(checks.unknown_keyword(name, self.name, known))

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        del dtype
        return {}


def _required(log_det: tf.Tensor | None) -> tf.Tensor:
    if log_det is None:
        raise NotImplementedError("The inner bijector implements no log-determinant.")
    return log_det


def _remember(attributes: dict[str, Any], output: tf.Tensor, ildj: tf.Tensor | None) -> None:
    if ildj is None:
        return
    # TFP keeps the attributes until the input is deleted. A log-determinant that outlives the
    # output would be stale after an assignment to a variable, and lack a gradient in the next tape.
    attributes["ildj"] = ildj
    # A tensor of a graph lives as long as its graph, which this would keep alive.
    if not tf.is_symbolic_tensor(output):
        weakref.finalize(output, attributes.pop, "ildj", None).atexit = False


class ConditionerBijector(OneEvaluationBijector, ShowsVariables):
    """Base class of bijectors with a conditioner network and a transformer.

    Args:
      conditioner: a Keras layer, called as `conditioner(visible, **conditions)`; or another
        callable, called as `conditioner(visible, num_units, **conditions)`. It must return
        parameters `[..., num_units, params_size]`, or a tuple of `params_size` tensors `[...,
        num_units]`. A single parameter may also have shape `[..., num_units]`.
      transformer: an object with `params_size` and with `bijector(params)`, which returns a scalar
        bijector.
      event_ndims: rank of an event.
      **kwargs: passed to `tfb.Bijector`.
    """

    def __init__(
        self, conditioner: Any, transformer: Any, *, event_ndims: int, **kwargs: Any
    ) -> None:
        self._conditioner = tracking.track(conditioner, event_ndims=event_ndims)
        self._transformer = transformer
        self._event_ndims = event_ndims
        super().__init__(forward_min_event_ndims=event_ndims, **kwargs)
        self._watch(self._conditioner)

    @property
    def conditional_event_shape(self) -> tuple[int, ...] | None:
        return tracking.conditional_event_shape(self._conditioner)

    def takes(self, condition: str) -> bool:
        return tracking.takes(self._conditioner, condition)

    def _bijector(self, visible: tf.Tensor, num_units: int, **conditions: Any) -> tfb.Bijector:
        function = self._conditioner
        if isinstance(function, tracking.KerasNetwork):
            output, name = function(visible, **conditions), function.network.name
        else:
            output = function(visible, num_units, **conditions)
            name = getattr(function, "__name__", type(function).__name__)
        output = tf.nest.map_structure(tf.convert_to_tensor, output)
        size = self._transformer.params_size
        params = _unstacked(output, size, num_units)
        if params is None:
            shapes = tf.nest.map_structure(lambda t: t.shape.as_list(), output)
            raise ValueError(
                f"`{self._argument}` must return parameters of shape [..., {num_units}, {size}], "
                f"or a tuple of {size} of shape [..., {num_units}]. "
                f"Received: shape {shapes} from the network `{name}`"
            )
        return self._transformer.bijector(params)


def _unstacked(output: Any, size: int, num_units: int) -> Sequence[tf.Tensor] | None:
    """Returns parameters as `size` tensors `[..., num_units]`; `None` if the shape is wrong."""
    if isinstance(output, (list, tuple)):
        fits = len(output) == size and all(t.shape[-1:] == [num_units] for t in output)
        return output if fits else None
    if output.shape[-2:] == [num_units, size]:
        return tf.unstack(output, axis=-1)
    if size == 1 and output.shape[-1:] == [num_units]:
        return [output]
    return None


def known_log_det(method: Callable, x: tf.Tensor, event_ndims: int) -> tf.Tensor | None:
    """Returns a log-determinant, or `None` if the bijector implements none."""
    try:
        return method(x, event_ndims)
    except NotImplementedError:
        return None
