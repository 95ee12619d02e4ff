"""Does the width have to grow with the number of points?

Question: at fixed m, widths k² m: ‖K(θ) − K∞‖ and max |K(x_i,x_j) − K∞(x_i,x_j)| against n,
from m/8 to 8 m points.

Expectation: [C]: no. The entries concentrate simultaneously, by maximal inequalities: the
largest error grows like a logarithm (√log n for the maximum of Gaussians), and ‖K − K∞‖, of the
matrix over n, at most so.
"""

from typing import Any

import numpy as np
from _fresh import Cell, cost, deviations, draws
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntk_eoc.estimates import Exponent, mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure", "tables"]


def measure(cell: Cell) -> dict[str, Any]:
    """Return ‖K(θ) − K∞‖ and the largest error of an entry, [s] each."""
    found = deviations(cell, draws(cell))
    return {"operator": found.operator, "max_entry": found.max_entry}


def logarithm(records: Records) -> tuple[float, float, float]:
    """Fit mean max entry = a + b log n by least squares; a, b and the largest relative residual."""
    ns, found = curves.groups(records, "n", "max_entry")
    means = np.array([one.mean() for one in found])
    design = np.stack([np.ones(len(ns)), np.log(ns)], axis=1)
    (a, b), *_ = np.linalg.lstsq(design / means[:, None], np.ones(len(ns)))
    return float(a), float(b), float(np.abs((design @ [a, b]) / means - 1).max())


def power(records: Records) -> Exponent | None:
    """The exponent of ‖K − K∞‖ in n where there are as many points as m, or more."""
    ns, found = curves.groups(records, "n", "operator")
    pairs = [(n, one) for n, one in zip(ns, found, strict=True) if n >= records[0].cell.m]
    return curves.fit_of([n for n, _ in pairs], [one for _, one in pairs])


def _entries(ax: Axes, records: Records) -> None:
    curves.by_activation(ax, records, "n", "max_entry", label=curves.plain, linestyle="none")
    ns = np.geomspace(records.values("n")[0], records.values("n")[-1], 50)
    for name in records.values("activation"):
        a, b, _ = logarithm(records.where(activation=name))
        look = {**style.GUIDE, "color": style.activation_look(name)["color"]}
        ax.plot(ns, a + b * np.log(ns), **look, label=f"{a:.2f} + {b:.2f} log $n$")
    ax.set_ylabel(r"$\max_{ij}|K(x_i,x_j)-K_\infty(x_i,x_j)|$")
    ax.set_title("the largest of $n^2$ errors: one logarithm")


def _operator(ax: Axes, records: Records) -> None:
    curves.by_activation(ax, records, "n", "operator", label=curves.plain)
    m = records[0].cell.m
    for name in records.values("activation"):
        fit = power(records.where(activation=name))
        if fit:
            ns = np.array([n for n in records.values("n") if n >= m], float)
            look = {**style.GUIDE, "color": style.activation_look(name)["color"]}
            label = curves.told(fit, "power for $n\\geq m$:")
            ax.plot(ns, fit.prefactor * ns**fit.slope, **look, label=label)
    ax.axvline(m, color="0.8", linewidth=0.6, zorder=0)
    ax.annotate(" $n=m$", (m, 0), fontsize=style.SMALL, color="0.35", va="bottom")
    ax.set_ylabel(r"$\|K(\theta)-K_\infty\|$")
    ax.set_title("the matrix: level beyond $n=m$")


def draw(records: Records) -> Figure:
    """Draw both errors against the number of points, with the fits that are claimed."""
    figure, axes = style.panels(2, height=2.6)
    _entries(axes[0], records.ok)
    _operator(axes[1], records.ok)
    for ax in axes:
        style.log_axes(ax, records.ok.values("n"), y=False)
        ax.set(xlabel="points $n$", ylim=(0, None))
    axes[0].legend(loc="upper left")
    axes[1].legend(loc="lower left")
    style.letter(axes)
    cell = records.ok[0].cell
    fewest = curves.fewest(records.ok, "operator", "n", "activation")
    note = f"m = {cell.m}, l = {cell.depth}; bars: 95 %, {fewest} or more networks a point"
    style.footnote(figure, note)
    return figure


def tables(records: Records) -> dict[str, Table]:
    """Both errors at every n, and the fits."""
    rows = [
        (style.word(name), n, mean(cells.stack("max_entry")), mean(cells.stack("operator")))
        for (name, n), cells in records.ok.group("activation", "n")
    ]
    fits = []
    for (name,), cells in records.ok.group("activation"):
        a, b, off = logarithm(cells)
        fits.append((style.word(name), a, b, f"{100 * off:.1f} %", power(cells)))
    columns = ("a", "b", "largest residual", "power of the operator error, n ≥ m")
    return {
        "": Table(("φ", "n", "max entry error", "operator error"), rows),
        "fits": Table(("φ, max entry = a + b log n", *columns), fits),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
