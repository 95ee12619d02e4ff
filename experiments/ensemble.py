"""Is the spread of trained networks over initialisations that of the limit?

Question: the variance of f_t(x) over networks, on training and test points, beside the variance
that K∞ and the limit's Gaussian f_0 predict, at steps of gradient descent from 0 to the last; and
how what is measured above it on training points falls with m.

Expectation: within the sampling error of a variance, √(2/(s − 1)) of it, at large m. If K(θ)
fluctuates by m^{−1/2}, what is above falls like 1/m at leading order.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from _cells import point_of
from _trained import Cell, cost, described, limit, marks, networks, predict, signs
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntk_eoc.estimates import mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.records import Records
from ntk_eoc.training.modes import descent
from ntk_eoc.training.predictions import (
    ensemble_variance_test,
    ensemble_variance_train,
    predict_train,
)

__all__ = ["Cell", "cost", "draw", "measure", "tables"]

LEAST = 1e-4
"""Of a point's variance at the start: below, the scores leave it out."""
PLACES = {"test": style.COLORS[5], "training": style.COLORS[4]}


def measure(cell: Cell) -> dict[str, Any]:
    """Return f_t of every network on all points, [s, t, n + q], and whether it diverged, [s]."""
    found = networks(cell)
    return {"outputs": found["outputs"], "diverged_at": found["diverged_at"]}


def outputs_of(cells: Records) -> np.ndarray:
    """f_t of the networks that did not diverge, [s, t, n + q]."""
    return cells.stack("outputs")[curves.alive(cells)].astype(np.float64)


