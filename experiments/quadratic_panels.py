"""The four figures of [Q] as printed: fresh matrices beside the law, φ' = s and φ' = min(s, 0).

Question: φ' = s with D² = 1 at several γ₁ and at several γ₂; φ' = s with half of D² at 1 and half
at 30, where the support splits; φ' = min(s, 0): the histograms beside `quadratic_scaling_law`, and
the distances beside those from laws one might mistake it for. And what it costs to draw D from its
law instead of in its exact proportions.

Expectation: distances of 1/d, far below the controls'. p values drawn at random have other
proportions than their law, by p^{-1/2}, and so has the spectrum; in exact proportions it has not.
"""

from typing import Any, Literal

import _ratios
import jax.numpy as jnp
import numpy as np
from _cells import WORDS, OutputWeights, columns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.estimates import Quantile, interval, mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra import two_layer
from ntk_eoc.spectra.control_laws import WORDS as CONTROLS
from ntk_eoc.spectra.control_laws import control_laws
from ntk_eoc.spectra.distances import kolmogorov, wasserstein
from ntk_eoc.spectra.quadratic_scaling_law import outliers
from ntk_eoc.sweeps.records import Records

SLOPES = {
    "s": ne.Activation("s²/2", lambda s: s * s / 2, derivative=lambda s: s),
    "min(s, 0)": ne.Activation(
        "min(s, 0)²/2",
        lambda s: jnp.minimum(s, 0.0) ** 2 / 2,
        (0.0,),
        lambda s: jnp.minimum(s, 0.0),
    ),
}
"""φ' → φ."""
HOW = {"exact": two_layer.even_weights, "random": two_layer.output_weights}
BINS = 48


class Cell(_ratios.OfSide):
    """One matrix size, φ', law of D and pair of ratios, D exactly or randomly of its law."""

    slope: Literal["s", "min(s, 0)"] = "s"
    output_weights: OutputWeights = "identity"
    proportions: Literal["exact", "random"] = "exact"


cost = _ratios.cost


def _grid(law: ne.SpectralLaw) -> np.ndarray:
    """Abscissae dense towards both ends of every interval of the support."""
    turn = (1 - np.cos(np.linspace(0, np.pi, 101))) / 2
    return np.unique(np.concatenate([a + (b - a) * turn for a, b in law.support]))


def measure(cell: Cell) -> dict[str, Any]:
    """Draw matrices; return their distances from the law, [s], and from the controls, [s, 3].

    The law is that at D's law, whichever way D is drawn; for a random D there are no controls.
    """
    (n, d, p), act = cell.size, SLOPES[cell.slope]
    weights = two_layer.WEIGHTS[cell.output_weights]()
    ratios = n / (d * p), p / d
    law = ne.quadratic_scaling_law(act, *ratios, weights)
    exact = cell.proportions == "exact"
    controls = control_laws(act, *ratios, weights) if exact else ()
    count = outliers(act, n, d, p, weights).number
    edges = np.linspace(0, np.sqrt(1.1 * law.bounds[1]), BINS + 1) ** 2
    rows = []
    how = {"weights_name": cell.output_weights, "weights": HOW[cell.proportions]}
    for factors in _ratios.draws(cell, act, **how):
        bulk = two_layer.eigenvalues(factors)[: n - count]
        heights = np.histogram(bulk[bulk > 0], edges)[0] / (len(bulk) * np.diff(edges))
        beside = [kolmogorov(one, bulk) for one in controls]
        rows.append((kolmogorov(law, bulk), wasserstein(law, bulk), beside, heights))
    names = ("kolmogorov", "wasserstein", "controls", "histogram")
    x = _grid(law)
    return {
        **columns(names, rows),
        "bin_edges": edges,
        "law_x": x,
        "law_density": law.density(x),
        "law_support": np.array(law.support),
        "law_error": law.error,
    }


def _shown(records: Records) -> Records:
    """Those of the panels, at the largest size, D in exact proportions."""
    side = max(records.values("side"))
    return records.where(side=side, proportions="exact")


def _curve(ax: Axes, record: Any, color: Any, label: str) -> None:
    """The density of √λ: that of λ is infinite at 0."""
    arrays = record.arrays
    root = np.sqrt(arrays["bin_edges"])
    heights = arrays["histogram"].mean(0) * np.diff(arrays["bin_edges"]) / np.diff(root)
    ax.stairs(heights, root, fill=True, color=color, alpha=0.25)
    x = np.sqrt(arrays["law_x"])
    density = 2 * x * arrays["law_density"]
    support = np.sqrt(np.maximum(arrays["law_support"], 0))
    for i, (a, b) in enumerate(support):
        inside = (x > a) & (x < b)
        ax.plot(x[inside], density[inside], color=color, linewidth=1.0, label="_" if i else label)
    ends = support.ravel()
    ax.plot(ends, np.zeros(len(ends)), "|", color=color, markersize=7, clip_on=False)


def _panel(ax: Axes, records: Any, label: Any, title: str) -> None:
    cells = sorted(records, key=lambda r: (r.cell.gamma1, r.cell.gamma2))
    if not cells:
        ax.set_axis_off()
        return
    looks = style.ramp(range(len(cells)))
    for i, record in enumerate(cells):
        _curve(ax, record, looks[i]["color"], label(record.cell))
    ax.set(xlabel=r"$\sqrt{\lambda}$", ylabel=r"density of $\sqrt{\lambda}$", ylim=(0, None))
    ax.set_title(title)
    ax.legend()


def _gamma1(cell: Any) -> str:
    return rf"$\gamma_1={cell.gamma1:g}$"


