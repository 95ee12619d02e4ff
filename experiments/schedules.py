"""Which widths keep a deep network's kernel at its limit, and is Σ 1/m_k all that counts?

Question: ‖K(θ) − K∞‖ √m/l against depth for the widths k² m, k m, m and k³ m, at equal m and at
the neuron count of k² m; and log E[K(x,x)²]/E[K(x,x)]², whatever the schedule, against what it is
to first order in 1/m_k.

Expectation: [C] asks for k² m: level in depth there, growing for k m and more so for m. For ReLU
the ratio of moments is e^{5β}, β = Σ_{k<l} 1/m_k, up to constants (Hanin & Nica, ICLR 2020,
arXiv:1909.05989), so that shapes of equal β agree.
"""

from typing import Any, Literal

import _fresh
import jax
import numpy as np
from _cells import activation, point_of
from _fresh import SCHEDULES, cost, deviations, draws, hidden_widths, limit
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.estimates import Quantile, mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure", "tables"]


class Cell(_fresh.Cell):
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
    hidden = hidden_widths(shape)
    return {
        "operator": deviations(shape, matrices).operator,
        "diagonal": np.asarray(diagonal, np.float64) / limit(point_of(shape))[0, 0, 0, 0],
        "beta": sum(1 / m for m in hidden),
        "neurons": sum(hidden),
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


def first_order(act: ne.AbsLinear, hidden: tuple[int, ...]) -> float:
    """Return Var K(x,x)/K∞(x,x)² to first order in 1/m_k, for φ(s) = a s + b|s|.

    K(x,x) is a sum of l terms of equal mean. Hidden layer j multiplies a share f = (l − j)/l of
    them by ‖φ̂(z)‖²/m, and the others by the same of φ̂'(z)g, with independent g; both factors have
    variance (E φ̂⁴ − 1)/m and together the covariance (E φ̂² φ̂'² − 1)/m, φ̂ normalised to
    E φ̂² = 1. Layers are independent at this order: the sum over j of these over the terms' pairs.
    """
    a, b = act.a, act.b
    fourth = (a**4 + 6 * a**2 * b**2 + b**4) / (a**2 + b**2) ** 2  # E φ̂'⁴
    own, cross = 3 * fourth - 1, fourth - 1
    shares = 1 - np.arange(1, len(hidden) + 1) / (len(hidden) + 1)
    terms = own * (shares**2 + (1 - shares) ** 2) + 2 * cross * shares * (1 - shares)
    return float(np.sum(terms / np.array(hidden)))


def _parts(records: Records) -> dict[str, Records]:
    """The records of the panels: at equal m, at equal neurons, and of one point."""
    many = records.where(n=next(n for n in records.values("n") if n > 1))
    neurons = [*many.where(equal="neurons"), *many.where(equal="m", schedule="quadratic")]
    return {
        "equal $m$": many.where(equal="m"),
        "equal neuron count": Records(neurons),
        "one": records.where(n=1),
    }


def _against_depth(ax: Axes, records: Records) -> None:
    root = records[0].cell.m ** 0.5
    for schedule, line in zip(SCHEDULES, style.LINES, strict=True):
        cells = records.where(schedule=schedule)
        if len(cells):
            look = {"linestyle": line, "label": None, "shift": 0.03}
            curves.by_activation(ax, cells, "depth", "operator", scale=lambda l: root / l, **look)  # noqa: E741
    style.log_axes(ax, records.values("depth"))
    ax.set(xlabel="depth $l$", ylabel=r"$\sqrt{m}\,\|K(\theta)-K_\infty\|\,/\,l$")


def _moments(ax: Axes, records: Records) -> None:
    largest = 0.0
    markers = dict(zip(SCHEDULES, style.MARKERS, strict=False))
    for (name, schedule), cells in records.group("activation", "schedule"):
        for _, one in cells.group("m", "depth"):
            expected = first_order(activation(name), hidden_widths(_shape(one[0].cell)))
            color = style.activation_look(name)["color"]
            found = moment_ratio(one.stack("diagonal"))
            curves.bars(ax, [expected], [found], color=color, marker=markers[schedule])
            largest = max(largest, expected, found.value)
    ax.plot([0, largest], [0, largest], **style.GUIDE)
    for schedule in records.values("schedule"):
        look = {"color": "0.4", "marker": markers[schedule], "linestyle": "none"}
        style.entry(ax, SCHEDULES[schedule], **look)
    ax.set(xlabel="to first order in $1/m_k$", ylabel=r"$\log\,E[K^2]/E[K]^2$")
    ax.legend(loc="lower right", handlelength=1)


def draw(records: Records) -> Figure:
    """Draw the error against depth at equal m and at equal neurons, and the ratio of moments."""
    figure, axes = style.panels(3, height=2.9)
    parts = _parts(records.ok)
    _against_depth(axes[0], parts["equal $m$"])
    _against_depth(axes[1], parts["equal neuron count"])
    _moments(axes[2], parts["one"])
    axes[0].set_title("equal $m$: $k^2m$ is level, $m$ grows")
    axes[1].set_title("equal neurons: the order turns")
    axes[1].set_ylabel("")
    axes[2].set_title("the kernel's second moment")
    shown = parts["equal $m$"]
    for name in shown.values("activation"):
        style.entry(axes[0], style.word(name), **style.activation_look(name), linestyle="none")
    for schedule, line in zip(SCHEDULES, style.LINES, strict=True):
        if len(shown.where(schedule=schedule)):
            style.entry(axes[0], f"$m_k=\\,${SCHEDULES[schedule]}", color="0.4", linestyle=line)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    style.letter(axes)
    one, many = parts["one"], parts["equal $m$"]
    bars = (
        f"{curves.fewest(many, 'operator', 'activation', 'schedule', 'depth')} and in (c)"
        f" {curves.fewest(one, 'diagonal', 'activation', 'schedule', 'm', 'depth')} networks"
    )
    cell = many[0].cell
    note = f"m = {cell.m} (of k² m in b), n = {cell.n}, in (c) 1; bars: 95 %, {bars}"
    style.footnote(figure, note)
    return figure


def tables(records: Records) -> dict[str, Table]:
    """The scaled errors at equal m and at equal neurons, and the moments beside first order."""
    parts, rows = _parts(records.ok), []
    depths = parts["equal $m$"].values("depth")
    for title in ("equal $m$", "equal neuron count"):
        shown = parts[title].where(equal={"equal $m$": "m"}.get(title, "neurons"))
        for (name, schedule), cells in shown.group("activation", "schedule"):
            found = {
                l: mean(own.stack("operator") * own[0].cell.m ** 0.5 / l)
                for (l,), own in cells.group("depth")  # noqa: E741
            }
            widths = SCHEDULES[schedule].strip("$").replace("^2", "²").replace("^3", "³")
            at = title.replace("$", "")
            rows.append((at, style.word(name), widths, *(found.get(l) for l in depths)))  # noqa: E741
    moments = []
    for (name, schedule, m, depth), cells in parts["one"].group(
        "activation", "schedule", "m", "depth"
    ):
        hidden = hidden_widths(cells[0].cell)
        expected = first_order(activation(name), hidden)
        widths = SCHEDULES[schedule].strip("$").replace("^2", "²")
        found_ratio = moment_ratio(cells.stack("diagonal"))
        beta = sum(1 / width for width in hidden)
        moments.append((style.word(name), widths, m, depth, beta, expected, found_ratio))
    columns = ("m_k", "m", "l", "β", "first order", "log E[K²]/E[K]²")
    return {
        "errors": Table(("√m ‖K − K∞‖/l at", "φ", "m_k", *(f"l = {l}" for l in depths)), rows),  # noqa: E741
        "moments": Table(("φ", *columns), moments),
    }


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
