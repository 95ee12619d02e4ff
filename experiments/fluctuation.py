"""Does the computed law of K(θ) − K∞ tell what networks do, with no free constant?

Question: variances of every entry, the operator norm and the shape of √m (K(θ) − K∞) beside the
law of `ntk_eoc.fluctuations`, against the width m of m_k = k² m; and which layers it comes from.

Expectation: the law is the leading order, so that ratios of measured to predicted variances are
1 + O(1/m), and √m (K − K∞) is Gaussian at large m. At k² m the first layers carry the error.
"""

from functools import lru_cache
from typing import Any

import _fresh
import jax
import numpy as np
from _cells import init_of, inputs, point_of
from _fresh import SCHEDULES, cost, deviations, draws, hidden_widths, limit, predicted_norm
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import ndtri

import ntk_eoc as ne
from ntk_eoc.estimates import Estimate, mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure", "tables"]


class Cell(_fresh.Cell):
    """A block of fresh networks, beside their law."""


@lru_cache(maxsize=64)
def _law(point: Cell) -> ne.Fluctuations:
    return ne.fluctuations(init_of(point), inputs(point), point.depth, point.outputs)


def _kernel(kernel: jax.Array) -> jax.Array:
    return kernel


def measure(cell: Cell) -> dict[str, Any]:
    """Return ‖K − K∞‖ [s] and the gaps K − K∞ of all pairs [s, pairs] of the first output.

    Beside them the law: the mean norm, the variances [pairs], the shares v_j [l − 1].
    """
    point = point_of(cell)
    law, widths = _law(point), (*hidden_widths(cell), cell.outputs)
    kernels = draws(cell, _kernel)
    rows, columns = np.triu_indices(cell.n)
    gaps = np.asarray(kernels, np.float64)[..., 0, 0] - limit(point)[None, :, :, 0, 0]
    matrices = np.asarray(jax.vmap(ne.ntk_matrix)(kernels))
    return {
        "operator": deviations(cell, matrices).operator,
        "gaps": gaps[:, rows, columns],
        "predicted_operator": predicted_norm(point),
        "predicted_variances": law.covariance(widths)[rows, columns, rows, columns],
        "layers": law.layers,
    }


def _by_width(records: Records) -> Records:
    return records.where(depth=records[0].cell.depth)


def _against_width(ax: Axes, records: Records) -> None:
    for name, cells in ((name, cells) for (name,), cells in records.group("activation")):
        look = style.activation_look(name)
        ms, found = curves.groups(cells, "m", "operator")
        bare = {**look, "linestyle": "none", "label": style.word(name)}
        curves.bars(ax, ms, found, scale=np.sqrt(ms), **bare)
        law = [cells.where(m=m)[0].arrays["predicted_operator"] * m**0.5 for m in ms]
        ax.plot(ms, law, color=look["color"])
    style.entry(ax, "law, nothing fitted", color="0.4")
    style.log_axes(ax, records.values("m"), y=False)
    ax.set(xlabel="width $m$ (hidden widths $k^2m$)", ylim=(0, None))
    ax.set_ylabel(r"$\sqrt{m}\,\|K(\theta)-K_\infty\|$")
    ax.set_title("the law goes through the points")
    ax.legend(loc="center right", bbox_to_anchor=(1.0, 0.58))


def ratios(cells: Records) -> list[Estimate]:
    """Measured over predicted variance of every pair, at one m."""
    gaps, law = cells.stack("gaps"), cells[0].arrays["predicted_variances"]
    known = law > 1e-12 * law.max()  # the other pairs do not fluctuate
    squares = (gaps - gaps.mean(axis=0))[:, known] ** 2 / law[known]
    return [mean(one) for one in squares.T]


def _variances(ax: Axes, records: Records) -> None:
    for (name,), cells in records.group("activation"):
        look, ms = {**style.activation_look(name), "linestyle": "none"}, cells.values("m")
        for m in ms:
            found = ratios(cells.where(m=m))
            spread = m * np.linspace(0.85, 1.18, len(found))
            ax.plot(spread, [one.mean for one in found], markersize=1.8, **look)
            error = max(one.error for one in found)
            ax.plot([m, m], [1 - 2 * error, 1 + 2 * error], color="0.7", zorder=0)
    style.level(ax, 1)
    style.log_axes(ax, records.values("m"), y=False)
    ax.set(xlabel="width $m$", ylabel="variance over the law's")
    ax.set_title("every pair of inputs")


