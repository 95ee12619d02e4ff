"""Does the condition number of K∞ fall with depth as Figure 1 of [S] shows?

Question: the mean condition number of K∞ over data sets of 32 points, uniform on the sphere of
R¹⁶, against depth for eight Δ_φ, beside the means of 100 data sets that [S] published.

Expectation: the published means lie within their error of ours, for one condition number is a
function of the data alone. All curves fall towards 1 + n/3, the faster the larger Δ_φ is, but at
two and four layers the closest pair and, for φ even, the most nearly opposite pair decide.
"""

import csv
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from _cells import of_delta
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc import data, user_code
from ntk_eoc.estimates import mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra.deep_limit import deep_condition
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.records import Records

DRAWS = 100  # data sets behind a published mean
QUOTED = {
    2: (92.733292, 46.320038, 37.408707, 34.767193, 33.757744, 33.578789, 34.283146, 39.083866),
    8: (28.793282, 24.897253, 22.929365, 21.665611, 20.811979, 20.247992, 19.930843, 20.24712),
    64: (17.457495, 15.26125, 14.400005, 13.957771, 13.701618, 13.546599, 13.452967, 13.427638),
}
"""Published means, [S] Figure 1: depth → one at each of Δ_φ = ⅛, ¼, …, 1."""


class Cell(config.Cell):
    """Data sets of one Δ_φ, one a seed, at all depths; and the published means to compare with."""

    delta: float = Field(gt=0, le=1)
    d: int = Field(ge=2)
    n: int = Field(ge=2)
    depths: tuple[Annotated[int, Field(ge=2)], ...]
    published: str | None = None
    """A CSV file with the column `depth` and one `delta=Δ` for every Δ; the quoted means if None"""


def cost(cell: Cell) -> float:
    """Kernels to compute."""
    return float(cell.seeds * sum(cell.depths))


def published(cell: Cell) -> np.ndarray:
    """Return the published mean at each of the cell's depths; −1 where there is none."""
    if cell.published is None:
        column = round(8 * cell.delta) - 1
        known = {depth: means[column] for depth, means in QUOTED.items()}
    else:
        path = user_code.base() / Path(cell.published).expanduser()
        lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
        rows = list(csv.DictReader(lines))
        known = {int(row["depth"]): float(row[f"delta={cell.delta:g}"]) for row in rows}
    return np.array([known.get(depth, -1.0) for depth in cell.depths])


def _plain(delta: float, x: np.ndarray, depths: tuple[int, ...]) -> np.ndarray:
    """Condition numbers by the recursion on ρ in float32, where even ρ(x, x) is rounded."""
    one, part = np.float32(1), np.float32(2 * delta / np.pi)
    unit = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    cosine = np.clip(unit @ unit.T, -1, 1)
    kernel, found = cosine, []
    for depth in range(2, max(depths) + 1):
        angle = np.arccos(np.clip(cosine, -1, 1))
        sine = np.sqrt(np.maximum(one - cosine**2, 0))
        cosine = cosine + part * (sine - angle * cosine)
        kernel = (one - part * angle) * kernel + cosine
        if depth in depths:
            spectrum = np.linalg.eigvalsh(kernel.astype(np.float64))
            found.append(spectrum[-1] / spectrum[0])
    return np.array(found)


def measure(cell: Cell) -> dict[str, Any]:
    """Return the condition numbers, [s, depths], those of a plain recursion, the published means.

    The plain recursion is what one would write down first: on ρ, in float32.
    """
    init = ne.edge_of_chaos(of_delta(cell.delta))
    rows, plain = [], []
    for seed in range(cell.first_seed, cell.first_seed + cell.seeds):
        x = jnp.asarray(data.load(f"sphere:{cell.d}", cell.n, seed).x, cell.dtype)
        kernels = [np.asarray(ne.ntk_infinite(init, x, x, depth)) for depth in cell.depths]
        spectra = np.linalg.eigvalsh(np.stack(kernels))
        rows.append(spectra[:, -1] / spectra[:, 0])
        plain.append(_plain(cell.delta, np.asarray(x), cell.depths))
    return {
        "condition": np.stack(rows),
        "plain": np.stack(plain),
        "published": published(cell),
    }


