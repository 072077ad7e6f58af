"""Run a SavedModel through TensorFlow's C++ loader, with no TensorFlow Python in the process.

TF Serving loads an export this way, so an answer from here shows that the export stands alone.

    python tests/cpp_loader.py SAVED_MODEL_DIR REQUESTS.npz RESPONSES.npz [and so on, by threes]

A request array's key is "<request-id>/<signature>/<input name>" (a request without inputs has one
array, of any value, with an empty input name); a response array's key ends in the output name.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
AnyPath = str | os.PathLike[str]

FORBIDDEN = ("tensorflow", "tensorflow_probability", "keras", "tf_keras", "tfp_genext")

# TF_DataType, see tensorflow/c/tf_datatype.h.
DTYPES = {1: "float32", 2: "float64", 3: "int32", 4: "uint8", 9: "int64", 10: "bool", 19: "float16"}
TYPE_CODES = {np.dtype(name): code for code, name in DTYPES.items()}

# Name (after "TF_"), result type, argument types. Untyped, ctypes would cut pointers to 32 bits.
_CTYPES = {"-": None, "p": c_void_p, "s": c_char_p, "i": c_int, "l": c_int64, "z": c_size_t}
_FUNCTIONS = """
    NewStatus:p GetCode:ip Message:sp DeleteStatus:-p NewBuffer:p DeleteBuffer:-p
    NewGraph:p DeleteGraph:-p GraphOperationByName:pps
    NewSessionOptions:p DeleteSessionOptions:-p LoadSessionFromSavedModel:pppspippp
    SessionRun:-ppppippipipp CloseSession:-pp DeleteSession:-pp
    AllocateTensor:pipiz DeleteTensor:-p TensorData:pp TensorType:ip NumDims:ip Dim:lpi
"""


class TensorFlowError(RuntimeError):
    """A TF_Status that is not OK, with TensorFlow's own message and code, which is gRPC's."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _Endpoint(ctypes.Structure):
    """TF_Output: one output of one operation of the graph."""

    _fields_ = [("operation", c_void_p), ("index", c_int)]


@functools.cache
def _library() -> ctypes.CDLL:
    """The wheel's C++ library, found without importing the package."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("TensorFlow is not installed")
    library = ctypes.CDLL(str(Path(spec.submodule_search_locations[0], "libtensorflow_cc.so.2")))
    for name, (result, *arguments) in (entry.split(":") for entry in _FUNCTIONS.split()):
        function = getattr(library, f"TF_{name}")
        function.restype = _CTYPES[result]
        function.argtypes = [_CTYPES[argument] for argument in arguments]
    return library


def _checked(function: str, *arguments: Any) -> Any:
    """Call a C function whose last argument is a TF_Status, and raise unless it is OK."""
    library = _library()
    status = library.TF_NewStatus()
    try:
        result = getattr(library, function)(*arguments, status)
        code = library.TF_GetCode(status)
        if code:
            message = library.TF_Message(status).decode(errors="replace")
            raise TensorFlowError(f"{function}: {message}", code)
        return result
    finally:
        library.TF_DeleteStatus(status)


def _new_tensor(array: np.ndarray) -> int:
    """A TF_Tensor with a copy of the array; the caller deletes it."""
    array = np.asarray(array, order="C")  # np.ascontiguousarray gives a scalar a dimension
    dims = (c_int64 * array.ndim)(*array.shape)
    if array.dtype not in TYPE_CODES:
        raise TypeError(f"arrays of {array.dtype} are not supported here")
    code = TYPE_CODES[array.dtype]
    tensor = _library().TF_AllocateTensor(code, dims, array.ndim, array.nbytes)
    if not tensor:
        raise MemoryError(f"TF_AllocateTensor: {array.nbytes} bytes")
    if array.nbytes:  # an empty tensor may have no address
        ctypes.memmove(_library().TF_TensorData(tensor), array.ctypes.data, array.nbytes)
    return tensor


def _to_array(tensor: int) -> np.ndarray:
    """A copy of a TF_Tensor."""
    library = _library()
    shape = [library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor))]
    array = np.empty(shape, _dtype(library.TF_TensorType(tensor)))
    if array.nbytes:
        ctypes.memmove(array.ctypes.data, library.TF_TensorData(tensor), array.nbytes)
    return array


def _dtype(code: int) -> np.dtype:
    """The numpy dtype of a TF_DataType."""
    if code not in DTYPES:
        raise TypeError(f"TensorFlow's data type {code} is not supported here")
    return np.dtype(DTYPES[code])


@dataclass(frozen=True)
class TensorInfo:
    """A signature's tensor; None stands for an unknown dimension or rank."""

    name: str
    type_code: int
    shape: tuple[int | None, ...] | None

    @property
    def dtype(self) -> np.dtype:
        """The numpy dtype (a TypeError if there is none)."""
        return _dtype(self.type_code)

    def check(self, what: str, array: np.ndarray) -> None:
        """Raise unless the array has this dtype and a compatible shape."""
        shape = array.shape if self.shape is None else self.shape
        sizes = zip(shape, array.shape)
        fits = len(shape) == array.ndim and all(size in (None, actual) for size, actual in sizes)
        if array.dtype != self.dtype or not fits:
            expected, actual = f"{self.dtype} {self.shape}", f"{array.dtype} {array.shape}"
            raise ValueError(f"{what}: expected {expected}, got {actual}")


