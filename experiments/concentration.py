"""How close is a finite network's NTK matrix to its limit?

Question: ‖K(θ) − K∞‖ against the width m of m_k = k² m, for several activations and data sets, and
against depth for several schedules of widths.

Expectation: [C] bounds it by C (Δ_φ⁻² + √m_l l) κ_φ² m^{−1/2}, so that it falls like m^{−1/2}, and
‖K(θ) − K∞‖ √m/l levels off in depth for widths k² m but grows where they are constant.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _fresh import Cell as Fresh
from _fresh import by_name, draws, errorbars, hidden_widths, inputs, limit, point_of
from _fresh import cost as fresh_cost
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.estimates import exponent
from ntk_eoc.network import draw_params
from ntk_eoc.report import style
from ntk_eoc.spectra.deviation import bound_shape, deviation
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records


class Cell(Fresh):
    """One point of the sweep: a block of seeds at one width, depth, activation and data set."""

    sampled_above: int | None = Field(default=None, ge=0)
    """Above this m K(θ) is sampled, exact in law, without weights; None: always from weights."""

    @property
    def sampled(self) -> bool:
        """Whether the cell's networks have no weights."""
        return self.sampled_above is not None and self.m > self.sampled_above


def cost(cell: Cell) -> float:
    """Weights, or Gaussians of the sampler, to draw and multiply; the longest cells first."""
    if cell.sampled:
        return fresh_cost(cell)
    m = (64, *hidden_widths(cell), cell.outputs)
    return cell.seeds * float(sum(a * b for a, b in pairwise(m)))


@lru_cache(maxsize=8)
def _from_weights(point: Cell) -> Callable[[jax.Array], jax.Array]:
    """M(θ) of one key; the same function, compiled once, for every block of the point's seeds."""
    init = ne.edge_of_chaos(by_name(point.activation))
    x = jnp.asarray(inputs(point.data, point.n, point.data_seed), point.dtype)
    widths = (*hidden_widths(point), point.outputs)

    def matrix(key: jax.Array) -> jax.Array:
        params = draw_params(key, init, x.shape[1], widths, x.dtype)
        return ne.ntk_matrix(ne.ntk_layerwise(init, params, x, x))

    return matrix


def measure(cell: Cell) -> dict[str, Any]:
    """Draw the cell's networks and return the deviation of each from K∞, [s] each."""
    point = point_of(cell)
    if cell.sampled:
        matrices = draws(cell, ne.ntk_matrix)
    else:
        matrices = map_batched(_from_weights(point), cell.seed_keys(), cell.batch)
    k_inf = np.asarray(ne.ntk_matrix(limit(point)))
    spectrum = np.linalg.eigvalsh(k_inf)
    return {
        **deviation(matrices, k_inf, cell.n)._asdict(),
        "limit_lambda_min": spectrum[0],
        "limit_lambda_max": spectrum[-1],
        "bound_shape": bound_shape(by_name(cell.activation), cell.m, cell.depth, cell.outputs),
    }


def _most(records: Records, choose: str, vary: str) -> Any:
    """The value of `choose` at which most values of `vary` were measured."""
    return max(records.values(choose), key=lambda v: len(records.where(**{choose: v}).values(vary)))


