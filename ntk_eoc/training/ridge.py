"""Kernel ridge regression with K∞ by its products: preconditioned conjugate gradients.

The preconditioner is a partial Cholesky factor L of K∞ with pivoting, (L Lᵀ + λ)⁻¹. matfree's asks
for the matrix entry by entry; here a column costs one product with X.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Num
from scipy.linalg import cho_factor, cho_solve

from ntk_eoc.checks import require, require_count, require_number
from ntk_eoc.kernels.kernel_operator import KernelOperator

Matrix = Float[np.ndarray, "n c"]
Report = Callable[[int, float], None]


class Ridge(NamedTuple):
    """The solution of (K∞ + λ I) α = y.

    Attributes:
        coefficients: α; the prediction at other points is `operator.rectangle(x, α)`.
        residual: ‖y − (K∞ + λ I) α‖/‖y‖ of every column, computed anew from α at the end.
        iterations: Products with K∞ in the iteration.
        converged: Whether every residual is at most the tolerance.
    """

    coefficients: Float[np.ndarray, "n *c"]
    residual: Float[np.ndarray, "c"]
    iterations: int
    converged: bool


def partial_cholesky(operator: KernelOperator, rank: int) -> Float[np.ndarray, "n r"]:
    """Return L with L Lᵀ ≈ K∞, `rank` columns at most, the largest diagonal of the rest first."""
    rest = np.array(operator.diagonal(), np.float64)
    least = operator.shape[0] * float(np.finfo(operator.dtype).eps) * rest.max()
    factor = np.zeros((len(rest), min(rank, len(rest))))
    for t in range(factor.shape[1]):
        pivot = int(np.argmax(rest))
        if rest[pivot] <= least:
            return factor[:, :t]
        column = np.asarray(operator.columns(np.array([pivot])), np.float64)[:, 0]
        factor[:, t] = (column - factor[:, :t] @ factor[pivot, :t]) / np.sqrt(rest[pivot])
        rest = np.maximum(rest - factor[:, t] ** 2, 0.0)
        rest[pivot] = 0.0
    return factor


def _preconditioner(factor: Float[np.ndarray, "n r"], ridge: float) -> Callable[[Matrix], Matrix]:
    """(L Lᵀ + λ)⁻¹, times λ, by the matrix of the rank."""
    small = cho_factor(factor.T @ factor + ridge * np.eye(factor.shape[1]))
    return lambda r: r - factor @ cho_solve(small, factor.T @ r)


def ridge_regression(
    operator: KernelOperator,
    y: Num[ArrayLike, "..."],
    ridge: float,
    *,
    tolerance: float = 1e-6,
    rank: int = 200,
    most: int = 1000,
    report: Report | None = None,
) -> Ridge:
    """Solve (K∞ + λ I) α = y by conjugate gradients; nothing n × n is stored.

    All columns of y go through every tile together. Vectors are float64, whatever the dtype of the
    kernel: the operator's matrix is the same at each product, and is solved to the last digit.

    Args:
        operator: `kernel_operator(init, x, depth)`.
        y: Targets [n] or [n, c].
        ridge: λ > 0, in units of K∞ (of K∞/n it is λ/n).
        tolerance: Of ‖y − (K∞ + λ I) α‖/‖y‖ of every column.
        rank: Columns of the preconditioner: memory n · rank, 8 bytes each; 0 for none.
        most: Iterations at most.
        report: Called after each with its number and the largest relative residual so far.

    Raises:
        ValueError: If y does not fit the operator or is not finite, or a number is out of range.
    """
    targets = np.asarray(y, np.float64)
    n = operator.shape[0]
    fits = targets.ndim in (1, 2) and len(targets) == n and targets.size > 0
    require(fits, "y", f"[{n}] or [{n}, c] like the operator", targets.shape)
    require(bool(np.isfinite(targets).all()), "y", "finite", "NaN or infinity")
    ridge = require_number("ridge", ridge)
    require(ridge > 0, "ridge", "> 0", ridge)
    require(0 < require_number("tolerance", tolerance) < 1, "tolerance", "in (0, 1)", tolerance)
    require_count("most", most)
    columns = targets.reshape(n, -1)

    def times(v: Matrix) -> Matrix:
        return np.asarray(operator @ v, np.float64) + ridge * v

    factor = partial_cholesky(operator, require_count("rank", rank, 0))
    precondition = _preconditioner(factor, ridge)
    size = np.linalg.norm(columns, axis=0)
    size = np.where(size > 0, size, 1.0)
    found, taken = _conjugate_gradients(times, precondition, columns, size, tolerance, most, report)
    residual = np.linalg.norm(columns - times(found), axis=0) / size
    return Ridge(found.reshape(targets.shape), residual, taken, bool((residual <= tolerance).all()))


def _conjugate_gradients(
    times: Callable[[Matrix], Matrix],
    precondition: Callable[[Matrix], Matrix],
    y: Matrix,
    size: Float[np.ndarray, "c"],
    tolerance: float,
    most: int,
    report: Report | None,
) -> tuple[Matrix, int]:
    """Iterate every column by itself, until the recursion's residual is half as allowed."""
    found, rest = np.zeros_like(y), y.copy()
    z = precondition(rest)
    direction, energy = z, (rest * z).sum(0)
    taken = 0
    while taken < most:
        left = np.linalg.norm(rest, axis=0) / size
        if (left <= tolerance / 2).all():
            break
        image = times(direction)
        taken += 1
        curvature = (direction * image).sum(0)
        step = np.where(curvature > 0, energy / np.where(curvature > 0, curvature, 1.0), 0.0)
        found, rest = found + step * direction, rest - step * image
        z = precondition(rest)
        new = (rest * z).sum(0)
        ratio = np.where(energy > 0, new / np.where(energy > 0, energy, 1.0), 0.0)
        direction, energy = z + ratio * direction, new
        if report is not None:
            report(taken, float((np.linalg.norm(rest, axis=0) / size).max()))
    return found, taken
