"""How far is the mean of K(θ) from K∞, beside its fluctuation?

Question: E K(x_1,x_2) − K∞ and E K(x_1,x_1) − K∞ against m, widths k² m, times m; and the standard
deviation of one network, times √m.

Expectation: for a homogeneous φ the mean is exact on the diagonal and off by O(1/m) elsewhere,
the fluctuation is of order m^{−1/2}: at large m the bias cannot be seen in one network.
"""

from typing import Any

import jax
import numpy as np
from _cells import point_of
from _fresh import Cell, cost, draws, limit
from matplotlib.figure import Figure

from ntk_eoc.estimates import Estimate, mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure", "tables"]


def _entries(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    return kernel[0, 0, 0, 0], kernel[0, 1, 0, 0]


def measure(cell: Cell) -> dict[str, Any]:
    """Return K − K∞ at (x_1, x_1) and at (x_1, x_2), [s] each."""
    diagonal, off = draws(cell, _entries)
    k_inf = limit(point_of(cell))[:, :, 0, 0]
    return {"diagonal": diagonal - k_inf[0, 0], "off": off - k_inf[0, 1]}


def spread(draws: np.ndarray) -> Estimate:
    """The standard deviation of draws, its error from their fourth moment."""
    squares = mean((draws - draws.mean()) ** 2)
    deviation = squares.mean**0.5
    return Estimate(deviation, squares.error / (2 * deviation), squares.draws)


def draw(records: Records) -> Figure:
    """Draw m times the bias off and on the diagonal, and √m times the standard deviation."""
    figure, axes = style.panels(3, height=2.5)
    ok = records.ok
    titles = {"off": "off the diagonal: a constant over $m$", "diagonal": "on it: none"}
    for ax, (entry, title) in zip(axes, titles.items(), strict=False):
        plain = curves.plain
        curves.by_activation(ax, ok, "m", entry, label=plain, scale=lambda m: m, shift=0.06)
        style.level(ax, 0)
        ax.set_ylabel(r"$m\,(E\,K(\theta)-K_\infty)$")
        ax.set_title(title)
    axes[0].legend(loc=(0.35, 0.56))
    axes[1].sharey(axes[0])
    for entry, line in zip(titles, style.LINES, strict=False):
        for name in ok.values("activation"):
            ms, found = curves.groups(ok.where(activation=name), "m", entry)
            look = {**style.activation_look(name), "linestyle": line}
            curves.bars(axes[2], ms, [spread(one) for one in found], scale=np.sqrt(ms), **look)
        style.entry(axes[2], {"off": "off", "diagonal": "on"}[entry], linestyle=line, color="0.4")
    axes[2].set(ylabel=r"$\sqrt{m}\,$s.d. of $K(\theta)$", ylim=(0, None))
    axes[2].set_title("one network: of order $m^{-1/2}$")
    axes[2].legend(title="the diagonal", loc="center right")
    for ax in axes:
        style.log_axes(ax, ok.values("m"), y=False)
        ax.set_xlabel("width $m$")
    fewest = curves.fewest(ok, "off", "m", "activation")
    note = f"l = {ok[0].cell.depth}, hidden widths k² m; bars: 95 %, {fewest:,} networks or more"
    return style.finish(figure, axes, note)


def tables(records: Records) -> dict[str, Table]:
    """The bias off and on the diagonal, and the standard deviation of one network."""
    rows = []
    for (name, m), cells in records.ok.group("activation", "m"):
        off, on = cells.stack("off"), cells.stack("diagonal")
        rows.append((style.word(name), m, mean(off), mean(off * m), mean(on), spread(off)))
    columns = ("E K(x₁,x₂) − K∞", "times m", "E K(x₁,x₁) − K∞", "s.d. of K(x₁,x₂)")
    return {"": Table(("φ", "m", *columns), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
