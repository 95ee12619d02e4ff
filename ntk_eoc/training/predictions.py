"""What a kernel matrix says about training by squared error, through one eigendecomposition.

With K the NTK matrix of the n training points (divided by n, see `ntk_matrix`) and the filters
r_t, g_t of `training.modes`,

    f_t(X) − y = r_t(K) (f_0(X) − y),      f_t(x) = f_0(x) − K(x, X)/n · g_t(K) (f_0(X) − y).

All of it is NumPy float64, whatever the dtype of the kernel. A matrix [n, n] of K∞ serves every
output alike: targets are then [n, outputs]. A K(θ) with k outputs is the matrix [nk, nk].

Source: `docs/theory.md` §7.
"""

import math
import warnings

import numpy as np
from jaxtyping import ArrayLike, Float, Num

from ntk_eoc.checks import require, require_number
from ntk_eoc.training.modes import Modes, Rule, largest_stable_step


def predict_train(
    modes: Modes, rule: Rule, y: Num[ArrayLike, "..."], f0: Num[ArrayLike, "..."]
) -> Float[np.ndarray, "t nk *c"]:
    """Return f_t on the training points.

    Args:
        modes: Of the NTK matrix.
        rule: `flow(times)` or `descent(rate, steps)`.
        y: Targets, in the order of the matrix; further axes are outputs that share it.
        f0: The network before training, shaped like y; zeros give the mean over networks.

    Raises:
        ValueError: If y or f0 does not fit the matrix.
    """
    y, error = _residual(modes, y, f0)
    found = rule(modes.values)
    return y[None] + np.einsum(
        "ip,tp,p...->ti...", modes.vectors, found.residual, error, optimize=True
    )


def predict_test(
    modes: Modes,
    rule: Rule,
    cross: Num[ArrayLike, "..."],
    y: Num[ArrayLike, "..."],
    f0: Num[ArrayLike, "..."],
    f0_test: Num[ArrayLike, "..."],
) -> Float[np.ndarray, "t test *c"]:
    """Return f_t on test points.

    Args:
        modes: Of the NTK matrix of the training points.
        rule: `flow(times)` or `descent(rate, steps)`.
        cross: K(test, train) divided by the number n of training points, rows and columns like
            the matrix.
        y: Training targets.
        f0: The network before training on the training points.
        f0_test: On the test points.

    Raises:
        ValueError: If a shape does not fit the matrix.
    """
    _, error = _residual(modes, y, f0)
    cross = _cross(modes, cross)
    start = np.asarray(f0_test, np.float64)
    shape = (len(cross), *error.shape[1:])
    require(start.shape == shape, "f0_test", f"of shape {shape}", start.shape)
    response = _response(modes, rule)
    return start[None] - np.einsum(
        "qp,tp,p...->tq...", cross @ modes.vectors, response, error, optimize=True
    )


def ridgeless(
    modes: Modes, cross: Num[ArrayLike, "..."], y: Num[ArrayLike, "..."]
) -> Float[np.ndarray, "test *c"]:
    """Return K(x, X) K(X, X)⁻¹ y, the mean over networks trained for ever, on test points.

    A singular K warns, and what its eigenvectors of eigenvalue 0 hold of y is not learnt (the
    interpolant of least norm).

    Raises:
        ValueError: If a shape does not fit the matrix.
    """
    cross, (_, error) = _cross(modes, cross), _residual(modes, y, np.zeros_like(y, np.float64))
    singular = modes.values == 0
    if singular.any():
        warnings.warn(
            f"The kernel matrix is singular: {int(singular.sum())} of {singular.size} eigenvalues"
            " are 0 up to rounding, and what they hold of `y` is not learnt.",
            stacklevel=2,
        )
    inverse = np.where(singular, 0.0, 1 / np.where(singular, 1.0, modes.values))
    return -np.einsum("qp,p,p...->q...", cross @ modes.vectors, inverse, error, optimize=True)


def ensemble_variance_train(
    modes: Modes, rule: Rule, nngp: Num[ArrayLike, "..."]
) -> Float[np.ndarray, "t nk"]:
    """Return the variance over initialisations of f_t on the training points, in the limit.

    f_0 is Gaussian with covariance Σ, so that Var f_t = diag r_t(K) Σ r_t(K).

    Args:
        modes: Of K∞/n.
        rule: `flow(times)` or `descent(rate, steps)`.
        nngp: Σ = `nngp_infinite` of the training points, not divided by n.
    """
    v = modes.vectors
    middle = v.T @ _covariance(modes, "nngp", nngp, len(v)) @ v
    rows = (v * r for r in rule(modes.values).residual)
    found = [np.einsum("ip,ip->i", row @ middle, row) for row in rows]
    return np.maximum(np.stack(found), 0.0)  # where it is 0, rounding has either sign


