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
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.report import style
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


def _scale_invariant(cell: Cell) -> dict[str, np.ndarray]:
    act = ne.abs_linear(math.sqrt(1 - cell.delta), math.sqrt(cell.delta))
    init = ne.Init(act, cell.sigma / math.sqrt(act.second_moment))
    theta = np.array(cell.angles)
    x = jnp.asarray(math.sqrt(2) * np.array([[1.0, 0.0]]), cell.dtype)
    y = jnp.asarray(math.sqrt(2) * np.stack([np.cos(theta), np.sin(theta)], axis=1), cell.dtype)
    rows = []
    for depth in cell.depths:
        k = np.asarray(ne.ntk_infinite(init, x, y, depth)[0])
        own = np.asarray(ne.ntk_infinite(init, x, x, depth)[0, 0])
        inverse = np.asarray(deep_limit.inverse_distance_kernel(init, x, y, depth)[0])
        rows.append((k / own, np.full_like(k, own), inverse))
    return dict(
        zip(("ratio", "own", "inverse"), map(np.stack, zip(*rows, strict=True)), strict=True)
    )


def _erf(cell: Cell) -> dict[str, np.ndarray]:
    """The same by the closed-form duals of erf; σ_w = sigma × its value on the edge at q = 1."""
    on_edge = math.pi * math.sqrt(5) / 4
    sigma_w2 = cell.sigma**2 * on_edge
    sigma_b2 = 1 - on_edge * (2 / math.pi) * math.asin(2 / 3)
    q, c = 1.0, np.cos(np.array(cell.angles))
    own, k = 1.0, c.copy()
    rows = {}
    for layer in range(1, max(cell.depths) + 1):
        rows[layer] = (k / own, np.full_like(k, own))
        slope, own_slope = (
            sigma_w2 * (4 / math.pi) / np.sqrt((1 + 2 * q) ** 2 - 4 * v**2) for v in (c, q)
        )
        c, q_next = (
            sigma_b2 + sigma_w2 * (2 / math.pi) * np.arcsin(2 * v / (1 + 2 * q)) for v in (c, q)
        )
        k, own, q = slope * k + c, float(own_slope * own + q_next), float(q_next)
    ratio, own_rows = (np.stack([rows[depth][i] for depth in cell.depths]) for i in (0, 1))
    return {"ratio": ratio, "own": own_rows, "inverse": np.zeros_like(ratio)}


def measure(cell: Cell) -> dict[str, Any]:
    """Return K∞(x, x')/K∞(x, x), K∞(x, x) and the inverse distance, [depths, angles] each."""
    return _scale_invariant(cell) if cell.phi == "abs_linear" else _erf(cell)


def _entries(ax: Axes, records: Records) -> None:
    cell = records[0].cell
    looks = style.looks(cell.angles)
    for line, record in zip(style.LINES, records, strict=False):
        for j, theta in enumerate(cell.angles):
            label = f"$\\theta={theta:.2g}$" if record is records[0] else None
            color = looks[theta]["color"]
            ax.plot(cell.depths, record.arrays["ratio"][:, j], line, color=color, label=label)
            short = record.arrays["inverse"][:, j] / np.array(cell.depths)
            ax.plot(cell.depths, np.where(short < 1.2, short, np.nan), color=color, lw=0.5)
    ax.axhline(0.25, **style.GUIDE)
    ax.set(xscale="log", ylim=(0, 1.05), xlabel="depth $l$", ylabel=r"$K_\infty(x,x')/l$")
    named = zip(records, style.LINES, strict=False)
    for record, name in named:
        ax.plot([], [], linestyle=name, color="0.4", label=f"$\\Delta={record.cell.delta:g}$")
    ax.plot([], [], color="0.4", lw=0.5, label=r"$\frac{3\pi}{16\Delta l}\,u_{l-1}^{-1}$")
    style.legend_below(ax, columns=3)


def _errors(ax: Axes, records: Records) -> None:
    for line, record in zip(style.LINES, records, strict=False):
        cell, arrays = record.cell, record.arrays
        gap = arrays["ratio"] * arrays["own"] - arrays["inverse"] + 1 / 8
        looks = style.looks(cell.angles)
        for j, theta in enumerate(cell.angles):
            ax.plot(cell.depths, np.abs(gap[:, j]), line, color=looks[theta]["color"])
    ax.set(xscale="log", yscale="log", xlabel="depth $l$")
    ax.set_ylabel(r"$|K_\infty - \frac{3\pi}{16\Delta}\,u_{l-1}^{-1} + \frac{1}{8}|$")


def _off_edge(ax: Axes, records: Records) -> None:
    names = {"abs_linear": "abs", "erf": "erf"}
    for phi, line in zip(names, style.LINES, strict=False):
        cells = records.where(phi=phi)
        cells = cells.where(delta=cells.values("delta")[-1]) if len(cells) else cells
        looks = style.looks(cells.values("sigma") if len(cells) else [])
        for record in cells:
            j = len(record.cell.angles) // 2
            depths = np.array(record.cell.depths)
            shown = depths <= 300
            label = rf"{names[phi]}, ${record.cell.sigma:g}\,\sigma_w^\ast$"
            look = {**looks[record.cell.sigma], "markevery": 4}
            ax.plot(depths[shown], record.arrays["ratio"][shown, j], line, label=label, **look)
    for limit in (1 / 4, 1 / 3):
        ax.axhline(limit, **style.GUIDE)
    ax.set(xscale="log", ylim=(-0.02, 1.05), xlabel="depth $l$")
    ax.set_ylabel(r"$K_\infty(x,x')/K_\infty(x,x)$")
    style.legend_below(ax, columns=2)


def draw(records: Records) -> Figure:
    """Draw entries, their distance from the inverse cosine distance, and the view off the edge."""
    figure, axes = style.panels(3, height=2.9)
    ok = records.ok
    edge = ok.where(phi="abs_linear", sigma=1.0)
    if len(edge):
        _entries(axes[0], edge)
        _errors(axes[1], edge)
    if len(ok):
        _off_edge(axes[2], ok)
    style.letter(axes)
    note = "lines in (b) as in (a); (c) at the middle angle, σ_w* is the edge of chaos"
    style.footnote(figure, note + (f"; {len(records.bad)} cells failed" if records.bad else ""))
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
