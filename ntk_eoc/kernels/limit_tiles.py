"""The pairs of a limit kernel in tiles, advanced on all cores: bounded memory beside the result."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ntk_eoc.kernels.limit_layer import Pairs
from ntk_eoc.precision import on_all_cores

TILE = 128


class Tiles(NamedTuple):
    """Where the tiles lie in padded arrays; of one set of inputs, the lower triangle.

    Attributes:
        size: Rows and columns of a tile.
        starts: First row and column of each.
        shape: Of the padded arrays.
    """

    size: tuple[int, int]
    starts: list[tuple[int, int]]
    shape: tuple[int, int]

    def slices(self, start: tuple[int, int]) -> tuple[slice, slice]:
        """The rows and columns of a tile."""
        one, two = (slice(i, i + b) for i, b in zip(start, self.size, strict=True))
        return one, two


def tiles_of(n1: int, n2: int, same: bool) -> Tiles:
    """Cut n1 × n2 pairs into tiles of one size, at most TILE × TILE."""
    counts = [-(-n // TILE) for n in (n1, n2)]
    size = (-(-n1 // counts[0]), -(-n2 // counts[1]))
    rows, columns = (range(0, c * b, b) for c, b in zip(counts, size, strict=True))
    starts = [(i, j) for i in rows for j in columns if not same or j <= i]
    return Tiles(size, starts, (counts[0] * size[0], counts[1] * size[1]))


Job = Callable[[tuple[slice, slice], Pairs], Pairs]


def over_tiles(tiles: Tiles, pairs: Pairs, job: Job) -> None:
    """Replace every tile of `pairs`, NumPy, by the result of `job`."""

    def run(start: tuple[int, int]) -> None:
        where = tiles.slices(start)
        found = job(where, Pairs(*(x[where] for x in pairs)))
        for old, new in zip(pairs, found, strict=True):
            old[where] = np.asarray(new)

    on_all_cores(run, tiles.starts)
