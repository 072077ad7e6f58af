"""1,000 `.keras` files that are damaged or made to do harm: each is refused, or loads rightly.

Small models of several kinds are saved, and their files changed: bits, lengths, members, what the
configuration says, the weights inside; files of weights alone, too, which are loaded into the sound
model, and leave it as it is where they are refused. Each file is loaded in a process of its own,
forked from one that has TensorFlow imported and nothing run. Of each load it must hold that

    nothing runs      no process, no connection, nothing written outside the temporary directory
                      nor under the name that the files ask for,
                      nothing compiled or imported that a sound file would not (audit hooks)
    nothing hangs     it ends within a minute
    nothing swells    it takes less than 400 MB beyond what a sound file takes
    nothing crashes   it ends as a Python program does
    it is clear       an error is a ValueError that names the file and says what was received, and
                      nothing is left in the temporary directory
    it is right       a file of which bits flipped, a member was lost or the like, and that loads
                      all the same, gives the answers of the sound one

python tests/campaigns/hostile_files.py [--number 1000] [--seed 0] [--only TEXT] [--keep DIRECTORY]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import collections
import pathlib
import sys
import tempfile
from collections.abc import Callable, Sequence

import hostile_archives as archives
import hostile_configs as configs
import hostile_loads as loads
import numpy as np

Mutation = Callable[[bytes, bytes, np.random.Generator], bytes]


def _plain(change: Callable[[bytes, np.random.Generator], bytes]) -> Mutation:
    return lambda data, _, rng: change(data, rng)


def _of_config(change: Callable, *, text: bool = False) -> Mutation:
    return lambda data, _, rng: archives.reconfigured(data, change, rng, text=text)


def _of_weights(change: Callable) -> Mutation:
    return lambda data, _, rng: archives.reweighted(data, change, rng)


def _of_weights_alone(change: Callable) -> Mutation:
    return lambda data, _, rng: archives.changed_weights(
        archives.members(data)[archives.WEIGHTS], change, rng
    )


# What a mutation makes must load to the same answers, if it loads.
SAME: dict[str, Mutation] = {
    "bits": _plain(archives.flipped),
    "bits at the end": _plain(archives.flipped_at_the_end),
    "cut off": _plain(archives.truncated),
    "zeroed": _plain(archives.zeroed),
    "members": archives.mixed,
    "more members": _plain(archives.more_members),
    "repacked": _plain(archives.repacked),
}
# And here the numbers may be others, but for weights that are not there at all.
OTHER: dict[str, Mutation] = {
    **{name: _of_config(change) for name, change in configs.CHANGES.items()},
    **{name: _of_config(change, text=True) for name, change in configs.TEXT_CHANGES.items()},
    **{name: _of_weights(change) for name, change in archives.WEIGHT_CHANGES.items()},
}
# And these are files of weights, which are loaded into the sound model.
ALONE: dict[str, Mutation] = {
    f"{name}, alone": _of_weights_alone(change) for name, change in archives.WEIGHT_CHANGES.items()
}
MUTATIONS = {**SAME, **OTHER, **ALONE}
NOT_THERE = (
    "lost weights",
    "weights cut off",
    "weights that claim to be huge",
    "linked weights",
    "groups for weights",
)


def main() -> int:
    """Prints what became of the files; returns 1 where one did harm or loaded wrongly."""
    arguments = _options().parse_args()
    names = [name for name in MUTATIONS if arguments.only in name]
    if not names:
        _options().error(f"no mutation's name contains {arguments.only!r}")
    with tempfile.TemporaryDirectory() as directory:
        sound = loads.sound_files(pathlib.Path(directory))
        found = _campaign(sound, names, arguments)
    _summary(found)
    return int(any(result.faults for _, result in found))


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="TEXT", help="mutations named so")
    parser.add_argument("--keep", type=pathlib.Path, help="where files that did harm are kept")
    return parser


def _campaign(
    sound: Sequence[loads.Sound], names: Sequence[str], arguments: argparse.Namespace
) -> list[tuple[str, loads.Result]]:
    found = []
    for i in range(arguments.first, arguments.first + arguments.number):
        name = names[i % len(names)]
        rng = np.random.default_rng([arguments.seed, i])
        model, other = (sound[int(k)] for k in rng.permutation(len(sound))[:2])
        data = MUTATIONS[name](model.data, other.data, rng)
        same = name in SAME or name.removesuffix(", alone") in NOT_THERE
        result = loads.loaded(model, data, same=same, weights=name in ALONE)
        found.append((name, result))
        for fault in result.faults:
            print(f"{i} {model.name}, {name}: {fault}\n    {result.told}", flush=True)
        if result.faults and arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            (arguments.keep / f"{i}_{model.name}.keras").write_bytes(data)
        if (i + 1) % 50 == 0:
            print(f"{i + 1} files, {sum(bool(r.faults) for _, r in found)} at fault", flush=True)
    return found


def _summary(found: Sequence[tuple[str, loads.Result]]) -> None:
    counts = collections.Counter((name, result.outcome) for name, result in found)
    for name in dict(found):
        own = ", ".join(f"{n} {outcome}" for (of, outcome), n in counts.items() if of == name)
        print(f"{name}: {own}")
    results = [result for _, result in found]
    print(f"largest: {max(r.megabytes for r in results):.0f} MB beyond a sound file")
    print(f"longest: {max(r.seconds for r in results):.1f} s")
    print(f"{len(results)} files, {sum(bool(r.faults) for r in results)} at fault")


if __name__ == "__main__":
    sys.exit(main())
