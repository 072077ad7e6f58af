"""A server under mixed requests for a long time: no wrong answer, no growth of memory.

A double of TensorFlow Serving (tests/serving_double.py) serves a conditional flow, a VAE and a GAN.
Several clients ask it at once, in random order, every signature with batches of several sizes, with
no rows and with NaN, and send requests that are malformed in many ways. Answers are compared with
those of TensorFlow's Python loader, computed once; malformed requests must be answered with the
error that is due. The first wrong answer ends the program.

python tests/campaigns/serving_soak.py [--minutes 30] [--clients 4] [--pause 0.05]
    [--models flow vae gan]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import collections
import dataclasses
import functools
import pathlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import growth
import grpc
import numpy as np
import tensorflow as tf

sys.path.append(str(pathlib.Path(__file__).parents[1]))

import registry_models
import serving_double
from tensorflow_serving.apis import predict_pb2

import tfp_genext as gx

_ROWS = (0, 1, 32)
_LOOKS = 100
_INVALID = "INVALID_ARGUMENT"

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Question:
    """A message to the server, and the one right answer or error to it."""

    name: str
    message: bytes
    answer: Arrays | None = None
    error: str | None = None

    def fault(self, client: serving_double.Client) -> str | None:
        """Asks, and returns what is wrong with the answer."""
        try:
            found = predict_pb2.PredictResponse.FromString(client.send_bytes(self.message))
        except grpc.RpcError as error:
            code = error.code().name
            return None if code == self.error else f"{self.name}: {code}, {error.details()}"
        if self.answer is None:
            return f"{self.name}: an answer, where {self.error} was due"
        outputs = {name: tf.make_ndarray(tensor) for name, tensor in found.outputs.items()}
        return None if _same(outputs, self.answer) else f"{self.name}: {outputs}, not {self.answer}"


def main() -> int:
    """Prints what was found; returns 1 for a wrong answer, or where memory grows."""
    arguments = _options().parse_args()
    with tempfile.TemporaryDirectory() as directory:
        places = dict(_exported(pathlib.Path(directory), arguments.models))
        questions = [q for name, place in places.items() for q in _questions(name, place / "1")]
        # There are several ways for a request to be wrong for each to be right.
        deck = [q for q in questions for _ in range(1 if q.answer is None else 5)]
        with serving_double.running(places, threads=arguments.clients) as (address, process):
            return _soak(address, process, deck, arguments)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--models", nargs="+", choices=_MODELS, default=list(_MODELS))
    parser.add_argument("--pause", type=float, default=0.05, help="of a client, in seconds")
    return parser


def _flow() -> gx.models.DensityModel:
    flow = gx.flows.maf([6], num_layers=2, hidden_units=[32], conditional_event_shape=[2])
    return gx.models.DensityModel(flow)


_MODELS = {
    "flow": _flow,
    "vae": registry_models.conditional_vae,
    "gan": registry_models.conditional_gan,
}


def _exported(directory: pathlib.Path, names: Sequence[str]) -> Iterator[tuple[str, pathlib.Path]]:
    for name in names:
        model = _MODELS[name]()
        for i, variable in enumerate(model.trainable_variables):
            variable.assign_add(0.2 * tf.random.stateless_normal(variable.shape, [i, 1]))
        model.export(directory / name / "1", warmup=[1, 32], verbose=False)
        yield name, directory / name


def _questions(model: str, path: pathlib.Path) -> Iterator[Question]:
    loaded = tf.saved_model.load(str(path))
    rng = np.random.default_rng(0)
    for signature, function in loaded.signatures.items():
        specs = function.structured_input_signature[1]
        for rows in _ROWS:
            inputs = _inputs(specs, rows, rng)
            yield _good(f"{model} {signature} {rows}", model, signature, function, inputs)
        for name, value in _with_nan(inputs).items():
            spoilt = {**inputs, name: value}
            yield _good(f"{model} {signature} NaN {name}", model, signature, function, spoilt)
        yield from _malformed(model, signature, inputs)


def _inputs(specs: dict[str, tf.TensorSpec], rows: int, rng: np.random.Generator) -> Arrays:
    batched = any(spec.shape[:1] == [None] for spec in specs.values())
    inputs = {}
    for name, spec in specs.items():
        shape = [rows if size is None else size for size in spec.shape]
        drawn = rng.integers(0, 1000, shape) if name == "seed" else rng.normal(size=shape)
        if name == "num_samples":
            drawn = 3 if batched else rows
        inputs[name] = np.asarray(drawn, spec.dtype.as_numpy_dtype)
    return inputs


def _with_nan(inputs: Arrays) -> Arrays:
    spoilt = {k: v.copy() for k, v in inputs.items() if v.dtype.kind == "f"}
    for value in spoilt.values():
        value[0] = np.nan
    return spoilt


def _good(name: str, model: str, signature: str, function: Callable, inputs: Arrays) -> Question:
    outputs = function(**{k: tf.constant(v) for k, v in inputs.items()})
    answer = {k: v.numpy() for k, v in outputs.items()}
    return Question(
        name, serving_double.request(model, signature, inputs).SerializeToString(), answer
    )


def _malformed(model: str, signature: str, inputs: Arrays) -> Iterator[Question]:
    bad = functools.partial(_bad, model, signature)
    yield bad("unknown input", {**inputs, "y": np.zeros(1)})
    for name, value in inputs.items():
        yield bad(f"no {name}", {k: v for k, v in inputs.items() if k != name})
        yield bad(f"{name} of another dtype", {**inputs, name: value.astype("float64")})
        yield bad(f"{name} of text", {**inputs, name: np.array("text")})
        yield bad(f"{name} of another rank", {**inputs, name: value[np.newaxis]})
        if value.ndim:
            yield bad(f"{name} too long", {**inputs, name: np.repeat(value, 2, axis=-1)})
        if name == "num_samples":
            yield bad("fewer samples than none", {**inputs, name: np.int32(-1)})
        if name == "conditional_input" and inputs.keys() & {"x", "z"}:
            yield bad("too few contexts", {**inputs, name: value[:1]})
        cut = serving_double.request(model, signature, inputs)
        cut.inputs[name].tensor_content = b"cut"
        yield Question(f"{model} {signature} {name} cut", cut.SerializeToString(), None, _INVALID)
    yield Question("no request", b"\xff is no request", None, "INTERNAL")
    yield Question("empty request", b"", None, _INVALID)
    yield _bad(model, "nope", "unknown", inputs, "FAILED_PRECONDITION")
    yield _bad("nope", signature, "unknown model", inputs, "NOT_FOUND")
    other = serving_double.request(model, signature, inputs)
    other.model_spec.version.value = 7
    yield Question(f"{model} of version 7", other.SerializeToString(), None, "NOT_FOUND")


def _bad(model: str, signature: str, what: str, inputs: Arrays, error: str = _INVALID) -> Question:
    message = serving_double.request(model, signature, inputs).SerializeToString()
    return Question(f"{model} {signature} {what}", message, None, error)


def _same(found: Arrays, expected: Arrays) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].shape == value.shape
        and np.allclose(found[name], value, rtol=1e-4, atol=1e-5, equal_nan=True)
        for name, value in expected.items()
    )


def _soak(address: str, process: int, deck: list[Question], arguments: argparse.Namespace) -> int:
    faults: list[str] = []
    counts: collections.Counter[str] = collections.Counter()
    ended = threading.Event()
    ask = functools.partial(_ask, address, deck, arguments.pause, faults, counts, ended)
    clients = [threading.Thread(target=ask, args=(seed,)) for seed in range(arguments.clients)]
    for client in clients:
        client.start()
    try:
        memory = _watch(process, 60.0 * arguments.minutes, faults, counts)
    finally:
        ended.set()
        for client in clients:
            client.join()
    if faults:
        print(*faults, sep="\n")
        return 1
    kinds = len({question.name for question in deck})
    print(f"{kinds} questions: {counts['good']} right answers, {counts['bad']} due errors")
    fifth = _LOOKS // 5
    before, after = (statistics.median(part) for part in (memory[fifth:][:fifth], memory[-fifth:]))
    print(f"memory: {before:.1f} MB in the second fifth, {after:.1f} MB in the last fifth")
    return int(after - before > growth.SLACK)


def _watch(
    process: int, seconds: float, faults: list[str], counts: collections.Counter[str]
) -> list[float]:
    """Returns how much memory the server had, in as many looks, up to the first fault."""
    memory = []
    for look in range(_LOOKS):
        time.sleep(seconds / _LOOKS)
        memory.append(growth.megabytes(process))
        if look % 10 == 9:
            print(f"{dict(counts)}, {memory[-1]:.1f} MB", flush=True)
        if faults:
            break
    return memory


def _ask(
    address: str,
    deck: list[Question],
    pause: float,
    faults: list[str],
    counts: collections.Counter[str],
    ended: threading.Event,
    seed: int,
) -> None:
    """Asks one question after the other, all of them in an order of its own, over and over."""
    rng = np.random.default_rng(seed)
    with serving_double.Client(address) as client:
        while not ended.is_set():
            for i in rng.permutation(len(deck)):
                if ended.wait(pause):
                    break
                fault = deck[i].fault(client)
                faults.extend([fault] if fault else [])
                counts["bad" if deck[i].answer is None else "good"] += 1


if __name__ == "__main__":
    sys.exit(main())