@dataclass(frozen=True)
class Signature:
    """The named inputs and outputs of one entry point."""

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]


# The signatures are read from protobuf's wire format: its message classes would import TensorFlow.


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The base-128 number at an offset, and the offset after it."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """A message's fields by number: varints as int, the others' bytes as memoryview."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, at = _varint(data, at)
            yield number, value
        else:
            size, at = _varint(data, at) if wire_type == 2 else ({1: 8, 5: 4}[wire_type], at)
            yield number, data[at : at + size]
            at += size


def _map(data: memoryview, number: int) -> dict[str, memoryview]:
    """A map<string, message> field, with its messages unread, sorted by name."""
    entries = [dict(_fields(entry)) for field, entry in _fields(data) if field == number]
    return dict(sorted((str(entry[1], "utf-8"), entry[2]) for entry in entries))


def _shape(data: memoryview) -> tuple[int | None, ...] | None:
    """A TensorShapeProto."""
    fields = list(_fields(data))
    if (3, 1) in fields:  # unknown_rank
        return None
    sizes = (dict(_fields(value)).get(1, 0) for number, value in fields if number == 2)
    return tuple(None if size >> 63 else size for size in sizes)  # negative means unknown


def _tensor_infos(signature: memoryview, number: int) -> dict[str, TensorInfo]:
    """The inputs (1) or outputs (2) of a SignatureDef."""
    infos = {}
    for key, data in _map(signature, number).items():
        fields = {1: b"", 2: 0, 3: memoryview(b"")} | dict(_fields(data))
        infos[key] = TensorInfo(str(fields[1], "utf-8"), fields[2], _shape(fields[3]))
    return infos


def _signatures(meta_graph: bytes) -> dict[str, Signature]:
    """The signature_def field of a MetaGraphDef."""
    found = _map(memoryview(meta_graph), 5)
    found.pop("__saved_model_init_op", None)  # the loader's own entry; it names no tensor
    return {k: Signature(_tensor_infos(v, 1), _tensor_infos(v, 2)) for k, v in found.items()}


