"""All records of a run in one netCDF file, with a table of the scalars, for readers without us.

Dimensions are the grid's varied fields, `seed`, and each array's own axes. Where a value is
missing (a failed cell, a grid with holes, a shorter array) there is NaN; `status` says why.
Integers stay integers; where some are missing they become floats with NaN if no digit is lost by
that, and otherwise `_FillValue` stands for what is missing.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntk_eoc.sweeps import folder as folders
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.experiment import Experiment
from ntk_eoc.sweeps.files import write_whole
from ntk_eoc.sweeps.folder import Run
from ntk_eoc.sweeps.memory import host_memory
from ntk_eoc.sweeps.records import Record, Records, load, value_of
from ntk_eoc.sweeps.scalars import is_seeded, table_of

SPARSE = 2  # a product of the varied fields with more than this many places a point is not made
OUTSIDE = ("first_seed", "seeds", "batch")
RESERVED = ("point", "seed", "status", "seconds")  # the file's own


@dataclass(frozen=True)
class Layout:
    """Where each record goes.

    Attributes:
        varied: Names of the cell's fields that differ between records.
        dims: Leading dimensions: the varied fields, or `point` where their product is sparse.
        labels: Per dimension, the position of each value (of each tuple of values for `point`).
        seeds: Length of the seed axis, 0 for deterministic experiments.
    """

    varied: list[str]
    dims: list[str]
    labels: list[dict[Any, int]]
    seeds: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of `dims`."""
        return tuple(len(positions) for positions in self.labels)

    def place(self, record: Record) -> tuple[int, ...]:
        """Return the index of the record's point along `dims`."""
        point = tuple(value_of(record, name) for name in self.varied)
        keys = (point,) if self.dims == ["point"] else point
        return tuple(labels[key] for labels, key in zip(self.labels, keys, strict=True))


def collect(folder: Path, to: Path, trust: bool = False) -> list[Path]:
    """Write a run's arrays to the netCDF file `to` and its scalars to a CSV table beside it.

    Returns:
        The two paths.

    Raises:
        UserError: If there is nothing to collect, or the file cannot be written.
    """
    try:
        import h5netcdf  # noqa: F401
        import xarray as xr
    except ImportError:
        raise UserError(
            "`collect` must have its extra: pip install 'ntk-eoc[collect]', got none."
        ) from None
    if to.suffix != ".nc":
        raise UserError(f"`--to` must be a file name that ends in .nc, got '{to}'.")
    if not to.parent.is_dir():
        raise UserError(f"`--to` must be in an existing folder, got '{to}'.")
    records, experiment = load(folder, trust)
    if not records.ok:
        raise UserError(f"`dir` must hold at least one finished cell, got '{folder}' with none.")
    layout = _layout(records)
    dataset = xr.Dataset(
        data_vars=_variables(records, experiment, layout),
        coords=_coordinates(layout),
        attrs=_provenance(records, folders.read(folder)),
    )
    table = to.with_suffix(".csv")
    # By way of memory: HDF5 crashes where the disk is full.
    netcdf: Any = dataset.to_netcdf(engine="h5netcdf")
    whole = {to: netcdf, table: table_of(records, layout.varied)}
    for path, content in whole.items():
        try:
            write_whole(path, content)
        except OSError as error:
            raise UserError(
                f"`--to` must be a file that can be written, got '{path}': {error.strerror}."
            ) from None
    return [to, table]


def _layout(records: Records) -> Layout:
    names = [name for name in type(records[0].cell).model_fields if name not in OUTSIDE]
    values = {name: list(dict.fromkeys(value_of(r, name) for r in records)) for name in names}
    varied = [name for name in names if len(values[name]) > 1]
    points = dict.fromkeys(tuple(value_of(r, name) for name in varied) for r in records)
    seeds = max(record.cell.first_seed + record.cell.seeds for record in records)
    if math.prod(len(values[name]) for name in varied) > SPARSE * len(points):
        return Layout(varied, ["point"], [_positions(list(points))], seeds)
    labels = [_positions(_sorted(values[name])) for name in varied]
    return Layout(varied, varied, labels, seeds)


