"""The tutorials run, say what they should, and open as notebooks; their page keeps its promises."""

from __future__ import annotations

import ast
import importlib.util
import math
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

import forking
import numpy as np
import pytest
from matplotlib import image
from sklearn.datasets import load_digits

ROOT = pathlib.Path(__file__).parent.parent.parent
TUTORIALS = ROOT / "tutorials"
PAGE = (TUTORIALS / "README.md").read_text(encoding="utf-8")

# Files that the tutorials use and that are none themselves.
HELPERS = {"support", "query_savedmodel", "moons_worker"}
# Name of each tutorial and the fewest cells it should have.
NUM_CELLS = {
    "quickstart": 18,
    "affine_coupling": 12,
    "tfp_pipelines": 14,
    "densities": 12,
    "glow": 12,
    "vae": 16,
    "gan": 14,
    "side_by_side": 10,
    "autoregressive": 14,
    "two_workers": 10,
}
NAMES = sorted(NUM_CELLS)

# Warnings that importing TFP and saving any Keras model raise; all others are errors.
HOSTS_WARNINGS = ("distutils Version classes", "__array__ implementation doesn't accept a copy")
STRICT = ["-W", "error", *(f"-Wignore:{text}:DeprecationWarning" for text in HOSTS_WARNINGS)]

NUMBER = r"(-?\d+(?:\.\d+)?(?:e[+-]\d+)?)"


def _cells(name: str) -> list[tuple[str, str]]:
    """Returns the cells of a program in percent format, each with its marker."""
    text = (TUTORIALS / f"{name}.py").read_text(encoding="utf-8")
    parts = re.split(r"^(# %%.*)\n", text, flags=re.MULTILINE)
    assert parts[0] == "", "the first line must be a cell's marker"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _numbers(pattern: str, printed: str) -> list[float]:
    """Returns the numbers of the one line that matches a pattern with `#` for each number."""
    found = re.findall("^" + pattern.replace("#", NUMBER) + "$", printed, re.MULTILINE)
    assert len(found) == 1, (pattern, printed)
    numbers = [float(n) for n in (found[0] if isinstance(found[0], tuple) else found)]
    assert all(map(math.isfinite, numbers))
    return numbers


def _check_pictures(directory: pathlib.Path, names: Sequence[str]) -> None:
    for name in names:
        picture = image.imread(directory / f"{name}.png")
        assert min(picture.shape[:2]) > 300 and picture.std() > 0.01


def _stand_in_for_mnist(directory: pathlib.Path) -> pathlib.Path:
    """Writes scikit-learn's digits as a file like Keras' `mnist.npz`; returns its path."""
    digits = load_digits()
    images = np.kron(digits.images, np.ones([3, 3])) * 255.0 / 16.0
    images = np.pad(images, [[0, 0], [2, 2], [2, 2]]).astype("uint8")
    path = directory / "digits.npz"
    np.savez(
        path,
        x_train=images[:1500],
        y_train=digits.target[:1500],
        x_test=images[1500:],
        y_test=digits.target[1500:],
    )
    return path


Run = Callable[..., str]


@pytest.fixture(scope="module")
def strict_launcher() -> Iterator[forking.Launcher]:
    with forking.Launcher(STRICT, [ROOT]) as started:
        yield started


