"""The cheapest widths whose kernel is as near its limit as asked.

With w_j = 1/m_j, the square Q² of a quantile of ‖Σ_j √w_j X_j‖, X_j the Gaussian matrices of the
layers, is homogeneous of degree one in w: Q² = Σ_j a_j w_j with a_j = ∂Q²/∂w_j. Given a, the
widths that minimise a cost at Σ a_j/m_j = Q² solve a geometric programme; a is found again there.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import ArrayLike, Float

from ntk_eoc import estimates
from ntk_eoc.activations import Activation
from ntk_eoc.checks import require, require_count, require_number, unknown_name
from ntk_eoc.eoc import Init, at_edge
from ntk_eoc.finite_width.budgets import BUDGETS, Cost, cheapest, price
from ntk_eoc.finite_width.draws import as_matrices, layer_draw
from ntk_eoc.finite_width.fluctuations import Fluctuations, fluctuations
from ntk_eoc.layer_widths import widths as scheduled

COMPARED = ("quadratic", "linear", "constant")  # schedules
NORMS = ("operator", "frobenius", "largest")
LARGEST_WIDTH = 2**31 - 1  # of an array's axis
_ROUNDS = 4  # of finding a and then the widths
_FAR = 5.0  # times 1 − P: the share of the draws that tell the derivative of the quantile
_FEWEST = 3.0  # draws beyond the quantile: with P^draws <= 5 % the largest is above it
_MEMORY = 2**29  # bytes of the draws of all layers


class Choice(NamedTuple):
    """Widths and what they cost.

    Attributes:
        widths: (m_1, …, m_l), outputs last.
        cost: In the unit of the budget.
        error: Predicted quantile of the relative error, with an interval for its draws.
    """

    widths: tuple[int, ...]
    cost: int
    error: estimates.Quantile


@dataclass(frozen=True)
class WidthsFor:
    """The cheapest widths for an error, and what the usual schedules would need.

    Attributes:
        best: The cheapest.
        schedules: Of k² m, k m and m, the least that keep the promise too.
        error: What was asked: ‖K(θ) − K∞‖/‖K∞‖ at most this,
        probability: with this probability.
        norm: "operator", "frobenius" or "largest" (entry).
        budget: "neurons" (hidden), "parameters" or "flops" (a training step, per input).
        law: The law they come from; with depth 1 it is 0 and any width keeps the promise.
    """

    best: Choice
    schedules: dict[str, Choice]
    error: float
    probability: float
    norm: str
    budget: str
    law: Fluctuations

    def __repr__(self) -> str:
        promise = f"{self.norm} norm within {self.error:g} at probability {self.probability:g}"
        cost = f"{self.best.cost:,} {self.budget}"
        return f"<WidthsFor {promise}: {self.widths}, {cost}, the least>"

    @property
    def widths(self) -> tuple[int, ...]:
        """(m_1, …, m_l) of the cheapest."""
        return self.best.widths


def widths_for(
    init: Init | Activation | str,
    x: Float[ArrayLike, "n d"],
    depth: int,
    error: float = 0.05,
    probability: float = 0.99,
    budget: str = "neurons",
    *,
    outputs: int = 1,
    norm: str = "operator",
    draws: int = 8192,
    seed: int = 0,
) -> WidthsFor:
    """Return the cheapest widths with ‖K(θ) − K∞‖ <= error ‖K∞‖ at the given probability.

    To leading order in 1/m: trust it where `error` is small against 1.

    Args:
        init: Activation and scales; of an activation or its name, its edge of chaos.
        x: Inputs.
        depth: Number l of weight layers.
        error: Relative to the same norm of K∞.
        probability: That a fresh network keeps to it.
        budget: What is to be least: hidden neurons, parameters or the flops of a training step.
        outputs: k = m_l.
        norm: Operator norm, Frobenius norm or largest absolute entry.
        draws: Gaussian matrices drawn to find the quantile; fewer where memory is short. With
            fewer than 3/(1 − probability) nothing bounds it from above.
        seed: Of the draws.

    Raises:
        TypeError, ValueError: If an argument is out of range, K∞ is 0, the draws do not reach the
            quantile, or no width below 2³¹ is enough.
        RuntimeError: If JAX's float64 is off.

    Source: `docs/finite_width.md`.
    """
    error, probability = require_number("error", error), require_number("probability", probability)
    require(0 < probability < 1, "probability", "between 0 and 1", probability)
    for name, value, known in (("norm", norm, NORMS), ("budget", budget, BUDGETS)):
        if value not in known:
            raise ValueError(unknown_name(name, value, known))
    init, draws = at_edge(init), require_count("draws", draws, least=100)
    law = fluctuations(init, x, depth, outputs, seed=seed)
    _require_attainable(law, error, np.any(x))
    cost = BUDGETS[budget](np.asarray(x).shape[1], law.depth, outputs, init.sigma_b > 0)
    if law.depth == 1:
        best = Choice((outputs,), price(cost, np.zeros(0)), estimates.Quantile(0.0, 0.0, 0.0, 0))
        none = dict.fromkeys(COMPARED, best)
        return WidthsFor(best, none, error, probability, norm, budget, law)
    drawn = _layer_draws(law, draws, seed)
    most = 1 - _FEWEST / len(drawn)
    require(
        probability <= most, "probability", f"<= {most:.6g} with {len(drawn)} draws", probability
    )
    tail = _Tail(drawn, relative_to(law.limit, norm, outputs), norm, probability)
    shapes = {name: np.array(scheduled(name, 1, law.depth)[:-1], float) for name in COMPARED}
    schedules = {name: _scaled(tail, cost, shape, error) for name, shape in shapes.items()}
    best = _scaled(tail, cost, _best_shape(tail, cost, law.layers, error), error)
    return WidthsFor(best, schedules, error, probability, norm, budget, law)


def _require_attainable(law: Fluctuations, error: float, some: Any) -> None:
    """Refuse errors below rounding, and inputs of which K∞ is 0."""
    size = len(law.limit) * law.outputs
    rounding = 4 * size * float(np.finfo(np.float64).eps)
    require(error >= rounding, "error", f">= {rounding:.1g}, the rounding of K in float64", error)
    init = law.init
    vanishes = init.sigma_b == 0 and not some and float(init.activation(0.0)) == 0
    require(not vanishes, "x", "such that K∞ is not 0", "zeros")


class _Tail(NamedTuple):
    """Which quantile of which relative norm, and by which draws."""

    drawn: Float[np.ndarray, "draws h s2"]
    scale: float
    norm: str
    probability: float


def _layer_draws(law: Fluctuations, draws: int, seed: int) -> Float[np.ndarray, "draws h s2"]:
    """Draw X_j of every layer; in float32, for they only serve to find a quantile."""
    size, hidden = len(law.limit) * law.outputs, len(law.parts)
    draws = min(draws, max(100, _MEMORY // (4 * hidden * size * size)))
    drawn = np.empty((draws, hidden, size * size), np.float32)
    for j in range(hidden):
        matrices = as_matrices(layer_draw(law, jax.random.key(seed), j, draws))
        drawn[:, j] = matrices.reshape(draws, -1)
    return drawn


def _best_shape(
    tail: _Tail, cost: Cost, shares: Float[np.ndarray, "h"], error: float
) -> Float[np.ndarray, "h"]:
    """Widths that need not be whole, cheapest for the quantile."""
    m = cheapest(cost, shares / np.mean(shares), 1.0)
    for _ in range(_ROUNDS):
        m = cheapest(cost, _slopes(tail, m), error**2)
    return m


def _scaled(tail: _Tail, cost: Cost, shape: Float[np.ndarray, "h"], error: float) -> Choice:
    """The least multiple of a shape that keeps the promise, in whole neurons."""
    at = _quantile(tail, shape)
    m = np.ceil(shape * (at.value / error) ** 2 * (1 - 1e-12))
    if m.max() > LARGEST_WIDTH:
        least = error * float(np.sqrt(m.max() / LARGEST_WIDTH))
        raise ValueError(
            f"`error` must be >= {least:.2g} for widths below 2³¹, got {error:g}: it needs a layer "
            f"of {m.max():.2g} neurons."
        )
    widths = (*(int(width) for width in m), cost.ends[1])
    return Choice(widths, price(cost, m), _quantile(tail, m))


def _gaps(tail: _Tail, m: Float[np.ndarray, "h"]) -> Float[np.ndarray, "draws s s"]:
    """Draws of the papers' matrix of K − K∞ at widths m."""
    total = np.einsum("rhs,h->rs", tail.drawn, 1 / np.sqrt(m), optimize=True)
    size = round(total.shape[1] ** 0.5)
    return total.reshape(-1, size, size)


