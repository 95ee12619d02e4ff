"""The law of the NTK for output weights D of any law, where φ' has both c_1 and ν² (ReLU, |s|).

Then μ has no closed form, only a transform: with B = D²/(ν²D² − z), B' = D²/(ν²D² − z)² and
m(s) the solution of 1/m = −s + γ₂ E[B/(1 + B m)], h(s) = γ₂ E[B' m/(1 + B m)],

    m_μ(z) = E[1/(ν²D² − z)] + (1/γ₂)(1/2πi) ∫_R h(−1/c_1² − s) m(s) ds,      Im z > 0.

The curve of `free_convolution` stays where Im z is of order one, except at its ends; these are
found by continuing y² to 0, so that the edges, and the mass beyond the last point, are good to
about 1e-3 of the width where the density ends flat, and much better where it is a square root.
"""

from functools import partial

import numpy as np
from jaxtyping import Complex, Float

from ntk_eoc.spectra.free_convolution import Curve, gram_density, height, image
from ntk_eoc.spectra.laws import EMPTY, SpectralLaw

STEPS = 40
GAUSS = 12  # nodes of a Gauss rule for a continuous law of D²: exact to degree 23
LEAST = 3e-3  # of the width: the curve is followed down to this height


def gauss_rule(law: SpectralLaw, k: int) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """Return the k-point Gauss rule of a law, or its atoms where these are fewer."""
    if law.panels is None and len(law.points) <= k:
        return law.points, law.masses
    x, w = law.points, law.masses
    if law.panels is not None:
        x = np.concatenate([x, law.panels.x.ravel()])
        w = np.concatenate([w, law.panels.mass.ravel()])
    basis, start = np.zeros((k, len(x))), np.sqrt(w / w.sum())
    diagonal, off = np.zeros(k), np.zeros(k)
    basis[0] = start
    for i in range(k):
        image_of = x * basis[i]
        diagonal[i] = basis[i] @ image_of
        for _ in range(2):
            image_of = image_of - basis[: i + 1].T @ (basis[: i + 1] @ image_of)
        off[i] = np.linalg.norm(image_of)
        if i + 1 < k:
            basis[i + 1] = image_of / off[i]
    nodes, vectors = np.linalg.eigh(
        np.diag(diagonal) + np.diag(off[:-1], 1) + np.diag(off[:-1], -1)
    )
    return nodes, vectors[0] ** 2


def _inner(
    b: Complex[np.ndarray, "k j"],
    mass: Float[np.ndarray, "j"],
    gamma2: float,
    s: Complex[np.ndarray, "k q"],
) -> Complex[np.ndarray, "k q"]:
    """Solve 1/m = −s + γ₂ E[B/(1 + B m)] with Im m < 0, for Im s <= 0 and Im B > 0.

    m ↦ 1/(−s + γ₂ E[1/(1/B + m)]) maps the lower half-plane into itself, so that the root there is
    unique: Newton's method from the damped iteration, and any root with Im m < 0 is the one.
    """
    inverse = 1 / b[:, None, :]
    m = np.full(s.shape, -1j) / (1 + np.abs(s))
    for step in range(STEPS):
        pole = 1 / (inverse + m[..., None])
        right = -s + gamma2 * (pole @ mass)
        plain = 1 / right
        if step < 6:
            m = (m + plain) / 2
            continue
        # F(m) = m − 1/right, F' = 1 − γ₂ E[pole²]/right²
        move = (plain - m) / (1 - gamma2 * ((pole * pole) @ mass) * plain**2)
        new = m + move
        new = np.where(new.imag < 0, new, (m + plain) / 2)
        change = np.max(np.abs(new - m) / np.abs(new))
        m = new
        if change < 1e-13:
            break
    return m


def transform(
    nu2: float,
    c1: float,
    gamma2: float,
    squares: tuple[Float[np.ndarray, "j"], Float[np.ndarray, "j"]],
    z: Complex[np.ndarray, "k"],
    points: int = 128,
) -> Complex[np.ndarray, "k"]:
    """Return m_μ(z) for Im z > 0; `squares` are values of D² and their masses.

    The line is s = −1/(2c_1²) + L tan(θ/2), turned, with equal steps in θ, doubled until nothing
    moves.
    """
    t, mass = squares
    t, mass, zero = t[t > 0], mass[t > 0], float(mass[t == 0].sum())
    result = np.empty(z.shape, np.complex128)
    todo, previous = np.arange(len(z)), np.full(z.shape, np.inf + 0j)
    while len(todo):
        gap = nu2 * t - z[todo, None]
        # Turned by half the angle that the spectrum of G leaves free, the line keeps away from the
        # zero eigenvalues of G, and from what lies near them.
        angle = (np.pi - np.max(np.angle(t / gap), axis=1)) / 2
        turn = np.exp(1j * angle)[:, None]
        b, target = turn * t / gap, -turn / c1**2
        theta = (np.arange(points) + 0.5) * 2 * np.pi / points - np.pi
        length = 1 / (2 * c1**2) + gamma2 * np.abs(b @ mass)[:, None]
        s = target / 2 + length * np.tan(theta / 2)
        m = _inner(b, mass, gamma2, s)
        # −1/c_1² − s is the mirror image of s on the line: h there is h at −θ.
        pole = (turn * t / gap**2)[:, None, :] / (1 + b[:, None, :] * m[..., None])
        h = gamma2 * m * (pole @ mass)
        step = length / (2 * np.cos(theta / 2) ** 2) * 2 * np.pi / points
        line = np.sum(h[:, ::-1] * m * step, axis=1) / (2j * np.pi)
        value = (1 / gap) @ mass + line / gamma2 - zero / z[todo]
        done = (np.abs(value - previous[todo]) < 1e-10 * np.abs(value)) | (points >= 1024)
        result[todo], previous[todo] = value, value
        todo, points = todo[~done], 2 * points
    return result


