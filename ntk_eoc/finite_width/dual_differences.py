"""T and D of a pair by quadrature, and their derivatives by differences: for a φ with a kink."""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from ntk_eoc import chebyshev, gaussian
from ntk_eoc.activations import Activation

_STEP = 2e-3  # of the logarithms in a difference; the error of a derivative is about its square
_GROUPS = 64  # so many triples of one (q₁, q₂) are worth a table of their own
_NODES = 20
_LEVELS = 12  # panels end at (π/2) 2^{−j}, and at the mirror images

Face = Callable[..., gaussian.Integral]


@cache
def _tabulated(face: Face, act: Activation, q1: float, q2: float) -> np.ndarray:
    """Chebyshev coefficients by the angle, which shrinking panels resolve to its ends, [20, p]."""
    edges = _edges()
    middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    theta = middle[:, None] + half[:, None] * chebyshev.nodes(_NODES)
    found = np.asarray(face(act, q1, q2, 2 * np.sin(theta.ravel() / 2) ** 2).value)
    return chebyshev.to_coefficients(_NODES) @ found.reshape(theta.shape).T


def _edges() -> np.ndarray:
    near = np.append(0.0, (math.pi / 2) * 2.0 ** np.arange(1 - _LEVELS, 1))
    return np.concatenate([near, math.pi - near[-2::-1]])


def _looked_up(table: np.ndarray, delta: np.ndarray) -> np.ndarray:
    edges = _edges()
    theta = 2 * np.arcsin(np.sqrt(delta / 2))
    panel = np.clip(np.searchsorted(edges, theta, side="right") - 1, 0, len(edges) - 2)
    x = (2 * theta - edges[panel + 1] - edges[panel]) / (edges[panel + 1] - edges[panel])
    return np.polynomial.chebyshev.chebval(x, table[:, panel], tensor=False)


def dual_values(
    face: Face, act: Activation, q1: np.ndarray, q2: np.ndarray, delta: np.ndarray
) -> np.ndarray:
    """Return `gaussian.dual` or `gaussian.dual_prime` of arrays of one shape.

    Where few pairs of variances serve many angles, each is asked on its own: a table serves it.
    """
    flat = np.stack([a.ravel() for a in np.broadcast_arrays(q1, q2, delta)])
    keys = np.array([float(f"{q:.12e}") for q in flat[:2].ravel()]).reshape(2, -1)
    kinds, which = np.unique(keys, axis=1, return_inverse=True)
    if kinds.shape[1] * _GROUPS > flat.shape[1]:
        return np.asarray(face(act, *flat).value).reshape(delta.shape)
    values = np.empty(flat.shape[1])
    for kind, (a, b) in enumerate(kinds.T):
        here = which.ravel() == kind
        values[here] = _looked_up(_tabulated(face, act, float(a), float(b)), flat[2, here])
    return values.reshape(delta.shape)


class Logarithmic(NamedTuple):
    """T by (log q₁, log q₂) and D by these and δ, of the bare φ: value, gradient, Hessian."""

    dual: tuple[np.ndarray, np.ndarray, np.ndarray]  # [t], [t, 2], [t, 2, 2]
    slope: tuple[np.ndarray, np.ndarray, np.ndarray]  # [t], [t, 3], [t, 3, 3]


def by_differences(act: Activation, points: np.ndarray) -> Logarithmic:
    """Central differences in (log q₁, log q₂, log δ), or log(2 − δ) beyond a right angle."""
    far = points[:, 2] > 1
    least = np.where(far, 2 - points[:, 2], points[:, 2])

    def at(face: Face, shifts: np.ndarray) -> np.ndarray:
        """The face at every point shifted by every row of `shifts`, [t, rows]."""
        q1, q2 = (np.exp(points[:, None, i] + shifts[None, :, i]) for i in (0, 1))
        moved = least[:, None] * np.exp(shifts[None, :, 2])
        return dual_values(face, act, q1, q2, np.where(far[:, None], 2 - moved, moved))

    value, gradient, hessian = _differences(partial(at, gaussian.dual), 2)
    slope, by_log, by_logs = _differences(partial(at, gaussian.dual_prime), 3)
    # From log δ to δ: d/dδ = (1/δ) d/dlog δ, with the sign of d(2 − δ)/dδ beyond a right angle.
    scale = np.where(far, -1.0, 1.0) / np.where(least > 0, least, 1.0)
    by_logs[:, 2, 2] -= by_log[:, 2]
    by_log[:, 2] *= scale
    by_logs[:, 2, :] *= scale[:, None]
    by_logs[:, :, 2] *= scale[:, None]
    return Logarithmic((value, gradient, hessian), (slope, by_log, by_logs))


def _differences(
    at: Callable[[np.ndarray], np.ndarray], dims: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, gradient and Hessian by the first `dims` coordinates, of one batch of points."""
    unit = np.eye(3)[:dims] * _STEP
    pairs = [(i, j) for i in range(dims) for j in range(i)]
    both = np.array([unit[i] + unit[j] for i, j in pairs])
    values = at(np.concatenate([np.zeros((1, 3)), unit, -unit, both, -both]))
    base, rest = values[:, 0], values[:, 1:]
    up, down = rest[:, :dims], rest[:, dims : 2 * dims]
    plus, minus = np.split(rest[:, 2 * dims :], 2, axis=1)
    hessian = np.zeros((len(base), dims, dims))
    second = up + down - 2 * base[:, None]
    for i in range(dims):
        hessian[:, i, i] = second[:, i]
    for number, (i, j) in enumerate(pairs):
        mixed = plus[:, number] + minus[:, number] - 2 * base - second[:, i] - second[:, j]
        hessian[:, i, j] = hessian[:, j, i] = mixed / 2
    return base, (up - down) / (2 * _STEP), hessian / _STEP**2
