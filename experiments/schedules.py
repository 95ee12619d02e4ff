"""Which widths keep a deep network's kernel at its limit, and at what price?

Question: √m times the relative error ‖K(θ) − K∞‖_F/‖K∞‖_F, root mean square, against depth for the
widths k^p m, p = 0 … 3: at equal m, and at the neurons, parameters or flops of k² m; by the
computed law of K(θ) − K∞ and, at some points, of networks. And log E[K(x,x)²]/E[K(x,x)]²
against its first order in 1/m_k.

Expectation: [C] asks for k² m. By the law the error is level in depth if Σ 1/m_k is bounded: for
every p > 1, and grows like √log l at p = 1, √l at p = 0. For ReLU the ratio of moments is e^{5β},
β = Σ_{k<l} 1/m_k, up to constants (Hanin & Nica, ICLR 2020, arXiv:1909.05989).
"""

from functools import lru_cache
from typing import Any, Literal

import _cells
import jax
import numpy as np
from _cells import init_of, inputs, point_of
from _fresh import ensemble, one
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc.estimates import Estimate, Quantile, mean
from ntk_eoc.finite_width.budgets import BUDGETS, price
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra.deviation import deviation
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records

POWERS = {
    0.0: "m",
    0.5: "k^½ m",
    1.0: "k m",
    1.25: "k^1¼ m",
    1.5: "k^1½ m",
    2.0: "k² m",
    3.0: "k³ m",
}
FORMULAS = {p: f"$k^{{{p:g}}}m$" for p in POWERS} | {0.0: "$m$", 1.0: "$km$"}


class Cell(_cells.Cell):
    """One schedule and depth, by the law, and a block of networks if there are seeds."""

    power: float = Field(ge=0, le=4)
    """p of the hidden widths k^p m"""
    equal: Literal["m", "neurons", "parameters", "flops"] = "m"
    """What is equal to that of k² m"""
    m: int = Field(ge=1)
    depth: int = Field(ge=2)


@lru_cache(maxsize=64)
def _law(shared: Cell) -> ne.Fluctuations:
    return ne.fluctuations(init_of(shared), inputs(shared), shared.depth)


def law_of(cell: Cell) -> ne.Fluctuations:
    """Return the law of K(θ) − K∞, once for all widths of one depth."""
    return _law(point_of(cell).model_copy(update={"power": 0.0, "equal": "m", "m": 1}))


def hidden_of(cell: Cell) -> np.ndarray:
    """Return m_1 … m_{l−1} as real numbers: k^p m, or what costs as much as k² m."""
    k = np.arange(1.0, cell.depth)
    shape = k**cell.power
    if cell.equal == "m":
        return shape * cell.m
    biases = init_of(cell).sigma_b > 0
    costs = BUDGETS[cell.equal](inputs(cell).shape[1], cell.depth, 1, biases)
    total = price(costs, k**2 * cell.m)
    low, high = -40.0, 40.0  # of log m
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if price(costs, shape * np.exp(middle)) < total else (low, middle)
        )
    return shape * np.exp(low)


def cost(cell: Cell) -> float:
    """Gaussians to draw and to multiply."""
    return 1e4 * cell.depth + cell.seeds * float(hidden_of(cell).sum()) * cell.n * 2


