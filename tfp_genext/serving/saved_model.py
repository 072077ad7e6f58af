"""Export of SavedModels with named signatures."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfp_genext.core import checks, context_shapes, hosts, tracking
from tfp_genext.distributions import Conditional, Head, binding, contexts
from tfp_genext.saving import files
from tfp_genext.serving import model_card
from tfp_genext.serving import warmup as warmup_lib
from tfp_genext.serving.signatures import PROBS, DensityFunctions, Functions


def export(
    distribution: tfd.Distribution,
    path: str | os.PathLike,
    *,
    overwrite: bool = False,
    jit_compile: bool | None = None,
    warmup: warmup_lib.Warmup = (),
    conditional_event_shape: Any = None,
    preprocessing: keras.layers.Layer | None = None,
    card: Mapping[str, Any] | None = None,
) -> None:
    """Writes a distribution as a versioned SavedModel for TensorFlow Serving.

    The SavedModel has these signatures, for any batch size N. If the distribution is conditional,
    they also have the input `conditional_input`, `[N, *conditional_event_shape]`:

        log_prob              x [N, ...]                      -> log_prob [N], in nats
        serving_default       the same
        sample                num_samples int32 [],
                              seed int32 [2]                  -> samples [num_samples, ...]
        sample_and_log_prob   num_samples, seed               -> samples, log_prob
        sample_rows           seed int32 [N, 2]               -> samples [N, ...]
        forward               z [N, ...]                      -> x, log_prob    of a flow only
        inverse               x [N, ...]                      -> z, log_prob    of a flow only
        log_prob_and_gradient x [N, ...]                      -> log_prob, gradient [N, ...]
        mean                  conditional_input               -> mean [N, ...]
        stddev                conditional_input               -> stddev [N, ...]
        quantile              probs [Q] in [0, 1]             -> quantiles [N, Q, ...]

    The last four exist only if they can be computed. The gradient is with respect to x and exists
    for continuous distributions. Mean and standard deviation exist for conditional distributions
    such as a `gx.distributions.Conditional`. Quantiles are those of each entry, and `[Q, ...]` for
    unconditional distributions. There are none of the last three if samples pass through the
    inverse of a preprocessing layer.

    Samples of a conditional distribution are `[num_samples, N, ...]`. A row of `sample_rows`
    depends only on its seed and equals `distribution.sample(seed=row)`. The same seed gives the
    same samples in every process. No signature changes a variable. Inputs of other shapes raise an
    error.

    With `preprocessing` every x is in the units of the layer's input, and of a floating dtype. With
    `gx.layers.Dequantize` these are integers: `log_prob` and `inverse` add the layer's fixed noise,
    and raise an error for other numbers (except under XLA, which has no assertions). Samples and
    the x of `forward` are integers, computed by the layer's method `inverse`, and their `log_prob`
    is that of the integers. A layer without a method `inverse` is assumed to keep the units, and
    samples are those of the distribution.

    The model card `assets.extra/model_card.json` holds the versions of this package, TensorFlow,
    TFP, Keras, NumPy and Python; names, shapes and dtypes of events, contexts and all signatures;
    the preprocessing; and the metrics of an evaluated model. Servers and loaders ignore it.

    Args:
      distribution: a distribution with batch shape `[]` and a known event shape.
      path: directory to write; its last part must be an integer version, as in `"flow/1"`.
      overwrite: whether to replace an existing directory. Default: `False`.
      jit_compile: whether XLA compiles the signatures. Default: `False`.
      warmup: batch sizes of requests that a server runs before it serves the version, for all
        signatures, or for some by name as in `{"log_prob": [1, 32]}`. They are also run once during
        the export. Needs the extra `serving`. Default: no requests.
      conditional_event_shape: shape of one context event. Default: that of the networks, which must
        then have one.
      preprocessing: a Keras layer that is applied to every x before the density, as in
        `gx.models.DensityModel`. Default: none.
      card: further entries of the model card, as JSON values, such as
        `{"description": "...", "license": "..."}`. Default: none.

    Raises:
      TypeError: if `distribution` is not a `tfd.Distribution`, or a joint one.
      ValueError: if its batch shape is not `[]`, its event shape is unknown, the path has no
        version, or a variable is hidden from TFP in a closure.
      FileExistsError: if the directory exists and `overwrite` is false.
      ImportError: if `warmup` is given and tensorflow-serving-api is not installed.

    Example:

    ```python
    import tempfile
    import tensorflow as tf
    import tfp_genext as gx

    flow = gx.flows.real_nvp([2], num_layers=2, hidden_units=[8])
    with tempfile.TemporaryDirectory() as folder:
        gx.serving.export(flow, f"{folder}/flow/1")
        loaded = tf.saved_model.load(f"{folder}/flow/1")
        answer = loaded.signatures["log_prob"](x=tf.zeros([3, 2]))
    assert answer["log_prob"].shape == [3]
    ```
    """
    check_servable(distribution)
    further = model_card.checked(card)
    context = context_shapes.checked("conditional_event_shape", conditional_event_shape)
    if context is None:
        context = contexts.of(distribution).context_shape
    functions = DensityFunctions(distribution, context, preprocessing).by_name()
    write(
        path,
        functions,
        [distribution] if preprocessing is None else [distribution, preprocessing],
        overwrite=overwrite,
        jit_compile=jit_compile,
        warmup=warmup,
        card={
            "kind": "distribution",
            "name": getattr(distribution, "name", None),
            "preprocessing": model_card.preprocessing_entry(preprocessing),
            **further,
        },
    )


def write(
    path: str | os.PathLike,
    functions: Functions,
    holders: Sequence[Any],
    *,
    overwrite: bool,
    jit_compile: bool | None,
    warmup: warmup_lib.Warmup,
    card: Mapping[str, Any],
) -> None:
    """Writes functions and the variables they use as a versioned SavedModel.

    Args:
      path: directory to write; its last part must be an integer version.
      functions: functions of the signatures, by name.
      holders: distributions and Keras layers whose variables the functions use.
      overwrite: whether to replace an existing directory.
      jit_compile: whether XLA compiles the signatures.
      warmup: batch sizes of warm-up requests.
      card: entries of the model card besides versions, shapes and signatures.
    """
    path = check_path("path", path, overwrite=overwrite)
    signatures = traced(functions, jit_compile)
    sizes = warmup_lib.batch_sizes(warmup, signatures)
    module = tf.Module()
    # Each variable once and nothing else: other objects that Keras layers track are written twice
    # and restored once by the C++ loader. After tracing, because it may create variables.
    held = [variable for holder in holders for variable in tracking.variables(holder)]
    module.served_variables = list({id(variable): variable for variable in held}.values())
    with files.replacing_directory(path, overwrite=overwrite) as written:
        _save(module, written, signatures)
        model_card.write(written, signatures, card)
        warmup_lib.write(written, signatures, sizes)


def check_path(name: str, path: Any, *, overwrite: bool) -> str:
    """Returns the absolute path of a versioned directory to write.

    Raises:
      TypeError: if it is not a path.
      ValueError: if it has no version.
      FileExistsError: if it exists and `overwrite` is false.
    """
    path = os.path.abspath(checks.path(name, path))
    checks.versioned_path(name, path)
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(
            f"`{name}` must not exist, or `overwrite=True` be given. "
            f"Received: {name}={path!r}, which exists"
        )
    return path


def traced(functions: Functions, jit_compile: bool | None) -> dict[str, Callable]:
    """Returns functions traced on their specs, by name; each function is traced once.

    Functions that raise `NotImplementedError` are left out, such as a mean that TFP cannot compute.
    """
    compiled: dict[Callable, Callable] = {}
    for function, specs in functions.values():
        if function not in compiled:
            with contextlib.suppress(NotImplementedError):
                compiled[function] = _traced(function, specs, jit_compile)
    return {name: compiled[f] for name, (f, _) in functions.items() if f in compiled}


def _traced(function: Callable, specs: Sequence[Any], jit_compile: bool | None) -> Callable:
    compiled = tf.function(
        _refusing_other_shapes(function, specs),
        input_signature=tf.nest.flatten(specs),
        jit_compile=jit_compile,
        autograph=False,
    )
    compiled.get_concrete_function()
    return compiled


def _refusing_other_shapes(function: Callable, specs: Sequence[Any]) -> Callable:
    """Returns a function of one tensor for each spec, which raises an error for other shapes.

    A server passes on any shape that it receives. Without the check a shape that broadcasts would
    give a wrong answer.
    """
    flat = tf.nest.flatten(specs)

    @functools.wraps(function)
    def refusing(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        hosts.release_bijectors()
        of_the_specs = [tf.ensure_shape(x, spec.shape) for x, spec in zip(inputs, flat)]
        batches = [
            x
            for x, spec in zip(of_the_specs, flat)
            if spec.shape[:1] == [None] and spec.name != PROBS
        ]
        for batch in batches[1:]:
            same = "inputs must have as many rows as each other"
            tf.debugging.assert_equal(tf.shape(batch)[0], tf.shape(batches[0])[0], same)
        return function(*tf.nest.pack_sequence_as(specs, of_the_specs))

    # TensorFlow reads the names of inputs from the signature, and does not unwrap functions.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = [inspect.Parameter(spec.name, kind) for spec in flat]
    refusing.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
    return refusing


def check_servable(distribution: Any, name: str = "distribution") -> None:
    """Raises an error for joint distributions, batch shapes, and unknown event shapes."""
    if isinstance(distribution, Conditional):
        return
    if isinstance(distribution, Head):
        expected = (
            "a tfd.Distribution: a head makes one of parameters, as in "
            "`head(tf.zeros([head.params_size]))`"
        )
        raise TypeError(checks.message(name, expected, distribution))
    if not isinstance(distribution, tfd.Distribution):
        raise TypeError(checks.message(name, "a tfd.Distribution", distribution))
    if tf.nest.is_nested(distribution.dtype):
        raise TypeError(
            f"`{name}` must have events of a single tensor. "
            f"Received: a joint distribution of {distribution.dtype}"
        )
    if distribution.batch_shape != [] or not distribution.event_shape.is_fully_defined():
        raise ValueError(
            f"`{name}` must have batch shape [], as `tfd.Independent` gives it, and a known "
            "event shape. "
            f"Received: batch shape {distribution.batch_shape}, "
            f"event shape {distribution.event_shape}"
        )
    binding.check_no_hidden_context(name, distribution)


def _save(module: tf.Module, path: str, signatures: dict[str, Callable]) -> None:
    try:
        tf.saved_model.save(module, path, signatures=signatures)
    except AssertionError as error:
        raise ValueError(
            "`distribution` must hold its variables where TFP can see them, not in a closure: "
            "an attribute or a constructor argument. Received: a function that uses a variable "
            f"missing from `distribution.variables` ({error})"
        ) from error
