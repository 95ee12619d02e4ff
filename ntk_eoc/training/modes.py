"""An NTK matrix by its eigenvectors, and what gradient descent does to each of them.

r_t(λ) is what is left after t of the residual in an eigenvector of eigenvalue λ, and
g_t = (1 − r_t)/λ how far it has moved the parameters. A `Rule` is the algorithm: `flow` has
r_t = e^{−λt}, `descent` (1 − ηλ)^t or its heavy ball. NumPy float64, whatever the kernel's dtype.

Source: `docs/theory.md` §7.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Num

from ntk_eoc.checks import require, require_number


@dataclass(frozen=True)
class Modes:
    """Eigenvalues and eigenvectors of an NTK matrix, K = V diag(λ) Vᵀ.

    Attributes:
        values: λ, ascending; what is 0 up to rounding is 0.
        vectors: V, one eigenvector a column.
    """

    values: Float[np.ndarray, "nk"]
    vectors: Float[np.ndarray, "nk nk"]


class Filter(NamedTuple):
    """What training up to t does to each eigenvector.

    Attributes:
        residual: r_t(λ).
        response: g_t(λ) = (1 − r_t(λ))/λ, its limit where λ = 0.
    """

    residual: Float[np.ndarray, "t nk"]
    response: Float[np.ndarray, "t nk"]


Rule = Callable[[Float[np.ndarray, "nk"]], Filter]


def eigenmodes(matrix: Num[ArrayLike, "..."]) -> Modes:
    """Return the eigendecomposition of an NTK matrix, in float64.

    Args:
        matrix: Symmetric and positive semidefinite, divided by n: `ntk_matrix(K)`, or [n, n]
            K∞/n, which serves every output alike.

    Raises:
        ValueError: If it is not square, symmetric, finite and positive semidefinite.
    """
    given = np.asarray(matrix)
    square = given.ndim == 2 and given.shape[0] == given.shape[1] and given.size > 0
    require(square, "matrix", "square, [nk, nk] (see ntk_matrix)", given.shape)
    k = given.astype(np.float64)
    require(bool(np.isfinite(k).all()), "matrix", "finite", "NaN or infinity")
    exact = not np.issubdtype(given.dtype, np.floating)
    eps = float(np.finfo(np.float64 if exact else given.dtype).eps)
    rounding = len(k) * eps * float(np.abs(k).max())
    skew = float(np.abs(k - k.T).max())
    require(skew <= 16 * rounding, "matrix", "symmetric", f"|K − Kᵀ| = {skew:.3g}")
    values, vectors = np.linalg.eigh((k + k.T) / 2)
    least = float(values[0])
    sound = least >= -16 * rounding
    require(sound, "matrix", "positive semidefinite", f"λ_min = {least:.3g}")
    return Modes(np.where(values <= rounding, 0.0, values), vectors)


def largest_stable_step(modes: Modes, momentum: float = 0.0) -> float:
    """Return 2(1 + μ)/λ_max: gradient descent diverges above it; infinite if K = 0."""
    top = float(modes.values[-1])
    return 2 * (1 + _momentum(momentum)) / top if top > 0 else math.inf


def check_rate(rate: float, limit: float) -> float:
    """Return a learning rate; warn, naming the limit, if it is above it.

    Raises:
        ValueError: If the rate is not positive; the message names the limit.
    """
    rate = require_number("rate", rate)
    require(rate > 0, "rate", f"> 0 (and below the largest stable step, {limit:.6g})", rate)
    if rate > limit:
        warnings.warn(
            f"`rate` {rate:.6g} is above the largest stable step, {limit:.6g}"
            " (2(1 + momentum)/λ_max): gradient descent diverges.",
            stacklevel=3,
        )
    return rate


def flow(times: Sequence[float] | Float[np.ndarray, "t"]) -> Rule:
    """Return gradient flow at the given times >= 0 (one unit: a step times a learning rate)."""
    return partial(_flow, _times("times", times))


def _flow(times: np.ndarray, values: Float[np.ndarray, "nk"]) -> Filter:
    t = times[:, None]
    decay = -np.expm1(-t * values)
    return Filter(np.exp(-t * values), _over(decay, values, t))


def descent(
    rate: float, steps: Sequence[int] | Num[np.ndarray, "t"], momentum: float = 0.0
) -> Rule:
    """Return gradient descent after the given numbers of steps.

    v_{t+1} = μ v_t + ∇L(θ_t), θ_{t+1} = θ_t − η v_{t+1}, v_0 = 0: `optax.sgd(η, μ)`.

    Args:
        rate: Learning rate η.
        steps: Numbers of steps, integers >= 0.
        momentum: μ in [0, 1).

    Raises:
        ValueError: When used, if the rate is not positive. Above the largest stable step it warns.
    """
    t, momentum = _times("steps", steps), _momentum(momentum)
    require(bool((t == np.floor(t)).all()), "steps", "integers >= 0", t.tolist())
    return partial(_descent, rate, t, momentum)


def _descent(
    rate: float, t: np.ndarray, momentum: float, values: Float[np.ndarray, "nk"]
) -> Filter:
    top = float(values.max())
    check_rate(rate, 2 * (1 + momentum) / top if top > 0 else math.inf)
    if momentum:
        return _heavy_ball(rate, momentum, t.astype(np.int64), values)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        left = np.power(1 - rate * values, t[:, None])
        # 1 − left loses its digits where ηλ is small; −expm1 does not.
        done = -np.expm1(t[:, None] * np.log1p(-np.minimum(rate * values, 0.5)))
    done = np.where(rate * values < 0.5, done, 1 - left)
    return Filter(left, _over(done, values, rate * t[:, None]))


def _over(done: np.ndarray, values: np.ndarray, at_zero: np.ndarray) -> np.ndarray:
    """Done/λ, or its limit where λ = 0."""
    positive = values > 0
    return np.where(positive, done / np.where(positive, values, 1.0), at_zero)


def _heavy_ball(rate: float, momentum: float, t: np.ndarray, values: np.ndarray) -> Filter:
    """One step is linear in (r, v, g); its t-th power by repeated squaring."""
    one, zero = np.ones_like(values), np.zeros_like(values)
    pull = rate * values
    power = np.array(
        [
            [1 - pull, -momentum * pull, zero],
            [one, momentum * one, zero],
            [rate * one, rate * momentum * one, one],
        ]
    ).transpose(2, 0, 1)  # [nk, 3, 3]
    state = np.broadcast_to(np.array([1.0, 0.0, 0.0]), (t.size, values.size, 3))
    with np.errstate(over="ignore", invalid="ignore"):
        for bit in range(int(t.max()).bit_length()):
            moved = np.einsum("pij,tpj->tpi", power, state)
            state = np.where(((t >> bit) & 1)[:, None, None] == 1, moved, state)
            power = power @ power
    state = np.where(np.isnan(state), np.inf, state)  # ∞ − ∞: it diverged long ago
    return Filter(state[:, :, 0], state[:, :, 2])


def _times(name: str, times: Sequence[float] | np.ndarray) -> np.ndarray:
    t = np.asarray(times, np.float64)
    sound = t.ndim == 1 and t.size > 0 and bool((np.isfinite(t) & (t >= 0)).all())
    require(sound, name, "one or more finite numbers >= 0", times)
    return t


def _momentum(momentum: float) -> float:
    momentum = require_number("momentum", momentum)
    require(0 <= momentum < 1, "momentum", "in [0, 1)", momentum)
    return momentum
