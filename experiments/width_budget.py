"""Which widths are the best use of neurons, of parameters, of flops?

Question: ‖K(θ) − K∞‖/‖K∞‖ against depth at widths of equal cost: m, k m, k^1.25 m, k² m, and
those that the law of fluctuations says are cheapest; predicted and sampled.

Expectation: layers share the error about equally, so that nearly equal widths are best and k² m is
a waste of neurons: the first layers, which carry the error there, are too narrow.
"""

from functools import lru_cache
from typing import Any, Literal

import _cells
import numpy as np
from _cells import init_of, inputs, point_of
from _fresh import ensemble, one
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.estimates import mean
from ntk_eoc.finite_width.budgets import BUDGETS, cheapest, price
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra.deviation import deviation
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure", "tables"]
POWERS = {"m": 0.0, "k m": 1.0, "k^1.25 m": 1.25, "k² m": 2.0}
LABELS = {"m": "$m$", "k m": "$km$", "k^1.25 m": "$k^{1.25}m$", "k² m": "$k^2m$", "best": "best"}
Widths = Literal["m", "k m", "k^1.25 m", "k² m", "best"]


class Cell(_cells.Cell):
    """A block of networks whose widths cost what constant widths m cost."""

    widths: Widths
    budget: Literal["neurons", "parameters", "flops"]
    m: int = Field(ge=1)
    depth: int = Field(ge=2)


@lru_cache(maxsize=64)
def _law(activation: str, data: str, n: int, data_seed: int, depth: int, point: Cell) -> Any:
    return ne.fluctuations(init_of(point), inputs(point), depth)


def law_of(cell: Cell) -> ne.Fluctuations:
    """Return the law, once for all widths of one depth."""
    any_widths = {"widths": "m", "budget": "neurons", "m": 1}
    shared = point_of(cell).model_copy(update=any_widths)
    return _law(cell.activation, cell.data, cell.n, cell.data_seed, cell.depth, shared)


def hidden_of(cell: Cell) -> np.ndarray:
    """Return m_1 … m_{l−1}: the shape asked for, at the cost of constant widths m."""
    law, d = law_of(cell), inputs(cell).shape[1]
    costs = BUDGETS[cell.budget](d, cell.depth, 1, init_of(cell).sigma_b > 0)
    total = price(costs, np.full(cell.depth - 1, float(cell.m)))

    def shape(scale: float) -> np.ndarray:
        if cell.widths == "best":
            return cheapest(costs, law.layers, 1 / scale)
        return scale * np.arange(1, cell.depth) ** POWERS[cell.widths]

    low, high = -12.0, 40.0  # of log scale
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if price(costs, shape(np.exp(middle))) < total else (low, middle)
    return np.maximum(np.round(shape(np.exp(low))), 1)


def cost(cell: Cell) -> float:
    """Gaussians to draw and to multiply."""
    return cell.seeds * cell.depth * cell.m * cell.n * 2.0


def measure(cell: Cell) -> dict[str, Any]:
    """Return the relative distance of each network from K∞ in the Frobenius norm, [s].

    Beside it the root mean square by the law, and the widths.
    """
    law, hidden = law_of(cell), hidden_of(cell)
    widths = (*(int(m) for m in hidden), 1)
    scale = float(np.linalg.norm(law.limit / cell.n))
    matrices = map_batched(one(ne.ntk_matrix), cell.seed_keys(), cell.batch, ensemble(cell, widths))
    return {
        "frobenius": deviation(matrices, law.limit / cell.n, cell.n).frobenius / scale,
        "predicted": law.frobenius(widths).value / scale,
        "hidden": hidden,
    }


def _root_mean_square(squares: np.ndarray) -> Any:
    found = mean(squares**2)
    return type(found)(found.mean**0.5, found.error / (2 * found.mean**0.5), found.draws)


def draw(records: Records) -> Figure:
    """Draw the error against depth, a panel a budget, a curve a rule for the widths."""
    ok = records.ok
    budgets = ok.values("budget")
    figure, axes = style.panels(max(len(budgets), 2), height=2.6, squeeze=False)
    looks = style.looks(list(LABELS))
    for ax, budget in zip(axes[0], budgets, strict=False):
        cells = ok.where(budget=budget)
        for name in cells.values("widths"):
            depths, found = curves.groups(cells.where(widths=name), "depth", "frobenius")
            look = looks[name]
            bare = {**look, "linestyle": "none", "label": LABELS[name]}
            curves.bars(ax, depths, [_root_mean_square(one) for one in found], **bare)
            own = cells.where(widths=name)
            law = [own.where(depth=depth)[0].arrays["predicted"] for depth in depths]
            ax.plot(depths, law, color=look["color"])
        style.log_axes(ax, cells.values("depth"))
        ax.set(xlabel="depth $l$", ylabel=r"$\|K-K_\infty\|_F/\|K_\infty\|_F$, r.m.s.")
        ax.set_title(f"equal {budget}")
    for ax in axes[0, len(budgets) :]:
        ax.axis("off")
    axes[0, 0].legend(title="$m_k$")
    cell, fewest = ok[0].cell, curves.fewest(ok, "frobenius", "budget", "widths", "depth")
    note = f"{style.word(cell.activation)}, n = {cell.n}; lines: the law, nothing fitted"
    return style.finish(
        figure, axes[0, : len(budgets)], note, f"bars: 95 %, {fewest} or more networks a point"
    )


def tables(records: Records) -> dict[str, Table]:
    """The error, sampled and by the law, and how much more budget it takes than the best."""
    rows: list[Any] = []
    for (budget, depth), cells in records.ok.group("budget", "depth"):
        best = [r.arrays["predicted"] for r in cells.where(widths="best")]
        for (name,), own in cells.group("widths"):
            law = float(own[0].arrays["predicted"])
            more = (law / float(best[0])) ** 2 if best else None
            rows.append((budget, depth, name, _root_mean_square(own.stack("frobenius")), law, more))
    columns = ("budget", "l", "m_k", "error, sampled", "by the law", "square, over the best")
    return {"": Table(columns, rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
