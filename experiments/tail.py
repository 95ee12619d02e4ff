"""Does the bound of [C] hold with its probability 1 − C/m, and does it need its logarithm?

Question: m · P(‖K(θ) − K∞‖ > c √(log m) · bound) against m for several c, with and without the
√(log m); bound = (Δ_φ⁻² + √m_l l) κ_φ² m^{−1/2} without its constant; widths k² m; the quantile
at 1 − 1/m, over the abstract's bound and over the theorem's own form, for several n and l.

Expectation: for one constant c the product m · P stays bounded, with the logarithm.
"""

from statistics import NormalDist
from typing import Annotated, Any

import _fresh
import numpy as np
from _cells import accepted_by, with_a_bound
from _fresh import cost, deviations, draws
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import betaincinv

from ntk_eoc.estimates import Quantile, quantile
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra.deviation import bound_shape
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure", "tables"]

CONSTANTS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7)


class Cell(_fresh.Cell):
    """A block of networks of one width, of an activation that the bound is about."""

    activation: Annotated[str, accepted_by(with_a_bound)]


def measure(cell: Cell) -> dict[str, Any]:
    """Draw networks and return ‖K(θ) − K∞‖ over the bound without its constant, [s].

    Beside it the theorem's own form over the abstract's: [(Δ⁻² + (log l + √m_l) l) √log(ln)] over
    [Δ⁻² + √m_l l].
    """
    act, l, k = with_a_bound(cell.activation), cell.depth, cell.outputs  # noqa: E741
    shape = bound_shape(act, cell.m, l, k)
    abstract = act.delta**-2 + k**0.5 * l
    theorem = (act.delta**-2 + (np.log(l) + k**0.5) * l) * np.log(l * cell.n) ** 0.5
    return {
        "ratio": deviations(cell, draws(cell)).operator / shape,
        "theorem": theorem / abstract,
    }


def exceeded(ratio: np.ndarray, level: float, m: int) -> Quantile:
    """Return m · P(ratio > level) with its 95 % interval of Clopper and Pearson."""
    count, hits = ratio.size, int((ratio > level).sum())
    low = betaincinv(hits, count - hits + 1, 0.025) if hits else 0.0
    high = betaincinv(hits + 1, count - hits, 0.975) if hits < count else 1.0
    return Quantile(m * hits / count, float(m * low), float(m * high), count)


def gaussian(m: int) -> float:
    """The quantile of N(0, 1) at 1 − 1/m."""
    return NormalDist().inv_cdf(1 - 1 / m)


def _moved(found: Quantile, by: float, over: float) -> Quantile:
    """(quantile − by)/over."""
    value, low, high = ((end - by) / over for end in found[:3])
    return Quantile(value, low, high, found.draws)


def _base(records: Records) -> Records:
    """The records of the shape of which there are most widths."""
    return max((own for _, own in records.group("n", "depth")), key=lambda r: len(r.values("m")))


def _quantiles(ax: Axes, records: Records) -> None:
    ends = []
    for name in records.values("activation"):
        ms, ratios = curves.groups(records.where(activation=name), "m", "ratio")
        high = [quantile(r, 1 - 1 / m) for m, r in zip(ms, ratios, strict=True)]
        middle = [quantile(r, 0.5) for r in ratios]
        look = style.activation_look(name)
        curves.bars(ax, ms, high, **look)
        curves.bars(ax, ms, middle, linestyle=style.LINES[1], **look)
        z = np.array([gaussian(m) for m in ms])
        # A Gaussian tail of the last width's scale.
        over = _moved(high[-1], middle[-1].value, z[-1]).value
        ax.plot(ms, middle[-1].value + over * z, **{**style.GUIDE, "color": look["color"]})
        ends += [
            (high[-1].value, "1 − 1/m", look["color"]),
            (middle[-1].value, "median", look["color"]),
        ]
    style.log_axes(ax, records.values("m"), y=False)
    ax.set(xlabel="width $m$", ylim=(0, None))
    ax.set_ylabel(r"$\|K(\theta)-K_\infty\|$ / bound without $C$")
    ax.set_title("quantiles")
    style.label_ends(ax, ends)


