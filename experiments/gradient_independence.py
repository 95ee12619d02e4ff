"""How nearly independent of the forward pass is the backward pass at finite width?

Question: ‖K − K^ind‖ against m, widths k² m, beside the distance of two K^ind of the same
network, which is the noise of redrawing, and beside ‖K − K∞‖; and in each layer the share of
the gradient's energy that lies in the span of the forward activations, over that of an
independent signal. Fresh networks without weights and, at small m, the weights of Flax
networks.

Expectation: [C] bounds ‖K − K∞‖ through K^ind: ‖K − K^ind‖ falls at least like m^{−1/2}, and
the energy ratio tends to 1.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _fresh import Cell as Fresh
from _fresh import by_name, cost, errorbars, hidden_widths, inputs, limit, point_of
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.estimates import exponent
from ntk_eoc.kernels.independent_gradient import (
    GradientIndependence,
    gradient_independence,
    gradient_independence_sampled,
)
from ntk_eoc.network import draw_params
from ntk_eoc.report import style
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure"]


class Cell(Fresh):
    """A block of networks of one width, with or without weights."""

    weights: bool = False


@lru_cache(maxsize=8)
def _one(point: Cell) -> Callable[[jax.Array], GradientIndependence]:
    init = ne.edge_of_chaos(by_name(point.activation))
    x = jnp.asarray(inputs(point.data, point.n, point.data_seed), point.dtype)
    widths = (*hidden_widths(point), point.outputs)

    def sampled(key: jax.Array) -> GradientIndependence:
        return gradient_independence_sampled(key, init, x, widths)

    def weighed(key: jax.Array) -> GradientIndependence:
        key, fresh = jax.random.split(key)
        params = draw_params(key, init, x.shape[1], widths, x.dtype)
        return gradient_independence(fresh, init, params, x)

    return weighed if point.weights else sampled


def _norm(kernels: np.ndarray) -> np.ndarray:
    """Operator norms of differences of kernels [s, n, n, k, k], as NTK matrices."""
    s, n, _, k, _ = kernels.shape
    matrices = kernels.astype(np.float64).transpose(0, 1, 3, 2, 4).reshape(s, n * k, n * k) / n
    return np.linalg.norm(matrices, ord=2, axis=(1, 2))


def measure(cell: Cell) -> dict[str, Any]:
    """Return ‖K − K^ind‖, ‖K^ind − K^ind'‖, ‖K − K∞‖ [s] and the energy ratios [s, l − 2]."""
    found = map_batched(_one(point_of(cell)), cell.seed_keys(), cell.batch)
    return {
        "independent": _norm(found.kernel - found.independent),
        "redraw": _norm(found.redrawn - found.independent),
        "operator": _norm(found.kernel - limit(point_of(cell))[None]),
        "energy": found.energy,
    }


WHAT = {
    "operator": (r"$\|K-K_\infty\|$", "-"),
    "independent": (r"$\|K-K^{ind}\|$", "--"),
    "redraw": (r"$\|K^{ind}-K^{ind\prime}\|$", ":"),
}


def draw(records: Records) -> Figure:
    """Draw the distances against m, and the energy ratio of every layer against m."""
    figure, axes = style.panels(2, height=3.2)
    names = records.ok.values("activation")
    looks = style.looks(names)
    for name in names:
        for weights in (False, True):
            cells = records.ok.where(activation=name, weights=weights)
            ms = cells.values("m")
            look = {**looks[name], "fillstyle": "none" if weights else "full"}
            for what, (label, line) in WHAT.items():
                groups = [cells.where(m=m).stack(what) for m in ms]
                if weights:
                    errorbars(axes[0], ms, groups, **look, linestyle="none")
                else:
                    slope = exponent(ms, groups)
                    text = f"{name}, {label}: {slope.slope:.2f} [{slope.low:.2f}, {slope.high:.2f}]"
                    errorbars(axes[0], ms, groups, label=text, linestyle=line, **look)
            for layer in range(records[0].cell.depth - 2):
                groups = [cells.where(m=m).stack("energy")[:, layer] for m in ms]
                line = "none" if weights else style.LINES[layer % len(style.LINES)]
                entry = None if weights else f"{name}, $k={layer + 2}$"
                errorbars(axes[1], ms, groups, **look, linestyle=line, label=entry)
    for ax in axes:
        ax.plot([], [], "o", color="0.4", fillstyle="none", label="from the weights (Flax)")
        style.log_axes(ax, records.ok.values("m"), y=ax is axes[0])
        ax.set_xlabel("width $m$ (hidden widths $m_k=k^2m$)")
    axes[0].set_ylabel("operator norm")
    axes[1].axhline(1, **style.GUIDE)
    axes[1].set_ylabel("energy ratio (1: independent)")
    style.legend_below(axes[0])
    style.legend_below(axes[1])
    style.letter(axes)
    cell = records[0].cell
    fewest = min(len(group.stack("redraw")) for _, group in records.ok.group("m", "weights"))
    note = (
        f"n = {cell.n}, l = {cell.depth}; bars: standard error, {fewest} or more networks a point"
    )
    style.footnote(figure, note)
    return figure


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