@pytest.fixture
def run(strict_launcher: forking.Launcher, tmp_path: pathlib.Path) -> Run:
    """What a tutorial prints in its short mode, run from another directory."""

    def printed(name: str, *arguments: str | pathlib.Path) -> str:
        options = ["--short", "--output", tmp_path / "output", *arguments]
        return strict_launcher.run(TUTORIALS / f"{name}.py", options, tmp_path)

    return printed


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("import warnings; warnings.warn('old')", "UserWarning: old"),
        ("import sys; sys.exit('no')", "no"),
        ("import os; os.abort()", "ended with -6"),
    ],
)
def test_a_program_that_fails_is_an_error(
    strict_launcher: forking.Launcher, tmp_path: pathlib.Path, body: str, error: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(body, encoding="utf-8")
    with pytest.raises(AssertionError, match=error):
        strict_launcher.run(program, [], tmp_path)


def test_programs_know_nothing_of_each_other(
    strict_launcher: forking.Launcher, tmp_path: pathlib.Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import keras, sys\n"
        "print(__name__, sys.argv[1:], keras.config.floatx(), vars(keras).get('mark'))\n"
        "keras.config.set_floatx('float64'); keras.mark = 1\n"
    )
    for argument in ("a", "b"):
        printed = strict_launcher.run(program, [argument], tmp_path)
        assert printed == f"__main__ ['{argument}'] float32 None\n"


def test_quickstart_goes_from_data_to_server(run: Run, tmp_path: pathlib.Path) -> None:
    printed = run("quickstart")
    gaussian, _ = _numbers("held-out NLL, Gaussian +# nats +# bits/dim", printed)
    assert gaussian == pytest.approx(-50.7, abs=1.0)
    for name in ("Real NVP", "MAF"):
        flow, bits = _numbers(f"held-out NLL, {name} +# nats +# bits/dim", printed)
        assert bits == pytest.approx((flow / 64 + math.log(17)) / math.log(2), abs=2e-3)
        assert _numbers(f"{name} is better by # nats an image", printed) == [
            pytest.approx(gaussian - flow, abs=0.06)
        ]
    assert "a newly built model that reads them agrees to the last bit" in printed
    assert "answered in a process without keras, tf_keras, tensorflow_probability" in printed
    for what in ("log-densities", "samples"):
        (difference,) = _numbers(f"largest difference between served and local {what}: #", printed)
        assert difference < 1e-3
    output = tmp_path / "output"
    _check_pictures(output, ["quickstart"])
    assert (output / "quickstart.weights.h5").is_file()
    assert (output / "digits" / "1" / "saved_model.pb").is_file()


def test_affine_coupling_shows_layer_flow_and_density(run: Run, tmp_path: pathlib.Path) -> None:
    printed = run("affine_coupling")
    assert "the inverse returns, the log-determinant is the Jacobian's" in printed
    assert _numbers("gradients reach # of the network's # weight arrays", printed) == [4, 4]
    _numbers("NLL of points not seen in training: # nats", printed)
    (integral,) = _numbers("integral of the density over the picture: #", printed)
    assert 0.8 < integral < 1.01
    names = [f"affine_coupling_{part}" for part in ("layer", "flow", "density")]
    _check_pictures(tmp_path / "output", names)


def test_tfp_pipelines_go_through_vi_mcmc_and_joint_distributions(
    run: Run, tmp_path: pathlib.Path
) -> None:
    printed = run("tfp_pipelines")
    for name in ("Gaussian", "flow"):
        (elbo,) = _numbers(f"ELBO of the {name}: # nats", printed)
        assert -60.0 < elbo < -25.0
    for name in ("HMC", "NeuTra"):
        draws, effective = _numbers(f"# draws of {name} are worth # independent ones", printed)
        assert effective > 0 and draws == 400
    for name in ("prior", "amortised_posterior"):
        _numbers(f"NLL of the {name}: # nats", printed)
    for y in ("-1.5", " 0.0", " 1.5"):
        (divergence,) = _numbers(
            f"y = {y}: divergence of amortised from exact posterior: # nats", printed
        )
        assert 0.0 < divergence < 5.0
    names = [f"tfp_pipelines_{part}" for part in ("posterior", "amortised")]
    _check_pictures(tmp_path / "output", names)


def test_densities_stand_beside_the_truth(run: Run, tmp_path: pathlib.Path) -> None:
    printed = run("densities")
    for truth in ("eight Gaussians", "two rings", "checkerboard"):
        for name in ("MAF", "NSF", "NAF"):
            divergence, error = _numbers(f"{truth}, {name}: # \\+- # nats from the truth", printed)
            # A standard normal, which a new flow is, stands at most 3 nats from any of them.
            assert 0.0 < divergence < 3.0 and 0.0 < error < 0.1
    for name in ("MAF", "NSF", "NAF"):
        (error,) = _numbers(f"{name}: noise to data and back is off by # at most", printed)
        assert error < 1e-4
    _check_pictures(tmp_path / "output", ["densities", "densities_samples"])


def test_glow_has_temperatures_and_a_way_between_images(run: Run, tmp_path: pathlib.Path) -> None:
    printed = run("glow")
    bits, most = _numbers("held-out images: # bits/dim of #", printed)
    assert 1.0 < bits < most == pytest.approx(math.log2(17), abs=1e-3)
    spreads = [
        _numbers(f"temperature {t}: pixels vary by #", printed)[0] for t in ("0.5", "0.75", "1.0")
    ]
    assert 0.0 < spreads[0] < spreads[1] < spreads[2]
    (error,) = _numbers(
        "real images come back from their noise within # of a pixel's step", printed
    )
    assert error < 1e-3
    _check_pictures(tmp_path / "output", ["glow_temperatures", "glow_between"])


def test_vae_has_a_map_two_priors_and_samples(run: Run, tmp_path: pathlib.Path) -> None:
    printed = run("vae", "--data", _stand_in_for_mnist(tmp_path))
    found = {}
    for name in ("Gaussian", "flow"):
        elbo, reconstruction, kl, nll = _numbers(
            f"{name} prior, held-out images: negative ELBO # nats = "
            "reconstruction # \\+ KL #; NLL # nats",
            printed,
        )
        assert elbo == pytest.approx(reconstruction + kl, abs=0.02)
        # A coin for every pixel has 784 log 2.
        assert 50.0 < nll < elbo + 0.5 < 784 * math.log(2) and kl > -0.5
        found[name] = elbo, nll
    for i, what in enumerate(("negative_elbo", "nll")):
        (gain,) = _numbers(f"the flow prior gains # nats of {what}", printed)
        assert gain == pytest.approx(found["Gaussian"][i] - found["flow"][i], abs=0.02)
    _check_pictures(tmp_path / "output", ["vae_map", "vae_priors", "vae_images"])


def test_gan_shows_a_ring_and_digits(run: Run, tmp_path: pathlib.Path) -> None:
    printed = run("gan", "--data", _stand_in_for_mnist(tmp_path))
    good, modes = _numbers("data: # % good, # modes of 8", printed)
    # Within three standard deviations in the plane.
    assert good == pytest.approx(100.0 * (1.0 - math.exp(-4.5)), abs=0.5) and modes == 8
    for steps in (0, 25, 50):
        good, modes = _numbers(f"after {steps} steps: # % good, # modes of 8", printed)
        assert 0.0 <= good <= 100.0 and 0 <= modes <= 8
    (right,) = _numbers("the classifier is right on # % of real held-out images", printed)
    (agreed,) = _numbers("it sees the digit asked for in # % of samples", printed)
    assert 50.0 < right <= 100.0 and 0.0 <= agreed <= 100.0
    output = tmp_path / "output"
    _check_pictures(output, ["gan_ring", "gan_digits"])
    assert len(list((output / "gan_digits").iterdir())) == 3


def test_side_by_side_tells_bound_estimate_and_density(run: Run, tmp_path: pathlib.Path) -> None:
    printed = run("side_by_side")
    bound, estimate = _numbers(r"VAE +\| yes +\| +# nats +\| +# nats +\| none", printed)
    exact, best = (
        _numbers(rf"{name} +\| yes +\| not needed +\| not needed +\| # nats", printed)[0]
        for name in ("flow", "truth")
    )
    # No model is better than the truth, but for chance; standard normals have 3 nats at most.
    assert best == pytest.approx(1.0, abs=0.1)
    assert best - 0.05 < exact < 3.0 and best - 0.05 < estimate < bound + 0.05 < 3.5
    for name in ("VAE", "flow"):
        (integral,) = _numbers(f"integral of what the {name} says over the picture: #", printed)
        assert 0.5 < integral < 1.05
    _check_pictures(tmp_path / "output", ["side_by_side"])


def test_autoregressive_models_see_what_came_before_and_go_on(
    run: Run, tmp_path: pathlib.Path
) -> None:
    printed = run("autoregressive", "--data", _stand_in_for_mnist(tmp_path))
    assert _numbers("MADE sees # of # earlier pixels", printed) == [406, 406]
    plain, gated = (
        _numbers(f"PixelCNN, {kind} sees # of 406 earlier pixels", printed)[0]
        for kind in ("plain", "gated")
    )
    assert 0 < plain < gated < 406
    for name in ("MADE", "PixelCNN"):
        (nll,) = _numbers(f"{name}: # nats on held-out images", printed)
        # A coin for every pixel has 784 log 2.
        assert 50.0 < nll < 784 * math.log(2) + 1.0
    assert "the upper halves are kept, bit for bit" in printed
    names = [f"autoregressive_{part}" for part in ("sight", "halves")]
    _check_pictures(tmp_path / "output", names)


def test_two_workers_end_as_one_though_one_was_killed(run: Run, tmp_path: pathlib.Path) -> None:
    printed = run("two_workers")
    killed, epochs = _numbers("worker 1 was killed after # epochs of #", printed)
    (again,) = _numbers("started again, they did the last # epochs", printed)
    assert killed < epochs <= killed + again
    assert _numbers("between the workers: weights differ by #", printed) == [0.0]
    (distance,) = _numbers("from the single process: weights differ by #", printed)
    assert distance < 1e-3
    alone, *workers = _numbers("held-out points: # nats alone, # and # as workers", printed)
    assert workers == pytest.approx([alone] * 2, abs=1e-3) and alone < 2.5
    _check_pictures(tmp_path / "output", ["two_workers"])


def test_every_program_is_a_tutorial_or_a_helper() -> None:
    assert {path.stem for path in TUTORIALS.glob("*.py")} == HELPERS | set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_tutorial_opens_as_a_notebook(name: str) -> None:
    cells = _cells(name)
    assert len(cells) >= NUM_CELLS[name]
    assert cells[0][0] == "# %% [markdown]" and cells[0][1].startswith("# # ")
    for marker, body in cells:
        assert marker in ("# %%", "# %% [markdown]")
        assert body.strip()
        if marker == "# %%":
            ast.parse(body)
        else:
            assert all(line.startswith("#") for line in body.splitlines() if line.strip())


def _support() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial_support", TUTORIALS / "support.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_options_make_the_output_directory(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["tutorial", "--output", str(tmp_path / "a" / "b")])
    options = _support().options("A tutorial.")
    assert options.output == tmp_path / "a" / "b" and options.output.is_dir()
    assert options.short is False


def test_mnist_is_read_from_a_file_or_asked_of_keras(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _stand_in_for_mnist(tmp_path)
    support = _support()
    monkeypatch.setattr(sys, "argv", ["tutorial", "--output", str(tmp_path), "--data", str(path)])
    train, held_out = support.mnist(support.options("A tutorial.", data=True).data)
    assert train.images.shape == (1500, 28, 28) and train.images.dtype == np.uint8
    assert held_out.labels.shape == (297,) and train.images.max() == 255
    pairs = (train.images, train.labels), (held_out.images, held_out.labels)
    monkeypatch.setattr(support.keras.datasets.mnist, "load_data", lambda: pairs)
    monkeypatch.setattr(sys, "argv", ["tutorial", "--output", str(tmp_path)])
    again, _ = support.mnist(support.options("A tutorial.", data=True).data)
    assert again.images is train.images and again.labels is train.labels


def test_unknown_options_are_refused_except_in_a_notebook(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "argv", ["kernel", "-f", "k.json", "--output", str(tmp_path)])
    with pytest.raises(SystemExit):
        _support().options("A tutorial.")
    assert "unknown arguments: -f k.json" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    assert _support().options("A tutorial.").output == tmp_path


def test_the_page_shows_every_picture_and_each_is_small() -> None:
    shown = {TUTORIALS / path for path in re.findall(r"!\[.+?\]\((.+?)\)", PAGE)}
    assert shown == set((TUTORIALS / "images").iterdir())
    assert len(shown) >= len(NAMES)
    for path in shown:
        assert path.stat().st_size < 150_000


def test_the_page_gives_a_command_for_each_tutorial() -> None:
    commands = re.findall(r"^python (\S+\.py)$", PAGE, re.MULTILINE)
    assert sorted(commands) == sorted(f"tutorials/{name}.py" for name in NAMES)
    links = re.findall(r"(?<!!)\[.+?\]\(([^)]+?\.py)\)", PAGE)
    assert {f"{name}.py" for name in NAMES} <= set(links)
    assert all((TUTORIALS / link).is_file() for link in links)