def _products(ax: Axes, records: Records, name: str) -> None:
    ms, ratios = curves.groups(records, "m", "ratio")
    for c, look in style.ramp(CONSTANTS).items():
        for line, power in ((style.LINES[0], 0.5), (style.LINES[2], 0.0)):
            levels = [c * np.log(m) ** power for m in ms]
            found = [exceeded(r, v, m) for m, r, v in zip(ms, ratios, levels, strict=True)]
            shown = [i for i, one in enumerate(found) if one.low > 0 and one.value < ms[i] / 2]
            if len(shown) > (1 if power else 2):
                at, own = [ms[i] for i in shown], [found[i] for i in shown]
                curves.bars(ax, at, own, linestyle=line, **look)
    style.log_axes(ax, records.values("m"))
    ax.set(xlabel="width $m$", ylabel=r"$m\cdot P($error $>c\,\sqrt{\log m}\cdot$ bound$)$")
    ax.set_title(style.word(name))


def draw(records: Records) -> Figure:
    """Draw the quantile at 1 − 1/m and the median, and m · P for several constants."""
    ok = _base(records.ok)
    names = ok.values("activation")
    figure, axes = style.panels(1 + len(names), height=2.7)
    _quantiles(axes[0], ok)
    for ax, name in zip(axes[1:], names, strict=True):
        _products(ax, ok.where(activation=name), name)
    for c, look in style.ramp(CONSTANTS).items():
        style.entry(axes[1], f"$c={c:g}$", **look)
    style.entry(axes[1], r"without $\sqrt{\log m}$", color="0.4", linestyle=style.LINES[2])
    style.legend_above(figure, axes[1], columnspacing=1)
    cell = ok[0].cell
    least = min(len(c.stack("ratio")) / m for (_, m), c in ok.group("activation", "m"))
    note = (
        f"{cell.data}, n = {cell.n}, l = {cell.depth}, widths k² m; {least:.0f} m networks or more"
    )
    dots = "dotted in (a): median + c z, z the Gaussian quantile at 1 − 1/m, c of the largest m"
    names.sort(key=lambda name: np.median(ok.where(activation=name).stack("ratio")))
    ends = zip(names, ("lower", "upper"), strict=False)
    words = ", ".join(f"{style.word(name)} {end}" for name, end in ends)
    return style.finish(
        figure, axes, note, "bars: 95 % over networks, binomial in (b), (c)", dots, words
    )


def tables(records: Records) -> dict[str, Table]:
    """The quantile over both bounds, and m · P for constants that fit, for every n and l."""
    rows: list[Any] = []
    products: list[Any] = []
    points = sorted(records.ok.group("activation", "n", "depth", "m"), key=lambda part: part[0])
    for (name, n, l, m), cells in points:  # noqa: E741
        ratio, form = cells.stack("ratio"), float(cells[0].arrays["theorem"])
        high, middle = quantile(ratio, 1 - 1 / m), quantile(ratio, 0.5)
        own = _moved(high, 0.0, form * np.log(m) ** 0.5)
        over_z = _moved(high, middle.value, gaussian(m))
        word = style.word(name)
        rows.append((word, n, l, m, len(ratio), middle.value, high, over_z, own))
        found = [exceeded(ratio, c * np.log(m) ** 0.5, m) for c in CONSTANTS]
        products.append((word, n, l, m, *found))
    over = "over the theorem's form and √log m"
    constants = (f"c = {c:g}" for c in CONSTANTS)
    columns = ("median", "quantile at 1 − 1/m", "(quantile − median)/z", over)
    return {
        "quantiles": Table(("φ", "n", "l", "m", "networks", *columns), rows),
        "products": Table(("φ, m · P", "n", "l", "m", *constants), products),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