def _quantile(tail: _Tail, m: Float[np.ndarray, "h"]) -> estimates.Quantile:
    """The quantile Q of the relative norm at widths m."""
    values, _ = norm_and_slope(_gaps(tail, m), tail.norm)
    return estimates.quantile(values / tail.scale, tail.probability)


def _slopes(tail: _Tail, m: Float[np.ndarray, "h"]) -> Float[np.ndarray, "h"]:
    """a_j = ∂Q²/∂w_j: the mean of ∂‖K‖²/∂w_j over draws beyond the quantile and some before it."""
    gaps = _gaps(tail, m)
    values, directions = norm_and_slope(gaps, tail.norm)
    far = values >= np.quantile(values, max(0.5, 1 - _FAR * (1 - tail.probability)))
    along = np.einsum("rhs,rs->rh", tail.drawn[far], directions[far].reshape(far.sum(), -1))
    parts = (values[far, None] * along).mean(axis=0) / np.sqrt(m)  # add up to E‖K‖², with 1/m
    square = float(np.quantile(values, tail.probability) / tail.scale) ** 2
    weights = m * parts * square / parts.sum()
    return np.maximum(weights, 1e-3 * weights.max())


def relative_to(limit: Float[np.ndarray, "n n"], norm: str, outputs: int) -> float:
    """Return the norm of the papers' matrix of K∞ ⊗ I_k."""
    one = float(norm_and_slope(limit[None] / len(limit), norm)[0][0])
    return one * outputs**0.5 if norm == "frobenius" else one


