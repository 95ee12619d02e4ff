"""How nearly independent of the forward pass is the backward pass at finite width?

Question: ‖K − K^ind‖ against m, widths k² m, beside ‖K − K∞‖, and what of it exceeds the distance
of two K^ind of the same network, which is the noise of redrawing, also with more points than
neurons; and in each layer the share of the gradient's energy that lies in the span of the
forward activations, over that of an independent signal. Fresh networks without weights and,
at small m, the weights of Flax networks.

Expectation: [C] bounds ‖K − K∞‖ through K^ind: ‖K − K^ind‖ falls at least like m^{−1/2}, and
the energy ratio tends to 1.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import _fresh
import jax
import jax.numpy as jnp
import numpy as np
from _cells import init_of, inputs, point_of
from _fresh import cost, hidden_widths, limit
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.estimates import Estimate, Quantile, mean
from ntk_eoc.kernels.independent_gradient import (
    GradientIndependence,
    draw_gradient_independence,
    gradient_independence,
    gradient_independence_ensemble,
)
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure", "tables"]


class Cell(_fresh.Cell):
    """A block of networks of one width, with or without weights."""

    weights: bool = False


@lru_cache(maxsize=8)
def _from_weights(point: Cell) -> Callable[[jax.Array], GradientIndependence]:
    init, x = init_of(point), jnp.asarray(inputs(point), point.dtype)
    widths = (*hidden_widths(point), point.outputs)

    def one(key: jax.Array) -> GradientIndependence:
        key, fresh = jax.random.split(key)
        params = ne.draw_params(key, init, x.shape[1], widths, x.dtype)
        return gradient_independence(fresh, init, params, x)

    return one


def _draws(cell: Cell) -> Any:  # a `GradientIndependence` of NumPy arrays
    keys, batch = cell.seed_keys(), cell.batch
    if cell.weights:
        return map_batched(_from_weights(point_of(cell)), keys, batch)
    x, widths = jnp.asarray(inputs(cell), cell.dtype), (*hidden_widths(cell), cell.outputs)
    ensemble = gradient_independence_ensemble(init_of(cell), x, widths)
    found = map_batched(draw_gradient_independence, keys, batch, ensemble)
    return found._replace(energy=found.energy[:, : max(cell.depth - 2, 0)])


def _norm(kernels: np.ndarray) -> np.ndarray:
    """Operator norms of differences of kernels [s, n, n, k, k], as NTK matrices."""
    s, n, _, k, _ = kernels.shape
    matrices = kernels.astype(np.float64).transpose(0, 1, 3, 2, 4).reshape(s, n * k, n * k) / n
    return np.linalg.norm(matrices, ord=2, axis=(1, 2))


def measure(cell: Cell) -> dict[str, Any]:
    """Return ‖K − K^ind‖, ‖K^ind − K^ind'‖, ‖K − K∞‖ [s] and the energy ratios [s, l − 2]."""
    found = _draws(cell)
    return {
        "independent": _norm(found.kernel - found.independent),
        "redraw": _norm(found.redrawn - found.independent),
        "operator": _norm(found.kernel - limit(point_of(cell))[None]),
        "energy": found.energy,
    }


WHAT = {
    "operator": r"$\|K-K_\infty\|$",
    "independent": r"$\|K-K^{ind}\|$",
    "redraw": r"$\|K^{ind}-K^{ind\prime}\|$",
}


def _base(records: Records) -> Records:
    """Of at most as many points as neurons, the records of the n with most widths."""
    wide = Records([record for record in records if record.cell.m >= record.cell.n])
    return max((own for _, own in wide.group("n")), key=lambda own: len(own.values("m")))


def ratio(cells: Records) -> Estimate:
    """Mean ‖K − K^ind‖ over mean ‖K^ind − K^ind'‖, its error by the delta method on the pairs."""
    a, b = cells.stack("independent"), cells.stack("redraw")
    value = a.mean() / b.mean()
    return Estimate(value, mean((a - value * b) / b.mean()).error, len(a))


def _distances(ax: Axes, sampled: Records) -> None:
    lines = (style.LINES[0], style.LINES[1], style.LINES[3])
    for (what, label), line in zip(WHAT.items(), lines, strict=True):
        curves.by_activation(ax, sampled, "m", what, label=None, linestyle=line)
        style.entry(ax, label, color="0.4", linestyle=line)
    style.log_axes(ax, sampled.values("m"))
    curves.guide(ax, sampled.values("m"), -1, "$1/m$")
    ax.set_ylabel("operator norm")
    ax.set_title("$K-K^{ind}$: of order $1/m$")
    ax.legend(loc="lower left", handlelength=2.4)


