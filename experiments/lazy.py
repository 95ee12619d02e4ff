"""How nearly does a network of width m train as its kernel says?

Question: over all steps, the largest root mean square over training and test points of what lies
between the trained network and the prediction by K∞, and by its own K(θ_0); and the largest drift
‖K(θ_t) − K(θ_0)‖, against m. Both predictions start from the network's own f_0.

Expectation: the gap to K∞ falls like m^{−1/2}, as ‖K(θ_0) − K∞‖ does. The drift, and with it the
gap to the linearised network, falls like 1/m for a smooth φ. For a φ with a kink, which neurons
cross in training, the theory says only that both vanish, and gives no exponent.
"""

from typing import Any

import numpy as np
from _trained import Cell, cost, described, groups, networks, predictions
from matplotlib.figure import Figure

from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure", "tables"]


def measure(cell: Cell) -> dict[str, Any]:
    """Return the gaps to both predictions and the drift, largest over the steps, [s]."""
    found = networks(cell)
    infinite, own = predictions(cell, found)

    def gap(predicted: np.ndarray) -> np.ndarray:
        return np.sqrt(((found["outputs"] - predicted) ** 2).mean(-1)).max(-1)

    return {
        "to_limit": gap(infinite),
        "to_own": gap(own),
        "drift": found["drift"].max(-1),
        "distance": found["distance"].max(-1),
        "diverged_at": found["diverged_at"],
    }


PANELS = {
    "to_limit": (r"gap to $K_\infty$: $m^{-1/2}$ for all", "root mean square", (-0.5,)),
    "to_own": ("gap to the linearised network", "root mean square", (-0.75, -1)),
    "drift": (r"drift of the kernel", r"$\max_t\|K(\theta_t)-K(\theta_0)\|$", (-0.75, -1)),
}
GUIDES = {-0.5: "$m^{-1/2}$", -0.75: "$m^{-3/4}$", -1: "$m^{-1}$"}


def draw(records: Records) -> Figure:
    """Draw both gaps and the drift against m, with fitted exponents."""
    figure, axes = style.panels(3, height=3.0)
    ok = records.ok
    for ax, (what, (title, label, powers)) in zip(axes, PANELS.items(), strict=True):
        draws = lambda cells, what=what: cells.stack(what)[curves.alive(cells)]  # noqa: E731
        curves.by_activation(ax, ok, "m", draws)
        style.log_axes(ax, ok.values("m"))
        ax.set(xlabel="width $m$", ylabel=label, title=title)
        ms = ok.values("m")
        start = 0.6 * min(draws(own).mean() for _, own in ok.where(m=ms[0]).group("activation"))
        for power in powers:
            curves.guide(ax, ms, power, "_", at=start)
            end = start * (ms[-1] / ms[0]) ** power
            ax.text(ms[-1], end, GUIDES[power], fontsize=style.SMALL, color="0.35", va="center")
        style.legend_below(ax, 1, under=-0.22)
    cell = ok[0].cell
    points = f"n = {cell.n} and {cell.n_test} test points of {cell.data}, l = {cell.depth}"
    shape = f"widths {cell.schedule} in k, {cell.steps} steps"
    note = f"{described(ok, 'drift', 'activation', 'm')}; bars, brackets: 95 %"
    return style.finish(figure, axes, points, shape, note)


def tables(records: Records) -> dict[str, Table]:
    """The exponents of the gaps, the drift and the way of θ: from the least and from 64 on."""
    rows = []
    for (name,), cells in records.ok.group("activation"):
        ms = cells.values("m")
        for least in (ms[0], 64):
            some = Records([r for r in cells if r.cell.m >= least])
            if len(some.values("m")) > 1 and (least == ms[0] or least > ms[0]):
                what = (*PANELS, "distance")
                fits = [curves.fit_of(*groups(some, "m", one)) for one in what]
                rows.append((style.word(name), f"{least} to {ms[-1]}", *fits))
    columns = ("gap to K∞", "gap to the linearised network", "drift of K(θ)", "‖θ_t − θ_0‖")
    return {"exponents": Table(("φ", "exponent in m", *columns), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
