"""Stands in for TensorFlow Serving: its PredictionService over TensorFlow's C++ loader.

    python tests/serving_double.py NAME=BASE_PATH [NAME=BASE_PATH ...] [--port 8500] [--threads 4]

Like tensorflow_model_server, it serves the highest version under each base path, replays the
version's warm-up requests first and does not start if one fails, and leaves dtypes and shapes to
the graph. Errors have the codes of the real server. It prints its address, and ends with its input.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cpp_loader
import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc

# As the server has them: messages of any size.
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
SERVICE = "tensorflow.serving.PredictionService"
CODES = {code.value[0]: code for code in grpc.StatusCode}
WARMUP = Path("assets.extra", "tf_serving_warmup_requests")


class Refused(Exception):
    """What a request is answered with that has no answer."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Model:
    """The highest version under a base path."""

    def __init__(self, base_path: Path) -> None:
        self.version = max(int(path.name) for path in base_path.iterdir() if path.name.isdecimal())
        directory = base_path / str(self.version)
        self._loaded = cpp_loader.SavedModel(directory)
        if (directory / WARMUP).exists():
            self._warm_up(directory / WARMUP)

    def _warm_up(self, path: Path) -> None:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            self.predict(log.predict_log.request)

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """The answer to a request, whatever model it names."""
        name = request.model_spec.signature_name or "serving_default"
        if name not in self._loaded.signatures:
            message = f'Serving signature key "{name}" not found.'
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, message)
        try:
            inputs = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
            outputs = self._loaded.feed(name, inputs)
        except cpp_loader.TensorFlowError as error:
            raise Refused(CODES[error.code], str(error)) from error
        except (ValueError, TypeError) as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        response = predict_pb2.PredictResponse()
        response.model_spec.signature_name = name
        for key in self._wanted(request, outputs):
            response.outputs[key].CopyFrom(tf.make_tensor_proto(outputs[key]))
        return response

    @staticmethod
    def _wanted(request: predict_pb2.PredictRequest, outputs: Mapping[str, Any]) -> list[str]:
        unknown = sorted(set(request.output_filter) - outputs.keys())
        if unknown:
            message = f"output tensor alias not found in signature: {unknown}"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, message)
        return list(request.output_filter) or list(outputs)


class Service:
    """Answers Predict for models by name."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server calls, with bytes: of a message that is none, gRPC keeps some 15 KB."""
        predict = grpc.unary_unary_rpc_method_handler(self._predict)
        return grpc.method_handlers_generic_handler(SERVICE, {"Predict": predict})

    def _predict(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return self._answer(_parsed(message)).SerializeToString()
        except Refused as refused:
            context.abort(refused.code, str(refused))

    def _answer(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        model = self._model(request)
        response = model.predict(request)
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = model.version
        return response

    def _model(self, request: predict_pb2.PredictRequest) -> Model:
        if not request.HasField("model_spec"):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        model = self._models.get(spec.name)
        if model is None or version not in (None, model.version):
            asked = (
                f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
            )
            message = f"Servable not found for request: {asked}"
            raise Refused(grpc.StatusCode.NOT_FOUND, message)
        return model


def _parsed(message: bytes) -> predict_pb2.PredictRequest:
    try:
        return predict_pb2.PredictRequest.FromString(message)
    except DecodeError as error:
        raise Refused(grpc.StatusCode.INTERNAL, str(error)) from error


def request(model: str, signature: str, inputs: Mapping[str, Any]) -> predict_pb2.PredictRequest:
    """A request for a signature of a model."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name = model
    message.model_spec.signature_name = signature
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


class Client:
    """Asks a server at an address, host and port."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=UNLIMITED)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def send(self, message: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """The answer to a request."""
        return self._stub.Predict(message, timeout=60.0, wait_for_ready=True)

    def send_bytes(self, message: bytes) -> bytes:
        """The answer to what may be no request."""
        predict = self._channel.unary_unary(f"/{SERVICE}/Predict")
        return predict(message, timeout=60.0, wait_for_ready=True)

    def ask(self, model: str, signature: str, **inputs: Any) -> dict[str, np.ndarray]:
        """The outputs of a signature, by name."""
        outputs = self.send(request(model, signature, inputs)).outputs
        return {name: tf.make_ndarray(tensor) for name, tensor in outputs.items()}


@contextlib.contextmanager
def running(models: Mapping[str, Any], *, threads: int = 4) -> Iterator[tuple[str, int]]:
    """Runs a server in a process of its own; gives its address and its process' number."""
    places = [f"{name}={os.fspath(path)}" for name, path in models.items()]
    command = [sys.executable, __file__, *places, "--port", "0", "--threads", str(threads)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"the server did not start, and ended with {process.wait()}")
        try:
            yield address, process.pid
        finally:
            process.stdin.close()


def main() -> None:
    """Serves until the input ends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="NAME=BASE_PATH")
    parser.add_argument("--port", type=int, default=8500, help="0 for any that is free")
    parser.add_argument("--threads", type=int, default=4, help="requests answered at a time")
    arguments = parser.parse_args()
    places = dict(model.split("=", 1) for model in arguments.models)
    models = {name: Model(Path(path)) for name, path in places.items()}
    server = grpc.server(futures.ThreadPoolExecutor(arguments.threads), options=UNLIMITED)
    server.add_generic_rpc_handlers([Service(models).handler()])
    port = server.add_insecure_port(f"localhost:{arguments.port}")
    server.start()
    print(f"localhost:{port}", flush=True)
    sys.stdin.read()
    server.stop(grace=1.0).wait()


if __name__ == "__main__":
    main()
