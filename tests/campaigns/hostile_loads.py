"""Sound files to begin with, and what becomes of a file that is loaded in a process of its own."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import pickle
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfp_genext as gx

sys.path.append(str(pathlib.Path(__file__).parents[1]))

import hostile_audit
import registry
import registry_models
import saved_cases

_SECONDS = 60
# Beyond what a sound file takes, in MB.
_MEGABYTES = 400
# Files in the directory of a load.
_OWN = ("model.keras", "sound.keras", "x.weights.h5", "said")
# Where a load is stopped before it takes the machine along.
_CEILING = 5 * 2**30


@dataclasses.dataclass(frozen=True)
class Sound:
    """A file as a model writes it.

    Args:
      name: of the model.
      data: the bytes.
      inputs: what the model is asked.
      answers: what it answers.
      megabytes: what loading it takes.
      modules: what loading it imports.
    """

    name: str
    data: bytes
    inputs: Any
    answers: list[np.ndarray]
    megabytes: float = 0.0
    modules: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a file.

    Args:
      outcome: in a word.
      told: the error, if any.
      faults: what should not be.
      megabytes: what the load took beyond a sound file.
      seconds: how long it took.
    """

    outcome: str
    told: str = ""
    faults: tuple[str, ...] = ()
    megabytes: float = 0.0
    seconds: float = 0.0


def sound_files(directory: pathlib.Path) -> list[Sound]:
    """Returns files of small models of several kinds, made and tried in processes of their own."""
    made = [_forked(_save, name, directory) for name in MODELS]
    failed = {
        name: answer.get("told", answer["code"])
        for name, answer in zip(MODELS, made)
        if "sound" not in answer
    }
    assert not failed, f"not made: {failed}"
    return [_measured(answer["sound"]) for answer in made]


def loaded(sound: Sound, data: bytes, *, same: bool, weights: bool = False) -> Result:
    """Returns what becomes of a file that was made of a sound one.

    Args:
      sound: the file it was made of.
      data: its bytes.
      same: whether it must give the same answers if it loads.
      weights: whether it is a file of weights, to be loaded into the sound model.
    """
    answer = _forked(_load_weights if weights else _load, sound, data, same)
    megabytes = answer.get("megabytes", 0.0) - sound.megabytes
    faults = list(answer.get("faults", ()))
    outcome = answer.get("outcome", "crashed")
    if outcome == "crashed":
        faults.append(f"ended with {answer['code']}")
    if megabytes > _MEGABYTES:
        faults.append(f"{megabytes:.0f} MB beyond a sound file")
    seconds = answer.get("seconds", float(_SECONDS))
    return Result(outcome, answer.get("told", ""), tuple(faults), megabytes, seconds)


