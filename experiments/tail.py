"""Does the bound of [C] hold with its probability: is its (1 − 1/m)-quantile bounded in m?

Question: the quantile at 1 − 1/m of ‖K(θ) − K∞‖ over (Δ_φ⁻² + √m_l l) κ_φ² m^{−1/2}, the bound
without its constant, against m; widths k² m, at least 20 m networks a point.

Expectation: [C] bounds it by a constant, up to logarithms.
"""

from statistics import NormalDist
from typing import Annotated, Any

import _fresh
import numpy as np
from _cells import accepted_by, with_a_bound
from _fresh import cost, deviations, draws
from matplotlib.figure import Figure

from ntk_eoc.estimates import Quantile, quantile
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra.deviation import bound_shape
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure", "tables"]


class Cell(_fresh.Cell):
    """A block of networks of one width, of an activation that the bound is about."""

    activation: Annotated[str, accepted_by(with_a_bound)]


def measure(cell: Cell) -> dict[str, Any]:
    """Draw networks and return ‖K(θ) − K∞‖ over the bound without its constant, [s]."""
    shape = bound_shape(with_a_bound(cell.activation), cell.m, cell.depth, cell.outputs)
    return {"ratio": deviations(cell, draws(cell)).operator / shape}


def gaussian(m: int) -> float:
    """The quantile of N(0, 1) at 1 − 1/m."""
    return NormalDist().inv_cdf(1 - 1 / m)


def _moved(found: Quantile, by: float, over: float) -> Quantile:
    """(quantile − by)/over."""
    value, low, high = ((end - by) / over for end in found[:3])
    return Quantile(value, low, high, found.draws)


def draw(records: Records) -> Figure:
    """Draw the quantile at 1 − 1/m and the median against m, and the excess in Gaussian units."""
    figure, (ax, excess) = style.panels(2, height=2.6)
    ok, ends = records.ok, []
    for name in ok.values("activation"):
        ms, ratios = curves.groups(ok.where(activation=name), "m", "ratio")
        high = [quantile(r, 1 - 1 / m) for m, r in zip(ms, ratios, strict=True)]
        middle = [quantile(r, 0.5) for r in ratios]
        look = style.activation_look(name)
        curves.bars(ax, ms, high, **look)
        curves.bars(ax, ms, middle, linestyle=style.LINES[1], **look)
        z = np.array([gaussian(m) for m in ms])
        # A Gaussian tail of any mean and scale is level here, a heavier one grows.
        above = [_moved(h, c.value, t) for h, c, t in zip(high, middle, z, strict=True)]
        curves.bars(excess, ms, above, label=style.word(name), **look)
        level = above[-1].value
        ax.plot(ms, middle[-1].value + level * z, **{**style.GUIDE, "color": look["color"]})
        ends += [
            (high[-1].value, f"{style.word(name)},\nquantile $1-1/m$", look["color"]),
            (middle[-1].value, f"{style.word(name)}, median", look["color"]),
        ]
    for axis in (ax, excess):
        style.log_axes(axis, ok.values("m"), y=False)
        axis.set(xlabel="width $m$ (hidden widths $m_k=k^2m$)", ylim=(0, None))
    ax.set(ylabel=r"$\|K(\theta)-K_\infty\|$ / bound without $C$")
    ax.set_title(r"the quantile grows like $z\sim\sqrt{2\,\log\,m}$")
    excess.set(ylabel="(quantile − median) / $z$")
    excess.set_title("level at large $m$: a Gaussian tail")
    excess.legend(loc="lower right")
    style.letter((ax, excess))
    style.label_ends(ax, ends)
    cell = ok[0].cell
    least = min(len(c.stack("ratio")) / m for (_, m), c in ok.group("activation", "m"))
    note = f"n = {cell.n}, l = {cell.depth}; at least {least:.0f} m networks a point"
    dots = "dotted in (a): median + c z at the largest m's c, z the Gaussian quantile at 1 − 1/m"
    style.footnote(figure, note, "bars: 95 % order-statistic intervals", dots)
    return figure


def tables(records: Records) -> dict[str, Table]:
    """The quantile, the median and their difference in Gaussian units."""
    rows = []
    for (name, m), cells in records.ok.group("activation", "m"):
        ratio = cells.stack("ratio")
        high, middle = quantile(ratio, 1 - 1 / m), quantile(ratio, 0.5)
        over_z = _moved(high, middle.value, gaussian(m))
        rows.append((style.word(name), m, len(ratio), high, middle.value, over_z))
    columns = ("quantile at 1 − 1/m over the bound without C", "median", "difference over z")
    return {"": Table(("φ", "m", "networks", *columns), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
