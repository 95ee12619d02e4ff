"""The Stieltjes transform of T, the covariance of the rows of [Q], for output weights D of any law.

With R = (ν²D² − z)^{-1}, G = W̃ R W̃ᵀ/d has the eigenvalues g_a(z), and
Tr (T − z)^{-1} = d tr R − Σ_{a<=b} c_1²(g_a' + g_b')/(1 + c_1²(g_a + g_b)), g' = dg/dz: that is
`finite`. In the limit, with B = D²/(ν²D² − z), B' = dB/dz and m(s) the transform of G's law, which
solves 1/m = −s + γ₂ E[B/(1 + B m)], and h(s) = γ₂ E[B' m/(1 + B m)],

    m_μ(z) = E[1/(ν²D² − z)] + (1/γ₂)(1/2πi) ∫ h(−1/c_1² − s) m(s) ds

over a line that has the spectrum of G on one side and its mirror image in −1/(2c_1²) on the
other: that is `limit`. The line goes through −1/(2c_1²), at a right angle to where the numerical
range of G is nearest; its support function is the lowest edge of a real law. NumPy complex128.
"""

import numpy as np
from jaxtyping import Bool, Complex, Float

from ntk_eoc.spectra.piecewise import weighted

Squares = tuple[Float[np.ndarray, "j"], Float[np.ndarray, "j"]]  # values of D² and their masses

AGREE, MOST = 1e-10, 16384  # change at which the line has enough points; most points
HALVINGS, ZOOMS, ANGLES = 52, 7, 25
STEPS, NEWTON_STEPS = (8, 32, 128, 512), 12


def finite(
    nu2: float,
    c1: float,
    w: Float[np.ndarray, "d p"],
    output_weights: Float[np.ndarray, "p"],
    z: Complex[np.ndarray, "k"],
) -> Complex[np.ndarray, "k"]:
    """Return (1/dp) tr (T − z)^{-1} at finite d and p, for any D, from the eigenvalues of G.

    Costs one eigenvalue problem of size d a point instead of one of size d p.
    """
    d, p = w.shape
    squares, tilde = output_weights**2, w * output_weights
    result = np.empty(z.shape, np.complex128)
    for i, point in enumerate(z):
        r = 1 / (nu2 * squares - point)
        g, left = np.linalg.eig((tilde * r) @ tilde.T / d)
        slope_matrix = (tilde * r**2) @ tilde.T / d
        # G is complex symmetric, so that g' = uᵀ G' u/uᵀu
        slope = np.sum(left * (slope_matrix @ left), axis=0) / np.sum(left * left, axis=0)
        ratio = np.add.outer(slope, slope) / (1 + c1**2 * np.add.outer(g, g))
        pairs = c1**2 * (ratio.sum() + np.trace(ratio)) / 2
        result[i] = (d * r.sum() - pairs) / (d * p)
    return result


def series(
    nu2: float,
    c1: float,
    w: Float[np.ndarray, "d p"],
    output_weights: Float[np.ndarray, "p"],
    z: float,
    terms: int = 200,
) -> float:
    """Return `finite` up to O(1/d) at a real z < 0, as a series in the transposed term.

    With Y = c_1² W̃ᵀW̃/d, R = (ν²D² + Y − z)^{-1} and τ = tr/p it is

        S(z) = τ(R) + γ₂ Σ_{k>=1} τ(R (Y R)^k) τ((Y R)^k),

    for A ↦ (c_1²/d) W̃ Aᵀ W̃ applied 2k times has the trace of a product of two traces, and applied
    an odd number of times that of one, which is smaller by 1/d. All terms are positive.
    """
    d, p = w.shape
    tilde = w * output_weights
    y = c1**2 / d * tilde.T @ tilde
    r = np.linalg.inv(nu2 * np.diag(output_weights**2) + y - z * np.eye(p))
    total, power, step = np.trace(r) / p, np.eye(p), y @ r
    for _ in range(terms):
        power = power @ step
        more = p / d * (np.trace(r @ power) / p) * (np.trace(power) / p)
        total += more
        if more < 1e-15 * total:
            break
    return float(total)


def lowest_edge(
    beta: Float[np.ndarray, "*k j"], mass: Float[np.ndarray, "j"], gamma2: float
) -> Float[np.ndarray, "*k"]:
    """Return the least point, or 0, of the limit law of W β Wᵀ/d, β diagonal of either sign.

    It is the maximum of −1/m + γ₂ E[β/(1 + β m)] over 0 < m < 1/|least β|, found by halving: its
    derivative has the sign of 1 − γ₂ E[(βm)²/(1 + βm)²], which falls.
    """
    least = np.minimum(beta.min(axis=-1), -1e-300)
    low, high = np.zeros(least.shape), -1 / least
    m = high / 2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for _ in range(HALVINGS):
            share = beta * m[..., None]
            rising = gamma2 * weighted((share / (1 + share)) ** 2, mass) < 1
            low, high = np.where(rising, m, low), np.where(rising, high, m)
            m = (low + high) / 2
        edge = -1 / m + gamma2 * weighted(beta / (1 + beta * m[..., None]), mass)
    return np.where(beta.min(axis=-1) < 0, np.minimum(edge, 0.0), 0.0)


