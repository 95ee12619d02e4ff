"""Why quadratic widths: how do errors of inverse cosine distances grow with depth?

Question: the mean of |w_k − w_{∞,k}|, w_k = ((1 − ρ_k)/2)^{−1/2}, over random pairs of MNIST
images, each seen by a fresh network, against k: Figure 1 of [C], nine curves of the widths k² m,
k m and m, beside the published means; and deeper, at larger m.

Expectation: [C] reads off errors of one order at every layer for k² m, linear in k for k m and
quadratic for m. The law of errors to leading order (`docs/concentration.md`) has the exponents
½, 1 and 3/2 as k → ∞.
"""

import csv
import dataclasses
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from _cells import Schedule, accepted_by, with_a_bound
from _distances import inverse_distance, law_of_errors, limit_defects
from _fresh import SCHEDULES
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc import data, user_code
from ntk_eoc.estimates import Estimate, Exponent, mean
from ntk_eoc.kernels.blocks import Ensemble
from ntk_eoc.kernels.forward_pass import draw_nngp, nngp_ensemble
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records

PAIRS = 1000  # behind a published mean
LAYERS = (2, 4, 8, 16, 32)
# fmt: off
QUOTED = {
    ("quadratic", 4): ((1.557, 2.3752), (1.9941, 2.7339), (2.2399, 3.1183), (2.4494, 3.3317), (2.6756, 3.3568)),  # noqa: E501
    ("quadratic", 8): ((0.6839, 0.7923), (0.8488, 0.9224), (0.984, 1.0335), (1.1488, 1.124), (1.3167, 1.219)),  # noqa: E501
    ("quadratic", 16): ((0.3847, 0.3813), (0.5021, 0.4809), (0.6033, 0.5612), (0.7106, 0.6451), (0.8234, 0.7169)),  # noqa: E501
    ("linear", 8): ((0.6839, 0.7923), (1.2596, 1.3817), (2.0762, 2.5414), (3.3267, 3.6969), (5.3867, 5.7914)),  # noqa: E501
    ("linear", 16): ((0.3847, 0.3813), (0.7058, 0.7048), (1.1894, 1.118), (1.8711, 1.8174), (3.164, 3.1202)),  # noqa: E501
    ("linear", 32): ((0.2468, 0.2164), (0.4241, 0.3739), (0.7022, 0.5715), (1.1345, 0.9067), (2.0016, 1.6298)),  # noqa: E501
    ("constant", 16): ((0.3847, 0.3813), (1.1011, 1.1155), (3.2006, 3.6484), (11.2744, 16.4002), (51.758, 95.5695)),  # noqa: E501
    ("constant", 32): ((0.2468, 0.2164), (0.6554, 0.6188), (1.6722, 1.6135), (4.894, 5.6412), (16.9534, 23.2579)),  # noqa: E501
    ("constant", 64): ((0.1624, 0.1324), (0.4397, 0.3777), (1.0696, 0.9922), (2.9529, 3.0604), (9.0114, 10.4426)),  # noqa: E501
}
# fmt: on
"""Published (mean, standard deviation), [C] Figure 1: (schedule, m) → one at each of LAYERS."""

LAW_PAIRS = 200


class Cell(config.Cell):
    """Pairs of points, a fresh network each; the published means to compare with."""

    activation: Annotated[str, accepted_by(with_a_bound)] = "abs"
    schedule: Schedule
    m: int = Field(ge=1)
    data: str
    n: int = Field(ge=2)
    layers: tuple[Annotated[int, Field(ge=2)], ...]
    """Where ρ_k is read; ρ_1 is the inputs' cosine, ρ_k that of the outputs of layer k − 1"""
    published: str | None = None
    """A CSV file with the columns schedule, m, k, mean, std; the quoted ones if None"""


def cost(cell: Cell) -> float:
    """Gaussians to draw."""
    return 2.0 * cell.seeds * sum(ne.widths(cell.schedule, cell.m, max(cell.layers)))


def published(cell: Cell) -> np.ndarray:
    """Published mean and standard deviation at each of the cell's layers, [layers, 2]; or −1."""
    if cell.published is None:
        known = dict(zip(LAYERS, QUOTED.get((cell.schedule, cell.m), ()), strict=False))
    else:
        path = user_code.base() / Path(cell.published).expanduser()
        lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
        known = {
            int(row["k"]): (float(row["mean"]), float(row["std"]))
            for row in csv.DictReader(lines)
            if (row["schedule"], int(row["m"])) == (cell.schedule, cell.m)
        }
    return np.array([known.get(k, (-1.0, -1.0)) for k in cell.layers])


def _pair(key: jax.Array, networks: Ensemble, units: jax.Array) -> tuple[jax.Array, jax.Array]:
    """1 − ρ_1 of a random pair, and the Gram matrices of a fresh network on it."""
    which, weights = jax.random.split(key)
    i, shift = jax.random.randint(which, (2,), 0, jnp.array([len(units), len(units) - 1]))
    x = units[jnp.stack([i, (i + 1 + shift) % len(units)])]
    grams = draw_nngp(weights, dataclasses.replace(networks, x=x * x.shape[1] ** 0.5))
    near, far = (((x[0] + sign * x[1]) ** 2).sum() / 2 for sign in (-1, 1))
    return jnp.where(near < 1, near, 2 - far), grams


