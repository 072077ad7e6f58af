"""Exports and saves that are killed: what is left is whole, old or new, and nothing is lost.

A process exports models of a rising number over version 1 and as new versions, and saves them over
a `.keras` file, until it is killed: at random moments, then at each step in which Python touches
the files. After each kill TensorFlow's C++ loader must load every directory that a server would
take for a version, and Keras the file, with the numbers that they must have.

python tests/campaigns/interrupted.py [--kills 200] [--stride 1] [--seed 0]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import itertools
import math
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

sys.path.append(str(pathlib.Path(__file__).parents[1]))

import cpp_loader

import tfp_genext as gx


class Campaign:
    """Kills one writer after the other, and looks at what each has left."""

    def __init__(self, base: pathlib.Path) -> None:
        self._base = base
        self._next = 1
        self._done = 0
        self._left: set[str] = set()
        self.kills = self.hits = self.faults = 0

    def seconds_of_a_round(self) -> float:
        """Returns how long it takes to write one number everywhere."""
        writer = self._writer()
        writer.listen()
        start = time.perf_counter()
        for _ in range(2):
            writer.listen()
        seconds = (time.perf_counter() - start) / 2
        self._end(writer)
        return seconds

    def kill_after(self, seconds: float) -> None:
        """Kills a writer so long after it has begun."""
        writer = self._writer()
        writer.listen()
        time.sleep(seconds)
        self._end(writer)

    def kill_at(self, step: int) -> bool:
        """Has a writer kill itself at a step; returns whether it came so far."""
        writer = self._writer(step)
        killed = writer.wait()
        self._end(writer, killed=killed)
        return killed

    def left_over(self) -> list[str]:
        """Returns the hidden directories that writers have left."""
        places = self._base, self._base / "flow"
        return [path.name for place in places for path in place.glob(".*")]

    def _writer(self, step: int | None = None) -> Writer:
        return Writer(self._base, self._next, step)

    def _end(self, writer: Writer, *, killed: bool = True) -> None:
        done = max(self._done, writer.end())
        started = max(done, self._next - 1) + 1
        self.kills += killed
        self.hits += not self._left >= set(self.left_over())
        self._left = set(self.left_over())
        new = range(self._next, done + 1)
        check = _fork(_check, self._base, new, range(done, started + 1))
        self.faults += not _ended_well(check)
        self._next, self._done = started + 1, done
        for version in _versions(self._base):
            if version != 1:
                shutil.rmtree(self._base / "flow" / str(version))


class Writer:
    """A process that writes numbers, and says so when it begins and after each."""

    def __init__(self, base: pathlib.Path, first: int, step: int | None) -> None:
        read, write = os.pipe()
        self._process = _fork(_write, base, first, step, write)
        os.close(write)
        self._said = os.fdopen(read)
        self._done = 0

    def listen(self) -> None:
        """Waits until the process begins, or is done with a number."""
        self._done = int(self._said.readline())

    def wait(self) -> bool:
        """Waits for a writer that kills itself; returns whether it did."""
        code = os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])
        if code not in (0, -signal.SIGKILL):
            raise RuntimeError(f"the writer ended with {code}")
        self._process = None
        return code != 0

    def end(self) -> int:
        """Kills the process if it lives, and returns the last number that is done, or 0."""
        if self._process is not None:
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)
        with self._said:
            return max(self._done, *map(int, self._said.read().split()), 0)


def _fork(function: Callable[..., None], *arguments: Any) -> int:
    with warnings.catch_warnings():
        # Newer versions of Python warn of threads, which NumPy has, idle.
        warnings.simplefilter("ignore", DeprecationWarning)
        sys.stdout.flush()
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        function(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _ended_well(process: int) -> bool:
    return os.waitpid(process, 0)[1] == 0


def _write(base: pathlib.Path, first: int, step: int | None, said: int) -> None:
    os.write(said, b"0\n")
    if step is not None:
        _kill_at(step, str(base))
    for number in itertools.count(first) if step is None else [first]:
        model = _model(number)
        model.export(base / "flow" / "1", overwrite=True, verbose=False)
        if number > 1:
            model.export(base / "flow" / str(number), warmup=[1], verbose=False)
        model.save(base / "model.keras")
        os.write(said, f"{number}\n".encode())


def _model(number: int) -> gx.models.DensityModel:
    loc = tf.Variable([float(number)])
    return gx.models.DensityModel(tfd.Independent(tfd.Normal(loc, 1.0), 1))


def _kill_at(step: int, base: str) -> None:
    """Has the process kill itself before it touches files under a directory for so many times."""
    steps = iter(range(step))

    def hook(event: str, arguments: tuple) -> None:
        touches = any(isinstance(a, str) and a.startswith(base) for a in arguments)
        if (touches or event == "ctypes.dlsym") and next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _check(base: pathlib.Path, new: range, latest: range) -> None:
    """Raises unless new versions are there, and all there is holds the number it should."""
    versions = _versions(base)
    assert set(new) - {1} <= set(versions), f"of {new} there are {versions}"
    for version in versions:
        found = _served_number(base / "flow" / str(version))
        wanted = latest if version == 1 else [version]
        assert found in wanted, f"version {version} is that of {found}, not of {wanted}"
    if latest[0]:
        assert 1 in versions, f"version 1 is lost, of {latest}"
    if latest[0] or (base / "model.keras").exists():
        distribution = keras.saving.load_model(base / "model.keras").distribution
        found = round(float(distribution.mean()[0]))
        assert found in latest, f"the file is that of {found}, not of {latest}"


def _versions(base: pathlib.Path) -> list[int]:
    flow = base / "flow"
    names = os.listdir(flow) if flow.exists() else []
    return sorted(int(name) for name in names if name.isdecimal())


def _served_number(directory: pathlib.Path) -> int:
    with cpp_loader.SavedModel(directory) as loaded:
        log_prob = loaded.run("log_prob", x=np.zeros([1, 1], np.float32))["log_prob"][0]
    return round(math.sqrt(max(0.0, -2.0 * log_prob - math.log(2.0 * math.pi))))


def main() -> int:
    """Prints what was found; returns 1 where something is broken, lost or left over."""
    arguments = _options().parse_args()
    with tempfile.TemporaryDirectory() as directory:
        campaign = Campaign(pathlib.Path(directory))
        seconds = campaign.seconds_of_a_round()
        rng = random.Random(arguments.seed)
        for _ in range(arguments.kills):
            campaign.kill_after(rng.uniform(0.0, 1.2 * seconds))
        print(f"killed at random: {_found(campaign)}", flush=True)
        steps = _steps(campaign, arguments.stride)
        print(f"killed at {steps} steps too: {_found(campaign)}")
        left = campaign.left_over()
        print(f"left over after one that was not killed: {left or 'nothing'}")
        return int(bool(campaign.faults or left))


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="at random moments")
    parser.add_argument("--stride", type=int, default=1, help="of the steps, every one of so many")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _steps(campaign: Campaign, stride: int) -> int:
    """Kills writers at each step of a round, up to the one that no step is left for."""
    for kills, step in enumerate(itertools.count(0, stride)):
        if not campaign.kill_at(step):
            return kills
    raise AssertionError


def _found(campaign: Campaign) -> str:
    return f"{campaign.kills} kills, {campaign.hits} in the middle, {campaign.faults} faults"


if __name__ == "__main__":
    sys.exit(main())
