"""How good are [S]'s spectral bounds, beside ours, and what decides the smallest eigenvalue?

Question: all eigenvalues of K∞/n against depth, l = 1 … 10⁴, for near-duplicates, clusters, the
sphere, digits and MNIST: beside [S]'s approximation at an inverse distance W of the data, with the
constants its O(·) would need, and beside our proven bounds; how the condition number grows with n;
and how many pairs of points λ_min is made of.

Expectation: past l Δ u_min ~ 1 [S]'s approximation is nearer than any bound, with W between the
mean and the largest inverse distance of two points; before, it is not positive and ours alone
says something. One pair decides λ_min for near-duplicates, many do in clusters and on the sphere.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from _cells import columns, of_delta
from _distances import data_legend
from data_geometry import Cell, cost, points
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.report import style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra import deep_limit
from ntk_eoc.spectra.bounds import spectral_bounds
from ntk_eoc.spectra.deep_expansion import deep_spectrum, fitted_distance
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure", "tables"]

MOST = 0.05  # how far off an approximation may be to count as good


def _pairs_in(vector: np.ndarray) -> float:
    """How many pairs an eigenvector lies on: (Σ|v_i v_j|)²/Σ v_i²v_j² over i < j; 1 for one."""
    weight = np.abs(np.outer(vector, vector))[np.triu_indices(len(vector), 1)]
    return float(weight.sum() ** 2 / max(np.sum(weight**2), 1e-300))


def _by_distance(delta: float, w: float, depth: int, values: np.ndarray) -> tuple[float, ...]:
    """[S]'s approximation, and by how much it is off in the units of its O(·)."""
    n = len(values)
    found = deep_spectrum(delta, w, depth, n)
    unit = 1 / delta + delta**-2 / depth + depth / n**2
    rest = np.max(np.abs(values[:-1] - found.rest))
    return (*found, abs(values[-1] - found.largest) / unit, rest / unit)


def measure(cell: Cell) -> dict[str, Any]:
    """Return the spectrum, [depths, n], with approximations [depths, 5] and bounds [depths, 6].

    What is infinite, or does not exist, is 0.

    `by_mean` and `by_largest` are `deep_spectrum` at the mean and at the largest inverse distance,
    each with its two constants; `bounds` ours of λ_min, λ_max and of their quotient, low and high;
    `fitted` the W that gives the condition number; `pairs` how many λ_min's eigenvector lies on.
    """
    init = ne.edge_of_chaos(of_delta(cell.delta))
    x = jnp.asarray(points(cell), cell.dtype)
    u = np.asarray(deep_limit.cosine_distance(init, x, x, 0))[np.triu_indices(cell.n, 1)]
    inverse = 1 / u
    rows = []
    for depth in cell.depths:
        kernel = np.asarray(ne.ntk_infinite(init, x, x, depth), np.float64) / cell.n
        values, vectors = np.linalg.eigh(kernel)
        condition = values[-1] / values[0] if values[0] > 1e-13 * values[-1] else np.inf
        fitted = fitted_distance(cell.delta, depth, cell.n, min(condition, 1e300))
        bounds = spectral_bounds(cell.delta, depth, cell.n, float(u.min()), float(u.max()))
        near = [_by_distance(cell.delta, w, depth, values) for w in (inverse.mean(), inverse.max())]
        rows.append((values, *near, np.ravel(bounds), fitted, _pairs_in(vectors[:, 0]), condition))
    names = ("spectrum", "by_mean", "by_largest", "bounds", "fitted", "pairs", "condition")
    found = {k: np.where(np.isfinite(c), c, 0.0) for k, c in columns(names, rows).items()}
    return {**found, "u_min": u.min(), "mean_inverse": inverse.mean()}


def _one_size(records: Records) -> Records:
    """Those of the number of points that most data sets have."""
    return max((records.where(n=n) for n in records.values("n")), key=lambda r: len(r))


def _some(values: np.ndarray) -> np.ndarray:
    """Values with NaN where there is none."""
    return np.where(values > 0, values, np.nan)


def _reach(record: Any) -> np.ndarray:
    return np.array(record.cell.depths) * record.cell.delta * float(record.arrays["u_min"])


