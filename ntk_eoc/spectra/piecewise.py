"""A density as polynomials on panels, with its integrals and its Cauchy transform on the axis.

Near an end of its support a spectral density behaves like a power of the square root of the
distance. So every panel carries its own origin o (an end of the support) and the variable
s = √|x − o|, x = o ± s², in which the mass element f(s) ds = ρ(x) dx is smooth; f is a polynomial
of degree 15 on lo <= s <= hi. All is host mathematics in NumPy float64 and complex128.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Complex, Float, Shaped

Density = Callable[[Float[np.ndarray, "k"]], Float[np.ndarray, "k"]]
Pair = tuple[Complex[np.ndarray, "k"], Complex[np.ndarray, "k"]]

ORDER = 16
NODES, WEIGHTS = np.polynomial.legendre.leggauss(ORDER)
# Values at the nodes -> Legendre coefficients (the rule is exact for every product needed).
TO_COEFFICIENTS = (np.polynomial.legendre.legvander(NODES, ORDER - 1) * WEIGHTS[:, None]).T * (
    np.arange(ORDER)[:, None] + 0.5
)
# Outside the ellipse of this sum of semi-axes the Gauss rule is exact to 3^(-32) = 5e-16;
# inside, the forward recurrence of Q_n loses at most 3^15 ulp on coefficients that have decayed.
ELLIPSE = 3.0
MAX_SPLITS = 48
TOLERANCE = 1e-12
NOISE = 1e-10
AT_ENDS = 1e-10
CHUNK = 2_000_000
EMPTY = np.zeros((0,))


def weighted(
    values: Shaped[np.ndarray, "*k j"], weights: Float[np.ndarray, "j"]
) -> Shaped[np.ndarray, "*k"]:
    """Return Σ_j values · weights.

    Not by `@`: where another process wants the cores too, the threads of BLAS wait for one another,
    and a short sum was measured a hundred times slower.
    """
    return np.asarray(np.einsum("...j,j->...", values, weights))


@dataclass(frozen=True, eq=False)
class PiecewiseDensity:
    """Pieces f(s) ds = ρ(x) dx with x = origin + sign s², lo <= s <= hi.

    Attributes:
        origin: o of each piece.
        sign: +1 where the piece lies right of its origin, −1 where it lies left.
        lo: Smallest s.
        hi: Largest s.
        values: f at the Gauss–Legendre nodes of each piece.
    """

    origin: Float[np.ndarray, "pieces"]
    sign: Float[np.ndarray, "pieces"]
    lo: Float[np.ndarray, "pieces"]
    hi: Float[np.ndarray, "pieces"]
    values: Float[np.ndarray, "pieces nodes"]

    @cached_property
    def half(self) -> Float[np.ndarray, "pieces"]:
        """Half the length of each piece in s."""
        return (self.hi - self.lo) / 2

    @cached_property
    def s(self) -> Float[np.ndarray, "pieces nodes"]:
        """The nodes in s."""
        return (self.hi + self.lo)[:, None] / 2 + self.half[:, None] * NODES

    @cached_property
    def x(self) -> Float[np.ndarray, "pieces nodes"]:
        """The nodes in x."""
        return self.origin[:, None] + self.sign[:, None] * self.s**2

    @cached_property
    def ends(self) -> Float[np.ndarray, "pieces 2"]:
        """Left and right end of each piece in x."""
        s = np.stack([self.lo, self.hi], axis=1)
        return np.sort(self.origin[:, None] + self.sign[:, None] * s**2, axis=1)

    @cached_property
    def mass(self) -> Float[np.ndarray, "pieces nodes"]:
        """The mass each node stands for: Σ mass · g(x) is ∫ g ρ dx."""
        return self.half[:, None] * WEIGHTS * self.values

    @cached_property
    def coefficients(self) -> Float[np.ndarray, "pieces nodes"]:
        """Legendre coefficients of f on each piece."""
        return self.values @ TO_COEFFICIENTS.T

    @cached_property
    def tail(self) -> float:
        """What the last two Legendre coefficients carry: an estimate of the error of the mass."""
        return float(np.sum(np.abs(self.coefficients[:, -2:]) * self.half[:, None]))


NO_PANELS = PiecewiseDensity(EMPTY, EMPTY, EMPTY, EMPTY, np.zeros((0, ORDER)))


def resolve(
    density: Density, pieces: Float[np.ndarray, "i 2"], mass: float = 1.0
) -> PiecewiseDensity:
    """Refine panels on each [a, b] until the last Legendre coefficients are below 1e-12 `mass`.

    A panel is also left alone where halving it no longer helps: then it is the density's own
    rounding noise that the last coefficients show.

    Args:
        density: ρ at points inside the pieces.
        pieces: Intervals that end wherever ρ is not smooth.
        mass: What the density integrates to, about.
    """
    a, b = pieces[:, 0], pieces[:, 1]
    root = np.sqrt((b - a) / 2)
    one, zero = np.ones_like(root), np.zeros_like(root)
    todo = np.stack([np.r_[a, b], np.r_[one, -one], np.r_[zero, zero], np.r_[root, root]], axis=1)
    done: list[np.ndarray] = []
    before = np.full(len(todo), np.inf)
    for split in range(MAX_SPLITS + 1):
        origin, sign, lo, hi = todo.T
        panels = PiecewiseDensity(origin, sign, lo, hi, np.zeros((len(todo), ORDER)))
        values = 2 * panels.s * density(panels.x.ravel()).reshape(panels.s.shape)
        tail = np.abs(values @ TO_COEFFICIENTS[-2:].T).sum(axis=1) * panels.half
        noise = (tail < NOISE * mass) & (tail > before / 8)
        # From just outside an end one sees what the density does there: it has to be right relative
        # to the mass of the last panel, however flat it ends.
        of_panel = np.abs(values @ WEIGHTS) * panels.half
        tolerance = TOLERANCE * mass
        allowed = np.where(lo == 0, np.minimum(tolerance, AT_ENDS * of_panel), tolerance)
        fine = ~(tail > allowed) | noise | (split == MAX_SPLITS)
        done.append(np.concatenate([todo, values], axis=1)[fine])
        todo, before = todo[~fine], np.tile(tail[~fine], 2)
        if not len(todo):
            break
        middle = (todo[:, 2] + todo[:, 3]) / 2
        left, right = todo.copy(), todo.copy()
        left[:, 3], right[:, 2] = middle, middle
        todo = np.concatenate([left, right])
    table = np.concatenate(done)
    start = np.minimum(
        table[:, 0] + table[:, 1] * table[:, 2] ** 2, table[:, 0] + table[:, 1] * table[:, 3] ** 2
    )
    table = table[np.argsort(start, kind="stable")]
    origin, sign, lo, hi = table[:, :4].T
    return PiecewiseDensity(origin, sign, lo, hi, table[:, 4:])


def _locate(
    panels: PiecewiseDensity, x: Float[np.ndarray, "k"]
) -> tuple[np.ndarray, Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """The panel at or before each x, and there s and ξ in [−1, 1]; x outside is moved inside."""
    ends = panels.ends
    at = np.clip(np.searchsorted(ends[:, 0], x, side="right") - 1, 0, len(ends) - 1)
    s = np.sqrt(np.maximum(panels.sign[at] * (x - panels.origin[at]), 0.0))
    inside = np.where(x < ends[:, 0][at], ends[:, 0][at], x) < ends[:, 1][at]
    beyond = np.where(panels.sign[at] > 0, panels.hi[at], panels.lo[at])
    s = np.clip(np.where(inside, s, beyond), panels.lo[at], panels.hi[at])
    return at, s, (s - (panels.hi + panels.lo)[at] / 2) / panels.half[at]


def interpolate(panels: PiecewiseDensity, x: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    """ρ(x) from the polynomials, at points inside the pieces."""
    at, s, xi = _locate(panels, x)
    value = np.polynomial.legendre.legval(xi, panels.coefficients[at].T, tensor=False)
    # Closer to an end than rounding can place x, the density is that of the last place.
    return value / (2 * np.maximum(s, 1e-8 * np.sqrt(np.abs(panels.origin[at])) + 1e-150))


def cumulative(panels: PiecewiseDensity, x: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    """∫_{−∞}^x ρ, by the exact integral of the polynomials."""
    if not len(panels.origin):
        return np.zeros(x.shape)
    at, _, xi = _locate(panels, x)
    total = panels.mass.sum(axis=1)
    before = np.concatenate([[0.0], np.cumsum(total)])[at]
    vander = np.polynomial.legendre.legvander(xi, ORDER)
    # ∫_{−1}^ξ P_n = (P_{n+1}(ξ) − P_{n−1}(ξ)) / (2n + 1), and ξ + 1 for n = 0.
    integrals = np.concatenate(
        [xi[:, None] + 1, (vander[:, 2:] - vander[:, :-2]) / (2 * np.arange(1, ORDER) + 1)], axis=1
    )
    part = np.sum(integrals * panels.coefficients[at], axis=1) * panels.half[at]
    result = before + np.where(panels.sign[at] > 0, part, total[at] - part)
    first = panels.origin[0] + panels.sign[0] * panels.lo[0] ** 2
    return np.where(x <= first, 0.0, result)


def _legendre_q(coefficients: Float[np.ndarray, "k nodes"], tau: Complex[np.ndarray, "k"]) -> Pair:
    """∫_{−1}^{1} f(ξ)/(ξ − τ) dξ = −2 Σ a_n Q_n(τ), and its derivative in τ."""
    previous = np.log((tau + 1) / (tau - 1)) / 2
    current = tau * previous - 1
    square = tau**2 - 1
    value = coefficients[:, 0] * previous + coefficients[:, 1] * current
    slope = -coefficients[:, 0] / square + coefficients[:, 1] * (tau * current - previous) / square
    for n in range(2, ORDER):
        previous, current = current, ((2 * n - 1) * tau * current - (n - 1) * previous) / n
        value = value + coefficients[:, n] * current
        slope = slope + coefficients[:, n] * n * (tau * current - previous) / square
    return -2 * value, -2 * slope


def _is_near(tau: Complex[np.ndarray, "*shape"]) -> Bool[np.ndarray, "*shape"]:
    return np.abs(tau - 1) + np.abs(tau + 1) < ELLIPSE + 1 / ELLIPSE


def _half_pole(panels: PiecewiseDensity, at: np.ndarray, q: Complex[np.ndarray, "k"]) -> Pair:
    """∫ f(s)/(s − q) ds over panel `at`, and its derivative in q."""
    half = panels.half[at]
    tau = (q - (panels.hi + panels.lo)[at] / 2) / half
    pole = 1 / (panels.s[at] - q[:, None])
    value = np.sum(panels.mass[at] * pole, axis=1)
    slope = np.sum(panels.mass[at] * pole**2, axis=1)
    near = _is_near(tau)
    exact, exact_slope = _legendre_q(panels.coefficients[at[near]], tau[near])
    value[near], slope[near] = exact, exact_slope / half[near]
    return value, slope


def cauchy(panels: PiecewiseDensity, z: Complex[np.ndarray, "k"]) -> Pair:
    """∫ ρ/(x − z) dx and its derivative in z, for Im z > 0 down to the axis itself.

    Gauss quadrature on the panels far from z, Legendre functions of the second kind on those near
    it: 1/(s² − q²) = [1/(s − q) − 1/(s + q)]/(2q) with q² = ±(z − o). On the support the value
    is the limit from above.
    """
    return _by_chunks(panels, z, _cauchy)


def population(panels: PiecewiseDensity, z: Complex[np.ndarray, "k"]) -> Pair:
    """∫ x ρ/(x − z) dx and ∫ x² ρ/(x − z)² dx, as `cauchy` does.

    From the transform and its derivative they would follow too, but lose all digits at large z.
    """
    return _by_chunks(panels, z, _population)


def _by_chunks(
    panels: PiecewiseDensity,
    z: Complex[np.ndarray, "k"],
    integrate: Callable[[PiecewiseDensity, np.ndarray], Pair],
) -> Pair:
    if not len(panels.origin):
        return np.zeros_like(z), np.zeros_like(z)
    if len(z) * panels.x.size <= CHUNK or len(z) <= 1:
        return integrate(panels, z)
    cut = max(1, CHUNK // panels.x.size)
    parts = [integrate(panels, z[i : i + cut]) for i in range(0, len(z), cut)]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _cauchy(panels: PiecewiseDensity, z: Complex[np.ndarray, "k"]) -> Pair:
    pole, point, _, m, dm = _near_and_far(panels, z)
    mass = panels.mass.ravel()
    value, slope = weighted(pole, mass), weighted(pole * pole, mass)
    np.add.at(value, point, m)
    np.add.at(slope, point, dm)
    return value, slope


def _population(panels: PiecewiseDensity, z: Complex[np.ndarray, "k"]) -> Pair:
    pole, point, at, m, dm = _near_and_far(panels, z)
    mass, x = panels.mass.ravel(), panels.x.ravel()
    first, second = weighted(pole, mass * x), weighted(pole * pole, mass * x * x)
    near, whole = z[point], panels.mass.sum(axis=1)[at]
    np.add.at(first, point, whole + near * m)
    np.add.at(second, point, whole + near * (2 * m + near * dm))
    return first, second


def _near_and_far(
    panels: PiecewiseDensity, z: Complex[np.ndarray, "k"]
) -> tuple[
    Complex[np.ndarray, "k n"],
    Shaped[np.ndarray, "j"],
    Shaped[np.ndarray, "j"],
    Complex[np.ndarray, "j"],
    Complex[np.ndarray, "j"],
]:
    """1/(x − z) at the nodes of the far panels, 0 at those of the near ones, and of these
    the indices of z and of the panel, ∫ ρ/(x − z) and ∫ ρ/(x − z)².
    """
    q = np.sqrt(panels.sign * (z[:, None] - panels.origin))
    near = _is_near((q - (panels.hi + panels.lo) / 2) / panels.half)
    gap = panels.x[None] - z[:, None, None]
    gap[near] = 1
    pole = 1 / gap
    pole[near] = 0
    point, at = np.nonzero(near)
    q, sign = q[point, at], panels.sign[at]
    plus, plus_slope = _half_pole(panels, at, q)
    minus, minus_slope = _half_pole(panels, at, -q)
    m = sign * (plus - minus) / (2 * q)
    dm = sign / (2 * q) * (sign * (plus_slope + minus_slope) / (2 * q) - m / q)
    return pole.reshape(len(z), -1), point, at, m, dm
