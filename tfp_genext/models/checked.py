"""Base class of models: fit, evaluate and predict, with checks of the data."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_genext.core import checks, context_shapes, hosts, tracking
from tfp_genext.core.column_moments import ColumnMoments
from tfp_genext.models import data as data_lib
from tfp_genext.models import first_look, losses, noise
from tfp_genext.models.distributed import DistributedModel
from tfp_genext.models.whole import WholeModel, bound_arguments, signature_of

# Rows of arrays that are read at once.
_ROWS = 1000


class CheckedModel(DistributedModel, WholeModel):
    """Base class of models of events, or of events given contexts; checks all data.

    Subclasses set `_check`, and say what their loss, predictions and parts are called.
    """

    _check: data_lib.DataCheck
    _loss_name: str
    _predictions: str
    _parts: str
    preprocessing: keras.layers.Layer | None = None
    # Whether rows of data may have weights.
    _weighs_rows = True

    @property
    def conditional_event_shape(self) -> Any:
        """Shape of one context event, or a structure of them; `None` if unconditional."""
        return self._check.conditional_event_shape

    @property
    def _step(self) -> tf.Tensor:
        """Number of training steps so far."""
        # There is no optimizer before `compile`, and a call does not need one.
        optimizer = getattr(self, "optimizer", None)
        return tf.convert_to_tensor(getattr(optimizer, "iterations", 0))

    @property
    def _batch(self) -> tf.Tensor:
        """Number of batches trained on, several for a step that accumulates gradients."""
        optimizer = getattr(self, "optimizer", None)
        return tf.convert_to_tensor(0 if optimizer is None else tracking.num_gradients(optimizer))

    def train_step(self, data: Any) -> dict[str, Any]:
        x, _, sample_weight = self._joined(data)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y_pred=y_pred, sample_weight=sample_weight, training=True)
            scaled = self.optimizer.scale_loss(loss)
        self._check_seen(tape.watched_variables(), self.optimizer)
        finite = losses.step(
            self.optimizer, tape, scaled, self.trainable_variables, compiled=self.jit_compile
        )
        rows = tf.shape(keras.tree.flatten(x)[0])[0]
        of_all = loss * tf.distribute.get_strategy().num_replicas_in_sync
        hosts.loss_metric(self).update_state(losses.nan_unless(finite, of_all), rows)
        return self.compute_metrics(x, None, y_pred, sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        return super().test_step(self._joined(data))

    def predict_step(self, data: Any) -> tf.Tensor:
        return super().predict_step(self._joined(data))

    def _joined(self, data: Any) -> tuple[Any, None, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self._check_weights(sample_weight)
        if not self._check.conditional:
            # A target with weights is the placeholder that `DataCheck` added for Keras.
            y = None if sample_weight is not None else y
        context, x = self._check.batch(x, y, sample_weight)
        return (x if context is None else (context, x)), None, sample_weight

    @signature_of(keras.Model.fit)
    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains the model: `fit(x)`, or `fit(c, x)` for the density of x given c.

        Args:
          x: events `[N, *event_shape]`: an array, a data frame, or a dataset, generator or
            `PyDataset` of batches. Of a conditional model the contexts `[N, ...]`, or batches
            `(c, x)`.
          y: events of a conditional model, if `x` is an array of contexts. Default: `None`.
          batch_size: rows of a step, for arrays. Default: 32.
          epochs: number of passes over the data. Default: 1.
          verbose: `"auto"`, 0, 1 or 2, as in Keras. Default: `"auto"`.
          callbacks: Keras callbacks. Default: none.
          validation_split: share of the rows of arrays, the last ones, to validate on. Default: 0.
          validation_data: `x`, `(c, x)`, or with weights `(x, None, sample_weight)` and
            `(c, x, sample_weight)`; or a dataset. Default: none.
          sample_weight: weights of the rows `[N]`; not of a GAN. Default: 1 each.
          **kwargs: further arguments of `keras.Model.fit`. `class_weight` must be `None`.

        Returns:
          The history: losses and metrics of each epoch.

        Raises:
          TypeError, ValueError: if an argument or the data are not what they must be, or the
            loss or a weight becomes NaN or infinite.
        """
        call = bound_arguments(super().fit, args, kwargs)
        _check_numbers(call)
        if call.get("class_weight") is not None:
            raise ValueError(checks.message("class_weight", "None", call["class_weight"]))
        data = self._training_data(call)
        if call.get("validation_data") is not None:
            call["validation_data"] = self._validation_data(call["validation_data"])
        elif call.get("validation_split"):
            data, validation = data_lib.split(data, call.pop("validation_split"))
            call["validation_data"] = validation.parts
        data = data_lib.of_mean_one(data)
        batch_size = call.get("batch_size") or 32
        if self.compiled:  # Keras raises where it is not.
            first = {"data": data, "batch_size": batch_size}
            first["data"] = self._with_clear_errors(self._initialize, first)
            self._build_optimizers()
            data = self._with_clear_errors(self._look_at, first)
        if self._check.loses_digits(data):
            data = data_lib.batched(data, batch_size, shuffle=call.get("shuffle", True))
            call.pop("batch_size", None)
        call.update(vars(data))
        if data_lib.is_stream(data.x) and not isinstance(data.x, keras.utils.PyDataset):
            call.setdefault("shuffle", False)  # Keras cannot shuffle these, and warns by default.
        callbacks = call.get("callbacks")
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            call["callbacks"] = [*_checked_callbacks(callbacks), losses.FiniteLoss()]
        history = self._with_clear_errors(super().fit, call)
        if history.epoch and not history.history:
            raise ValueError(data_lib.EMPTY)
        return history

    @signature_of(keras.Model.evaluate)
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Returns loss and metrics on data: `evaluate(x)`, or `evaluate(c, x)`.

        Args:
          x: events `[N, *event_shape]`: an array, a data frame, or a dataset, generator or
            `PyDataset` of batches. Of a conditional model the contexts `[N, ...]`, or batches
            `(c, x)`.
          y: events of a conditional model, if `x` is an array of contexts. Default: `None`.
          batch_size: rows of a step, for arrays. Default: 32.
          sample_weight: weights of the rows `[N]`; not of a GAN. Default: 1 each.
          return_dict: whether to return a dictionary by name. Default: `False`.
          **kwargs: further arguments of `keras.Model.evaluate`.

        Returns:
          The loss, a list of loss and metrics, or a dictionary of them.

        Raises:
          TypeError, ValueError: if the data are not what they must be, or a result is NaN.
        """
        if kwargs.get("_use_cached_eval_dataset"):  # Keras, from within `fit`: checked already.
            return self._with_clear_errors(
                super().evaluate, bound_arguments(super().evaluate, args, kwargs)
            )
        call = bound_arguments(super().evaluate, args, kwargs)
        _check_numbers(call)
        data = data_lib.of_mean_one(self._training_data(call))
        call.update(vars(self._exact(data, call)))
        results = self._with_clear_errors(super().evaluate, call)
        self._refuse_nan("loss and metrics", keras.tree.flatten(results))
        if isinstance(results, (list, dict)) and not results:
            raise ValueError(data_lib.EMPTY)
        self._remember_evaluation()
        return results

    @signature_of(keras.Model.predict)
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Returns one number for each row: `predict(x)`, or `predict((c, x))`.

        It is the log-density in nats; a VAE's is estimated, and a GAN's is the discriminator's
        score.

        Args:
          x: events `[N, *event_shape]`, or a pair `(c, x)` of contexts and events: arrays, or a
            dataset, generator or `PyDataset` of batches of them.
          batch_size: rows of a step, for arrays. Default: 32.
          **kwargs: further arguments of `keras.Model.predict`.

        Returns:
          An array `[N]`.

        Raises:
          TypeError, ValueError: if the data are not what they must be, or a result is NaN.
        """
        call = bound_arguments(super().predict, args, kwargs)
        _check_numbers(call)
        x = self._prediction_data(call.get("x"))
        data = data_lib.Data(*x) if isinstance(x, tuple) else data_lib.Data(x)
        exact = self._exact(data, call)
        call["x"] = x if exact is data else exact.x
        predicted = self._with_clear_errors(super().predict, call)
        self._refuse_nan(self._predictions, predicted)
        return predicted

    @signature_of(keras.Model.train_on_batch)
    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Takes one step of training on arrays of one batch.

        Args:
          x: events `[N, *event_shape]`, or the contexts of a conditional model.
          y: events of a conditional model. Default: `None`.
          sample_weight: weights of the rows `[N]`; not of a GAN. Default: 1 each.
          return_dict: whether to return a dictionary by name. Default: `False`.
          **kwargs: further arguments of `keras.Model.train_on_batch`.

        Returns:
          Loss and metrics so far.
        """
        call = bound_arguments(super().train_on_batch, args, kwargs)
        data = self._batch_data(call)
        if self.compiled:
            data = self._initialize(data, data_lib.rows_of(data.x))
            self._build_optimizers()
        call.update(vars(data))
        results = self._with_clear_errors(super().train_on_batch, call)
        self._refuse_nan("loss and metrics", keras.tree.flatten(results))
        return results

    @signature_of(keras.Model.test_on_batch)
    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Returns loss and metrics on arrays of one batch.

        Args:
          x: events `[N, *event_shape]`, or the contexts of a conditional model.
          y: events of a conditional model. Default: `None`.
          sample_weight: weights of the rows `[N]`; not of a GAN. Default: 1 each.
          return_dict: whether to return a dictionary by name. Default: `False`.
        """
        call = bound_arguments(super().test_on_batch, args, kwargs)
        call.update(vars(self._batch_data(call)))
        return super().test_on_batch(**call)

    @signature_of(keras.Model.predict_on_batch)
    def predict_on_batch(self, x: Any) -> Any:
        """Returns predictions for the arrays of one batch, as `predict` does.

        Args:
          x: events `[N, *event_shape]`, or a pair `(c, x)` of contexts and events.
        """
        x = self._prediction_data(x)
        rows = len(keras.tree.flatten(x)[0])
        # Keras gives all rows to each replica and returns the outputs of all replicas.
        return keras.tree.map_structure(lambda made: made[:rows], super().predict_on_batch(x))

    def adapt(self, x: Any, y: Any = None, *, sample_weight: Any = None) -> None:
        """Sets the scale of the data: mean and standard deviation of each column.

        They become a `gx.bijectors.Standardize` inside the model, as `keras.layers.Normalization`
        is for inputs: its networks see data of mean 0 and standard deviation 1, while log-densities
        and samples stay in the data's own units. Columns are the entries of the last axis. One that
        does not vary keeps the scale 1; positive data, as of a gamma distribution, are scaled and
        not shifted.

        Call it before `fit`. A second call replaces the scale of the first.

        Args:
          x: data as `fit` takes them: an array, a frame, or a dataset or generator of batches;
            contexts, of a conditional model.
          y: events, of a conditional model.
          sample_weight: weights of the rows `[N]`. Default: 1 each.

        Raises:
          TypeError, ValueError: if the data are not such as `fit` takes, or the values of the
            distribution are discrete or within bounds, so that their scale is fixed.
        """
        data = self._training_data({"x": x, "y": y, "sample_weight": sample_weight})
        moments = self._with_clear_errors(self._column_moments, {"data": data})
        if not moments.seen:
            raise ValueError(data_lib.EMPTY)
        with self.distribute_strategy.scope():
            self._adapt(moments)
        # Functions that were traced before do not use the scale.
        self.train_function = self.test_function = self.predict_function = None

    def _column_moments(self, data: data_lib.Data) -> ColumnMoments:
        values = self._adaptable_values()
        moments = ColumnMoments()
        for first, second, weights in data_lib.batches(data, _ROWS):
            _, events = self._check.batch(first, self._target(second), weights)
            scaled = values(self.prepared(events, training=False))
            moments.update(scaled.numpy(), None if weights is None else np.asarray(weights))
        return moments

    def _adaptable_values(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns a function from prepared events to the values whose scale is learned."""
        raise NotImplementedError(
            "`adapt` puts the scale of data into a density, which this model has not: standardise "
            f"the data before `fit`. Received: {type(self).__name__}"
        )

    def _adapt(self, moments: ColumnMoments) -> None:
        """Sets the scale of the data to their moments."""

    def sample(self, n: int, seed: Any = None, *, conditional_input: Any = None) -> tf.Tensor:
        """Draws samples.

        Args:
          n: how many.
          seed: a pair of integers, stateless; an integer s means `[0, s]`. Default: a new seed.
          conditional_input: contexts `[N, *conditional_event_shape]` of a conditional model, or a
            structure of them.

        Returns:
          Samples `[n, *event_shape]`, or `[n, N, *event_shape]` of a conditional model.

        Raises:
          TypeError: if `n` is not an integer or `seed` no pair of them.
          ValueError: if `conditional_input` is missing or not wanted.
        """
        n = checks.positive_int("n", n)
        seed = noise.call_seed(seed)
        self._meet((conditional_input,))
        return self._samples(n, seed, self._checked_context(conditional_input))

    @abc.abstractmethod
    def _samples(self, n: int, seed: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        """Returns samples of checked arguments."""

    def _checked(self, x: Any, conditional_input: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns data, prepared, and a context, if any, after checking both."""
        if data_lib.is_stream(x):
            expected = "an array: `predict` and `evaluate` take datasets and generators"
            raise TypeError(checks.message("x", expected, type(x)))
        context = self._checked_context(conditional_input)
        data = self._check.prediction(x if context is None else (context, x))
        x = data if context is None else data[1]
        return self.prepared(x, training=False), context

    def _checked_context(self, conditional_input: Any) -> Any:
        if self._check.conditional != (conditional_input is not None):
            expected = "given" if self._check.conditional else "None"
            raise ValueError(checks.message("conditional_input", expected, conditional_input))
        if conditional_input is None:
            return None
        shapes = self.conditional_event_shape
        context = context_shapes.cast(shapes, conditional_input, self.variable_dtype)
        for part in tf.nest.flatten(context):
            if tf.executing_eagerly() and hasattr(part, "numpy"):
                checks.finite("conditional_input", part.numpy())
        return context_shapes.checked_context(shapes, context)

    def prepared(self, x: Any, *, training: bool) -> tf.Tensor:
        """Returns preprocessed data, the input of the networks."""
        del training
        return tf.cast(x, self.variable_dtype)

    def _refuse_nan(self, what: str, values: Any) -> None:
        number = np.count_nonzero(np.isnan(np.asarray(values, float)))
        if number:
            raise ValueError(
                f"`x` must have {what} that are numbers. Received: {number} NaN: x is too far off "
                f"for the dtype policy {self.dtype_policy.name}, or the weights are spoiled"
            )

    def _exact(self, data: data_lib.Data, call: dict[str, Any]) -> data_lib.Data:
        """Prevents Keras from rounding float64 arrays to its float type."""
        if not self._check.loses_digits(data):
            return data
        return data_lib.batched(data, call.pop("batch_size", None) or 32, shuffle=False)

    def _training_data(self, call: dict[str, Any]) -> data_lib.Data:
        x, y = call.get("x"), call.get("y")
        self._meet(x if y is None else (x, y))
        self._check_weights(call.get("sample_weight"))
        return self._check.training(x, y, call.get("sample_weight"))

    def _batch_data(self, call: dict[str, Any]) -> data_lib.Data:
        """Checks the arrays of one batch, whose weights are used as they are."""
        data = self._training_data(call)
        if data.sample_weight is not None:
            data_lib.check_weight_batch(np.asarray(data.sample_weight))
        return data

    def _check_weights(self, sample_weight: Any) -> None:
        if sample_weight is not None and not self._weighs_rows:
            expected = "None: in a game every row counts as much"
            raise ValueError(checks.message("sample_weight", expected, type(sample_weight)))

    def _prediction_data(self, x: Any) -> Any:
        self._meet(x)
        return self._check.prediction(x)

    def _validation_data(self, validation_data: Any) -> Any:
        try:
            data = self._check.training(*keras.utils.unpack_x_y_sample_weight(validation_data))
            data = data_lib.of_mean_one(data)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"`validation_data` must be such as `fit` takes. {error}") from error
        if self._check.loses_digits(data):
            data = data_lib.batched(data, 32, shuffle=False)
        return data.parts

    def _meet(self, data: Any) -> None:
        """Infers shapes from the first batch. Does nothing by default."""

    def _initialize(self, data: data_lib.Data, batch_size: int) -> data_lib.Data:
        """Runs data-dependent initialisation on the first batch; returns the data, complete."""
        del batch_size
        return data

    def _look_at(self, data: data_lib.Data, batch_size: int) -> data_lib.Data:
        """Warns if training on data like the first batch would fail without an error.

        Returns the data with nothing of it lost.
        """
        if not self._has_density or isinstance(data.x, tf.distribute.DistributedDataset):
            return data
        data, (x, y) = data_lib.first_batch(data, _ROWS)
        context, events = self._check.batch(x, self._target(y), None)
        prepared = self.prepared(events, training=False)
        if self.preprocessing is None:
            first_look.warn_of_lattices(first_look.as_array(events))
        else:
            first_look.refuse_change_of_scale(
                self.preprocessing, first_look.as_array(events), prepared.numpy()
            )
        if int(self._step) == 0:
            apart = slice(None, None, max(1, len(prepared) // batch_size))
            residuals = self._residuals(prepared[apart], data_lib.taken(context, apart))
            if residuals is not None:
                first_look.warn_of_distance(prepared[apart].numpy(), residuals.numpy())
        return data

    def _target(self, y: Any) -> Any:
        """Returns the events of a conditional model; an unconditional one ignores targets."""
        return y if self._check.conditional else None

    @property
    def _has_density(self) -> bool:
        """Whether the model has a density of continuous data."""
        return False

    def _residuals(self, x: tf.Tensor, context: Any) -> tf.Tensor | None:
        """Returns prepared events in standard deviations from the mean, `None` if not known."""
        del x, context
        return None

    def _build_optimizers(self) -> None:
        """Builds the optimizers before the first step, which would be traced twice otherwise."""
        optimizers = self._optimizers()
        self._check_scope(optimizers.values())
        if not all(network.built for network in self._networks):
            return
        with self.distribute_strategy.scope():
            for name, variables in self._to_train().items():
                if variables and not optimizers[name].built:
                    optimizers[name].build(variables)

    def _to_train(self) -> dict[str, list[keras.Variable]]:
        """Returns the trainable variables of each optimizer, by its argument name in `compile`."""
        return {"optimizer": self.trainable_variables}

    def _check_seen(self, used: Sequence[tf.Variable], optimizer: Any) -> None:
        held = tracking.tf_variables(self) | tracking.own_variables(optimizer)
        hidden = [v for v in used if v.trainable and id(v) not in held]
        if hidden:
            raise ValueError(
                f"{self._parts} must hold variables where TFP can see them, as arguments or "
                "attributes, for `fit` to train them. Received: a loss that uses "
                f"{sorted(v.name for v in hidden)}, hidden in a closure or made too late"
            )

    def _check_trainable(self) -> None:
        if not self.trainable_variables:
            raise ValueError(
                f"{self._parts} must have a trainable variable for `fit`. Received: "
                f"{len(self.variables)} variables in Keras layers and on their own, none of them "
                "trainable. A network in a closure is hidden: hand it over as an argument"
            )

    def _with_clear_errors(self, method: Callable, call: dict[str, Any]) -> Any:
        self._check.failures.clear()
        try:
            return method(**call)
        except tf.errors.InvalidArgumentError as error:
            if self._check.failures:
                raise self._check.failures[0] from error
            raise data_lib.clear_error(error, self._loss_name) from error


def checked_layer(preprocessing: Any, *, rescales: bool) -> keras.layers.Layer | None:
    """Returns the preprocessing layer after checking it; `None` for none.

    Args:
      preprocessing: the layer.
      rescales: whether it may change the scale of the data, as for discrete ones.
    """
    if preprocessing is None:
        return None
    if not isinstance(preprocessing, keras.layers.Layer):
        raise TypeError(checks.message("preprocessing", "a Keras layer, or None", preprocessing))
    if not rescales:
        first_look.refuse_rescaling(hosts.layers(preprocessing))
    return preprocessing


def refuse_losses(loss: Any, further: dict[str, Any], expected: str) -> None:
    """Raises `ValueError` if `compile` is given a loss besides the model's own."""
    if loss is not None:
        raise ValueError(checks.message("loss", f"None: {expected}", loss))
    if further.get("loss_weights") is not None:
        raise ValueError(
            checks.message("loss_weights", f"None: {expected}", further["loss_weights"])
        )


def require_optimizer(name: str, optimizer: Any) -> None:
    """Raises `ValueError` if `compile` is not given an optimizer that Keras knows."""
    if optimizer is None:
        raise ValueError(checks.message(name, "a Keras optimizer", None))
    try:
        keras.optimizers.get(optimizer)
    except (KeyError, TypeError, ValueError) as error:
        known = [known.lower() for known in dir(keras.optimizers) if known[0].isupper()]
        near = checks.near_matches(optimizer.lower(), known) if isinstance(optimizer, str) else ""
        hint = f" (did you mean {near}?)" if near else ""
        expected = f"a Keras optimizer, or the name of one{hint}"
        raise ValueError(checks.message(name, expected, optimizer)) from error


def _check_numbers(call: dict[str, Any]) -> None:
    """Checks the numeric arguments of `fit`, `evaluate` and `predict`."""
    for name in ("batch_size", "validation_batch_size", "steps_per_epoch"):
        checks.optional_int(name, call.get(name))
    checks.positive_int("epochs", call.get("epochs", 1), minimum=0)
    if call.get("validation_split") is not None:
        checks.number("validation_split", call["validation_split"], "in (0, 1)", lambda n: True)


def _checked_callbacks(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Returns callbacks as a list, backups last, so that these save the effects of the others."""
    several = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
    given = [callback for callback in several if callback is not None]
    for callback in given:
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(checks.message("callbacks", "Keras callbacks", callback))
    return sorted(given, key=lambda callback: getattr(callback, "runs_last", False))
