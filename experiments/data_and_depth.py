"""Does Δ_φ enter ‖K(θ) − K∞‖ beside κ_φ, and does that depend on the data?

Question: the root mean square of ‖K(θ) − K∞‖_F for φ(s) = s cos t + |s| sin t at t over that at
90° − t, which has the same κ_φ and another Δ_φ, by the computed law of K(θ) − K∞, for six kinds
of data, n and l; sampled networks at some of them. 135° over 45° is the check: there φ is
mirrored, and Δ_φ and κ_φ are the same.

Expectation: [C] bounds the error by Δ_φ⁻² κ_φ², a factor of 194 between 15° and 75°. On one
input Δ_φ enters through κ_φ alone, and every ratio is 1; off the diagonal nothing is known.
"""

import math
from functools import lru_cache
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from _cells import activation
from _fresh import one
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc import data
from ntk_eoc.estimates import Quantile
from ntk_eoc.kernels.sampled import ntk_ensemble
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra.deviation import deviation
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records

CONE, NEAR = 0.3, 0.01  # radians
KINDS = {
    "sphere": "sphere",
    "cone": "cone of 0.3 rad",
    "near_duplicates": "pairs at 0.01 rad",
    "antipodal": "pairs x, −x",
    "digits": "digits",
    "mnist5k": "MNIST",
}
"""What figures call the data."""


class Cell(config.Cell):
    """One activation of the circle on one data set: the law, and networks if there are seeds."""

    t: float = Field(gt=0, lt=180)
    """Degrees"""
    data: Literal["sphere", "cone", "near_duplicates", "antipodal", "digits", "mnist5k"]
    n: int = Field(ge=2)
    depth: int = Field(ge=2)
    data_seed: int = Field(default=0, ge=0)
    m: int = Field(ge=1)


def cost(cell: Cell) -> float:
    """Pairs to follow through the layers, and neurons to draw."""
    neurons = sum(ne.widths("quadratic", cell.m, cell.depth))
    return cell.n**2 * cell.depth + 0.01 * cell.seeds * neurons * cell.n


