"""Do the eigenvalues of the two-layer NTK follow the law of the quadratic scaling?

Question: the histogram of all eigenvalues of drawn matrices beside `quadratic_scaling_law`, for
several activations, laws of the output weights D, and ratios γ₁ = n/(dp), γ₂ = p/d.

Expectation: [Q] proves weak convergence for pseudo-Lipschitz φ', hence for tanh, erf and s²; φ'
of ReLU and absolute value jumps, there the law is only measured. Kolmogorov distance at dp = 96²:
at most 0.02 where c_0 = E φ'(z) is 0, at most 0.05 where the d outliers of c_0 ≠ 0 are set apart.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from _names import WORDS, Activation, OutputWeights
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.report import style
from ntk_eoc.spectra import two_layer
from ntk_eoc.spectra.distances import kolmogorov, wasserstein
from ntk_eoc.spectra.quadratic_scaling_law import outliers
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.records import Records

BINS = 60


class Cell(config.Cell):
    """One matrix size, activation, law of D and pair of ratios."""

    activation: Activation
    gamma1: float = Field(gt=0)
    gamma2: float = Field(gt=0)
    output_weights: OutputWeights = "identity"
    entries: str = "gaussian"
    side: int = Field(ge=8, description="√(dp)")


def size_of(cell: Any) -> tuple[int, int, int]:
    """(n, d, p) of a cell: dp nearest to side², p/d to γ₂, n/(dp) to γ₁."""
    d = max(2, round(cell.side / cell.gamma2**0.5))
    n, p = two_layer.sizes(d, cell.gamma1, cell.gamma2)
    return n, d, p


def cost(cell: Cell) -> float:
    """Flops of the dense eigenvalues, the longest cells first."""
    n, d, p = size_of(cell)
    return cell.seeds * float(min(n, d * p)) ** 3


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
    n, d, p = size_of(cell)
    return ne.quadratic_scaling_law(ne.activation(cell.activation), n / (d * p), p / d, d_values)


def bulk_of(cell: Any, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split ascending eigenvalues into the bulk and the predicted number of outliers."""
    n, d, p = size_of(cell)
    weights = two_layer.WEIGHTS[cell.output_weights]()
    count = outliers(ne.activation(cell.activation), n, d, p, weights).number
    return values[: n - count], values[n - count :]


