"""What does it cost to take p output weights at random, where the law of [Q] takes their law?

Question: the Kolmogorov distance between `quadratic_scaling_law` at p values of D drawn from a law
and at the law itself, against p. No matrix is drawn: this is what the theorem conditions on.

Expectation: the proportions of p drawn values are off by p^{-1/2}, and so is the law: an exponent
of −½, which outweighs the 1/d of the matrix from some p on. In exact proportions it is 0.
"""

from typing import Any

import jax
import numpy as np
from _cells import WORDS, OutputWeights
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.estimates import mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra import two_layer
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.records import Records


class Cell(config.Cell):
    """p weights of one law, at one pair of ratios, for φ = s²."""

    p: int = Field(ge=2)
    output_weights: OutputWeights
    gamma1: float = Field(gt=0)
    gamma2: float = Field(gt=0)


def cost(cell: Cell) -> float:
    """Laws to compute."""
    return float(cell.seeds)


def measure(cell: Cell) -> dict[str, Any]:
    """Return sup |F_p − F|, F_p the law at the drawn values and F that at their law, [s]."""
    act, ratios = ne.activation("quadratic"), (cell.gamma1, cell.gamma2)
    whole = ne.quadratic_scaling_law(act, *ratios, two_layer.WEIGHTS[cell.output_weights]())
    t = np.linspace(0, np.sqrt(1.5 * whole.bounds[1]), 400) ** 2
    exact = whole.cdf(t)
    found = []
    for key in cell.seed_keys():
        drawn = two_layer.output_weights(
            jax.random.split(key)[0], cell.output_weights, cell.p, "float64"
        )
        law = ne.quadratic_scaling_law(act, *ratios, np.asarray(drawn))
        found.append(np.max(np.abs(law.cdf(t) - exact)))
    return {"distance": np.array(found)}


def draw(records: Records) -> Figure:
    """Draw the distance against p, with its exponent."""
    figure, ax = style.panels(1, height=2.5)
    looks = style.looks(records.ok.values("output_weights"))
    for name, look in looks.items():
        p, draws = curves.groups(records.ok.where(output_weights=name), "p", "distance")
        label = curves.fitted(f"D: {WORDS[name]}", p, draws)
        curves.bars(ax, np.array(p, float), draws, label=label, **look)
    curves.guide(ax, records.ok.values("p"), -0.5, "$p^{-1/2}$")
    style.log_axes(ax, records.ok.values("p"))
    ax.set(xlabel="output weights $p$", ylabel="distance of the two laws")
    ax.set_title("random proportions move the law by $p^{-1/2}$")
    ax.legend()
    least = curves.fewest(records.ok, "distance", "output_weights", "p")
    style.footnote(figure, f"bars and brackets: 95 %, {least} draws a point", "φ = s²")
    return figure


def tables(records: Records) -> dict[str, Table]:
    """The mean distance at every p, and its exponent."""
    rows = []
    for (name,), cells in records.ok.group("output_weights"):
        p, draws = curves.groups(cells, "p", "distance")
        rows.append((WORDS[name], *(mean(one) for one in draws), curves.fit_of(p, draws)))
    heads = [f"p = {p}" for p in records.ok.values("p")]
    return {"": Table(("D", *heads, "exponent in p"), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
