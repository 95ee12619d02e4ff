"""Is the spread of trained networks over initialisations that of the limit?

Question: the variance of f_t(x) over networks, on training and test points, beside the variance
that K∞ and the limit's Gaussian f_0 predict, at steps of gradient descent from 0 to the last.

Expectation: within the sampling error of a variance, √(2/(s − 1)) of it, at large m.
"""

from typing import Any

import numpy as np
from _trained import Cell, cost, limit, marks, networks, point_of, predict
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntk_eoc.report import style
from ntk_eoc.sweeps.records import Records
from ntk_eoc.training.modes import descent
from ntk_eoc.training.predictions import ensemble_variance_test, ensemble_variance_train

__all__ = ["Cell", "cost", "draw", "measure"]

LEAST = 1e-4
"""Of a point's variance at the start: below, rounding in float32 is what is measured."""


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
    ax.set_title(f"{cell.activation}, $l={cell.depth}$", fontsize=8)
    ax.legend()


def _normal(ax: Axes, cells: Records, label: str, look: dict[str, Any]) -> None:
    z, n = scores(cells)[1], cells[0].cell.n
    for points, line, name in ((slice(n, None), "-", "test"), (slice(0, n), "--", "training")):
        one = np.sort(z[:, points][np.isfinite(z[:, points])])
        part = (np.arange(one.size) + 0.5) / one.size
        ax.plot(one, part, line, label=f"{label}, {name}", color=look["color"])


def draw(records: Records) -> Figure:
    """Draw variances of a few points against steps, and the scores of all points and steps."""
    ok = records.ok
    groups = list(ok.group("activation", "depth"))
    figure, axes = style.panels(len(groups) + 1, height=2.9)
    looks = style.looks([name for name, _ in groups])
    for ax, (name, cells) in zip(axes, groups, strict=False):
        _variances(ax, cells)
        _normal(axes[-1], cells, f"{name[0]}, $l={name[1]}$", looks[name])
    z = np.linspace(-4, 4, 200)
    slope = np.exp(-(z**2) / 2)
    axes[-1].plot(z, np.cumsum(slope) / slope.sum(), **style.GUIDE, label="normal")
    axes[-1].set(xlabel="excess in sampling errors", ylabel="part of points, steps")
    axes[-1].set_xlim(-4, 4)
    style.legend_below(axes[-1])
    style.letter(axes)
    cell, lost = ok[0].cell, (np.concatenate([r.arrays["diverged_at"] for r in ok]) >= 0).sum()
    fewest = min(len(cells.stack("outputs")) for _, cells in groups)
    note = (
        f"{cell.data}, n = {cell.n}, hidden widths {cell.m}; {fewest} networks or more, {lost}"
        " diverged; lines: predicted, dots: measured with sampling error, four points of each set"
    )
    style.footnote(figure, note)
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
