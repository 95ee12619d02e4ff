"""Does what holds for ReLU hold for other activations, each on its edge of chaos?

Question: how fast K(θ) concentrates with width, and how the condition number of K∞ settles with
depth, for eight activations: at the point of their edge where χ_∥ = 1 too, or with q = 1 where
there is none. Inputs have ‖x‖²/d = q.

Expectation: the error falls like m^{−1/2} for all. The condition number of n points tends to
1 + n/3 where φ' jumps and to 1 + n/2 where it does not, however smooth or steep φ is.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _names import Activation
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

import ntk_eoc as ne
from ntk_eoc import data
from ntk_eoc.eoc import activation_class, special_points
from ntk_eoc.estimates import exponent, mean
from ntk_eoc.network import draw_params
from ntk_eoc.report import style
from ntk_eoc.sweeps import config
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records


class Cell(config.Cell):
    """A block of networks of one activation and width; at width 0, the limit at several depths."""

    activation: Activation
    data: str
    n: int = Field(ge=2)
    m: int = Field(ge=0)
    depth: int = Field(ge=1)
    depths: tuple[int, ...]


def cost(cell: Cell) -> float:
    """Weights to draw and multiply; the limits cost about as much as a small width."""
    if cell.m == 0:
        return 1e6
    m = (64, *ne.widths("quadratic", cell.m, cell.depth))
    return cell.seeds * float(sum(a * b for a, b in pairwise(m)))


@lru_cache(maxsize=16)
def _edge(name: str) -> ne.Init:
    # Not q = 1 for all: at the gelu's or the silu's, χ_∥ > 1 blows rounding up in the deep.
    points = special_points(ne.activation(name))
    return points[0] if points else ne.edge_of_chaos(name, q=1.0)


def _inputs(name: str, dataset: str, n: int) -> np.ndarray:
    return np.asarray(data.load(dataset, n).x) * np.sqrt(_edge(name).q)


@lru_cache(maxsize=32)
def _limit(name: str, dataset: str, n: int, depth: int) -> np.ndarray:
    x = jnp.asarray(_inputs(name, dataset, n))
    kernel = ne.ntk_infinite(_edge(name), x, x, depth)
    return np.asarray(ne.ntk_matrix(ne.with_outputs(kernel, 1)), np.float64)


@lru_cache(maxsize=8)
def _network(name: str, dataset: str, n: int, m: int, depth: int, dtype: str) -> Callable[..., Any]:
    """M(θ) of one key; the same function, compiled once, for every block of seeds."""
    x = jnp.asarray(_inputs(name, dataset, n), dtype)
    widths = ne.widths("quadratic", m, depth)

    def matrix(key: jax.Array) -> jax.Array:
        params = draw_params(key, _edge(name), x.shape[1], widths, x.dtype)
        return ne.ntk_matrix(ne.ntk_layerwise(_edge(name), params, x, x))

    return matrix


def measure(cell: Cell) -> dict[str, Any]:
    """Return ‖K(θ) − K∞‖/‖K∞‖ of each network, [s]; at width 0, condition numbers by depth."""
    point = (cell.activation, cell.data, cell.n)
    if cell.m == 0:
        spectra = [np.linalg.eigvalsh(_limit(*point, depth)) for depth in cell.depths]
        return {"condition": np.array([s[-1] / s[0] for s in spectra])}
    network = _network(*point, cell.m, cell.depth, str(cell.dtype))
    matrices = np.asarray(map_batched(network, cell.seed_keys(), cell.batch), np.float64)
    limit = _limit(*point, cell.depth)
    error = np.linalg.norm(matrices - limit, 2, axis=(1, 2))
    return {"error": error / np.linalg.norm(limit, 2)}


NOTE = r"edge of chaos, where $\chi_\parallel=1$ too, else at $q=1$; dashed: smooth"


def _line(name: str) -> str:
    return "--" if activation_class(ne.activation(name)) == "smooth" else "-"


def _draw_concentration(ax: Axes, records: Records) -> None:
    names = records.values("activation")
    looks = style.looks(names)
    for name in names:
        cells = records.where(activation=name)
        ms = [m for m in cells.values("m") if m > 0]
        groups = [cells.where(m=m).stack("error") for m in ms]
        estimates = [mean(group) for group in groups]
        label = name
        if len(ms) > 1:
            slope = exponent(ms, groups)
            label += f": $m^{{{slope.slope:.2f}}}$ [{slope.low:.2f}, {slope.high:.2f}]"
        ax.errorbar(
            ms,
            [e.mean for e in estimates],
            [e.error for e in estimates],
            label=label,
            linestyle=_line(name),
            **looks[name],
        )
    widths = [m for m in records.values("m") if m > 0]
    style.log_axes(ax, widths)
    depth = records[0].cell.depth
    ax.set(xlabel="width $m$ (hidden widths $m_k = k^2 m$)", title=f"depth $l={depth}$")
    ax.set_ylabel(r"$\|K(\theta)-K_\infty\|\,/\,\|K_\infty\|$")
    style.legend_below(ax)


def _draw_conditioning(ax: Axes, records: Records) -> None:
    names = records.values("activation")
    looks = style.looks(names)
    for name in names:
        record = records.where(activation=name, m=0)[0]
        depths, condition = record.cell.depths, record.arrays["condition"]
        ax.plot(depths, condition, label=name, linestyle=_line(name), **looks[name])
    n = records[0].cell.n
    for part, word in ((3, r"jump of $\varphi^\prime$"), (2, "smooth")):
        ax.axhline(1 + n / part, **style.GUIDE)
        ax.annotate(f"$1+n/{part}$, {word}", (0.01, 1 + n / part), fontsize=6, va="bottom",
                    xycoords=("axes fraction", "data"))  # fmt: skip
    style.log_axes(ax, records.where(m=0)[0].cell.depths)
    ax.set(xlabel="depth $l$", ylabel=r"condition number of $K_\infty$", title=f"$n={n}$ points")
    style.legend_below(ax)


def draw(records: Records) -> dict[str, Figure]:
    """Draw the error against width, and the condition number against depth."""
    ok, drawn = records.ok, {}
    for key, some, panel in (
        ("concentration", any(m > 0 for m in ok.values("m")), _draw_concentration),
        ("conditioning", 0 in ok.values("m"), _draw_conditioning),
    ):
        if some:
            figure, ax = style.panels(1, height=3.6)
            panel(ax, ok)
            style.footnote(figure, NOTE)
            drawn[key] = figure
    return drawn


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