def integrals(
    nu2: float,
    c1: float,
    gamma2: float,
    squares: tuple[Float[np.ndarray, "j"], Float[np.ndarray, "j"]],
    zeta: Complex[np.ndarray, "k"],
) -> tuple[Complex[np.ndarray, "k"], Complex[np.ndarray, "k"]]:
    """Return ∫ t/(t − ζ) dμ and ∫ t²/(t − ζ)² dμ, the derivative by a central difference."""
    step = 1e-4 * zeta.imag
    both = transform(nu2, c1, gamma2, squares, np.concatenate([zeta, zeta - step, zeta + step]))
    m, before, after = np.split(both, 3)
    slope = (after - before) / (2 * step)
    return 1 + zeta * m, 1 + zeta * (2 * m + zeta * slope)


def gram_law_general(
    nu2: float, c1: float, gamma1: float, gamma2: float, squares: SpectralLaw
) -> SpectralLaw:
    """Return the limit law of the NTK's eigenvalues for D² ~ `squares`, c_1 ≠ 0, ν² > 0."""
    rule = gauss_rule(squares, GAUSS)
    compute = partial(integrals, nu2, c1, gamma2, rule)
    top = float(np.max(rule[0]))
    high = top * (nu2 + 2 * c1**2 * (1 + np.sqrt(gamma2)) ** 2)
    width = high * (1 + 2 / np.sqrt(gamma1))
    u = np.linspace(high - width, width, 100)
    low = LEAST * width
    inside = _above(compute, gamma1, u, low)
    turns = np.nonzero(np.diff(inside.astype(int)))[0]
    lo, hi = u[turns].copy(), u[turns + 1].copy()
    rising = inside[turns + 1]
    for _ in range(8):
        middle = (lo + hi) / 2
        there = _above(compute, gamma1, middle, low) == rising
        lo, hi = np.where(there, lo, middle), np.where(there, middle, hi)
    ends = np.where(rising, hi, lo)
    curve = Curve(compute, gamma1, ends.reshape(-1, 2), ends.reshape(-1, 2), EMPTY)
    return _continued(curve, squares)


def _above(
    compute: partial[tuple[np.ndarray, np.ndarray]],
    gamma: float,
    u: Float[np.ndarray, "k"],
    low: float,
) -> np.ndarray:
    """Whether the curve is above height `low` at u: ∫ t²/|t − ζ|² dμ > γ there."""
    zeta = u + 1j * low
    return (zeta * compute(zeta)[0]).imag / low > gamma


def _continued(curve: Curve, squares: SpectralLaw) -> SpectralLaw:
    """Tabulate the curve and continue it from its last heights down to the axis."""
    turn = np.cos(np.pi * (np.arange(64, 0, -1) - 0.5) / 64)
    nodes, edges, edges_x = [], [], []
    for a, b in curve.edges:
        u = (a + b) / 2 + (b - a) / 2 * turn
        y = height(curve, u)
        x = image(curve, u + 1j * y)[0].real
        ends = [
            u[i] - y[i] ** 2 * (u[j] - u[i]) / (y[j] ** 2 - y[i] ** 2)
            for i, j in ((0, 2), (-1, -3))
        ]
        edges_x.append(
            [
                x[i] + (end - u[i]) * (x[j] - x[i]) / (u[j] - u[i])
                for end, (i, j) in zip(ends, ((0, 2), (-1, -3)), strict=True)
            ]
        )
        edges.append(ends)
        nodes.append(u)
    places = np.maximum(np.array(edges_x), 0.0)
    full = Curve(curve.integrals, curve.gamma, np.array(edges), places, np.concatenate(nodes))
    positive = 1 - float(np.sum(squares.masses[squares.points == 0]))
    zero = max(0.0, 1 - positive / curve.gamma)
    points, masses = (np.array([0.0]), np.array([zero])) if zero > 1e-14 else (EMPTY, EMPTY)
    return SpectralLaw(points, masses, places, partial(tabulated, full))


def tabulated(curve: Curve, x: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    """The density at x from the table of the curve, u and y² linear in x between its points."""
    u, places, y = curve.table
    zeta = np.interp(x, places, u) + 1j * np.sqrt(np.interp(x, places, y**2))
    return gram_density(curve.gamma, zeta)
