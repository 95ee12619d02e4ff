"""How K∞ answers to a change of a layer's covariance: the recursion differentiated, in reverse.

The state of a pair at layer k is y = (q₁, q₂, s, K). V_k(y) is K∞ as a function of it: V_l = K and
V_k = V_{k+1} ∘ F_k with F_k: q' = E φ̂² + σ_b², s' = T + σ_b², K' = D K + s'.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ntk_eoc.finite_width.limit_path import LimitPath


class Sensitivity(NamedTuple):
    """Derivatives of V_k by (q₁, q₂, s, K) at layers k = 2 … l, one sweep for all pairs.

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
        after, before, (square, _) = gradient[j], gradient[j - 1], variance_slopes(path, j)
        before[..., 0], before[..., 1] = after[..., 0] * square[:, None], after[..., 1] * square
        before[..., :3] += (after[..., 2] + after[..., 3])[..., None] * path.dual.gradient[j]
        before[..., :3] += (after[..., 3] * path.kernel[j])[..., None] * path.slope.gradient[j]
        before[..., 3] = after[..., 3] * path.slope.value[j]
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


def variance_slopes(path: LimitPath, k: int) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative of E φ̂² by q at layer index k, [n]: T along (1, 1, 1)."""
    points = np.arange(path.q.shape[1])
    first = path.dual.gradient[k][points, points].sum(axis=-1)
    return first, path.dual.hessian[k][points, points].sum(axis=(-2, -1))


def _jacobian(path: LimitPath, k: int) -> np.ndarray:
    """∂F_k, [n, n, 4, 4]."""
    first, _ = variance_slopes(path, k)
    n, kernel = len(first), path.kernel[k][..., None]
    jacobian = np.zeros((n, n, 4, 4))
    jacobian[..., 0, 0], jacobian[..., 1, 1] = first[:, None], first[None, :]
    jacobian[..., 2, :3] = path.dual.gradient[k]
    jacobian[..., 3, :3] = path.dual.gradient[k] + kernel * path.slope.gradient[k]
    jacobian[..., 3, 3] = path.slope.value[k]
    return jacobian


def _curvature(path: LimitPath, k: int, gradient: np.ndarray) -> np.ndarray:
    """Σ_a ∂V/∂y'_a ∇²F_k^a, [n, n, 4, 4]."""
    _, second = variance_slopes(path, k)
    through_dual = (gradient[..., 2] + gradient[..., 3])[..., None, None]
    through_slope = (gradient[..., 3] * path.kernel[k])[..., None, None]
    curvature = np.zeros((*gradient.shape, 4))
    curvature[..., :3, :3] = through_dual * path.dual.hessian[k]
    curvature[..., :3, :3] += through_slope * path.slope.hessian[k]
    curvature[..., 0, 0] += gradient[..., 0] * second[:, None]
    curvature[..., 1, 1] += gradient[..., 1] * second[None, :]
    mixed = gradient[..., 3, None] * path.slope.gradient[k]
    curvature[..., 3, :3] = curvature[..., :3, 3] = mixed
    return curvature
