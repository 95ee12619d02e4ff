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
from _names import INPUTS, WORDS, Activation, Inputs
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc import data
from ntk_eoc.report import style
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
    """Draw matrices; return their distances from the law and histograms, [s, …] each."""
    act, p = ne.activation(cell.activation), round(cell.n / (cell.gamma1 * cell.d))
    law = ne.quadratic_scaling_law(act, cell.n / (cell.d * p), p / cell.d)
    count = outliers(act, cell.n, cell.d, p).number
    edges = np.linspace(0, 1.3 * law.bounds[1], BINS + 1)
    distances, heights = [], []
    for key in cell.seed_keys():
        for_x, for_w = jax.random.split(key)
        ones = jnp.ones(p, cell.dtype)
        factors = two_layer.two_layer(for_w, act, _inputs(cell, for_x), ones)
        bulk = two_layer.eigenvalues(factors)[: cell.n - count]
        distances.append(kolmogorov(law, bulk))
        heights.append(np.histogram(bulk, edges)[0] / (len(bulk) * np.diff(edges)))
    x = np.linspace(*law.bounds, 400)
    return {
        "kolmogorov": np.array(distances),
        "histogram": np.array(heights),
        "bin_edges": edges,
        "law_x": x,
        "law_density": law.density(x),
        "law_support": np.array(law.support),
    }


def _panel(ax: Axes, records: Records) -> None:
    first = records[0].arrays
    looks = style.looks(INPUTS)
    for i, name in enumerate(INPUTS):
        cells = records.where(inputs=name)
        if not len(cells):
            continue
        distances = cells.stack("kolmogorov")
        label = f"{WORDS.get(name, name)}, KS {distances.mean():.3f}"
        ax.stairs(
            cells.stack("histogram").mean(axis=0),
            first["bin_edges"],
            color=looks[name]["color"],
            linestyle=style.LINES[i],
            label=label,
            linewidth=1.0,
        )
    ax.plot(first["law_x"], first["law_density"], color="black", linewidth=0.9, label="limit law")
    high = 1.2 * np.nanmax(first["law_density"])
    for edge in first["law_support"].ravel():
        ax.plot([edge, edge], [0, 0.08 * high], color="black", linewidth=0.8)
    ax.set(ylim=(0, high), xlabel=r"eigenvalue $\lambda$ of the NTK", ylabel="density")
    name = records[0].cell.activation
    ax.set_title(WORDS.get(name, name), fontsize=8)
    ax.legend(fontsize=6)


def draw(records: Records) -> Figure:
    """Draw the histograms of all inputs beside the one law, a panel an activation."""
    ok = records.ok
    names = ok.values("activation")
    figure, axes = style.panels(max(2, len(names)), height=2.6)
    for ax, name in zip(axes, names, strict=False):
        _panel(ax, ok.where(activation=name))
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    style.letter(axes[: len(names)])
    cell = ok[0].cell
    note = rf"$n={cell.n}$, $d={cell.d}$, $\gamma_1\approx{cell.gamma1:g}$; KS: mean Kolmogorov"
    note += " distance from the law, outliers set apart; ticks: edges of the law"
    style.footnote(figure, note)
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