def _shares(ax: Axes, records: Records) -> None:
    """Each layer's part of the mean square under four schedules."""
    record = max(records, key=lambda r: r.cell.depth)
    v, k = record.arrays["layers"], np.arange(1, record.cell.depth)
    for (schedule, widths), line in zip(SCHEDULES.items(), style.LINES, strict=True):
        m = np.array(ne.widths(schedule, 1, record.cell.depth)[:-1])
        ax.plot(k, v / m / (v / m).sum(), linestyle=line, marker=".", color="0.2", label=widths)
    ax.set(xlabel="hidden layer", ylabel=r"share of $E\|K-K_\infty\|_F^2$", ylim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(f"which layers ({style.word(record.cell.activation)})")
    ax.legend(title="$m_k$")


def _standard(records: Records, pair: int) -> np.ndarray:
    """K − K∞ of one pair over its predicted deviation."""
    law = records[0].arrays["predicted_variances"]
    return np.sort(records.stack("gaps")[:, pair]) / law[pair] ** 0.5


def _histogram(ax: Axes, records: Records, pairs: dict[str, int]) -> None:
    t = np.linspace(-4, 4, 200)
    for (label, pair), look in zip(pairs.items(), style.looks(list(pairs)).values(), strict=True):
        values = _standard(records, pair)
        bins: dict[str, Any] = {"bins": 50, "range": (-4, 4), "density": True, "histtype": "step"}
        ax.hist(values, color=look["color"], label=label, **bins)
    ax.plot(t, np.exp(-t * t / 2) / np.sqrt(2 * np.pi), color="0.4", label="Gaussian")
    ax.set(xlabel="$(K-K_\\infty)$ / predicted s.d.", ylabel="density")
    ax.set_title(f"one entry at $m={records[0].cell.m}$")
    ax.set_ylim(0, 0.62)  # room for the legend
    ax.legend(loc="upper right")


def _quantiles(ax: Axes, records: Records, label: str, pair: int, color: str) -> None:
    values = _standard(records, pair)
    normal = ndtri((np.arange(values.size) + 0.5) / values.size)
    kept = np.unique(np.geomspace(1, values.size / 2, 120).astype(int)) - 1
    kept = np.unique([*kept, *(values.size - 1 - kept)])
    ax.plot(normal[kept], values[kept], ".", markersize=3, color=color)
    ax.plot([-4, 4], [-4, 4], color="0.4", linewidth=0.8)
    ax.set(xlabel="Gaussian quantile", ylabel="measured quantile")
    ax.set_title(f"quantiles {label}")


def _most_drawn(records: Records) -> Records:
    """The activation and the m of the most draws; of several the largest m."""
    groups = dict(records.group("activation", "m"))
    return groups[max(groups, key=lambda p: (len(groups[p].stack("operator")), p[1]))]


def draw(records: Records) -> Figure:
    """Draw norm and variances against width, the layers' shares, and one entry's distribution."""
    figure, axes = style.panels(3, rows=2, height=2.3)
    ok = _by_width(records.ok)
    _against_width(axes[0, 0], ok)
    _variances(axes[0, 1], ok)
    _shares(axes[0, 2], records.ok)
    most, pairs = _most_drawn(ok), {"on the diagonal": 0, "off it": 1}
    _histogram(axes[1, 0], most, pairs)
    looks = style.looks(list(pairs)).values()
    for ax, (label, pair), look in zip(axes[1, 1:], pairs.items(), looks, strict=True):
        _quantiles(ax, most, label, pair, look["color"])
    cell, fewest = ok[0].cell, curves.fewest(ok, "operator", "m", "activation")
    note = f"n = {cell.n}, l = {cell.depth}; bars: 95 %, {fewest:,} networks or more a point"
    return style.finish(figure, axes, note, "grey bars of (b): two standard errors about 1")


def tables(records: Records) -> dict[str, Table]:
    """Measured beside predicted: the norm, and the variances' mean ratio over pairs."""
    rows: list[Any] = []
    ok = _by_width(records.ok)
    names = ok.values("activation")
    groups = sorted(ok.group("activation", "m"), key=lambda g: (names.index(g[0][0]), g[0][1]))
    for (name, m), cells in groups:
        found, law = cells.stack("operator"), cells[0].arrays["predicted_operator"]
        each = [one.mean for one in ratios(cells)]
        row = (mean(found), float(law), mean(found / law), float(np.mean(each)))
        rows.append((style.word(name), m, *row, float(min(each)), float(max(each))))
    columns = ("‖K − K∞‖", "the law", "ratio", "variances' ratio, mean", "least", "greatest")
    return {"": Table(("φ", "m", *columns), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