def points(cell: Cell) -> np.ndarray:
    """Return the cell's points, ‖x‖² = d, R⁶⁴ but for MNIST."""
    if cell.data in ("sphere", "digits", "mnist5k"):
        return data.load(cell.data, cell.n, cell.data_seed).x
    rng = np.random.default_rng(cell.data_seed)
    d, half = data.DEFAULT_DIMENSION, -(-cell.n // 2)

    def units(count: int) -> np.ndarray:
        x = rng.standard_normal((count, d))
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def around(x: np.ndarray, angle: float) -> np.ndarray:
        side = units(len(x))
        side = side - x * (side * x).sum(axis=1, keepdims=True)
        side = side / np.linalg.norm(side, axis=1, keepdims=True)
        return math.cos(angle) * x + math.sin(angle) * side

    if cell.data == "cone":
        return math.sqrt(d) * around(np.repeat(units(1), cell.n, axis=0), CONE)
    first = units(half)
    second = -first if cell.data == "antipodal" else around(first, NEAR)
    return math.sqrt(d) * np.concatenate([first, second])[: cell.n]


@lru_cache(maxsize=4)
def _law(init: ne.Init, cell: Cell) -> ne.Fluctuations:
    return ne.fluctuations(init, points(cell), cell.depth)


def measure(cell: Cell) -> dict[str, Any]:
    """Return √E‖K − K∞‖_F² by the law, and ‖K − K∞‖_F and ‖K − K∞‖ of networks, [s]."""
    init, widths = (
        ne.edge_of_chaos(activation(f"angle:{cell.t:g}")),
        ne.widths("quadratic", cell.m, cell.depth),
    )
    law = _law(init, cell.model_copy(update={"first_seed": 0, "seeds": 0}))
    found = {"law": law.frobenius(widths).value}
    if cell.seeds == 0:
        return found
    networks = ntk_ensemble(init, jnp.asarray(points(cell)), widths, dtype=cell.dtype)
    matrices = map_batched(one(ne.ntk_matrix), cell.seed_keys(), cell.batch, networks)
    off = deviation(matrices, law.limit / cell.n, cell.n)
    return {**found, "frobenius": off.frobenius, "operator": off.operator}


def law_ratio(records: Records, t: float, over: float) -> np.ndarray:
    """The law at t over the law at `over`, one a data seed."""
    top, below = (records.where(t=one).group("data_seed") for one in (t, over))
    found = [{k: c[0].arrays["law"] for k, c in part} for part in (top, below)]
    return np.array([found[0][k] / found[1][k] for k in found[0] if k in found[1]])


def _spread(ratios: np.ndarray) -> Quantile:
    """Geometric mean over data seeds with a 95 % bootstrap interval over them."""
    logs = np.log(ratios)
    if len(logs) < 5:
        return Quantile(float(np.exp(logs.mean())), math.nan, math.nan, len(logs))
    picks = np.random.default_rng(0).integers(0, len(logs), (2000, len(logs)))
    low, high = np.quantile(logs[picks].mean(axis=1), [0.025, 0.975])
    value, low, high = np.exp([logs.mean(), low, high])
    return Quantile(float(value), float(low), float(high), len(logs))


def sampled_ratio(records: Records, what: str, t: float, over: float) -> Quantile:
    """Root mean squares of networks at t over those at `over`, bootstrapped over both.

    Data sets are drawn with replacement, and networks within each.
    """
    rng, sides = np.random.default_rng(0), []
    for angle in (t, over):
        own = records.where(t=angle)
        seeds = [r for r in own if what in r.arrays]
        sides.append({r.cell.data_seed: r.arrays[what] ** 2 for r in seeds})
    known = sorted(sides[0].keys() & sides[1].keys())

    def mean_log(picked: Any, draw: Any) -> float:
        parts = [[np.mean(draw(side[seed])) for seed in picked] for side in sides]
        return float(np.mean(np.log(parts[0]) - np.log(parts[1])) / 2)

    plain = mean_log(known, lambda draws: draws)
    again = [
        mean_log(rng.choice(known, len(known)), lambda draws: rng.choice(draws, len(draws)))
        for _ in range(400)
    ]
    low, high = np.quantile(again, [0.025, 0.975])
    value, low, high = np.exp([plain, low, high])
    return Quantile(float(value), float(low), float(high), len(known))


def _has(records: Records, *angles: float) -> bool:
    return all(len(records.where(t=t)) for t in angles)


def _against(ax: Axes, records: Records, field: str) -> None:
    looks = style.looks(list(KINDS))
    for kind in [k for k in KINDS if k in records.values("data")]:
        own = records.where(data=kind)
        parts = [(x, cells) for (x,), cells in own.group(field) if _has(cells, 15.0, 75.0)]
        at = [x for x, _ in parts]
        found = [_spread(law_ratio(cells, 15.0, 75.0)) for _, cells in parts]
        curves.bars(ax, at, found, label=KINDS[kind], **looks[kind])
    style.log_axes(ax, records.values(field), y=False)
    ax.axhline(1, **style.GUIDE)


def _circle(ax: Axes, records: Records) -> None:
    looks = style.looks(list(KINDS))
    for kind in [k for k in KINDS if k in records.values("data")]:
        own = records.where(data=kind)
        ts = own.values("t")
        means = [np.mean([r.arrays["law"] for r in own.where(t=t)]) for t in ts]
        ax.plot(ts, np.array(means) * own[0].cell.m ** 0.5, **looks[kind])
    ax.set(xlabel="angle $t$, degrees")
    ax.set(ylabel=r"$\sqrt{m}\,(E\|K-K_\infty\|_F^2)^{1/2}$", ylim=(0, None))


def _most(records: Records, field: str, others: tuple[str, ...]) -> Records:
    """The records of the values of `others` with the most values of `field`, then the most."""
    parts = [own for _, own in records.group(*others)]
    return max(parts, key=lambda own: (len(own.values(field)), len(own)))


def draw(records: Records) -> Figure:
    """Draw the ratio of 15° to 75° against n and against depth, and the error along the circle."""
    figure, axes = style.panels(3, height=2.7)
    ok = records.ok
    by_n, by_depth = _most(ok, "n", ("depth",)), _most(ok, "depth", ("n",))
    round_ = _most(ok, "t", ("n", "depth"))
    _against(axes[0], by_n, "n")
    _against(axes[1], by_depth, "depth")
    _circle(axes[2], round_)
    shape = [part[0].cell for part in (by_n, by_depth, round_)]
    axes[0].set(xlabel="points $n$", ylabel="error at 15° over that at 75°")
    axes[0].set_title(f"equal κ, $l={shape[0].depth}$")
    axes[1].set(xlabel="depth $l$")
    axes[1].set_title(f"equal κ, $n={shape[1].n}$")
    axes[2].set_title(f"the circle, $n={shape[2].n}$, $l={shape[2].depth}$")
    style.legend_above(figure, axes[0], columnspacing=1)
    note = "computed law of K(θ) − K∞, widths k² m; bars: 95 % over data sets of one kind"
    return style.finish(figure, axes, note, "φ(s) = s cos t + |s| sin t")


def tables(records: Records) -> dict[str, Table]:
    """Ratios at equal κ_φ for every kind of data, n and l: by the law, and sampled."""
    law: list[Any] = []
    sampled: list[Any] = []
    pairs = ((15.0, 75.0), (30.0, 60.0), (135.0, 45.0))
    shapes = sorted(key for key, _ in records.ok.group("n", "depth"))
    for kind in [k for k in KINDS if k in records.ok.values("data")]:
        own = records.ok.where(data=kind)
        row: list[Any] = []
        for n, depth in shapes:
            cells = own.where(n=n, depth=depth)
            known = len(cells) and _has(cells, 15.0, 75.0)
            row.append(_spread(law_ratio(cells, 15.0, 75.0)) if known else None)
        law.append((KINDS[kind], *row))
        for n, depth in shapes:
            drawn = Records([r for r in own.where(n=n, depth=depth) if "operator" in r.arrays])
            for t, over in pairs:
                if _has(drawn, t, over):
                    predicted = _spread(law_ratio(drawn, t, over)).value
                    found = [sampled_ratio(drawn, w, t, over) for w in ("frobenius", "operator")]
                    seeds, each = found[0].draws, drawn[0].cell.seeds
                    word = f"{t:g}° / {over:g}°"
                    sampled.append((KINDS[kind], n, depth, word, seeds, each, predicted, *found))
    heads = [f"n = {n}, l = {depth}" for n, depth in shapes]
    columns = ("angles", "data sets", "networks each", "law, F", "sampled, F", "sampled, operator")
    return {
        "law": Table(("data, 15° / 75°", *heads), law),
        "sampled": Table(("data", "n", "l", *columns), sampled),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
