"""Kernel regression with K∞: what infinitely wide networks learn, on average and each of them.

Source: `docs/theory.md` §7.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import ArrayLike, Float, Num

from ntk_eoc.checks import require
from ntk_eoc.eoc import Init
from ntk_eoc.kernels.infinite import nngp_infinite, ntk_infinite
from ntk_eoc.training.modes import Filter, Modes, Rule, eigenmodes, flow
from ntk_eoc.training.predictions import (
    ensemble_variance_test,
    ensemble_variance_train,
    predict_test,
    predict_train,
    ridgeless,
)

_ROWS = 256  # of one block of test points whose own variances are computed


@dataclass(frozen=True)
class Regression:
    """What networks of infinite width learn from n points, at t times; q test points, c outputs.

    The outputs of the limit are independent and alike, so that one spread serves them all. Targets
    [n] without an axis of outputs give means without one.

    Attributes:
        times: Where training is looked at, in units of the algorithm (see `regress`).
        mean: Mean over networks of f_t on the test points.
        spread: Standard deviation over networks of each output of f_t there.
        mean_train: Mean over networks of f_t on the training points.
        spread_train: Standard deviation over networks of each output there.
        loss: Mean over networks of the training loss ½ Σ‖f_t − y‖²/n.
        final: Mean on the test points at the end of training, K∞(x, X) K∞(X, X)⁻¹ y.
        final_spread: Standard deviation over networks there.
        modes: Eigenvalues and eigenvectors of K∞(X, X)/n.
    """

    times: Float[np.ndarray, "t"]
    mean: Float[np.ndarray, "t q *c"]
    spread: Float[np.ndarray, "t q"]
    mean_train: Float[np.ndarray, "t n *c"]
    spread_train: Float[np.ndarray, "t n"]
    loss: Float[np.ndarray, "t"]
    final: Float[np.ndarray, "q *c"]
    final_spread: Float[np.ndarray, "q"]
    modes: Modes

    def __repr__(self) -> str:
        """Its sizes, and the loss at the first and the last time."""
        first, last = self.loss[0], self.loss[-1]
        return (
            f"<Regression of n = {self.spread_train.shape[1]} points, q = {self.spread.shape[1]}: "
            f"loss {first:.4g} at t = {self.times[0]:.4g}, {last:.4g} at t = {self.times[-1]:.4g}>"
        )


def regress(
    init: Init,
    x: Num[ArrayLike, "n d"],
    y: Num[ArrayLike, "..."],
    x_test: Num[ArrayLike, "q d"],
    depth: int,
    *,
    times: Sequence[float] | Float[np.ndarray, "t"] | None = None,
    algorithm: Callable[[Sequence[float] | np.ndarray], Rule] = flow,
) -> Regression:
    """Return what infinitely wide networks learn from (x, y) by squared error.

    Networks start at f_0 ~ N(0, Σ), Σ = `nngp_infinite`, and follow gradient descent on
    ½ Σ‖f − y‖²/n. The kernel matrix is divided by n here, once; nothing is to be scaled by hand.

    Args:
        init: Initialisation.
        x: Training points, any norms; `normalise(x, init)` gives them the norm meant for `init`.
        y: Targets [n] or [n, c]; in classification, one column a class.
        x_test: Test points.
        depth: Number l of weight layers.
        times: 0 and 60 from 0.1/λ_max to 10/λ_min unless given, λ_min the least that is > 0.
        algorithm: From the times to a rule: `flow`, gradient flow, where a time is a learning rate
            times a number of steps, or `functools.partial(descent, rate, momentum=0.9)`, whose
            times are numbers of steps.

    Raises:
        ValueError: If shapes do not fit together, y is not finite, or a time is not sound.

    Source: `docs/theory.md` §7.
    """
    y = _targets(y, len(np.asarray(x)))
    n, q = len(y), len(np.asarray(x_test))
    modes = eigenmodes(np.asarray(ntk_infinite(init, x, x, depth)) / n)
    cross = np.asarray(ntk_infinite(init, x_test, x, depth), np.float64) / n
    at = np.asarray(_usual_times(modes) if times is None else times, np.float64)
    rule, zeros = algorithm(at), np.zeros_like(y)
    own = _own_variances(init, np.asarray(x_test), depth)
    nngp = np.asarray(nngp_infinite(init, x, x, depth), np.float64)
    nngp_cross = np.asarray(nngp_infinite(init, x_test, x, depth), np.float64)
    covariances = cross, nngp, nngp_cross, own
    mean_train = predict_train(modes, rule, y, zeros)
    variance_train = _at_least_zero(ensemble_variance_train(modes, rule, nngp))
    outputs = y[0].size
    bias = ((mean_train - y) ** 2).reshape(len(at), -1).sum(1)
    return Regression(
        times=at,
        mean=predict_test(modes, rule, cross, y, zeros, np.zeros((q, *y.shape[1:]))),
        spread=np.sqrt(_at_least_zero(ensemble_variance_test(modes, rule, *covariances))),
        mean_train=mean_train,
        spread_train=np.sqrt(variance_train),
        loss=(bias + outputs * variance_train.sum(1)) / (2 * n),
        final=ridgeless(modes, cross, y),
        final_spread=np.sqrt(_at_least_zero(ensemble_variance_test(modes, _end, *covariances))[0]),
        modes=modes,
    )


def _targets(y: Num[ArrayLike, "..."], n: int) -> np.ndarray:
    targets = np.asarray(y, np.float64)
    fits = targets.ndim in (1, 2) and targets.size > 0 and len(targets) == n
    require(fits, "y", f"[n] or [n, c] with n = {n} like `x`", targets.shape)
    require(bool(np.isfinite(targets).all()), "y", "finite", "NaN or infinity")
    return targets


def _usual_times(modes: Modes) -> np.ndarray:
    """Zero, and from where the fastest eigenvector sets out to where the slowest has arrived."""
    moving = modes.values[modes.values > 0]
    if not moving.size:
        return np.zeros(1)
    return np.concatenate([[0.0], np.geomspace(0.1 / moving[-1], 10 / moving[0], 60)])


def _end(values: Float[np.ndarray, "n"]) -> Filter:
    """The rule at the end of training: an eigenvector of eigenvalue 0 stays where it was."""
    moving = values > 0
    response = np.where(moving, 1 / np.where(moving, values, 1.0), 0.0)
    return Filter(np.where(moving, 0.0, 1.0)[None], response[None])


def _own_variances(init: Init, x: np.ndarray, depth: int) -> Float[np.ndarray, "q"]:
    """Σ(x, x) of every point, in blocks, so that the matrix of all test points is never held."""
    blocks = (x[i : i + _ROWS] for i in range(0, len(x), _ROWS))
    return np.concatenate(
        [np.diagonal(nngp_infinite(init, block, block, depth)) for block in blocks]
    ).astype(np.float64)


def _at_least_zero(variance: np.ndarray) -> np.ndarray:
    """A variance that rounding took below zero is zero."""
    return np.maximum(variance, 0.0)
