"""Does what holds for ReLU hold for other activations, each on its edge of chaos?

Question: how fast K(θ) concentrates with width, and how the condition number of K∞ settles with
depth, for eight activations: at the point of their edge where χ_∥ = 1 too, or with q = 1 where
there is none. Inputs have ‖x‖²/d = q.

Expectation: the error falls like m^{−1/2} for all. The condition number of n points tends to
1 + n/3 where φ' jumps and to 1 + n/2 where it does not, however smooth or steep φ is.
"""

from functools import lru_cache
from typing import Any

import _cells
import jax
import jax.numpy as jnp
import numpy as np
from _cells import init_of, inputs, point_of
from _fresh import LAW_DRAWS, ensemble, one
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.eoc import activation_class
from ntk_eoc.estimates import mean
from ntk_eoc.finite_width.draws import norms
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records


class Cell(_cells.Cell):
    """A block of networks of one activation and width; at width 0, the limit at several depths."""

    n: int = Field(ge=2)
    m: int = Field(ge=0)
    depth: int = Field(ge=1)
    depths: tuple[int, ...]


def cost(cell: Cell) -> float:
    """Gaussians to draw and multiply; the limits cost about as much as a small width."""
    if cell.m == 0:
        return 1e6
    return cell.seeds * float(sum(ne.widths("quadratic", cell.m, cell.depth))) * cell.n**2


@lru_cache(maxsize=32)
def _limit(point: Cell, depth: int) -> np.ndarray:
    x = jnp.asarray(inputs(point))
    kernel = ne.ntk_infinite(init_of(point), x, x, depth)
    return np.asarray(ne.ntk_matrix(ne.with_outputs(kernel, 1)), np.float64)


@lru_cache(maxsize=16)
def _law_at_one(point: Cell) -> float:
    """Mean ‖K(θ) − K∞‖ √m/‖K∞‖ by the law of fluctuations, at any m of the widths k² m."""
    law = ne.fluctuations(init_of(point), inputs(point), point.depth)
    widths = ne.widths("quadratic", 1, point.depth)
    found = norms(law, jax.random.key(0), widths, LAW_DRAWS).operator.mean()
    return float(found / np.linalg.norm(_limit(point, point.depth), 2))


def measure(cell: Cell) -> dict[str, Any]:
    """Return ‖K(θ) − K∞‖/‖K∞‖ of each network, [s], and its mean by the law.

    At width 0, condition numbers by depth.
    """
    point = point_of(cell)
    if cell.m == 0:
        spectra = [np.linalg.eigvalsh(_limit(point, depth)) for depth in cell.depths]
        return {"condition": np.array([s[-1] / s[0] for s in spectra])}
    networks = ensemble(cell, ne.widths("quadratic", cell.m, cell.depth))
    draws = map_batched(one(ne.ntk_matrix), cell.seed_keys(), cell.batch, networks)
    limit = _limit(point, cell.depth)
    error = np.linalg.norm(np.asarray(draws, np.float64) - limit, 2, axis=(1, 2))
    law = _law_at_one(point.model_copy(update={"m": 1})) / cell.m**0.5
    return {"error": error / np.linalg.norm(limit, 2), "law": law}


def smooth(name: str) -> bool:
    """Whether φ' does not jump."""
    return activation_class(_cells.activation(name)) == "smooth"


def _networks(records: Records) -> Records:
    return Records([record for record in records if record.cell.m > 0])


def _constant(records: Records) -> float:
    """√m times the law's mean error: one number an activation."""
    return float(records[0].arrays["law"]) * records[0].cell.m ** 0.5


