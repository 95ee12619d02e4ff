"""What K∞ says about training by its products alone, for more points than a matrix holds.

A prediction is a function of the matrix times the residual of the start, r_t(K)(f_0(X) − y). The
Krylov space of that residual holds it to an error that falls fast with the number of products;
there, Ritz values and vectors stand for the eigenvalues and eigenvectors.

Source: `docs/theory.md` §7.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Num

from ntk_eoc.checks import require, require_count
from ntk_eoc.kernels.kernel_operator import KernelOperator, product
from ntk_eoc.spectra.lanczos import Ritz, krylov
from ntk_eoc.training.modes import Filter, Rule

# What the last products still moved is taken for the error of what is left.
LAST = 5


class ByProducts(NamedTuple):
    """Predictions at t times.

    Attributes:
        train: f_t on the training points.
        test: f_t on the test points.
        error: Estimated ‖error of f_t‖/‖f_0 − y‖ on the training points, at the worst time and
            column: what the last 5 products changed.
    """

    train: Float[np.ndarray, "t n *c"]
    test: Float[np.ndarray, "t q *c"]
    error: float


def predict_by_products(
    operator: KernelOperator,
    rule: Rule,
    x_test: Num[ArrayLike, "q d"],
    y: Num[ArrayLike, "..."],
    f0: Num[ArrayLike, "..."],
    f0_test: Num[ArrayLike, "..."],
    *,
    steps: int = 50,
) -> ByProducts:
    """Return f_t on training and test points, as `predict_train` and `predict_test` do.

    The matrix of training is K∞/n, n the number of points of the operator.

    Args:
        operator: `kernel_operator(init, x, depth)`.
        rule: `flow(times)` or `descent(rate, steps)`.
        x_test: Test points.
        y: Targets [n] or [n, c].
        f0: The network before training on the training points, like y.
        f0_test: On the test points, [q] or [q, c].
        steps: Products with K∞ for each column of y. Late times need more.

    Raises:
        ValueError: If a shape does not fit, or there are fewer than 6 steps.
    """
    n, q = operator.shape[0], len(np.asarray(x_test))
    targets, start = np.asarray(y, np.float64), np.asarray(f0, np.float64)
    start_test = np.asarray(f0_test, np.float64)
    require(targets.ndim in (1, 2) and len(targets) == n, "y", f"[{n}] or [{n}, c]", targets.shape)
    require(start.shape == targets.shape, "f0", f"of shape {targets.shape} like `y`", start.shape)
    shape = (q, *targets.shape[1:])
    require(start_test.shape == shape, "f0_test", f"of shape {shape}", start_test.shape)
    require_count("steps", steps, LAST + 1)
    columns = (start - targets).reshape(n, -1).T
    parts = [_column(operator, rule, error, steps) for error in columns]
    left, weights = (np.stack([part[i] for part in parts], -1) for i in (0, 1))  # [t, n, c]
    times = len(weights)
    moved = np.asarray(operator.rectangle(x_test, weights.transpose(1, 0, 2).reshape(n, -1)))
    moved = moved.reshape(q, times, -1).transpose(1, 0, 2) / n
    return ByProducts(
        targets + left.reshape(times, *targets.shape),
        start_test - moved.reshape(times, *shape),
        max(part[2] for part in parts),
    )


def _column(
    operator: KernelOperator, rule: Rule, error: Float[np.ndarray, "n"], steps: int
) -> tuple[Float[np.ndarray, "t n"], Float[np.ndarray, "t n"], float]:
    """r_t(K/n) v, g_t(K/n) v, and the relative error of the first."""
    n = len(error)
    if not error.any():
        times = len(rule(np.zeros(1)).residual)
        return np.zeros((times, n)), np.zeros((times, n)), 0.0
    space = krylov(product, error, operator, steps=steps)
    dimension = len(space.diagonal)
    full = dimension < min(steps, n) or dimension == n  # it holds the whole answer
    found = _filtered(space.ritz(), rule, error)
    before = found if full else _filtered(space.ritz(max(dimension - LAST, 1)), rule, error)
    change = np.linalg.norm(found.residual - before.residual, axis=1)
    return *found, float(change.max() / np.linalg.norm(error))


def _filtered(ritz: Ritz, rule: Rule, v: Float[np.ndarray, "n"]) -> Filter:
    """The filters of K/n times v; a Ritz value below 0 by rounding is 0."""
    filters = rule(np.maximum(ritz.values, 0.0) / len(v))
    weights = ritz.vectors.T @ v
    return Filter(*((each * weights) @ ritz.vectors.T for each in filters))
