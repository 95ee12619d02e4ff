"""How fast does depth condition the limit NTK matrix, and what has Δ_φ to do with it?

Question: the condition number of [K∞(x_i, x_j)/n] against depth for several Δ_φ, beside its bounds
and its limit 1 + n/3; the depth at which it comes within a factor 2 of that limit; and κ_l/l
against τ = 4Δ_φ u_0 l/(3π).

Expectation: [S] (4): Δ_φ sets the rate. For close pairs depth enters only through τ, so that
absolute value needs half the depth of ReLU; at a fixed wide angle κ_l = l/4 + (3/8) log l + C,
where the logarithm does not know Δ_φ and the collapse fails.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from _cells import angles_of, columns, of_delta
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
    """One activation on one data set, all depths; and its pairs at given angles."""

    delta: float = Field(gt=0, le=1)
    data: str
    n: int = Field(ge=2)
    data_seed: int = Field(default=0, ge=0)
    angles: tuple[float, ...]
    depths: tuple[int, ...]

    @model_validator(mode="after")
    def _data_exists(self) -> "Cell":
        data.load(self.data, self.n, self.data_seed)
        return self


def cost(cell: Cell) -> float:
    """Layers to go through."""
    return float(sum(cell.depths))


def measure(cell: Cell) -> dict[str, Any]:
    """Return extreme eigenvalues, their bounds and κ_l of the angles, the depths axis first."""
    act = of_delta(cell.delta)
    init = ne.edge_of_chaos(act)
    x = jnp.asarray(data.load(cell.data, cell.n, cell.data_seed).x, cell.dtype)
    u = np.asarray(deep_limit.cosine_distance(init, x, x, 0))
    u = u[np.triu_indices(cell.n, 1)]
    # An even φ takes x and −x for one point: the opposite of a point may be the closest.
    closest = np.minimum(u, np.sqrt(1 - u**2)).min() if cell.delta == 1 else u.min()
    one, two = (jnp.asarray(p, cell.dtype) for p in angles_of(np.array(cell.angles)))
    rows = []
    for depth in cell.depths:
        values = deep_limit.ntk_spectrum(init, x, depth).eigenvalues
        bounds = spectral_bounds(act.delta, depth, cell.n, float(u.min()), float(u.max()))
        kappa = np.asarray(ne.ntk_infinite(init, one, two, depth)[0])
        # The inverse of an upper bound, which may be infinite: a record holds finite numbers.
        rows.append((values[0], values[-1], bounds.condition[0], 1 / bounds.condition[1], kappa))
    names = ("lambda_min", "lambda_max", "low", "inverse_high", "kappa")
    return {**columns(names, rows), "u_min": closest}


def depth_within(factor: float, depths: np.ndarray, values: np.ndarray, limit: float) -> float:
    """Return where log-log interpolated `values` first fall to factor × limit; NaN if nowhere."""
    below = np.flatnonzero(values <= factor * limit)
    if below.size == 0 or below[0] == 0:
        return math.nan
    i = below[0]
    x, y = np.log(depths[i - 1 : i + 1]), np.log(values[i - 1 : i + 1] / (factor * limit))
    return float(np.exp(x[0] - y[0] * (x[1] - x[0]) / (y[1] - y[0])))


def _condition(record: Any) -> tuple[np.ndarray, np.ndarray]:
    depths = np.array(record.cell.depths)
    shown = record.arrays["lambda_min"] > 0
    return depths[shown], (record.arrays["lambda_max"][shown] / record.arrays["lambda_min"][shown])


def _against_depth(ax: Axes, records: Records) -> None:
    records = _first_set(records)
    n, looks = records[0].cell.n, style.ramp(records.values("delta"))
    for record in records:
        cell, color = record.cell, looks[record.cell.delta]["color"]
        ax.plot(*_condition(record), color=color, label=rf"$\Delta={cell.delta:g}$")
        if record in (records[0], records[-1]):
            inverse = record.arrays["inverse_high"]
            high = np.where(inverse > 0, 1 / np.where(inverse > 0, inverse, 1), np.nan)
            ax.plot(cell.depths, high, linestyle=style.LINES[1], color=color, linewidth=0.7)
            low = record.arrays["low"]
            ax.plot(cell.depths, low, linestyle=style.LINES[2], color=color, linewidth=0.7)
    style.level(ax, deep_limit.deep_condition(n), "$1+n/3$")
    style.log_axes(ax)
    ax.set(xlabel="depth $l$", ylabel="condition number")
    ax.set_title(rf"bounds close on the limit ({records[0].cell.data}, $n={n}$)")
    ax.legend()


def needed(record: Any) -> tuple[float, float]:
    """1/(Δ u_min), and the depth at which the condition number is twice its limit."""
    limit = deep_limit.deep_condition(record.cell.n)
    return (
        1 / (record.cell.delta * float(record.arrays["u_min"])),
        depth_within(2, *_condition(record), limit),
    )


def _needed_depth(ax: Axes, records: Records) -> None:
    looks = style.looks(records.values("data"))
    for (name,), cells in records.group("data"):
        points = sorted(needed(record) for record in cells)
        ax.plot(*zip(*points, strict=True), linestyle="none", label=name, **looks[name])
    style.log_axes(ax)
    line = np.array(ax.get_xlim())
    ax.plot(line, 3 * math.pi / 4 * line, **style.GUIDE, label=r"$\tau=1$")
    ax.set(xlabel=r"$1/(\Delta u_{\min})$", ylabel="depth for twice the limit")
    ax.set_title(r"$\Delta u_{\min}$ sets the depth that is needed")
    ax.legend()


def _collapse(ax: Axes, records: Records) -> None:
    records = _first_set(records)
    angles = records[0].cell.angles
    looks = style.ramp(records.values("delta"))
    for line, theta in zip(style.LINES, sorted({min(angles), angles[-1]}), strict=False):
        for record in records:
            j, color = record.cell.angles.index(theta), looks[record.cell.delta]["color"]
            depths = np.array(record.cell.depths)
            tau = deep_limit.depth_scale(record.cell.delta, math.sin(theta / 2), 1.0) * depths
            ax.plot(tau, record.arrays["kappa"][:, j] / depths, linestyle=line, color=color)
        style.entry(ax, rf"$\theta={theta:.2g}$", linestyle=line, color="0.4")
    tau = np.geomspace(1e-2, 1e3, 200)
    ax.plot(tau, deep_limit.scaling_function(tau), color="k", lw=0.6, label=r"$F(\tau)$")
    style.log_axes(ax, y=False)
    ax.set(xlim=(1e-2, 1e3), ylim=(0.2, 1.02))
    ax.set(xlabel=r"$\tau=4\Delta u_0 l/3\pi$", ylabel=r"$\kappa_l/l$")
    ax.set_title(r"one curve in $\tau$ for close pairs only")
    ax.legend()


def _logarithm(ax: Axes, records: Records) -> None:
    records = _first_set(records)
    looks = style.ramp(records.values("delta"))
    theta = records[0].cell.angles[-1]
    for record in records:
        depths = np.array(record.cell.depths)
        excess = record.arrays["kappa"][:, -1] - depths / 4 - 3 / 8 * np.log(depths)
        label = rf"$\Delta={record.cell.delta:g}$"
        ax.plot(depths, excess, label=label, **looks[record.cell.delta])
    style.log_axes(ax, y=False)
    ax.set(xlabel="depth $l$", ylabel=r"$\kappa_l-l/4-\frac{3}{8}\,\log\,l$")
    ax.set_title(rf"at $\theta={theta:.2g}$ a constant is all that $\Delta$ sets")


def _first_set(records: Records) -> Records:
    return records.where(data=records.values("data")[0])


def draw(records: Records) -> Figure:
    """Draw condition numbers, the depth they need, the collapse on τ and the logarithm."""
    figure, axes = style.panels(2, 2, height=2.5)
    if len(records.ok):
        panels = (_against_depth, _needed_depth, _collapse, _logarithm)
        for panel, ax in zip(panels, axes.flat, strict=True):
            panel(ax, records.ok)
    bounds = "(a) dashed and dotted: upper and lower bounds for the least and the largest Δ"
    return style.finish(figure, axes, bounds, "colours in (c), (d) as in (a)")


def tables(records: Records) -> dict[str, Table]:
    """The depth for twice the limit, and how near the bounds are at the last depth."""
    rows = []
    for record in records.ok:
        scale, depth = needed(record)
        tau = 4 * depth / (3 * math.pi * scale)
        condition = _condition(record)[1][-1]
        high = float(1 / record.arrays["inverse_high"][-1])
        low, off = record.arrays["low"][-1] / condition, high / condition
        rows.append((record.cell.data, record.cell.delta, scale, depth, tau, condition, low, off))
    last = records.ok[0].cell.depths[-1]
    columns = ("1/(Δ u_min)", "depth for twice the limit", "as τ")
    bounds = (f"condition number, l = {last}", "lower bound over it", "upper bound over it")
    return {"": Table(("data", "Δ", *columns, *bounds), rows)}


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
