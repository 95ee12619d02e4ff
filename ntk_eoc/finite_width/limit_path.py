"""What every layer of the infinitely wide network holds: variances, angles and kernels.

With Σ_1 = xᵀx'/d, Σ_{k+1} = T_k + σ_b² and K_1 = Σ_1, K_{k+1} = D_k K_k + Σ_{k+1}, where T_k and
D_k are the duals of φ̂ = σ_w φ and of its slope at Σ_k (`docs/theory.md` §2, §5).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ntk_eoc.eoc import Init
from ntk_eoc.finite_width.dual_derivatives import (
    PARALLEL,
    Expansion,
    expand_duals,
    mean_products,
)

_NOTHING = 1e-60  # of the largest variance


class LimitPath(NamedTuple):
    """Layers k = 1 … l of the limit, for all pairs of inputs.

    Attributes:
        q: Variances of z_k.
        delta: 1 − ρ_k; exactly 0 or 2 for parallel pairs.
        covariance: Σ_k.
        kernel: K_k; the last is K∞.
        dual: T_k of the hidden layers k = 1 … l − 1, as a function of (log q₁, log q₂, δ).
        slope: D_k of the same.
    """

    q: Float[np.ndarray, "l n"]
    delta: Float[np.ndarray, "l n n"]
    covariance: Float[np.ndarray, "l n n"]
    kernel: Float[np.ndarray, "l n n"]
    dual: Expansion
    slope: Expansion


def _start(x: Float[np.ndarray, "n d"]) -> tuple[np.ndarray, np.ndarray]:
    """‖x‖²/d, and 1 − cos of every pair without cancellation."""
    norms = np.linalg.norm(x, axis=1)
    units = x / np.where(norms > 0, norms, 1.0)[:, None]
    units[norms == 0, 0] = 1.0
    near = np.stack([((units - u) ** 2).sum(axis=1) / 2 for u in units])
    far = np.stack([((units + u) ** 2).sum(axis=1) / 2 for u in units])
    q = norms**2 / x.shape[1]
    # A zero input keeps a variance that no sum of the theory notices.
    return np.maximum(q, _NOTHING * (q.max() or 1.0)), np.where(near <= 1, near, 2 - far)


def _snapped(delta: np.ndarray) -> np.ndarray:
    """Parallel pairs, up to rounding, made exactly parallel."""
    return np.where(delta < PARALLEL, 0.0, np.where(delta > 2 - PARALLEL, 2.0, delta))


def limit_path(init: Init, x: Float[np.ndarray, "n d"], depth: int) -> LimitPath:
    """Return the layers of the limit over the inputs x, in float64."""
    act, w2, b2 = init.activation, init.sigma_w**2, init.sigma_b**2
    n = len(x)
    upper = np.triu_indices(n)
    q, delta = _start(x)
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    for layer in range(depth):
        delta = _snapped(delta)
        rows.append((q, delta))
        if layer == depth - 1:
            break
        values = mean_products(act, q[upper[0]], q[upper[1]], delta[upper])
        sigma = _symmetric(n, w2 * values + b2)
        q = sigma.diagonal().copy()
        delta = np.clip(1 - sigma / np.sqrt(np.outer(q, q)), 0.0, 2.0)
    variances, deltas = (np.stack(column) for column in zip(*rows, strict=True))
    sizes = np.sqrt(variances[:, :, None] * variances[:, None, :])
    covariance = sizes * (1 - deltas)
    triples = (variances[:-1, upper[0]], variances[:-1, upper[1]], deltas[:-1][:, *upper])
    dual, slope = (_mirrored(n, f) for f in expand_duals(init, *triples))
    kernel = covariance.copy()
    for k in range(1, depth):
        kernel[k] += slope.value[k - 1] * kernel[k - 1]
    return LimitPath(variances, deltas, covariance, kernel, dual, slope)


def relative_error(init: Init, path: LimitPath) -> float:
    """Return the relative error of what is computed from the layers, but for that of neurons.

    Of a kinked φ rounding is magnified by 1/θ, θ the least angle; and where it has no closed form
    there are differences, whose squared steps were measured to leave 4·10⁻⁷ (ReLU's own).
    """
    act = init.activation
    closed = act.closed_form is not None
    error = 1e-12 if closed else 1e-10
    if not act.kinks:
        return error
    least = np.minimum(path.delta, 2 - path.delta)
    angle = float(np.sqrt(2 * least[least > 0].min(initial=1.0)))
    return error + 1e-15 / angle + (0.0 if closed else 2e-6)


def _symmetric(n: int, values: np.ndarray) -> np.ndarray:
    """The symmetric matrices [..., n, n] with these upper triangles [..., n(n + 1)/2]."""
    full = np.empty((*values.shape[:-1], n, n))
    rows, columns = np.triu_indices(n)
    full[..., rows, columns] = values
    full[..., columns, rows] = values
    return full


def _mirrored(n: int, f: Expansion) -> Expansion:
    """From pairs i <= j to all: x and x' change places, and q₁ and q₂ with them."""
    rows, columns = np.triu_indices(n)
    swap = [1, 0, 2]
    gradient = np.empty((*f.value.shape[:-1], n, n, 3))
    hessian = np.empty((*f.value.shape[:-1], n, n, 3, 3))
    for layer in range(len(f.value)):  # one at a time stays in the processor's cache
        gradient[layer, columns, rows] = f.gradient[layer][..., swap]
        gradient[layer, rows, columns] = f.gradient[layer]
        hessian[layer, columns, rows] = f.hessian[layer][..., swap, :][..., swap]
        hessian[layer, rows, columns] = f.hessian[layer]
    return Expansion(_symmetric(n, f.value), gradient, hessian)
