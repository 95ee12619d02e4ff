"""Is the spread of trained networks over initialisations that of the limit?

Question: the variance of f_t(x) over networks, on training and test points, beside the variance
that K∞ and the limit's Gaussian f_0 predict, at steps of gradient descent from 0 to the last; and
how what is measured above it on training points falls with m.

Expectation: within the sampling error of a variance, √(2/(s − 1)) of it, at large m. If K(θ)
fluctuates by m^{−1/2}, what is above falls like 1/m at leading order.
"""

from typing import Any

import numpy as np
from _fresh import errorbars
from _trained import Cell, cost, limit, marks, networks, point_of, predict, signs
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntk_eoc.estimates import exponent
from ntk_eoc.report import style
from ntk_eoc.sweeps.records import Records
from ntk_eoc.training.modes import descent
from ntk_eoc.training.predictions import (
    ensemble_variance_test,
    ensemble_variance_train,
    predict_train,
)

__all__ = ["Cell", "cost", "draw", "measure"]

LEAST = 1e-4
"""Of a point's variance at the start: below, the scores leave it out."""
LATE = 0.01
"""Of the variance on training points at the start: the first step below it shows the excess."""


def measure(cell: Cell) -> dict[str, Any]:
    """Return f_t of every network on all points, [s, t, n + q], and whether it diverged, [s]."""
    found = networks(cell)
    return {"outputs": found["outputs"], "diverged_at": found["diverged_at"]}


