"""How K∞ answers to a change of a layer's covariance: the recursion differentiated, in reverse.

The state of a pair at layer k is y = (log q₁, log q₂, δ, K), δ = 1 − ρ. V_k(y) is K∞ as a function
of it: V_l = K and V_k = V_{k+1} ∘ F_k with F_k: q' = E φ̂² + σ_b², s' = T + σ_b², K' = D K + s'.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ntk_eoc.finite_width.limit_path import LimitPath


class Sensitivity(NamedTuple):
    """Derivatives of V_k by (log q₁, log q₂, δ, K) at layers k = 2 … l, one sweep for all pairs.

    Attributes:
        gradient: ∇V_k; its last entry is B_k, the covariance of the back-propagated signal.
        hessian: ∇²V_k.
    """

    gradient: Float[np.ndarray, "h n n 4"]
    hessian: Float[np.ndarray, "h n n 4 4"]


def gradients(path: LimitPath) -> Float[np.ndarray, "h n n 4"]:
    """Return ∇V_2 … ∇V_l, one sweep for all pairs."""
    gradient = np.zeros((*path.dual.value.shape, 4))
    gradient[-1:, ..., 3] = 1.0
    for j in range(len(gradient) - 1, 0, -1):  # from V_{j+2} to V_{j+1}, through layer index j
        after, before, (rise, _) = gradient[j], gradient[j - 1], _variance_slopes(path, j)
        root, rho = (a[..., 0] for a in _after(path, j))
        by_angle, by_kernel = after[..., 2], after[..., 3]
        before[..., :3] = (by_kernel - by_angle / root)[..., None] * path.dual.gradient[j]
        before[..., :3] += (by_kernel * path.kernel[j])[..., None] * path.slope.gradient[j]
        before[..., 0] += (after[..., 0] + by_angle * rho / 2) * rise[:, None]
        before[..., 1] += (after[..., 1] + by_angle * rho / 2) * rise[None, :]
        before[..., 3] = by_kernel * path.slope.value[j]
    return gradient


def sensitivity(path: LimitPath) -> Sensitivity:
    """Return the derivatives of V_2 … V_l; hidden layer j acts through those of V_{j+1}."""
    gradient = gradients(path)
    hessian = np.zeros((*gradient.shape, 4))
    for j in range(len(gradient) - 1, 0, -1):
        jacobian = _jacobian(path, j)
        hessian[j - 1] = jacobian.swapaxes(-2, -1) @ (hessian[j] @ jacobian)
        hessian[j - 1] += _curvature(path, j, gradient[j])
    return Sensitivity(gradient, hessian)


def _variance_slopes(path: LimitPath, k: int) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative of log q' by log q at layer index k, [n]: T along (1, 1, 0)."""
    points = np.arange(path.q.shape[1])
    first = path.dual.gradient[k][points, points, :2].sum(axis=-1) / path.q[k + 1]
    second = path.dual.hessian[k][points, points, :2, :2].sum(axis=(-2, -1)) / path.q[k + 1]
    return first, second - first**2


def _logarithms(path: LimitPath, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradient [n, n, 3] and diagonal of the Hessian [n, n, 3] of log q₁' + log q₂'."""
    n = path.q.shape[1]
    found = np.zeros((2, n, n, 3))
    for own, one in zip(found, _variance_slopes(path, k), strict=True):
        own[..., 0], own[..., 1] = one[:, None], one[None, :]
    return found[0], found[1]


def _jacobian(path: LimitPath, k: int) -> np.ndarray:
    """∂F_k, [n, n, 4, 4]."""
    rise, _ = _logarithms(path, k)
    dual, kernel = path.dual.gradient[k], path.kernel[k][..., None]
    root, rho = _after(path, k)
    jacobian = np.zeros((*rise.shape[:2], 4, 4))
    jacobian[..., 0, 0], jacobian[..., 1, 1] = rise[..., 0], rise[..., 1]
    jacobian[..., 2, :3] = rho * rise / 2 - dual / root
    jacobian[..., 3, :3] = dual + kernel * path.slope.gradient[k]
    jacobian[..., 3, 3] = path.slope.value[k]
    return jacobian


def _curvature(path: LimitPath, k: int, gradient: np.ndarray) -> np.ndarray:
    """Σ_a ∂V/∂y'_a ∇²F_k^a, [n, n, 4, 4]."""
    rise, bend = _logarithms(path, k)
    root, rho = (a[..., None] for a in _after(path, k))
    dual = path.dual.gradient[k]
    crossed = dual[..., :, None] * rise[..., None, :]
    turn = (crossed + crossed.swapaxes(-1, -2)) / 2 - path.dual.hessian[k]
    turn = turn / root - rho / 4 * rise[..., :, None] * rise[..., None, :]
    own = np.eye(3) * bend[..., None, :]
    turn = turn + rho / 2 * own
    curvature = np.zeros((*gradient.shape, 4))
    by_log, by_angle, by_kernel = gradient[..., :2], gradient[..., 2], gradient[..., 3]
    curvature[..., :3, :3] = by_angle[..., None, None] * turn
    curvature[..., :3, :3] += by_kernel[..., None, None] * path.dual.hessian[k]
    weighted = (by_kernel * path.kernel[k])[..., None, None]
    curvature[..., :3, :3] += weighted * path.slope.hessian[k]
    curvature[..., :2, :2] += by_log[..., None, :] * own[..., :2, :2]
    mixed = by_kernel[..., None] * path.slope.gradient[k]
    curvature[..., 3, :3] = curvature[..., :3, 3] = mixed
    return curvature


def _after(path: LimitPath, k: int) -> tuple[np.ndarray, np.ndarray]:
    """√(q₁'q₂') and ρ' behind layer index k, [n, n, 1]."""
    root = np.sqrt(np.outer(path.q[k + 1], path.q[k + 1]))
    return root[..., None], 1 - path.delta[k + 1][..., None]