def ensemble_variance_test(
    modes: Modes,
    rule: Rule,
    cross: Num[ArrayLike, "..."],
    nngp: Num[ArrayLike, "..."],
    nngp_cross: Num[ArrayLike, "..."],
    nngp_test: Num[ArrayLike, "..."],
) -> Float[np.ndarray, "t test"]:
    """Return the variance over initialisations of f_t on test points, in the limit.

    Var f_t(x) = Σ(x,x) − 2 A_t Σ(X,x) + A_t Σ(X,X) A_tᵀ, A_t = K(x,X)/n · g_t(K).

    Args:
        modes: Of K∞/n on the training points.
        rule: `flow(times)` or `descent(rate, steps)`.
        cross: K∞(test, train)/n.
        nngp: Σ = `nngp_infinite` of the training points, not divided by n.
        nngp_cross: Σ(test, train).
        nngp_test: Diagonal of Σ(test, test).
    """
    v, cross = modes.vectors, _cross(modes, cross)
    middle = v.T @ _covariance(modes, "nngp", nngp, len(v)) @ v
    joint = _covariance(modes, "nngp_cross", nngp_cross, len(cross)) @ v
    own = np.asarray(nngp_test, np.float64)
    require(own.shape == (len(cross),), "nngp_test", f"of shape {(len(cross),)}", own.shape)
    a = ((cross @ v) * g for g in _response(modes, rule))
    found = [own + np.einsum("qp,qp->q", row @ middle - 2 * joint, row) for row in a]
    return np.maximum(np.stack(found), 0.0)  # where it is 0, rounding has either sign


def steps_to_loss(
    modes: Modes,
    rate: float,
    y: Num[ArrayLike, "..."],
    f0: Num[ArrayLike, "..."],
    fraction: float,
) -> float:
    """Return the least number of steps after which the loss is below `fraction` of its start.

    Plain gradient descent; below the largest stable step its loss never rises, so that bisection
    finds the step. Infinite if a singular K never gets there.

    Raises:
        ValueError: If the rate is not in (0, 2/λ_max), the fraction not in (0, 1), or a shape does
            not fit.
    """
    limit = largest_stable_step(modes)
    rate = require_number("rate", rate)
    require(0 < rate < limit, "rate", f"between 0 and 2/λ_max = {limit:.6g}", rate)
    require(0 < require_number("fraction", fraction) < 1, "fraction", "in (0, 1)", fraction)
    error = _residual(modes, y, f0)[1]
    weight = (error**2).reshape(len(error), -1).sum(1)
    pull = rate * modes.values
    with np.errstate(divide="ignore"):  # log (1 − ηλ)², which keeps ηλ far below a rounding of 1
        decay = 2 * np.where(pull < 0.5, np.log1p(-np.minimum(pull, 0.5)), np.log(np.abs(1 - pull)))

    def reached(t: int) -> bool:
        return bool(weight @ np.exp(decay * float(t)) <= fraction * weight.sum())

    if weight[decay >= 0].sum() > fraction * weight.sum():
        return math.inf
    high = 1
    while not reached(high):
        high *= 2
    low = high // 2 if high > 1 else 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return float(high)


def _response(modes: Modes, rule: Rule) -> Float[np.ndarray, "t nk"]:
    """g_t(λ), and 0 where λ = 0.

    K(x, X) is orthogonal to an eigenvector of eigenvalue 0, but only up to rounding, and g_t grows
    with t there.
    """
    return np.where(modes.values > 0, rule(modes.values).response, 0.0)


def _residual(
    modes: Modes, y: Num[ArrayLike, "..."], f0: Num[ArrayLike, "..."]
) -> tuple[np.ndarray, np.ndarray]:
    """Return y and Vᵀ(f_0 − y)."""
    targets, start = np.asarray(y, np.float64), np.asarray(f0, np.float64)
    size = len(modes.vectors)
    fits = targets.ndim >= 1 and targets.shape[0] == size
    require(fits, "y", f"of {size} rows like the kernel matrix", targets.shape)
    require(start.shape == targets.shape, "f0", f"of shape {targets.shape} like `y`", start.shape)
    return targets, np.tensordot(modes.vectors, start - targets, axes=(0, 0))


def _cross(modes: Modes, cross: Num[ArrayLike, "..."]) -> np.ndarray:
    return _covariance(modes, "cross", cross, len(np.asarray(cross)))


def _covariance(modes: Modes, name: str, matrix: Num[ArrayLike, "..."], rows: int) -> np.ndarray:
    found, shape = np.asarray(matrix, np.float64), (rows, len(modes.vectors))
    require(found.shape == shape, name, f"of shape {shape}", found.shape)
    return found
