"""The scalars of a run's records as a table, one row a seed."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from ntk_eoc.sweeps.records import Record, Records, value_of


def table_of(records: Records, varied: Sequence[str]) -> bytes:
    """Return the CSV text of the varied fields, then every scalar: one row a seed, or a cell."""
    names = dict.fromkeys(name for record in records.ok for name in record.arrays)
    scalars = [name for name in names if all(_is_scalar(r, name) for r in records.ok)]
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow([*varied, "seed", "status", *scalars])
    for record in records:
        fields = [value_of(record, name) for name in varied]
        for i in range(max(record.cell.seeds, 1)):
            seed = record.cell.first_seed + i if record.cell.seeds else ""
            values = [_scalar(record, name, i) for name in scalars]
            table.writerow([*fields, seed, record.status, *values])
    return text.getvalue().encode(errors="backslashreplace")


def _is_scalar(record: Record, name: str) -> bool:
    array = record.arrays.get(name)
    return array is None or array.ndim == (1 if is_seeded(record, name) else 0)


def _scalar(record: Record, name: str, i: int) -> Any:
    array = record.arrays.get(name)
    if array is None or (array.ndim == 1 and i >= len(array)):
        return ""
    return (array[i] if array.ndim == 1 else array[()]).item()


def is_seeded(record: Record, name: str) -> bool:
    """Say whether the first axis of a record's array is its seeds'."""
    array = record.arrays[name]
    return record.cell.seeds > 0 and array.ndim > 0 and array.shape[0] == record.cell.seeds