def _gaps(records: Records) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(depths, published − ours in their combined standard errors, published/ours − 1) of one Δ."""
    ours = records.stack("condition")
    theirs = records[0].arrays["published"]
    there = theirs > 0
    count = len(ours)
    error = ours.std(axis=0, ddof=1) * np.sqrt(1 / count + 1 / DRAWS)
    gap = theirs - ours.mean(axis=0)
    depths = np.array(records[0].cell.depths)[there]
    return depths, (gap / error)[there], (gap / ours.mean(axis=0))[there]


def _rounding(records: Records) -> np.ndarray:
    """The mean of what the plain recursion adds, in the standard errors of `_gaps`, of one Δ."""
    ours, plain = records.stack("condition"), records.stack("plain")
    error = ours.std(axis=0, ddof=1) * np.sqrt(1 / len(ours) + 1 / DRAWS)
    return (plain - ours).mean(axis=0) / error


def _means(ax: Axes, records: Records) -> None:
    looks = style.ramp(records.values("delta"))
    for delta in records.values("delta"):
        own, look = records.where(delta=delta), looks[delta]
        depths, theirs = np.array(own[0].cell.depths), own[0].arrays["published"]
        ours = list(own.stack("condition").T)
        label = rf"$\Delta={delta:g}$"
        curves.bars(ax, depths, ours, label=label, color=look["color"], capsize=0)
        there = theirs > 0
        ax.plot(
            depths[there],
            theirs[there],
            marker="o",
            ms=2.2,
            ls="none",
            mfc="w",
            color=look["color"],
        )
    n = records[0].cell.n
    style.level(ax, deep_condition(n), "$1+n/3$")
    style.entry(ax, "published", color="0.4", marker="o", mfc="w", linestyle="none")
    style.log_axes(ax, [2, 4, 8, 16, 32, 64])
    ax.set(xlabel="depth $l$", ylabel=r"condition number of $K_\infty$")
    ax.set_title("depth conditions the kernel, as published")
    ax.legend(fontsize=style.SMALL)


def _differences(ax: Axes, records: Records) -> None:
    looks = style.ramp(records.values("delta"))
    for delta in records.values("delta"):
        depths, gap, _ = _gaps(records.where(delta=delta))
        ax.plot(depths, gap, color=looks[delta]["color"], marker=".", ms=3)
    largest = records.where(delta=max(records.values("delta")))
    depths = np.array(largest[0].cell.depths)
    ax.plot(depths, _rounding(largest), color="k", linewidth=0.7, linestyle=style.LINES[1],
            label=rf"plain float32 − ours, $\Delta={largest[0].cell.delta:g}$")  # fmt: skip
    ax.legend(loc="upper left")
    ax.axhspan(-3, 3, color="0.92", zorder=0)
    ax.axhline(0, **style.GUIDE)
    style.log_axes(ax, [2, 4, 8, 16, 32, 64], y=False)
    ax.set(xlabel="depth $l$", ylabel="published − ours, standard errors")
    ax.set_title("outside of the band: large $l$ and Δ only")


def draw(records: Records) -> Figure:
    """Draw the means beside the published ones, and the differences in standard errors."""
    figure, axes = style.panels(2, height=2.9)
    _means(axes[0], records.ok)
    _differences(axes[1], records.ok)
    cell = records.ok[0].cell
    sets = curves.fewest(records.ok, "condition", "delta")
    bars = f"n = {cell.n} points on the sphere of R^{cell.d}; bars: 95 %, {sets} data sets"
    return style.finish(figure, axes, bars, "published: 100 data sets, [S] Figure 1", "band: ± 3")


def tables(records: Records) -> dict[str, Table]:
    """Ours beside the published means; how many of these lie within three standard errors."""
    rows, counts = [], []
    for delta in records.ok.values("delta"):
        own = records.ok.where(delta=delta)
        depths, gap, off = _gaps(own)
        at = {depth: i for i, depth in enumerate(own[0].cell.depths)}
        for depth in sorted(set(QUOTED) & set(depths.tolist())):
            ours = mean(own.stack("condition")[:, at[depth]])
            theirs = float(own[0].arrays["published"][at[depth]])
            rows.append((delta, depth, ours, f"{theirs:.3f}", gap[list(depths).index(depth)]))
        out = [f"{d}" for d, z in zip(depths, gap, strict=True) if abs(z) > 3]
        span = f"l = {out[0]} … {out[-1]}" if len(out) > 1 else ", ".join(out)
        last = at[depths[-1]]
        plain, ours = (own.stack(name)[:, last].mean() for name in ("plain", "condition"))
        excess = f"{100 * off[-1]:.3f} %", f"{100 * (plain / ours - 1):.3f} %"
        counts.append((delta, len(gap), int((np.abs(gap) <= 3).sum()), span, *excess))
    ends = f"published over ours, l = {depths[-1]}", "plain float32 over ours, there"
    columns = ("Δ", "points", "within 3 standard errors", "outside", *ends)
    return {
        "means": Table(("Δ", "l", "ours", "published", "difference in standard errors"), rows),
        "within": Table(columns, counts),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
