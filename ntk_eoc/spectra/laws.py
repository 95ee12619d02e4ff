"""Laws of eigenvalues: atoms and a density, with the operations that need no free probability.

A law is measured through its pieces: the atoms, and the density resolved on panels
(`spectra.piecewise`), from which mass, moments, distribution function and Stieltjes transform
follow to about twelve digits. All is host mathematics in NumPy float64; nothing here is traced by
JAX.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array, Complex, Float, Key
from numpy.typing import ArrayLike

from ntk_eoc.checks import require, require_count
from ntk_eoc.spectra.piecewise import (
    NO_PANELS,
    Density,
    PiecewiseDensity,
    cauchy,
    cumulative,
    resolve,
    weighted,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Moments = tuple[float, float]  # mean and second moment

MASS_TOLERANCE = 1e-8
NO_PIECES = np.zeros((0, 2))
Numbers = ArrayLike | Sequence[Any]  # what `np.asarray` takes


@dataclass(frozen=True, eq=False, repr=False)
class SpectralLaw:
    """A probability law on a bounded part of the line. Build it with the functions below.

    Attributes:
        points: Places of the atoms, ascending.
        masses: Their masses.
        pieces: Intervals that carry the continuous part, ascending; they end wherever the density
            is not smooth, so that neighbours may touch.
        pdf: The density inside the pieces; NaN where its computation did not converge.
        doubt: Error of the masses that comes from what the law was computed from.
        known: Mean and second moment, where they are known otherwise; they are the check.
    """

    points: Float[np.ndarray, "k"]
    masses: Float[np.ndarray, "k"]
    pieces: Float[np.ndarray, "i 2"]
    pdf: Density | None = None
    doubt: float = 0.0
    known: Moments | None = None

    @cached_property
    def panels(self) -> PiecewiseDensity:
        """The density as polynomials; none of a law of atoms alone."""
        if self.pdf is None or not len(self.pieces):
            return NO_PANELS
        return resolve(self.pdf, self.pieces, max(1 - math.fsum(self.masses), 1e-15))

    @property
    def support(self) -> tuple[tuple[float, float], ...]:
        """The intervals of the continuous part, those that touch joined."""
        joined: list[tuple[float, float]] = []
        for a, b in self.pieces.tolist():
            if joined and a <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(b, joined[-1][1]))
            else:
                joined.append((a, b))
        return tuple(joined)

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """The atoms as (place, mass)."""
        return tuple(zip(self.points.tolist(), self.masses.tolist(), strict=True))

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest point of the law."""
        ends = np.concatenate([self.points, self.pieces.ravel()])
        return float(ends.min()), float(ends.max())

    @cached_property
    def error(self) -> float:
        """An estimate of the error of the masses, and of mean and second moment, relative.

        The largest of |1 − total| with the panels' tails and the doubt, and of what the two moments
        are off where they are known.
        """
        continuous = float(self.panels.mass.sum())
        off = [abs(1 - math.fsum(self.masses) - continuous) + self.panels.tail]
        if self.known is not None:
            mean, second = self.known
            scale = abs(mean) if self.bounds[0] >= 0 else math.sqrt(second)
            off += [abs(self.moment(1) - mean) / scale, abs(self.moment(2) / second - 1)]
        return max(off) + self.doubt if all(map(math.isfinite, off)) else math.nan

    @cached_property
    def status(self) -> str:
        """What to write beside a figure: "ok", or what went wrong with the density."""
        if np.any(self.pieces[1:, 0] < self.pieces[:-1, 1]):
            return "inconsistent: pieces of the support overlap"
        if not math.isfinite(self.error):
            return "not converged: the density could not be computed everywhere"
        if self.error > MASS_TOLERANCE:
            return f"inaccurate: masses and moments are wrong by about {self.error:.1e}"
        return "ok"

    def density(self, t: Numbers) -> Float[np.ndarray, "..."]:
        """The density of the continuous part at t; 0 outside the support, atoms left out."""
        t = np.asarray(t, np.float64)
        flat, result = t.ravel(), np.zeros(t.size)
        for a, b in self.pieces:
            inside = (flat > a) & (flat < b)
            result[inside] = np.nan
        where = np.isnan(result)
        if self.pdf is not None and where.any():
            result[where] = self.pdf(flat[where])
        return result.reshape(t.shape)

    def cdf(self, t: Numbers) -> Float[np.ndarray, "..."]:
        """P(−∞, t], the atoms at t included."""
        t = np.asarray(t, np.float64)
        flat = t.ravel()
        steps = np.concatenate([[0.0], np.cumsum(self.masses)])
        below = steps[np.searchsorted(self.points, flat, side="right")]
        return (below + cumulative(self.panels, flat)).reshape(t.shape)

    def quantile(self, u: Numbers) -> Float[np.ndarray, "..."]:
        """The least t with cdf(t) >= u, for u in [0, 1], by bisection to the last digits."""
        u = np.asarray(u, np.float64)
        require(bool(np.all((u >= 0) & (u <= 1))), "u", "in [0, 1]", u)
        lo, hi = (np.full(u.size, end) for end in self.bounds)
        width = float(hi[0] - lo[0]) if u.size else 0.0
        lo = lo - 1e-12 * (1 + width)
        for _ in range(100):
            middle = (lo + hi) / 2
            below = self.cdf(middle) < np.minimum(u.ravel(), 1 - 1e-12)
            lo, hi = np.where(below, middle, lo), np.where(below, hi, middle)
        return np.maximum(hi, self.bounds[0]).reshape(u.shape) if u.size else hi.reshape(u.shape)

    def moment(self, k: int) -> float:
        """∫ t^k."""
        require_count("k", k, 0)
        atoms = float(np.sum(self.masses * self.points**k))
        return atoms + float(np.sum(self.panels.mass * self.panels.x**k))

    @property
    def moments(self) -> Moments:
        """Mean and second moment, those known beforehand if they are."""
        return self.known or (self.moment(1), self.moment(2))

    @property
    def mean(self) -> float:
        """∫ t."""
        return self.moments[0]

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Float[np.ndarray, "..."]:
        """Independent draws of the law, `quantile` of uniform numbers of 53 random bits."""
        high, low = np.asarray(jax.random.bits(key, (2, *shape), np.uint32)).astype(np.uint64)
        return self.quantile(((high << 21) | (low >> 11)) * 2.0**-53)

    def plot(self, ax: "Axes | None" = None, **line: Any) -> "Axes":
        """Draw the density, and each atom as an arrow of its mass; see `law_views.plot`."""
        from ntk_eoc.spectra import law_views

        return law_views.plot(self, ax, **line)

    def save(self, path: str | Path) -> Path:
        """Write the law to a .npz file; see `law_files.save`."""
        from ntk_eoc.spectra import law_files

        return law_files.save(self, path)

    @staticmethod
    def load(path: str | Path) -> "SpectralLaw":
        """Return the law that `save` wrote; see `law_files.load`."""
        from ntk_eoc.spectra import law_files

        return law_files.load(path)

    def __repr__(self) -> str:
        """What it is in a line: mean, support, atoms, and its status unless that is "ok"."""
        from ntk_eoc.spectra import law_views

        return law_views.told(self)

    def stieltjes(self, z: Numbers) -> Complex[np.ndarray, "..."]:
        """∫ (t − z)^{-1} for Im z >= 0; at real z the limit from above, to about 1e-8."""
        z = np.asarray(z, np.complex128)
        require(bool(np.all(z.imag >= 0)), "z", "in the upper half-plane", z)
        # Where two panels meet their logarithms cancel to (rounding)/(height): stay above that.
        lo, hi = self.bounds
        z_above = np.where(z.imag == 0, z.real + 1e-8j * max(hi - lo, abs(hi)), z)
        return _transform(self, z_above.ravel())[0].reshape(z.shape)

    @staticmethod
    def from_atoms(points: Numbers, masses: Numbers | None = None) -> "SpectralLaw":
        """The law Σ masses_i δ(points_i); equal masses if left out.

        Raises:
            ValueError: If a point is not finite, a mass is not positive, or the masses do not sum
                to 1.
        """
        return from_atoms(points, masses)


