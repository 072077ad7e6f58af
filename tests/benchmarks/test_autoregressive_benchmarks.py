"""The programs that measure autoregressive distributions run, and say what they should."""

from __future__ import annotations

import importlib
import math
import pathlib
import sys

import numpy as np
import pytest
from matplotlib import image

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def lines(monkeypatch, capsys, tmp_path):
    """Runs a program in this process; returns the cells of its table's rows."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)

    def run(program, *arguments):
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        importlib.import_module(program).main()
        rows = [row for row in capsys.readouterr().out.splitlines() if row.startswith("|")]
        return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]

    return run


def test_samples_stand_against_densities_and_passes(lines):
    rows = lines("autoregressive", "--quick")
    assert [row[1] for row in rows] == [
        *["sample / log_prob"] * 2,
        "ours / tfd.Autoregressive",
    ] * 2
    assert all(0.0 < float(row[2]) < math.inf for row in rows)


def test_binary_sets_are_tested_on_rows_of_their_own(lines, tmp_path):
    rng = np.random.default_rng(0)
    parts = {name: rng.integers(0, 2, [n, 5]) for name, n in (("train", 60), ("valid", 30))}
    test = np.ones([20, 5], int)
    np.savez(tmp_path / "bits.npz", **parts, test=test)
    (row,) = lines(
        "binary", "bits.npz", "--seeds", 0, 1, "--epochs", 3, "--hidden-units", 8, "--num-masks", 2
    )
    name, rows, size, tests, mean, _, epochs, _ = row
    assert (name, rows, size) == ("bits", "60", "5")
    each = [float(t) for t in tests.split()]
    # Coins have -3.47; two seeds are two trainings.
    assert all(-7.0 < t < -1.0 for t in each) and each[0] != each[1]
    assert float(mean) == pytest.approx(np.mean(each), abs=2e-3)
    assert all(1 <= int(e) <= 3 for e in epochs.split())


def test_mnist_is_learned_in_a_given_time_and_drawn(lines, tmp_path):
    rng = np.random.default_rng(0)
    images = {f"x_{part}": rng.integers(0, 256, [40, 28, 28]) for part in ("train", "test")}
    np.savez(tmp_path / "mnist.npz", **{k: v.astype("uint8") for k, v in images.items()})
    (row,) = lines(
        "mnist_autoregressive",
        *["mnist.npz", "pictures", "--models", "made", "--minutes", 0.01, "--samples", 4],
    )
    name, _, minutes, epochs, validation, test = row
    assert name == "made" and float(minutes) < 1.0 and int(epochs) >= 1
    # New, a bit is a half: 784 log 2 = 543 nats; so few steps leave it near.
    assert 400.0 < float(validation) < 700.0 and 400.0 < float(test.split()[0]) < 700.0
    assert image.imread(tmp_path / "pictures" / "made.png").shape[:2] == (58, 58)