def _concentration(records: Records) -> Figure:
    figure, ax = style.panels(1, height=3.0)
    ends = []
    for kind, line in ((False, style.LINES[0]), (True, style.LINES[1])):
        some = Records([r for r in records if smooth(r.cell.activation) == kind])
        look = {"label": None, "linestyle": line, "scale": np.sqrt, "shift": 0.02}
        if len(some):
            curves.by_activation(ax, some, "m", "error", **look)
    for name in records.values("activation"):
        ms, found = curves.groups(records.where(activation=name), "m", "error")
        label = curves.fitted(style.word(name), ms, found)
        color = style.activation_look(name)["color"]
        ends.append((np.sqrt(ms[-1]) * found[-1].mean(), label, color))
        ax.axhline(_constant(records.where(activation=name)), color=color, alpha=0.4, linewidth=0.8)
    style.log_axes(ax, records.values("m"), y=False)
    ax.set(xlabel="width $m$ (hidden widths $m_k = k^2 m$)", ylim=(0, None))
    ax.set_ylabel(r"$\sqrt{m}\,\|K(\theta)-K_\infty\|\,/\,\|K_\infty\|$")
    depth = records[0].cell.depth
    ax.set_title(f"level for all: the error falls like $m^{{-1/2}}$ ($l={depth}$)")
    style.label_ends(ax, ends)
    fewest = curves.fewest(records, "error", "activation", "m")
    bars = f"bars: 95 %, {fewest} networks a point; right: exponents, 95 % intervals"
    law = "pale: the computed law, nothing fitted"
    style.footnote(figure, "dashed: φ' does not jump", law, bars)
    return figure


def _conditioning(records: Records) -> Figure:
    figure, ax = style.panels(1, height=3.0)
    n, ends = records[0].cell.n, []
    for name in records.values("activation"):
        record = records.where(activation=name)[0]
        depths, condition = record.cell.depths, record.arrays["condition"]
        look = {**style.activation_look(name), "linestyle": style.LINES[smooth(name)]}
        ax.plot(depths, condition, **look)
        ends.append((condition[-1], style.word(name), look["color"]))
    for part, told in ((3, r"jump of $\varphi^\prime$"), (2, "smooth")):
        ax.axhline(1 + n / part, **style.GUIDE)
        x = records[0].cell.depths[0]
        ax.text(x, 1 + n / part, f"$1+n/{part}$, {told}", va="bottom", fontsize=style.SMALL)
    style.log_axes(ax, records[0].cell.depths)
    ax.set(xlabel="depth $l$", ylabel=r"condition number of $K_\infty$")
    ax.set_title(rf"only a jump of $\varphi^\prime$ decides the limit ($n={n}$)")
    style.label_ends(ax, ends)
    style.footnote(figure, "dashed: φ' does not jump", "computed, not sampled")
    return figure


def draw(records: Records) -> dict[str, Figure]:
    """Draw the error against width, and the condition number against depth."""
    ok, drawn = records.ok, {}
    if len(_networks(ok)):
        drawn["concentration"] = _concentration(_networks(ok))
    if 0 in ok.values("m"):
        drawn["conditioning"] = _conditioning(ok.where(m=0))
    return drawn


def tables(records: Records) -> dict[str, Table]:
    """Exponents and errors at the largest width; condition numbers at every depth."""
    ok, found = records.ok, {}
    kind = lambda name: "smooth" if smooth(name) else "jumps"  # noqa: E731
    rows = []
    for (name,), cells in _networks(ok).group("activation"):
        ms, errors = curves.groups(cells, "m", "error")
        fit = curves.fit_of(ms, errors)
        last, law = mean(errors[-1] * ms[-1] ** 0.5), _constant(cells)
        q = init_of(cells[0].cell).q
        ratio = mean(errors[-1] * ms[-1] ** 0.5 / law)
        rows.append((style.word(name), kind(name), q, fit, last, law, ratio))
    if rows:
        constant = f"√m ‖K − K∞‖/‖K∞‖, m = {ms[-1]}"
        columns = ("φ", "φ'", "q", "exponent in m", constant, "by the law", "over the law")
        found["concentration"] = Table(columns, rows)
    limits = ok.where(m=0)
    if len(limits):
        depths, n = limits[0].cell.depths, limits[0].cell.n
        part = lambda name: 1 + n / (2 if smooth(name) else 3)  # noqa: E731
        lines = [(r.cell.activation, r.arrays["condition"]) for r in limits]
        numbers = [(style.word(name), part(name), *condition) for name, condition in lines]
        found["conditioning"] = Table(("φ", "limit", *(f"l = {l}" for l in depths)), numbers)  # noqa: E741
    return found


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
