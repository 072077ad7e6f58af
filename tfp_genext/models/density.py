"""Maximum likelihood with Keras for any TFP distribution."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext import checks, flows, numerics, serving, tracking
from tfp_genext.bijectors import act_norm
from tfp_genext.models import data as data_lib
from tfp_genext.models import losses
from tfp_genext.models.whole import WholeModel, bound_arguments


@keras.saving.register_keras_serializable(package="tfp_genext")
class DensityModel(WholeModel):
    """A Keras model that fits a TFP distribution by maximum likelihood.

        call      log p(x)                                       or log p(x | c)
        loss      sum_i(w_i * -log p(x_i)) / sum_i(w_i)          plus the layers' own losses

    Any `tfd.Distribution` will do, ours or TFP's: its Keras layers and `tf.Variable`s become the
    model's weights. A flow with `conditional_event_shape` makes the model conditional: then every
    call takes contexts before events, `fit(c, x)`, `evaluate(c, x)`, `predict((c, x))`.

    Metrics are `nll`, in nats, the weighted mean over all rows, and on request `bits_per_dim`.
    Keras averages `loss` over batches: with weights, `val_nll` is the one to monitor, to which
    `EarlyStopping` wants `mode="min"` said. User metrics are called with the events as `y_true` and
    the log-densities as `y_pred`.

    `save` writes the whole model to a `.keras` file, from which `keras.saving.load_model` makes it
    again once `tfp_genext` is imported; it holds no functions and no classes of the user's own.

    Args:
      distribution: of empty batch shape and known event shape, with at least one trainable variable
        to be fitted.
      preprocessing: a Keras layer that every event goes through before the density, called with
        `training`, such as `gx.layers.Dequantize` for images of whole numbers; its noise belongs to
        the model, and `model.distribution` is the density of what it returns. Default: none.
      bits_per_dim: whether to report bits per dimension too, for integer-valued data such as
        images. Default: `False`.
      conditional_event_shape: shape of one context event, where the networks do not say it
        themselves. Default: read from the distribution.
      **kwargs: further arguments of `keras.Model`, such as `name`.

    Raises:
      TypeError: where `distribution` is no single-part `tfd.Distribution`, or `preprocessing` no
        Keras layer.
      ValueError: where its shapes do not serve; in `fit`, where it has no trainable variable, and
        for data of another shape or with NaN or infinite entries.

    Example:

    ```python
    import keras
    import numpy as np
    import tfp_genext as gx

    x = np.random.default_rng(0).normal(5.0, 3.0, [256, 2]).astype("float32")
    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[16], act_norm=True)
    model = gx.models.DensityModel(flow)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    model.fit(x, epochs=1, verbose=0)
    assert model.predict(x, verbose=0).shape == (256,)
    assert model.sample(10, seed=[1, 2]).shape == [10, 2]
    ```
    """

    def __init__(
        self,
        distribution: tfd.Distribution,
        *,
        preprocessing: keras.layers.Layer | None = None,
        bits_per_dim: bool = False,
        conditional_event_shape: tuple[int, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        serving.check_servable(distribution)
        super().__init__(autocast=False, **kwargs)
        self._distribution = distribution
        self._networks = tracking.networks(distribution)
        self._loose_variables: list[keras.Variable] = []
        self._check = data_lib.DataCheck(
            tuple(distribution.event_shape.as_list()),
            None if preprocessing is not None else distribution.dtype,
            _context_shape(distribution, conditional_event_shape),
            getattr(preprocessing, "check_values", None),
            getattr(preprocessing, "assertions", None),
        )
        self.preprocessing = _checked_layer(preprocessing)
        self._build_networks()
        self._loose_variables = tracking.loose_variables(distribution)
        self._given_event_shape = conditional_event_shape
        self._nll = keras.metrics.Mean(name="nll")
        self._bits = keras.metrics.Mean(name="bits_per_dim") if bits_per_dim else None
        self.built = True

    @property
    def distribution(self) -> tfd.Distribution:
        """The distribution that is fitted; it shares its variables with the model."""
        return self._distribution

    @property
    def conditional_event_shape(self) -> tuple[int, ...] | None:
        """Shape of one context event; `None` for an unconditional model."""
        return self._check.conditional_event_shape

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        """Returns log-densities `[N]`, in nats, of events, or of a pair of contexts and events."""
        context, x = self._check.batch(inputs, None, None)
        # Replicas handed the very same tensor would share TFP's cached results.
        x = tf.identity(self._prepared(x, training=bool(training)))
        if context is not None:
            same = "`conditional_input` and `x` must have as many rows"
            tf.debugging.assert_equal(tf.shape(context)[0], tf.shape(x)[0], same)
            context = tf.identity(context)
        return self.distribution.log_prob(x, **flows.bijector_kwargs(self.distribution, context))

    def _prepared(self, x: Any, *, training: bool) -> tf.Tensor:
        """Returns events as the distribution takes them."""
        if self.preprocessing is not None:
            x = self.preprocessing(x, training=training)
        return tf.cast(x, self.distribution.dtype)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> keras.KerasTensor:
        del training
        batch = keras.tree.flatten(inputs)[0].shape[0]
        return keras.KerasTensor((batch,), dtype=self.distribution.dtype.name)

    def train_step(self, data: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            logs = super().train_step(self._joined(data))
        self._check_seen(tape.watched_variables())
        return logs

    def test_step(self, data: Any) -> dict[str, Any]:
        return super().test_step(self._joined(data))

    def predict_step(self, data: Any) -> tf.Tensor:
        return super().predict_step(self._joined(data))

    def _joined(self, data: Any) -> tuple[Any, None, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if not self._check.conditional:
            # A target beside weights is the one that `DataCheck` made for Keras' sake.
            y = None if sample_weight is not None else y
        context, x = self._check.batch(x, y, sample_weight)
        return (x if context is None else (context, x)), None, sample_weight

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Returns the weighted mean negative log-likelihood in nats, plus the layers' losses."""
        del x, y
        if training:
            self._check_trainable()
        loss = losses.weighted_mean(-y_pred, sample_weight)
        if training:
            loss = losses.required_finite(loss)
        loss += tf.add_n([tf.zeros_like(loss), *(tf.cast(e, loss.dtype) for e in self.losses)])
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        self._nll.update_state(-y_pred, sample_weight)
        if self._bits is not None:
            bits = numerics.bits_per_dim(-y_pred, self._check.event_shape)
            self._bits.update_state(bits, sample_weight)
        events = x[1] if self._check.conditional else x
        return super().compute_metrics(x, events, y_pred, sample_weight)

    def compile(self, optimizer: Any = "adam", loss: Any = None, **kwargs: Any) -> None:
        """Configures training as in Keras; the loss is the negative log-likelihood.

        Args:
          optimizer: Keras optimizer. Default: `"adam"`.
          loss: must be `None`.
          **kwargs: further arguments of `keras.Model.compile`.

        Raises:
          ValueError: where a loss is given.
        """
        if loss is not None:
            raise ValueError(checks.message("loss", "None: the loss is the NLL", loss))
        if kwargs.get("loss_weights") is not None:
            expected = "None: there is one loss; weights of rows are `sample_weight` of `fit`"
            raise ValueError(checks.message("loss_weights", expected, kwargs["loss_weights"]))
        super().compile(optimizer=optimizer, **kwargs)

    @functools.wraps(keras.Model.fit)
    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        call = bound_arguments(super().fit, args, kwargs)
        _check_batch_size(call)
        if call.get("class_weight") is not None:
            raise ValueError(checks.message("class_weight", "None", call["class_weight"]))
        data = self._training_data(call)
        if call.get("validation_data") is not None:
            call["validation_data"] = self._validation_data(call["validation_data"])
        elif call.get("validation_split"):
            data, validation = data_lib.split(data, call.pop("validation_split"))
            call["validation_data"] = validation.parts
        batch_size = call.get("batch_size") or 32
        if self.compiled:  # Keras raises where it is not.
            data = self._initialize(data, batch_size)
        if self._check.loses_digits(data):
            data = data_lib.batched(data, batch_size, shuffle=call.get("shuffle", True))
            call.pop("batch_size", None)
        call.update(vars(data))
        if data_lib.is_stream(data.x) and not isinstance(data.x, keras.utils.PyDataset):
            call.setdefault("shuffle", False)  # Keras cannot shuffle these, and warns by default.
        callbacks = call.get("callbacks")
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            own = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
            call["callbacks"] = [*(c for c in own if c is not None), losses.FiniteLoss()]
        history = _with_clear_errors(super().fit, call)
        if history.epoch and not history.history:
            raise ValueError(data_lib.EMPTY)
        return history

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("_use_cached_eval_dataset"):  # Keras, from within `fit`: checked already.
            return _with_clear_errors(
                super().evaluate, bound_arguments(super().evaluate, args, kwargs)
            )
        call = bound_arguments(super().evaluate, args, kwargs)
        _check_batch_size(call)
        call.update(vars(self._exact(self._training_data(call), call)))
        results = _with_clear_errors(super().evaluate, call)
        self._refuse_nan("loss and metrics", keras.tree.flatten(results))
        if isinstance(results, (list, dict)) and not results:
            raise ValueError(data_lib.EMPTY)
        return results

    @functools.wraps(keras.Model.predict)
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        call = bound_arguments(super().predict, args, kwargs)
        _check_batch_size(call)
        x = self._check.prediction(call.get("x"))
        data = data_lib.Data(*x) if isinstance(x, tuple) else data_lib.Data(x)
        exact = self._exact(data, call)
        call["x"] = x if exact is data else exact.x
        log_prob = _with_clear_errors(super().predict, call)
        self._refuse_nan("log-densities", log_prob)
        return log_prob

    @functools.wraps(keras.Model.train_on_batch)
    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        call = bound_arguments(super().train_on_batch, args, kwargs)
        data = self._training_data(call)
        if self.compiled:
            data = self._initialize(data, len(data.x))
        call.update(vars(data))
        return super().train_on_batch(**call)

    @functools.wraps(keras.Model.test_on_batch)
    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        call = bound_arguments(super().test_on_batch, args, kwargs)
        call.update(vars(self._training_data(call)))
        return super().test_on_batch(**call)

    @functools.wraps(keras.Model.predict_on_batch)
    def predict_on_batch(self, x: Any) -> Any:
        return super().predict_on_batch(self._check.prediction(x))

    def sample(self, n: int, seed: Any = None, *, conditional_input: Any = None) -> tf.Tensor:
        """Draws samples.

        Args:
          n: how many.
          seed: a pair of integers, stateless; an integer s means `[0, s]`. Default: a new seed.
          conditional_input: contexts `[N, *conditional_event_shape]` of a conditional model.

        Returns:
          Samples `[n, *event_shape]`, or `[n, N, *event_shape]` of a conditional model.

        Raises:
          TypeError: where `n` is no integer or `seed` no pair of them.
          ValueError: where `conditional_input` is missing or not wanted.
        """
        n = checks.positive_int("n", n)
        seed = checks.seed("seed", seed)
        if self._check.conditional != (conditional_input is not None):
            expected = "given" if self._check.conditional else "None"
            raise ValueError(checks.message("conditional_input", expected, conditional_input))
        if conditional_input is None:
            return self.distribution.sample(n, seed=seed)
        return flows.condition(self.distribution, conditional_input).sample(n, seed=seed)

    def export(
        self,
        filepath: str | os.PathLike,
        format: str = "tf_saved_model",
        *,
        overwrite: bool = False,
        jit_compile: bool | None = None,
        verbose: bool | None = None,
    ) -> None:
        """Writes the distribution as a versioned SavedModel; see `gx.serving.export`.

        Args:
          filepath: directory to write; its last part is an integer version, as in `"flow/1"`.
          format: must be `"tf_saved_model"`.
          overwrite: whether to replace an existing directory. Default: `False`.
          jit_compile: whether the signatures are compiled by XLA. Default: not.
          verbose: whether to print where the SavedModel was written. Default: `True`.

        Raises:
          ValueError: for another format, and as in `gx.serving.export`.
          FileExistsError: where the directory exists and `overwrite` is false.
        """
        if format != "tf_saved_model":
            raise ValueError(checks.message("format", "'tf_saved_model'", format))
        serving.export(
            self.distribution,
            filepath,
            overwrite=overwrite,
            jit_compile=jit_compile,
            conditional_event_shape=self._check.conditional_event_shape,
        )
        if verbose is not False:
            print(f"SavedModel written to {os.fspath(filepath)}")

    def _arguments_for_file(self) -> dict[str, Any]:
        return {
            "bits_per_dim": self._bits is not None,
            "conditional_event_shape": self._given_event_shape,
        }

    def _tfp_arguments_for_file(self) -> dict[str, Any]:
        return {"distribution": self.distribution, "preprocessing": self.preprocessing}

    def _refuse_nan(self, what: str, values: Any) -> None:
        number = np.count_nonzero(np.isnan(np.asarray(values, float)))
        if number:
            raise ValueError(
                f"`x` must have {what} that are numbers. Received: {number} NaN: x is too far off "
                f"for the dtype policy {self.dtype_policy.name}, or the weights are spoiled"
            )

    def _exact(self, data: data_lib.Data, call: dict[str, Any]) -> data_lib.Data:
        """Keeps Keras from rounding arrays of float64 to its own float type."""
        if not self._check.loses_digits(data):
            return data
        return data_lib.batched(data, call.pop("batch_size", None) or 32, shuffle=False)

    def _training_data(self, call: dict[str, Any]) -> data_lib.Data:
        return self._check.training(call.get("x"), call.get("y"), call.get("sample_weight"))

    def _validation_data(self, validation_data: Any) -> Any:
        data = self._check.training(*keras.utils.unpack_x_y_sample_weight(validation_data))
        if self._check.loses_digits(data):
            data = data_lib.batched(data, 32, shuffle=False)
        return data.parts

    def _build_networks(self) -> None:
        """Makes the variables of networks that wait for their first call."""
        parts = [layer for network in self._networks for layer in tracking.layers(network)]
        if all(layer.built for layer in parts):
            return
        specs = [tf.TensorSpec([None, *self._check.event_shape], self.distribution.dtype)]
        if self._check.conditional_event_shape is not None:
            specs.append(tf.TensorSpec([None, *self._check.conditional_event_shape]))

        def log_prob(x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
            kwargs = flows.bijector_kwargs(self.distribution, context)
            return self.distribution.log_prob(x, **kwargs)

        tf.function(log_prob, autograph=False).get_concrete_function(*specs)

    def _initialize(self, data: data_lib.Data, batch_size: int) -> data_lib.Data:
        if not act_norm.uninitialized(self.distribution):
            return data
        data, (x, y) = data_lib.first_batch(data, batch_size)
        if not self._check.conditional:
            y = None
        context, events = self._check.batch(x, y, None)
        events = self._prepared(events, training=False)
        flows.initialize(self.distribution, events, conditional_input=context)
        return data

    def _check_seen(self, used: Sequence[tf.Variable]) -> None:
        held = tracking.tf_variables(self) | tracking.own_variables(self.optimizer)
        hidden = [v for v in used if v.trainable and id(v) not in held]
        if hidden:
            raise ValueError(
                "`distribution` must hold its variables where TFP can see them, as arguments or "
                "attributes, for `fit` to train them. Received: a density that uses "
                f"{sorted(v.name for v in hidden)}, hidden in a closure or made too late"
            )

    def _check_trainable(self) -> None:
        if not self.trainable_variables:
            raise ValueError(
                "`distribution` must have a trainable variable for `fit`. Received: "
                f"{self.distribution.name}, whose Keras layers and tf.Variables number "
                f"{len(self.variables)}, none of them trainable. A network in a closure is hidden:"
                " hand it over as an argument"
            )


def _checked_layer(preprocessing: Any) -> keras.layers.Layer | None:
    if preprocessing is not None and not isinstance(preprocessing, keras.layers.Layer):
        raise TypeError(checks.message("preprocessing", "a Keras layer, or None", preprocessing))
    return preprocessing


def _context_shape(
    distribution: tfd.Distribution, given: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    known = flows.conditional_event_shape(distribution)
    if given is None:
        return known
    given = checks.shape_tuple("conditional_event_shape", given)
    flows.bijector_kwargs(distribution, tf.zeros(given))  # Raises where nobody takes it.
    if known not in (None, given):
        expected = f"{known}, as the networks of the distribution have it"
        raise ValueError(checks.message("conditional_event_shape", expected, given))
    return given


def _check_batch_size(call: dict[str, Any]) -> None:
    if call.get("batch_size") is not None:
        checks.positive_int("batch_size", call["batch_size"])


def _with_clear_errors(method: Callable, call: dict[str, Any]) -> Any:
    try:
        return method(**call)
    except tf.errors.InvalidArgumentError as error:
        raise data_lib.clear_error(error) from error
