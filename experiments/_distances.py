"""Inverse cosine distances w = ((1 − ρ)/2)^{−1/2} of pairs, layer by layer: the limit, the law."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.activations import AbsLinear
from ntk_eoc.finite_width.pair_moments import orthant_moments
from ntk_eoc.kernels.angular_recursion import host_recursion
from ntk_eoc.report import style
from ntk_eoc.sweeps.records import Records


def inverse_distance(delta: np.ndarray) -> np.ndarray:
    """Return w of δ = 1 − ρ."""
    return (delta / 2) ** -0.5


def limit_defects(act: AbsLinear, delta: np.ndarray, layers: Sequence[int]) -> np.ndarray:
    """1 − ρ_k at infinite width, [pairs, layers], ρ_1 the inputs' cosines."""
    found = [host_recursion(act.delta, delta, 2 - delta, k).delta for k in layers]
    return np.stack(found, axis=1)


def law_of_errors(
    act: AbsLinear, delta: np.ndarray, hidden: Sequence[int], layers: Sequence[int]
) -> np.ndarray:
    """Standard deviation of w_k − w_{∞,k} to leading order in 1/m, [pairs, layers].

    A layer of m neurons moves ρ' = ϱ(ρ) by the mean of m draws of φ̂φ̂' − ρ' (φ̂² + φ̂'²)/2, of
    variance v, and hands on what came before with the slope ϱ'(ρ) = 1 − Δ (2/π) θ:
    Var ρ_{k+1} = ϱ'(ρ_k)² Var ρ_k + v(ρ_k)/m_k.
    """
    init, found = ne.edge_of_chaos(act), []
    variance = np.zeros_like(delta)
    for k in range(1, max(layers) + 1):
        if k in layers:
            found.append(inverse_distance(delta) ** 3 / 4 * np.sqrt(variance))
        if k == max(layers):
            return np.stack(found, axis=1)
        # One unit input in the row, the others in a column.
        moments = orthant_moments(act, init.sigma_w, np.ones(1), delta[:, None])
        u2u2, u3u = (np.asarray(a)[0, :, 0] for a in (moments.u2_u2, moments.u3_u))
        after = host_recursion(act.delta, delta, 2 - delta, 2).delta
        rho, u4 = 1 - after, float(np.asarray(moments.u4)[0, 0])
        noise = u2u2 + rho**2 * (u4 + u2u2) / 2 - 2 * rho * u3u
        slope = 1 - act.delta * (2 / np.pi) * 2 * np.arcsin(np.sqrt(delta / 2))
        variance = slope**2 * variance + np.maximum(noise, 0) / hidden[k - 1]
        delta = after
    raise AssertionError("the last layer returns")


def data_legend(figure: Figure, ax: Axes, records: Records) -> None:
    """Name the data sets above all panels, each with the distance of its closest pair."""
    looks = style.looks(records.values("data"))
    for record in records:
        u_min = rf"$u_{{\min}}={float(record.arrays['u_min']):.2g}$"
        style.entry(ax, f"{record.cell.data}, {u_min}", **looks[record.cell.data])
    style.legend_above(figure, ax, ncols=3)