def _positions(values: list[Any]) -> dict[Any, int]:
    return {value: position for position, value in enumerate(values)}


def _sorted(values: list[Any]) -> list[Any]:
    numbers = all(isinstance(value, int | float) for value in values)
    return sorted(values) if numbers else values


def _coordinates(layout: Layout) -> dict[str, Any]:
    if layout.dims == ["point"]:
        columns = zip(*layout.labels[0], strict=True)
        named = zip(layout.varied, columns, strict=True)
        coordinates: dict[str, Any] = {n: ("point", _labels(list(c))) for n, c in named}
    else:
        named_labels = zip(layout.dims, layout.labels, strict=True)
        coordinates = {name: (name, _labels(list(labels))) for name, labels in named_labels}
    return coordinates | ({"seed": np.arange(layout.seeds)} if layout.seeds else {})


def _labels(values: list[Any]) -> np.ndarray:
    plain = all(isinstance(value, int | float | str) for value in values)
    same = len({type(value) for value in values}) == 1
    return np.array(values if plain and same else [json.dumps(v, default=str) for v in values])


def _variables(records: Records, experiment: Experiment, layout: Layout) -> dict[str, Any]:
    names = list(dict.fromkeys(name for record in records.ok for name in record.arrays))
    arrays = [_array(name, records, experiment, layout) for name in names]
    sizes: dict[str, int] = {}
    for array in arrays:  # one axis name, one length in the file: the longest
        for axis, size in zip(array.axes, array.sizes, strict=True):
            sizes[axis] = max(size, sizes.get(axis, 0))
    taken = {*RESERVED, *layout.varied, *layout.dims, *sizes} & set(names)
    if taken:
        raise UserError(
            f"`measure` of '{experiment.source}' must give arrays other names than those of the"
            f" file's own, its axes and the cell's fields, got {', '.join(sorted(taken))}."
        )
    _check_memory([(array, [sizes[axis] for axis in array.axes]) for array in arrays], layout)
    variables: dict[str, Any] = {}
    for array in arrays:
        values = _filled(array, [sizes[axis] for axis in array.axes], layout)
        dims = [*layout.dims, *(["seed"] if array.seeded else []), *array.axes]
        units = {"units": experiment.units.get(array.name, "1")}
        variables[array.name] = (dims, values, units, _encoding(values))
    return variables | _about(records, layout)


@dataclass(frozen=True)
class _Array:
    """One array of all records, its axes after the seeds' named, with their largest sizes."""

    name: str
    seeded: bool
    axes: list[str]
    sizes: list[int]
    holders: list[Record]

    @property
    def dtype(self) -> np.dtype:
        """One that holds every record's."""
        return np.result_type(*(record.arrays[self.name] for record in self.holders))


def _array(name: str, records: Records, experiment: Experiment, layout: Layout) -> _Array:
    holders = [record for record in records.ok if name in record.arrays]
    seeded = all(is_seeded(record, name) for record in holders)
    shapes = {record.arrays[name].shape[1 if seeded else 0 :] for record in holders}
    if len({len(shape) for shape in shapes}) > 1:
        raise UserError(
            f"`{name}` must have as many axes in each record, got shapes {sorted(shapes)}."
        )
    sizes = [max(lengths) for lengths in zip(*shapes, strict=True)]
    axes = list(experiment.axes.get(name, [f"{name}_{i}" for i in range(len(sizes))]))
    if len({*axes}) != len(sizes) or set(axes) & {"seed", *layout.dims}:
        raise UserError(
            f"`AXES['{name}']` of '{experiment.source}' must be {len(sizes)} names of axes,"
            f" all different, other than {', '.join(['seed', *layout.dims])}, got {axes!r}."
        )
    return _Array(name, seeded, axes, sizes, holders)