class SavedModel:
    """A SavedModel in a session of TensorFlow's C++ loader."""

    def __init__(self, directory: AnyPath) -> None:
        """Load the "serve" graph and its variables."""
        library, path, tags = _library(), os.fsencode(directory), (c_char_p * 1)(b"serve")
        with ExitStack() as kept, ExitStack() as freed:
            options, buffer = library.TF_NewSessionOptions(), library.TF_NewBuffer()
            freed.callback(library.TF_DeleteSessionOptions, options)
            freed.callback(library.TF_DeleteBuffer, buffer)
            self._graph = library.TF_NewGraph()
            kept.callback(library.TF_DeleteGraph, self._graph)
            arguments = (options, None, path, tags, 1, self._graph, buffer)
            self._session = _checked("TF_LoadSessionFromSavedModel", *arguments)
            kept.callback(_checked, "TF_DeleteSession", self._session)
            kept.callback(_checked, "TF_CloseSession", self._session)
            data, size = (c_size_t * 2).from_address(buffer)  # TF_Buffer's first two fields
            self.signatures = _signatures(ctypes.string_at(data, size))
            self._resources = kept.pop_all()

    def __enter__(self) -> SavedModel:
        """This model."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Free the session and the graph; a second call does nothing."""
        self._session = self._graph = None
        self._resources.close()

    def run(self, signature_name: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of a signature, by name; what goes in and out must be as it says."""
        signature = self._signature(signature_name)
        where = f"signature {signature_name!r}"
        _check(f"{where}, input", signature.inputs, inputs)
        results = self.feed(signature_name, inputs)
        _check(f"{where}, output", signature.outputs, results)
        return results

    def feed(self, signature_name: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs of a signature for inputs that the graph alone judges, as in TF Serving."""
        signature = self._signature(signature_name)
        feeds = _in_order(f"signature {signature_name!r}, input", signature.inputs, inputs)
        return dict(zip(signature.outputs, self._run_session(signature, feeds)))

    def _signature(self, name: str) -> Signature:
        """The signature of a name."""
        if not self._session:
            raise ValueError("the SavedModel is closed")
        if name not in self.signatures:
            known = sorted(self.signatures)
            raise ValueError(f"no signature {name!r}; the SavedModel has {known}")
        return self.signatures[name]

    def _run_session(self, signature: Signature, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Feed the inputs and fetch the outputs, in the signature's order."""
        feeds, fetches = self._endpoints(signature.inputs), self._endpoints(signature.outputs)
        given, taken = (c_void_p * len(feeds))(), (c_void_p * len(fetches))()
        endpoints = (feeds, given, len(feeds), fetches, taken, len(fetches))
        try:
            for i, array in enumerate(arrays):
                given[i] = _new_tensor(array)
            _checked("TF_SessionRun", self._session, None, *endpoints, None, 0, None)
            return [_to_array(tensor) for tensor in taken]
        finally:
            for tensor in filter(None, (*given, *taken)):
                _library().TF_DeleteTensor(tensor)

    def _endpoints(self, infos: Mapping[str, TensorInfo]) -> ctypes.Array[_Endpoint]:
        """The graph's tensors that the infos name, as "operation:index"."""
        endpoints = (_Endpoint * len(infos))()
        for i, info in enumerate(infos.values()):
            name, _, index = info.name.rpartition(":")
            operation = _library().TF_GraphOperationByName(self._graph, name.encode())
            if not operation:
                raise ValueError(f"the graph has no tensor {info.name!r}")
            endpoints[i] = _Endpoint(operation, int(index))
        return endpoints


def _check(what: str, infos: Mapping[str, TensorInfo], arrays: Arrays) -> None:
    """Raise unless there is an array for each info, and it is as that says."""
    for (name, info), array in zip(infos.items(), _in_order(what, infos, arrays)):
        info.check(f"{what} {name!r}", array)


def _in_order(what: str, infos: Mapping[str, TensorInfo], arrays: Arrays) -> list[np.ndarray]:
    """The arrays in the order of the infos."""
    missing, unknown = sorted(infos.keys() - arrays.keys()), sorted(arrays.keys() - infos.keys())
    if missing or unknown:
        raise ValueError(f"{what}s: unknown {unknown}, missing {missing}, of {sorted(infos)}")
    return [np.asarray(arrays[name]) for name in infos]


Requests = Mapping[str, tuple[str, Arrays]]
Answers = dict[str, dict[str, np.ndarray]]


def serve(directory: AnyPath, requests: Requests, python: str = sys.executable) -> Answers:
    """Answer requests (id -> signature, inputs) in a child process without TensorFlow Python."""
    return serve_all({directory: requests}, python)[directory]


def serve_all(
    models: Mapping[AnyPath, Requests], python: str = sys.executable
) -> dict[AnyPath, Answers]:
    """Answer requests of several SavedModels, one after the other, in one child process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [python, __file__]
        for number, (directory, requests) in enumerate(models.items()):
            asked, answered = (Path(folder, f"{number}-{end}.npz") for end in ("asked", "answered"))
            np.savez(asked, **_flattened(requests))
            command += [os.fspath(directory), str(asked), str(answered)]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        if child.returncode:
            raise RuntimeError(f"the C++ loader ended with {child.returncode}:\n{child.stderr}")
        return {
            directory: {
                request: out for (request, _), out in _unflatten(command[4 + 3 * i]).items()
            }
            for i, directory in enumerate(models)
        }


def _flattened(requests: Requests) -> dict[str, np.ndarray]:
    """The arrays of requests, by request, signature and name."""
    return {
        f"{request}/{signature}/{name}": array
        for request, (signature, inputs) in requests.items()
        for name, array in (inputs or {"": np.zeros(0)}).items()
    }


def _unflatten(path: AnyPath) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """A file's arrays by request and signature, then by name."""
    grouped: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    with np.load(path) as arrays:
        for key, array in arrays.items():
            request, signature, name = key.split("/", 2)
            grouped.setdefault((request, signature), {}).update({name: array} if name else {})
    return grouped


def _answer(directory: str, requests: str, responses: str) -> None:
    """Answer a request file."""
    answers = {}
    with SavedModel(directory) as model:
        for (request, signature), inputs in _unflatten(requests).items():
            try:
                outputs = model.run(signature, **inputs)
            except Exception as error:
                raise RuntimeError(f"request {request!r}: {error}") from error
            answers.update({f"{request}/{signature}/{name}": outputs[name] for name in outputs})
    np.savez(responses, **answers)


def main(arguments: Sequence[str]) -> None:
    """The program: SAVED_MODEL_DIR REQUESTS.npz RESPONSES.npz, once or more."""
    if not arguments or len(arguments) % 3:
        raise SystemExit(__doc__)
    # Before the library is loaded. Three lines of the load itself remain: they ignore the level.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for first in range(0, len(arguments), 3):
        _answer(*arguments[first : first + 3])
    imported = [name for name in FORBIDDEN if name in sys.modules]
    if imported:
        raise RuntimeError(f"this process imported {imported}, so its answers prove nothing")


if __name__ == "__main__":
    main(sys.argv[1:])
