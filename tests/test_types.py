"""What an editor and `help` know of the public face: every name, with types and a docstring."""

import ast
import importlib.util
import inspect
import json
import os
import pydoc
import shutil
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from types import ModuleType

import pytest

import ntk_eoc as ne

ROOT = Path(__file__).parent.parent
ROOMS = [name for name in ne.__all__ if isinstance(getattr(ne, name), ModuleType)]


def names_of(module):
    """What a module exports, or else the functions and classes that are its own."""
    own = [
        name
        for name, thing in vars(module).items()
        if getattr(thing, "__module__", None) == module.__name__ and not name.startswith("_")
    ]
    return getattr(module, "__all__", own)


def public():
    """Full name → object, of all that is found from the package."""
    found = {f"ne.{name}": getattr(ne, name) for name in ne.__all__ if name not in ROOMS}
    for room in ROOMS:
        module = getattr(ne, room)
        found |= {f"ne.{room}.{name}": getattr(module, name) for name in names_of(module)}
    return found


def functions(name, thing):
    """Name → function, of a function or of a class's public methods, properties and `__init__`."""
    if not inspect.isclass(thing):
        return {name: thing} if callable(thing) else {}
    found = {}
    for word, member in vars(thing).items():
        if word.startswith("_") and word not in ("__init__", "__call__"):
            continue
        if isinstance(member, property):
            member = member.fget
        if isinstance(member, cached_property):
            member = member.func
        member = inspect.unwrap(getattr(member, "__func__", member))
        if inspect.isfunction(member):
            found[f"{name}.{word}"] = member
    return found


def test_exact_every_public_function_says_its_types():
    faults = []
    count = 0
    for name, thing in public().items():
        for full, function in functions(name, thing).items():
            signature = inspect.signature(function)
            asked = [
                one for one in signature.parameters.values() if one.name not in ("self", "cls")
            ]
            faults += [f"{full}({one.name})" for one in asked if one.annotation is one.empty]
            if signature.return_annotation is signature.empty:
                faults.append(f"{full} ->")
            count += 1
    assert faults == []
    assert count > 100


def test_exact_every_public_name_has_a_docstring():
    silent = [name for name, thing in public().items() if not (inspect.getdoc(thing) or "").strip()]
    assert silent == []


def test_exact_help_and_dir_show_every_public_name():
    shown = pydoc.plain(pydoc.render_doc(ne))
    for name in ne.__all__:
        assert name in dir(ne)
        assert name in shown
    index = inspect.getdoc(ne)
    assert [name for name in ne.__all__ if name not in index] == []


def test_exact_an_editor_sees_the_names_that_are_loaded_on_first_use():
    tree = ast.parse(inspect.getsource(ne))
    (block,) = [one for one in tree.body if isinstance(one, ast.If)]
    seen = {
        alias.name: one.module
        for one in block.body
        if isinstance(one, ast.ImportFrom)
        for alias in one.names
    }
    assert set(seen) == set(ne.__all__)
    for name, home in seen.items():
        if name not in ROOMS:
            assert getattr(importlib.import_module(home), name) is getattr(ne, name)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pyright") is None, reason="needs pyright: npm install -g pyright")
def test_exact_types_are_complete_for_pyright():
    """All but SciPy's `LinearOperator`: SciPy itself says no types; scipy-stubs does."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = ["pyright", "--verifytypes", "ntk_eoc", "--ignoreexternal", "--outputjson"]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )
    found = json.loads(ran.stdout)["typeCompleteness"]
    assert Path(found["packageRootDirectory"]) == ROOT / "ntk_eoc"
    unclear = [
        one["name"]
        for one in found["symbols"]
        if one["isExported"] and (one["isTypeAmbiguous"] or not one["isTypeKnown"])
        and "KernelOperator" not in one["name"] + json.dumps(one["diagnostics"])
    ]  # fmt: skip
    assert set(unclear) <= {"ntk_eoc.explore.app.app"}  # as marimo wants it
    assert found["completenessScore"] > 0.995