def _beside(ax: Axes, records: Records) -> None:
    """Bounds and approximations of the condition number, over it, against l Δ u_min."""
    looks = style.looks(records.values("data"))
    for record in records:
        arrays, color = record.arrays, looks[record.cell.data]["color"]
        true = _some(arrays["condition"])
        for values, line in (
            (arrays["bounds"][:, 4], style.LINES[2]),
            (arrays["bounds"][:, 5], style.LINES[2]),
            (arrays["by_mean"][:, 2], style.LINES[0]),
            (arrays["by_largest"][:, 2], style.LINES[1]),
        ):
            ratio = _some(values) / true
            ax.plot(_reach(record), ratio, linestyle=line, color=color, linewidth=0.9)
    for label, line in (
        ("[S], mean 1/u", style.LINES[0]),
        ("[S], largest 1/u", style.LINES[1]),
        ("ours, both sides", style.LINES[2]),
    ):
        style.entry(ax, label, linestyle=line, color="0.4")
    style.level(ax, 1)
    style.log_axes(ax)
    ax.set(
        ylim=(0.02, 50), xlabel=r"$l\,\Delta\,u_{\min}$", ylabel="condition number, over the true"
    )
    ax.set_title("bounds and approximations")
    ax.legend(loc="lower right", handlelength=2)


def _constants(ax: Axes, records: Records) -> None:
    looks = style.looks(records.values("data"))
    for record in records:
        arrays, look = record.arrays, looks[record.cell.data]
        best = np.minimum(arrays["by_mean"][:, 4], arrays["by_largest"][:, 4])
        ax.plot(_reach(record), best, **look)
    style.log_axes(ax)
    ax.set(xlabel=r"$l\,\Delta\,u_{\min}$", ylabel="constant that the O(·) needs")
    ax.set_title("of [S]'s n − 1 smaller ones")


def _fitted(ax: Axes, records: Records) -> None:
    looks = style.looks(records.values("data"))
    for record in records:
        ratio = _some(record.arrays["fitted"]) * float(record.arrays["u_min"])
        ax.plot(_reach(record), ratio, **looks[record.cell.data])
    for record in records:
        at = float(record.arrays["mean_inverse"] * record.arrays["u_min"])
        ax.plot([0.98, 1.0], [at, at], transform=ax.get_yaxis_transform(),
                color=looks[record.cell.data]["color"], linewidth=2)  # fmt: skip
    style.level(ax, 1, "largest")
    style.log_axes(ax)
    ax.set(xlabel=r"$l\,\Delta\,u_{\min}$", ylabel=r"best $W\,u_{\min}$")
    ax.set_title("the W that gives the truth")


def _fan(ax: Axes, record: Any) -> None:
    depths = np.array(record.cell.depths)
    spectrum = record.arrays["spectrum"] * record.cell.n / depths[:, None]
    shades = style.ramp(range(spectrum.shape[1]))
    for i in range(spectrum.shape[1]):
        values = np.where(spectrum[:, i] > 1e-12, spectrum[:, i], np.nan)
        ax.plot(depths, values, color=shades[i]["color"], linewidth=0.5)
    style.log_axes(ax)
    style.level(ax, 0.75, "¾")
    style.level(ax, (record.cell.n + 3) / 4, "(n+3)/4")
    ax.set(xlabel="depth $l$", ylabel=r"$n\lambda/l$", ylim=(1e-4, None))
    ax.set_title(f"all eigenvalues, {record.cell.data}")


def _with_n(ax: Axes, records: Records, shown: tuple[int, ...] = (8, 64, 512, 4096)) -> None:
    names = [n for n in records.values("data") if len(records.where(data=n).values("n")) > 1]
    cells = sorted(records.where(data=names[0]) if names else records, key=lambda r: r.cell.n)
    looks = style.ramp(shown)
    for depth in shown:
        there = [r for r in cells if depth in r.cell.depths]
        found = [r.arrays["condition"][r.cell.depths.index(depth)] for r in there]
        at = [r.cell.n for r in there]
        ax.plot(at, _some(np.array(found)), label=f"$l={depth}$", markersize=2.5, **looks[depth])
    grid = np.array([min(r.cell.n for r in cells), max(r.cell.n for r in cells)])
    ax.plot(grid, 1 + grid / 3, label="$1+n/3$", **style.GUIDE)
    style.log_axes(ax)
    ax.set(xlabel="points $n$", ylabel="condition number")
    ax.set_title(f"against n, {cells[0].cell.data}")
    ax.legend(loc="lower right")


