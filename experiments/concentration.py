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
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field, field_validator, model_validator

import ntk_eoc as ne
from ntk_eoc import data
from ntk_eoc.checks import unknown_name
from ntk_eoc.estimates import exponent, mean
from ntk_eoc.network import SCHEDULES, draw_params
from ntk_eoc.report import style
from ntk_eoc.spectra.concentration import bound_shape, deviation
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records


class Cell(config.Cell):
    """One point of the sweep: a block of seeds at one width, depth, activation and data set."""

    activation: str
    data: str
    n: int = Field(ge=1)
    data_seed: int = Field(default=0, ge=0)
    schedule: str = "quadratic"
    m: int = Field(ge=1)
    depth: int = Field(ge=1)
    outputs: int = Field(default=1, ge=1)
    sampled_above: int | None = Field(default=None, ge=0)
    """Above this m K(θ) is sampled, exact in law, without weights; None: always from weights."""

    @property
    def sampled(self) -> bool:
        """Whether the cell's networks have no weights."""
        return self.sampled_above is not None and self.m > self.sampled_above

    @field_validator("activation")
    @classmethod
    def _known_activation(cls, name: str) -> str:
        if not isinstance(ne.activation(name), ne.AbsLinear):
            raise ValueError(f"must be scale-invariant for the bound of [C], got {name!r}")
        return name

    @field_validator("schedule")
    @classmethod
    def _known_schedule(cls, name: str) -> str:
        if name not in SCHEDULES:
            raise ValueError(unknown_name("schedule", name, SCHEDULES))
        return name

    @model_validator(mode="after")
    def _data_exists(self) -> "Cell":
        data.load(self.data, self.n, self.data_seed)
        return self


def cost(cell: Cell) -> float:
    """Weights, or Gaussians of the sampler, to draw and multiply; the longest cells first."""
    if cell.sampled:
        neurons = sum(ne.widths(cell.schedule, cell.m, cell.depth)[:-1])
        return cell.seeds * float(neurons) * cell.n * (1 + cell.outputs)
    m = (64, *ne.widths(cell.schedule, cell.m, cell.depth, cell.outputs))
    return cell.seeds * float(sum(a * b for a, b in pairwise(m)))


@lru_cache(maxsize=8)
def _limit(point: Cell) -> np.ndarray:
    """M∞ in float64, whatever the cell's dtype."""
    x = jnp.asarray(data.load(point.data, point.n, point.data_seed).x)
    kernel = ne.ntk_infinite(ne.edge_of_chaos(ne.activation(point.activation)), x, x, point.depth)
    return np.asarray(ne.ntk_matrix(ne.with_outputs(kernel, point.outputs)), dtype=np.float64)


@lru_cache(maxsize=8)
def _matrix(point: Cell) -> Callable[[jax.Array], jax.Array]:
    """M(θ) of one key; the same function, compiled once, for every block of the point's seeds."""
    init = ne.edge_of_chaos(ne.activation(point.activation))
    x = jnp.asarray(data.load(point.data, point.n, point.data_seed).x, point.dtype)
    widths = ne.widths(point.schedule, point.m, point.depth, point.outputs)

    def matrix(key: jax.Array) -> jax.Array:
        params = draw_params(key, init, x.shape[1], widths, x.dtype)
        return ne.ntk_matrix(ne.ntk_layerwise(init, params, x, x))

    def sampled(key: jax.Array) -> jax.Array:
        return ne.ntk_matrix(ne.ntk_sampled(key, init, x, widths))

    return sampled if point.sampled else matrix


def measure(cell: Cell) -> dict[str, Any]:
    """Draw the cell's networks and return the deviation of each from K∞, [s] each."""
    point = cell.model_copy(update={"first_seed": 0, "seeds": 0})
    matrices = map_batched(_matrix(point), cell.seed_keys(), cell.batch)
    limit = _limit(point)
    spectrum = np.linalg.eigvalsh(limit)
    act = ne.activation(cell.activation)
    assert isinstance(act, ne.AbsLinear)
    return {
        **deviation(matrices, limit, cell.n)._asdict(),
        "limit_lambda_min": spectrum[0],
        "limit_lambda_max": spectrum[-1],
        "bound_shape": bound_shape(act, cell.m, cell.depth, cell.outputs),
    }


def _errorbars(ax: Axes, x: list[Any], groups: list[np.ndarray], scale: Any, **look: Any) -> None:
    estimates = [mean(group) for group in groups]
    scale = np.asarray(scale)
    y = np.array([e.mean for e in estimates]) * scale
    ax.errorbar(x, y, np.array([e.error for e in estimates]) * scale, **look)


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
                _errorbars(ax, x, y, 1.0, label=label, linestyle=line, **look)
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
            _errorbars(ax, depths, groups, scale, **look)
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
