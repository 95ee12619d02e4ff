"""Does the law of the quadratic scaling hold at sizes where no matrix fits?

Question: the eigenvalue distribution of one drawn NTK with tens of thousands of rows by Lanczos
quadrature, products alone, beside `quadratic_scaling_law`.

Expectation: at every point the share of eigenvalues below it is that of the law within the error
over the probes, the step of a Gauss rule and the 1/d that finite matrices are off by.
"""

import time
from typing import Any

import jax
import numpy as np
from _cells import Activation, OutputWeights
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.report import style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra import lanczos, two_layer
from ntk_eoc.spectra.quadratic_scaling_law import outliers
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.records import Records

BINS = 40


class Cell(config.Cell):
    """One matrix, known by its products with random probes, one a seed."""

    activation: Activation
    n: int = Field(ge=64)
    gamma1: float = Field(gt=0)
    gamma2: float = Field(gt=0)
    output_weights: OutputWeights = "identity"
    steps: int = Field(ge=4)


def size_of(cell: Any) -> tuple[int, int, int]:
    """(n, d, p) of a cell, from n ≈ γ₁γ₂ d²."""
    d = max(2, round((cell.n / (cell.gamma1 * cell.gamma2)) ** 0.5))
    return cell.n, d, max(1, round(cell.gamma2 * d))


def cost(cell: Cell) -> float:
    """Flops of the products."""
    n, d, p = size_of(cell)
    return 4.0 * n * d * p * cell.steps * cell.seeds


def measure(cell: Cell) -> dict[str, Any]:
    """Return shares of eigenvalues in bins and below their edges, with errors, and the law's.

    The law has the share of all eigenvalues but the outliers of c_0 ≠ 0, which lie above it.
    """
    (n, d, p), act = size_of(cell), ne.activation(cell.activation)
    weights = two_layer.WEIGHTS[cell.output_weights]()
    law = ne.quadratic_scaling_law(act, n / (d * p), p / d, weights)
    bulk = 1 - outliers(act, n, d, p, weights).number / n
    edges = np.linspace(0, np.sqrt(1.05 * law.bounds[1]), BINS + 1) ** 2
    factors = two_layer.draw(
        cell.key(),
        act,
        (n, d, p),
        weights_name=cell.output_weights,
        weights=two_layer.even_weights,
        dtype=cell.dtype,
    )
    began = time.perf_counter()
    rule = lanczos.quadrature(
        two_layer.product,
        n,
        jax.block_until_ready(factors),
        steps=cell.steps,
        probes=cell.seeds,
        seed=cell.root_seed + cell.first_seed,
        dtype=cell.dtype,
    )
    seconds = time.perf_counter() - began
    shares, masses = lanczos.cdf(rule, edges), lanczos.bin_masses(rule, edges)
    x = (
        law.bounds[0]
        + (law.bounds[1] - law.bounds[0]) * (1 - np.cos(np.linspace(0, np.pi, 301))) / 2
    )
    return {
        "edges": edges,
        "share": shares.mean,
        "share_error": shares.error,
        "mass": masses.mean,
        "mass_error": masses.error,
        "law_share": bulk * law.cdf(edges),
        "outliers": round((1 - bulk) * n),
        "law_x": x,
        "law_density": bulk * law.density(x),
        "largest": rule.nodes.max(axis=1),
        "law_end": law.bounds[1],
        "seconds": seconds,
    }


def _density(ax: Axes, record: Any, label: str) -> None:
    arrays = record.arrays
    root, color = np.sqrt(arrays["edges"]), style.activation_look(record.cell.activation)["color"]
    heights = arrays["mass"] / np.diff(root)
    ax.stairs(heights, root, fill=True, color=color, alpha=0.35, label=label)
    middle = (root[1:] + root[:-1]) / 2
    bars = 2 * arrays["mass_error"] / np.diff(root)
    ax.errorbar(middle, heights, bars, linestyle="none", color=color, linewidth=0.7)
    x = np.sqrt(arrays["law_x"])
    ax.plot(x, 2 * x * arrays["law_density"], color="k", linewidth=0.9, label="law")
    ax.set(xlabel=r"$\sqrt{\lambda}$", ylabel=r"density of $\sqrt{\lambda}$", ylim=(0, None))
    ax.set_title(f"{style.word(record.cell.activation)}, n = {record.cell.n:,}")
    ax.legend()


def _differences(ax: Axes, records: Any) -> None:
    for record in records:
        arrays, look = record.arrays, style.activation_look(record.cell.activation)
        off = arrays["share"] - arrays["law_share"]
        root = np.sqrt(arrays["edges"])
        ax.plot(root, off, color=look["color"], label=style.word(record.cell.activation))
        reach = 2 * arrays["share_error"]
        ax.fill_between(root, off - reach, off + reach, color=look["color"], alpha=0.2, linewidth=0)
    ax.axhline(0, **style.GUIDE)
    ax.set(xlabel=r"$\sqrt{\lambda}$", ylabel="share below λ, less the law's")
    ax.set_title("products alone, no matrix")
    ax.legend()


def draw(records: Records) -> Figure:
    """Draw the densities beside the law, and the differences of the distribution functions."""
    ok = sorted(records.ok, key=lambda r: r.cell.activation)
    figure, axes = style.panels(len(ok) + 1, height=2.5)
    for ax, record in zip(axes, ok, strict=False):
        _density(ax, record, f"{record.cell.seeds} probes")
    _differences(axes[-1], ok)
    cell, bytes_ = ok[0].cell, 8.0 * ok[0].cell.n ** 2
    words = f"{cell.steps} Lanczos steps; bars and band: two standard errors over the probes"
    return style.finish(figure, axes, words, f"the matrix would take {bytes_ / 1e9:.0f} GB")


def tables(records: Records) -> dict[str, Table]:
    """Sizes, time, the largest difference, and the largest eigenvalue beside the law's end."""
    rows = []
    for record in sorted(records.ok, key=lambda r: r.cell.activation):
        cell, arrays = record.cell, record.arrays
        off = np.abs(arrays["share"] - arrays["law_share"])
        worst = int(np.argmax(off))
        head = (style.word(cell.activation), *size_of(cell), cell.steps, cell.seeds)
        found = (off[worst], arrays["share_error"][worst], arrays["largest"].mean())
        apart = int(arrays["outliers"])
        rows.append((*head, float(arrays["seconds"]), apart, *found, float(arrays["law_end"])))
    sizes = ("φ", "n", "d", "p", "steps", "probes", "seconds", "outliers")
    columns = ("largest difference", "its standard error", "largest Ritz value", "end of the law")
    return {"": Table((*sizes, *columns), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
