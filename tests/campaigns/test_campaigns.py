"""The campaigns run, in a short form."""

from __future__ import annotations

import pathlib
import re

import forking

CAMPAIGNS = pathlib.Path(__file__).parent


def test_maf_endurance(launcher: forking.Launcher, tmp_path: pathlib.Path) -> None:
    options = ["--samples", "2000", "--calls", "20", "--epochs", "1"]
    printed = launcher.run(CAMPAIGNS / "maf_endurance.py", options, tmp_path)
    assert "2000 of 2000 samples are finite" in printed
    assert printed.count("calls of log_prob added") == 2


def test_memory(launcher: forking.Launcher, tmp_path: pathlib.Path) -> None:
    # The whole campaign for one flow: a thousand calls, eager and compiled, in flat memory.
    options = ["--calls", "1000", "--only", "nice_conditional"]
    printed = launcher.run(CAMPAIGNS / "memory.py", options, tmp_path)
    assert printed.startswith("nice_conditional: eager ") and printed.count(" MB") == 2


def test_serving_soak(launcher: forking.Launcher, tmp_path: pathlib.Path) -> None:
    options = ["--minutes", "0.2", "--pause", "0.0", "--models", "flow"]
    printed = launcher.run(CAMPAIGNS / "serving_soak.py", options, tmp_path)
    (counts,) = re.findall(r"(\d+) questions: (\d+) right answers, (\d+) due errors", printed)
    questions, good, bad = map(int, counts)
    assert questions > 100 and good > 20 and bad > 20
    assert re.search(r"memory: .* MB in the last fifth", printed)


def test_interrupted(launcher: forking.Launcher, tmp_path: pathlib.Path) -> None:
    options = ["--kills", "4", "--stride", "9"]
    printed = launcher.run(CAMPAIGNS / "interrupted.py", options, tmp_path)
    assert re.search(r"killed at random: 5 kills, \d in the middle, 0 faults", printed)
    assert re.search(r"killed at [3-9] steps too: \d+ kills, \d+ in the middle, 0 faults", printed)
    assert "left over after one that was not killed: nothing" in printed


def test_hostile_files(launcher: forking.Launcher, tmp_path: pathlib.Path) -> None:
    printed = launcher.run(CAMPAIGNS / "hostile_files.py", ["--number", "34"], tmp_path)
    assert printed.endswith("34 files, 0 at fault\n") and printed.count(" refused") > 15


def test_two_devices(launcher: forking.Launcher, tmp_path: pathlib.Path) -> None:
    options = ["--only", "mixture", "--rows", "17"]
    printed = launcher.run(CAMPAIGNS / "two_devices.py", options, tmp_path)
    assert printed.count("mixture, ") == 2 and printed.endswith("two devices train as one\n")


def test_killed(launcher: forking.Launcher, tmp_path: pathlib.Path) -> None:
    options = ["--kills", "1", "--rows", "320", "--kind", "mixture"]
    printed = launcher.run(CAMPAIGNS / "killed.py", options, tmp_path)
    assert re.search(r"^1 kills, \d+ trainings, 0 of them ended elsewhere$", printed, re.MULTILINE)


def test_properties(launcher: forking.Launcher, tmp_path: pathlib.Path) -> None:
    options = ["--cases", "30", "--only", "scalars"]
    printed = launcher.run(CAMPAIGNS / "properties.py", options, tmp_path)
    assert "1 of 1 properties, 3" in printed and "0 properties fail" in printed
