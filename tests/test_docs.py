"""Every example in a docstring and every snippet of the README runs."""

from __future__ import annotations

import ast
import inspect
import pathlib
import re
import textwrap

import pytest

import tfp_genext as gx

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = pathlib.Path(gx.__file__).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

BLOCK = re.compile(r"^( *)```python\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def _snippets(text):
    return [textwrap.dedent(match.group(2)) for match in BLOCK.finditer(text)]


def _docstrings():
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                text = ast.get_docstring(node) or ""
                name = getattr(node, "name", path.stem)
                for i, snippet in enumerate(_snippets(text)):
                    yield pytest.param(snippet, id=f"{path.stem}.{name}[{i}]")


@pytest.mark.parametrize("snippet", _docstrings())
def test_docstring_examples_run(snippet):
    exec(compile(snippet, "<docstring>", "exec"), {})


def test_the_readme_runs_from_top_to_bottom(launcher, tmp_path):
    snippets = _snippets(README)
    assert len(snippets) >= 3
    # In a process of its own, as TensorFlow mixes up the reductions of two strategies in one.
    program = tmp_path / "readme.py"
    program.write_text("\n".join(snippets), encoding="utf-8")
    launcher.run(program, [], tmp_path)


def _commands():
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", README, re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_the_commands_of_the_readme_are_the_ones_that_ci_and_tests_run():
    commands = _commands()
    assert 'pip install ".[tutorials]" && python tutorials/quickstart.py' in commands
    assert 'pip install ".[test]" && pytest' in commands
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert 'pip install ".[test]" && pytest' in ci
    for command in commands:
        for program in re.findall(r"python (\S+\.py)", command):
            assert (ROOT / program).is_file(), command


def _public():
    for module in (
        gx.autoregressive,
        gx.bijectors,
        gx.callbacks,
        gx.distributions,
        gx.flows,
        gx.layers,
        gx.masks,
        gx.models,
        gx.networks,
        gx.numerics,
        gx.objectives,
        gx.saving,
        gx.serving,
        gx.transformers,
    ):
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and inspect.isfunction(value)
            and value.__module__ == module.__name__
        ]
        for name in names:
            yield pytest.param(module, name, id=f"{module.__name__}.{name}")


@pytest.mark.parametrize("module, name", _public())
def test_public_names_are_documented_and_annotated(module, name):
    thing = getattr(module, name)
    text = inspect.getdoc(thing) or ""
    first = text.splitlines()[0] if text else ""
    assert first.endswith((".", ".")) and len(first) <= 100, f"{name}: {first!r}"
    if inspect.isclass(thing) and "__init__" not in vars(thing):
        return
    signature = inspect.signature(thing.__init__ if inspect.isclass(thing) else thing)
    for parameter in signature.parameters.values():
        if parameter.name != "self" and parameter.kind is not parameter.VAR_POSITIONAL:
            assert parameter.annotation is not parameter.empty, f"{name}({parameter.name})"


@pytest.mark.parametrize(
    "thing",
    [
        gx.bijectors.AffineCoupling,
        gx.bijectors.AdditiveCoupling,
        gx.bijectors.ActNorm,
        gx.bijectors.Compose,
        gx.bijectors.Conditioned,
        gx.flows.real_nvp,
        gx.flows.nice,
    ],
    ids=lambda thing: thing.__name__,
)
def test_docstrings_hold_what_the_house_asks_for(thing):
    text = inspect.getdoc(thing)
    for part in ("forward ", "inverse ", "log", "Args:", "Raises:", "Example:", "```python"):
        assert part in text, part


def test_the_changelog_knows_the_version():
    assert f"## {gx.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
