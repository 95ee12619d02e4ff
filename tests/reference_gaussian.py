"""High-precision twins of `ntk_eoc.gaussian`, in mpmath, by formulas that share nothing with it.

A piecewise activation c₀ + c₁ s + c₂ exp(s) has its inner Gaussian integral in closed form, which
leaves one integral; a smooth one is summed by the trapezoidal rule, which converges geometrically.
"""

import functools

import mpmath as mp

INF = mp.inf
ALPHA, SCALE = mp.mpf("1.6732632423543772"), mp.mpf("1.0507009873554805")

# name -> pieces (a, b, c₀, c₁, c₂), φ then φ'
PIECES = {
    "leaky_relu": ([(-INF, 0, 0, mp.mpf("0.01"), 0), (0, INF, 0, 1, 0)],
                   [(-INF, 0, mp.mpf("0.01"), 0, 0), (0, INF, 1, 0, 0)]),
    "hard_tanh": ([(-INF, -1, -1, 0, 0), (-1, 1, 0, 1, 0), (1, INF, 1, 0, 0)],
                  [(-1, 1, 1, 0, 0)]),
    "relu6": ([(0, 6, 0, 1, 0), (6, INF, 6, 0, 0)], [(0, 6, 1, 0, 0)]),
    "elu": ([(-INF, 0, -1, 0, 1), (0, INF, 0, 1, 0)], [(-INF, 0, 0, 0, 1), (0, INF, 1, 0, 0)]),
    "selu": ([(-INF, 0, -SCALE * ALPHA, 0, SCALE * ALPHA), (0, INF, 0, SCALE, 0)],
             [(-INF, 0, 0, 0, SCALE * ALPHA), (0, INF, SCALE, 0, 0)]),
}  # fmt: skip


def _sigmoid(s):
    return 1 / (1 + mp.exp(-s))


# name -> φ, φ', distance of the nearest singularity from the real axis
SMOOTH = {
    "tanh": (mp.tanh, lambda s: mp.sech(s) ** 2, mp.pi / 2),
    "silu": (
        lambda s: s * _sigmoid(s),
        lambda s: _sigmoid(s) * (1 + s * _sigmoid(-s)),
        mp.pi,
    ),
    "softplus": (lambda s: mp.log1p(mp.exp(s)), _sigmoid, mp.pi),
    "erf": (mp.erf, lambda s: 2 / mp.sqrt(mp.pi) * mp.exp(-s * s), mp.mpf(1)),
    "gelu": (
        lambda s: s * mp.ncdf(s),
        lambda s: mp.ncdf(s) + s * mp.npdf(s),
        mp.mpf(2),
    ),
    "sin": (mp.sin, mp.cos, mp.mpf(3)),
    "quadratic": (lambda s: s * s, lambda s: 2 * s, mp.mpf(8)),
}
NAMES = (*PIECES, *SMOOTH)


def _value(pieces, s):
    return sum(c0 + c1 * s + c2 * mp.exp(s) for a, b, c0, c1, c2 in pieces if a <= s < b)


def _smoothed(pieces, m, s):
    """E[φ(m + s w)], w standard normal."""
    total = mp.mpf(0)
    for a, b, c0, c1, c2 in pieces:
        low, high = (a - m) / s, (b - m) / s
        inside = mp.ncdf(high) - mp.ncdf(low) if low < 0 else mp.ncdf(-low) - mp.ncdf(-high)
        total += (c0 + c1 * m) * inside + c1 * s * (mp.npdf(low) - mp.npdf(high))
        if c2:
            total += c2 * mp.exp(m + s * s / 2) * (mp.ncdf(high - s) - mp.ncdf(low - s))
    return total


def _cuts(points):
    inside = sorted({mp.mpf(p) for p in points if abs(p) < 12})
    return [mp.mpf(-12), *inside, mp.mpf(12)]


def _truncated(m, s, a, b):
    """E[1, y, y²; a < y < b], y normal of mean m and deviation s."""
    low, high = (a - m) / s, (b - m) / s
    p = mp.ncdf(high) - mp.ncdf(low) if low < 0 else mp.ncdf(-low) - mp.ncdf(-high)
    edges = [(mp.npdf(x), x * mp.npdf(x)) if abs(x) < INF else (mp.mpf(0), mp.mpf(0))
             for x in (low, high)]  # fmt: skip
    d0, d1 = (edges[0][i] - edges[1][i] for i in (0, 1))
    return p, m * p + s * d0, m * m * p + 2 * m * s * d0 + s * s * (p + d1)


