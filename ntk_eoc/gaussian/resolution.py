"""Where φ and φ' are polynomials to rounding: at the nodes of a panel, and at a scan's points."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from ntk_eoc.activations import Activation
from ntk_eoc.gaussian.evaluate import Evaluator, check_values, evaluator

DEGREE = 24  # φ is resolved where its Chebyshev coefficients of this degree are rounding noise
_SCAN = 1 / 4000  # distance of neighbouring points of the scan, relative to s
_SMALLEST = 1e-5  # |s| of the least point of it

# Chebyshev–Lobatto nodes, ends included: a kink just inside a panel cannot hide between nodes.
# They are drawn in by 1e-13, since at a declared kink φ' may be that of the other side.
_X = np.cos(np.pi * np.arange(DEGREE + 1) / DEGREE)
_ENDS = np.where(np.arange(DEGREE + 1) % DEGREE == 0, 0.5, 1.0)
_TO_COEFFICIENTS = (
    (2 / DEGREE)
    * np.cos(np.pi * np.outer(np.arange(DEGREE + 1), np.arange(DEGREE + 1)) / DEGREE)
    * _ENDS[:, None]
    * _ENDS
)


@dataclass(frozen=True)
class Resolution:
    """Tells whether φ and φ' are polynomials to rounding on panels.

    `s`, `values`: the points of the scan, ascending, and φ and φ' there; `largest`: the largest of
    each up to |s|, [2, m], at `grid`.
    """

    evaluate: Evaluator
    s: np.ndarray
    values: tuple[np.ndarray, np.ndarray]
    grid: np.ndarray
    largest: np.ndarray

    def parity(self) -> int:
        """Return +1 for even φ, −1 for odd φ, else 0, by all points of the scan but 0, a kink's."""
        right = self.s > 0
        for sign in (-1, 1):
            if all(
                bool((np.abs(y - flip * y[::-1]) <= 1e-15 * np.abs(y))[right].all())
                for y, flip in zip(self.values, (sign, -sign), strict=True)
            ):
                return sign
        return 0

    def coefficients(self, a: float, b: np.ndarray) -> np.ndarray:
        """Chebyshev coefficients [2, panels, DEGREE + 1] of φ and φ' on [a, b_i]; at most 16."""
        ends = np.concatenate([b, np.full(16 - b.size, b[-1])])
        s = a + np.outer(ends - a, (_X * (1 - 1e-13) + 1) / 2)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.stack([y @ _TO_COEFFICIENTS for y in self.evaluate(s)])[:, : b.size]

    def scales(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What φ and φ' are measured against up to |s|, [2, …], and the rounding of φ from s."""
        far = np.searchsorted(self.grid, s).clip(max=self.grid.size - 1)
        scale = self.largest[:, far]
        return scale, np.asarray(4e-16 * self.grid[far] * scale[1] / scale[0])

    def at_nodes(self, a: float, b: np.ndarray, found: np.ndarray) -> Bool[np.ndarray, "panels"]:
        """Whether the last coefficients are rounding."""
        scale, noise = self.scales(np.maximum(abs(a), np.abs(b)))
        tolerance = np.array([[5e-15], [1e-13]]) + noise
        tails = np.abs(found[..., -4:]).max(-1)
        return np.asarray((tails <= tolerance * scale).all(0))

    def in_between(self, a: float, b: float, found: np.ndarray) -> bool:
        """Whether the interpolant is φ at every point of the scan in (a, b)."""
        margin = 1e-12 * (b - a)
        first, last = np.searchsorted(self.s, [a + margin, b - margin])
        x = (2 * self.s[first:last] - a - b) / (b - a)
        scale, noise = self.scales(np.array(max(abs(a), abs(b))))
        tolerance = (np.array([1e-12, 1e-10]) + noise) * scale
        return all(
            bool((np.abs(np.polynomial.chebyshev.chebval(x, c) - y[first:last]) <= t).all())
            for c, y, t in zip(found, self.values, tolerance, strict=True)
        )


def resolution_of(act: Activation, reach: float) -> Resolution:
    """Scan φ and φ' on |s| <= reach."""
    evaluate = evaluator(act)
    count = math.ceil(math.log(max(reach / _SMALLEST, 2)) / _SCAN)
    # Points shifted by chance: no φ is periodic in them.
    shift = np.random.default_rng(0).uniform(0, 1, count)
    size = reach * np.exp(-_SCAN * (np.arange(count)[::-1] + shift))
    s = np.concatenate([-size[::-1], [0.0], size])
    value, slope = evaluate(s)
    check_values(act, s, value, slope)
    grid = np.append(0.0, size)
    with np.errstate(over="ignore"):
        both = (np.abs(np.stack([y[count:], y[count::-1]])).max(0) for y in (value, slope))
    largest = np.stack([np.maximum.accumulate(y) + 1e-300 for y in both])
    return Resolution(evaluate, s, (value, slope), grid, largest)
