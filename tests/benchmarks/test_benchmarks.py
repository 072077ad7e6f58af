"""The benchmarks: that they run and how they count, never how fast anything is."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import math
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any
from unittest import mock

import forking
import numpy as np
import pytest
from matplotlib import image

import tfp_genext as gx

ROOT = pathlib.Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
SPLITS = {"train": 300, "val": 700, "test": 400}
PROGRAMS = {
    "real_nvp": ["--quick", "--json", "real_nvp.json"],
    "maf": ["--quick", "--json", "maf.json"],
    "glow": ["--quick", "--json", "glow.json"],
    "neural": ["--quick", "--only", "coupled", "--json", "neural.json"],
    "miniboone": [
        "rows.npz",
        *["--flows", "nsf", "naf", "--seeds", "0", "--epochs", "2", "--hidden", "4"],
    ],
    "mnist": [
        "mnist.npz",
        "pictures",
        *["--flows", "nice", "--rows", "20", "--minutes", "0.02"],
    ],
    "mnist_gan": ["mnist.npz", "pictures", "--minutes", "0.02", "--samples", "300"],
    "mnist_vae": [
        "mnist.npz",
        *["--models", "k50", "maf_prior", "iaf_posterior", "--rows", "60", "--epochs", "1"],
        *["--tested", "10", "--samples", "20"],
    ],
    "modes": ["--objectives", "Relativistic", "--sets", "ring", "--seeds", "0", "--steps", "100"],
    "latents": ["--quick", "--json", "latents.json"],
    "serving": ["--quick", "--json", "serving.json"],
    "importing": ["--quick", "--json", "importing.json"],
    "op_counts": ["--quick"],
}


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its own module up.
    sys.modules[name] = module
    with mock.patch.object(sys, "path", [str(BENCHMARKS), *sys.path]):
        spec.loader.exec_module(module)
    return module


harness = _load("harness")


class FakeClock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> Callable[[], None]:
        """Returns a function that takes so many seconds."""

        def function() -> None:
            self.now += seconds

        return function


def _scripted(times: Sequence[float], log: list[str] | None = None, name: str = "") -> Any:
    remaining = iter(times)

    def stopwatch() -> float:
        if log is not None:
            log.append(name)
        return next(remaining)

    return stopwatch


def _row(a: Sequence[float], b: Sequence[float], **options: Any) -> Any:
    sides = {"a": _scripted(a), "b": _scripted(b)}
    return harness.Row("a row", sides, [("a", "b"), ("b", "a")], **options)


def _arguments(**changes: Any) -> argparse.Namespace:
    defaults = vars(harness.options(None).parse_args([]))
    return argparse.Namespace(**{**defaults, **changes})


def test_timed_counts_all_repeats() -> None:
    clock = FakeClock()
    assert harness.timed(clock.work(2.0), repeats=3, clock=clock)() == 6.0


def test_timed_fresh_leaves_out_the_preparation() -> None:
    clock = FakeClock()
    prepare, work = clock.work(100.0), clock.work(2.0)
    stopwatch = harness.timed_fresh(prepare, lambda prepared: work(), clock=clock)
    assert [stopwatch(), stopwatch()] == [2.0, 2.0]


def test_ratios_are_taken_within_a_round() -> None:
    # A machine that slows down a hundredfold slows both sides, and no ratio moves.
    row = _row([9.0, 2.0, 40.0, 600.0], [1.0, 1.0, 10.0, 100.0])
    ratio, inverse = harness.summarize(row, harness.measure(row, rounds=3, warm_ups=1))
    assert (ratio.min, ratio.median, ratio.max) == (2.0, 4.0, 6.0)
    assert (inverse.min, inverse.median, inverse.max) == (1 / 6, 1 / 4, 1 / 2)
    assert (ratio.numerator, ratio.denominator, ratio.rounds) == ("a", "b", 3)


def test_median_of_an_even_number_of_rounds() -> None:
    row = _row([1.0, 2.0, 4.0, 9.0], [1.0] * 4)
    assert harness.summarize(row, harness.measure(row, 4, warm_ups=0))[0].median == 3.0


def test_rounds_interleave_and_take_turns_at_starting() -> None:
    log: list[str] = []
    sides = {name: _scripted([1.0] * 4, log, name) for name in "abc"}
    rounds = harness.measure(harness.Row("a row", sides, [("a", "b")]), rounds=3, warm_ups=1)
    assert "".join(log) == "cab" + "abc" + "bca" + "cab"
    assert len(rounds) == 3


@pytest.mark.parametrize(("target", "verdict"), [(2.0, "met"), (1.99, "missed")])
def test_target_belongs_to_the_first_ratio(target: float, verdict: str) -> None:
    row = _row([4.0], [2.0], target=target)
    first, second = harness.summarize(row, harness.measure(row, 1, warm_ups=0))
    expected = ["a row", "a / b", "2.00", "2.00", "2.00", f"at most {target:.2f}: {verdict}"]
    assert first.cells == expected
    assert second.target is None and second.cells[-1] == ""


def test_run_prints_a_table_and_writes_the_same_numbers(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    row = _row([1.0, 2.0, 6.0], [1.0, 1.0, 2.0])
    arguments = _arguments(rounds=2, json=tmp_path / "numbers.json")
    ratios = harness.run([row], arguments)
    report = json.loads(arguments.json.read_text(encoding="utf-8"))
    assert report["ratios"] == [dataclasses.asdict(ratio) for ratio in ratios]
    assert report["seconds"] == {"a row": [{"a": 2.0, "b": 1.0}, {"a": 6.0, "b": 2.0}]}
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [*harness.table([]).splitlines(), *(_line(r.cells) for r in ratios)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def test_run_keeps_to_the_rounds_and_rows_asked_for() -> None:
    few = _row([1.0] * 3, [1.0] * 3, rounds=2)
    assert harness.run([few], _arguments(rounds=50))[0].rounds == 2
    assert harness.run([few], _arguments(only="another")) == []


def test_quick_is_one_round_without_targets() -> None:
    ratio = harness.run([_row([1.0], [1.0], target=0.5)], _arguments(quick=True))[0]
    assert (ratio.rounds, ratio.target) == (1, None)


@pytest.mark.parametrize("rounds", ["0", "-1"])
def test_rounds_must_be_positive(rounds: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        harness.options(None).parse_args(["--rounds", rounds])
    assert f"must be at least 1. Received: {rounds}" in capsys.readouterr().err


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where all programs run."""
    return tmp_path_factory.mktemp("benchmarks")


