"""How close is a finite network's NTK matrix to its limit?

Question: ‖K(θ) − K∞‖ against the width m of m_k = k² m, for several activations and data sets, and
against depth for several schedules of widths.

Expectation: at large m it is what the computed law of K(θ) − K∞ says, with nothing fitted. [C]
bounds it by C (Δ_φ⁻² + √m_l l) κ_φ² m^{−1/2}, so that √m ‖K(θ) − K∞‖ is level in m, and over l it
levels off in depth for widths k² m but grows where they are constant.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import _fresh
import jax
import jax.numpy as jnp
import numpy as np
from _cells import init_of, inputs, point_of
from _fresh import SCHEDULES, deviations, draws, hidden_widths, predicted_norm
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.estimates import mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records


class Cell(_fresh.Cell):
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
        return _fresh.cost(cell)
    m = (64, *hidden_widths(cell), cell.outputs)
    return cell.seeds * float(sum(a * b for a, b in pairwise(m)))


@lru_cache(maxsize=8)
def _from_weights(point: Cell) -> Callable[[jax.Array], jax.Array]:
    """M(θ) of one key; the same function, compiled once, for every block of the point's seeds."""
    init, x = init_of(point), jnp.asarray(inputs(point), point.dtype)
    widths = (*hidden_widths(point), point.outputs)

    def matrix(key: jax.Array) -> jax.Array:
        params = ne.draw_params(key, init, x.shape[1], widths, x.dtype)
        return ne.ntk_matrix(ne.ntk_layerwise(init, params, x, x))

    return matrix


def measure(cell: Cell) -> dict[str, Any]:
    """Return the deviation of the cell's networks from K∞, [s] each, and its mean by the law."""
    if cell.sampled:
        matrices = draws(cell)
    else:
        matrices = map_batched(_from_weights(point_of(cell)), cell.seed_keys(), cell.batch)
    return {**deviations(cell, matrices)._asdict(), "law": predicted_norm(point_of(cell))}


def _most(records: Records, choose: str, vary: str) -> Any:
    """The value of `choose` at which most values of `vary` were measured."""
    return max(records.values(choose), key=lambda v: len(records.where(**{choose: v}).values(vary)))


def _by_width(records: Records) -> Records:
    records = records.where(schedule="quadratic")
    return records.where(depth=_most(records, "depth", "m"))


def _by_depth(records: Records) -> Records:
    records = records.where(m=_most(records, "m", "depth"))
    return records.where(data=records.values("data")[0])


def _points(records: Records) -> list[tuple[int, bool, np.ndarray]]:
    """(m, whether sampled, errors) of one activation and data set."""
    points = []
    for m in records.values("m"):
        for sampled in (False, True):
            own = Records([r for r in records.where(m=m) if r.cell.sampled == sampled])
            if len(own):
                points.append((m, sampled, own.stack("operator")))
    return points


def _against_width(ax: Axes, records: Records) -> None:
    sets, ends = records.values("data"), []
    for (name, dataset), cells in records.group("activation", "data"):
        points, look = _points(cells), style.activation_look(name)
        look["linestyle"] = style.LINES[sets.index(dataset)]
        for sampled in (False, True):
            own = [(m, found) for m, origin, found in points if origin == sampled]
            if own:
                ms, errors = zip(*own, strict=True)
                fill = "none" if sampled else "full"
                curves.bars(ax, ms, errors, scale=np.sqrt(ms), fillstyle=fill, **look)
        law = np.array([cells.where(m=m)[0].arrays["law"] for m, *_ in points])
        at = np.array([m for m, *_ in points])
        ax.plot(at, np.sqrt(at) * law, color=look["color"], linewidth=2.5, alpha=0.3, zorder=0)
        label = style.word(name) if len(sets) == 1 else f"{style.word(name)}, {dataset}"
        ms, _, errors = zip(*points, strict=True)
        label = curves.fitted(label, ms, errors).replace(": ", "\nexponent ")
        ends.append((np.sqrt(ms[-1]) * errors[-1].mean(), label, look["color"]))
    style.log_axes(ax, records.values("m"), y=False)
    ax.set(xlabel="width $m$ (hidden widths $m_k=k^2m$)", ylim=(0, None))
    ax.set_ylabel(r"$\sqrt{m}\,\|K(\theta)-K_\infty\|$")
    ax.set_title(f"level: the error falls like $m^{{-1/2}}$ ($l={records[0].cell.depth}$)")
    style.entry(ax, "the computed law, nothing fitted", color="0.4", linewidth=2.5, alpha=0.3)
    if any(record.cell.sampled for record in records):
        style.entry(ax, "from weights", color="0.4", marker="o", linestyle="none")
        hollow = {"fillstyle": "none", "linestyle": "none"}
        style.entry(ax, "sampled without weights", color="0.4", marker="o", **hollow)
    ax.legend(loc="lower right")
    style.label_ends(ax, ends)


