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
from _fresh import errorbars
from _trained import Cell, cost, networks, predictions
from matplotlib.figure import Figure

from ntk_eoc.estimates import exponent
from ntk_eoc.report import style
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure"]


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
    "to_limit": r"gap to the prediction by $K_\infty$",
    "to_own": r"gap to the linearised network",
    "drift": r"$\max_t\|K(\theta_t)-K(\theta_0)\|$",
}


def draw(records: Records) -> Figure:
    """Draw both gaps and the drift against m, with fitted exponents."""
    figure, axes = style.panels(3, height=2.9)
    ok = records.ok
    names = ok.values("activation")
    looks = style.looks(names)
    for ax, (what, title) in zip(axes, PANELS.items(), strict=True):
        for name in names:
            cells = ok.where(activation=name)
            ms = cells.values("m")
            groups = [cells.where(m=m) for m in ms]
            values = [g.stack(what)[g.stack("diverged_at") < 0] for g in groups]
            fit = exponent(ms, values)
            label = f"{name}: {fit.slope:.2f} [{fit.low:.2f}, {fit.high:.2f}]"
            errorbars(ax, ms, values, label=label, **looks[name])
        style.log_axes(ax, ok.values("m"))
        ax.set_title(title, fontsize=7)
        ax.set_xlabel("width $m$")
        style.legend_below(ax, 1)
    style.letter(axes)
    cell = ok[0].cell
    fewest = min(len(group.stack("drift")) for _, group in ok.group("activation", "m"))
    lost = int((np.concatenate([r.arrays["diverged_at"] for r in ok]) >= 0).sum())
    note = (
        f"n = {cell.n} and {cell.n_test} test points of {cell.data}, l = {cell.depth}, widths"
        f" {cell.schedule} in k, {cell.steps} steps; {fewest} networks a point or more, {lost}"
        " diverged; bars: standard error; brackets: 95 %"
    )
    style.footnote(figure, note)
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
