"""Where are the outliers that c_0 = E φ'(z) ≠ 0 adds to the NTK's eigenvalues?

Question: the largest eigenvalues of drawn matrices beside the predicted cloud: d of them, at
c_0² E[D²] times the eigenvalues of XXᵀ/d, for several d and laws of D.

Expectation: `quadratic_scaling.outliers`, right to leading order: d eigenvalues in
c_0² E[D²](n/d)(1 ± √(d/n))², with one more isolated between the cloud and the bulk for ReLU.
"""

from typing import Any

import _ratios
import numpy as np
from _cells import WORDS, OutputWeights
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.estimates import mean
from ntk_eoc.report import style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra import two_layer
from ntk_eoc.spectra.quadratic_scaling_law import outliers
from ntk_eoc.sweeps.records import Records


class Cell(_ratios.OfInputs):
    """One size of matrix, activation and law of D."""

    output_weights: OutputWeights = "identity"


cost = _ratios.cost


def measure(cell: Cell) -> dict[str, Any]:
    """Draw matrices and return their 2d largest eigenvalues, [s, 2d], beside the prediction."""
    act = ne.activation(cell.activation)
    n, d, p = cell.size
    cloud = outliers(act, n, d, p, two_layer.WEIGHTS[cell.output_weights]())
    rows = []
    for factors in _ratios.draws(cell, act, weights_name=cell.output_weights):
        rows.append(two_layer.eigenvalues(factors)[-2 * d :])
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


def _split(cells: Records) -> tuple[np.ndarray, np.ndarray]:
    """The d largest eigenvalues of each draw, and the next d, [s, d] each."""
    top, count = cells.stack("largest"), int(cells[0].arrays["count"])
    return top[:, top.shape[1] - count :], top[:, : top.shape[1] - count]


def _panel(ax: Axes, records: Records) -> None:
    sizes = records.values("d")
    for i, d in enumerate(sizes):
        cells = records.where(d=d)
        low, centre, high = cells[0].arrays["cloud"]
        ends = [i - 0.32, i + 0.32]
        ax.fill_between(ends, low, high, color=style.COLORS[5], alpha=0.35, linewidth=0)
        ax.plot(ends, [centre, centre], color=style.COLORS[0], linewidth=0.8)
        inside, rest = _split(cells)
        spread = np.linspace(-0.25, 0.25, len(inside))[:, None]
        for values, color, marker in ((rest, "0.55", "."), (inside, style.COLORS[1], "_")):
            at = np.broadcast_to(i + spread, values.shape)
            ax.plot(at.ravel(), values.ravel(), marker, color=color, markersize=3)
        above = {f"{count:g}" for count in cells.stack("above_gap")}
        place: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": style.SMALL}
        ax.text(i, 1.05 * inside.max(), "–".join(sorted(above)), **place)
    ax.set_xticks(range(len(sizes)), [f"$d={d}$" for d in sizes])
    style.log(ax.yaxis)
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom, 1.3 * top)
    cell = records[0].cell
    ax.set_title(f"{style.word(cell.activation)}, $D$: {WORDS[cell.output_weights]}")


def draw(records: Records) -> Figure:
    """Draw the largest eigenvalues beside the predicted cloud, a panel an activation and D."""
    groups = [cells for _, cells in records.ok.group("activation", "output_weights")]
    figure, axes = style.panels(max(2, len(groups)), height=2.7)
    for ax, cells in zip(axes, groups, strict=False):
        _panel(ax, cells)
    axes[0].set_ylabel("the $2d$ largest eigenvalues")
    for ax in axes[len(groups) :]:
        ax.set_axis_off()
    figure.suptitle(
        "$c_0\\neq 0$ sets $d$ eigenvalues apart, near the predicted cloud", fontsize=7.5
    )
    band = "band: predicted cloud of d outliers, line: its centre"
    marks = "dashes: the d largest eigenvalues of each draw, dots: the next d"
    return style.finish(
        figure, axes[: len(groups)], band, marks, "number: how many lie above the widest gap"
    )


def tables(records: Records) -> dict[str, Table]:
    """How many outliers there are, and their mean beside the predicted centre."""
    rows = []
    for (name, weights, d), cells in records.ok.group("activation", "output_weights", "d"):
        counts = sorted({int(count) for count in cells.stack("above_gap")})
        middle = mean(_split(cells)[0].mean(1))
        centre = float(cells[0].arrays["cloud"][1])
        head = (style.word(name), WORDS[weights], d, " or ".join(map(str, counts)))
        rows.append((*head, centre, middle, f"{100 * (middle.mean / centre - 1):.1f} %"))
    columns = ("above the widest gap", "predicted centre", "mean of the d largest", "above it by")
    return {"": Table(("φ", "D", "d", *columns), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
