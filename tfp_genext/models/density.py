"""Maximum likelihood with Keras for any TFP distribution."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext import numerics
from tfp_genext.core import checks, context_shapes, hosts, tracking
from tfp_genext.core.column_moments import ColumnMoments
from tfp_genext.distributions import Conditional, adaptation, contexts
from tfp_genext.distributions.scale_place import new_scale, set_scale
from tfp_genext.layers.preprocessing import apply_inverse
from tfp_genext.models import data as data_lib
from tfp_genext.models import losses, network_checks
from tfp_genext.models.checked import CheckedModel, checked_layer, refuse_losses, require_optimizer
from tfp_genext.serving import saved_model


@keras.saving.register_keras_serializable(package="tfp_genext")
class DensityModel(CheckedModel):
    """A Keras model that fits a TFP distribution by maximum likelihood.

        call      log p(x)                                       or log p(x | c)
        loss      sum_i(w_i * -log p(x_i)) / N, i of N rows      plus the layers' own losses

    The distribution may be any `tfd.Distribution`, from this package or from TFP. Its Keras layers
    and `tf.Variable`s become the model's weights. A flow with `conditional_event_shape` makes the
    model conditional: every call takes contexts before events, `fit(c, x)`, `evaluate(c, x)`,
    `predict((c, x))`. A `gx.distributions.Conditional` does so too; the model is then a
    probabilistic regression.

    `adapt(x)` puts the mean and standard deviation of the data into the density, so that data of
    any scale train well. `fit` warns if its first batch is far from the mass of the untrained
    density, and if a column holds only whole numbers.

    As in Keras, the loss of a batch is divided by the number of rows, not by the sum of weights, so
    that it is unbiased for any batch size. The weights of arrays are scaled to a mean of 1 over all
    rows. Those of a dataset or generator are used unchanged.

    Metrics are `nll`, in nats, the weighted mean over all rows, and on request `bits_per_dim`. To
    monitor `val_nll`, `EarlyStopping` must be given `mode="min"`. User metrics are called with
    the events as `y_true` and the log-densities as `y_pred`.

    `save` writes the whole model to a `.keras` file, which `gx.saving.load_model` loads. The file
    holds no functions, and names classes of your own only if they are registered.

    Args:
      distribution: of empty batch shape and known event shape, with at least one trainable variable
        to be fitted; or a `gx.distributions.Conditional`.
      preprocessing: a Keras layer that is applied to every event before the density, called with
        `training`. It must keep the scale of continuous data, as `gx.layers.Dequantize` for images
        of whole numbers. `model.distribution` is the density of its outputs. If the layer has a
        method `inverse`, samples are converted by it to the units of the data. Default: none.
      bits_per_dim: whether to report bits per dimension too, for integer-valued data such as
        images. Default: `False`.
      conditional_event_shape: shape of one context event, if the networks do not say it
        themselves; or a dictionary, tuple or list of shapes, as the network of a `Conditional`
        takes them. A size of `None` may vary, as the length of sequences. Default: read from the
        distribution, or from the first data of a `Conditional` whose network is not built.
      **kwargs: further arguments of `keras.Model`, such as `name`.

    Raises:
      TypeError: if `distribution` is not a `tfd.Distribution` of a single part, or `preprocessing`
        is not a Keras layer.
      ValueError: if the shapes of the distribution are not supported. In `fit`, if there is no
        trainable variable, or if data have another shape or NaN or infinite entries.

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

    _loss_name = "the negative log-likelihood"
    _predictions = "log-densities"
    _parts = "`distribution`"

    def __init__(
        self,
        distribution: tfd.Distribution | Conditional,
        *,
        preprocessing: keras.layers.Layer | None = None,
        bits_per_dim: bool = False,
        conditional_event_shape: Any = None,
        **kwargs: Any,
    ) -> None:
        saved_model.check_servable(distribution)
        super().__init__(autocast=False, **kwargs)
        self._distribution = distribution
        self._events = contexts.of(distribution).event_spec
        self._networks = tracking.networks(distribution)
        self._loose_variables: list[keras.Variable] = []
        context = _context_shape(distribution, conditional_event_shape)
        self._awaits_contexts = context is None and isinstance(distribution, Conditional)
        # Whole numbers may have any dtype.
        any_dtype = preprocessing is not None or contexts.of(distribution).holds_whole_numbers
        self._check = data_lib.DataCheck(
            tuple(self._events.shape[1:].as_list()),
            None if any_dtype else self._events.dtype,
            () if self._awaits_contexts else context,
            getattr(preprocessing or distribution, "check_values", None),
            getattr(preprocessing, "assertions", None),
        )
        self.preprocessing = checked_layer(preprocessing, rescales=not self._has_density)
        if not self._awaits_contexts:
            self._build_networks()
        network_checks.require_built("distribution", distribution)
        self._loose_variables = tracking.loose_variables(distribution)
        self._nll = keras.metrics.Mean(name="nll")
        self._bits = keras.metrics.Mean(name="bits_per_dim") if bits_per_dim else None
        self.built = True

    @property
    def distribution(self) -> tfd.Distribution | Conditional:
        """The distribution that is fitted; it shares its variables with the model."""
        return self._distribution

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        """Returns log-densities `[N]`, in nats, of events, or of a pair of contexts and events."""
        self._meet(inputs)
        hosts.release_bijectors()
        context, x = self._check.batch(inputs, None, None)
        # Replicas with the same tensor would share results in TFP's cache.
        x = tf.identity(self.prepared(x, training=bool(training)))
        for part in tf.nest.flatten(context):
            if part is not None:
                same = "`conditional_input` and `x` must have as many rows"
                tf.debugging.assert_equal(tf.shape(part)[0], tf.shape(x)[0], same)
        context = tf.nest.map_structure(lambda c: None if c is None else tf.identity(c), context)
        if training:
            return contexts.of(self.distribution).training_log_prob(x, context, self._step)
        return contexts.of(self.distribution).log_prob(x, context)

    def log_prob(self, x: Any, *, conditional_input: Any = None) -> tf.Tensor:
        """Returns log p(x), or log p(x | c), in nats; eager, and differentiable by x.

        `predict` returns the same as an array, batch by batch.

        Args:
          x: events `[N, *event_shape]`.
          conditional_input: contexts, if the model is conditional.

        Returns:
          Log-densities `[N]`.

        Raises:
          TypeError, ValueError: for events of another shape, NaN, or a context missing or not
            wanted.

        Example:

        ```python
        import tensorflow as tf
        import tfp_genext as gx

        model = gx.models.DensityModel(gx.flows.maf([2], num_layers=1, hidden_units=[8]))
        x = tf.Variable(tf.zeros([5, 2]))
        with tf.GradientTape() as tape:
            log_prob = model.log_prob(x)
        assert log_prob.shape == [5] and tape.gradient(log_prob, x).shape == [5, 2]
        ```
        """
        self._meet((conditional_input,))
        x, context = self._checked(x, conditional_input)
        log_prob = contexts.of(self.distribution).log_prob(x, context)
        self._refuse_nan(self._predictions, log_prob)
        return log_prob

    def prepared(self, x: Any, *, training: bool) -> tf.Tensor:
        """Returns events as the distribution takes them."""
        if self.preprocessing is not None:
            x = self.preprocessing(x, training=training)
        return tf.cast(x, self._events.dtype)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> keras.KerasTensor:
        del training
        batch = keras.tree.flatten(inputs)[0].shape[0]
        return keras.KerasTensor((batch,), dtype=self._events.dtype.name)

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
        return losses.total(loss, self.losses, training=training)

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
          ValueError: if a loss is given, or no optimizer.
        """
        refuse_losses(loss, kwargs, "the loss is the NLL")
        require_optimizer("optimizer", optimizer)
        super().compile(optimizer=optimizer, **kwargs)

    @functools.cached_property
    def _has_density(self) -> bool:
        return adaptation.is_continuous(self.distribution)

    def _residuals(self, x: tf.Tensor, context: Any) -> tf.Tensor | None:
        return adaptation.residuals(contexts.of(self.distribution).bind(context), x)

    def _adaptable_values(self) -> Callable[[tf.Tensor], tf.Tensor]:
        return adaptation.scale_place(self.distribution).values

    def _adapt(self, moments: ColumnMoments) -> None:
        place = adaptation.scale_place(self.distribution)
        shifts = adaptation.can_shift(self.distribution)
        if place.present is not None:
            set_scale(place.present, moments, shifts=shifts)
            return
        scale = new_scale(moments, self._events.dtype, shifts=shifts)
        self._distribution = place.build(scale)
        variables = tracking.loose_variables(self.distribution, list(self._loose_variables))
        hosts.replace_variables(self, self._loose_variables, variables)
        self._build_networks()

    def _samples(self, n: int, seed: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        samples = contexts.of(self.distribution).bind(context).sample(n, seed=seed)
        return apply_inverse(self.preprocessing, samples)

    def _export(self, path: Any, **options: Any) -> None:
        if self._awaits_contexts:
            expected = "given, or the network built, before an export"
            raise ValueError(checks.message("conditional_event_shape", expected, None))
        saved_model.export(
            self.distribution,
            path,
            conditional_event_shape=self._check.conditional_event_shape,
            preprocessing=self.preprocessing,
            **options,
        )

    def _arguments_for_file(self) -> dict[str, Any]:
        return {
            "bits_per_dim": self._bits is not None,
            "conditional_event_shape": None
            if self._awaits_contexts
            else self._check.conditional_event_shape,
        }

    def _tfp_arguments_for_file(self) -> dict[str, Any]:
        return {"distribution": self.distribution, "preprocessing": self.preprocessing}

    def _meet(self, data: Any) -> None:
        """Builds a network whose variables depend on the shape of the first contexts."""
        if not self._awaits_contexts:
            return
        shape = data_lib.context_shape(data)
        if shape is None:
            expected = "given, or the network built: these data do not say the shape of a context"
            raise ValueError(checks.message("conditional_event_shape", expected, type(data)))
        self._check = dataclasses.replace(self._check, conditional_event_shape=shape)
        self._awaits_contexts = False
        self._build_networks()

    def _build_networks(self) -> None:
        """Builds networks that have not been called yet."""
        parts = [layer for network in self._networks for layer in hosts.layers(network)]
        if all(layer.built for layer in parts):
            return
        specs = [self._events]
        if self._check.conditional_event_shape is not None:
            shapes = self._check.conditional_event_shape
            specs.append(contexts.of(self.distribution).context_spec(shapes, tf.float32))

        log_prob = contexts.of(self.distribution).log_prob
        with self.distribute_strategy.scope():
            if isinstance(self.distribution, Conditional):
                # Eagerly, because a graph cannot create variables on several devices.
                self.distribution(tf.nest.map_structure(_zeros, specs[-1]))
            tf.function(log_prob, autograph=False).get_concrete_function(*specs)

    def _initialize(self, data: data_lib.Data, batch_size: int) -> data_lib.Data:
        if not contexts.of(self.distribution).uninitialized:
            return data
        data, (x, y) = data_lib.first_batch(data, batch_size)
        if not self._check.conditional:
            y = None
        context, events = self._check.batch(x, y, None)
        events = self.prepared(events, training=False)
        contexts.of(self.distribution).initialize(events, context)
        return data


def _zeros(spec: tf.TensorSpec) -> tf.Tensor:
    return tf.zeros([2 if size is None else size for size in spec.shape], spec.dtype)


def _context_shape(distribution: Any, given: Any) -> Any:
    known = contexts.of(distribution).context_shape
    if given is None:
        return known
    given = context_shapes.checked("conditional_event_shape", given)
    contexts.of(distribution).check_takes_context(given)
    if known is not None and not context_shapes.compatible(known, given):
        expected = f"{known}, as the networks of the distribution have it"
        raise ValueError(checks.message("conditional_event_shape", expected, given))
    return given