def measure(cell: Cell) -> dict[str, Any]:
    """Return |w_k − w_{∞,k}| [s, layers], what the law says of it, and the published means.

    Without seeds, the law alone, of pairs at the angles of the first points.
    """
    act = with_a_bound(cell.activation)
    x = jnp.asarray(data.load(cell.data, cell.n).x, cell.dtype)
    units = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    widths = ne.widths(cell.schedule, cell.m, max(cell.layers))
    if cell.seeds == 0:
        some = np.asarray(units[: 2 * LAW_PAIRS], np.float64)
        start = 1 - (some[::2] * some[1::2]).sum(axis=1)
        law = law_of_errors(act, start, widths, cell.layers)
        return {"law": np.sqrt(2 / np.pi) * law.mean(axis=0)}
    ensemble = nngp_ensemble(ne.edge_of_chaos(act), units[:2], widths, dtype=cell.dtype)
    start, grams = map_batched(_pair, cell.seed_keys(), cell.batch, ensemble, units)
    grams = grams[:, np.array(cell.layers) - 2]
    root = np.sqrt(grams[..., 0, 0] * grams[..., 1, 1])
    limit = inverse_distance(limit_defects(act, start, cell.layers))
    law = law_of_errors(act, start[:LAW_PAIRS], widths, cell.layers)
    return {
        "error": np.abs(inverse_distance(1 - grams[..., 0, 1] / root) - limit),
        "law": np.sqrt(2 / np.pi) * law.mean(axis=0),
        "published": published(cell),
    }


def gaps(records: Records) -> tuple[np.ndarray, np.ndarray]:
    """Layers, and published − ours there in their combined standard errors, of one curve."""
    ours, theirs = records.stack("error"), records[0].arrays["published"].T
    there = theirs[0] > 0
    error = np.sqrt(ours.var(axis=0, ddof=1) / len(ours) + theirs[1] ** 2 / PAIRS)
    return _layers(records)[there], ((theirs[0] - ours.mean(axis=0)) / error)[there]


def growth(x: np.ndarray, draws: np.ndarray, resamples: int = 400) -> Exponent:
    """The power of x in the means of draws [s, x], with a 95 % bootstrap interval over networks."""
    weights = np.random.default_rng(0).poisson(1.0, (resamples, len(draws)))
    weights[0] = 1  # the sample itself
    means = weights @ draws / weights.sum(axis=1, keepdims=True)
    centred = np.log(x) - np.log(x).mean()
    slopes = np.log(means) @ centred / (centred @ centred)
    low, high = np.quantile(slopes, [0.025, 0.975])
    return Exponent(float(slopes[0]), float(low), float(high), float("nan"), len(draws))


def _layers(records: Records) -> np.ndarray:
    return np.array(records[0].cell.layers)


def _parts(records: Records) -> tuple[Records, Records, Records]:
    """The records as published, the deeper ones, and those of the law alone."""
    drawn = [r for r in records if "error" in r.arrays]
    shallow = min(max(record.cell.layers) for record in drawn)
    as_published = [r for r in drawn if max(r.cell.layers) == shallow]
    deeper = [r for r in drawn if max(r.cell.layers) > shallow]
    return Records(as_published), Records(deeper), Records([r for r in records if r not in drawn])


def _curves(records: Records) -> list[tuple[str, int, Records]]:
    shown = [name for name in SCHEDULES if name in records.values("schedule")]
    return [
        (name, m, records.where(schedule=name, m=m))
        for name in shown
        for m in records.where(schedule=name).values("m")
    ]


def _look(schedule: str, m: int, records: Records) -> dict[str, Any]:
    """A colour a schedule, a line style an m."""
    color = style.COLORS[list(SCHEDULES).index(schedule)]
    return {"color": color, "linestyle": style.LINES[records.values("m").index(m)]}


def _means(ax: Axes, records: Records) -> None:
    for name, m, own in _curves(records):
        ms = records.where(schedule=name)
        k, look = _layers(own), _look(name, m, ms)
        label = SCHEDULES[name].replace("m", rf"\cdot{m}").replace(r"$\cdot", "$")
        ax.plot(k, own.stack("error").mean(axis=0), label=label, **look)
        theirs = own[0].arrays["published"][:, 0]
        there = theirs > 0
        ax.plot(k[there], theirs[there], "o", ms=1.8, mfc="w", mew=0.6, color=look["color"])
    style.log_axes(ax, [2, 4, 8, 16, 32])
    ax.set(xlabel="layer $k$", ylabel=r"mean of $|w_k-w_{\infty,k}|$")
    ax.set_title("the nine curves as published (○)")


