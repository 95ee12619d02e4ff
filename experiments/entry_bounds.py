"""Do [S]'s two-sided bound of an entry and its expansion of the inverse cosine distance hold?

Question: κ_l <= (3π/16Δ) w_l − 1/8, w_l the inverse cosine distance in layer l, at many angles, Δ
and l: is it ever broken, and which constant C does the other side, with −C Δ⁻²/l, need? How far
is w_l from w + (4Δ/3π)(l − 1) + (2Δ/π) log(3πw/(4Δ) + l − 1), which [S] prints with ± O(1)?

Expectation: no violation of the upper side, which is exact. The constants cannot hold for all
angles: κ_l <= l while w_l is as large as the angle is small, and x, −x meet under an even φ.
"""

import math
from typing import Annotated, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

from ntk_eoc.kernels.angular_recursion import host_layers
from ntk_eoc.report import style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra.deep_expansion import entry_above, expanded_distance
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.records import Records

REGIONS = {"θ in [0.5, π/2]": (0.5, 0.5), "θ <= π/2": (0.0, 0.5), "all θ": (0.0, 1.0)}
"""Least angle, and the largest as a part of π."""


class Cell(config.Cell):
    """One Δ_φ, many angles and depths."""

    delta: float = Field(gt=0, le=1)
    angles: int = Field(
        ge=8, description="half from 1e-6 π up on a logarithmic scale, half uniform"
    )
    depths: tuple[Annotated[int, Field(ge=1)], ...]


def cost(cell: Cell) -> float:
    """Layers times angles."""
    return float(max(cell.depths) * cell.angles)


def _angles(cell: Cell) -> np.ndarray:
    rng = np.random.default_rng([cell.root_seed, round(1e6 * cell.delta)])
    half = cell.angles // 2
    close = np.pi * 10 ** rng.uniform(-6, 0, half)
    return np.concatenate([close, rng.uniform(0, np.pi, cell.angles - half)])


def measure(cell: Cell) -> dict[str, Any]:
    """Return at each depth, [l]: violations, the least distance from the bound, the constants.

    `lower` is the C that κ_l >= (3π/16Δ) w_l − 1/8 − C Δ⁻²/l needs, `scaled` that of C w² Δ⁻²/l,
    `expansion` the largest error of the expansion, one row a region of angles: [regions, l].
    """
    theta = _angles(cell)
    u, depths = np.sin(theta / 2), np.array(cell.depths)
    inside = [(theta >= low) & (theta <= high * math.pi) for low, high in REGIONS.values()]
    rows = []
    for depth, state in enumerate(
        host_layers(cell.delta, 2 * u * u, 2 * np.cos(theta / 2) ** 2), 1
    ):
        if depth in depths:
            w = np.sqrt(2 / state.delta)
            gap = entry_above(cell.delta, w) - (depth - state.defect)
            constant = gap * depth * cell.delta**2
            off = np.abs(w - expanded_distance(cell.delta, 1 / u, depth))
            parts = [[a[i].max() for i in inside] for a in (constant, constant * u**2, off)]
            rows.append((np.sum(gap < 0), gap.min(), *parts))
        if depth == depths.max():
            break
    names = ("violations", "gap", "lower", "scaled", "expansion")
    return {name: np.array(column).T for name, column in zip(names, zip(*rows), strict=True)}  # noqa: B905


def _curves(ax: Axes, records: Records, of: Any, line: Any = "-") -> None:
    looks = style.ramp(records.values("delta"))
    for record in records:
        color = looks[record.cell.delta]["color"]
        ax.plot(record.cell.depths, of(record), color=color, linestyle=line, linewidth=0.9)
    style.log_axes(ax)
    ax.set_xlabel("depth $l$")


def draw(records: Records) -> Figure:
    """Draw the least distance from the exact side, and the constants of the two others."""
    figure, axes = style.panels(3, height=2.5)
    ok = records.ok
    _curves(axes[0], ok, lambda r: r.arrays["gap"])
    axes[0].set_ylabel("least distance from the bound")
    axes[0].set_title("the upper side holds")
    for region, line in ((0, style.LINES[0]), (1, style.LINES[2])):
        _curves(axes[1], ok, lambda r, i=region: r.arrays["scaled"][i], line)
        _curves(axes[2], ok, lambda r, i=region: r.arrays["expansion"][i], line)
        style.entry(axes[2], list(REGIONS)[region], color="0.4", linestyle=line)
    axes[1].set_ylabel(r"$C$ of $C\,w^2\Delta^{-2}/l$")
    axes[1].set_title("the lower side needs w²")
    axes[2].set_ylabel("error of the expansion")
    axes[2].set_title("± O(1) is ± log w")
    axes[2].legend()
    looks = style.ramp(ok.values("delta"))
    ends = [min(looks), max(looks)]
    for delta in ends:
        style.entry(axes[0], rf"$\Delta={delta:g}$", color=looks[delta]["color"])
    axes[0].legend()
    tried = sum(r.cell.angles * len(r.cell.depths) for r in ok)
    broken = sum(int(r.arrays["violations"].sum()) for r in ok)
    return style.finish(
        figure, axes, f"{tried:,} (angle, Δ, l), {broken} violations of the upper side"
    )


def tables(records: Records) -> dict[str, Table]:
    """Violations, and the largest constants over all depths, one row a Δ."""
    rows = []
    for record in sorted(records.ok, key=lambda r: r.cell.delta):
        arrays, cell = record.arrays, record.cell
        tried = cell.angles * len(cell.depths)
        lower, scaled, off = (arrays[k].max(axis=1) for k in ("lower", "scaled", "expansion"))
        broken, gap = int(arrays["violations"].sum()), float(arrays["gap"].min())
        rows.append((cell.delta, tried, broken, gap, *lower[:2], scaled[1], scaled[2], *off))
    names = list(REGIONS)
    columns = (
        *(f"C of Δ⁻²/l, {name}" for name in names[:2]),
        *(f"C of w²Δ⁻²/l, {name}" for name in names[1:]),
        *(f"error of the expansion, {name}" for name in names),
    )
    return {"": Table(("Δ", "tried", "violations", "least distance", *columns), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