def highest_point(nu2: float, c1: float, gamma2: float, squares: Squares) -> float:
    """Return the largest point of μ, to rounding.

    It is where twice the lowest edge of the law of G(x) reaches −1/c_1², x above all of ν²D².
    """
    t, mass = squares
    low = nu2 * float(t.max())
    high = float(t.max()) * (nu2 + 2 * c1**2 * (1 + np.sqrt(gamma2)) ** 2) * (1 + 1e-12)
    for _ in range(HALVINGS):
        x = (low + high) / 2
        below = 2 * lowest_edge(t / (nu2 * t - x), mass, gamma2) < -1 / c1**2
        low, high = (x, high) if below else (low, x)
    return high


def _turn(
    b: Complex[np.ndarray, "k j"], mass: Float[np.ndarray, "j"], gamma2: float, centre: float
) -> Complex[np.ndarray, "k 1"]:
    """Return the factor that lays the line with the widest margin on the real direction, G above.

    For a direction n the lowest point of Re n̄G on the numerical range of G is the lowest edge of
    the law with the population Re n̄B.
    """
    rows = np.arange(len(b))
    low, high = np.zeros(len(b)), np.full(len(b), np.pi)
    for _ in range(ZOOMS):
        angle = np.linspace(low, high, ANGLES, axis=1)
        normal = np.exp(-1j * angle)
        population = (b[:, None, :] * normal[:, :, None]).real
        margin = lowest_edge(population, mass, gamma2) - (normal * centre).real
        best = np.argmax(margin, axis=1)
        step = (high - low) / (ANGLES - 1)
        low, high = angle[rows, best] - step, angle[rows, best] + step
    return 1j * np.exp(-1j * angle[rows, best])[:, None]


def _follow(
    b: Complex[np.ndarray, "... j"],
    mass: Float[np.ndarray, "j"],
    gamma2: float,
    s: Complex[np.ndarray, "..."],
    steps: int,
) -> tuple[Complex[np.ndarray, "..."], Bool[np.ndarray, "..."]]:
    """Newton's method for `_inner`, from B = 0 in so many steps; and where it has arrived."""
    m = -1 / s
    for step in range(2 * steps + NEWTON_STEPS):
        part = min(1.0, (1 + step // 2) / steps) * b
        pole = part / (1 + part * m[..., None])
        plain = 1 / (-s + gamma2 * weighted(pole, mass))
        # F(m) = m − 1/(−s + γ₂ E[pole]), F' = 1 − γ₂ E[pole²]/(…)²
        new = m + (plain - m) / (1 - gamma2 * weighted(pole * pole, mass) * plain**2)
        new = np.where(new.imag < 0, new, (m + plain) / 2)
        change, m = np.abs(new - m) / np.abs(new), new
        if step >= 2 * steps and np.max(change) < 1e-14:
            break
    return m, change < 1e-10


def _inner(
    b: Complex[np.ndarray, "k j"],
    mass: Float[np.ndarray, "j"],
    gamma2: float,
    s: Complex[np.ndarray, "k nodes"],
) -> Complex[np.ndarray, "k nodes"]:
    """Solve 1/m = −s + γ₂ E[B/(1 + B m)] on a line s below the numerical range of G: Im m < 0.

    The root is followed from B = 0, where m = −1/s: the range of τG, τ from 0 to 1, stays above the
    line. Where it is lost it is followed again in smaller steps.
    """
    m, arrived = _follow(b[:, None, :], mass, gamma2, s, STEPS[0])
    for steps in STEPS[1:]:
        lost = np.nonzero(~arrived)
        if not len(lost[0]):
            break
        m[lost], arrived[lost] = _follow(b[lost[0]], mass, gamma2, s[lost], steps)
    return m


def limit(
    nu2: float, c1: float, gamma2: float, squares: Squares, z: Complex[np.ndarray, "k"]
) -> Complex[np.ndarray, "k"]:
    """Return m_μ(z) for Im z > 0, to about 1e-13 no nearer to μ than 1/1000 of its width.

    The line is s = −1/(2c_1²) + L tan(θ/2), turned, with equal steps in θ, doubled until nothing
    moves.
    """
    t, mass = squares
    result = np.empty(z.shape, np.complex128)
    turns = _turn(t / (nu2 * t - z[:, None]), mass, gamma2, -1 / (2 * c1**2))
    todo, previous, points = np.arange(len(z)), np.full(z.shape, np.inf + 0j), 128
    while len(todo):
        gap, turn = nu2 * t - z[todo, None], turns[todo]
        b, centre = turn * t / gap, -turn / (2 * c1**2)
        theta = (np.arange(points) + 0.5) * 2 * np.pi / points - np.pi
        length = 1 / (2 * c1**2) + gamma2 * np.abs(weighted(b, mass))[:, None]
        m = _inner(b, mass, gamma2, centre + length * np.tan(theta / 2))
        # −1/c_1² − s is the mirror image of s on the line: h there is h at −θ.
        pole = (turn * t / gap**2)[:, None, :] / (1 + b[:, None, :] * m[..., None])
        h = gamma2 * m * weighted(pole, mass)
        step = length / (2 * np.cos(theta / 2) ** 2) * 2 * np.pi / points
        line = np.sum(h[:, ::-1] * m * step, axis=1) / (2j * np.pi)
        value = weighted(1 / gap, mass) + line / gamma2
        done = np.abs(value - previous[todo]) < AGREE * np.abs(value)
        result[todo], previous[todo] = value, value
        todo, points = todo[~done & (points < MOST)], 2 * points
    return result