def _check_memory(arrays: list[tuple[_Array, list[int]]], layout: Layout) -> None:
    """Refuse what would fill the memory: each array as large as the largest of any record."""
    shapes = [(array, _shape(array, sizes, layout)) for array, sizes in arrays]
    needed = sum(math.prod(shape) * (array.dtype.itemsize + 1) for array, shape in shapes)
    if needed > host_memory():
        raise UserError(
            "`dir` must be of arrays that fit into four fifths of the memory,"
            f" {host_memory() / 2**30:.3g} GiB, got {needed / 2**30:,.3g} GiB: read its records one"
            " by one, by `ntk_eoc.sweeps.records.load`."
        )


def _shape(array: _Array, sizes: list[int], layout: Layout) -> tuple[int, ...]:
    return (*layout.shape, *([layout.seeds] if array.seeded else []), *sizes)


def _filled(array: _Array, sizes: list[int], layout: Layout) -> np.ndarray:
    shape = _shape(array, sizes, layout)
    values, there = _empty(shape, array.dtype), np.zeros(shape, bool)
    for record in array.holders:
        own = record.arrays[array.name]
        first = record.cell.first_seed
        seeds = (slice(first, first + record.cell.seeds),) if array.seeded else ()
        spread = tuple(slice(0, size) for size in own.shape[len(seeds) :])
        place = (*layout.place(record), *seeds, *spread)
        values[place], there[place] = own, True
    return _with_gaps(values, there)


def _about(records: Records, layout: Layout) -> dict[str, Any]:
    status = np.full(layout.shape, "missing", dtype="U64")
    seconds = np.zeros(layout.shape)
    for record in records:
        place = layout.place(record)
        known = set(status[place].split(", ")) - {"missing"}
        status[place] = ", ".join(sorted(known | {record.status}))
        seconds[place] += record.meta["seconds"]
    return {
        "status": (layout.dims, status, {"long_name": "what became of the point's cells"}),
        "seconds": (layout.dims, seconds, {"units": "s", "long_name": "time to compute"}),
    }


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.full(shape, np.nan, dtype) if dtype.kind in "fc" else np.zeros(shape, dtype)


def _with_gaps(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Integers with NaN where they are missing, if every digit survives that."""
    if values.dtype.kind not in "biu" or there.all():
        return values
    as_float = values.astype(np.float64)
    if values.dtype.kind != "b" and not np.array_equal(as_float.astype(object), values):
        return np.where(there, values, _missing(values.dtype))
    return np.where(there, as_float, np.nan)


def _missing(dtype: np.dtype) -> Any:
    """What stands for a missing integer: the end of the range that is used least."""
    bounds = np.iinfo(dtype)
    return bounds.min if dtype.kind == "i" else bounds.max


def _encoding(values: np.ndarray) -> dict[str, Any]:
    missing = values.dtype.kind in "iu" and (values == _missing(values.dtype)).any()
    return {"_FillValue": _missing(values.dtype)} if missing else {}


def _provenance(records: Records, run: Run) -> dict[str, Any]:
    engines = [json.dumps(engine, sort_keys=True) for engine in run.engines]
    texts = {
        "title": records.title or run.name,
        "experiment": run.name,
        "config": json.dumps(run.resolved, sort_keys=True),
        "command": run.provenance.get("command", ""),
        "source_sha256": run.provenance.get("sha256", ""),
        "code": json.dumps(run.code, sort_keys=True),
        "source_commit": run.provenance.get("commit", ""),
        "computed_by": "\n".join(engines),
        "cells_by_other_code": records.mixture,
    }
    counts = {"cells_missing": records.missing, "cells_bad": len(records.bad)}
    return {name: _text(value) for name, value in texts.items()} | counts


def _text(value: Any) -> str:
    """What a netCDF file takes for a text, of whatever a `run.json` may hold."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
