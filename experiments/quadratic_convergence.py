"""How fast do the NTK's eigenvalues approach the law of the quadratic scaling?

Question: Kolmogorov and Wasserstein distance between the eigenvalues of drawn matrices and the law
against d, at fixed γ₁ = n/(dp) and γ₂ = p/d, outliers of c_0 ≠ 0 set apart.

Expectation: no rate is proved in [Q]. Eigenvalues are rigid and the corrections of rank d to an
n × n matrix, n ~ d², shift a share 1/d of them: a slope near −1, at most −0.7 for absolute value.
"""

from typing import Any

import _ratios
import numpy as np
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.estimates import mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra import two_layer
from ntk_eoc.spectra.distances import kolmogorov, wasserstein
from ntk_eoc.spectra.quadratic_scaling_law import outliers
from ntk_eoc.sweeps.records import Records


class Cell(_ratios.OfInputs):
    """One size of matrix and activation."""


cost = _ratios.cost


def measure(cell: Cell) -> dict[str, Any]:
    """Draw matrices and return their distances from the law, [s] each."""
    act = ne.activation(cell.activation)
    n, d, p = cell.size
    law = ne.quadratic_scaling_law(act, n / (d * p), p / d)
    count = outliers(act, n, d, p).number
    distances = []
    for factors in _ratios.draws(cell, act):
        bulk = two_layer.eigenvalues(factors)[: n - count]
        distances.append((kolmogorov(law, bulk), wasserstein(law, bulk)))
    table = np.array(distances)
    return {"kolmogorov": table[:, 0], "wasserstein": table[:, 1], "law_error": law.error}


DISTANCES = {
    "kolmogorov": ("level: Kolmogorov's falls like $1/d$", r"$d\,\sup_t|F_n(t)-F(t)|$"),
    "wasserstein": ("Wasserstein's falls a little slower", r"$d\int|F_n-F|\,dt$"),
}


def draw(records: Records) -> Figure:
    """Draw d times both distances against d with their slopes."""
    figure, axes = style.panels(2, height=2.6)
    ok = records.ok
    for ax, (what, (title, label)) in zip(axes, DISTANCES.items(), strict=True):
        curves.by_activation(ax, ok, "d", what, scale=lambda d: d, shift=0.015)
        style.log_axes(ax, ok.values("d"))
        ax.set(xlabel="inputs $d$ ($p=\\gamma_2 d$, $n=\\gamma_1 dp$)", ylabel=label)
        ax.set_title(title)
        style.legend_below(ax, 1, under=-0.27)
    cell = ok[0].cell
    ratios = rf"$\gamma_1={cell.gamma1:g}$, $\gamma_2={cell.gamma2:g}$"
    least = curves.fewest(ok, "kolmogorov", "activation", "d")
    bars = f"bars and brackets: 95 %, {least} draws a point or more"
    return style.finish(figure, axes, ratios, bars, "outliers set apart")


def tables(records: Records) -> dict[str, Table]:
    """Kolmogorov distances at every d, and the exponents of both distances."""
    rows, sizes = [], records.ok.values("d")
    for (name,), cells in records.ok.group("activation"):
        fits = [curves.fit_of(*curves.groups(cells, "d", what)) for what in DISTANCES]
        _, found = curves.groups(cells, "d", "kolmogorov")
        rows.append((style.word(name), *(mean(one) for one in found), *fits))
    columns = [f"d = {d}" for d in sizes]
    return {"": Table(("φ, Kolmogorov", *columns, "exponent in d", "of Wasserstein's"), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
