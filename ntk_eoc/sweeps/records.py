"""Records: what figures read. A sequence of finished cells that can be filtered and grouped."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from ntk_eoc import user_code
from ntk_eoc.checks import unknown_name
from ntk_eoc.sweeps import config as configs
from ntk_eoc.sweeps import experiment as experiments
from ntk_eoc.sweeps import folder as folders
from ntk_eoc.sweeps import store
from ntk_eoc.sweeps import trust as trusted
from ntk_eoc.sweeps.config import Cell
from ntk_eoc.sweeps.errors import DamagedError, UserError
from ntk_eoc.sweeps.experiment import Experiment

log: logging.Logger = logging.getLogger("ntk_eoc.sweeps")


@dataclass(frozen=True)
class Record:
    """A finished cell.

    Attributes:
        cell: The cell, an instance of the experiment's own `Cell`.
        arrays: Name → array, the seed axis first where there are seeds.
        status: "ok", "non-finite", "out-of-memory" or "failed".
        meta: Everything else: versions, device, precision, seconds, message.
    """

    cell: Any
    arrays: dict[str, np.ndarray]
    status: str
    meta: dict[str, Any]


def value_of(record: Record, name: str) -> Any:
    """Return a field of the record's cell, hashable."""
    return _hashable(getattr(record.cell, name))


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((key, _hashable(one)) for key, one in sorted(value.items()))
    if isinstance(value, list | tuple):
        return tuple(_hashable(one) for one in value)
    return frozenset(value) if isinstance(value, set) else value


class Records(Sequence[Record]):
    """The records of one run, in the order of its grid, seeds innermost."""

    def __init__(
        self, records: Sequence[Record], missing: int = 0, title: str = "", mixture: str = ""
    ) -> None:
        self._records = list(records)
        self.missing = missing
        """How many cells were asked for and have no (undamaged) record."""
        self.title = title
        """The config's title."""
        self.mixture = mixture
        """How many of all records are by which code other than the run's; "" if none is."""

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> "Records": ...
    def __getitem__(self, index: int | slice) -> "Record | Records":
        """Return one record, or a slice as `Records`."""
        if isinstance(index, slice):
            return self._only(self._records[index])
        return self._records[index]

    def __len__(self) -> int:
        """How many records there are."""
        return len(self._records)

    def __repr__(self) -> str:
        return f"Records({len(self)} records, {len(self.bad)} bad, {self.missing} missing)"

    @property
    def ok(self) -> "Records":
        """Those with status "ok"."""
        return self._only([one for one in self if one.status == "ok"])

    @property
    def bad(self) -> "Records":
        """Those with another status."""
        return self._only([one for one in self if one.status != "ok"])

    def where(self, **fields: Any) -> "Records":
        """Return the records whose cell has these values."""
        for name in fields:
            self._check(name)
        wanted = {name: _hashable(value) for name, value in fields.items()}
        return self._only([r for r in self if all(value_of(r, k) == wanted[k] for k in wanted)])

    def values(self, name: str) -> list[Any]:
        """Return the values of a cell's field, sorted, each once."""
        self._check(name)
        found = list(dict.fromkeys(value_of(record, name) for record in self))
        try:
            return sorted(found)
        except TypeError:  # None among numbers, say
            return sorted(found, key=str)

    def group(self, *names: str) -> Iterator[tuple[tuple[Any, ...], "Records"]]:
        """Iterate over (values of the named fields, the records that have them), in grid order."""
        for name in names:
            self._check(name)
        groups: dict[tuple[Any, ...], list[Record]] = {}
        for record in self:
            key = tuple(value_of(record, name) for name in names)
            groups.setdefault(key, []).append(record)
        for key, members in groups.items():
            yield key, self._only(members)

    def stack(self, name: str) -> np.ndarray:
        """Return an array of all records, their seeds concatenated in seed order.

        Records without seeds (deterministic experiments) are stacked along a new first axis.

        Raises:
            KeyError: If a record lacks the array, or there is no record.
            ValueError: If the array has no seed axis though the records have seeds.
        """
        if not self._records:
            raise KeyError(f"`{name}` of no records.")
        for record in self:
            if name not in record.arrays:
                raise KeyError(unknown_name("array", name, record.arrays))
        in_order = sorted(self._records, key=lambda record: record.cell.first_seed)
        arrays = [record.arrays[name] for record in in_order]
        if in_order[0].cell.seeds == 0:
            return np.stack(arrays)
        for record, array in zip(in_order, arrays, strict=True):
            if array.shape[:1] != (record.cell.seeds,):
                raise ValueError(
                    f"`{name}` must have an axis of the {record.cell.seeds} seeds first to be"
                    f" stacked, got shape {array.shape}: take it from one record's `arrays`."
                )
        return np.concatenate(arrays)

    def _only(self, records: list[Record]) -> "Records":
        return Records(records, self.missing, self.title, self.mixture)

    def _check(self, name: str) -> None:
        fields = type(self._records[0].cell).model_fields if self._records else {}
        if self._records and name not in fields:
            raise ValueError(unknown_name("field", name, fields))