def _participation(ax: Axes, records: Records) -> None:
    looks = style.looks(records.values("data"))
    for record in records:
        ax.plot(record.cell.depths, record.arrays["pairs"], **looks[record.cell.data])
    style.log_axes(ax)
    ax.set(xlabel="depth $l$", ylabel=r"pairs in $\lambda_{\min}$'s eigenvector")
    ax.set_title("how many pairs decide")


def draw(records: Records) -> Figure:
    """Draw the bounds, [S]'s constants and W, the fan, the growth with n and the participation."""
    figure, axes = style.panels(3, 2, height=2.3)
    ok = records.ok
    shown = _one_size(ok.where(delta=ok.values("delta")[-1]))
    _beside(axes[0, 0], shown)
    _constants(axes[0, 1], shown)
    _fitted(axes[0, 2], shown)
    digits = [r for r in shown if r.cell.data == "digits"] or list(shown)
    _fan(axes[1, 0], digits[0])
    _with_n(axes[1, 1], ok.where(delta=ok.values("delta")[-1]))
    _participation(axes[1, 2], shown)
    data_legend(figure, axes[1, 2], shown)
    cell = shown[0].cell
    return style.finish(
        figure,
        axes,
        f"Δ = {cell.delta:g}, n = {cell.n}",
        "a line of (a) begins where the bound or the approximation is positive and finite",
        "marks at the right of (c): the mean inverse distance",
    )


def _from(record: Any, name: str) -> float:
    """The least l Δ u_min from which on an approximation of the condition number stays good."""
    off = np.abs(_some(record.arrays[name][:, 2]) / _some(record.arrays["condition"]) - 1)
    bad = np.flatnonzero(~(off <= MOST))
    after = bad[-1] + 1 if len(bad) else 0
    return float(_reach(record)[after]) if after < len(off) else math.inf


def tables(records: Records) -> dict[str, Table]:
    """The constants that [S]'s O(·) would need, when it is good and when ours is nearer, and W."""
    rows, decided = [], []
    for record in _one_size(records.ok):
        arrays, reach, cell = record.arrays, _reach(record), record.cell
        late = reach >= 1
        constants = [
            float(np.max(arrays[name][mask, column], initial=0.0))
            for name, column, mask in (
                ("by_mean", 3, late), ("by_mean", 4, late),
                ("by_largest", 3, late), ("by_largest", 4, late), ("by_largest", 4, ~late),
            )
        ]  # fmt: skip
        high = _some(arrays["bounds"][:, 5]) / _some(arrays["condition"]) - 1
        good = np.flatnonzero(~(high <= MOST))
        ours = float(reach[good[-1] + 1]) if good[-1] + 1 < len(reach) else math.inf
        head = (cell.data, cell.delta, float(arrays["u_min"]))
        starts = (_from(record, "by_mean"), _from(record, "by_largest"), ours)
        rows.append((*head, *constants, *starts))
        w = float(arrays["fitted"][-1])
        mean_w, most_w = float(arrays["mean_inverse"]), 1 / float(arrays["u_min"])
        at = [int(np.searchsorted(cell.depths, depth)) for depth in (2, 64, 1024)]
        pairs = [float(arrays["pairs"][min(i, len(cell.depths) - 1)]) for i in at]
        decided.append((cell.data, cell.delta, mean_w, most_w, w, *pairs))
    columns = (
        "λ_1, mean", "the rest, mean", "λ_1, largest", "the rest, largest", "and before",
        "good from, mean", "from, largest", "ours from",
    )  # fmt: skip
    counted = ("pairs at l = 2", "at l = 64", "at l = 1024")
    heads = ("data", "Δ", "mean 1/u", "largest 1/u", "best W, deepest")
    return {
        "constants": Table(("data", "Δ", "u_min", *columns), rows),
        "decided": Table((*heads, *counted), decided),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