def _against_depth(ax: Axes, records: Records) -> None:
    for name in records.values("activation"):
        style.entry(ax, style.word(name), **style.activation_look(name), linestyle="none")
    root = records[0].cell.m ** 0.5
    per_layer = lambda depth: root / depth  # noqa: E731
    for (schedule, widths), line in zip(SCHEDULES.items(), style.LINES, strict=True):
        cells = records.where(schedule=schedule)
        if len(cells.values("depth")) > 1:
            look: dict[str, Any] = {"label": None, "linestyle": line, "scale": per_layer}
            curves.by_activation(ax, cells, "depth", "operator", **look)
            style.entry(ax, f"$m_k=\\,${widths}", color="0.4", linestyle=line)
    style.log_axes(ax, records.values("depth"))
    ax.set(xlabel="depth $l$", ylabel=r"$\sqrt{m}\,\|K(\theta)-K_\infty\|\,/\,l$")
    ax.set_title(f"level for $k^2m$, not for $m$ ({records[0].cell.data}, $m={records[0].cell.m}$)")
    ax.legend()


def draw(records: Records) -> Figure:
    """Draw the error against width, beside the bound, and its growth with depth by schedule."""
    ok = records.ok
    panels = {_against_width: _by_width, **({_against_depth: _by_depth} if _deep(ok) else {})}
    figure, axes = style.panels(len(panels), height=2.6, squeeze=False)
    for (panel, choose), ax in zip(panels.items(), axes[0], strict=True):
        panel(ax, choose(ok))
    seeds = curves.fewest(ok, "operator", "activation", "data", "schedule", "m", "depth")
    bars = f"n = {ok[0].cell.n}; bars: 95 %, {seeds} or more networks a point"
    return style.finish(
        figure,
        axes[0] if len(panels) > 1 else [],
        bars,
        "brackets: 95 % intervals of the exponents",
    )


def _deep(records: Records) -> bool:
    return len(records.values("depth")) > 1


def tables(records: Records) -> dict[str, Table]:
    """The exponents in m; where both were drawn, weights beside the sampler."""
    rows: list[Any] = []
    both: list[Any] = []
    for (name, dataset), cells in _by_width(records.ok).group("activation", "data"):
        points = _points(cells)
        alone = [(m, found) for m, sampled, found in points if sampled]
        fits = [
            curves.fit_of([m for m, *_ in some], [found for *_, found in some])
            for some in (points, alone)
        ]
        rows.append((style.word(name), dataset, *fits))
        drawn = {(m, sampled): mean(found) for m, sampled, found in points}
        both += [
            (style.word(name), m, drawn[m, False], found)
            for (m, sampled), found in drawn.items()
            if sampled and (m, False) in drawn
        ]
    columns = ("φ", "data", "exponent in m", "sampled only")
    found = {"exponents": Table(columns, rows)}
    if not any(row[-1] for row in rows):
        found["exponents"] = Table(columns[:-1], [row[:-1] for row in rows])
    if both:
        found["origins"] = Table(("φ", "m", "‖K − K∞‖ from weights", "sampled"), both)
    if _deep(records.ok):
        found["depth"] = _depth_table(_by_depth(records.ok))
    return found


def _depth_table(records: Records) -> Table:
    depths, rows = records.values("depth"), []
    for (name, schedule), cells in records.group("activation", "schedule"):
        _, errors = curves.groups(cells, "depth", "operator")
        if len(errors) == len(depths):
            scaled = [mean(e * cells[0].cell.m ** 0.5 / l) for l, e in zip(depths, errors)]  # noqa: B905, E741
            rows.append(
                (style.word(name), SCHEDULES[schedule].strip("$").replace("^2", "²"), *scaled)
            )
    return Table(("φ, √m ‖K − K∞‖/l", "m_k", *(f"l = {l}" for l in depths)), rows)  # noqa: E741


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