def _both(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    return kernel[0, 0, 0, 0], ne.ntk_matrix(kernel)


def measure(cell: Cell) -> dict[str, Any]:
    """Return the root mean square relative error by the law, and of each network, [s].

    Also each layer's share of its square [l − 1], and K(x_1, x_1)/K∞(x_1, x_1), [s].
    """
    law, hidden = law_of(cell), hidden_of(cell)
    parts, scale = law.layers / hidden, float(np.linalg.norm(law.limit))
    found = {"law": cell.n * parts.sum() ** 0.5 / scale, "shares": parts / parts.sum()}
    if cell.seeds == 0:
        return found
    widths = (*(max(1, round(m)) for m in hidden), 1)
    networks = ensemble(cell, widths)
    diagonal, matrices = map_batched(one(_both), cell.seed_keys(), cell.batch, networks)
    off = deviation(matrices, law.limit / cell.n, cell.n)
    return {
        **found,
        "error": off.frobenius * cell.n / scale,
        "diagonal": np.asarray(diagonal, np.float64) / law.limit[0, 0],
    }


def moment_ratio(diagonal: np.ndarray, resamples: int = 400) -> Quantile:
    """Log E[K²]/E[K]² with a 95 % bootstrap interval; E[K] is K∞, exactly, on the diagonal."""
    rng = np.random.default_rng(0)
    squares = diagonal**2
    # Poisson weights: a bootstrap that needs no index arrays.
    weights = rng.poisson(1.0, (resamples, squares.size)).astype(np.float32)
    boot = np.log(weights @ squares / weights.sum(axis=1))
    low, high = np.quantile(boot, [0.025, 0.975])
    return Quantile(float(np.log(squares.mean())), float(low), float(high), diagonal.size)


def _root_mean_square(draws: np.ndarray) -> Estimate:
    found = mean(draws**2)
    return Estimate(found.mean**0.5, found.error / (2 * found.mean**0.5), found.draws)


def _parts(records: Records) -> tuple[Records, Records]:
    """Of several inputs, the records of the law alone and those of networks too."""
    many = [r for r in records if r.cell.n > 1]
    drawn = [r for r in many if "error" in r.arrays]
    return Records([r for r in many if "error" not in r.arrays]), Records(drawn)


def _against_depth(ax: Axes, records: Records, drawn: Records) -> None:
    looks = style.ramp(list(POWERS))
    for power in records.values("power"):
        own, color = records.where(power=power), looks[power]["color"]
        depths = own.values("depth")
        root = own[0].cell.m ** 0.5
        law = [float(own.where(depth=l)[0].arrays["law"]) for l in depths]  # noqa: E741
        ax.plot(depths, root * np.array(law), color=color, label=FORMULAS[power])
        dots = drawn.where(power=power)
        if len(dots):
            at, found = curves.groups(dots, "depth", "error")
            bare = {"color": color, "marker": "o", "ms": 2.2, "linestyle": "none"}
            root = dots[0].cell.m ** 0.5
            curves.bars(ax, at, [_root_mean_square(one) for one in found], scale=root, **bare)
    style.log_axes(ax, records.values("depth"))
    ax.set(xlabel="depth $l$")


def _moments(ax: Axes, records: Records) -> None:
    largest = 0.0
    markers = dict(zip(records.values("power"), style.MARKERS, strict=False))
    for (name, power), cells in records.group("activation", "power"):
        for _, own in cells.group("m", "depth"):
            expected = float(own[0].arrays["law"]) ** 2
            found = moment_ratio(own.stack("diagonal"))
            color = style.activation_look(name)["color"]
            curves.bars(ax, [expected], [found], color=color, marker=markers[power])
            largest = max(largest, expected, found.value)
    ax.plot([0, largest], [0, largest], **style.GUIDE)
    for power, marker in markers.items():
        style.entry(ax, FORMULAS[power], color="0.4", marker=marker, linestyle="none")
    for name in records.values("activation"):
        style.entry(ax, style.word(name), color=style.activation_look(name)["color"])
    ax.set(xlabel="first order in $1/m_k$", ylabel=r"$\log\,E[K^2]/E[K]^2$")
    ax.set_title("one input: the second moment")
    ax.legend(loc="lower right", handlelength=1)


def draw(records: Records) -> Figure:
    """Draw the error against depth at equal m and equal costs, and the ratio of moments."""
    figure, axes = style.panels(3, rows=2, height=2.5)
    ok, drawn = _parts(records.ok)
    names = ok.values("activation")
    shown = [(name, "m") for name in names[:2]]
    shown += [(names[-1], equal) for equal in ("neurons", "parameters", "flops")]
    for ax, (name, equal) in zip(axes.ravel(), shown, strict=False):
        own = ok.where(activation=name, equal=equal)
        if len(own):
            _against_depth(ax, own, drawn.where(activation=name, equal=equal))
        ax.set_title(f"{style.word(name)}, equal {'$m$' if equal == 'm' else equal}")
    for ax in axes[:, 0]:
        ax.set_ylabel(r"$\sqrt{m}\,\|K-K_\infty\|_F/\|K_\infty\|_F$, r.m.s.")
    _moments(axes[1, 2], records.ok.where(n=1))
    style.legend_above(figure, axes[0, 0], title="$m_k$")
    cell = ok[0].cell
    fewest = curves.fewest(drawn, "error", "activation", "power", "depth", "equal")
    note = f"{cell.data}, n = {cell.n}; costs are those of k² m at m = {cell.m}"
    dots = f"lines: the law, nothing fitted; dots: {fewest} networks or more, bars: 95 %"
    return style.finish(figure, axes, note, dots)


def tables(records: Records) -> dict[str, Table]:
    """The law's errors and their growth, networks beside it, and the moments."""
    errors: list[Any] = []
    sampled: list[Any] = []
    moments: list[Any] = []
    ok, drawn = _parts(records.ok)
    depths = ok.values("depth")
    end, middle = depths[-1], depths[-min(3, len(depths))]
    for (equal, name, power), cells in ok.group("equal", "activation", "power"):
        if equal != "m" and power == 2:
            continue  # the same as at equal m
        root = cells[0].cell.m ** 0.5
        law = {l: root * float(c[0].arrays["law"]) for (l,), c in cells.group("depth")}  # noqa: E741
        told = None
        if end in law and middle < end:
            growth = np.log(law[end] / law[middle]) / np.log(end / middle)
            told = f"{growth:.2f}".replace("-", "−")
        first = 100 * float(cells.where(depth=max(law))[0].arrays["shares"][0])
        row = (*(law.get(l) for l in depths), told, f"{first:.2g} %")  # noqa: E741
        errors.append((equal, style.word(name), POWERS[power], *row))
    for (equal, name, power, depth), cells in drawn.group("equal", "activation", "power", "depth"):
        found, law_ = _root_mean_square(cells.stack("error")), float(cells[0].arrays["law"])
        ratio = Estimate(found.mean / law_, found.error / law_, found.draws)
        sampled.append((equal, style.word(name), POWERS[power], depth, found.draws, ratio))
    for (name, power, m, depth), cells in records.ok.where(n=1).group(
        "activation", "power", "m", "depth"
    ):
        beta = float((1 / hidden_of(cells[0].cell)).sum())
        found_ratio, square = (
            moment_ratio(cells.stack("diagonal")),
            float(cells[0].arrays["law"]) ** 2,
        )
        row = (POWERS[power], m, depth, beta, square, found_ratio)
        moments.append((style.word(name), *row))
    heads = (f"l = {l}" for l in depths)  # noqa: E741
    grown = (f"power of l, {middle} to {end}", f"layer 1's share, l = {end}")
    columns = ("m_k", "m", "l", "β", "first order", "log E[K²]/E[K]²")
    return {
        "errors": Table(("equal", "φ", "m_k", *heads, *grown), errors),
        "sampled": Table(("equal", "φ", "m_k", "l", "networks", "sampled over the law"), sampled),
        "moments": Table(("φ", *columns), moments),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
