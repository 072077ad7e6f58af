"""Benchmark of a served MAF on loopback: latency, throughput and overhead of the server.

python benchmarks/serving.py [--rounds 20] [--json FILE] [--only TEXT] [--quick]

The server is the double of TensorFlow Serving in tests/serving_double.py, in a separate process and
with the real messages. For comparison, the same calls run in a session of the C++ loader.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import itertools
import pathlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import harness
import maf_sides
import numpy as np
from harness import Row
from maf_sides import Sizes

sys.path.append(str(pathlib.Path(__file__).parents[1] / "tests"))

import cpp_loader
import serving_double

import tfp_genext as gx

_BATCHES = (1, 32, 1000)
_CLIENTS = 4
_HEADER = (
    "served",
    "median, ms",
    "99 of 100 within, ms",
    "requests/s, one client",
    f"requests/s, {_CLIENTS} clients",
    f"rows/s, {_CLIENTS} clients",
)

Inputs = dict[str, np.ndarray]


class Calls:
    """A stopwatch for several calls, which keeps the duration of each."""

    def __init__(self, call: Callable[[], object], number: int) -> None:
        self.call = call
        self._number = number
        self.seconds: list[float] = []

    def __call__(self) -> float:
        for _ in range(self._number):
            start = time.perf_counter()
            self.call()
            self.seconds.append(time.perf_counter() - start)
        return sum(self.seconds[-self._number :])


def main() -> None:
    """Runs all rows, and prints a second table of times."""
    arguments = harness.options(__doc__, rounds=20).parse_args()
    sizes = Sizes.tiny(3, 3, layers=1) if arguments.quick else Sizes()
    with tempfile.TemporaryDirectory() as directory:
        flow = maf_sides.trained_sides(sizes)["ours"].distribution
        version = pathlib.Path(directory, "maf", "1")
        gx.serving.export(flow, version, warmup=_BATCHES)
        with (
            cpp_loader.SavedModel(version) as session,
            serving_double.running({"maf": version.parent}, threads=_CLIENTS) as (address, _),
            serving_double.Client(address) as client,
        ):
            _measure(client, session, address, sizes, arguments)


def _measure(
    client: serving_double.Client,
    session: cpp_loader.SavedModel,
    address: str,
    sizes: Sizes,
    arguments: argparse.Namespace,
) -> None:
    requests = {f"{s}, batch {n}": (s, _inputs(s, n, sizes), n) for s, n in _asked()}
    served = {
        name: Calls(lambda s=s, x=x: client.ask("maf", s, **x), _number(n, arguments))
        for name, (s, x, n) in requests.items()
    }
    rows = [_row(name, served[name], session, *requests[name], arguments) for name in requests]
    harness.run(rows, arguments)
    times = []
    for name, (signature, inputs, n) in requests.items():
        if arguments.only in name:
            seconds = 0.1 if arguments.quick else 5.0
            rate = _rate(address, signature, inputs, seconds)
            times.append([name, *_cells(served[name].seconds), f"{rate:.0f}", f"{rate * n:.0f}"])
    print("\n" + harness.table(times, _HEADER))


def _asked() -> Iterator[tuple[str, int]]:
    return itertools.product(("log_prob", "sample"), _BATCHES)


def _number(batch: int, arguments: argparse.Namespace) -> int:
    """Returns the number of calls in a round."""
    return 2 if arguments.quick else max(5, 100 // batch)


def _row(
    name: str,
    served: Calls,
    session: cpp_loader.SavedModel,
    signature: str,
    inputs: Inputs,
    batch: int,
    arguments: argparse.Namespace,
) -> Row:
    alone = Calls(lambda: session.feed(signature, inputs), _number(batch, arguments))
    return Row(name, {"served": served, "session alone": alone}, (("served", "session alone"),))


def _inputs(signature: str, rows: int, sizes: Sizes) -> Inputs:
    if signature == "sample":
        return {"num_samples": np.int32(rows), "seed": np.array([1, 2], np.int32)}
    x = np.random.default_rng(0).normal(size=[rows, sizes.features])
    return {"x": x.astype(np.float32)}


def _cells(seconds: list[float]) -> list[str]:
    median, most = np.percentile(seconds, [50, 99])
    return [f"{1e3 * median:.2f}", f"{1e3 * most:.2f}", f"{1.0 / np.mean(seconds):.0f}"]


def _rate(address: str, signature: str, inputs: Inputs, seconds: float) -> float:
    """Returns the number of requests per second that several clients get answered."""
    answered: list[int] = []
    end = time.perf_counter() + seconds

    def ask() -> None:
        number = 0
        with serving_double.Client(address) as client:
            while time.perf_counter() < end:
                client.ask("maf", signature, **inputs)
                number += 1
        answered.append(number)

    clients = [threading.Thread(target=ask) for _ in range(_CLIENTS)]
    start = time.perf_counter()
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    return sum(answered) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
