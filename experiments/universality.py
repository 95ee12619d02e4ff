"""Do the NTK's eigenvalues in the quadratic scaling depend on the law of the inputs?

Question: the eigenvalues with inputs X of i.i.d. Gaussian, Rademacher and uniform entries, and of
whitened images (sample covariance I, but entries far from independent), beside the one limit law.

Expectation: [Q] has the same limit for all i.i.d. entries of unit variance. Whitened images are a
counter-example: their fourth-order dependence is not that of independent entries.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _cells import INPUTS, WORDS, Activation, Inputs
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc import data
from ntk_eoc.estimates import FEWEST, mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra import two_layer
from ntk_eoc.spectra.distances import kolmogorov
from ntk_eoc.spectra.quadratic_scaling_law import outliers
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.records import Records

BINS = 50


class Cell(config.Cell):
    """One law of the inputs and activation; n points are projected to d whitened coordinates."""

    activation: Activation
    inputs: Inputs
    n: int = Field(ge=16)
    d: int = Field(ge=4)
    gamma1: float = Field(gt=0)


def whitened(n: int, d: int) -> np.ndarray:
    """Return n images in their first d principal coordinates, each of variance 1, [n, d]."""
    x = np.asarray(data.load("digits", n, 0).x, np.float64)
    left, values, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    if values[d - 1] < 1e-8 * values[0]:
        raise ValueError(f"`d` must be at most the rank of the images, got {d!r}.")
    return left[:, :d] * np.sqrt(n)


def _inputs(cell: Cell, key: jax.Array) -> jax.Array:
    if cell.inputs == "digits":
        return jnp.asarray(whitened(cell.n, cell.d), cell.dtype)
    return two_layer.entries(key, cell.inputs, (cell.n, cell.d), cell.dtype)


def measure(cell: Cell) -> dict[str, Any]:
    """Draw matrices; return their distances from the law, histograms and F_n − F, [s, …] each."""
    act, p = ne.activation(cell.activation), round(cell.n / (cell.gamma1 * cell.d))
    law = ne.quadratic_scaling_law(act, cell.n / (cell.d * p), p / cell.d)
    count = outliers(act, cell.n, cell.d, p).number
    edges = np.linspace(0, 1.3 * law.bounds[1], BINS + 1)
    x = np.linspace(*law.bounds, 400)
    distances, heights, differences = [], [], []
    for key in cell.seed_keys():
        for_x, for_w = jax.random.split(key)
        ones = jnp.ones(p, cell.dtype)
        factors = two_layer.two_layer(for_w, act, _inputs(cell, for_x), ones)
        bulk = two_layer.eigenvalues(factors)[: cell.n - count]
        distances.append(kolmogorov(law, bulk))
        heights.append(np.histogram(bulk, edges)[0] / (len(bulk) * np.diff(edges)))
        differences.append(np.searchsorted(bulk, x, side="right") / len(bulk) - law.cdf(x))
    return {
        "kolmogorov": np.array(distances),
        "histogram": np.array(heights),
        "difference": np.array(differences),
        "bin_edges": edges,
        "law_x": x,
        "law_density": law.density(x),
        "law_support": np.array(law.support),
    }


LINES = dict(zip(INPUTS, style.LINES, strict=True))


def _word(name: str) -> str:
    return WORDS.get(name, name) if name == "digits" else name.capitalize()


def _densities(ax: Axes, records: Records) -> None:
    first, looks = records[0].arrays, style.looks(INPUTS)
    for name in records.values("inputs"):
        heights = records.where(inputs=name).stack("histogram").mean(axis=0)
        look = {"color": looks[name]["color"], "linestyle": LINES[name], "linewidth": 1.1}
        ax.stairs(heights, first["bin_edges"], label=_word(name), **look)
    ax.plot(first["law_x"], first["law_density"], color="black", linewidth=0.9, label="limit law")
    ax.set(ylim=(0, 1.2 * np.nanmax(first["law_density"])), ylabel="density")
    ax.set_title(style.word(records[0].cell.activation))


def _differences(ax: Axes, records: Records) -> None:
    looks = style.looks(INPUTS)
    for name in records.values("inputs"):
        cells = records.where(inputs=name)
        found, x = cells.stack("difference"), cells[0].arrays["law_x"]
        middle, color = found.mean(axis=0), looks[name]["color"]
        ax.plot(x, middle, linestyle=LINES[name], color=color)
        if len(found) >= FEWEST:
            _, low, high = np.array([curves.ends(mean(column)) for column in found.T]).T
            ax.fill_between(x, low, high, color=color, alpha=0.25, lw=0)
    ax.axhline(0, **style.GUIDE)
    ax.set(xlabel=r"eigenvalue $\lambda$", ylabel="$F_n-F$")


def draw(records: Records) -> Figure:
    """Draw the densities and F_n − F of all inputs beside the one law, a column an activation."""
    ok = records.ok
    names = ok.values("activation")
    figure, axes = style.panels(max(2, len(names)), 2, height=1.9, sharex="col", squeeze=False)
    for column, name in zip(axes.T, names, strict=False):
        _densities(column[0], ok.where(activation=name))
        _differences(column[1], ok.where(activation=name))
    for ax in axes[:, len(names) :].ravel():
        ax.set_axis_off()
    style.legend_above(figure, axes[0, 0], ncols=5)
    cell = ok[0].cell
    sizes = rf"$n={cell.n}$, $d={cell.d}$, $\gamma_1\approx{cell.gamma1:g}$"
    draws = f"means of {curves.fewest(ok, 'kolmogorov', 'activation', 'inputs')} draws, bands: 95 %"
    return style.finish(figure, axes[:, : len(names)], sizes, draws, "outliers set apart")


def tables(records: Records) -> dict[str, Table]:
    """The mean Kolmogorov distance from the law, an activation a row."""
    shown = records.ok.values("inputs")
    order = [name for name in INPUTS if name in shown]
    rows = []
    for (name,), cells in records.ok.group("activation"):
        found = [mean(cells.where(inputs=one).stack("kolmogorov")) for one in order]
        rows.append((style.word(name), *found))
    return {"": Table(("φ, Kolmogorov distance", *map(_word, order)), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