def _ratios(ax: Axes, records: Records) -> None:
    base = _base(records)[0].cell.n
    for i, name in enumerate(records.values("activation")):
        for j, (n, weights) in enumerate({(r.cell.n, r.cell.weights): 0 for r in records}):
            cells = records.where(activation=name, weights=weights, n=n)
            at = np.array(cells.values("m"), float) * (1 + 0.07 * (3 * i + j))
            line = "none" if n == base else style.LINES[1]
            look = {"fillstyle": "none" if weights else "full", "linestyle": line}
            found = [ratio(cells.where(m=m)) for m in cells.values("m")]
            told = style.word(name) + (", from weights" if weights else "")
            label = told if n == base else f"{told}, $n={n}$"
            curves.bars(ax, at, found, label=label, **style.activation_look(name), **look)
    ax.set_ylabel(f"{WHAT['independent']} / {WHAT['redraw']}")
    ax.set_title("nearly all of it is redrawing")
    style.headroom(ax, 0.4)
    ax.legend(loc="upper right", handlelength=1)


def _energies(ax: Axes, sampled: Records) -> None:
    layers = range(sampled[0].cell.depth - 2)
    for layer in layers:
        line = style.LINES[layer % len(style.LINES)]
        look = {"label": None, "linestyle": line, "shift": 0.12}
        energy = lambda cells, layer=layer: cells.stack("energy")[:, layer]  # noqa: E731
        curves.by_activation(ax, sampled, "m", energy, **look)
        style.entry(ax, f"layer $k={layer + 2}$", color="0.4", linestyle=line)
    ax.set_ylabel("energy ratio (1: independent)")
    ax.set_title("the energy of gradients")
    style.headroom(ax, 0.25)
    ax.legend(loc="upper right")


def draw(records: Records) -> Figure:
    """Draw the distances, the ratio to the redraw, and the energy of every layer against m."""
    figure, axes = style.panels(3, height=2.6)
    ok = records.ok
    sampled = _base(ok).where(weights=False)
    _distances(axes[0], sampled)
    _ratios(axes[1], ok)
    _energies(axes[2], sampled)
    for ax in axes:
        ax.set_xlabel("width $m$")
    for ax in axes[1:]:
        style.log_axes(ax, ok.values("m"), y=False)
        ax.axhline(1, **style.GUIDE)
    cell = sampled[0].cell
    fewest = curves.fewest(ok, "redraw", "n", "m", "weights", "activation")
    note = f"{cell.data}, n = {cell.n} (in (b) also others), l = {cell.depth}, widths k² m"
    bars = f"bars: 95 %, {fewest} networks or more"
    return style.finish(figure, axes, note, bars, "colours as in (b)")


def tables(records: Records) -> dict[str, Table]:
    """The exponents of the distances, the distances at every m, the paired excess at every n."""
    ok = records.ok
    exponents: list[Any] = []
    rows: list[Any] = []
    excess: list[Any] = []
    for name in ok.values("activation"):
        own = _base(ok).where(activation=name, weights=False)
        fits = [curves.fit_of(*curves.groups(own, "m", what)) for what in WHAT]
        exponents.append((style.word(name), *fits))
    for (name, m, weights), cells in _base(ok).group("activation", "m", "weights"):
        origin = "weights" if weights else "sampled"
        distances = [mean(cells.stack(what)) for what in WHAT]
        worst = cells.stack("energy").mean(0) - 1
        most = float(worst[np.argmax(np.abs(worst))])
        rows.append((style.word(name), m, origin, *distances, ratio(cells), most))
    for (name, n, _), cells in ok.where(weights=False).group("activation", "n", "m"):
        found = ratio(cells)
        value, low, high = curves.ends(found)
        percent = Quantile(100 * (value - 1), 100 * (low - 1), 100 * (high - 1), found.draws)
        hidden = ", ".join(str(width) for width in hidden_widths(cells[0].cell))
        excess.append((style.word(name), n, hidden, found.draws, percent))
    columns = ("‖K − K∞‖", "‖K − K^ind‖", "‖K^ind − K^ind′‖")
    return {
        "exponents": Table(("exponent in m of", *columns), exponents),
        "distances": Table(("φ", "m", "from", *columns, "ratio", "energy ratio − 1, worst"), rows),
        "excess": Table(("φ", "n", "widths", "networks", "excess over the redraw, %"), excess, 2),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
