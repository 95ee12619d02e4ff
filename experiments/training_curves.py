"""How far do three widths follow the loss that three predictions draw?

Question: training and test loss against steps of gradient descent, for trained networks, for their
linearisations (K(θ_0)) and by K∞, all three from each network's own f_0.

Expectation: the three curves merge as m grows; the linearised network follows the trained one
more closely than K∞ does, and the kinked activations leave theirs earlier than the smooth one.
"""

from typing import Any

import numpy as np
from _trained import Cell, cost, losses, marks, networks, predictions
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntk_eoc.report import style
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure"]

LOOKS: dict[str, dict[str, Any]] = {
    "trained": {"linestyle": "-", "linewidth": 1.4},
    "own": {"linestyle": "--", "linewidth": 1.0},
    "limit": {"linestyle": ":", "linewidth": 1.4},
}
NAMES = {
    "trained": "trained",
    "own": r"linearised: $K(\theta_0)$",
    "limit": r"$K_\infty$",
}


def measure(cell: Cell) -> dict[str, Any]:
    """Return training and test losses of the network and of both predictions, [s, t]."""
    found = networks(cell)
    infinite, own = predictions(cell, found)
    curves = {"trained": found["outputs"], "own": own, "limit": infinite}
    named = {}
    for name, outputs in curves.items():
        named[name], named[f"{name}_test"] = losses(cell, outputs)
    return {**named, "drift": found["drift"], "diverged_at": found["diverged_at"]}


def _panel(ax: Axes, cells: Records) -> None:
    steps = marks(cells[0].cell)[1:]
    alive = cells.stack("diverged_at") < 0
    for suffix, color, where in (
        ("", style.COLORS[0], "training"),
        ("_test", style.COLORS[1], "test"),
    ):
        for name, look in LOOKS.items():
            values = cells.stack(f"{name}{suffix}")[alive][:, 1:]
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
            ax.plot(steps, middle, color=color, label=f"{NAMES[name]}, {where}", **look)
            if name == "trained":
                ax.fill_between(steps, low, high, color=color, alpha=0.2, lw=0)
    ax.set(xscale="log", yscale="log")


def draw(records: Records) -> Figure:
    """Draw a row of panels an activation, a column a width."""
    ok = records.ok
    names, ms = ok.values("activation"), ok.values("m")
    figure, axes = style.panels(
        max(len(ms), 2), len(names), height=1.75, sharex=True, sharey=True, squeeze=False
    )
    for row, name in zip(axes, names, strict=True):
        for ax, m in zip(row, ms, strict=False):
            cells = ok.where(activation=name, m=m)
            if len(cells):
                _panel(ax, cells)
            ax.set_title(f"{name}, $m={m}$", fontsize=8)
        row[0].set_ylabel(r"$\frac{1}{2n}\|f_t-y\|^2$")
    for ax in axes[-1]:
        ax.set_xlabel("steps")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=6)
    cell = ok[0].cell
    fewest = min(len(group.stack("trained")) for _, group in ok.group("activation", "m"))
    lost = int((np.concatenate([r.arrays["diverged_at"] for r in ok]) >= 0).sum())
    note = (
        f"{cell.data}, n = {cell.n}, {cell.n_test} test points, l = {cell.depth}, hidden widths m;"
        f" medians over {fewest} networks or more ({lost} diverged), bands: their middle half"
    )
    style.footnote(figure, note)
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
