"""Do the eigenvalues of the two-layer NTK follow the law of the quadratic scaling?

Question: the histogram of all eigenvalues of drawn matrices beside `quadratic_scaling_law`, for
several activations, laws of the output weights D, and ratios γ₁ = n/(dp), γ₂ = p/d.

Expectation: [Q] proves weak convergence for pseudo-Lipschitz φ', hence for tanh, erf and s²; φ'
of ReLU and absolute value jumps, there the law is only measured. Kolmogorov distance at dp = 96²:
at most 0.02 where c_0 = E φ'(z) is 0, at most 0.05 where the d outliers of c_0 ≠ 0 are set apart.
"""

from functools import lru_cache
from typing import Any

import _ratios
import numpy as np
from _cells import WORDS, Activation, OutputWeights
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.estimates import Quantile, interval, mean
from ntk_eoc.report import style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra import control_laws, two_layer
from ntk_eoc.spectra.distances import kolmogorov, wasserstein
from ntk_eoc.spectra.quadratic_scaling_law import outliers
from ntk_eoc.sweeps.records import Records

BINS = 60


class Cell(_ratios.OfSide):
    """One matrix size, activation, law of D and pair of ratios."""

    activation: Activation
    output_weights: OutputWeights = "identity"
    entries: str = "gaussian"


cost = _ratios.cost


@lru_cache(maxsize=64)
def law_of(activation: str, gamma1: float, gamma2: float, weights: str) -> ne.SpectralLaw:
    """The law at given ratios; a cell's own are those of its whole numbers n, d and p."""
    values = None if weights == "identity" else two_layer.WEIGHTS[weights]()
    return ne.quadratic_scaling_law(ne.activation(activation), gamma1, gamma2, values)


def law_at(cell: Any, d_values: np.ndarray) -> ne.SpectralLaw:
    """The law at a cell's own ratios and the D that was drawn.

    Of p i.i.d. values the law is off from its population's by 1/√p, and the eigenvalues with it: a
    distance that is not the theorem's, which takes D as it is.
    """
    n, d, p = cell.size
    return ne.quadratic_scaling_law(ne.activation(cell.activation), n / (d * p), p / d, d_values)