def kernel_norms(kernels: Float[np.ndarray, "c n n k k"], norm: str) -> Float[np.ndarray, "c"]:
    """Return a norm of many kernels' matrices."""
    return norm_and_slope(as_matrices(kernels), norm)[0]


def norm_and_slope(
    matrices: Float[np.ndarray, "c s s"], norm: str
) -> tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c s s"]]:
    """Return a norm of symmetric matrices, and its derivative by the matrix."""
    count, size, _ = matrices.shape
    if norm == "frobenius":
        values = np.sqrt((matrices**2).sum(axis=(1, 2)))
        return values, matrices / values[:, None, None]
    each = np.arange(count)
    if norm == "largest":
        flat = matrices.reshape(count, -1)
        where = np.abs(flat).argmax(axis=1)
        directions = np.zeros_like(flat)
        directions[each, where] = np.sign(flat[each, where])
        return np.abs(flat[each, where]), directions.reshape(matrices.shape)
    eigenvalues, vectors = np.linalg.eigh(matrices)
    where = np.where(np.abs(eigenvalues[:, 0]) > eigenvalues[:, -1], 0, size - 1)
    vector, value = vectors[each, :, where], eigenvalues[each, where]
    directions = np.sign(value)[:, None, None] * vector[:, :, None] * vector[:, None, :]
    return np.abs(value), directions
