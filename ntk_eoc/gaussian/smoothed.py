"""G(a, τ) = E[φ(a + τ w)], w standard normal: an activation smoothed, tabulated once.

The dual is an integral of φ(√q₁ u) G(√q₂ ρ u, √q₂ sin θ): the inner integral is a function of two
numbers, whatever the triple. It is analytic but for (kink, 0), where it is one of (a − kink)/τ. So
τ is cut into strips, dyadic but for the lowest, [0, h], and a strip into cells whose ends in
a move along with τ near kinks: a cell is resolved by polynomials down to τ = 0.
"""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc.activations import Activation
from ntk_eoc.gaussian.panels import Panels
from ntk_eoc.gaussian.rules import COARSE_1D, FINE_1D, mass_range, smooth
from ntk_eoc.gaussian.triples import Kind, in_float64, integrand

ORDER = 24  # coefficients a direction
OCTAVES = 6  # a table serves variances from q 4^{−OCTAVES} to q
REACH = 9.0  # a Gaussian of width τ does not see a kink 9τ away: 1e-18 of it lies beyond
TOLERANCE = 4e-15  # of the last coefficients, relative to φ thereabouts
HALVINGS = 12
TAU_HALVINGS = 3
MOST = 64  # panels of φ, or cells to be halved: with more of them a table takes too long
_TAIL = 3  # coefficients whose size tells the error of an interpolant
_CHECKS = 8  # points a cell, at which the table is compared with the integral
_BLOCK = 2304  # points at once: their nodes stay in the cache of a core

_X = -np.cos(np.pi * (np.arange(ORDER) + 0.5) / ORDER)
_TO_COEFFICIENTS = (2 / ORDER) * np.cos(np.outer(np.arange(ORDER), np.arccos(_X)))
_TO_COEFFICIENTS[0] /= 2

# α and β of both ends, a = α + βτ, and a kink that the cell may be near to
Cells = Float[np.ndarray, "cells 5"]


class Strip(NamedTuple):
    """G on low <= τ <= high; the cells of all strips are padded to one number.

    Attributes:
        low: Least τ.
        high: Largest τ.
        ends: α and β of the ends of the cells, ascending: a = α + βτ.
        coefficients: Chebyshev coefficients, of τ and a.
        error: Largest error on a cell.
    """

    low: Float[Array, ""]
    high: Float[Array, ""]
    ends: Float[Array, "2 cells+1"]
    coefficients: Float[Array, "k cells*k"]
    error: Float[Array, "cells"]


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _smoothed(
    act: Activation,
    of: Kind,
    panels: Panels,
    n: int,
    root: Float[Array, ""],
    origin: Float[Array, "t"],
    a: Float[Array, "t"],
    tau: Float[Array, "t"],
) -> Float[Array, "t"]:
    """E[φ(origin + a + τ w)] by a composite rule; `root`: the largest deviation of the argument."""
    f, _ = integrand(act, of)
    one = jnp.ones((), a.dtype)
    return smooth(lambda y: (f(y),), panels, n, mass_range(f, root), one, a, tau, origin)[0]


class _Fit(NamedTuple):
    """Interpolants of G on cells of one strip.

    Attributes:
        cells: The cells.
        coefficients: Of τ and a.
        tails: Size of the last coefficients of a, and of τ.
        noise: What they are to be below.
    """

    cells: Cells
    coefficients: Float[np.ndarray, "cells k k"]
    tails: Float[np.ndarray, "cells 2"]
    noise: Float[np.ndarray, "cells"]


_Strip = tuple[tuple[float, float], _Fit, np.ndarray]  # with the errors


