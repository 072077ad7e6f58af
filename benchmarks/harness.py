"""A small timing harness with interleaved rounds, whose results are ratios.

On shared machines absolute times are noisy. Every round times each side once, directly after each
other. Load in a round slows all sides alike, so that the ratio of two sides is stable. A row has
the median of the ratios of all rounds, with minimum and maximum.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import gc
import importlib.metadata
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

Stopwatch = Callable[[], float]
Clock = Callable[[], float]
Round = Mapping[str, float]

_PACKAGES = {"TensorFlow": "tensorflow", "TFP": "tensorflow-probability", "Keras": "keras"}
_HEADER = ("measured", "ratio", "median", "min", "max", "target")


@dataclasses.dataclass(frozen=True)
class Row:
    """One measured quantity: its sides, and the reported ratios between them.

    Args:
      name: name of the measured quantity.
      sides: a stopwatch for each side, which runs it and returns the duration in seconds.
      ratios: pairs of names of sides, numerator and denominator.
      target: upper bound of the median of the first ratio; `None` for no bound.
      rounds: number of rounds. Default: that of the run.
    """

    name: str
    sides: Mapping[str, Stopwatch]
    ratios: Sequence[tuple[str, str]]
    target: float | None = None
    rounds: int | None = None


@dataclasses.dataclass(frozen=True)
class Ratio:
    """The statistics of one ratio over all rounds."""

    measured: str
    numerator: str
    denominator: str
    median: float
    min: float
    max: float
    rounds: int
    target: float | None

    @property
    def cells(self) -> list[str]:
        """Returns the cells of the table."""
        numbers = [_short(value) for value in (self.median, self.min, self.max)]
        return [
            self.measured,
            f"{self.numerator} / {self.denominator}",
            *numbers,
            _verdict(self.median, self.target),
        ]


def timed(
    function: Callable[[], Any], repeats: int = 1, clock: Clock = time.perf_counter
) -> Stopwatch:
    """Returns a stopwatch for `repeats` calls of a function."""

    def stopwatch() -> float:
        start = clock()
        for _ in range(repeats):
            function()
        return clock() - start

    return stopwatch


def timed_fresh(
    prepare: Callable[[], Any],
    function: Callable[[Any], Any],
    clock: Clock = time.perf_counter,
) -> Stopwatch:
    """Returns a stopwatch for a call on a new object, whose creation is not timed."""

    def stopwatch() -> float:
        prepared = prepare()
        start = clock()
        function(prepared)
        return clock() - start

    return stopwatch


def measure(row: Row, rounds: int, warm_ups: int = 1) -> list[Round]:
    """Times every side once in each round, without the warm-up rounds at the start."""
    gc.collect()
    return [_round(row.sides, i) for i in range(-warm_ups, rounds)][warm_ups:]


def _round(sides: Mapping[str, Stopwatch], index: int) -> Round:
    # With a fixed order a side would always find the caches of the same other side.
    names = list(sides)
    first = index % len(names)
    return {name: sides[name]() for name in names[first:] + names[:first]}


def summarize(row: Row, rounds: Sequence[Round]) -> list[Ratio]:
    """Returns the statistics of every ratio of a row."""
    targets = [row.target] + [None] * len(row.ratios)
    return [_ratio(row.name, pair, rounds, t) for pair, t in zip(row.ratios, targets, strict=False)]


def _ratio(
    name: str, pair: tuple[str, str], rounds: Sequence[Round], target: float | None
) -> Ratio:
    values = [seconds[pair[0]] / seconds[pair[1]] for seconds in rounds]
    median = statistics.median(values)
    return Ratio(name, *pair, median, min(values), max(values), len(values), target)


def _verdict(median: float, target: float | None) -> str:
    if target is None:
        return ""
    return f"at most {_short(target)}: {'met' if median <= target else 'missed'}"


def _short(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def table(rows: Iterable[Sequence[str]], header: Sequence[str] = _HEADER) -> str:
    """Returns a Markdown table."""
    return "\n".join(_line(cells) for cells in (header, ["---"] * len(header), *rows))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def options(description: str | None, rounds: int = 40) -> argparse.ArgumentParser:
    """Returns the parser of the command line that all benchmarks share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=_positive, default=rounds, help="rounds of each row")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all numbers there")
    parser.add_argument("--quick", action="store_true", help="one round of tiny sizes, as a trial")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name contains it")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1. Received: {value}")
    return value


def run(rows: Iterable[Row], arguments: argparse.Namespace) -> list[Ratio]:
    """Measures rows, prints the table line by line, and writes the JSON file."""
    conditions = _conditions()
    print(", ".join(f"{name} {value}" for name, value in conditions.items()) + "\n")
    print(table([]), flush=True)
    measured = [(row, _run(row, arguments)) for row in _chosen(rows, arguments)]
    ratios = [ratio for row, rounds in measured for ratio in summarize(row, rounds)]
    if arguments.json:
        report = {
            "conditions": conditions,
            "ratios": [dataclasses.asdict(ratio) for ratio in ratios],
            "seconds": {row.name: rounds for row, rounds in measured},
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return ratios


def _chosen(rows: Iterable[Row], arguments: argparse.Namespace) -> Iterator[Row]:
    for row in rows:
        if arguments.only in row.name:
            # The targets are for the full sizes.
            yield dataclasses.replace(row, target=None) if arguments.quick else row


def _run(row: Row, arguments: argparse.Namespace) -> list[Round]:
    if arguments.quick:
        rounds = measure(row, rounds=1, warm_ups=0)
    else:
        rounds = measure(row, row.rounds or arguments.rounds)
    for ratio in summarize(row, rounds):
        print(_line(ratio.cells), flush=True)
    return rounds


def _conditions() -> dict[str, str]:
    return {
        "date": datetime.date.today().isoformat(),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        **{name: importlib.metadata.version(package) for name, package in _PACKAGES.items()},
    }
