"""Do all entries of the kernel concentrate at once, without a width proportional to n?

Question: max_{ij} |K(x_i, x_j) − K∞(x_i, x_j)| and ‖K(θ) − K∞‖ against the number of points n at
fixed widths k² m, up to 512 points a unit of m; networks with their weights, which are cheaper than
draws without where n is large.

Expectation: the maximal inequalities of [C] pay one logarithm of n for all entries, in the
tail's exponent: a factor √log n at most. A small power of n looks alike over a decade.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import _fresh
import jax
import jax.numpy as jnp
import numpy as np
from _cells import init_of, inputs, point_of
from _fresh import hidden_widths, limit
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.sparse.linalg import eigsh

import ntk_eoc as ne
from ntk_eoc.estimates import mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.records import Records

DENSE = 256  # points up to which all eigenvalues are computed


class Cell(_fresh.Cell):
    """A block of networks, with their weights, of one width on one number of points."""


def cost(cell: Cell) -> float:
    """Products of the kernel's entries."""
    return float(cell.seeds * cell.n**2 * (sum(hidden_widths(cell)) + 500))


@lru_cache(maxsize=4)
def _kernel(point: Cell) -> Callable[..., jax.Array]:
    init, widths = init_of(point), (*hidden_widths(point), 1)

    def one(key: jax.Array, x: jax.Array) -> jax.Array:
        params = ne.draw_params(key, init, x.shape[1], widths, x.dtype)
        return ne.ntk_layerwise(init, params, x, x)[:, :, 0, 0]

    return one


def operator_norm(difference: np.ndarray) -> float:
    """‖A‖ of a symmetric matrix, by Lanczos where it is large."""
    if len(difference) <= DENSE:
        return float(np.abs(np.linalg.eigvalsh(difference)).max())
    start = np.random.default_rng(0).standard_normal(len(difference))
    found = eigsh(difference, k=1, which="LM", v0=start, tol=1e-6, return_eigenvectors=False)
    return float(abs(found[0]))


def measure(cell: Cell) -> dict[str, Any]:
    """Return the largest entry error and ‖K(θ) − K∞‖ of every network, [s]."""
    x, known = jnp.asarray(inputs(cell), cell.dtype), limit(point_of(cell))[:, :, 0, 0]
    entry, operator = [], []
    for key in cell.seed_keys():
        kernel = map_batched(_kernel(point_of(cell)), key[None], 1, x)[0]
        difference = kernel.astype(np.float64) - known
        entry.append(np.abs(difference).max())
        operator.append(operator_norm(difference) / cell.n)
    return {"max_entry": np.array(entry), "operator": np.array(operator)}


def fits(records: Records) -> dict[str, tuple[float, float, float]]:
    """Fits of the mean largest entry: (a, b, worst relative residual) of each form."""
    ns, found = curves.groups(records, "n", "max_entry")
    x, y = np.array(ns, float), np.array([one.mean() for one in found])
    fitted = {}
    for name, at in (("log", np.log(x)), ("root", np.sqrt(np.log(x)))):
        b, a = np.polyfit(at, y, 1, w=1 / y)
        fitted[name] = (float(a), float(b), float(np.abs((a + b * at) / y - 1).max()))
    b, a = np.polyfit(np.log(x), np.log(y), 1)
    off = np.abs(np.exp(a) * x**b / y - 1).max()
    return {**fitted, "power": (float(a), float(b), float(off))}


def _lines(records: Records) -> dict[int, Any]:
    return dict(zip(records.values("m"), style.LINES, strict=False))


def _entries(ax: Axes, records: Records) -> None:
    for m, line in _lines(records).items():
        look = {"label": None, "linestyle": line, "scale": lambda n, m=m: m**0.5 + 0 * n}
        curves.by_activation(ax, records.where(m=m), "n", "max_entry", **look)
        style.entry(ax, f"$m={m}$", color="0.4", linestyle=line)
    style.log_axes(ax, records.values("n"), y=False)
    ax.set_ylabel(r"$\sqrt{m}\,\max_{ij}|K-K_\infty|_{ij}$")
    ax.set_title("the largest of $n^2$ entries")
    ax.legend(loc="upper left")


def _operator(ax: Axes, records: Records) -> None:
    for m, line in _lines(records).items():
        look = {"label": None, "linestyle": line, "scale": lambda n, m=m: m**0.5 + 0 * n}
        curves.by_activation(ax, records.where(m=m), "n", "operator", **look)
    for name in records.values("activation"):
        style.entry(ax, style.word(name), linestyle="none", **style.activation_look(name))
    style.log_axes(ax, records.values("n"), y=False)
    ax.set_ylabel(r"$\sqrt{m}\,\|K(\theta)-K_\infty\|$")
    ax.set_title("the matrix, divided by $n$")
    ax.legend(loc="upper right")


def draw(records: Records) -> Figure:
    """Draw both errors, times √m, against the number of points."""
    figure, axes = style.panels(2, height=2.6)
    _entries(axes[0], records.ok)
    _operator(axes[1], records.ok)
    for ax in axes:
        ax.set(xlabel="points $n$", ylim=(0, None))
    cell = records.ok[0].cell
    fewest = curves.fewest(records.ok, "operator", "n", "m", "activation")
    note = f"{cell.data}, l = {cell.depth}, widths k² m; bars: 95 %, {fewest} or more networks"
    return style.finish(figure, axes, note)


def tables(records: Records) -> dict[str, Table]:
    """Both errors at every n, and the fits of the largest entry."""
    rows: list[Any] = []
    fitted: list[Any] = []
    for (name, m), own in records.ok.group("activation", "m"):
        for what, word in (("max_entry", "largest entry"), ("operator", "operator")):
            found = [mean(cells.stack(what)) for _, cells in own.group("n")]
            rows.append((style.word(name), m, word, *found))
        found_fits = fits(own)
        residuals = [f"{100 * found_fits[form][2]:.1f} %" for form in ("root", "log", "power")]
        power, ns = found_fits["power"][1], own.values("n")
        large = Records([r for r in own if r.cell.n >= max(m, 64)])
        level = curves.fit_of(*curves.groups(large, "n", "operator"))
        fitted.append((style.word(name), m, *residuals, f"{power:.3f}", level, ns[-1]))
    heads = (f"n = {n}" for n in records.ok.values("n"))
    columns = ("a + b √log n", "a + b log n", "power of n", "the power", "of ‖K − K∞‖, n ≥ m, 64")
    return {
        "": Table(("φ", "m", "error", *heads), rows),
        "fits": Table(("φ", "m, worst residual of", *columns, "largest n"), fitted),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
