"""One input and φ(s) = a s + b|s| at the edge of chaos: the law of K(x, x) in closed form.

With e = 1 + 4Δ(1 − Δ) = E φ̂_s⁴ = E φ̂²φ̂_s² and E φ̂⁴ = 3e, φ̂_s the slope, hidden layer j has

    m_j Var_j K(x, x) (d/‖x‖²)² = v_j = (l − j)²(3e − 1) + j²(3e − 1) + 2j(l − j)(e − 1).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ntk_eoc.activations import AbsLinear
from ntk_eoc.checks import require, require_count


def slope_kurtosis(act: AbsLinear) -> float:
    """Return e = E φ̂_s⁴ = 1 + 4Δ(1 − Δ): 1 for |s| and s, 2 for ReLU."""
    return 1 + 4 * act.delta * (1 - act.delta)


def one_input_shares(act: AbsLinear, depth: int) -> Float[np.ndarray, "h"]:
    """Return v_j, j = 1 … l − 1: Var K(x, x) = (‖x‖²/d)² Σ_j v_j/m_j + O(1/m²)."""
    depth = require_count("depth", depth)
    e, j = slope_kurtosis(act), np.arange(1, depth)
    return ((depth - j) ** 2 + j**2) * (3 * e - 1) + 2 * j * (depth - j) * (e - 1)


def constant_width_constant(act: AbsLinear) -> float:
    """Return c of Var K/K∞² → c l/m at constant width m: (4/3)(1 + 7Δ(1 − Δ))."""
    return 4 / 3 * (1 + 7 * act.delta * (1 - act.delta))


class DeepSchedule(NamedTuple):
    """Widths k^p m with p > 1 as l → ∞.

    Attributes:
        constant: c of Var K/K∞² → c/m.
        carried: Share of layers 1, 2, … of it, c_j/c = j^(−p)/ζ(p).
    """

    constant: float
    carried: Float[np.ndarray, "layers"]


def deep_schedule(act: AbsLinear, power: float = 2.0, layers: int = 10) -> DeepSchedule:
    """Return the limit l → ∞ of Var K(x, x)/K∞² at widths k^p m: (2 + 12Δ(1 − Δ)) ζ(p)/m.

    The first layers carry it: from layer j only (1 − j/l)² → 1 is left of v_j/l², whatever l.
    At p <= 1 there is no limit: the sum of 1/m_j has none.
    """
    layers = require_count("layers", layers)
    require(power > 1, "power", "> 1: Σ 1/k^p has no limit otherwise", power)
    terms = np.arange(1, 1001) ** -float(power)
    # The rest of the sum, by Euler and Maclaurin.
    tail = 1000.0 ** (1 - power) / (power - 1) - 0.5 * 1000.0**-power
    tail += power / 12 * 1000.0 ** (-power - 1)
    zeta = float(terms.sum() + tail)
    j = np.arange(1, layers + 1)
    return DeepSchedule((3 * slope_kurtosis(act) - 1) * zeta, j ** -float(power) / zeta)


class Optimum(NamedTuple):
    """The best use of a number of hidden neurons.

    Attributes:
        widths: m_j, not rounded.
        square: Σ_j v_j/m_j, as small as it gets.
    """

    widths: Float[np.ndarray, "h"]
    square: float


def optimal_widths(shares: Float[np.ndarray, "h"], neurons: float) -> Optimum:
    """Minimise Σ v_j/m_j at Σ m_j = N: m_j = N √v_j/Σ√v and the minimum (Σ√v)²/N."""
    roots = np.sqrt(np.asarray(shares, dtype=np.float64))
    require(roots.size > 0 and bool((roots > 0).all()), "shares", "positive", shares)
    require(bool(neurons > 0), "neurons", "> 0", neurons)
    return Optimum(neurons * roots / roots.sum(), float(roots.sum() ** 2 / neurons))


def neurons_saved(shares: Float[np.ndarray, "h"], widths: Sequence[float] | np.ndarray) -> float:
    """Return how many times the neurons of the optimum these widths take for the same error."""
    m = np.asarray(widths, dtype=np.float64)
    return float((shares / m).sum() / optimal_widths(shares, float(m.sum())).square)
