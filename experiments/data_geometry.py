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
from _cells import columns, of_delta
from _distances import data_legend
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field, model_validator

import ntk_eoc as ne
from ntk_eoc import data
from ntk_eoc.report import style
from ntk_eoc.report.tables import Table
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
    delta = init.activation.constants["Δ"]
    bounds = spectral_bounds(delta, depth, n, float(u.min()), float(u.max())).smallest
    inverse = np.asarray(deep_limit.inverse_distance_kernel(init, x, x, depth), np.float64) / n
    distances = np.linalg.eigvalsh(inverse)
    return values[0], values[-1], alone, on_pair, *bounds, distances[0], distances[-1]


def measure(cell: Cell) -> dict[str, Any]:
    """Return λ_min, what the closest pair gives, the eigenvector's part on it, bounds: [depths]."""
    init = ne.edge_of_chaos(of_delta(cell.delta))
    x = jnp.asarray(points(cell), cell.dtype)
    u = np.asarray(deep_limit.cosine_distance(init, x, x, 0))[np.triu_indices(cell.n, 1)]
    pair = deep_limit.closest_pair(init, x, max(cell.depths))
    rows = [_one_depth(init, x, u, pair, depth) for depth in cell.depths]
    names = ("lambda_min", "lambda_max", "alone", "on_pair", "low", "high", "inv_min", "inv_max")
    return {**columns(names, rows), "u_min": u.min(), "u_max": u.max(), "pair": np.array(pair)}


def _smallest(ax: Axes, records: Records) -> None:
    looks = style.looks(records.values("data"))
    for record in records:
        depths, n, look = np.array(record.cell.depths), record.cell.n, looks[record.cell.data]
        ax.plot(depths, record.arrays["lambda_min"] * n / depths, **look)
        low = record.arrays["low"] * n / depths
        dotted = {"linestyle": style.LINES[2], "color": look["color"]}
        ax.plot(depths, np.where(low > 0, low, np.nan), **dotted)
    style.log_axes(ax)
    style.level(ax, 0.75, "¾")
    ax.set(xlabel="depth $l$", ylabel=r"$n\lambda_{\min}/l$")
    ax.set_title(r"$\lambda_{\min}$ and its lower bound")


def _alone(ax: Axes, records: Records) -> None:
    looks = style.looks(records.values("data"))
    for record in records:
        ratio = record.arrays["alone"] / record.arrays["lambda_min"]
        ax.plot(record.cell.depths, ratio, **looks[record.cell.data])
    style.level(ax, 1)
    style.log_axes(ax, y=False)
    ax.set(xlabel="depth $l$", ylabel=r"pair's value / $\lambda_{\min}$")
    ax.set_ylim(0.95, None)
    ax.set_title("the closest pair alone bounds it from above")


def _on_pair(ax: Axes, records: Records) -> None:
    looks = style.looks(records.values("data"))
    for record in records:
        ax.plot(record.cell.depths, record.arrays["on_pair"], **looks[record.cell.data])
    style.log_axes(ax, y=False)
    ax.set(ylim=(-0.02, 1.02), xlabel="depth $l$", ylabel="weight on the pair")
    ax.set_title("the eigenvector's weight on that pair")


def _inverse_distances(ax: Axes, records: Records) -> None:
    looks = style.looks(records.values("data"))
    for end, line in (("min", style.LINES[0]), ("max", style.LINES[1])):
        for record in records:
            ratio = record.arrays[f"inv_{end}"] / record.arrays[f"lambda_{end}"]
            ax.plot(
                record.cell.depths, ratio, linestyle=line, color=looks[record.cell.data]["color"]
            )
        style.entry(ax, {"min": "least", "max": "largest"}[end], linestyle=line, color="0.4")
    style.level(ax, 1)
    style.log_axes(ax, y=False)
    ax.set(xlabel="depth $l$", ylim=(0, 2), ylabel="eigenvalues, 1/u over NTK")
    ax.set_title("inverse distances have its spectrum")
    ax.legend()


def draw(records: Records) -> Figure:
    """Draw λ_min with its bound, the closest pair's, the eigenvector, and the inverse distances."""
    figure, axes = style.panels(2, 2, height=2.2)
    shown = records.ok.where(delta=records.ok.values("delta")[-1])
    for panel, ax in zip((_smallest, _alone, _on_pair, _inverse_distances), axes.flat, strict=True):
        panel(ax, shown)
    data_legend(figure, axes[0, 0], shown)
    cell = shown[0].cell
    return style.finish(
        figure, axes, f"Δ = {cell.delta:g}, n = {cell.n}; (a) dotted: the proven lower bound"
    )


def tables(records: Records) -> dict[str, Table]:
    """λ_min at a few depths, over the closest pair's value and over its lower bound."""
    rows = []
    for record in records.ok:
        arrays, depths = record.arrays, record.cell.depths
        for i in sorted({0, len(depths) // 2, len(depths) - 1}):
            smallest = arrays["lambda_min"][i]
            ratios = (arrays["alone"][i] / smallest, arrays["on_pair"][i])
            bound = arrays["low"][i] / smallest
            inverse = arrays["inv_min"][i] / smallest
            head = (record.cell.data, record.cell.delta, float(arrays["u_min"]), depths[i])
            rows.append((*head, smallest * record.cell.n / depths[i], *ratios, bound, inverse))
    columns = ("pair alone/λ_min", "weight on the pair", "lower bound/λ_min", "inverse distances")
    return {"": Table(("data", "Δ", "u_min", "l", "n λ_min/l", *columns), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
