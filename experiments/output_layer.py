"""Where are the eigenvalues that the output layer's term adds to the two-layer NTK?

Question: the spectrum of the whole NTK, (1/d) X Xᵀ ⊙ (1/p) S Sᵀ + (1/p) H Hᵀ with H = φ(XW/√d):
does its bulk have the law of the first part, and how many eigenvalues lie apart, and where?

Expectation: [Q] proves the law and leaves the outliers open. `whole_outliers`: p of them, and d
more where E φ' ≠ 0, near n times the covariance of H's rows and at n (E φ)².
"""

from typing import Any

import _ratios
import numpy as np
from _cells import WORDS, OutputWeights, columns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.estimates import mean
from ntk_eoc.report import style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra import two_layer
from ntk_eoc.spectra.distances import kolmogorov
from ntk_eoc.spectra.output_outliers import whole_outliers
from ntk_eoc.sweeps.records import Records


class Cell(_ratios.OfInputs):
    """One size of matrix, activation and law of D, in whose proportions D is."""

    output_weights: OutputWeights = "identity"


cost = _ratios.cost


def measure(cell: Cell) -> dict[str, Any]:
    """Return what lies apart, [s, r + 8], the prediction, [r], and the bulk's distances, [s].

    `bulk` is the distance of the whole NTK's eigenvalues below the r largest from the law,
    `mistaken` that of all of them; `above` counts those beyond the end of the law, `above_first`
    those of the first layer's part of the same draw.
    """
    act = ne.activation(cell.activation)
    n, d, p = cell.size
    weights = two_layer.WEIGHTS[cell.output_weights]()
    predicted = whole_outliers(act, n, d, p, weights)
    law = ne.quadratic_scaling_law(act, n / (d * p), p / d, weights)
    rows = []
    how = {"weights": two_layer.even_weights, "factors": two_layer.whole}
    for factors in _ratios.draws(cell, act, weights_name=cell.output_weights, **how):
        values = two_layer.eigenvalues(factors)
        bulk = values[: n - len(predicted)]
        top = values[n - len(predicted) - 8 :]
        first = two_layer.eigenvalues(factors._replace(hidden=factors.hidden[:, :0]))
        above = [int(np.sum(of > law.bounds[1])) for of in (values, first)]
        rows.append((top, *above, kolmogorov(law, bulk), kolmogorov(law, values)))
    names = ("top", "above", "above_first", "bulk", "mistaken")
    return {**columns(names, rows), "predicted": predicted}


def _panel(ax: Axes, cells: Records, name: str) -> None:
    for d in cells.values("d"):
        own = cells.where(d=d)
        top, predicted = own.stack("top"), own[0].arrays["predicted"]
        rank = (np.arange(top.shape[1]) - 8 + 0.5) / len(predicted)
        color = style.ramp(cells.values("d"))[d]["color"]
        for row in top:
            ax.plot(rank, row / d, ".", color=color, markersize=1.8)
        ax.plot(rank[8:], predicted / d, color=color, linewidth=0.9, label=f"$d={d}$")
    style.log(ax.yaxis)
    ax.set_title(name)


def draw(records: Records) -> Figure:
    """Draw the largest eigenvalues over d beside the predicted ones, a panel an activation."""
    ok = records.ok
    groups = [cells for _, cells in ok.group("activation", "output_weights")]
    columns = min(3, max(2, len(groups)))
    figure, axes = style.panels(columns, -(-len(groups) // columns), height=2.2, squeeze=False)
    for ax, cells in zip(axes.ravel(), groups, strict=False):
        cell = cells[0].cell
        _panel(ax, cells, f"{style.word(cell.activation)}, $D$: {WORDS[cell.output_weights]}")
    for ax in axes[:, 0]:
        ax.set_ylabel("eigenvalue$/d$")
    for ax in axes[-1]:
        ax.set_xlabel("rank among those predicted")
    axes[0, 0].legend()
    for ax in axes.ravel()[len(groups) :]:
        ax.set_axis_off()
    dots = "dots: the largest eigenvalues of each draw, eight of the bulk among them (rank < 0)"
    return style.finish(figure, axes.ravel()[: len(groups)], dots, "lines: predicted, none fitted")


def tables(records: Records) -> dict[str, Table]:
    """How many lie apart, how far their mean and their middle are from those predicted."""
    rows = []
    for (name, weights, d), cells in records.ok.group("activation", "output_weights", "d"):
        predicted = cells[0].arrays["predicted"]
        found = cells.stack("top")[:, 8:]
        above, first = (cells.stack(name).mean() for name in ("above", "above_first"))
        off = np.median(np.abs(found / predicted - 1), axis=1)
        highest = mean(found[:, -1] / predicted[-1])
        bulk, mistaken = (mean(cells.stack(name)) for name in ("bulk", "mistaken"))
        head = (style.word(name), WORDS[weights], d, len(predicted))
        rows.append((*head, above, first, mean(off), highest, bulk, mistaken.mean))
    columns = (
        "predicted", "beyond the law", "first part's", "off, median part", "largest over predicted",
        "Kolmogorov of the rest", "of all",
    )  # fmt: skip
    return {"": Table(("φ", "D", "d", *columns), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
