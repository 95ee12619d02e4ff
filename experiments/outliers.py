"""Where are the outliers that c_0 = E φ'(z) ≠ 0 adds to the NTK's eigenvalues?

Question: the largest eigenvalues of drawn matrices beside the predicted cloud: d of them, at
c_0² E[D²] times the eigenvalues of XXᵀ/d, for several d and laws of D.

Expectation: `quadratic_scaling.outliers`, right to leading order: d eigenvalues in
c_0² E[D²](n/d)(1 ± √(d/n))², with one more isolated between the cloud and the bulk for ReLU.
"""

from typing import Any

import numpy as np
from _names import WORDS, Activation, OutputWeights
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.report import style
from ntk_eoc.spectra import two_layer
from ntk_eoc.spectra.quadratic_scaling_law import outliers
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.records import Records


class Cell(config.Cell):
    """One size of matrix, activation and law of D."""

    activation: Activation
    d: int = Field(ge=4)
    gamma1: float = Field(gt=0)
    gamma2: float = Field(gt=0)
    output_weights: OutputWeights = "identity"


def cost(cell: Cell) -> float:
    """Flops of the dense eigenvalues."""
    n, p = two_layer.sizes(cell.d, cell.gamma1, cell.gamma2)
    return cell.seeds * float(min(n, cell.d * p)) ** 3


def measure(cell: Cell) -> dict[str, Any]:
    """Draw matrices and return their 2d largest eigenvalues, [s, 2d], beside the prediction."""
    act = ne.activation(cell.activation)
    n, p = two_layer.sizes(cell.d, cell.gamma1, cell.gamma2)
    cloud = outliers(act, n, cell.d, p, two_layer.WEIGHTS[cell.output_weights]())
    rows = []
    for key in cell.seed_keys():
        factors = two_layer.draw(
            key, act, (n, cell.d, p), weights_name=cell.output_weights, dtype=cell.dtype
        )
        rows.append(two_layer.eigenvalues(factors)[-2 * cell.d :])
    top = np.array(rows)
    # How many lie above the middle of the widest gap on a logarithmic scale.
    logs = np.log(np.maximum(top, 1e-12))
    widest = np.argmax(np.diff(logs, axis=1), axis=1)
    return {
        "largest": top,
        "above_gap": top.shape[1] - 1 - widest,
        "count": cloud.number,
        "cloud": np.array([cloud.low, cloud.centre, cloud.high]),
    }


def _panel(ax: Axes, records: Records) -> None:
    for i, d in enumerate(records.values("d")):
        cells = records.where(d=d)
        low, centre, high = cells[0].arrays["cloud"]
        count = int(cells[0].arrays["count"])
        top = cells.stack("largest")
        inside = top[:, top.shape[1] - count :]
        rest = top[:, : top.shape[1] - count]
        if count:
            ax.fill_between(
                [i - 0.32, i + 0.32], low, high, color=style.COLORS[5], alpha=0.35, linewidth=0
            )
            ax.plot([i - 0.32, i + 0.32], [centre, centre], color=style.COLORS[0], linewidth=0.8)
        spread = np.linspace(-0.25, 0.25, len(top))[:, None]
        for values, color, marker in ((rest, "0.55", "."), (inside, style.COLORS[1], "_")):
            ax.plot(
                np.broadcast_to(i + spread, values.shape).ravel(),
                values.ravel(),
                marker,
                color=color,
                markersize=3,
            )
        found = np.mean(cells.stack("above_gap"))
        ax.text(i, 1.02 * top.max(), f"{found:g}", ha="center", va="bottom", fontsize=5)
    sizes = records.values("d")
    ax.set_xticks(range(len(sizes)), [f"$d={d}$" for d in sizes])
    ax.set(yscale="log", ylabel=r"the $2d$ largest eigenvalues")
    bottom, high = ax.get_ylim()
    ax.set_ylim(bottom, 1.3 * high)
    cell = records[0].cell
    ax.set_title(
        f"{WORDS.get(cell.activation, cell.activation)}, $D$: {WORDS[cell.output_weights]}",
        fontsize=8,
    )


def draw(records: Records) -> Figure:
    """Draw the largest eigenvalues beside the predicted cloud, a panel an activation and D."""
    groups = [cells for _, cells in records.ok.group("activation", "output_weights")]
    figure, axes = style.panels(max(2, len(groups)), height=2.7)
    for ax, cells in zip(axes, groups, strict=False):
        _panel(ax, cells)
    for ax in axes[1:]:
        ax.set_ylabel("")
    for ax in axes[len(groups) :]:
        ax.set_axis_off()
    style.letter(axes[: len(groups)])
    note = "band: predicted cloud of $d$ outliers, line: its centre; dashes: the $d$ largest"
    note += " eigenvalues of each draw, dots: the next $d$; number: how many above the widest gap"
    style.footnote(figure, note)
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
