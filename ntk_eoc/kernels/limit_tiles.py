"""The pairs of a limit kernel in tiles, advanced on all cores: bounded memory beside the result."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc.kernels.limit_layer import Limit, Pairs
from ntk_eoc.precision import on_all_cores

TILE = 128
ROUND = 32  # their rows and columns are multiples of it


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


def tiles_of(n1: int, n2: int, same: bool, most: int = TILE) -> Tiles:
    """Cut n1 × n2 pairs into tiles of one size, at most `most` × `most`.

    Where there are several their sizes are few different numbers, so that there are few programs.
    """
    counts = [-(-n // most) for n in (n1, n2)]
    one, two = (-(-n // c) if c == 1 else -(-n // (c * ROUND)) * ROUND
                for n, c in zip((n1, n2), counts, strict=True))  # fmt: skip
    rows, columns = (range(0, c * b, b) for c, b in zip(counts, (one, two), strict=True))
    starts = [(i, j) for i in rows for j in columns if not same or j <= i]
    return Tiles((one, two), starts, (counts[0] * one, counts[1] * two))


Job = Callable[[tuple[slice, slice], Pairs], Pairs]


def over_tiles(tiles: Tiles, pairs: Pairs, job: Job) -> None:
    """Replace every tile of `pairs`, NumPy, by the result of `job`."""

    def run(start: tuple[int, int]) -> None:
        where = tiles.slices(start)
        found = job(where, Pairs(*(x[where] for x in pairs)))
        for old, new in zip(pairs, found, strict=True):
            old[where] = np.asarray(new)

    on_all_cores(run, tiles.starts)


def _mirror(tiles: Tiles, x: Float[np.ndarray, "n n"]) -> None:
    """Copy the lower triangle, which the tiles of one set of inputs hold, over the upper one."""
    for start in tiles.starts:
        rows, columns = tiles.slices(start)
        if start[0] == start[1]:
            lower = np.tril(x[rows, columns])
            x[rows, columns] = lower + np.tril(lower, -1).T
        else:
            x[columns, rows] = x[rows, columns].T


Advance = Callable[[list[np.ndarray], Tiles, Pairs], list[np.ndarray]]


def in_tiles(start: Limit, same: bool, most: int, advance: Advance) -> Limit:
    """Return all pairs of concrete inputs after all layers; those at the start are deleted.

    `advance` takes the variances and their relative errors, the tiles, and the pairs, all padded;
    it replaces the pairs in place and returns the last variances and errors.
    """
    n1, n2 = start.pairs.delta.shape
    tiles = tiles_of(n1, n2, same, most)
    padding = [(0, tiles.shape[0] - n1), (0, tiles.shape[1] - n2)]
    sides = [np.pad(np.asarray(x), padding[i % 2], mode="edge") for i, x in enumerate(start[:4])]
    pairs = Pairs(*(_moved(x, padding) for x in start.pairs))
    last = advance(sides, tiles, pairs)
    if same:
        last = [last[0], last[0], last[2], last[2]]  # of rows and columns they differ by rounding
        for x in pairs:
            _mirror(tiles, x)
    q1, q2, error1, error2 = (jnp.asarray(x[: (n1, n2)[i % 2]]) for i, x in enumerate(last))
    return Limit(q1, q2, error1, error2, Pairs(*(jnp.asarray(x[:n1, :n2]) for x in pairs)))


def _moved(x: Array, padding: list[tuple[int, int]]) -> np.ndarray:
    """A padded copy of n² numbers, which are not kept twice."""
    copy = np.pad(np.asarray(x), padding, mode="edge")
    x.delete()
    return copy
