"""How far a finite-width NTK matrix is from its limit, and the shape of the bound of [C]."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ntk_eoc.activations import AbsLinear


class Deviation(NamedTuple):
    """Distances of NTK matrices M(θ) from their limit M∞, and both spectra's ends, [s] each.

    Attributes:
        operator: ‖M(θ) − M∞‖, the largest absolute eigenvalue.
        frobenius: ‖M(θ) − M∞‖_F.
        max_entry: max |K(x_i, x_j) − K∞(x_i, x_j)| over points and outputs; not divided by n.
        lambda_min: Smallest eigenvalue of M(θ).
        lambda_max: Largest eigenvalue of M(θ).
    """

    operator: Float[np.ndarray, "s"]
    frobenius: Float[np.ndarray, "s"]
    max_entry: Float[np.ndarray, "s"]
    lambda_min: Float[np.ndarray, "s"]
    lambda_max: Float[np.ndarray, "s"]


def deviation(
    matrices: Float[np.ndarray, "s nk nk"], limit: Float[np.ndarray, "nk nk"], n: int
) -> Deviation:
    """Return the deviations of a batch of NTK matrices, in float64 on the host.

    A matrix that is not finite gives NaN in every field.

    Args:
        matrices: M(θ) = [K(x_i, x_j)/n], one a draw.
        limit: M∞ = [K∞(x_i, x_j)/n] ⊗ I_k.
        n: Number of points.
    """
    matrices = np.asarray(matrices, dtype=np.float64)
    finite = np.isfinite(matrices).all(axis=(1, 2))
    safe = np.where(finite[:, None, None], matrices, limit)
    difference = safe - np.asarray(limit, dtype=np.float64)
    spectrum = np.linalg.eigvalsh(safe)
    values = (
        np.abs(np.linalg.eigvalsh(difference)).max(axis=1),
        np.linalg.norm(difference, axis=(1, 2)),
        n * np.abs(difference).max(axis=(1, 2)),
        spectrum[:, 0],
        spectrum[:, -1],
    )
    return Deviation(*(np.where(finite, value, np.nan) for value in values))


def bound_shape(act: AbsLinear, m: int, depth: int, outputs: int = 1) -> float:
    """Return (Δ_φ⁻² + √m_l l) κ_φ² m^{−1/2}: the bound on ‖K(θ) − K∞‖ up to its constant and logs.

    It holds with probability 1 − O(1/m) for the widths m_k = k² m; infinite for Δ_φ = 0.

    Source: [C].
    """
    if act.delta == 0:
        return np.inf
    return (act.delta**-2 + np.sqrt(outputs) * depth) * act.kappa**2 / np.sqrt(m)
