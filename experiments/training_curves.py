"""How far do three widths follow the loss that three predictions draw?

Question: training and test loss against steps of gradient descent, for trained networks, for their
linearisations (K(θ_0)) and by K∞, all three from each network's own f_0.

Expectation: the three curves merge as m grows; the linearised network follows the trained one
more closely than K∞ does, and the kinked activations leave theirs earlier than the smooth one.
"""

from typing import Any

import numpy as np
from _trained import Cell, cost, described, losses, marks, networks, predictions
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntk_eoc.estimates import quantile
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure", "tables"]

NAMES = {"trained": "trained", "own": r"linearised: $K(\theta_0)$", "limit": r"$K_\infty$"}
LINES = dict(zip(NAMES, style.LINES, strict=False))
PLACES = {"": ("training", style.COLORS[4]), "_test": ("test", style.COLORS[5])}


def measure(cell: Cell) -> dict[str, Any]:
    """Return training and test losses of the network and of both predictions, [s, t]."""
    found = networks(cell)
    infinite, own = predictions(cell, found)
    curves_ = {"trained": found["outputs"], "own": own, "limit": infinite}
    named = {}
    for name, outputs in curves_.items():
        named[name], named[f"{name}_test"] = losses(cell, outputs)
    return {**named, "drift": found["drift"], "diverged_at": found["diverged_at"]}


def _panel(ax: Axes, cells: Records) -> None:
    steps = marks(cells[0].cell)[1:]
    for suffix, (_, color) in PLACES.items():
        for name, line in LINES.items():
            values = cells.stack(f"{name}{suffix}")[curves.alive(cells)][:, 1:]
            middle = [quantile(column, 0.5) for column in values.T]
            ax.plot(steps, [one.value for one in middle], color=color, linestyle=line)
            if name == "trained":
                low, high = ([getattr(one, end) for one in middle] for end in ("low", "high"))
                finite = np.isfinite(low) & np.isfinite(high)
                ax.fill_between(
                    steps[finite], np.array(low)[finite], np.array(high)[finite],
                    color=color, alpha=0.3, lw=0,
                )  # fmt: skip
    style.log_axes(ax)


def draw(records: Records) -> Figure:
    """Draw a row of panels an activation, a column a width."""
    ok = records.ok
    names, ms = ok.values("activation"), ok.values("m")
    shared = {"sharex": True, "sharey": True, "squeeze": False}
    figure, axes = style.panels(max(len(ms), 2), len(names), height=1.65, **shared)
    for row, name in zip(axes, names, strict=True):
        for ax, m in zip(row, ms, strict=False):
            cells = ok.where(activation=name, m=m)
            if len(cells):
                _panel(ax, cells)
            ax.set_title(f"{style.word(name)}, $m={m}$")
        row[0].set_ylabel(r"$\frac{1}{2n}\|f_t-y\|^2$")
    for ax in axes[-1]:
        ax.set_xlabel("steps")
    for label, color in PLACES.values():
        style.entry(axes[0, 0], f"{label} loss", color=color, linewidth=3)
    for name, line in LINES.items():
        style.entry(axes[0, 0], NAMES[name], color="0.3", linestyle=line)
    title = "The three merge as $m$ grows; they part where the loss is small"
    style.legend_above(figure, axes[0, 0], ncols=5, title=title)
    cell = ok[0].cell
    points = f"{cell.data}, n = {cell.n}, {cell.n_test} test points, l = {cell.depth}"
    medians = f"medians, bands: their 95 % intervals; {described(ok, 'trained', 'activation', 'm')}"
    style.footnote(figure, points, medians)
    return figure


def tables(records: Records) -> dict[str, Table]:
    """Median losses after the last step."""
    rows = []
    for (name, m), cells in records.ok.group("activation", "m"):
        for suffix, (place, _) in PLACES.items():
            last = [cells.stack(f"{one}{suffix}")[curves.alive(cells), -1] for one in NAMES]
            rows.append((style.word(name), m, place, *(quantile(one, 0.5) for one in last)))
    columns = ("trained", "linearised, K(θ_0)", "K∞")
    return {"": Table(("φ", "m", "loss", *columns), rows, digits=2)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
