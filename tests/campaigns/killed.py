"""Trainings killed at random moments, alone and as two workers, end as if nothing had happened.

A training is started, killed after a random part of its length, and started again, until the kills
are used up; whatever file it has left under its own name must load. In the end its weights must be
those of a training that nobody killed. Of two workers one is killed, and the other a moment later.

python tests/campaigns/killed.py [--kills 20] [--workers 1] [--kind binarized] [--seed 0]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import contextlib
import pathlib
import random
import select
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import h5py
import keras
import numpy as np
import trainee

_HERE = pathlib.Path(__file__).parents[1]
_PROGRAM = _HERE / "trainee.py"
# Of a start, on a machine that does much else.
_SECONDS = 600.0


def main() -> int:
    """Prints each kill and what was left; returns 1 where a result differs."""
    arguments = _options().parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        unharmed = pathlib.Path(folder, "unharmed")
        seconds, finished = _until(unharmed, arguments, _SECONDS, rng)
        assert finished, "a training that nobody killed did not end"
        print(f"nobody killed: {seconds:.1f} s from the first step", flush=True)
        expected = _results(unharmed, arguments.workers)
        differ = kills = runs = 0
        while kills < arguments.kills:
            directory = pathlib.Path(folder, f"killed{runs}")
            while not _finished(directory, arguments.workers):
                more = kills < arguments.kills
                at = rng.uniform(0.0, seconds) if more else _SECONDS
                _, finished = _until(directory, arguments, at, rng)
                kills += not finished
                if not finished:
                    print(f"kill {kills} after {at:.2f} s: {_left(directory)}", flush=True)
            runs += 1
            found = _results(directory, arguments.workers)
            largest = max(np.max(np.abs(f - e), initial=0.0) for f, e in zip(found, expected))
            differ += largest > 0.0
            print(f"training {runs} ended, {largest:.1e} from the one nobody killed", flush=True)
    print(f"{kills} kills, {runs} trainings, {differ} of them ended elsewhere")
    return int(differ > 0)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kind", default="binarized")
    parser.add_argument("--rows", type=int, default=1600)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _until(
    directory: pathlib.Path, arguments: argparse.Namespace, at: float, rng: random.Random
) -> tuple[float, bool]:
    """Starts a training, kills it after some seconds, and returns how long it was, and if whole."""
    directory.mkdir(exist_ok=True)
    given = ["--kind", arguments.kind, "--rows", arguments.rows]
    if arguments.workers > 1:
        given += ["--ports", *trainee.free_ports(arguments.workers)]
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(_started([directory, *given, "--worker", worker]))
            for worker in range(arguments.workers)
        ]
        for process in processes:
            _wait_for_the_first_step(process)
        start = time.monotonic()
        while time.monotonic() < start + at:
            if all(process.poll() is not None for process in processes):
                break
            time.sleep(0.01)
        seconds = time.monotonic() - start
        for process in rng.sample(processes, len(processes)):
            process.kill()
            time.sleep(rng.uniform(0.0, 0.2))
    return seconds, _finished(directory, arguments.workers)


def _started(arguments: list) -> subprocess.Popen:
    path = os.pathsep.join([str(_HERE.parent), str(_HERE), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, _PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    )


def _wait_for_the_first_step(process: subprocess.Popen) -> None:
    ready, _, _ = select.select([process.stdout], [], [], _SECONDS)
    assert ready and b"training" in process.stdout.readline(), "a training did not start"


def _finished(directory: pathlib.Path, workers: int) -> bool:
    return all((directory / f"weights{worker}.npz").exists() for worker in range(workers))


def _results(directory: pathlib.Path, workers: int) -> list[np.ndarray]:
    """Returns the weights of all workers."""
    found = []
    for worker in range(workers):
        with np.load(directory / f"weights{worker}.npz") as arrays:
            found += [arrays[name] for name in sorted(arrays) if name.startswith("weight")]
    return found


def _left(directory: pathlib.Path) -> str:
    """Returns what stands under its own name, after reading all of it."""
    whole = sorted(directory.glob("*.keras"))
    for path in whole:
        keras.saving.load_model(path)
    backups = sorted(directory.glob("backup*/*.h5"))
    for path in backups:
        with h5py.File(path) as file:
            file.visititems(lambda _, item: np.asarray(item) if hasattr(item, "shape") else None)
    names = [str(path.relative_to(directory)) for path in [*whole, *backups]]
    return ", ".join(names) or "nothing"


if __name__ == "__main__":
    sys.exit(main())
