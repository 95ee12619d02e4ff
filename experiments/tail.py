"""Does the bound of [C] hold with its probability: is its (1 − 1/m)-quantile bounded in m?

Question: the quantile at 1 − 1/m of ‖K(θ) − K∞‖ over (Δ_φ⁻² + √m_l l) κ_φ² m^{−1/2}, the bound
without its constant, against m; widths k² m, at least 20 m networks a point.

Expectation: [C] bounds it by a constant, up to logarithms.
"""

from statistics import NormalDist
from typing import Any

import numpy as np
from _fresh import Cell as Fresh
from _fresh import by_name, cost, draws, limit, point_of
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.estimates import quantile
from ntk_eoc.report import style
from ntk_eoc.spectra.deviation import bound_shape, deviation
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure"]


class Cell(Fresh):
    """A block of networks of one width."""


def measure(cell: Cell) -> dict[str, Any]:
    """Draw networks and return ‖K(θ) − K∞‖ over the bound without its constant, [s]."""
    matrices = draws(cell, ne.ntk_matrix)
    k_inf = np.asarray(ne.ntk_matrix(limit(point_of(cell))))
    shape = bound_shape(by_name(cell.activation), cell.m, cell.depth, cell.outputs)
    return {"ratio": deviation(matrices, k_inf, cell.n).operator / shape}


def draw(records: Records) -> Figure:
    """Draw the quantile at 1 − 1/m and the median against m, and the excess in Gaussian units."""
    figure, (ax, excess) = style.panels(2, height=2.8)
    names = records.ok.values("activation")
    looks = style.looks(names)
    fewest = np.inf
    for name in names:
        cells = records.ok.where(activation=name)
        ms = cells.values("m")
        ratios = [cells.where(m=m).stack("ratio") for m in ms]
        high = [quantile(r, 1 - 1 / m) for m, r in zip(ms, ratios, strict=True)]
        value = np.array([q.value for q in high])
        bars = [value - [q.low for q in high], [q.high for q in high] - value]
        ax.errorbar(ms, value, np.abs(bars), label=f"{name}, quantile $1-1/m$", **looks[name])
        middle = [quantile(r, 0.5).value for r in ratios]
        ax.plot(ms, middle, linestyle="--", label=f"{name}, median", **looks[name])
        # A Gaussian tail of any mean and scale is level here, a heavier one grows.
        gauss = np.array([NormalDist().inv_cdf(1 - 1 / m) for m in ms])
        above = (value - middle) / gauss
        excess.errorbar(ms, above, np.abs(bars) / gauss, label=name, **looks[name])
        fewest = min(fewest, *(len(r) / m for m, r in zip(ms, ratios, strict=True)))
    style.log_axes(ax, records.ok.values("m"), y=False)
    ax.set(xlabel="width $m$ (hidden widths $m_k=k^2m$)", ylim=(0, None))
    ax.set_ylabel(r"$\|K(\theta)-K_\infty\|$ / bound without $C$")
    style.legend_below(ax)
    style.log_axes(excess, records.ok.values("m"), y=False)
    excess.set(xlabel="width $m$", ylim=(0, None))
    excess.set_ylabel("(quantile − median) / Gaussian's")
    style.legend_below(excess)
    style.letter((ax, excess))
    cell = records[0].cell
    note = f"n = {cell.n}, l = {cell.depth}; at least {fewest:.0f} m networks a point; "
    style.footnote(figure, note + "bars: 95 % order-statistic intervals")
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