@pytest.fixture(scope="module")
def outputs(launcher: forking.Launcher, directory: pathlib.Path) -> Mapping[str, Any]:
    """What each program printed and wrote."""
    np.savez(directory / "rows.npz", **_rows())
    np.savez(directory / "mnist.npz", **_images())
    printed = {
        name: launcher.run(BENCHMARKS / f"{name}.py", options, directory)
        for name, options in PROGRAMS.items()
    }
    return {name: (text, _report(directory / f"{name}.json")) for name, text in printed.items()}


def _report(path: pathlib.Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _rows() -> dict[str, np.ndarray]:
    """Correlated rows in the form of the MINIBOONE file."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=[4, 4])
    return {k: rng.normal(size=[n, 4]) @ mixing for k, n in SPLITS.items()}


def _images() -> dict[str, np.ndarray]:
    """Images and labels in the form of the MNIST file, darker towards the edges."""
    rng = np.random.default_rng(0)
    shade = np.hanning(28)[:, None] * np.hanning(28) * 255.0
    draw = lambda n: (rng.uniform(size=[n, 28, 28]) * shade).astype(np.uint8)  # noqa: E731
    labels = {"y_train": np.arange(100) % 10, "y_test": np.arange(40) % 10}
    return {"x_train": draw(100), "x_test": draw(40), **labels}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("real_nvp", 26),
        ("maf", 27),
        ("glow", 5),
        ("neural", 4),
        ("latents", 6),
        ("serving", 6),
        ("importing", 1),
    ],
)
def test_program_reports_positive_finite_ratios(
    outputs: Mapping[str, Any], name: str, count: int
) -> None:
    printed, report = outputs[name]
    ratios = [harness.Ratio(**ratio) for ratio in report["ratios"]]
    assert len(ratios) == count
    for ratio in ratios:
        assert _line(ratio.cells) in printed
        assert 0.0 < ratio.min <= ratio.median <= ratio.max < math.inf


def test_real_nvp_measures_what_the_readme_says(outputs: Mapping[str, Any]) -> None:
    measured = set(outputs["real_nvp"][1]["seconds"])
    assert measured == {
        "training step, batch 8, plain",
        "training step, batch 8, XLA",
        "log_prob, 16 rows",
        "sample, 16 rows",
        "sample with density, 16 rows",
        "our sample, 16 rows",
        "our fit, 2 steps, Keras Adam",
        "building and first log_prob, eager",
        "tracing the training step, plain",
    }


def test_maf_measures_what_the_readme_says(outputs: Mapping[str, Any]) -> None:
    measured = set(outputs["maf"][1]["seconds"])
    wanted = {
        "training step, batch 8, plain",
        "training step, batch 8, XLA",
        "our fit, 2 steps, Keras Adam, plain",
        "our fit, 2 steps, Keras Adam, XLA",
        "log_prob, 16 rows",
    }
    for size in ("D = 2, 4 rows", "D = 3, 3 rows"):
        wanted |= {f"forward, {size}, {kind}" for kind in ("plain", "XLA")}
        wanted |= {f"first call of forward, {size}, {kind}" for kind in ("plain", "XLA")}
        wanted |= {f"sample, {size}", f"sample with density, {size}"}
    assert measured == wanted


def test_serving_tells_times_of_every_batch(outputs: Mapping[str, Any]) -> None:
    printed, report = outputs["serving"]
    names = [f"{s}, batch {n}" for s in ("log_prob", "sample") for n in (1, 32, 1000)]
    assert list(report["seconds"]) == names
    lines = _lines(printed.split("\n\n")[-1])
    assert [line[0] for line in lines] == names
    for name, median, most, *rates in lines:
        assert 0.0 < float(median) <= float(most) and all(float(rate) > 0.0 for rate in rates)
        assert float(rates[2]) >= float(rates[1]) - 1.0, name


def test_glow_has_sides_of_one_size(outputs: Mapping[str, Any]) -> None:
    printed, report = outputs["glow"]
    ours, theirs = (int(line.split()[1].replace(",", "")) for line in printed.splitlines()[:2])
    assert 0.8 < ours / theirs < 1.25
    assert "training step, batch 2" in report["seconds"]


def test_miniboone_trains_on_its_rows_and_tests_on_others(outputs: Mapping[str, Any]) -> None:
    printed, _ = outputs["miniboone"]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines()]
    flows = ["nsf", "naf"]
    assert [line[0] for line in lines] == ["flow", "---", "Gaussian", *flows]
    gaussian = float(lines[2][2])
    for name, seed, test, error, stopping, epochs, _, way_back in lines[3:]:
        assert name in flows and seed == "0" and epochs == "2"
        # A new flow is a standard normal, and a Gaussian is the truth here.
        assert -30.0 < float(test) < gaussian and -30.0 < float(stopping) < gaussian + 0.5
        assert 0.0 < float(error) < 1.0 and float(way_back) < 1e-4


def test_mnist_trains_for_its_time_and_draws_samples(outputs: Mapping[str, Any]) -> None:
    printed, _ = outputs["mnist"]
    _, _, *lines = [[c.strip() for c in row.split("|")[1:-1]] for row in printed.splitlines()]
    assert [line[0] for line in lines] == ["nice"]
    for _, _, minutes, epochs, *bits in lines:
        assert float(minutes) < 3.0 and int(epochs) >= 1
        # Eight bits are those of no model at all.
        assert all(2.0 < float(b) < 12.0 for b in bits)


def test_op_counts_show_one_evaluation_of_each_network(outputs: Mapping[str, Any]) -> None:
    printed, _ = outputs["op_counts"]
    _, *sections = printed.split("\n\n| operation | ours | TFP | by hand |\n")
    products = [_counts(section, "MatMul") for section in sections]
    # Two couplings of two layers each; TFP evaluates them twice where it needs both results.
    assert products[1:] == [[4, 8, 4], [4, 4, 4], [4, 8, 4]]
    assert products[0][0] == products[0][2] < products[0][1]


def _counts(section: str, operation: str) -> list[int]:
    (line,) = [row for row in section.splitlines() if row.startswith(f"| {operation} |")]
    return [int(cell) for cell in line.split("|")[2:-1]]


def _lines(printed: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    return [[c.strip() for c in row.split("|")[1:-1]] for row in printed.splitlines()][2:]


def test_vaes_are_scored_by_importance_weighting(outputs: Mapping[str, Any]) -> None:
    lines = _lines(outputs["mnist_vae"][0])
    assert [line[0] for line in lines] == ["k50", "maf_prior", "iaf_posterior"]
    for _, seed, parameters, _, epochs, negative_elbo, active, nll in lines:
        assert seed == "0" and epochs == "1" and int(parameters.replace(",", "")) > 400_000
        # Coin tosses have 784 ln 2 = 543 nats.
        assert 100.0 < float(nll.split()[0]) < float(negative_elbo) < 600.0
        assert 0 <= int(active) <= 50


def test_modes_are_counted(outputs: Mapping[str, Any]) -> None:
    ((name, kind, covered, good, _),) = _lines(outputs["modes"][0])
    assert (name, kind) == ("Relativistic", "ring")
    assert 0 <= int(covered.split()[0]) <= 8 and covered.endswith("of 8")
    assert 0 <= int(good.split()[0]) <= 100


def test_modes_are_judged_by_distance_and_share() -> None:
    modes = _load("modes").Modes(np.array([[0.0, 0.0], [1.0, 0.0]]), 0.1)
    samples = np.array([[0.0, 0.29]] * 9 + [[1.0, 0.31]] * 10 + [[1.0, 0.0]])
    assert modes.judged(samples) == (2, 0.5)
    assert modes.judged(samples[:-1]) == (1, 9 / 19)


def test_digits_of_a_gan_are_read_and_drawn(
    outputs: Mapping[str, Any], directory: pathlib.Path
) -> None:
    ((seed, parameters, minutes, epochs, right, sure, *pairs, classes),) = _lines(
        outputs["mnist_gan"][0]
    )
    assert seed == "0" and int(parameters.replace(",", "")) > 100_000
    assert float(minutes) < 3.0 and int(epochs) >= 1
    assert 0.0 <= float(right) <= 100.0 and len(sure.split(" / ")) == 2
    found, wanted = np.transpose([[float(n) for n in pair.split(" / ")] for pair in pairs])
    np.testing.assert_array_equal(wanted, [10.0] * 10)
    assert sum(found) == pytest.approx(100.0, abs=0.5)
    assert classes == f"{np.sum(found >= 5.0)} of 10"
    picture = image.imread(directory / "pictures" / "mnist_gan.png")
    assert min(picture.shape[:2]) > 300 and picture.std() > 0.01


def test_classes_are_counted_by_half_their_share() -> None:
    gan = _load("mnist_gan")
    found = gan.shares(np.repeat(np.arange(10), [5, 4, 11, *[10] * 6, 20]))
    np.testing.assert_allclose(found[:3], [0.05, 0.04, 0.11])
    assert gan.covered(found, np.full([10], 0.1)) == 9
    assert gan.covered(found, np.eye(10)[0]) == 9


def test_sheet_lays_images_row_by_row() -> None:
    images = np.arange(7)[:, np.newaxis, np.newaxis] * np.ones([7, 2, 3])
    sheet = _load("pictures").sheet(images, 3)
    np.testing.assert_array_equal(sheet, np.kron([[0, 1, 2], [3, 4, 5]], np.ones([2, 3])))


def test_games_by_hand_are_the_same_games() -> None:
    by_hand = _load("latents_by_hand")
    real, fake = np.array([1.5, -0.5], np.float32), np.array([0.25, -2.0], np.float32)
    for name, kind in by_hand.GANS.items():
        theirs = kind.discriminator_loss(None, real, fake)
        ours = getattr(gx.objectives, name)().discriminator_loss(real, fake)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