def _differences(ax: Axes, records: Records) -> None:
    for name, m, own in _curves(records):
        k, gap = gaps(own)
        ax.plot(k, gap, **_look(name, m, records.where(schedule=name)))
    ax.axhspan(-3, 3, color="0.92", zorder=0)
    ax.axhline(0, **style.GUIDE)
    style.log_axes(ax, [2, 4, 8, 16, 32], y=False)
    ax.set(xlabel="layer $k$", ylabel="(published − ours) / error")
    ax.set_title("differences: all within 3 errors")
    ax.set_ylim(-5, 5)


def _deep(ax: Axes, records: Records, laws: Records) -> None:
    powers = {"quadratic": ("½", 0.5), "linear": ("1", 1), "constant": ("3/2", 1.5)}
    for name, m, own in _curves(records):
        k, scale, color = _layers(own), m**0.5, style.COLORS[list(SCHEDULES).index(name)]
        label = f"{SCHEDULES[name]}, $m={m}$: {powers[name][0]}"
        curves.bars(ax, k, list(own.stack("error").T), scale=scale, label=label, color=color,
                    marker=".", ms=3, linestyle="none", capsize=0)  # fmt: skip
        for r in [own[0], *laws.where(schedule=name, m=m)]:
            ax.plot(_layers(Records([r])), scale * r.arrays["law"], color=color, linewidth=0.9)
    style.log_axes(ax, [2, 8, 32, 128, 512])
    ax.set(xlabel="layer $k$", ylabel=r"$\sqrt{m}\cdot$ mean of $|w_k-w_{\infty,k}|$")
    ax.set_title("deeper: exponents ½, 1, 3/2")
    ax.legend(loc="upper left", fontsize=style.SMALL, handlelength=1)


def draw(records: Records) -> Figure:
    """Draw the means beside the published ones, their differences, and the growth to 1,000."""
    figure, axes = style.panels(3, height=3.1)
    shallow, deep, laws = _parts(records.ok)
    _means(axes[0], shallow)
    _differences(axes[1], shallow)
    _deep(axes[2], deep, laws)
    style.legend_above(figure, axes[0], ncols=9, columnspacing=1,
                  handlelength=2.2, title="hidden widths $m_k$ in (a), (b)")  # fmt: skip
    fields = ("schedule", "m")
    fewest = [curves.fewest(part, "error", *fields) for part in (shallow, deep)]
    note = f"means over {fewest[0]:,} pairs, a fresh network each (in (c) {fewest[1]}, bars: 95 %)"
    band = "published: 1,000 pairs, [C] Figure 1; band: ± 3"
    return style.finish(figure, axes, note, band, "lines of (c): the law, nothing fitted")


def _widths_word(schedule: str) -> str:
    return SCHEDULES[schedule].strip("$").replace("^2", "² ").replace("km", "k m")


def _power_of_law(record: Any, low: int, high: int) -> str | None:
    """The power of k in the law, fitted to the record's layers from `low` to `high`."""
    k = np.array(record.cell.layers)
    there = (k >= low) & (k <= high)
    if there.sum() < 2:
        return None
    return f"{np.polyfit(np.log(k[there]), np.log(record.arrays['law'][there]), 1)[0]:.2f}"


WINDOWS = ((2, 8), (8, 32), (32, 128), (128, 1000))


def tables(records: Records) -> dict[str, Table]:
    """Ours beside the published means; how many agree; the growth in k by windows."""
    points: list[Any] = []
    within: list[Any] = []
    exponents: list[Any] = []
    shallow, deep, laws = _parts(records.ok)
    for name, m, own in _curves(shallow):
        layers, gap = gaps(own)
        at = list(_layers(own))
        for k in sorted({2, 8, 32} & set(layers)):
            value, spread = own[0].arrays["published"][at.index(k)]
            theirs = Estimate(float(value), float(spread) / PAIRS**0.5, PAIRS)
            ours = mean(own.stack("error")[:, at.index(k)])
            off = f"{gap[list(layers).index(k)]:.1f}".replace("-", "−")
            points.append((_widths_word(name), m, k, ours, theirs, off))
        if len(layers):
            worst = int(np.argmax(np.abs(gap)))
            told = f"{gap[worst]:.1f} at k = {layers[worst]}".replace("-", "−")
            inside = int((np.abs(gap) <= 3).sum())
            within.append((_widths_word(name), m, len(layers), inside, told))
    for name, m, own in _curves(deep):
        at_k = _layers(own)
        row: list[Any] = []
        for low, high in WINDOWS:
            there = (at_k >= low) & (at_k <= high)
            known = there.sum() > 1 and at_k[there][-1] > 1.4 * low
            found = growth(at_k[there], own.stack("error")[:, there]) if known else None
            sources = [own[0], *laws.where(schedule=name, m=m)]
            row += [found, _power_of_law(sources[0 if known else -1], low, high)]
        exponents.append((_widths_word(name), m, len(own.stack("error")), *row))
    heads = [f"k = {low} … {high}{what}" for low, high in WINDOWS for what in ("", ", law")]
    return {
        "points": Table(("m_k", "m", "k", "ours", "published", "apart, in errors"), points),
        "within": Table(("m_k", "m", "points", "within 3 errors", "farthest"), within),
        "exponents": Table(("m_k", "m", "networks", *heads), exponents),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
