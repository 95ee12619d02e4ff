"""Do generic activations inside the hypotheses of [Q] follow its law, and can one tell?

Question: Kolmogorov and Wasserstein distance between drawn eigenvalues and the law against d, for
φ with c_1 ν² ≠ 0 and φ' without a jump: gelu, silu, elu, s³/6 + s²/2 − s/2; beside the
distances from the law without the transposed term, from Marchenko–Pastur's at the same two moments
and from MP_{γ₁} ⊠ μ. Is a + b/d with a = 0 what the distances are?

Expectation: [Q] proves weak convergence here; the distance falls like 1/d with an intercept a that
is 0 within its error, while the controls' distances stay, ten times as large at the largest d.
"""

from typing import Any

import _ratios
import numpy as np
from _cells import columns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import stdtrit

import ntk_eoc as ne
from ntk_eoc.estimates import Exponent, Quantile, interval, mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra import two_layer
from ntk_eoc.spectra.control_laws import WORDS, Controls, control_laws
from ntk_eoc.spectra.distances import kolmogorov, wasserstein
from ntk_eoc.spectra.quadratic_scaling_law import outliers
from ntk_eoc.sweeps.records import Records

cubic = ne.Activation(
    "cubic", lambda s: s**3 / 6 + s**2 / 2 - s / 2, derivative=lambda s: s * s / 2 + s - 0.5
)  # c_0 = 0, c_1 = 1, ν² = ½


class Cell(_ratios.OfInputs):
    """One size of matrix and activation."""


cost = _ratios.cost


def measure(cell: Cell) -> dict[str, Any]:
    """Return the distances from the law and from what it is not, outliers set apart, [s] each."""
    act = ne.activation(cell.activation)
    n, d, p = cell.size
    ratios = n / (d * p), p / d
    laws = {"law": ne.quadratic_scaling_law(act, *ratios), **control_laws(act, *ratios)._asdict()}
    count = outliers(act, n, d, p).number
    rows = []
    for factors in _ratios.draws(cell, act):
        bulk = two_layer.eigenvalues(factors)[: n - count]
        matched = bulk * (laws["law"].moment(1) / np.mean(bulk))
        far = [
            distance(law, bulk) for distance in (kolmogorov, wasserstein) for law in laws.values()
        ]
        rows.append((*far, kolmogorov(laws["law"], matched)))
    names = [f"{kind}_{name}" for kind in ("kolmogorov", "wasserstein") for name in laws]
    return columns((*names, "mean_matched"), rows)


def intercept(d: Any, draws: Any) -> Exponent:
    """Fit means by a + b/d; return a with its 95 % interval as `slope`, b as `prefactor`.

    Weights are one over the squared standard errors, which the residuals rescale upwards alone.
    """
    x, y = 1 / np.asarray(d, float), np.array([np.mean(one) for one in draws])
    weight = 1 / np.array([np.var(one, ddof=1) / len(one) for one in draws])
    design = np.stack([np.ones_like(x), x], axis=1)
    inverse = np.linalg.inv(design.T @ (weight[:, None] * design))
    a, b = inverse @ design.T @ (weight * y)
    left = float(np.sum(weight * (y - a - b * x) ** 2)) / max(len(x) - 2, 1)
    free = sum(len(one) - 1 for one in draws)
    reach = stdtrit(free, 0.975) * np.sqrt(inverse[0, 0] * max(left, 1.0))
    return Exponent(float(a), float(a - reach), float(a + reach), float(b), free)


def _panel(ax: Axes, cells: Records) -> None:
    d, draws = curves.groups(cells, "d", "kolmogorov_law")
    fit = intercept(d, draws) if len(d) > 2 else None
    curves.bars(ax, np.array(d, float), draws, marker="o", color="k", label="the law")
    looks = style.looks(Controls._fields)
    for name in Controls._fields:
        _, far = curves.groups(cells, "d", f"kolmogorov_{name}")
        curves.bars(ax, np.array(d, float), far, label=WORDS[name], **looks[name])
    if fit is not None:
        line = np.linspace(min(d), max(d), 50)
        ax.plot(line, fit.slope + fit.prefactor / line, **style.GUIDE, label="$a+b/d$")
    style.log_axes(ax, d)
    ax.set(xlabel="inputs $d$")
    ax.set_title(style.word(cells[0].cell.activation))


def draw(records: Records) -> Figure:
    """Draw the distance from the law and those from the controls against d."""
    groups = [cells for _, cells in records.ok.group("activation")]
    figure, axes = style.panels(max(2, len(groups)), height=2.6, squeeze=False, sharey=True)
    for ax, cells in zip(axes[0], groups, strict=False):
        _panel(ax, cells)
    axes[0, 0].set_ylabel("Kolmogorov distance")
    for ax in axes[0, len(groups) :]:
        ax.set_axis_off()
    style.legend_above(figure, axes[0, 0], ncols=3)
    cell = records.ok[0].cell
    ratios = rf"$\gamma_1={cell.gamma1:g}$, $\gamma_2={cell.gamma2:g}$"
    least = curves.fewest(records.ok, "kolmogorov_law", "activation", "d")
    return style.finish(
        figure,
        axes[0, : len(groups)],
        ratios,
        f"bars: 95 %, {least} draws or more",
        "outliers set apart",
    )


def tables(records: Records) -> dict[str, Table]:
    """Distances at every d beside the controls'; the fits of a + b/d."""
    rows, fits = [], []
    for (name, d), cells in sorted(records.ok.group("activation", "d"), key=lambda one: one[0]):
        law = mean(cells.stack("kolmogorov_law"))
        area = Quantile(*interval(cells.stack("wasserstein_law")))
        beside = [mean(cells.stack(f"kolmogorov_{one}")).mean for one in Controls._fields]
        ratios = [value / law.mean for value in beside]
        matched = mean(cells.stack("mean_matched"))
        rows.append((style.word(name), d, law.draws, law, matched, area, *beside, *ratios[:2]))
    for (name,), cells in records.ok.group("activation"):
        own: list[Any] = [style.word(name)]
        for kind in ("kolmogorov", "wasserstein"):
            d, draws = curves.groups(cells, "d", f"{kind}_law")
            fit = intercept(d, draws)
            own += [f"{fit.slope:.4f} [{fit.low:.4f}, {fit.high:.4f}]", fit.prefactor]
            own.append(curves.fit_of(d, draws))
        fits.append(own)
    heads = ("draws", "Kolmogorov", "mean matched", "Wasserstein, 95 %", *WORDS.values())
    over = ("transposed over the law", "matched over the law")
    parts = ("a", "b", "exponent in d")
    kinds = [f"{part}, {kind}" for kind in ("Kolmogorov", "Wasserstein") for part in parts]
    return {
        "": Table(("φ", "d", *heads, *over), rows),
        "fits": Table(("φ", *kinds), fits),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
