"""Which pair of points decides the smallest eigenvalue of the limit NTK matrix?

Question: λ_min beside what the closest pair alone gives, (l − κ_l)/n, and beside the bounds, for
near-duplicates, clusters, the sphere, digits and MNIST; and how much of its eigenvector lies on
that pair.

Expectation: the closest pair bounds λ_min from above. One near-duplicate pair decides it, with the
eigenvector on the pair; where many pairs are equally close (clusters), or at depths where κ_l/l
has settled, it is a matter of many points, and λ_min → ¾ l/n.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field, model_validator

import ntk_eoc as ne
from ntk_eoc import data
from ntk_eoc.report import style
from ntk_eoc.spectra import deep_limit
from ntk_eoc.spectra.bounds import spectral_bounds
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.records import Records


class Cell(config.Cell):
    """One data set and activation at all depths.

    `data` is a named data set, "near_duplicates" (one pair of a sphere's points at distance
    `spread`) or "clusters" (eight of that size).
    """

    data: str
    delta: float = Field(gt=0, le=1)
    n: int = Field(ge=8)
    data_seed: int = Field(default=0, ge=0)
    spread: float = Field(default=1e-2, gt=0)
    depths: tuple[int, ...]

    @model_validator(mode="after")
    def _data_exists(self) -> "Cell":
        points(self)
        return self


def cost(cell: Cell) -> float:
    """Layers to go through."""
    return float(sum(cell.depths))


def points(cell: Cell) -> np.ndarray:
    """Return the cell's points, ‖x‖² = d."""
    if cell.data not in ("near_duplicates", "clusters"):
        return data.load(cell.data, cell.n, cell.data_seed).x
    rng = np.random.default_rng(cell.data_seed)
    d = data.DEFAULT_DIMENSION
    x = rng.standard_normal((cell.n, d))
    if cell.data == "clusters":
        x = x[np.arange(cell.n) % 8] + cell.spread * rng.standard_normal((cell.n, d))
    else:
        x[1] = x[0] + cell.spread * rng.standard_normal(d)
    return x * (math.sqrt(d) / np.linalg.norm(x, axis=1, keepdims=True))


def _one_depth(
    init: ne.Init, x: jnp.ndarray, u: np.ndarray, pair: tuple[int, int], depth: int
) -> tuple[Any, ...]:
    n = len(x)
    kernel = np.asarray(ne.ntk_infinite(init, x, x, depth), np.float64) / n
    values, vectors = np.linalg.eigh(kernel)
    i, j = pair
    on_pair = (vectors[i, 0] - vectors[j, 0]) ** 2 / 2
    alone = kernel[i, i] - kernel[i, j]
    act = init.activation
    assert isinstance(act, ne.AbsLinear)
    bounds = spectral_bounds(act.delta, depth, n, float(u.min()), float(u.max())).smallest
    inverse = np.asarray(deep_limit.inverse_distance_kernel(init, x, x, depth), np.float64) / n
    distances = np.linalg.eigvalsh(inverse)
    return values[0], values[-1], alone, on_pair, *bounds, distances[0], distances[-1]


def measure(cell: Cell) -> dict[str, Any]:
    """Return λ_min, what the closest pair gives, the eigenvector's part on it, bounds: [depths]."""
    init = ne.edge_of_chaos(ne.abs_linear(math.sqrt(1 - cell.delta), math.sqrt(cell.delta)))
    x = jnp.asarray(points(cell), cell.dtype)
    u = np.asarray(deep_limit.cosine_distance(init, x, x, 0))[np.triu_indices(cell.n, 1)]
    pair = deep_limit.closest_pair(init, x, max(cell.depths))
    rows = [_one_depth(init, x, u, pair, depth) for depth in cell.depths]
    names = ("lambda_min", "lambda_max", "alone", "on_pair", "low", "high", "inv_min", "inv_max")
    found = {
        name: np.array(rows) for name, rows in zip(names, zip(*rows, strict=True), strict=True)
    }
    return {**found, "u_min": u.min(), "u_max": u.max(), "pair": np.array(pair)}


def _smallest(ax: Axes, records: Records) -> None:
    looks = style.looks(records.values("data"))
    for record in records:
        depths, n = np.array(record.cell.depths), record.cell.n
        name, color = record.cell.data, looks[record.cell.data]["color"]
        ax.plot(depths, record.arrays["lambda_min"] * n / depths, label=name, **looks[name])
        ax.plot(depths, record.arrays["alone"] * n / depths, "--", color=color, linewidth=0.7)
        low = record.arrays["low"] * n / depths
        ax.plot(depths, np.where(low > 0, low, np.nan), ":", color=color, linewidth=0.8)
    ax.axhline(0.75, **style.GUIDE)
    ax.set(xscale="log", yscale="log", xlabel="depth $l$", ylabel=r"$n\lambda_{\min}/l$")
    style.legend_below(ax, columns=2)


def _on_pair(ax: Axes, records: Records) -> None:
    looks = style.looks(records.values("data"))
    for record in records:
        name = record.cell.data
        label = f"$u_{{\\min}}={float(record.arrays['u_min']):.2g}$"
        ax.plot(record.cell.depths, record.arrays["on_pair"], label=label, **looks[name])
    ax.set(xscale="log", ylim=(-0.02, 1.02), xlabel="depth $l$")
    ax.set_ylabel("eigenvector weight on the pair")
    style.legend_below(ax, columns=2)


def _inverse_distances(ax: Axes, records: Records) -> None:
    looks = style.looks(records.values("data"))
    for record in records:
        for end, line in (("min", "-"), ("max", "--")):
            ratio = record.arrays[f"inv_{end}"] / record.arrays[f"lambda_{end}"]
            ax.plot(record.cell.depths, ratio, line, color=looks[record.cell.data]["color"])
    for end, line in (("least", "-"), ("largest", "--")):
        ax.plot([], [], line, color="0.4", label=end)
    ax.axhline(1, **style.GUIDE)
    ax.set(xscale="log", xlabel="depth $l$", ylim=(0, 2))
    style.legend_below(ax, columns=2)
    ax.set_ylabel("eigenvalue ratio, 1/u over NTK")


def draw(records: Records) -> Figure:
    """Draw λ_min with its pair and bounds, the eigenvector, and the inverse distances' spectrum."""
    figure, axes = style.panels(3, height=2.9)
    if len(records.ok):
        shown = records.ok.where(delta=records.ok.values("delta")[-1])
        for panel, ax in zip((_smallest, _on_pair, _inverse_distances), axes, strict=True):
            panel(ax, shown)
        axes[0].set_title(f"$\\Delta={shown[0].cell.delta:g}$", fontsize=8)
    style.letter(axes)
    note = "(a) dashed: the closest pair alone, dotted: lower bound; colours in (b), (c) as in (a)"
    style.footnote(figure, note + (f"; {len(records.bad)} cells failed" if records.bad else ""))
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