def _gamma2(cell: Any) -> str:
    return rf"$\gamma_2={cell.gamma2:g}$"


def _both(cell: Any) -> str:
    return f"{_gamma1(cell)}, {_gamma2(cell)}"


def _proportions(ax: Axes, records: Records) -> None:
    drawn = records.where(proportions="random")
    names = drawn.values("output_weights") if len(drawn) else ["identity"]
    cells = records.where(slope="s", output_weights=names[0])
    sweep = cells.where(gamma1=cells.values("gamma1")[0])
    for how, look in style.looks(list(HOW)).items():
        own = sweep.where(proportions=how)
        if len(own):
            xs, draws = curves.groups(own, "side", "kolmogorov")
            label = curves.fitted(f"$D$ {how}", xs, draws)
            curves.bars(ax, np.array(xs, float), draws, label=label, **look)
    style.log_axes(ax, cells.values("side"))
    ax.set(xlabel=r"$\sqrt{dp}$", ylabel="Kolmogorov distance")
    ax.set_ylim(ax.get_ylim()[0] / 2, None)
    ax.set_title("D in exact proportions, or drawn")
    ax.legend(loc="lower left", handlelength=1.5)


def _place(record: Any) -> tuple[Any, ...]:
    cell = record.cell
    return cell.slope, cell.output_weights, cell.gamma1, cell.gamma2


def _distances(ax: Axes, records: Records) -> None:
    cells = sorted(records, key=_place)
    at = np.arange(len(cells))
    found = [record.arrays["kolmogorov"] for record in cells]
    curves.bars(ax, at, found, marker="o", linestyle="none", color="k", label="the law")
    marks = zip(CONTROLS.values(), style.MARKERS[1:], style.COLORS, strict=False)
    for i, (name, marker, color) in enumerate(marks):
        values = [record.arrays["controls"][:, i].mean() for record in cells]
        ax.plot(at, values, marker, color=color, linestyle="none", label=name)
    style.log(ax.yaxis)
    ax.set_xticks(at, [str(i + 1) for i in at])
    ax.set_ylim(ax.get_ylim()[0] / 20, None)
    ax.set(xlabel="row of the table", ylabel="Kolmogorov distance")
    ax.set_title("the law, and what it is not")
    ax.legend(fontsize=style.SMALL, loc="lower left")


def draw(records: Records) -> Figure:
    """Draw the four panels of [Q], the two ways to D, and all distances beside the controls."""
    figure, axes = style.panels(3, 2, height=2.3)
    shown = _shown(records.ok)
    plain = shown.where(slope="s", output_weights="identity")
    base1, base2 = (_middle(plain, name) for name in ("gamma1", "gamma2"))
    _panel(axes[0, 0], plain.where(gamma2=base2), _gamma1, f"φ' = s, D² = 1, {_fixed(2, base2)}")
    _panel(axes[0, 1], plain.where(gamma1=base1), _gamma2, f"φ' = s, D² = 1, {_fixed(1, base1)}")
    split = shown.where(slope="s", output_weights="split")
    _panel(axes[0, 2], split, _both, "φ' = s, D² = 1 or 30")
    _panel(axes[1, 0], shown.where(slope="min(s, 0)"), _both, "φ' = min(s, 0), D² = 1")
    _proportions(axes[1, 1], records.ok)
    _distances(axes[1, 2], shown)
    draws = curves.fewest(shown, "kolmogorov", "slope", "output_weights", "gamma1", "gamma2")
    side = shown[0].cell.side
    bars = rf"shaded: all eigenvalues of {draws} draws, $dp\approx{side}^2$, outliers set apart"
    return style.finish(figure, axes, bars, "lines: the law, ticks: its edges", "bars: 95 %")


def _fixed(index: int, value: float) -> str:
    return rf"$\gamma_{index}={value:g}$"


def _middle(records: Records, name: str) -> float:
    """The value of a ratio at which most cells are: that of the other's sweep."""
    counts = {value: len(records.where(**{name: value})) for value in records.values(name)}
    return max(counts, key=lambda value: counts[value])


def tables(records: Records) -> dict[str, Table]:
    """Distances beside those from the controls; edges of the split support; exact and random D."""
    rows, edges, ways = [], [], []
    cells = sorted(
        _shown(records.ok), key=lambda r: (r.cell.slope, r.cell.output_weights, _both(r.cell))
    )
    for record in cells:
        cell, arrays = record.cell, record.arrays
        head = (cell.slope, WORDS[cell.output_weights], cell.gamma1, cell.gamma2, cell.size[1])
        area = Quantile(*interval(arrays["wasserstein"]))
        beside = (mean(column).mean for column in arrays["controls"].T)
        rows.append((*head, mean(arrays["kolmogorov"]), area, *beside))
        ends = " ∪ ".join(f"[{a:.8f}, {b:.8f}]" for a, b in arrays["law_support"])
        edges.append((*head[:4], ends, f"{float(arrays['law_error']):.0e}"))
    for (weights, _, how), own in records.ok.group("output_weights", "side", "proportions"):
        if weights not in ("identity",):
            p = own[0].cell.size[2]
            ways.append((WORDS[weights], p, how, mean(own.stack("kolmogorov"))))
    heads = ("φ'", "D", "γ₁", "γ₂")
    return {
        "": Table((*heads, "d", "Kolmogorov", "Wasserstein, 95 %", *CONTROLS.values()), rows),
        "edges": Table((*heads, "support", "error of the masses"), edges),
        "proportions": Table(("D", "p", "drawn", "Kolmogorov"), ways),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
