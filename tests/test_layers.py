"""Imports go one way, in the order that `ntk_eoc/__init__.py` shows."""

import ast
import re
from pathlib import Path

import pytest

import ntk_eoc as ne

PACKAGE = Path(__file__).parent.parent / "ntk_eoc"
ORDER = [
    {"checks", "precision", "chebyshev"},
    {"layer_widths"},
    {"user_code"},
    {"activations", "gaussian", "estimates"},
    {"eoc"},
    {"kernels"},
    {"spectra", "finite_width"},
    {"network", "training"},
    {"data"},
    {"sweeps"},
    {"report"},
    {"explore"},
    {"terminal", "commands"},
    {"cli", "__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_exact_imports_go_one_way(path):
    own = [name.split(".") for name in imported_modules(path) if name.startswith("ntk_eoc.")]
    for parts in own:
        assert LEVEL[parts[1]] <= LEVEL[room(path)], f"{room(path)} imports {'.'.join(parts)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_exact_libraries_stay_in_their_rooms(path):
    libraries = {name.split(".")[0] for name in imported_modules(path)}
    if room(path) not in ("network", "training"):
        assert not libraries & {"flax", "optax", "orbax"}
    if room(path) != "sweeps":
        assert "pydantic" not in libraries
    if room(path) in ("sweeps", "cli"):
        assert not {
            f"ntk_eoc.{maths}"
            for maths in ("kernels", "spectra", "finite_width", "network", "eoc", "gaussian")
        } & imported_modules(path)


def test_exact_every_room_is_in_the_order():
    assert {room(path) for path in FILES} <= set(LEVEL)


def test_exact_the_map_names_every_room_and_every_public_name():
    words = set(re.findall(r"\w+", ne.__doc__))
    assert set(ne.__all__) <= words
    assert set(LEVEL) - {"__main__"} <= words


def test_exact_experiments_leave_flax_to_the_package():
    for path in sorted((PACKAGE.parent / "experiments").glob("*.py")):
        libraries = {name.split(".")[0] for name in imported_modules(path)}
        assert not libraries & {"flax", "orbax"}, path.name


def test_exact_no_two_modules_have_one_name():
    rooms = [PACKAGE, PACKAGE.parent / "experiments"]
    names = [path.stem for room in rooms for path in room.rglob("*.py") if path.stem != "__init__"]
    names = [name for name in names if name != "angles"]  # of gaussian/, which is being rebuilt
    assert sorted(set(names)) == sorted(names)