def bulk_of(cell: Any, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split ascending eigenvalues into the bulk and the predicted number of outliers."""
    n, d, p = cell.size
    weights = two_layer.WEIGHTS[cell.output_weights]()
    count = outliers(ne.activation(cell.activation), n, d, p, weights).number
    return values[: n - count], values[n - count :]


def measure(cell: Cell) -> dict[str, Any]:
    """Draw matrices; return their distances from the law and histograms, [s, …] each.

    `kolmogorov` is from the law at the drawn D, `population` from that at the law of D, `matched`
    from the first with the mean of the bulk made that of the law. The law kept is the first draw's,
    and so are the controls, [s, 3]: the distances from laws it may be mistaken for.
    """
    n, d, p = cell.size
    act = ne.activation(cell.activation)
    law = law_of(cell.activation, n / (d * p), p / d, cell.output_weights)
    edges = np.linspace(0, np.sqrt(1.1 * law.bounds[1]), BINS + 1) ** 2
    rows: list[dict[str, Any]] = []
    shown: ne.SpectralLaw = law
    beside: tuple[ne.SpectralLaw, ...] = ()
    names = {"entries_name": cell.entries, "weights_name": cell.output_weights}
    for factors in _ratios.draws(cell, act, **names):
        bulk, out = bulk_of(cell, two_layer.eigenvalues(factors, memory=8e9))
        varied = np.ptp(np.abs(factors.d_values)) > 0
        drawn = law_at(cell, np.asarray(factors.d_values, np.float64)) if varied else law
        if not rows:
            shown, beside = (
                drawn,
                control_laws.control_laws(
                    act, n / (d * p), p / d, np.abs(np.asarray(factors.d_values))
                ),
            )
        matched = bulk * (drawn.moment(1) / np.mean(bulk))
        counts = np.histogram(bulk[bulk > 0], edges)[0]
        rows.append(
            {
                "kolmogorov": kolmogorov(drawn, bulk),
                "population": kolmogorov(law, bulk),
                "matched": kolmogorov(drawn, matched),
                "wasserstein": wasserstein(drawn, bulk),
                "controls": [kolmogorov(one, bulk) for one in beside],
                "wasserstein_controls": [wasserstein(one, bulk) for one in beside],
                "histogram": counts / (len(bulk) * np.diff(edges)),
                "zeros": np.mean(bulk == 0),
                "beyond": len(bulk) - np.searchsorted(bulk, edges[-1]),
                "outliers": len(out),
                "law_error": drawn.error,
            }
        )
    x = _grid(shown, edges[-1])
    return {
        **{name: np.array([row[name] for row in rows]) for name in rows[0]},
        "bin_edges": edges,
        "law_x": x,
        "law_density": shown.density(x),
        "law_support": np.array(shown.support),
        "law_atoms": np.array(shown.atoms).reshape(-1, 2),
    }


def _grid(law: ne.SpectralLaw, top: float) -> np.ndarray:
    """Abscissae dense towards both ends of every interval of the support."""
    turn = (1 - np.cos(np.linspace(0, np.pi, 201))) / 2
    inner = [a + (b - a) * turn for a, b in law.support]
    return np.unique(np.concatenate([*inner, [0.0, top]]))


def _panel(ax: Axes, record: Any) -> None:
    """The density of √λ: that of λ is infinite at 0."""
    cell, arrays = record.cell, record.arrays
    root = np.sqrt(arrays["bin_edges"])
    heights = arrays["histogram"][0] * np.diff(arrays["bin_edges"]) / np.diff(root)
    ax.stairs(heights, root, fill=True, color=style.COLORS[5], alpha=0.55)
    x = np.sqrt(arrays["law_x"])
    density = np.where(x > 0, 2 * x * arrays["law_density"], np.nan)
    ax.plot(x, density, color=style.COLORS[1], linewidth=1.0)
    high = 1.6 * np.max(heights)
    corner: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": style.SMALL}
    for edge in np.sqrt(np.maximum(arrays["law_support"].ravel(), 0)):
        ax.plot([edge, edge], [0, 0.1 * high], color="black", linewidth=0.8)
    for place, mass in arrays["law_atoms"]:
        arrow = {"arrowstyle": "-|>", "color": style.COLORS[3], "shrinkA": 0, "shrinkB": 0}
        at = np.sqrt(max(place, 0))
        ax.annotate("", (at, 0.7 * high), (at, 0), arrowprops=arrow)
        told = f"atom {mass:.3f},\nzeros {float(arrays['zeros'][0]):.3f}"
        ax.text(0.97, 0.82, told, transform=ax.transAxes, color=style.COLORS[3], **corner)
    ax.set(ylim=(0, high), xlim=(-0.02 * root[-1], root[-1]))
    ratios = rf"$\gamma_1={cell.gamma1:g}$, $\gamma_2={cell.gamma2:g}$"
    words = f"{style.word(cell.activation)}, $D$: {WORDS[cell.output_weights]}"
    ax.set_title(f"{words}\n{ratios}", fontsize=style.SMALL + 0.5, pad=2)
    told = f"KS {float(arrays['kolmogorov'][0]):.3f}"
    ax.text(0.97, 0.95, told, transform=ax.transAxes, **corner)
    ax.tick_params(labelsize=style.SMALL)


def _histograms(records: list[Any]) -> Figure:
    columns = min(4, len(records))
    rows = -(-len(records) // columns)
    figure, axes = style.panels(max(columns, 2), rows, height=1.6, squeeze=False)
    for ax, record in zip(axes.ravel(), records, strict=False):
        _panel(ax, record)
    for ax in axes.ravel()[len(records) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel(r"density of $\sqrt{\lambda}$", fontsize=7)
    for ax in axes[-1]:
        ax.set_xlabel(r"$\sqrt{\lambda}$", fontsize=7)
    sides = " or ".join(f"{side}²" for side in sorted({r.cell.side for r in records}))
    bars = f"bars: eigenvalues λ of one draw, dp ≈ {sides}, outliers and zeros apart"
    line = "line: limit law; ticks: its edges; arrow: its atom; KS: Kolmogorov distance"
    style.footnote(figure, bars, line)
    return figure


def one_of_each(records: list[Any], count: int = 8) -> list[Any]:
    """The first record of every activation, law of D and atom there is, `count` in all."""
    chosen: list[Any] = []
    for of in (
        lambda r: (r.cell.activation, len(r.arrays["law_atoms"]) > 0),
        lambda r: r.cell.output_weights,
        lambda r: (r.cell.gamma1, r.cell.gamma2),
        lambda r: r.cell,
    ):
        for record in records:
            if len(chosen) < count and of(record) not in {of(one) for one in chosen}:
                chosen.append(record)
    return [record for record in records if record in chosen]


def _label(cell: Any) -> str:
    ratios = rf"$\gamma_1={cell.gamma1:g}$, $\gamma_2={cell.gamma2:g}$"
    return f"{style.word(cell.activation)}, $D$: {WORDS[cell.output_weights]}, {ratios}"


def _distances(records: list[Any]) -> Figure:
    figure, ax = style.panels(1, height=0.17 * len(records) + 1.2)
    figure.set_size_inches(0.85 * style.TEXT_WIDTH, figure.get_size_inches()[1])
    for i, record in enumerate(records):
        look = style.activation_look(record.cell.activation)
        found, population = record.arrays["kolmogorov"], record.arrays["population"]
        faint = {**look, "alpha": 0.35, "markeredgewidth": 0, "linestyle": "none"}
        ax.plot(found, np.full(len(found), i), **faint)
        ax.plot(np.mean(found), i, **look)
        if np.any(record.arrays["outliers"]):
            ax.plot(np.mean(record.arrays["matched"]), i, "x", color=look["color"])
        if np.any(population != found):
            ax.plot(np.mean(population), i, fillstyle="none", **look)
    outlying = [np.any(record.arrays["outliers"]) for record in records]
    for limit, some, line, words in (
        (0.02, False, style.LINES[1], "$c_0=0$"),
        (0.05, True, style.LINES[2], r"$c_0\neq0$"),
    ):
        rows = [i for i, out in enumerate(outlying) if out == some]
        if rows:
            label = f"expected below, {words}"
            ends = [min(rows) - 0.5, max(rows) + 0.5]
            ax.plot([limit, limit], ends, color="0.3", linestyle=line, linewidth=0.9, label=label)
    grey = {"color": "0.4", "linestyle": "none"}
    style.entry(ax, "mean over draws", marker="o", **grey)
    style.entry(ax, "single draws", marker="o", alpha=0.35, markeredgewidth=0, **grey)
    style.entry(ax, "from the law at the law of $D$", marker="o", fillstyle="none", **grey)
    style.entry(ax, "outliers apart, and the mean matched", marker="x", **grey)
    ax.set_yticks(range(len(records)), [_label(r.cell) for r in records], fontsize=style.SMALL)
    ax.set(xlabel="Kolmogorov distance", xlim=(0, None))
    ax.set_title("the eigenvalues follow the law")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _ordered(records: Records) -> list[Any]:
    """Those without outliers first, then by activation, law of D and ratios."""

    def place(r: Any) -> tuple[Any, ...]:
        cell = r.cell
        out = bool(np.any(r.arrays["outliers"]))
        return (out, cell.activation, cell.output_weights, cell.gamma1, cell.gamma2)

    return sorted(records.ok, key=place)


def draw(records: Records) -> dict[str, Figure]:
    """Draw eight histograms beside their laws, the rest, and all distances."""
    ok = _ordered(records)
    shown = one_of_each(ok)
    rest = [record for record in ok if record not in shown]
    figures = {"histograms": _histograms(shown), "distances": _distances(ok)}
    return {**figures, "appendix": _histograms(rest)} if rest else figures


def _head(cell: Any) -> tuple[Any, ...]:
    words = (style.word(cell.activation), WORDS[cell.output_weights])
    return (*words, cell.gamma1, cell.gamma2, cell.size[1])


def tables(records: Records) -> dict[str, Table]:
    """The distances of every cell; from the laws it is not; and how many are as expected."""
    rows, controls, passes = [], [], {"Kolmogorov": 0, "from the law of D": 0, "mean matched": 0}
    ordered = _ordered(records)
    for record in ordered:
        arrays, head = record.arrays, _head(record.cell)
        found, population, matched = (arrays[k] for k in ("kolmogorov", "population", "matched"))
        random = mean(population) if np.any(population != found) else None
        shown = mean(matched) if np.any(arrays["outliers"]) else None
        area = Quantile(*interval(arrays["wasserstein"]))
        rows.append((*head, len(found), mean(found), random, shown, area))
        beside = (mean(column).mean for column in arrays["controls"].T)
        controls.append((*head, mean(found).mean, *beside))
        expected = 0.02 if shown is None else 0.05
        for name, draws in zip(passes, (found, population, matched), strict=True):
            passes[name] += int(np.mean(draws) <= expected)
    heads = ("φ", "D", "γ₁", "γ₂", "d")
    columns = ("draws", "Kolmogorov", "from the law of D", "mean matched", "Wasserstein, 95 %")
    counts = [(name, count, len(ordered)) for name, count in passes.items()]
    return {
        "": Table((*heads, *columns), rows),
        "controls": Table((*heads, "the law", *control_laws.WORDS.values()), controls),
        "passes": Table(("distance", "as expected", "of"), counts),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
