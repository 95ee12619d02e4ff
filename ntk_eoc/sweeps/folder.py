"""A run's folder: what was asked for (`run.json`), beside the store of what is done."""

import json
import os
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, get_origin

from ntk_eoc.sweeps import code as codes
from ntk_eoc.sweeps.code import Code, difference
from ntk_eoc.sweeps.engine import same
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.files import read_file, write_whole
from ntk_eoc.sweeps.store import Store

FILE = "run.json"
MOST = 1e300  # of a cost, so that the sum of all is finite


@dataclass(frozen=True)
class Run:
    """What the last run into a folder was asked to do.

    Attributes:
        name: The experiment's name.
        experiment: Where it was loaded from, `package.module` or a path relative to this folder.
        config: The config's path.
        resolved: The whole config with every override in it.
        ids: Ids of the planned cells, in the order of the grid.
        costs: Their relative costs.
        engines: What may have computed the records that count: versions, platform, precision.
        provenance: The experiment's file, its hash, commit of its repository, command.
        base: The folder that paths in cells are relative to, itself relative to this folder.
        code: What the records that count are by (`code.Code`); empty of a run before it was kept.
        mix: Whether records by other code count, too.
    """

    name: str
    experiment: str
    config: str
    resolved: dict[str, Any]
    ids: list[str]
    costs: list[float]
    engines: list[dict[str, Any]] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    base: str = ""
    code: dict[str, Any] = field(default_factory=dict)
    mix: bool = False

    def by_engine(self, meta: dict[str, Any]) -> bool:
        """Say whether a record is by an engine that counts."""
        return any(same(meta["engine"], engine) for engine in self.engines)

    def of_code(self, meta: dict[str, Any]) -> str:
        """Say in a few words by which other code a record is; "" if it is by the run's."""
        if not self.code or "code" not in meta:
            return "unknown code"
        return difference(meta["code"], self._code.of(meta["cell"]))

    @cached_property
    def _code(self) -> Code:
        return Code(**self.code)


def read(folder: Path) -> Run:
    """Return what was asked for in a folder.

    Raises:
        UserError: If it is not the folder of a run.
    """
    if not folder.is_dir():
        raise UserError(f"`dir` must be the folder of a run, got '{folder}', which is no folder.")
    try:
        run = Run(**json.loads(read_file(folder / FILE).decode()))
        _check_types(run)
        return run
    except FileNotFoundError:
        raise UserError(
            f"`dir` must be the folder of a run, got '{folder}', which has no {FILE}."
        ) from None
    except (ValueError, TypeError, OSError, RecursionError) as error:
        why = str(error).splitlines()[0]
        raise UserError(
            f"`dir` must hold a readable {FILE}, got '{folder / FILE}' ({why})."
        ) from None


def _check_types(run: Run) -> None:
    """Refuse a `run.json` of other types, with a `TypeError` that names the field."""
    for one in fields(run):
        kind: Any = get_origin(one.type) or one.type
        if type(getattr(run, one.name)) is not kind:
            raise TypeError(f"`{one.name}` must be a {kind.__name__}")
    for name, kinds in (("ids", str), ("costs", int | float), ("engines", dict)):
        if not all(isinstance(value, kinds) for value in getattr(run, name)):
            raise TypeError(f"`{name}` must be a list of {kinds}")
    if not all(0 <= cost < MOST for cost in run.costs):
        raise TypeError("`costs` must be numbers >= 0")
    if any("\0" in path for path in (run.experiment, run.config, run.base)):
        raise TypeError("`experiment`, `config` and `base` must be paths")
    if len(run.ids) != len(run.costs):
        raise TypeError("`costs` must be as many as `ids`")
    Code(**run.code or asdict(Code("", "", {})))


def home(folder: Path, run: Run) -> Path:
    """Return the folder that paths in the run's cells are relative to."""
    kept = Path(os.path.realpath(folder / run.base))
    return kept if run.base and kept.is_dir() else Path(os.path.realpath(run.config)).parent


def experiment_of(folder: Path, run: Run) -> str:
    """Return where the run's experiment is: the folder may have moved, alone or with its files."""
    if not run.experiment.endswith(".py"):
        return run.experiment
    known = folder / run.experiment
    places = [known, Path(str(run.provenance.get("source", known)))]
    places.append(home(folder, run) / str(run.resolved.get("experiment", "")))
    there = (place for place in places if place.suffix == ".py" and place.is_file())
    return os.path.realpath(next(there, known))


def edited(folder: Path, run: Run) -> str:
    """Say, running nothing, that `measure` or `Cell` was edited after the run; "" if not."""
    reference = experiment_of(folder, run)
    try:
        now = codes.experiment_of(reference, home(folder, run))
    except UserError:  # what loads it says so
        return ""
    if not run.code or now == run.code["experiment"]:
        return ""
    again = "" if run.mix else "; the next run computes the records again"
    return f"`measure` or `Cell` of '{reference}' was edited after the run{again}"


def write(folder: Path, run: Run) -> None:
    """Write `run.json`, whole or not at all."""
    content = json.dumps(asdict(run), indent=1).encode()
    write_whole(folder / FILE, content, through=folder / "tmp")


def check_writable(folder: Path) -> None:
    """Check, writing nothing, that the folder can be made and written to; `UserError` if not."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists() or path.is_symlink())
    reason = None
    if not nearest.is_dir():
        reason = f"'{nearest}' is no folder"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        reason = f"'{nearest}' is not writable"
    if reason:
        raise UserError(f"`out` must be a folder that can be written to, got '{folder}': {reason}.")


def check_same_experiment(folder: Path, name: str) -> Run | None:
    """Return the run already in the folder, if any; `UserError` if it is another experiment's."""
    if not (folder / FILE).exists():
        return None
    before = read(folder)
    if before.name != name:
        raise UserError(
            f"`out` must be a new folder or one of experiment {name!r},"
            f" got '{folder}', which holds {before.name!r}."
        )
    return before


def accept_engine(
    folder: Path, before: Run | None, engine: dict[str, Any], mix: bool
) -> list[dict[str, Any]]:
    """Return the engines whose records count, this one included.

    Raises:
        UserError: If the folder's records come from another one and `mix` is not set.
    """
    engines = before.engines if before else []
    if any(same(engine, other) for other in engines) or not Store(folder).entries():
        return [engine, *(other for other in engines if other != engine and same(engine, other))]
    if not engines:
        return [engine]
    if not mix:
        other = engines[-1]
        differing = [name for name in engine if name in other and other[name] != engine[name]]
        there = ", ".join(f"{name} {other[name] or 'none'}" for name in differing)
        here = ", ".join(f"{name} {engine[name] or 'none'}" for name in differing)
        raise UserError(
            f"`out` must be a folder of results by {here}, got '{folder}', by {there}:"
            " take another folder, or let both count with --mix."
        )
    return [*engines, engine]