def expected(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of f_t on all points by K∞, [t, n + q]."""
    known, n = limit(point_of(cell)), cell.n
    rule, k, nngp = descent(known.rate, marks(cell)), known.kernel, known.nngp
    middle = predict(cell, known.modes, k, rule, np.zeros(len(k)))
    inside = ensemble_variance_train(known.modes, rule, nngp[:n, :n])
    outside = ensemble_variance_test(
        known.modes, rule, k[n:, :n] / n, nngp[:n, :n], nngp[n:, :n], np.diag(nngp)[n:]
    )
    return middle, np.concatenate([inside, outside], axis=1)


def scores(cells: Records) -> tuple[np.ndarray, np.ndarray]:
    """Measured minus expected mean and variance in standard errors, [t, n + q]; NaN below LEAST."""
    outputs = outputs_of(cells)
    middle, variance = expected(cells[0].cell)
    variance = np.where(variance > LEAST * variance[0], variance, np.nan)
    of_mean = (outputs.mean(0) - middle) / np.sqrt(variance / len(outputs))
    ratio = outputs.var(0, ddof=1) / variance
    return of_mean, (ratio - 1) / np.sqrt(2 / (len(outputs) - 1))


def excess(cells: Records) -> np.ndarray:
    """What each network adds to the variance on training points above the limit's, [s, t].

    The limit's is that of K∞ from the same networks' f_0, which leaves out what is common to both,
    the sampling error of the variance of f_0. The mean over s is that of unbiased variances.
    """
    cell, outputs = cells[0].cell, outputs_of(cells)
    known, n = limit(point_of(cell)), cell.n
    rule, y = descent(known.rate, marks(cell)), signs(cell)[1][:n, None]
    found, start = outputs[:, :, :n], outputs[:, 0, :n].T
    limits = predict_train(known.modes, rule, np.repeat(y, len(outputs), 1), start)  # [t, n, s]
    squares = [((f - f.mean(0)) ** 2).mean(-1) for f in (found, limits.transpose(2, 0, 1))]
    return (squares[0] - squares[1]) * len(outputs) / (len(outputs) - 1)


def excess_at(place: int) -> Callable[[Records], np.ndarray]:
    """`excess` at one mark, as a function of records."""
    return lambda cells: excess(cells)[:, place]


def most(cells: Records) -> int:
    """The largest of the widths with the most networks."""
    counts = {m: len(cells.where(m=m).stack("outputs")) for m in cells.values("m")}
    return max(m for m, count in counts.items() if count == max(counts.values()))


def _places(n: int) -> dict[str, slice]:
    return {"test": slice(n, None), "training": slice(0, n)}


def _variances(ax: Axes, cells: Records) -> None:
    """Measured variance over the predicted one, the mean over points of either kind."""
    cell, outputs = cells[0].cell, outputs_of(cells)
    steps = np.maximum(marks(cell), 0.5)  # 0 at the left end of a logarithmic axis
    predicted = expected(cell)[1]
    for name, points in _places(cell.n).items():
        middle = predicted[:, points].mean(1)
        deviations = (outputs[:, :, points] - outputs[:, :, points].mean(0)) ** 2
        each = deviations.mean(-1) * len(outputs) / (len(outputs) - 1)
        ax.plot(steps, middle, color=PLACES[name], linewidth=0.9)
        look = {"color": PLACES[name], "marker": "o", "linestyle": "none"}
        curves.bars(ax, steps, [*each.T], label=f"{name} points", **look)
    style.log_axes(ax)
    places = [0.5, *marks(cell)[1:]]
    ax.set_xticks(places, ["0", *(f"{step}" for step in marks(cell)[1:])])
    ax.set(xlabel="steps", ylabel=r"mean Var $f_t(x)$")
    ax.set_title(f"the limit's variance (lines), $l={cell.depth}$, $m={cell.m}$")


def _normal(ax: Axes, groups: dict[int, Records]) -> None:
    for (depth, cells), line in zip(groups.items(), style.LINES, strict=False):
        z = scores(cells)[1]
        for name, points in _places(cells[0].cell.n).items():
            one = np.sort(z[:, points][np.isfinite(z[:, points])])
            part = (np.arange(one.size) + 0.5) / one.size
            ax.plot(one, part, color=PLACES[name], linestyle=line)
        style.entry(ax, f"$l={depth}$", color="0.4", linestyle=line)
    z = np.linspace(-4, 4, 200)
    slope = np.exp(-(z**2) / 2)
    ax.plot(z, np.cumsum(slope) / slope.sum(), **style.GUIDE, label="normal")
    ax.set(xlabel="excess in sampling errors", ylabel="part of points and steps", xlim=(-4, 4))
    ax.set_title("test points: as sampling alone")
    ax.legend(loc="upper left")


def _excesses(ax: Axes, groups: dict[int, Records]) -> None:
    steps = marks(next(iter(groups.values()))[0].cell)
    shades = style.ramp(steps[-4:])
    for (_depth, cells), line in zip(groups.items(), style.LINES, strict=False):
        for step in steps[-4:]:
            at = int(np.flatnonzero(steps == step)[0])
            ms, found = curves.groups(cells, "m", excess_at(at))
            if all(one.mean() > 0 for one in found):
                label = f"{step} steps" if cells is next(iter(groups.values())) else "_"
                curves.bars(ax, ms, found, linestyle=line, label=label, **shades[step])
    ms = sorted({m for cells in groups.values() for m in cells.values("m")})
    style.log_axes(ax, ms)
    curves.guide(ax, ms, -1, "$1/m$")
    ax.set(xlabel="hidden width $m$", ylabel="excess, training points")
    ax.set_title("training points: the excess falls with $m$")
    style.legend_below(ax, 3, under=-0.2)


def draw(records: Records) -> Figure:
    """Draw the variances against steps at the width of most networks, the scores of all points and
    steps there, and the excess on training points against the width.
    """
    ok = records.ok.where(activation=records.ok.values("activation")[0])
    by_depth = {depth: ok.where(depth=depth) for depth in ok.values("depth")}
    figure, grid = style.panels(2, 2, height=2.4, squeeze=False)
    shown = {depth: cells.where(m=most(cells)) for depth, cells in by_depth.items()}
    depths = list(shown)
    for ax, depth in zip(grid[0], (depths[0], depths[-1]), strict=True):
        _variances(ax, shown[depth])
    grid[0, 0].legend()
    _normal(grid[1, 0], shown)
    _excesses(grid[1, 1], by_depth)
    cell = ok[0].cell
    note = f"{style.word(cell.activation)}, {cell.data}, n = {cell.n} and {cell.n_test} test points"
    bars = f"{described(ok, 'outputs', 'depth', 'm')}; bars: 95 %; colours in (c) as in (a)"
    lines = "solid, dashed in (d): l as in (c)" if len(depths) > 1 else ""
    return style.finish(figure, grid, note, bars, lines)


def tables(records: Records) -> dict[str, Table]:
    """The excess on training points with its exponents, and the largest scores at every step."""
    rows, worst = [], []
    for (name, depth), cells in records.ok.group("activation", "depth"):
        steps, shown = marks(cells[0].cell), cells.where(m=most(cells))
        of_mean, of_variance = (np.abs(z) for z in scores(shown))
        for at, step in enumerate(steps):
            values = [
                _largest(z[at, points])
                for points in _places(cells[0].cell.n).values()
                for z in (of_variance, of_mean)
            ]
            worst.append((style.word(name), depth, step, *values))
        for at in range(max(1, len(steps) - 4), len(steps)):
            ms, found = curves.groups(cells, "m", excess_at(at))
            told = [mean(one) for one in found]
            at_m = dict(zip(ms, told, strict=True))
            all_ms = records.ok.values("m")
            fit = curves.fit_of(ms, found)
            rows.append((style.word(name), depth, steps[at], *(at_m.get(m) for m in all_ms), fit))
    sizes = [f"excess, m = {m}" for m in records.ok.values("m")]
    heads = ("variance, test", "mean, test", "variance, training", "mean, training")
    return {
        "excess": Table(("φ", "l", "steps", *sizes, "exponent in m"), rows),
        "scores": Table(("φ", "l", "steps", *heads), worst, digits=2),
    }


def _largest(z: np.ndarray) -> float | None:
    return float(np.nanmax(z)) if np.isfinite(z).any() else None


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
