"""Saving and loading of models."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import hashlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfp_genext._version import __version__
from tfp_genext.core import checks, hosts, tracking
from tfp_genext.saving import archive, files, optimizer_state
from tfp_genext.saving import config as config_checks
from tfp_genext.saving.errors import reading
from tfp_genext.saving.keras_layers import refuse_lambdas
from tfp_genext.saving.reader import decode
from tfp_genext.saving.writer import encode
from tfp_genext.serving import model_card, saved_model
from tfp_genext.serving.warmup import Warmup


def signature_of(method: Callable) -> Callable:
    """Returns a decorator that gives a method the signature of a Keras method."""
    return functools.wraps(method, assigned=(), updated=())


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    """Metrics of an `evaluate`, with a digest of the weights."""

    weights: str
    metrics: dict[str, float]


class WholeModel(keras.Model):
    """Base class of models made of TFP objects; saves are atomic.

    Subclasses list the Keras layers that their TFP objects hold as `_networks`.
    """

    _networks: Sequence[keras.Layer]
    # Version of the package that wrote the file from which the model comes.
    _written_by: Any = None
    _evaluation: _Evaluation | None = None
    # Optimizers whose state the file must hold from which the model is loaded.
    _to_restore: Sequence[str] = ()

    @abc.abstractmethod
    def _arguments_for_file(self) -> dict[str, Any]:
        """Returns the arguments of the constructor that are plain data."""

    @abc.abstractmethod
    def _tfp_arguments_for_file(self) -> dict[str, Any]:
        """Returns the arguments of the constructor that are TFP objects."""

    @signature_of(keras.Model.save)
    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves the whole model to a `.keras` file, which appears complete or not at all.

        Args:
          filepath: name of the file, which ends in `.keras`.
          overwrite: whether to replace an existing file. Default: `True`.
          **kwargs: further arguments of `keras.Model.save`.

        Raises:
          TypeError: if `filepath` is not a path.
          ValueError: if the model holds what no file can.
          FileExistsError: if the file exists and `overwrite` is false.
        """
        _written_whole(super().save, filepath, args, kwargs, suffix=".keras")

    @signature_of(keras.Model.save_weights)
    def save_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves the weights to a `.weights.h5` file, which appears complete or not at all.

        Args:
          filepath: name of the file, which ends in `.weights.h5`.
          overwrite: whether to replace an existing file. Default: `True`.
          **kwargs: further arguments of `keras.Model.save_weights`.

        Raises:
          TypeError: if `filepath` is not a path.
          FileExistsError: if the file exists and `overwrite` is false.
        """
        _written_whole(super().save_weights, filepath, args, kwargs, suffix=".weights.h5")

    @signature_of(keras.Model.load_weights)
    def load_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Loads weights from a file of `save_weights`, or of `save`.

        Args:
          filepath: name of the file, which ends in `.weights.h5` or `.keras`.
          **kwargs: further arguments of `keras.Model.load_weights`.

        Raises:
          TypeError: if `filepath` is not a path.
          FileNotFoundError: if the file does not exist.
          ValueError: if the file is damaged, holds the weights of another model or a part of the
            state of the optimizers. All weights are then as they were. A file without any such
            state loads the weights alone; Keras warns if the model has trained.
        """
        path = checks.path("filepath", filepath)
        if not os.path.exists(path):
            raise FileNotFoundError(checks.message("filepath", "a file that exists", path))
        call = bound_arguments(super().load_weights, (path, *args), kwargs)
        skipped = [id(thing) for thing in call.get("objects_to_skip") or ()]
        optimizers = {n: o for n, o in self._compiled().items() if id(o) not in skipped}
        # Without metrics: workers can read those only together, but may load alone.
        kept = [*self.weights, *hosts.seed_states(self)]
        kept += [v for optimizer in optimizers.values() for v in optimizer.variables]
        with reading(name="filepath"):
            with archive.weights(path) as file:
                if not call.get("skip_mismatch"):
                    optimizer_state.check(file, optimizers, required=False)
            with _unchanged_on_failure(kept):
                super().load_weights(**call)

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        for name, state in self._seed_states().items():
            store[name] = state

    def load_own_variables(self, store: Any) -> None:
        # Keras calls this before it loads anything else.
        if (whole := hosts.weights_archive(store)) is not None:
            whole.read(archive.WEIGHTS)  # Raises if the checksum is wrong.
        if self._to_restore:
            optimizers, self._to_restore = self._to_restore, ()
            needed = {name: self._compiled()[name] for name in optimizers}
            optimizer_state.check(hosts.weights_file(store), needed)
        states, names = self._seed_states(), list(store.keys())
        super().load_own_variables({name: store[name] for name in names if name not in states})
        for name, state in states.items():
            state.assign(store[name])

    def _seed_states(self) -> dict[str, keras.Variable]:
        return {f"seed_{i}": state for i, state in enumerate(hosts.seed_states(self))}

    def export(
        self,
        filepath: str | os.PathLike,
        format: str = "tf_saved_model",
        *,
        overwrite: bool = False,
        jit_compile: bool | None = None,
        warmup: Warmup = (),
        card: Mapping[str, Any] | None = None,
        verbose: bool | None = None,
    ) -> None:
        """Writes the model as a versioned SavedModel for TensorFlow Serving.

        Data are in the units that `fit` takes, and log-densities those that `predict` gives. The
        model card in it, `assets.extra/model_card.json`, has versions, names, shapes and dtypes,
        and the metrics of the last `evaluate`, if the weights are still the same.

        Args:
          filepath: directory to write; its last part is an integer version, as in `"flow/1"`.
          format: must be `"tf_saved_model"`.
          overwrite: whether to replace an existing directory. Default: `False`.
          jit_compile: whether the signatures are compiled by XLA. Default: not.
          warmup: batch sizes of requests that a server runs before it serves the version, of all
            signatures, or of some by name as in `{"sample": [1, 32]}`. Default: no requests.
          card: further entries of the model card, what JSON has. Default: none.
          verbose: whether to print where the SavedModel was written. Default: `True`.

        Raises:
          ValueError: for another format, or a path without a version.
          FileExistsError: if the directory exists and `overwrite` is false.
          ImportError: for warm-up requests without the extra `serving`.
        """
        if format != "tf_saved_model":
            raise ValueError(checks.message("format", "'tf_saved_model'", format))
        saved_model.check_path("filepath", filepath, overwrite=overwrite)
        options = {"overwrite": overwrite, "jit_compile": jit_compile, "warmup": warmup}
        self._export(filepath, card={**self._card(), **model_card.checked(card)}, **options)
        if verbose is not False:
            print(f"SavedModel written to {os.fspath(filepath)}")

    def _card(self) -> dict[str, Any]:
        """Returns the model's entries of the model card."""
        metrics = None
        if self._evaluation is not None and self._evaluation.weights == _digest(self.weights):
            metrics = model_card.finite(self._evaluation.metrics)
        return {
            "kind": type(self).__name__,
            "name": self.name,
            "preprocessing": model_card.preprocessing_entry(getattr(self, "preprocessing", None)),
            "nll": None if metrics is None else metrics.get("nll"),
            "metrics": metrics,
        }

    def _remember_evaluation(self) -> None:
        """Stores the current metrics, which are valid while the weights do not change."""
        results = self.get_metrics_result()
        numbers = {name: float(v) for name, v in results.items() if np.ndim(v) == 0}
        self._evaluation = _Evaluation(_digest(self.weights), numbers)

    @abc.abstractmethod
    def _export(self, path: Any, **options: Any) -> None:
        """Writes the SavedModel; the options are those of `saved_model.write`."""

    def get_config(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "frozen": [tracking.trainable_flags(network) for network in self._networks],
            "arguments": keras.saving.serialize_keras_object(self._arguments_for_file()),
            "objects": encode(self._tfp_arguments_for_file()),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> WholeModel:
        # Files of the first versions do not have this entry.
        version = config.get("version")
        with reading(version):
            config_checks.check(config, custom_objects=custom_objects)
            model = cls(
                **keras.saving.deserialize_keras_object(
                    config["arguments"], custom_objects=custom_objects
                ),
                **decode(config["objects"], custom_objects=custom_objects),
                name=config["name"],
                trainable=config["trainable"],
                dtype=keras.saving.deserialize_keras_object(config["dtype"]),
            )
            for network, frozen in zip(model._networks, config["frozen"], strict=True):
                tracking.set_trainable_flags(network, frozen)
            model._written_by = version
            return model

    def get_compile_config(self) -> dict[str, Any] | None:
        config = super().get_compile_config()
        if config:
            config.pop("optimizer", None)
            for name, optimizer in self._optimizers().items():
                config[name] = keras.saving.serialize_keras_object(optimizer)
            refuse_lambdas(config, "compile")
            config["trained"] = self._trained()
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        given = {k: v for k, v in config.items() if k != "trained"}
        with reading(self._written_by):
            config_checks.check(given)
            self.compile(**keras.saving.deserialize_keras_object(given))
            for name, optimizer in self._optimizers().items():
                if name in config["trained"]:
                    optimizer.build(_each_once(self.variables, config["trained"][name]))

            self._to_restore = tuple(config["trained"])

    def _compiled(self) -> dict[str, keras.optimizers.Optimizer]:
        """Returns the optimizers of a compiled model, by the names of their groups in files."""
        found = self._optimizers() if self.compiled else {}
        return {name: optimizer for name, optimizer in found.items() if optimizer is not None}

    def _optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        """Returns the optimizers by their argument names in `compile`."""
        return {"optimizer": self.optimizer}

    def _trained(self) -> dict[str, list[int]]:
        """Returns the indices of the model's variables that each optimizer was built for."""
        places = {id(variable): i for i, variable in enumerate(self.variables)}
        found = {name: tracking.trained_by(opt) for name, opt in self._optimizers().items()}
        return {n: [places[id(v)] for v in trained] for n, trained in found.items() if trained}


@contextlib.contextmanager
def _unchanged_on_failure(variables: Sequence[keras.Variable]) -> Iterator[None]:
    """Restores the values of variables if the block fails."""
    before = [variable.numpy() for variable in variables]
    try:
        yield
    except Exception:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
        raise


def _digest(weights: Sequence[keras.Variable]) -> str:
    digest = hashlib.blake2b()
    for variable in weights:
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()


def _each_once(variables: Sequence[keras.Variable], places: Sequence[int]) -> list[keras.Variable]:
    """Returns the variables at distinct indices."""
    if len(set(places)) < len(places) or min(places, default=0) < 0:
        raise ValueError(checks.message("trained", "the place of each variable once", places))
    return [variables[place] for place in places]


def distinct(things: Iterable[Any]) -> list[Any]:
    """Removes duplicates, by identity."""
    return list({id(thing): thing for thing in things}.values())


def bound_arguments(method: Callable, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a call by name, including those of `**kwargs`."""
    arguments = dict(inspect.signature(method).bind(*args, **kwargs).arguments)
    further = arguments.pop("kwargs", {})
    return {**arguments, **further}


def _written_whole(
    write: Callable, filepath: Any, args: tuple, kwargs: dict[str, Any], *, suffix: str
) -> None:
    """Writes a file that appears complete or not at all."""
    call = {"overwrite": True, **bound_arguments(write, (filepath, *args), kwargs)}
    path = checks.path("filepath", filepath)
    if not path.endswith(suffix):
        raise ValueError(checks.message("filepath", f"a name that ends in {suffix!r}", path))
    if os.path.exists(path) and not call["overwrite"]:
        raise FileExistsError(
            f"`filepath` must not exist yet, unless `overwrite=True`. Received: {filepath=}"
        )
    with files.replacing(path) as written:
        write(**{**call, "filepath": written})
