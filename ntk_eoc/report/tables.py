"""Tables of results: every number with its error, formatted once, as Markdown and as CSV."""

import csv
import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntk_eoc.checks import require
from ntk_eoc.estimates import Estimate, Exponent, Quantile
from ntk_eoc.sweeps.files import write_whole

HEAD = re.compile(
    r"<!-- written by `(?:ntk-eoc figures` from |python benchmarks/)(\S+\.(?:toml|py))`?; .*; "
    r"text (\w{12}) -->"
)


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        columns: Headings; a unit, if there is one, stands in the heading after a comma.
        rows: Their cells: text, numbers, or estimates, which carry their errors; None is empty.
        digits: Of plain numbers, significant.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    digits: int = 3

    def __post_init__(self) -> None:
        for row in self.rows:
            require(
                len(row) == len(self.columns), "rows", f"{len(self.columns)} cells each", list(row)
            )


def shown(value: Any, digits: int = 3) -> str:
    """Return a cell's text.

    An `Estimate` is "mean ± standard error", an `Exponent` or a `Quantile` "value [low, high]", the
    error of an estimate to two digits where they are 10 to 29 and one where they are 3 to 9.
    """
    if value is None:
        return ""
    if isinstance(value, Estimate):
        return _with_error(value.mean, value.error, digits)
    if isinstance(value, Exponent):
        ends = (value.slope, value.low, value.high)
        places = 3 if value.high - value.low <= 0.03 else 2
        return _interval([_signed(f"{end:.{places}f}") for end in ends])
    if isinstance(value, Quantile):
        return _interval([_number(end, digits) for end in value[:3]])
    if isinstance(value, float) or (hasattr(value, "dtype") and value.dtype.kind == "f"):
        return _number(float(value), digits)
    return str(value)


def _interval(ends: list[str]) -> str:
    return ends[0] if "nan" in ends[1:] else f"{ends[0]} [{ends[1]}, {ends[2]}]"


def _power(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def _signed(text: str) -> str:
    return text.replace("-", "−")


def _number(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return "∞" if value == math.inf else _signed(str(value))
    if value and not 1e-4 <= abs(value) < 1e6:
        return _signed(f"{value:.{digits - 1}e}")
    places = max(0, digits - 1 - _power(value)) if value else 0
    return _signed(f"{value:,.{places}f}" if abs(value) >= 1e4 else f"{value:.{places}f}")


def _with_error(value: float, error: float, digits: int) -> str:
    if not (math.isfinite(error) and error > 0):
        return _number(value, digits)
    lead = error / 10.0 ** _power(error)
    places = -_power(error) + (1 if lead < 2.95 else 0)
    if places > 5:
        power = _power(value)
        scaled, small = value / 10.0**power, error / 10.0**power
        shift = max(places + power, 0)
        return _signed(f"({scaled:.{shift}f} ± {small:.{shift}f})e{power}")
    places = max(places, 0)
    return _signed(f"{value:.{places}f} ± {error:.{places}f}")


def markdown(table: Table) -> str:
    """Return the table in Markdown."""
    rows = [[shown(cell, table.digits) for cell in row] for row in table.rows]
    lines = [table.columns, ["---"] * len(table.columns), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def comma_separated(table: Table) -> str:
    """Return the table as CSV, every number in full: an estimate fills several columns."""
    rows = [[_parts(cell) for cell in row] for row in table.rows]
    heads: list[str] = []
    for name, *cells in zip(table.columns, *rows, strict=True):
        heads += [" ".join(filter(None, (name, part))) for part in max(cells, key=len, default=())]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    widths = [max((len(row[i]) for row in rows), default=1) for i in range(len(table.columns))]
    for row in rows:
        parts = [[*cell.values(), *[""] * (w - len(cell))] for cell, w in zip(row, widths)]  # noqa: B905
        writer.writerow([value for part in parts for value in part])
    return text.getvalue()


def _parts(value: Any) -> dict[str, Any]:
    if isinstance(value, Estimate):
        return {"": value.mean, "standard error": value.error, "draws": value.draws}
    if isinstance(value, Exponent):
        ends = {"": value.slope, "low": value.low, "high": value.high}
        return {**ends, "draws": value.draws}
    if isinstance(value, Quantile):
        return {"": value.value, "low": value.low, "high": value.high, "draws": value.draws}
    return {"": "" if value is None else value}


def write(
    tables: Mapping[str, Table], folder: Path, name: str, source: str, origin: str
) -> list[Path]:
    """Write NAME_KEY.md and NAME_KEY.csv of every table; return the paths.

    The first line of the Markdown names the source, a config or a file of `benchmarks`, the records
    or the machine that it was made of, and a hash of the text below, so that a number changed by
    hand is found out.
    """
    by = f"`ntk-eoc figures` from {source}"
    if source.endswith(".py"):
        by = f"`python benchmarks/{source}`"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for key, table in tables.items():
        text = markdown(table)
        mark = hashlib.sha256(text.encode()).hexdigest()[:12]
        head = f"<!-- written by {by}; {origin}; text {mark} -->\n"
        path = folder / "_".join(filter(None, (name, key)))
        for suffix, content in ((".md", head + text), (".csv", comma_separated(table))):
            file = path.with_name(path.name + suffix)
            write_whole(file, content.encode())
            paths.append(file)
    return paths
