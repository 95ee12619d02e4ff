"""Which widths keep a deep network's kernel at its limit, and is Σ 1/m_k all that counts?

Question: ‖K(θ) − K∞‖ √m/l against depth for the widths k² m, k m, m and k³ m, at equal m and at
the neuron count of k² m; and log E[K(x,x)²]/E[K(x,x)]² against β = Σ_{k<l} 1/m_k, whatever the
schedule.

Expectation: [C] asks for k² m: level in depth there, growing for k m and more so for m. For
ReLU the ratio of moments is e^{5β} up to constants (Hanin & Nica, ICLR 2020, arXiv:1909.05989),
so that shapes of equal β agree.
"""

from typing import Any, Literal

import jax
import numpy as np
from _fresh import Cell as Fresh
from _fresh import by_name, draws, errorbars, hidden_widths, limit, point_of
from _fresh import cost as cost
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.report import style
from ntk_eoc.spectra.deviation import deviation
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure"]

LABELS = {"quadratic": "$k^2m$", "linear": "$km$", "constant": "$m$", "cubic": "$k^3m$"}


class Cell(Fresh):
    """A block of networks of one schedule and depth, at equal m or at an equal neuron count."""

    equal: Literal["m", "neurons"] = "m"


def _shape(cell: Cell) -> Cell:
    """The cell with the m that gives its schedule the neuron count of k² m, if it asks for that."""
    if cell.equal == "m":
        return cell
    total = sum(ne.widths("quadratic", cell.m, cell.depth)[:-1])
    unit = sum(ne.widths(cell.schedule, 1, cell.depth)[:-1])
    return cell.model_copy(update={"m": max(1, round(total / unit))})


def _diagonal_and_matrix(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    return kernel[0, 0, 0, 0], ne.ntk_matrix(kernel)


def measure(cell: Cell) -> dict[str, Any]:
    """Return ‖K(θ) − K∞‖ and K(x_1, x_1)/K∞(x_1, x_1) of each network, [s]; β and Σ m_k."""
    shape = _shape(cell)
    diagonal, matrices = draws(shape, _diagonal_and_matrix)
    k_inf = limit(point_of(shape))
    found = deviation(matrices, np.asarray(ne.ntk_matrix(k_inf)), cell.n)
    hidden = hidden_widths(shape)
    return {
        "operator": found.operator,
        "diagonal": np.asarray(diagonal, np.float64) / k_inf[0, 0, 0, 0],
        "beta": sum(1 / m for m in hidden),
        "neurons": sum(hidden),
    }


def moment_ratio(diagonal: np.ndarray, resamples: int = 400) -> tuple[float, float, float]:
    """Log E[K²]/E[K]² with a 95 % bootstrap interval; E[K] is K∞, exactly, on the diagonal."""
    rng = np.random.default_rng(0)
    squares = diagonal**2
    # Poisson weights: a bootstrap that needs no index arrays.
    weights = rng.poisson(1.0, (resamples, squares.size)).astype(np.float32)
    boot = np.log(weights @ squares / weights.sum(axis=1))
    low, high = np.quantile(boot, [0.025, 0.975])
    return float(np.log(squares.mean())), float(low), float(high)


def one_layer(act: ne.AbsLinear) -> float:
    """Return m (E[‖x_1‖⁴]/E[‖x_1‖²]² − 1) of one layer of m neurons: E φ̂(z)⁴ − 1, z ~ N(0, 1)."""
    a, b = act.a, act.b
    return 3 * (a**4 + 6 * a**2 * b**2 + b**4) / (a**2 + b**2) ** 2 - 1


def _against_depth(ax: Axes, records: Records, title: str) -> None:
    names = records.values("activation")
    looks = style.looks(names)
    for name in names:
        for (schedule, label), line in zip(LABELS.items(), style.LINES, strict=True):
            cells = records.where(activation=name, schedule=schedule)
            depths = cells.values("depth")
            if not depths:
                continue
            groups = [cells.where(depth=depth).stack("operator") for depth in depths]
            scale = np.sqrt(records[0].cell.m) / np.array(depths)
            look = {"linestyle": line, **looks[name]}
            errorbars(ax, depths, groups, scale, label=f"{name}, {label}", **look)
    style.log_axes(ax, records.values("depth"))
    ax.set(xlabel="depth $l$", title=title)
    style.legend_below(ax)
    ax.set_ylabel(r"$\|K(\theta)-K_\infty\|\,\sqrt{m}\,/\,l$")


def _collapse(ax: Axes, records: Records) -> None:
    names = records.values("activation")
    looks = style.looks(names)
    fill = {"quadratic": "full", "linear": "left", "constant": "none", "cubic": "right"}
    for name in names:
        for (schedule,), cells in records.where(activation=name).group("schedule"):
            points = sorted(_moment_points(cells))
            beta, value, low, high = np.array(points).T
            look = {**looks[name], "fillstyle": fill[schedule], "linestyle": "none"}
            bars = np.abs([value - low, high - value])
            ax.errorbar(beta, value, bars, label=f"{name}, {LABELS[schedule]}", **look)
        grid = np.array([0.0, max(float(r.arrays["beta"]) for r in records)])
        slope = one_layer(by_name(name))
        guide = {**style.GUIDE, "color": looks[name]["color"]}
        ax.plot(grid, slope * grid, **guide, label=rf"{name}, ${slope:g}\,\beta$")
    ax.set_xlabel(r"$\beta=\Sigma_{k<l}\,1/m_k$")
    ax.set_ylabel(r"$\log\,E[K(x,x)^2]\,/\,E[K(x,x)]^2$")
    style.legend_below(ax)


def _moment_points(cells: Records) -> list[tuple[float, float, float, float]]:
    return [
        (float(group[0].arrays["beta"]), *moment_ratio(group.stack("diagonal")))
        for _, group in cells.group("m", "depth")
    ]


def draw(records: Records) -> Figure:
    """Draw the error against depth at equal m and at equal neurons, and the moments against β."""
    figure, axes = style.panels(3, height=3.2)
    ok = records.ok
    pairs = [n for n in ok.values("n") if n > 1]
    by_depth = ok.where(n=pairs[0])
    _against_depth(axes[0], by_depth.where(equal="m"), "equal $m$")
    neurons = [*by_depth.where(equal="neurons"), *by_depth.where(equal="m", schedule="quadratic")]
    _against_depth(axes[1], Records(neurons), "equal neuron count")
    _collapse(axes[2], ok.where(n=1))
    style.letter(axes)
    cell = by_depth[0].cell
    seeds = len(ok.where(n=1)[0].arrays["diagonal"])
    style.footnote(
        figure,
        f"(a, b) m = {cell.m} (of $k^2m$ in b), n = {cell.n}, bars: standard error; "
        f"(c) one input, {seeds} or more networks a point, bars: 95 % bootstrap intervals",
    )
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