def load(folder: Path, trust: bool = False) -> tuple[Records, Experiment]:
    """Return the records of the cells that the folder's run asks for, and its experiment.

    This imports the experiment and what its cells name: of a folder from elsewhere only where
    `trust` is set.

    Damaged files and records by engines or code that do not count are left out, with a warning,
    and counted as missing. Where other code counts, `Records.mixture` says so.
    """
    run = folders.read(folder)
    base = folders.home(folder, run)
    reference = folders.experiment_of(folder, run)
    trusted.check(reference, base, trust)
    experiment = experiments.load(reference, base)
    place = store.Store(folder)
    entries = place.entries()
    found: list[Record] = []
    known: set[str] = set()
    left_out: dict[str, list[Path]] = {}
    mixture: Counter[str] = Counter()
    with user_code.relative_to(base):
        for entry in (entries[id_] for id_ in run.ids if id_ in entries):
            try:
                meta, arrays = _read_one(place, entry, run)
                for named in trusted.references([meta["cell"]]) - known:
                    trusted.check(named, base, trust)
                    known.add(named)
                record = _parsed(meta, arrays, experiment.cell)
            except _LeftOutError as error:
                left_out.setdefault(str(error), []).append(entry.path)
                continue
            found.append(record)
            mixture[run.of_code(record.meta)] += 1
    edited = folders.edited(folder, run)
    if edited and left_out and not found:
        raise UserError(f"`dir` must be of cells that `Cell` takes, got '{folder}': {edited}.")
    if edited:
        log.warning("%s.", edited)
    for why, paths in left_out.items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        log.warning("%s%s: left out: %s", paths[0], more, why)
    del mixture[""]
    told = ", ".join(f"{count} by {code}" for code, count in mixture.items())
    missing = len(run.ids) - len(found)
    return Records(found, missing, str(run.resolved.get("title", "")), told), experiment


class _LeftOutError(Exception):
    """Why a record does not count."""


def _read_one(
    place: store.Store, entry: store.Entry, run: folders.Run
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        meta, arrays = place.read(entry)
    except (DamagedError, OSError) as error:
        raise _LeftOutError(str(error)) from None
    if not run.by_engine(meta):
        raise _LeftOutError(f"it was computed by {meta['engine']}")
    code = run.of_code(meta)
    if code and run.code and not run.mix:
        raise _LeftOutError(f"it is by {code}; the next run computes it again")
    return meta, arrays


def _parsed(meta: dict[str, Any], arrays: dict[str, np.ndarray], model: type[Cell]) -> Record:
    try:
        cell = configs.parse(model, meta["cell"], "its cell")
    except UserError as error:
        raise _LeftOutError(str(error)) from None
    return Record(cell, arrays, meta["status"], meta)
