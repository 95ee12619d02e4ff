"""An experiment: one Python file with `Cell`, `measure` and `draw`; more where it likes."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntk_eoc import user_code
from ntk_eoc.sweeps import shipped
from ntk_eoc.sweeps.config import Cell
from ntk_eoc.sweeps.errors import UserError


@dataclass(frozen=True)
class Experiment:
    """A loaded experiment.

    Attributes:
        name: The file's or module's last name.
        base: The folder that paths in its cells are relative to.
        source: The file it was loaded from.
        sha256: Of the file's text, kept in each record.
        cell: Its cell model.
        measure: Cell → dict of arrays, pure.
        draw: Records → a figure or a dict of figures.
        tables: Records → name → `report.table.Table`. No tables if left out.
        cost: Cell → relative duration; longest cells run first. 1 if left out.
        memory: Cell → bytes that one of its batches needs. 0, unknown, if left out.
        axes: Array name → names of its axes after the seeds', for `collect`.
        units: Array name → unit, for `collect`.
    """

    name: str
    base: Path
    source: Path
    sha256: str
    cell: type[Cell]
    measure: Callable[[Any], dict[str, Any]]
    draw: Callable[[Any], Any]
    tables: Callable[[Any], dict[str, Any]]
    cost: Callable[[Any], float]
    memory: Callable[[Any], float]
    axes: Mapping[str, Sequence[str]]
    units: Mapping[str, str]


def resolve(reference: str, config: Path) -> str:
    """Return where the config's `experiment` lives: an absolute path, or `package.module`.

    A bare name is that of an experiment that comes with the package, if there is one.
    """
    known = shipped.experiment(reference)
    if known is not None:
        return str(known)
    try:
        with user_code.relative_to(config.parent):
            path = user_code.find_file(reference, "experiment")
    except ValueError as error:
        raise UserError(f"{config}: {error}") from None
    return str(path) if reference.endswith(".py") else reference


def load(reference: str, base: Path | None = None) -> Experiment:
    """Load an experiment from a resolved reference, anew each time.

    Args:
        reference: A .py file or `package.module`.
        base: The folder that paths in its cells are relative to; the present one by default.

    Raises:
        UserError: If it cannot be imported or lacks a part.
    """
    base = base or Path.cwd()
    try:
        with user_code.relative_to(base):
            module = user_code.module(reference, "experiment", fresh=True)
    except ValueError as error:
        raise UserError(str(error)) from error
    cell = getattr(module, "Cell", None)
    if not (isinstance(cell, type) and issubclass(cell, Cell)):
        raise UserError(
            f"`Cell` of '{reference}' must be a subclass of ntk_eoc.sweeps.config.Cell,"
            f" got {'a class of another base' if isinstance(cell, type) else repr(cell)}."
        )
    for part in ("measure", "draw"):
        found = getattr(module, part, None)
        if not callable(found):
            raise UserError(f"`{part}` of '{reference}' must be a function, got {found!r}.")
    _check_words(reference, "AXES", getattr(module, "AXES", {}), list | tuple)
    _check_words(reference, "UNITS", getattr(module, "UNITS", {}), str)
    source = Path(str(module.__file__))
    return Experiment(
        name=source.stem,
        base=base,
        source=source,
        sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
        cell=cell,
        measure=module.measure,
        draw=module.draw,
        tables=getattr(module, "tables", lambda records: {}),
        cost=getattr(module, "cost", lambda cell: 1.0),
        memory=getattr(module, "memory", lambda cell: 0.0),
        axes=getattr(module, "AXES", {}),
        units=getattr(module, "UNITS", {}),
    )


def _check_words(reference: str, name: str, table: Any, kind: Any) -> None:
    """Refuse a table from array names to words that would fail only in `collect`."""
    sound = isinstance(table, Mapping) and all(
        isinstance(key, str) and isinstance(value, kind) and all(isinstance(w, str) for w in value)
        for key, value in table.items()
    )
    if not sound:
        what = "a word" if kind is str else "a list of words"
        raise UserError(f"`{name}` of '{reference}' must give each array {what}, got {table!r}.")