class _Builder(NamedTuple):
    """Evaluates G of one activation on cells of one strip, low <= τ <= high."""

    act: Activation
    of: Kind
    panels: Panels
    root: float  # √ of the largest variance
    reach: float  # the largest |a|

    def points(
        self, cells: Cells, strip: tuple[float, float], x: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a − origin and τ at places x, y of [−1, 1] of each cell."""
        tau = (strip[0] + strip[1]) / 2 + (strip[1] - strip[0]) / 2 * y
        start, end = (
            cells[:, i, None] - cells[:, 4:] + cells[:, i + 1, None] * tau for i in (0, 2)
        )
        a = (start + end) / 2 + (end - start) / 2 * x
        return a, np.broadcast_to(tau, a.shape)

    def values(
        self, n: int, cells: Cells, strip: tuple[float, float], x: np.ndarray, y: np.ndarray
    ) -> np.ndarray:
        """G by the rule of n nodes a panel, at places x, y of each cell, on all cores."""
        a, tau = self.points(cells, strip, x, y)
        origin = np.broadcast_to(cells[:, 4:], a.shape)
        blocks = -(-a.size // _BLOCK)
        flat = [np.resize(x.ravel(), (blocks, _BLOCK)) for x in (origin, a, tau)]

        @in_float64  # which a thread has to be told by itself
        def block(i: int) -> np.ndarray:
            points = (jnp.asarray(x[i]) for x in flat)
            root = jnp.asarray(self.root)
            return np.asarray(_smoothed(self.act, self.of, self.panels, n, root, *points))

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = np.concatenate([block(0), *pool.map(block, range(1, blocks))])
        return found[: a.size].reshape(a.shape)

    def fit(self, cells: Cells, strip: tuple[float, float]) -> _Fit:
        """Interpolate."""
        y, x = (z.reshape(1, -1) for z in np.meshgrid(_X, _X, indexing="ij"))
        values = self.values(COARSE_1D, cells, strip, x, y).reshape(-1, ORDER, ORDER)
        c = _TO_COEFFICIENTS @ values @ _TO_COEFFICIENTS.T
        # Their root of squares: it adds up rounding as rounding adds up.
        tails = [np.sqrt(np.square(z).sum((1, 2))) for z in (c[:, :, -_TAIL:], c[:, -_TAIL:])]
        # What an error is relative to, at the variances that meet a cell: φ and G thereabouts,
        # no farther from 0.
        a = np.abs(self.points(cells, strip, x, y)[0] + cells[:, 4:])
        inner = values.reshape(len(a), -1)[np.arange(len(a)), a.argmin(1)]
        about = np.maximum(2 * a.min(1), 4 * self.root / 2.0**OCTAVES)
        size, rounding = self.sizes(np.minimum(a.max(1), about) + 2 * strip[1])
        noise = (TOLERANCE + rounding) * np.maximum(size, np.abs(inner))
        return _Fit(cells, c, np.stack(tails, 1), noise)

    def sizes(self, about: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Largest |φ(s)| for |s| <= about, and the relative rounding of φ from that of s."""
        f, _ = integrand(self.act, self.of)
        reach = self.panels.reach
        s = np.concatenate([[0.0], np.geomspace(1e-4, 1, 1023)]) * reach
        both = np.stack([s, -s])
        value, slope = jax.jvp(f, (jnp.asarray(both),), (jnp.ones(both.shape),))
        size, steep = (
            np.maximum.accumulate(np.nan_to_num(np.abs(x)).max(0)) for x in (value, slope * both)
        )
        at = np.searchsorted(s, np.minimum(about, reach))
        size = np.maximum(size, 1e-8 * size[np.searchsorted(s, min(self.root, reach))])
        return size[at], 4e-16 * steep[at] / np.maximum(size[at], 1e-300)

    def check(self, fit: _Fit, strip: tuple[float, float]) -> np.ndarray:
        """Largest difference from a finer rule, at random points of each cell."""
        x, y = np.random.default_rng(0).uniform(-1, 1, (2, len(fit.cells), _CHECKS))
        exact = self.values(FINE_1D, fit.cells, strip, x, y)
        t, a = (np.cos(np.arccos(z)[..., None] * np.arange(ORDER)) for z in (y, x))
        return np.abs(np.einsum("cij,cpi,cpj->cp", fit.coefficients, t, a) - exact).max(1)

    def first_cells(self, high: float) -> Cells:
        """The cells between kinks, and the cones around them, where no two of them meet."""
        kinks = self.panels.kinks
        ends = [(c, 0.0) for c in (-self.reach, *kinks, self.reach)]
        for (a, _), (b, _) in itertools.pairwise(tuple(ends)):
            if b - a > 2 * REACH * high:
                ends += [(a, REACH)] * (a in kinks) + [(b, -REACH)] * (b in kinks)
        cells = []
        for left, right in itertools.pairwise(sorted(ends)):
            near = [c for c in (left[0], right[0]) if c in kinks]
            cells.append((*left, *right, near[0] if near else 0.0))
        return np.array(cells, float)

    def strips(self, low: float, high: float, halvings: int = TAU_HALVINGS) -> list[_Strip]:
        """Return strips of low <= τ <= high: halved in a and, where that is of no use, in τ."""
        strip, pending, done = (low, high), self.first_cells(high), []
        for halving in range(HALVINGS + 1):
            fit = self.fit(pending, strip)
            good = fit.tails <= fit.noise[:, None]
            if halvings and (good[:, 0] & ~good[:, 1]).any():
                middle = (low + high) / 2
                return [
                    *self.strips(low, middle, halvings - 1),
                    *self.strips(middle, high, halvings - 1),
                ]
            now = good.all(1) | (halving == HALVINGS)
            done.append(_Fit(*(x[now] for x in fit)))
            pending = _halves(pending[~now])
            if len(pending) == 0:
                break
            if len(pending) > MOST:
                raise _TooManyCells
        whole = _Fit(*(np.concatenate(parts) for parts in zip(*done, strict=True)))
        error = np.maximum(whole.tails.sum(1), 2 * self.check(whole, strip))
        return [(strip, whole, np.where(np.isnan(error), np.inf, error))]


class _TooManyCells(Exception):
    """φ is not worth a table."""


def _halves(cells: Cells) -> Float[np.ndarray, "halves 5"]:
    left, right = cells.copy(), cells.copy()
    left[:, 2:4] = right[:, :2] = (cells[:, :2] + cells[:, 2:4]) / 2
    return np.concatenate([left, right])


def _padded(strip: tuple[float, float], fit: _Fit, error: np.ndarray, most: int) -> Strip:
    """Order the cells, and add cells that no a is in."""
    order = np.argsort(fit.cells @ np.array([1, sum(strip) / 2, 0, 0, 0]))
    rest = (0, most - order.size)
    ends = np.concatenate([fit.cells[order, :2], fit.cells[order[-1:], 2:4]]).T
    ends = np.pad(ends, ((0, 0), rest))
    ends[0, order.size + 1 :] = 1e300
    coefficients = np.pad(fit.coefficients[order], (rest, (0, 0), (0, 0)))
    return Strip(
        jnp.asarray(strip[0]),
        jnp.asarray(strip[1]),
        jnp.asarray(ends),
        jnp.asarray(coefficients.transpose(1, 2, 0).reshape(ORDER, -1)),
        jnp.asarray(np.pad(error[order], rest, constant_values=np.inf)),
    )


@cache
@in_float64
def tabulate(act: Activation, of: Kind, panels: Panels, q: float) -> tuple[Strip, ...] | None:
    """Tabulate the smoothed φ, or φ', for variances from q 4^{−OCTAVES} to q.

    Returns:
        The strips, ascending; None if φ needs too many cells.
    """
    if len(panels.breaks) > MOST:
        return None
    f, _ = integrand(act, of)
    root = float(np.sqrt(q))
    reach = root * (1.0 + float(max(abs(z) for z in mass_range(f, jnp.asarray(root)))))
    builder = _Builder(act, of, panels, root, reach)
    # The lowest strip sees two kinks, or two panels, apart.
    shortest = np.diff([-panels.reach, *panels.breaks, panels.reach]).min() / (2.7 * REACH)
    octaves = int(np.ceil(np.log2(root / min(root / 2.0**OCTAVES, shortest))))
    ends = [0.0, *(root * 2.0 ** np.arange(-octaves, 1.0)).tolist()]
    try:
        strips = [x for strip in itertools.pairwise(ends) for x in builder.strips(*strip)]
    except _TooManyCells:
        return None
    most = max(len(fit.cells) for _, fit, _ in strips)
    return tuple(_padded(*strip, most) for strip in strips)


def look_up(
    strip: Strip, a: Float[Array, "u"], tau: Float[Array, ""]
) -> tuple[Float[Array, "u"], Float[Array, "u"]]:
    """Return G(a, τ) on one strip, and the largest error of the cells looked at."""
    y = (2 * tau - strip.low - strip.high) / (strip.high - strip.low)
    basis = [jnp.ones_like(y), y]
    for _ in range(ORDER - 2):
        basis.append(2 * y * basis[-1] - basis[-2])
    rows = (jnp.stack(basis) @ strip.coefficients).reshape(ORDER, -1)
    ends = strip.ends[0] + strip.ends[1] * tau
    cell = jnp.searchsorted(ends[1:-1], a, method="compare_all")
    # Not a difference of the ends: near a kink they may be as close as rounding.
    lengths = jnp.diff(strip.ends[0]) + jnp.diff(strip.ends[1]) * tau
    x = jnp.clip(2 * (a - ends[cell]) / jnp.maximum(lengths[cell], 1e-300) - 1, -1, 1)
    ahead = behind = jnp.zeros_like(a)
    for k in range(ORDER - 1, 0, -1):
        ahead, behind = rows[k][cell] + 2 * x * ahead - behind, ahead
    return rows[0][cell] + x * ahead - behind, strip.error[cell]
