"""An experiment: one Python file with `Cell`, `measure` and `draw`; more where it likes."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ntk_eoc.sweeps.config import Cell
from ntk_eoc.sweeps.errors import UserError


@dataclass(frozen=True)
class Experiment:
    """A loaded experiment.

    Attributes:
        name: The file's or module's last name.
        source: The file it was loaded from.
        sha256: Of the file's text, kept in each record.
        cell: Its cell model.
        measure: Cell → dict of arrays, pure.
        draw: Records → a figure or a dict of figures.
        cost: Cell → relative duration; longest cells run first. 1 if left out.
        memory: Cell → bytes that one of its batches needs. 0, unknown, if left out.
        axes: Array name → names of its axes after the seeds', for `collect`.
        units: Array name → unit, for `collect`.
    """

    name: str
    source: Path
    sha256: str
    cell: type[Cell]
    measure: Callable[[Any], dict[str, Any]]
    draw: Callable[[Any], Any]
    cost: Callable[[Any], float]
    memory: Callable[[Any], float]
    axes: Mapping[str, Sequence[str]]
    units: Mapping[str, str]


def resolve(reference: str, config: Path) -> str:
    """Return where the config's `experiment` lives: an absolute path, or `package.module`."""
    if not reference.endswith(".py"):
        if all(part.isidentifier() for part in reference.split(".")):
            return reference
        raise UserError(
            f"{config}: `experiment` must be a .py file or package.module, got {reference!r}."
        )
    path = (config.parent / reference).resolve()
    if not path.is_file():
        raise UserError(
            f"{config}: `experiment` must be an existing file relative to the config,"
            f" got {reference!r} ('{path}')."
        )
    return str(path)


def load(reference: str) -> Experiment:
    """Load an experiment from a resolved reference.

    Raises:
        UserError: If it cannot be imported or lacks a part.
    """
    try:
        module = _import(reference)
    except Exception as error:
        raise UserError(
            f"`experiment` must be loadable, got '{reference}': {type(error).__name__}: {error}"
        ) from error
    cell = getattr(module, "Cell", None)
    if not (isinstance(cell, type) and issubclass(cell, Cell)):
        raise UserError(
            f"`Cell` of '{reference}' must be a subclass of ntk_eoc.sweeps.config.Cell,"
            f" got {cell!r}."
        )
    for part in ("measure", "draw"):
        found = getattr(module, part, None)
        if not callable(found):
            raise UserError(f"`{part}` of '{reference}' must be a function, got {found!r}.")
    source = Path(str(module.__file__))
    return Experiment(
        name=source.stem,
        source=source,
        sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
        cell=cell,
        measure=module.measure,
        draw=module.draw,
        cost=getattr(module, "cost", lambda cell: 1.0),
        memory=getattr(module, "memory", lambda cell: 0.0),
        axes=getattr(module, "AXES", {}),
        units=getattr(module, "UNITS", {}),
    )


def _import(reference: str) -> ModuleType:
    if not reference.endswith(".py"):
        return importlib.import_module(reference)
    path = Path(reference)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # its neighbours are importable, as when run as a script
    name = f"ntk_eoc_experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
