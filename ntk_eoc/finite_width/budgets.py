"""What widths cost, and the cheapest ones at a given Σ a_j/m_j."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Cost(NamedTuple):
    """A cost Σ_j p_j m_{j−1} m_j + s Σ_j m_j of the hidden widths, m_0 = d and m_l = k.

    Attributes:
        products: p_j of layers 1 … l.
        single: s.
        ends: (d, k).
    """

    products: Float[np.ndarray, "l"]
    single: float
    ends: tuple[int, int]


def _neurons(d: int, depth: int, k: int, biases: bool) -> Cost:
    return Cost(np.zeros(depth), 1.0, (d, k))


def _parameters(d: int, depth: int, k: int, biases: bool) -> Cost:
    # The first layer has no biases, and the k of the last do not depend on the widths.
    return Cost(np.ones(depth), 1.0 if biases else 0.0, (d, k))


def _flops(d: int, depth: int, k: int, biases: bool) -> Cost:
    """Forward, gradient of the weights and, but for the first layer, of its inputs: 2 each."""
    return Cost(np.array([4.0, *[6.0] * (depth - 1)]), 0.0, (d, k))


BUDGETS: dict[str, Callable[[int, int, int, bool], Cost]] = {
    "neurons": _neurons,
    "parameters": _parameters,
    "flops": _flops,
}


def price(cost: Cost, hidden: Float[np.ndarray, "h"]) -> int:
    """Return the cost of hidden widths."""
    sizes = np.array([cost.ends[0], *hidden, cost.ends[1]])
    return round(float(cost.products @ (sizes[1:] * sizes[:-1]) + cost.single * hidden.sum()))


def cheapest(cost: Cost, a: Float[np.ndarray, "h"], square: float) -> Float[np.ndarray, "h"]:
    """Return the hidden widths of least cost at Σ a_j/m_j = `square`.

    A convex problem in log m. Where the cost's slope by m_j is g_j, the minimum has
    m_j = √(λ a_j/g_j); that is repeated with half a step, for g depends on the neighbours.
    """
    a = np.asarray(a, dtype=np.float64)
    m = np.sqrt(a) * np.sqrt(a).sum() / square
    for _ in range(500):
        sizes = np.array([cost.ends[0], *m, cost.ends[1]])
        slope = cost.products[:-1] * sizes[:-2] + cost.products[1:] * sizes[2:] + cost.single
        aim = np.sqrt(a / slope)
        aim *= (a / aim).sum() / square
        moved = np.sqrt(m * aim)
        moved *= (a / moved).sum() / square
        done = np.allclose(moved, m, rtol=1e-12, atol=0)
        m = moved
        if done:
            break
    return m