def _square(pieces, q):
    """E[φ(√q z)²], term by term."""
    s, total = mp.sqrt(q), mp.mpf(0)
    for a, b, c0, c1, c2 in pieces:
        one, y, yy = _truncated(mp.mpf(0), s, a, b)
        total += c0 * c0 * one + 2 * c0 * c1 * y + c1 * c1 * yy
        if c2:
            one, y, _ = _truncated(q, s, a, b)
            total += 2 * c2 * mp.exp(q / 2) * (c0 * one + c1 * y)
            total += c2 * c2 * mp.exp(2 * q) * _truncated(2 * q, s, a, b)[0]
    return total


def _piecewise(pieces, q1, q2, delta):
    if delta == 0 and q1 == q2:
        return _square(pieces, q1)
    root1, root2 = mp.sqrt(q1), mp.sqrt(q2)
    rho, s = 1 - delta, mp.sqrt(delta * (2 - delta))
    kinks = {p for piece in pieces for p in piece[:2] if abs(p) < INF}
    cuts = [k / root1 for k in kinks] + [-6, -3, 0, 3, 6]
    if abs(rho) > 0.05:
        cuts += [(k / root2 + j * s) / rho for k in kinks for j in (-9, -3, 0, 3, 9)]
    return mp.quad(
        lambda u: _value(pieces, root1 * u) * _smoothed(pieces, root2 * rho * u, root2 * s)
        * mp.npdf(u),
        _cuts(cuts),
    )  # fmt: skip


def _trapezoid(f, strip, q1, q2, delta):
    root1, root2 = mp.sqrt(q1), mp.sqrt(q2)
    rho, s = 1 - delta, mp.sqrt(delta * (2 - delta))
    reach = mp.mpf(10)

    def grid(width):
        # The error is exp(−2π a/h + a²/2), a the half-width of the strip of analyticity, times some
        # powers of 1/h where φ² has a pole of high order at its edge.
        a = min(width, mp.mpf(5))
        h = 2 * mp.pi * a / (52 + a * a / 2)
        n = int(reach / h) + 1
        return [(h * i, h * mp.npdf(h * i)) for i in range(-n, n + 1)]

    inner = grid(strip / (root2 * s) if s else mp.mpf(5)) if s else [(mp.mpf(0), mp.mpf(1))]
    total = mp.mpf(0)
    for u, weight in grid(min(strip / root1, strip / (root2 * abs(rho)) if rho else mp.mpf(9))):
        m = root2 * rho * u
        total += weight * f(root1 * u) * mp.fsum(w2 * f(m + root2 * s * w) for w, w2 in inner)
    return total


@functools.cache
def dual(name, q1, q2, delta, slope=False):
    """E[φ(√q₁ u) φ(√q₂ v)], or of φ', to 18 digits or so, at exactly these float64 arguments."""
    with mp.workdps(22):
        q1, q2, delta = mp.mpf(q1), mp.mpf(q2), mp.mpf(delta)
        if name in PIECES:
            return _piecewise(PIECES[name][slope], q1, q2, delta)
        return _trapezoid(SMOOTH[name][slope], SMOOTH[name][2], q1, q2, delta)


def second_moment(name, q, slope=False):
    """E[φ(√q z)²], or of φ'."""
    return dual(name, q, q, 0.0, slope)


def variance_slope(name, q):
    """d E[φ(√q z)²]/dq = E[φ²(√q z)(z² − 1)]/(2q), smooth φ only."""
    f, _, strip = SMOOTH[name]
    with mp.workdps(30):
        root = mp.sqrt(q)
        a = min(strip / root, mp.mpf(5))
        h = 2 * mp.pi * a / (60 + a * a / 2)
        n = int(12 / h) + 1
        points = (h * i for i in range(-n, n + 1))
        return mp.fsum(h * mp.npdf(z) * f(root * z) ** 2 * (z * z - 1) for z in points) / (2 * q)


def edge_point(name, sigma_b, start):
    """(q, σ_w) of the edge of chaos with this σ_b, near q = start."""
    with mp.workdps(20):
        q = mp.findroot(
            lambda q: q - _moment(name, q, False) / _moment(name, q, True) - mp.mpf(sigma_b) ** 2,
            (mp.mpf(start), mp.mpf(start) * 1.01),
            solver="secant",
            tol=1e-30,
        )
        return q, 1 / mp.sqrt(_moment(name, q, True))


def special_point(name, start):
    """q of the edge of chaos with χ_∥ = 1, near q = start."""
    with mp.workdps(20):
        return mp.findroot(
            lambda q: variance_slope(name, q) / _moment(name, q, True) - 1,
            (mp.mpf(start), mp.mpf(start) * 1.01),
            solver="secant",
            tol=1e-30,
        )


def _moment(name, q, slope):
    if name in PIECES:
        return _piecewise(PIECES[name][slope], q, q, mp.mpf(0))
    return _trapezoid(SMOOTH[name][slope], SMOOTH[name][2], q, q, mp.mpf(0))