def _against_width(ax: Axes, records: Records) -> None:
    depth = _most(records.where(schedule="quadratic"), "depth", "m")
    records = records.where(schedule="quadratic", depth=depth)
    names, sets = records.values("activation"), records.values("data")
    looks = style.looks(names)
    for name in names:
        highest, shape = 0.0, {}
        for line, dataset in zip(style.LINES, sets, strict=False):
            cells = records.where(activation=name, data=dataset)
            ms = cells.values("m")
            if len(ms) < 2:
                continue
            blocks = [_by_origin(cells.where(m=m)) for m in ms]
            points = [(m, part) for m, parts in zip(ms, blocks, strict=True) for part in parts]
            groups = [part.stack("operator") for _, part in points]
            slope = exponent([m for m, _ in points], groups)
            label = f"{name}, {dataset}: $m^{{{slope.slope:.2f}}}$"
            label += f" [{slope.low:.2f}, {slope.high:.2f}]"
            for sampled in sorted({part[0].cell.sampled for _, part in points}):
                chosen = [
                    i for i, (_, part) in enumerate(points) if part[0].cell.sampled == sampled
                ]
                x, y = [points[i][0] for i in chosen], [groups[i] for i in chosen]
                look = {**looks[name], "fillstyle": "none" if sampled else "full"}
                errorbars(ax, x, y, 1.0, label=label, linestyle=line, **look)
                label = "_"
            shape = {m: cells.where(m=m)[0].arrays["bound_shape"] for m in ms}
            highest = max(highest, groups[0].mean())
        if shape:
            start = min(shape)
            bound = [highest * float(shape[m] / shape[start]) for m in shape]
            ax.plot(list(shape), bound, color=looks[name]["color"], linewidth=0.7, alpha=0.6)
    all_ms = np.array(records.values("m"), dtype=float)
    style.log_axes(ax, records.values("m"))
    ax.set_xlabel("width $m$ (hidden widths $m_k = k^2 m$)")
    ax.set_ylabel(r"$\|K(\theta)-K_\infty\|$, operator norm")
    low = ax.get_ylim()[0]
    ax.plot(
        all_ms, low * 1.3 * np.sqrt(all_ms[-1] / all_ms), **style.GUIDE, label="guide $m^{-1/2}$"
    )
    ax.plot([], [], color="0.4", linewidth=0.7, label="bound, scaled once at the smallest $m$")
    if any(record.cell.sampled for record in records):
        ax.plot([], [], "o", color="0.4", fillstyle="none", label="sampled without weights")
    ax.set_title(f"depth $l={depth}$", fontsize=8)
    style.legend_below(ax)


def _by_origin(records: Records) -> list[Records]:
    """Split the records of one width into those with weights and those without."""
    parts = (Records([r for r in records if r.cell.sampled == s]) for s in (False, True))
    return [part for part in parts if len(part)]


def _against_depth(ax: Axes, records: Records) -> None:
    m = _most(records, "m", "depth")
    records = records.where(m=m)
    records = records.where(data=records.values("data")[0])
    schedules = {"quadratic": "$k^2m$", "linear": "$km$", "constant": "$m$", "cubic": "$k^3m$"}
    lines = dict(zip(schedules, style.LINES, strict=True))
    looks = style.looks(records.values("activation"))
    for name in records.values("activation"):
        for schedule, widths in schedules.items():
            cells = records.where(activation=name, schedule=schedule)
            depths = cells.values("depth")
            if len(depths) < 2:
                continue
            groups = [cells.where(depth=depth).stack("operator") for depth in depths]
            scale = np.sqrt(m) / np.array(depths)
            look = {"label": f"{name}, {widths}", "linestyle": lines[schedule], **looks[name]}
            errorbars(ax, depths, groups, scale, **look)
    ax.set(xlabel="depth $l$", ylabel=r"$\|K(\theta)-K_\infty\|\,\sqrt{m}\,/\,l$")
    style.log_axes(ax, records.values("depth"))
    ax.set_title(f"{records.values('data')[0]}, $m={m}$", fontsize=8)
    style.legend_below(ax)


def draw(records: Records) -> Figure:
    """Draw the error against width, beside the bound, and its growth with depth by schedule."""
    ok = records.ok
    panels = [_against_width, *([_against_depth] if len(ok.values("depth")) > 1 else [])]
    figure, axes = style.panels(len(panels), height=3.3, squeeze=False)
    axes = axes[0]
    for panel, ax in zip(panels, axes, strict=True):
        panel(ax, ok)
    style.letter(axes)
    seeds = sorted(
        {
            len(cells.stack("operator"))
            for _, cells in ok.group("activation", "data", "schedule", "m", "depth")
        }
    )
    note = f"bars: standard error of the mean, {seeds[0]} or more networks a point"
    style.footnote(figure, note)
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
