"""Laws given by their density: one's own, the uniform, the Marchenko–Pastur law."""

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from ntk_eoc.checks import require, require_number
from ntk_eoc.spectra.laws import Numbers, SpectralLaw
from ntk_eoc.spectra.piecewise import EMPTY, interpolate, resolve


@dataclass(frozen=True, eq=False)
class OwnDensity:
    """A density of the user's. One that cannot be pickled, as a lambda, is as its polynomials."""

    pdf: Callable[[Any], Any]
    pieces: Float[np.ndarray, "i 2"]

    def __call__(self, x: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
        """The density at points inside the pieces."""
        return np.asarray(self.pdf(x), np.float64)

    def __reduce__(self) -> tuple[Any, ...]:
        """How to pickle it."""
        try:
            pickle.dumps(self.pdf)
        except (pickle.PicklingError, AttributeError, TypeError):
            return partial, (interpolate, resolve(self, self.pieces))
        return OwnDensity, (self.pdf, self.pieces)


def from_density(pdf: Callable[[Any], Any], support: Numbers) -> SpectralLaw:
    """Return the law with the density `pdf` on bounded intervals.

    Args:
        pdf: The density, of a NumPy array of points strictly inside the intervals.
        support: Intervals [[a, b], …], ascending and disjoint; let one end wherever the density
            is not smooth.

    Raises:
        ValueError: If an interval is unbounded (its moments may be infinite; no law with infinite
            moments is taken) or the density does not integrate to 1.
    """
    pieces = np.asarray(support, np.float64).reshape(-1, 2)
    require(bool(np.all(np.isfinite(pieces))), "support", "bounded: all moments finite", support)
    ends = pieces.ravel()
    require(
        ends.size > 0 and bool(np.all(np.diff(ends) >= 0) and np.all(ends[1::2] > ends[::2])),
        "support",
        "ascending intervals a < b",
        support,
    )
    law = SpectralLaw(EMPTY, EMPTY, pieces, OwnDensity(pdf, pieces))
    require(law.error < 1e-6, "pdf", "a density of integral 1", 1 - law.error)
    return law


def uniform(a: float, b: float) -> SpectralLaw:
    """Return the uniform law on [a, b]."""
    a, b = require_number("a", a), require_number("b", b)
    require(a < b, "b", f"> a = {a}", b)
    return from_density(partial(np.full_like, fill_value=1 / (b - a)), [[a, b]])


@dataclass(frozen=True, eq=False, repr=False)
class MarchenkoPastur(SpectralLaw):
    """The Marchenko–Pastur law, which knows its ratio. Build it with `marchenko_pastur`."""

    ratio: float = 1.0


def _marchenko_pastur_density(c: float, x: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    a, b = (1 - math.sqrt(c)) ** 2, (1 + math.sqrt(c)) ** 2
    inside = np.maximum((x - a) * (b - x), 0.0)
    return np.sqrt(inside) / (2 * np.pi * c * np.maximum(x, 1e-300))


def marchenko_pastur(c: float) -> MarchenkoPastur:
    """Return the limit law of GGᵀ/N, G of size M × N with i.i.d. standard entries, M/N → c.

    Density √((x − a)(b − x))/(2π c x) on [a, b] = [(1 − √c)², (1 + √c)²], mean 1, variance c,
    and for c > 1 an atom of mass 1 − 1/c at 0.

    Raises:
        ValueError: If c is not positive.
    """
    c = require_number("c", c)
    require(c > 0, "c", "> 0", c)
    atom = np.array([0.0]) if c > 1 else EMPTY
    mass = np.array([1 - 1 / c]) if c > 1 else EMPTY
    pieces = np.array([[(1 - math.sqrt(c)) ** 2, (1 + math.sqrt(c)) ** 2]])
    density, known = partial(_marchenko_pastur_density, c), (1.0, 1 + c)
    return MarchenkoPastur(atom, mass, pieces, density, known=known, ratio=c)