@dataclass(frozen=True, eq=False, repr=False)
class GaussRuled(SpectralLaw):
    """A law some of whose atoms are a Gauss rule for a density: exact against analytic functions.

    Attributes:
        coarse: The same law by fewer atoms; what differs between the two is not known.
    """

    coarse: SpectralLaw | None = None


def _transform(
    law: SpectralLaw, z: Complex[np.ndarray, "k"]
) -> tuple[Complex[np.ndarray, "k"], Complex[np.ndarray, "k"]]:
    """∫ (t − z)^{-1} and ∫ (t − z)^{-2} over all of the law."""
    pole = 1 / (law.points - z[:, None])
    value, slope = weighted(pole, law.masses), weighted(pole * pole, law.masses)
    m, dm = cauchy(law.panels, z)
    return value + m, slope + dm


def from_atoms(points: Numbers, masses: Numbers | None = None) -> SpectralLaw:
    """Return the law Σ masses_i δ(points_i); see `SpectralLaw.from_atoms`."""
    x = np.asarray(points, np.float64).ravel()
    require(x.size > 0, "points", "at least one", x.size)
    require(bool(np.all(np.isfinite(x))), "points", "finite", points)
    m = np.full(x.size, 1 / x.size) if masses is None else np.asarray(masses, np.float64).ravel()
    require(m.size == x.size, "masses", f"as many as the {x.size} points", m.size)
    require(bool(np.all(m > 0)), "masses", "> 0", masses)
    require(abs(math.fsum(m) - 1) < 1e-9, "masses", "of sum 1", math.fsum(m))
    return SpectralLaw(*gathered(x, m), NO_PIECES)


def gathered(
    points: Float[np.ndarray, "k"], masses: Float[np.ndarray, "k"]
) -> tuple[Float[np.ndarray, "j"], Float[np.ndarray, "j"]]:
    """Ascending places and their masses, those of equal points added."""
    places, where = np.unique(points, return_inverse=True)
    return places, np.bincount(where, masses, len(places)).astype(np.float64)
