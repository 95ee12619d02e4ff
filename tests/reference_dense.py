"""A dense rule for Gaussian integrals of an activation whose features are known, in plain NumPy.

Panels are graded around every feature, of the outer variable also on the scale on which the inner
integral smooths it; nothing is shared with `ntk_eoc.gaussian`. The kernel of two inputs is the
recursion over such integrals.
"""

from typing import NamedTuple

import numpy as np

RANGE = 13.0  # standard deviations
STEPS = np.r_[np.arange(0, 6.5, 0.5), 8.0 * 2.0 ** np.arange(60)]


class Kernel(NamedTuple):
    """Of inputs 0 and 1: K₀₀, K₀₁, K₁₁ and variances of the last layer."""

    entries: np.ndarray
    variances: tuple[float, float]


def graded(features, low, high):
    """Edges at every feature (centre, width) and around it, in [low, high]."""
    cuts = [np.array([low, high])]
    for centre, width in features:
        steps = STEPS * width if width else np.zeros(1)
        cuts += [centre + steps, centre - steps]
    cuts = np.concatenate(cuts)
    return np.unique(cuts[(cuts >= low) & (cuts <= high)])


def _nodes(edges, n):
    """Nodes and weights along the last axis, [..., (e − 1) n]."""
    x, w = np.polynomial.legendre.leggauss(n)
    half = np.diff(edges)[..., None] / 2
    z = (edges[..., 1:, None] + edges[..., :-1, None]) / 2 + half * x
    return z.reshape(*edges.shape[:-1], -1), (half * w).reshape(*edges.shape[:-1], -1)


def _normal(z):
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def moments(functions, features, q, n):
    """E[h(y)] of y ~ N(0, q), `functions` of y to a tuple of integrands."""
    root = np.sqrt(q)
    steps = root * np.linspace(-RANGE, RANGE, 27)
    y, w = _nodes(np.union1d(graded(features, -RANGE * root, RANGE * root), steps), n)
    return np.array([np.sum(w / root * _normal(y / root) * h) for h in functions(y)])


def bivariate(functions, features, q1, q2, delta, n):
    """E[h(y₁, y₂)] of variances q₁, q₂ and correlation 1 − δ; shapes of y₁ and y₂ broadcast."""
    root1, root2, rho = np.sqrt(q1), np.sqrt(q2), 1 - delta
    tilt, sigma = rho * root2 / root1, root2 * np.sqrt(delta * (2 - delta))
    if sigma < 1e-12 * root2:
        both = features + [(c / tilt, w / abs(tilt)) for c, w in features]
        return moments(lambda y: functions(y, tilt * y), both, q1, n)
    smoothed = [(c / tilt, max(w, sigma) / abs(tilt)) for c, w in features if abs(tilt) > 1e-9]
    reach = RANGE * root1
    edges = np.union1d(graded(features + smoothed, -reach, reach), np.linspace(-reach, reach, 27))
    y1, outer = _nodes(edges, n)
    outer = outer * _normal(y1 / root1) / root1
    keep = np.abs(outer) > 1e-40
    y1, outer = y1[keep], outer[keep]
    fixed = graded(features, -3 * RANGE * root2, 3 * RANGE * root2)
    own = np.linspace(-RANGE, RANGE, 27)
    total = 0.0
    for i in range(0, y1.size, 256):
        mean = tilt * y1[i : i + 256, None]
        inside = np.clip((fixed[None] - mean) / sigma, -RANGE, RANGE)
        inside = np.concatenate([np.broadcast_to(own, (mean.size, own.size)), inside], 1)
        z, inner = _nodes(np.sort(inside, 1), n)
        y2, weight = mean + sigma * z, outer[i : i + 256, None] * inner * _normal(z)
        found = functions(y1[i : i + 256, None], y2)
        total = total + np.array([np.sum(weight * h) for h in found])
    return total


def kernel(phi, prime, features, w2, b2, start, depth, n):
    """K after `depth` layers of two inputs of variances and 1 − ρ `start`."""
    return list(kernels(phi, prime, features, w2, b2, start, depth, n))[-1]


def kernels(phi, prime, features, w2, b2, start, depth, n):
    """K after 1 … `depth` layers."""
    q1, q2, delta = start
    k = np.array([q1, np.sqrt(q1 * q2) * (1 - delta), q2])
    yield Kernel(k, (q1, q2))
    for _ in range(depth - 1):
        own = [moments(lambda y: (phi(y) ** 2, prime(y) ** 2), features, q, n) for q in (q1, q2)]
        next1, next2 = (w2 * m[0] + b2 for m in own)
        r1, r2 = (np.sqrt(w2 / q) for q in (next1, next2))

        def both(a, b, r1=r1, r2=r2):
            return 0.5 * (r1 * phi(a) - r2 * phi(b)) ** 2, prime(a) * prime(b)

        gap, slope = bivariate(both, features, q1, q2, delta, n)
        delta = gap + b2 * (next1**-0.5 - next2**-0.5) ** 2 / 2
        q1, q2 = next1, next2
        slopes = np.array([own[0][1], slope, own[1][1]])
        k = w2 * slopes * k + [q1, np.sqrt(q1 * q2) * (1 - delta), q2]
        yield Kernel(k, (q1, q2))