def measure(cell: Cell) -> dict[str, Any]:
    """Draw matrices; return their distances from the law and histograms, [s, …] each.

    `kolmogorov` is from the law at the drawn D, `population` from that at the law of D, `matched`
    from the first with the mean of the bulk made that of the law. The law kept is the first draw's.
    """
    n, d, p = size_of(cell)
    law = law_of(cell.activation, n / (d * p), p / d, cell.output_weights)
    top = law.bounds[1] * 1.1
    edges = np.linspace(0, top, BINS + 1)
    rows: list[tuple[Any, ...]] = []
    shown = law
    for key in cell.seed_keys():
        factors = two_layer.draw(
            key,
            ne.activation(cell.activation),
            (n, d, p),
            entries_name=cell.entries,
            weights_name=cell.output_weights,
            dtype=cell.dtype,
        )
        bulk, out = bulk_of(cell, two_layer.eigenvalues(factors, memory=8e9))
        varied = np.ptp(np.abs(factors.d_values)) > 0
        drawn = law_at(cell, np.asarray(factors.d_values, np.float64)) if varied else law
        shown = shown if rows else drawn
        matched = bulk * (drawn.moment(1) / np.mean(bulk))
        distances = (
            kolmogorov(drawn, bulk),
            kolmogorov(law, bulk),
            kolmogorov(drawn, matched),
            wasserstein(drawn, bulk),
        )
        heights = np.histogram(bulk[bulk > 0], edges)[0] / (len(bulk) * np.diff(edges))
        beyond = len(bulk) - np.searchsorted(bulk, top)
        rows.append((*distances, heights, np.mean(bulk == 0), beyond, len(out), drawn.error))
    names = (
        "kolmogorov",
        "population",
        "matched",
        "wasserstein",
        "histogram",
        "zeros",
        "beyond",
        "outliers",
        "law_error",
    )
    x = _grid(shown, top)
    return {
        **{
            name: np.array(column)
            for name, column in zip(names, zip(*rows, strict=True), strict=True)
        },
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
    cell, arrays = record.cell, record.arrays
    ax.stairs(
        arrays["histogram"][0],
        arrays["bin_edges"],
        fill=True,
        color=style.COLORS[5],
        alpha=0.55,
    )
    ax.plot(arrays["law_x"], arrays["law_density"], color=style.COLORS[1], linewidth=1.0)
    high = 1.35 * np.max(arrays["histogram"][0])
    for edge in arrays["law_support"].ravel():
        ax.plot([edge, edge], [0, 0.12 * high], color="black", linewidth=0.8)
    for place, mass in arrays["law_atoms"]:
        ax.annotate(
            "",
            (place, 0.75 * high),
            (place, 0),
            arrowprops={"arrowstyle": "-|>", "color": style.COLORS[3], "shrinkA": 0, "shrinkB": 0},
        )
        zeros = float(arrays["zeros"][0])
        ax.text(
            place + 0.05 * arrays["bin_edges"][-1],
            0.62 * high,
            f"atom {mass:.3f},\nzeros {zeros:.3f}",
            fontsize=5,
            color=style.COLORS[3],
        )
    ax.set(ylim=(0, high), xlim=(-0.02 * arrays["bin_edges"][-1], arrays["bin_edges"][-1]))
    name = WORDS.get(cell.activation, cell.activation)
    ax.set_title(
        f"{name}, $D$: {WORDS[cell.output_weights]}\n"
        rf"$\gamma_1={cell.gamma1:g}$, $\gamma_2={cell.gamma2:g}$",
        fontsize=6,
        pad=2,
    )
    distance = float(arrays["kolmogorov"][0])
    ax.text(
        0.97, 0.93, f"KS {distance:.3f}", transform=ax.transAxes, ha="right", va="top", fontsize=6
    )
    ax.tick_params(labelsize=5)


def _histograms(records: list[Any]) -> Figure:
    columns = min(4, len(records))
    rows = -(-len(records) // columns)
    figure, axes = style.panels(max(columns, 2), rows, height=1.45, squeeze=False)
    for ax, record in zip(axes.ravel(), records, strict=False):
        _panel(ax, record)
    for ax in axes.ravel()[len(records) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("density", fontsize=6)
    for ax in axes[-1]:
        ax.set_xlabel(r"eigenvalue $\lambda$ of the NTK", fontsize=6)
    sizes = sorted({record.cell.side for record in records})
    style.footnote(
        figure,
        rf"bars: eigenvalues, $dp\approx{sizes[-1]}^2$, outliers and zeros apart; line: limit law;"
        " ticks: its edges; arrow: its atom; KS: Kolmogorov distance",
    )
    return figure


def _distances(records: list[Any]) -> Figure:
    figure, ax = style.panels(1, height=0.16 * len(records) + 0.9)
    looks = {True: (style.COLORS[0], "o"), False: (style.COLORS[1], "s")}
    labels = []
    for i, record in enumerate(records):
        cell = record.cell
        free = not np.any(record.arrays["outliers"])
        color, marker = looks[free]
        found, population = record.arrays["kolmogorov"], record.arrays["population"]
        ax.plot(found, np.full(len(found), i), marker, color=color, alpha=0.35, markeredgewidth=0)
        ax.plot(np.mean(found), i, marker, color=color)
        if not free:
            ax.plot(np.mean(record.arrays["matched"]), i, "x", color=color)
        if np.any(population != found):
            ax.plot(np.mean(population), i, marker, color=color, fillstyle="none")
        name = WORDS.get(cell.activation, cell.activation)
        labels.append(
            rf"{name}, $D$: {WORDS[cell.output_weights]}, $\gamma_1={cell.gamma1:g}$,"
            rf" $\gamma_2={cell.gamma2:g}$"
        )
    for limit, free in ((0.02, True), (0.05, False)):
        words = "$c_0=0$" if free else r"$c_0\neq0$, $d$ outliers set apart"
        ax.axvline(
            limit,
            color=looks[free][0],
            linewidth=0.8,
            linestyle="--",
            label=f"expected below: {words}",
        )
    ax.set_yticks(range(len(labels)), labels, fontsize=5)
    ax.plot(
        [],
        [],
        "s",
        color="0.4",
        fillstyle="none",
        label="from the law at the law of $D$, not at the drawn $D$",
    )
    ax.plot([], [], "s", color="0.4", alpha=0.35, markeredgewidth=0, label="single draws")
    ax.plot([], [], "x", color="0.4", label="the mean of the rest made that of the law, too")
    ax.set(xlabel="Kolmogorov distance", xlim=(0, None))
    ax.legend(loc="upper center", bbox_to_anchor=(0.3, -0.12), fontsize=6)
    return figure


def draw(records: Records) -> dict[str, Figure]:
    """Draw every histogram beside its law, and all distances beside what was expected."""
    ok = sorted(
        records.ok,
        key=lambda r: (r.cell.activation, r.cell.output_weights, r.cell.gamma1, r.cell.gamma2),
    )
    figures = {"histograms": _histograms(ok), "distances": _distances(ok)}
    if records.bad:
        for figure in figures.values():
            style.footnote(figure, f"{len(records.bad)} cells failed and are missing")
    return figures


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
