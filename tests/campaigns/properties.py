"""Properties on thousands of random configurations, and what fails, as small as it gets.

python tests/campaigns/properties.py [--cases 10000] [--seed 0] [--part 1/2] [--only TEXT]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# For so small tensors threads only wait for each other.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import argparse
import gc
import pathlib
import sys
import time
import traceback

import hypothesis
import keras

# The directory of this program has a module of the same name.
sys.path[0] = str(pathlib.Path(__file__).parents[1])

import property_table  # noqa: E402

# Phases without the one that explains failures, which takes long.
_PHASES = [hypothesis.Phase.generate, hypothesis.Phase.shrink]


def main() -> int:
    """Prints a line for each property and whatever fails; returns 1 where something does."""
    arguments = _options().parse_args()
    chosen = [p for p in property_table.PROPERTIES if arguments.only in p.name]
    if not chosen:
        _options().error(f"no property's name contains {arguments.only!r}")
    part, parts = arguments.part
    chosen, shares = chosen[part - 1 :: parts], sum(p.share for p in chosen)
    start, processor, total, failed = time.perf_counter(), time.process_time(), 0, 0
    for number, case in enumerate(chosen, start=1):
        cases = -(-arguments.cases * case.share // shares)
        tried, wrong = _tried(case, cases, arguments.seed)
        total, failed = total + tried, failed + wrong
        print(f"  {number} of {len(chosen)} properties, {total} cases so far", flush=True)
    minutes = (time.perf_counter() - start) / 60.0
    own = (time.process_time() - processor) / 60.0
    print(
        f"{total} cases of {len(chosen)} properties in {minutes:.1f} min, {own:.1f} min of a "
        f"processor: {failed} properties fail"
    )
    return int(failed > 0)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--part",
        type=lambda text: tuple(map(int, text.split("/"))),
        default=(1, 1),
        metavar="I/N",
        help="of the properties, for N processes; each does its share of the cases",
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="of names of properties")
    return parser


def _tried(case: property_table.Property, cases: int, seed: int) -> tuple[int, int]:
    """Returns how many configurations were drawn, and whether one fails, which it prints."""
    tried = 0

    @hypothesis.seed(seed)
    @hypothesis.settings(property_table.SETTINGS, max_examples=cases, phases=_PHASES)
    @hypothesis.given(case.cases)
    def holds(configuration: object) -> None:
        nonlocal tried
        tried += 1
        if tried % 200 == 0:
            keras.utils.clear_session()
            gc.collect()
        case.check(configuration)

    start, wrong = time.process_time(), 0
    try:
        holds()
    except Exception:
        wrong = 1
        print(f"{case.name} fails, with seed {seed}:\n{traceback.format_exc(limit=-6)}")
    seconds = time.process_time() - start
    each = f"{1e3 * seconds / tried:.0f} ms each"
    print(f"{case.name}: {tried} cases, {seconds:.0f} s of a processor, {each}", flush=True)
    return tried, wrong


if __name__ == "__main__":
    sys.exit(main())