def expected(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of f_t on all points by K∞, [t, n + q]."""
    known, n = limit(point_of(cell)), cell.n
    rule, k, nngp = descent(known.rate, marks(cell)), known.kernel, known.nngp
    mean = predict(cell, known.modes, k, rule, np.zeros(len(k)))
    inside = ensemble_variance_train(known.modes, rule, nngp[:n, :n])
    outside = ensemble_variance_test(
        known.modes, rule, k[n:, :n] / n, nngp[:n, :n], nngp[n:, :n], np.diag(nngp)[n:]
    )
    return mean, np.concatenate([inside, outside], axis=1)


def scores(cells: Records) -> tuple[np.ndarray, np.ndarray]:
    """Measured minus expected mean and variance in standard errors, [t, n + q]; NaN below LEAST."""
    outputs = cells.stack("outputs")[cells.stack("diverged_at") < 0].astype(np.float64)
    mean, variance = expected(cells[0].cell)
    variance = np.where(variance > LEAST * variance[0], variance, np.nan)
    of_mean = (outputs.mean(0) - mean) / np.sqrt(variance / len(outputs))
    ratio = outputs.var(0, ddof=1) / variance
    return of_mean, (ratio - 1) / np.sqrt(2 / (len(outputs) - 1))


def excess(cells: Records) -> np.ndarray:
    """What each network adds to the variance on training points above the limit's, [s, t].

    The limit's is that of K∞ from the same networks' f_0, which leaves out what is common to both,
    the sampling error of the variance of f_0. The mean over s is that of unbiased variances.
    """
    cell, kept = cells[0].cell, cells.stack("diverged_at") < 0
    outputs = cells.stack("outputs")[kept].astype(np.float64)
    known, n = limit(point_of(cell)), cell.n
    rule, y = descent(known.rate, marks(cell)), signs(cell)[1][:n, None]
    found, start = outputs[:, :, :n], outputs[:, 0, :n].T
    limits = predict_train(known.modes, rule, np.repeat(y, len(outputs), 1), start)  # [t, n, s]
    squares = [((f - f.mean(0)) ** 2).mean(-1) for f in (found, limits.transpose(2, 0, 1))]
    return (squares[0] - squares[1]) * len(outputs) / (len(outputs) - 1)


def late(cell: Cell) -> int:
    """Place of the first mark where the limit's variance on training points is below `LATE`."""
    variance = expected(cell)[1][:, : cell.n].mean(1)
    return int(np.argmax(variance < LATE * variance[0])) or len(variance) - 1


def _excesses(ax: Axes, cells: Records, label: str, look: dict[str, Any]) -> None:
    ms, at = cells.values("m"), late(cells[0].cell)
    groups = [excess(cells.where(m=m))[:, at] for m in ms]
    if len(ms) > 1 and all(group.mean() > 0 for group in groups):
        fit = exponent(ms, groups)
        label += f": {fit.slope:.2f} [{fit.low:.2f}, {fit.high:.2f}]"
    errorbars(ax, ms, groups, label=label, **look)


def _variances(ax: Axes, cells: Records) -> None:
    cell = cells[0].cell
    outputs = cells.stack("outputs")[cells.stack("diverged_at") < 0].astype(np.float64)
    found, predicted = outputs.var(0, ddof=1), expected(cell)[1]
    steps = np.maximum(marks(cell), 0.5)  # 0 at the left end of a logarithmic axis
    for points, color, name in (
        (slice(0, cell.n), style.COLORS[0], "training"),
        (slice(cell.n, None), style.COLORS[1], "test"),
    ):
        ax.plot(steps, predicted[:, points][:, :4], color=color, linewidth=0.8)
        error = found[:, points][:, :4] * np.sqrt(2 / (len(outputs) - 1))
        for column, bar in zip(found[:, points][:, :4].T, error.T, strict=True):
            ax.errorbar(steps, column, bar, color=color, fmt=".", markersize=3, linewidth=0.6)
        ax.plot([], [], color=color, label=f"{name} points")
    ax.set(xscale="log", yscale="log", xlabel="steps (leftmost: 0)", ylabel=r"Var $f_t(x)$")
    ax.set_title(f"{cell.activation}, $l={cell.depth}$, $m={cell.m}$", fontsize=8)
    ax.legend()


def _normal(ax: Axes, cells: Records, label: str, look: dict[str, Any]) -> None:
    z, n = scores(cells)[1], cells[0].cell.n
    for points, line, name in ((slice(n, None), "-", "test"), (slice(0, n), "--", "training")):
        one = np.sort(z[:, points][np.isfinite(z[:, points])])
        part = (np.arange(one.size) + 0.5) / one.size
        ax.plot(one, part, line, label=f"{label}, {name}", color=look["color"])


def draw(records: Records) -> Figure:
    """Draw variances of a few points against steps, the scores of all points and steps at the width
    of most networks, and the excess on training points against the width.
    """
    ok = records.ok
    groups = list(ok.group("activation", "depth"))
    figure, grid = style.panels(2, -(-(len(groups) + 2) // 2), height=2.9, squeeze=False)
    axes = list(grid.flat)
    for ax in axes[len(groups) + 2 :]:
        ax.remove()
    looks = style.looks([name for name, _ in groups])
    for ax, (name, cells) in zip(axes, groups, strict=False):
        label, look = f"{name[0]}, $l={name[1]}$", looks[name]
        shown = cells.where(m=most(cells))
        _variances(ax, shown)
        _normal(axes[len(groups)], shown, label, look)
        _excesses(axes[len(groups) + 1], cells, label, look)
    _finish_scores(axes[len(groups)])
    _finish_excesses(axes[len(groups) + 1], ok)
    style.letter(axes[: len(groups) + 2])
    cell, lost = ok[0].cell, (np.concatenate([r.arrays["diverged_at"] for r in ok]) >= 0).sum()
    fewest = min(len(g.stack("outputs")) for _, g in ok.group("activation", "depth", "m"))
    note = (
        f"{cell.data}, n = {cell.n}; {fewest} networks a point or more, {lost} diverged; lines:"
        " predicted, dots: measured with sampling error; (d): standard errors"
    )
    style.footnote(figure, note)
    return figure


def most(cells: Records) -> int:
    """The largest of the widths with the most networks."""
    counts = {m: len(cells.where(m=m).stack("outputs")) for m in cells.values("m")}
    return max(m for m, count in counts.items() if count == max(counts.values()))


def _finish_scores(ax: Axes) -> None:
    z = np.linspace(-4, 4, 200)
    slope = np.exp(-(z**2) / 2)
    ax.plot(z, np.cumsum(slope) / slope.sum(), **style.GUIDE, label="normal")
    ax.set(xlabel="excess in sampling errors", ylabel="part of points, steps")
    ax.set_xlim(-4, 4)
    style.legend_below(ax)


def _finish_excesses(ax: Axes, ok: Records) -> None:
    ms = np.array(ok.values("m"), float)
    style.log_axes(ax, ok.values("m"))
    low = ax.get_ylim()[0]
    ax.plot(ms, low * ms[-1] / ms, **style.GUIDE, label="$1/m$")
    cell = ok[0].cell
    ax.set(xlabel="hidden width $m$", ylabel="excess variance, training points")
    ax.set_title(f"after {marks(cell)[late(cell)]} steps", fontsize=8)
    style.legend_below(ax, 1)


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
