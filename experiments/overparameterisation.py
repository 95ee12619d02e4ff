"""Does the width have to grow with the number of points?

Question: at fixed m, widths k² m: ‖K(θ) − K∞‖ and max |K(x_i,x_j) − K∞(x_i,x_j)| against n,
from m/8 to 8 m points.

Expectation: [C]: no. The entries concentrate simultaneously, by maximal inequalities: the
largest error grows like a logarithm (√log n for the maximum of Gaussians), and ‖K − K∞‖, of the
matrix over n, at most so.
"""

from typing import Any

import numpy as np
from _fresh import Cell as Fresh
from _fresh import cost, draws, errorbars, limit, point_of
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.estimates import exponent
from ntk_eoc.report import style
from ntk_eoc.spectra.deviation import deviation
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure"]


class Cell(Fresh):
    """A block of networks seen by n points, which are the first n of a longer list."""


def measure(cell: Cell) -> dict[str, Any]:
    """Return ‖K(θ) − K∞‖ and the largest error of an entry, [s] each."""
    matrices = draws(cell, ne.ntk_matrix)
    found = deviation(matrices, np.asarray(ne.ntk_matrix(limit(point_of(cell)))), cell.n)
    return {"operator": found.operator, "max_entry": found.max_entry}


def _against_points(ax: Axes, records: Records, what: str) -> None:
    names = records.values("activation")
    looks = style.looks(names)
    for name in names:
        cells = records.where(activation=name)
        ns = cells.values("n")
        groups = [cells.where(n=n).stack(what) for n in ns]
        upper = [n for n in ns if n >= records[0].cell.m] if len(ns) > 3 else ns
        slope = exponent(upper, [cells.where(n=n).stack(what) for n in upper])
        text = f"{name}, power of $n\\geq m$: {slope.slope:.2f} [{slope.low:.2f}, {slope.high:.2f}]"
        errorbars(ax, ns, groups, label=text, **looks[name])
        root = np.sqrt(1 + np.log(ns)) if what == "max_entry" else np.ones(len(ns))
        scale = groups[0].mean() / root[0]
        ax.plot(ns, scale * root, color=looks[name]["color"], linewidth=0.7, linestyle=":")
    guide = r"guide $\sqrt{1+\log n}$" if what == "max_entry" else "constant"
    ax.plot([], [], color="0.4", linewidth=0.7, linestyle=":", label=guide)
    ax.axvline(records[0].cell.m, **style.GUIDE)
    ax.annotate(" $n=m$", (records[0].cell.m, 0), fontsize=6, color="0.35")
    style.log_axes(ax, records.values("n"), y=False)
    ax.set(xlabel="points $n$", ylim=(0, None))
    style.legend_below(ax, columns=1)


def draw(records: Records) -> Figure:
    """Draw both errors against the number of points."""
    figure, axes = style.panels(2, height=3.1)
    _against_points(axes[0], records.ok, "max_entry")
    axes[0].set_ylabel(r"$\max_{ij}|K(x_i,x_j)-K_\infty(x_i,x_j)|$")
    _against_points(axes[1], records.ok, "operator")
    axes[1].set_ylabel(r"$\|K(\theta)-K_\infty\|$")
    style.letter(axes)
    cell = records[0].cell
    fewest = min(len(group.stack("operator")) for _, group in records.ok.group("n", "activation"))
    note = (
        f"m = {cell.m}, l = {cell.depth}; bars: standard error, {fewest} or more networks a point"
    )
    style.footnote(figure, note)
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
