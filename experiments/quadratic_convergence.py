"""How fast do the NTK's eigenvalues approach the law of the quadratic scaling?

Question: Kolmogorov and Wasserstein distance between the eigenvalues of drawn matrices and the law
against d, at fixed γ₁ = n/(dp) and γ₂ = p/d, outliers of c_0 ≠ 0 set apart.

Expectation: no rate is proved in [Q]. Eigenvalues are rigid and the corrections of rank d to an
n × n matrix, n ~ d², shift a share 1/d of them: a slope near −1, at most −0.7 for absolute value.
"""

from typing import Any

import numpy as np
from _names import WORDS, Activation
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.estimates import exponent, mean
from ntk_eoc.report import style
from ntk_eoc.spectra import two_layer
from ntk_eoc.spectra.distances import kolmogorov, wasserstein
from ntk_eoc.spectra.quadratic_scaling_law import outliers
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.records import Records


class Cell(config.Cell):
    """One size of matrix and activation."""

    activation: Activation
    d: int = Field(ge=4)
    gamma1: float = Field(gt=0)
    gamma2: float = Field(gt=0)


def cost(cell: Cell) -> float:
    """Flops of the dense eigenvalues."""
    n, p = two_layer.sizes(cell.d, cell.gamma1, cell.gamma2)
    return cell.seeds * float(min(n, cell.d * p)) ** 3


def measure(cell: Cell) -> dict[str, Any]:
    """Draw matrices and return their distances from the law, [s] each."""
    act = ne.activation(cell.activation)
    n, p = two_layer.sizes(cell.d, cell.gamma1, cell.gamma2)
    law = ne.quadratic_scaling_law(act, n / (cell.d * p), p / cell.d)
    count = outliers(act, n, cell.d, p).number
    distances = []
    for key in cell.seed_keys():
        factors = two_layer.draw(key, act, (n, cell.d, p), dtype=cell.dtype)
        bulk = two_layer.eigenvalues(factors)[: n - count]
        distances.append((kolmogorov(law, bulk), wasserstein(law, bulk)))
    table = np.array(distances)
    return {"kolmogorov": table[:, 0], "wasserstein": table[:, 1], "law_error": law.error}


def _against_size(ax: Axes, records: Records, name: str) -> None:
    looks = style.looks(records.values("activation"))
    for activation in records.values("activation"):
        cells = records.where(activation=activation)
        sizes = cells.values("d")
        groups = [cells.where(d=d).stack(name) for d in sizes]
        label = WORDS.get(activation, activation)
        if len(sizes) > 1:
            fit = exponent(sizes, groups)
            label += f": $d^{{{fit.slope:.2f}}}$ [{fit.low:.2f}, {fit.high:.2f}]"
        estimates = [mean(group) for group in groups]
        ax.errorbar(
            sizes,
            [e.mean for e in estimates],
            [e.error for e in estimates],
            label=label,
            linestyle="-",
            **looks[activation],
        )
    low, d = ax.get_ylim()[0], np.array(records.values("d"), dtype=float)
    ax.plot(d, 0.8 * low * d[-1] / d, **style.GUIDE, label="guide $d^{-1}$")
    ax.set(xscale="log", yscale="log", xlabel="inputs $d$ ($p=\\gamma_2 d$, $n=\\gamma_1 dp$)")
    ax.set_xticks(d, [f"{v:g}" for v in d])
    ax.minorticks_off()
    style.legend_below(ax, columns=1)


def draw(records: Records) -> Figure:
    """Draw both distances against d with their slopes."""
    figure, axes = style.panels(2, height=3.2)
    ok = records.ok
    _against_size(axes[0], ok, "kolmogorov")
    axes[0].set_ylabel(r"$\sup_t|F_n(t)-F(t)|$ (Kolmogorov)")
    _against_size(axes[1], ok, "wasserstein")
    axes[1].set_ylabel(r"$\int|F_n-F|\,dt$ (Wasserstein)")
    style.letter(axes)
    cell = ok[0].cell
    note = (
        rf"$\gamma_1={cell.gamma1:g}$, $\gamma_2={cell.gamma2:g}$; bars: standard error of the mean"
    )
    note += "; outliers set apart; brackets: 95 % intervals"
    style.footnote(figure, note)
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
