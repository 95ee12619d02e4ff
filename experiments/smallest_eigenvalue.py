"""How wide must a network be for the smallest eigenvalue and the condition number of K∞?

Question: λ_min(K(θ))/λ_min(K∞) and cond K(θ)/cond K∞ against m, n and depth, widths k² m; and
‖K(θ) − K∞‖ over λ_min(K∞), which must be below 1 for the norm to say anything of λ_min.

Expectation: λ_min is a concave function of the matrix, so that E λ_min(K(θ)) <= λ_min(E K(θ)):
the smallest eigenvalue is low on average. The matrices are divided by n: λ_min(K∞) falls with
n, the error in the norm does not.
"""

from typing import Any

import _fresh
import numpy as np
from _cells import point_of
from _fresh import cost, deviations, draws, limit
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.estimates import mean, quantile
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure", "tables"]


class Cell(_fresh.Cell):
    """A block of networks of one shape, beside the spectrum of their limit."""


def measure(cell: Cell) -> dict[str, Any]:
    """Return λ_min and the condition number over those of K∞, and ‖K(θ) − K∞‖/λ_min(K∞), [s]."""
    found = deviations(cell, draws(cell))
    known = np.linalg.eigvalsh(np.asarray(ne.ntk_matrix(limit(point_of(cell)))))
    condition = found.lambda_max / np.maximum(found.lambda_min, 1e-12 * found.lambda_max)
    return {
        "smallest": found.lambda_min / known[0],
        "condition": condition / (known[-1] / known[0]),
        "norm": found.operator / known[0],
        "limit": known[0],
    }


def _by_depth(records: Records) -> Records:
    """The records of the (n, m) of which there are most depths."""
    shapes = [own for _, own in records.group("n", "m")]
    return max(shapes, key=lambda own: len(own.values("depth")))


def _by_width(records: Records) -> Records:
    depths = [own for _, own in records.group("depth")]
    return max(depths, key=lambda own: len(own.values("m")))


def _against_width(ax: Axes, records: Records, what: str) -> None:
    for n, line in zip(records.values("n"), style.LINES, strict=False):
        own = records.where(n=n)
        if what != "condition":
            curves.by_activation(ax, own, "m", what, label=None, linestyle=line, shift=0.03)
        for name in own.values("activation") if what == "condition" else []:
            ms, found = curves.groups(own.where(activation=name), "m", what)
            look = style.activation_look(name)
            curves.bars(ax, ms, [quantile(one, 0.5) for one in found], linestyle=line, **look)
        style.entry(ax, f"$n={n}$", color="0.4", linestyle=line)
    style.log_axes(ax, records.values("m"), y=what != "smallest")
    style.level(ax, 1)
    ax.set(xlabel="width $m$")


def draw(records: Records) -> Figure:
    """Draw the ratios of the smallest eigenvalue, of the condition and of the norm against m."""
    figure, axes = style.panels(3, height=2.6)
    wide = _by_width(records.ok)
    labels = {
        "smallest": (r"$\lambda_{min}(K(\theta))\,/\,\lambda_{min}(K_\infty)$", "low at small $m$"),
        "condition": (r"cond $K(\theta)$ / cond $K_\infty$", "the condition number: medians"),
        "norm": (r"$\|K(\theta)-K_\infty\|\,/\,\lambda_{min}(K_\infty)$", "the norm says little"),
    }
    for ax, (what, (label, title)) in zip(axes, labels.items(), strict=True):
        _against_width(ax, wide, what)
        ax.set(ylabel=label)
        ax.set_title(title)
    for name in wide.values("activation"):
        style.entry(axes[0], style.word(name), linestyle="none", **style.activation_look(name))
    axes[0].set_ylim(0, 1.1)
    axes[0].legend(loc="lower right")
    cell = wide[0].cell
    fewest = curves.fewest(wide, "norm", "n", "m", "activation")
    note = f"{cell.data}, l = {cell.depth}, widths k² m; bars: 95 %, {fewest} or more networks"
    return style.finish(figure, axes, note)


def tables(records: Records) -> dict[str, Table]:
    """The three ratios against m and n, and against depth."""

    def row(cells: Records) -> tuple[Any, ...]:
        smallest, norm = (mean(cells.stack(what)) for what in ("smallest", "norm"))
        return smallest, quantile(cells.stack("condition"), 0.5), norm

    wide = [
        (style.word(name), n, m, f"{n / m:.3g}", *row(cells))
        for (name, n, m), cells in _by_width(records.ok).group("activation", "n", "m")
    ]
    deep = [
        (style.word(name), l, float(cells[0].arrays["limit"]), *row(cells))
        for (name, l), cells in _by_depth(records.ok).group("activation", "depth")  # noqa: E741
    ]
    columns = ("λ_min over that of K∞", "median condition over that of K∞", "‖K − K∞‖/λ_min(K∞)")
    return {
        "width": Table(("φ", "n", "m", "n/m", *columns), wide),
        "depth": Table(("φ", "l", "λ_min(K∞)", *columns), deep),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
