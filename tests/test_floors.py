"""A file imports only from floors below it, and on its own floor from rooms before its own."""

from __future__ import annotations

import ast
import pathlib
import re

import pytest

import tfp_genext

PACKAGE = pathlib.Path(tfp_genext.__file__).parent

# Files and folders, lowest floor first. A room may import those before it on the same floor.
FLOORS = [
    ["_version", "core", "masks", "numerics"],
    ["transformers", "networks", "layers"],
    ["bijectors"],
    ["saving", "distributions", "flows", "autoregressive"],
    ["objectives", "serving"],
    ["models", "callbacks"],
]
ROOMS = [room for floor in FLOORS for room in floor]
MODULES = sorted(PACKAGE.rglob("*.py"))


def _room(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def _imports(path):
    """Rooms of the package, and outside packages, that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            whole = base == "tfp_genext"
            names = [f"{base}.{a.name}" for a in node.names] if whole else [base]
        else:
            continue
        yield from names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    room = _room(path)
    if room == "__init__":
        return
    assert room in ROOMS, f"{room} has no floor"
    for name in _imports(path):
        if not name.startswith("tfp_genext"):
            continue
        other = name.split(".")[1]
        before = ROOMS.index(other) <= ROOMS.index(room)
        assert before, f"{path.name} imports {name}"


def test_there_are_six_floors_and_sixteen_rooms_at_most():
    rooms = {_room(path) for path in MODULES} - {"__init__", "_version"}
    assert rooms == set(ROOMS) - {"_version"}
    assert len(FLOORS) == 6 and len(rooms) <= 16


def test_the_public_functions_of_the_lowest_floor_know_numpy_and_tensorflow_only():
    for path in MODULES:
        if _room(path) in ("masks", "numerics"):
            outside = {name.split(".")[0] for name in _imports(path)} - {"tfp_genext"}
            assert not outside & {"keras", "tensorflow_probability"}, path


def test_networks_know_no_tfp_and_transformers_no_keras():
    for path in MODULES:
        outside = {name.split(".")[0] for name in _imports(path)}
        if _room(path) in ("networks", "layers"):
            assert "tensorflow_probability" not in outside
        if _room(path) == "transformers":
            assert "keras" not in outside


# Methods and attributes of the hosts' private names, and what looks into other code.
_PRIVATE = re.compile(
    r"(?<!self)(?<!cls)(?<!\))\._[a-z]\w*|import _\w|(import|from) keras\.src"
    r"|tensorflow\.python|tensorflow_probability\.python"
)
_LOOKING_IN = re.compile(r"currentframe|f_locals|f_globals|cell_contents|__closure__")


# Private names of this package, or public ones with an underscore.
_OWN = re.compile(
    r"terms\._replace|model\._(networks|written_by)\b|import __version__|tfp_genext\._version"
)


def _code(path):
    """The lines of a file without comments and documentation."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return ast.unparse(tree).splitlines()


def test_private_names_of_the_hosts_stand_in_one_place():
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in MODULES
        if path.relative_to(PACKAGE).as_posix() != "core/hosts.py"
        for line in _code(path)
        # Names in files are data, and checked against Keras in tests/saving.
        if _PRIVATE.search(_OWN.sub("", line))
    ]
    assert found == []


def test_nothing_looks_into_frames_or_closures():
    for path in MODULES:
        for line in _code(path):
            assert not _LOOKING_IN.search(line), f"{path.relative_to(PACKAGE)}: {line.strip()}"
