"""What does depth do to an entry of the limit kernel?

Question: K∞(x, x') beside the inverse cosine distance 3π/(16Δ_φ)/u_{l−1} of the last hidden
activations, for pairs at several angles; and the same entry off the edge of chaos.

Expectation: [S] (1): the difference tends to −1/8 for every Δ_φ and angle, and K∞(x, x')/K∞(x, x)
to ¼; for a smooth φ (erf) to ⅓ on the edge, to 1 below it (ordered), to 0 above it (chaotic). A
scale-invariant φ without biases is only multiplied by a power of the depth off the edge.
"""

import math
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from _cells import angles_of, columns, of_delta
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.report import style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra import deep_limit
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.records import Records


class Cell(config.Cell):
    """One activation at one σ_w; all its angles and depths."""

    phi: Literal["abs_linear", "erf"] = "abs_linear"
    delta: float = Field(default=1.0, gt=0, le=1)
    sigma: float = Field(default=1.0, gt=0)
    angles: tuple[float, ...]
    depths: tuple[int, ...]


def cost(cell: Cell) -> float:
    """Layers to go through."""
    return float(sum(cell.depths))


def _init(cell: Cell) -> ne.Init:
    """σ_w = sigma × its value on the edge, with the edge's biases: those of erf are at q = 1."""
    act = of_delta(cell.delta) if cell.phi == "abs_linear" else ne.activation("erf")
    edge = ne.edge_of_chaos(act, q=1.0)
    return ne.Init(act, cell.sigma * edge.sigma_w, edge.sigma_b)


def measure(cell: Cell) -> dict[str, Any]:
    """Return K∞(x, x')/K∞(x, x), K∞(x, x) and the inverse distance, [depths, angles] each."""
    init, rows = _init(cell), []
    x, y = (jnp.asarray(points, cell.dtype) for points in angles_of(np.array(cell.angles)))
    for depth in cell.depths:
        k = np.asarray(ne.ntk_infinite(init, x, y, depth)[0])
        own = np.asarray(ne.ntk_infinite(init, x, x, depth)[0, 0])
        inverse = np.zeros_like(k)
        if cell.phi == "abs_linear":
            inverse = np.asarray(deep_limit.inverse_distance_kernel(init, x, y, depth)[0])
        rows.append((k / own, np.full_like(k, own), inverse))
    return columns(("ratio", "own", "inverse"), rows)


def _edge(records: Records) -> Records:
    return records.where(phi="abs_linear", sigma=1.0)


def gap(record: Any) -> np.ndarray:
    """K∞ − inverse distance + 1/8, [depths, angles]."""
    arrays = record.arrays
    return arrays["ratio"] * arrays["own"] - arrays["inverse"] + 1 / 8


def _entries(ax: Axes, record: Any) -> None:
    cell, looks = record.cell, style.ramp(record.cell.angles)
    depths = np.array(cell.depths)
    for j, theta in enumerate(cell.angles):
        color = looks[theta]["color"]
        ax.plot(depths, record.arrays["ratio"][:, j], color=color, label=rf"$\theta={theta:.2g}$")
        short = record.arrays["inverse"][:, j] / depths
        ax.plot(
            depths, np.where(short < 1.05, short, np.nan), linestyle=style.LINES[2], color=color
        )
    style.level(ax, 0.25, "¼")
    style.log_axes(ax, y=False)
    ax.set(ylim=(0, 1.05), xlabel="depth $l$", ylabel=r"$K_\infty(x,x')/l$")
    ax.set_title(r"$K_\infty$ nears inverse distances")
    style.legend_below(ax, 2, under=-0.3)


def _errors(ax: Axes, records: Records) -> None:
    for record, line in zip(records, (style.LINES[1], style.LINES[0]), strict=False):
        looks = style.ramp(record.cell.angles)
        for j, theta in enumerate(record.cell.angles):
            color = looks[theta]["color"]
            ax.plot(record.cell.depths, np.abs(gap(record)[:, j]), linestyle=line, color=color)
        style.entry(ax, rf"$\Delta={record.cell.delta:g}$", linestyle=line, color="0.4")
    style.log_axes(ax)
    ax.set(xlabel="depth $l$")
    ax.set_ylabel(r"$|K_\infty - \frac{3\pi}{16\Delta}\,u_{l-1}^{-1} + \frac{1}{8}|$")
    ax.set_title("their difference tends to −1/8")
    style.legend_below(ax, 1, under=-0.3)


def _off_edge(ax: Axes, records: Records) -> None:
    names = {"abs_linear": "abs", "erf": "erf"}
    lines = {0.7: style.LINES[2], 1.0: style.LINES[0], 1.5: style.LINES[1]}
    for phi, name in names.items():
        cells = records.where(phi=phi)
        cells = cells.where(delta=cells.values("delta")[-1]) if len(cells) else cells
        for record in cells:
            j = len(record.cell.angles) // 2 if len(record.cell.angles) > 1 else 0
            j = record.cell.angles.index(0.5) if 0.5 in record.cell.angles else j
            depths = np.array(record.cell.depths)
            shown = depths <= 300
            color = style.activation_look(name)["color"]
            line = lines.get(record.cell.sigma, style.LINES[3])
            ax.plot(depths[shown], record.arrays["ratio"][shown, j], linestyle=line, color=color)
        if len(cells):
            style.entry(ax, style.word(name), color=style.activation_look(name)["color"])
    for sigma in records.values("sigma"):
        line = lines.get(sigma, style.LINES[3])
        style.entry(ax, rf"${sigma:g}\,\sigma_w^\ast$", color="0.4", linestyle=line)
    style.level(ax, 1 / 4, "¼")
    style.level(ax, 1 / 3, "⅓")
    style.log_axes(ax, y=False)
    ax.set(ylim=(-0.02, 1.05), xlabel="depth $l$", ylabel=r"$K_\infty(x,x')/K_\infty(x,x)$")
    ax.set_title("off the edge: order, chaos")
    style.legend_below(ax, 2, under=-0.3)


def draw(records: Records) -> Figure:
    """Draw entries, their distance from the inverse cosine distance, and the view off the edge."""
    figure, axes = style.panels(3, height=2.9)
    ok = records.ok
    edge = _edge(ok)
    if len(edge):
        _entries(axes[0], edge[-1])
        _errors(axes[1], edge)
    if len(ok):
        _off_edge(axes[2], ok)
    dotted = "(a) Δ = 1, dotted: 3π/(16Δl)/u; (b) colours as in (a)"
    return style.finish(
        figure, axes, dotted, "(c) angle ½; σ_w* is the edge, where the three of |s| coincide"
    )


def tables(records: Records) -> dict[str, Table]:
    """The difference of K∞ and the inverse distance at the last depth, and how it got there."""
    rows = []
    for record in _edge(records.ok):
        depths = np.array(record.cell.depths, float)
        late = np.flatnonzero(depths >= depths[-1] / 16)
        for j, theta in enumerate(record.cell.angles):
            last = np.abs(gap(record)[late][:, j])
            slope = math.log(last[-1] / last[0]) / math.log(depths[-1] / depths[late[0]])
            k = record.arrays["ratio"][-1, j] * record.arrays["own"][-1, j]
            off = abs(record.arrays["inverse"][-1, j] / k - 1)
            rows.append((record.cell.delta, theta, gap(record)[-1, j], slope, off))
    last_depth = _edge(records.ok)[0].cell.depths[-1]
    columns = (f"K∞ − inverse distance + 1/8, l = {last_depth}", "its exponent from l/16 on")
    return {"": Table(("Δ", "θ", *columns, "inverse distance / K∞ − 1"), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
