"""How far is the mean of K(θ) from K∞, beside its fluctuation?

Question: |E K(x_1,x_2) − K∞| and |E K(x_1,x_1) − K∞| against m, widths k² m, with the standard
error of the mean, beside the standard deviation of one network.

Expectation: for a homogeneous φ the mean is exact on the diagonal and off by O(1/m) elsewhere,
the fluctuation is of order m^{−1/2}: at large m the bias cannot be seen in one network.
"""

from typing import Any

import jax
import numpy as np
from _fresh import Cell as Fresh
from _fresh import cost, draws, limit, point_of
from matplotlib.figure import Figure

from ntk_eoc.estimates import exponent, mean
from ntk_eoc.report import style
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure"]


class Cell(Fresh):
    """A block of networks of one width."""


def _entries(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    return kernel[0, 0, 0, 0], kernel[0, 1, 0, 0]


def measure(cell: Cell) -> dict[str, Any]:
    """Return K − K∞ at (x_1, x_1) and at (x_1, x_2), [s] each."""
    diagonal, off = draws(cell, _entries)
    k_inf = limit(point_of(cell))[:, :, 0, 0]
    return {"diagonal": diagonal - k_inf[0, 0], "off": off - k_inf[0, 1]}


def draw(records: Records) -> Figure:
    """Draw biases with their standard errors and the standard deviations against m."""
    names = records.ok.values("activation")
    figure, axes = style.panels(len(names), height=3.1, sharey=True, squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        cells = records.ok.where(activation=name)
        ms = cells.values("m")
        for entry, color, label in (
            ("off", "C0", "$(x_1,x_2)$"),
            ("diagonal", "C1", "$(x_1,x_1)$"),
        ):
            groups = [cells.where(m=m).stack(entry) for m in ms]
            squares = exponent(ms, [(g - g.mean()) ** 2 for g in groups])
            text = f"fluctuation {label}: {squares.slope / 2:.2f}"
            text += f" [{squares.low / 2:.2f}, {squares.high / 2:.2f}]"
            deviation = [g.std(ddof=1) for g in groups]
            ax.plot(ms, deviation, color=color, linestyle="--", label=text)
            bias = [mean(g) for g in groups]
            ax.errorbar(
                ms,
                np.abs([b.mean for b in bias]),
                [2 * b.error for b in bias],
                color=color,
                marker="o" if entry == "off" else "s",
                linestyle="none",
                label=f"|bias| {label}",
            )
        off = np.abs(cells.where(m=ms[0]).stack("off").mean())
        ax.plot(ms, off * ms[0] / np.array(ms, float), **style.GUIDE, label="guide $1/m$")
        style.log_axes(ax, ms)
        ax.set_xlabel("width $m$ (hidden widths $m_k=k^2m$)")
        ax.set_title(name)
        style.legend_below(ax)
    axes[0, 0].set_ylabel(r"$K(\theta)-K_\infty$")
    style.letter(axes[0])
    cell = records[0].cell
    fewest = min(len(group.stack("off")) for _, group in records.ok.group("m", "activation"))
    note = f"l = {cell.depth}; bars: two standard errors of the mean, {fewest} or more networks"
    style.footnote(figure, note)
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