def _forked(job: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Returns what a job says in a process of its own, and the code with which that ends."""
    with tempfile.TemporaryDirectory() as directory:
        said = pathlib.Path(directory, "said")
        child = os.fork()
        if not child:
            _become(job, arguments, pathlib.Path(directory), said)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answer = pickle.loads(said.read_bytes()) if said.exists() else {}
    return {**answer, "code": code}


def _become(job: Callable, arguments: Sequence[Any], directory: Any, said: pathlib.Path) -> None:
    signal.alarm(_SECONDS)
    os.chdir(directory)
    tempfile.tempdir = str(directory)
    silent = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(silent, number)
    try:
        said.write_bytes(pickle.dumps(job(*arguments, said=said)))
    except BaseException:
        said.write_bytes(pickle.dumps({"told": traceback.format_exc()}))
    os._exit(0)


def _save(name: str, directory: pathlib.Path, said: Any) -> dict[str, Any]:
    """Makes, trains by a step and saves a model."""
    del said
    keras.utils.set_random_seed(1)
    model, inputs = MODELS[name]()
    path = directory / f"{name}.keras"
    model.save(path)
    return {"sound": Sound(name, path.read_bytes(), inputs, _answers(model, inputs))}


def _measured(sound: Sound) -> Sound:
    answer = _forked(_load, sound, sound.data, True)
    assert answer.get("outcome") == "loaded", f"{sound.name}: {answer}"
    modules = frozenset(answer["modules"])
    return dataclasses.replace(sound, megabytes=answer["megabytes"], modules=modules)


def _load(sound: Sound, data: bytes, same: bool, said: pathlib.Path) -> dict[str, Any]:
    """Loads a file and asks the model that it makes."""
    path = pathlib.Path("model.keras").absolute()
    path.write_bytes(data)
    model, answer = _watched(sound, lambda: gx.saving.load_model(path))
    return answer if "outcome" in answer else _asked(sound, model, answer, same, said)


def _load_weights(sound: Sound, data: bytes, same: bool, said: pathlib.Path) -> dict[str, Any]:
    """Loads a file of weights into the sound model and asks it."""
    path, whole = (pathlib.Path(name).absolute() for name in ("x.weights.h5", "sound.keras"))
    path.write_bytes(data)
    whole.write_bytes(sound.data)
    model = gx.saving.load_model(whole)
    for variable in model.trainable_variables:
        variable.assign_add(np.full(variable.shape, 0.1, variable.dtype))
    before = [variable.numpy() for variable in model.variables]
    _, answer = _watched(sound, lambda: model.load_weights(path))
    if "outcome" not in answer:
        return _asked(sound, model, answer, same, said)
    if not _equal([variable.numpy() for variable in model.variables], before):
        answer["faults"] = (*answer["faults"], "refused, but not left as it was")
    return answer


def _watched(sound: Sound, load: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    """Returns what is loaded, and what was seen on the way: with an outcome where it is refused."""
    before = frozenset(sys.modules)
    size = int(pathlib.Path("/proc/self/statm").read_text("utf-8").split()[0])
    ceiling = size * os.sysconf("SC_PAGE_SIZE") + _CEILING
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
    watch = hostile_audit.Watch(before | sound.modules, pathlib.Path(tempfile.gettempdir()))
    made, error = None, None
    start = time.monotonic()
    with watch:
        try:
            made = load()
        except Exception as raised:
            error = raised
    answer = {
        "seconds": time.monotonic() - start,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "modules": frozenset(sys.modules) - before,
        "faults": tuple(watch.seen),
    }
    if error is not None:
        told = f"{type(error).__name__}: {str(error)[:300]}"
        answer.update(outcome="refused", told=told, faults=_unclear(error, watch))
    return made, answer


def _asked(
    sound: Sound, model: keras.Model, answer: dict[str, Any], same: bool, said: pathlib.Path
) -> dict[str, Any]:
    """Returns an answer with what a model says that was loaded."""
    # What is asked of it may take what it likes, and end as it likes: it is loaded.
    signal.alarm(10 * _SECONDS)
    usable = {**answer, "outcome": "loaded, unusable"}
    said.write_bytes(pickle.dumps(usable))
    try:
        found = _answers(model, sound.inputs)
    except Exception as raised:
        faults = (*answer["faults"], *(["loaded, but gives no answer"] if same else []))
        told = f"{type(raised).__name__}: {str(raised)[:300]}"
        return {**usable, "told": told, "faults": faults}
    if _equal(found, sound.answers):
        return {**answer, "outcome": "loaded"}
    faults = (*answer["faults"], *(["gives other answers"] if same else []))
    return {**answer, "outcome": "loaded, with other numbers", "faults": faults}


def _equal(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> bool:
    pairs = zip(found, expected)
    return len(found) == len(expected) and all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs
    )


def _unclear(error: Exception, watch: hostile_audit.Watch) -> tuple[str, ...]:
    """Returns what is wrong with an error, beside what was seen."""
    # Of weights of other shapes Keras itself tells the model.
    clear = isinstance(error, ValueError) and re.match(
        "`(path|filepath)` must .*Received: |A total of .* could not be loaded", str(error), re.S
    )
    left = [name for name in os.listdir() if name not in _OWN]
    return (
        *watch.seen,
        *([] if clear else [f"no clear {type(error).__name__}"]),
        *([f"left {left}"] if left else []),
    )


def _answers(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    if isinstance(model, gx.models.GAN):
        return [model.sample(3, seed=[1, 2]).numpy()]
    if isinstance(model, gx.models.VAE):
        return [model.log_prob(inputs, num_samples=2, seed=[1, 2]).numpy()]
    context = inputs[0] if isinstance(inputs, tuple) else None
    samples = model.sample(3, seed=[1, 2], conditional_input=context)
    return [model(inputs, training=False).numpy(), samples.numpy()]


def _density(distribution: Any, **options: Any) -> tuple[keras.Model, Any]:
    registry.perturb(distribution, size=0.1)
    made = gx.models.DensityModel(distribution, **options)
    made.compile(optimizer=keras.optimizers.Adam(1e-3))
    return _stepped(made), registry.points((5, *distribution.event_shape), "float32").numpy()


def _stepped(model: keras.Model) -> keras.Model:
    """Has the optimizers of a model make a step, along fixed gradients."""
    places = {id(variable): i for i, variable in enumerate(model.variables)}
    for name, variables in model._to_train().items():
        gradients = [
            tf.random.stateless_normal(v.shape, [7, places[id(v)]], dtype=v.dtype)
            for v in variables
        ]
        model._optimizers()[name].apply(gradients, variables)
    return model


def _discrete(distribution: Any) -> tuple[keras.Model, Any]:
    model, x = _density(distribution)
    return model, (x > 0.0).astype(distribution.dtype.as_numpy_dtype)


def _whole_numbers() -> tuple[keras.Model, Any]:
    flow = gx.flows.real_nvp([3], num_layers=2, hidden_units=[4])
    model, x = _density(flow, preprocessing=gx.layers.Dequantize(256))
    return model, (np.abs(x) * 20.0).astype("uint8")


def _regression() -> tuple[keras.Model, Any]:
    head = gx.distributions.IndependentNormal([2])
    layers = [keras.Input([3]), keras.layers.Dense(4, "tanh"), keras.layers.Dense(head.params_size)]
    made = gx.models.DensityModel(gx.distributions.Conditional(keras.Sequential(layers), head))
    made.compile(optimizer=keras.optimizers.Adam(1e-3))
    x = registry.points((5, 5), "float32").numpy()
    return _stepped(made), (x[:, :3], x[:, 3:])


def _registered(case: registry_models.ModelCase) -> tuple[keras.Model, Any]:
    return _stepped(case.compiled()), case.inputs(5)


_CASES = {case.name: case for case in registry_models.MODELS}
_IMAGE = [2, 2, 1]
MODELS: dict[str, Callable[[], tuple[keras.Model, Any]]] = {
    "maf": lambda: _density(gx.flows.maf([3], num_layers=2, hidden_units=[4])),
    "nsf": lambda: _density(gx.flows.nsf([3], num_layers=1, hidden_units=[4])),
    "glow": lambda: _density(
        gx.flows.glow([4, 4, 1], num_levels=2, num_steps=1, hidden_channels=4)
    ),
    "transformed": lambda: _density(saved_cases.transformed_variables()),
    "made": lambda: _discrete(gx.autoregressive.made([4], hidden_units=[6], num_masks=2)),
    "pixel_cnn": lambda: _discrete(
        gx.autoregressive.pixel_cnn(_IMAGE, num_layers=2, filters=2, first_kernel_size=3)
    ),
    "regression": _regression,
    "whole_numbers": _whole_numbers,
    "vae": lambda: _registered(_CASES["vae_tricks"]),
    "gan": lambda: _registered(_CASES["gan_Relativistic"]),
}
