"""Warm-up requests that TensorFlow Serving replays when it loads a SavedModel.

The first requests to a server are slow, because of lazy initialisation. A server therefore runs the
requests in `assets.extra/tf_serving_warmup_requests` before it serves a version [1]. The requests
have the name of a signature but none of a model, which the server ignores. If a request fails, the
version is not served. Each request is therefore run once before it is written.

[1]: "SavedModel Warmup", TensorFlow Serving,
https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfp_genext.core import checks

# Batch sizes, for all signatures or by the name of each.
Warmup = Sequence[int] | Mapping[str, Sequence[int]]
Sizes = dict[str, tuple[int, ...]]

DIRECTORY, FILE = "assets.extra", "tf_serving_warmup_requests"
_MOST = 1000  # TensorFlow Serving does not load versions with more.


def batch_sizes(warmup: Warmup, signatures: Iterable[str]) -> Sizes:
    """Returns the batch sizes of the requests, by signature.

    Args:
      warmup: the user's argument.
      signatures: the names of all signatures.
    """
    names = list(signatures)
    given = warmup if isinstance(warmup, Mapping) else dict.fromkeys(names, warmup)
    if not set(given) <= set(names):
        raise ValueError(checks.message("warmup", f"sizes of signatures among {names}", warmup))
    sizes = {name: checks.positive_ints("warmup", of_one) for name, of_one in given.items()}
    number = sum(map(len, sizes.values()))
    if number > _MOST:
        raise ValueError(checks.message("warmup", f"at most {_MOST} requests in all", number))
    if number:
        _messages()
    return sizes


def write(directory: str, signatures: Mapping[str, Callable], sizes: Sizes) -> None:
    """Writes the requests of a SavedModel, if there are any.

    Args:
      directory: directory of the SavedModel.
      signatures: all its traced functions by name.
      sizes: result of `batch_sizes`.
    """
    if not any(sizes.values()):
        return
    os.makedirs(os.path.join(directory, DIRECTORY), exist_ok=True)
    with tf.io.TFRecordWriter(os.path.join(directory, DIRECTORY, FILE)) as writer:
        for name, inputs in _requests(signatures, sizes):
            signatures[name](**inputs)
            writer.write(_record(name, inputs))


def _requests(
    signatures: Mapping[str, Callable], sizes: Sizes
) -> Iterator[tuple[str, dict[str, tf.Tensor]]]:
    for rows in sorted({rows for of_one in sizes.values() for rows in of_one}):
        points = _points(signatures, rows)
        for name, of_one in sizes.items():
            if rows in of_one:
                yield name, _inputs(signatures[name], rows, points)


def _points(signatures: Mapping[str, Callable], rows: int) -> dict[str, tf.Tensor]:
    """Returns data and noise computed by the model itself, by the names of inputs."""
    sample = signatures["sample"]
    inputs = _inputs(sample, rows, {})
    samples = sample(**inputs)["samples"]
    of_contexts = inputs.keys() > {"num_samples", "seed"}
    points = {"x": samples[0] if of_contexts else samples}
    for name in signatures.keys() & {"inverse", "encode"}:
        points["z"] = signatures[name](**_inputs(signatures[name], rows, points))["z"]
    return points


def _inputs(signature: Any, rows: int, points: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns one request: the given points, a median, and zeros for seeds and contexts."""
    specs = signature.input_signature
    batched = any(spec.shape.rank and spec.shape[0] is None for spec in specs)
    inputs = {"num_samples": tf.constant(1 if batched else rows), "probs": [0.5], **points}
    return {
        spec.name: tf.cast(inputs.get(spec.name, _zeros(spec, rows)), spec.dtype) for spec in specs
    }


def _zeros(spec: tf.TensorSpec, rows: int) -> tf.Tensor:
    return tf.zeros([rows if size is None else size for size in spec.shape], spec.dtype)


def _record(name: str, inputs: dict[str, tf.Tensor]) -> bytes:
    predict_pb2, prediction_log_pb2 = _messages()
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = name
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value.numpy()))
    log = prediction_log_pb2.PredictLog(request=request)
    return prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString()


def _messages() -> tuple[Any, Any]:
    """Imports the messages of TensorFlow Serving, which only warm-up requests need."""
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError as error:
        raise ImportError(
            "`warmup` needs the package tensorflow-serving-api, which comes with the extra "
            '"serving": pip install "tfp_genext[serving]"'
        ) from error
    return predict_pb2, prediction_log_pb2
