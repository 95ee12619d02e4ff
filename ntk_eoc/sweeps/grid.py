"""From a config to its cells: the product of the grid, the seeds split, every cell validated."""

import itertools
import math
import numbers
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ntk_eoc import user_code
from ntk_eoc.sweeps.config import RESERVED, Also, Cell, Config, parse
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.experiment import Experiment
from ntk_eoc.sweeps.identity import digest, id_of

MOST_CELLS = 1_000_000
MOST_SEEDS = 2**32
MOST_SEEDS_A_CELL = 10_000_000


@dataclass(frozen=True)
class Planned:
    """A cell to compute.

    Attributes:
        id: Hash of all the cell holds.
        cell: The cell.
        cost: Its relative duration.
        memory: Bytes that one of its batches needs, 0 if the experiment does not say.
    """

    id: str
    cell: Cell
    cost: float
    memory: float = 0.0

    @property
    def fields(self) -> dict[str, Any]:
        """The cell as plain JSON data."""
        return self.cell.model_dump(mode="json")


def cell_id(experiment: str, cell: Cell) -> str:
    """Return the cell's id."""
    return id_of(experiment, cell.model_dump(mode="json"))


def plan(config: Config, experiment: Experiment, where: str) -> list[Planned]:
    """Return every cell of the config in the order of the grid, seeds innermost.

    Raises:
        UserError: If a cell is refused, or a point stands twice with different seeds or batches.
    """
    with user_code.relative_to(experiment.base):
        return _plan(config, experiment, where)


def _plan(config: Config, experiment: Experiment, where: str) -> list[Planned]:
    _check_size(config, where)
    planned: dict[str, Planned] = {}
    splits: dict[bytes, list[str]] = {}
    for point in _points(config):
        cells = [parse(experiment.cell, split, where) for split in _split(config, point)]
        ids = [cell_id(experiment.name, cell) for cell in cells]
        outside = set(cells[0].outside_draw)
        draw = digest(cells[0].model_dump(mode="json", exclude=outside))
        if splits.setdefault(draw, ids) != ids:
            named = {name: value for name, value in point.fields.items() if name in point.varied}
            raise UserError(
                f"{where}: `also` must give a point the same seeds and batch each time,"
                f" got other ones for {named!r}."
            )
        for id_, cell in zip(ids, cells, strict=True):
            cost, memory = (
                _positive(experiment, "cost", cell),
                _positive(experiment, "memory", cell),
            )
            planned.setdefault(id_, Planned(id_, cell, cost, memory))
    return list(planned.values())


def _check_size(config: Config, where: str) -> None:
    """Refuse what would fill the memory while it is planned, by its number."""
    cells = 0
    for grid, extra, seeds, per_cell in _grids(config):
        batch = extra.batch or config.batch or 1
        if batch > MOST_SEEDS_A_CELL:  # a batch is padded to its whole size
            raise UserError(f"{where}: `batch` must be <= {MOST_SEEDS_A_CELL:,}, got {batch:,}.")
        if seeds > MOST_SEEDS:  # a seed's key is made from 32 bits
            raise UserError(f"{where}: `seeds` must be <= {MOST_SEEDS:,}, got {seeds:,}.")
        if min(per_cell, seeds) > MOST_SEEDS_A_CELL:
            raise UserError(
                f"{where}: `seeds_per_cell` must be <= {MOST_SEEDS_A_CELL:,}, got"
                f" {min(per_cell, seeds):,}: a cell's keys and results are held in memory."
            )
        cells += math.prod(map(len, grid.values())) * max(1, -(-seeds // per_cell))
    if cells > MOST_CELLS:
        raise UserError(f"{where}: `grid` must give at most {MOST_CELLS:,} cells, got {cells:,}.")


def _grids(config: Config) -> Iterator[tuple[dict[str, list[Any]], Also, int, int]]:
    """Every grid of the config: its values, what it overrides, seeds, seeds a cell."""
    for extra in (Also(), *config.also):
        grid = {k: v for k, v in config.grid.items() if k not in extra.fixed} | extra.grid
        seeds = config.seeds if extra.seeds is None else extra.seeds
        yield grid, extra, seeds, extra.seeds_per_cell or config.seeds_per_cell or max(seeds, 1)


@dataclass(frozen=True)
class _Point:
    fields: dict[str, Any]
    varied: frozenset[str]
    seeds: int
    seeds_per_cell: int
    batch: int


def _points(config: Config) -> Iterator[_Point]:
    for grid, extra, seeds, seeds_per_cell in _grids(config):
        fixed = {k: v for k, v in config.fixed.items() if k not in extra.grid} | extra.fixed
        for values in itertools.product(*grid.values()):
            yield _Point(
                fields=fixed | dict(zip(grid, values, strict=True)),
                varied=frozenset(grid),
                seeds=seeds,
                seeds_per_cell=seeds_per_cell,
                batch=extra.batch or config.batch or 1,
            )


def _split(config: Config, point: _Point) -> Iterator[dict[str, Any]]:
    assert not RESERVED & point.fields.keys()
    common = {
        "dtype": config.dtype,
        "root_seed": config.root_seed,
        "batch": point.batch,
        **point.fields,
    }
    for first in range(0, max(point.seeds, 1), point.seeds_per_cell):
        seeds = min(point.seeds_per_cell, point.seeds - first)
        yield common | {"first_seed": first, "seeds": seeds}


def _positive(experiment: Experiment, name: str, cell: Cell) -> float:
    try:
        value = getattr(experiment, name)(cell)
        number = float(value) if isinstance(value, numbers.Real) else math.nan
    except OverflowError:
        number = math.inf
    except (Exception, SystemExit) as error:
        told = " ".join(str(error).split())
        raise UserError(
            f"`{name}` of '{experiment.source}' must be a number for every cell, but raised"
            f" {type(error).__name__}: {told}."
        ) from error
    if not 0 <= number < math.inf:
        raise UserError(
            f"`{name}` of '{experiment.source}' must be a finite number >= 0, got {value!r:.99}."
        )
    return number


def shard(planned: list[Planned], text: str | None) -> list[Planned]:
    """Return the part `k/n` of the plan: every n-th cell of the list sorted by cost.

    Raises:
        UserError: If the text is not k/n with 1 <= k <= n.
    """
    longest_first = sorted(planned, key=lambda one: -one.cost)
    if text is None:
        return longest_first
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UserError(f"`--shard` must be k/n with 1 <= k <= n, as in 2/8, got {text!r}.")
    return longest_first[int(part) - 1 :: int(parts)]
