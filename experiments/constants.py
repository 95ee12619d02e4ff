"""How does ‖K(θ) − K∞‖ depend on depth, on the number of outputs and on the activation?

Question: at one m, widths k² m: the mean of ‖K(θ) − K∞‖ against l, against m_l, and along the
circle φ(s) = a s + b|s|, (a, b) = (cos t, sin t), through identity, leaky ReLU, ReLU and
absolute value.

Expectation: [C] bounds it by C (Δ_φ⁻² + √m_l l) κ_φ² m^{−1/2}: at most linear in l, √m_l in the
number of outputs, Δ_φ⁻² and κ_φ² in the activation.
"""

from typing import Any

import numpy as np
from _fresh import Cell as Fresh
from _fresh import by_name, cost, draws, errorbars, limit, point_of
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ntk_eoc as ne
from ntk_eoc.estimates import Exponent, exponent, exponents
from ntk_eoc.report import style
from ntk_eoc.spectra.deviation import bound_shape, deviation
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure"]


class Cell(Fresh):
    """A block of networks of one depth, number of outputs and activation."""


def measure(cell: Cell) -> dict[str, Any]:
    """Draw networks and return their deviations from K∞, [s] each."""
    matrices = draws(cell, ne.ntk_matrix)
    found = deviation(matrices, np.asarray(ne.ntk_matrix(limit(point_of(cell)))), cell.n)
    act = by_name(cell.activation)
    return {
        "operator": found.operator,
        "max_entry": found.max_entry,
        "delta": act.delta,
        "kappa": act.kappa,
        "bound_shape": bound_shape(act, cell.m, cell.depth, cell.outputs),
    }


def _power(ax: Axes, records: Records, field: str, less: int = 0) -> None:
    """Mean error against a field (`less` subtracted), its exponent beside the bound's curve."""
    names = [name for name in records.values("activation") if not name.startswith("angle")]
    looks = style.looks(names)
    for name in names:
        cells = records.where(activation=name)
        xs = cells.values(field)
        groups = [cells.where(**{field: x}).stack("operator") for x in xs]
        shown = [x - less for x in xs]
        slope = exponent(shown, groups)
        label = f"{name}: {slope.slope:.2f} [{slope.low:.2f}, {slope.high:.2f}]"
        errorbars(ax, shown, groups, label=label, **looks[name])
        bound = np.array([cells.where(**{field: x})[0].arrays["bound_shape"] for x in xs])
        ax.plot(
            shown, bound / bound[0] * groups[0].mean(), color=looks[name]["color"], linewidth=0.7
        )
    ax.plot([], [], color="0.4", linewidth=0.7, label="bound, scaled once")
    style.log_axes(ax, [x - less for x in records.values(field)])
    ax.set_ylabel(r"$\|K(\theta)-K_\infty\|$")
    style.legend_below(ax, columns=1)


def constants(records: Records) -> dict[str, np.ndarray]:
    """Along the circle: Δ, κ, the mean error and its standard error, ordered by the angle t."""
    cells = [r for r in records if r.cell.activation.startswith("angle")]
    order = sorted({r.cell.activation for r in cells}, key=lambda name: float(name[6:]))
    rows = []
    for name in order:
        own = records.where(activation=name)
        error = own.stack("operator")
        delta, kappa = own[0].arrays["delta"], own[0].arrays["kappa"]
        standard = error.std(ddof=1) / np.sqrt(error.size)
        rows.append(
            (float(name[6:]), delta, kappa, error.mean(), standard, own[0].arrays["bound_shape"])
        )
    columns = np.array(rows, dtype=float).reshape(-1, 6).T
    return dict(zip(("angle", "delta", "kappa", "mean", "error", "bound"), columns, strict=True))


def circle_exponents(records: Records) -> dict[str, Exponent]:
    """Exponents of the mean error in Δ and κ together, over the circle of activations.

    The angles t and 90° − t share κ and differ in Δ, so the two can be told apart.
    """
    points = [records.where(activation=f"angle:{t:g}") for t in constants(records)["angle"]]
    factors = {name: [float(p[0].arrays[name]) for p in points] for name in ("delta", "kappa")}
    return exponents(factors, [p.stack("operator") for p in points])


def _circle(ax: Axes, records: Records) -> None:
    found = constants(records)
    ax.errorbar(
        found["angle"], found["mean"], found["error"], color="C0", marker="o", label="measured"
    )
    relu = np.argmin(np.abs(found["angle"] - 45))
    ax.plot(
        found["angle"],
        found["bound"] / found["bound"][relu] * found["mean"][relu],
        **style.GUIDE,
        label="bound, scaled at ReLU",
    )
    if len(found["angle"]) > 3:
        for name, fit in circle_exponents(records).items():
            label = rf"exponent in $\{name}$: {fit.slope:.2f} [{fit.low:.2f}, {fit.high:.2f}]"
            ax.plot([], [], " ", label=label.replace("delta", "Delta"))
    ax.set(xlabel="angle $t$ in degrees", ylabel=r"$\|K(\theta)-K_\infty\|$", yscale="log")
    top = ax.get_ylim()[1]
    for angle, name in ((45, "ReLU"), (90, "|s|"), (135, "ReLU(−s)")):
        ax.axvline(angle, color="0.8", linewidth=0.6, zorder=0)
        ax.annotate(name, (angle, top), ha="center", va="top", fontsize=6, color="0.35")
    ax.set_xticks([0, 45, 90, 135, 180])
    style.legend_below(ax, columns=1)


def draw(records: Records) -> Figure:
    """Draw the error against depth, against outputs and along the circle of activations."""
    figure, axes = style.panels(3, height=3.1)
    ok = records.ok
    base = ok.values("depth"), ok.values("outputs")
    by_outputs = ok.where(depth=_shared(ok, "depth", "outputs"))
    by_depth = ok.where(outputs=base[1][0])
    _power(axes[0], by_depth, "depth", less=1)
    axes[0].set_xlabel("hidden layers $l-1$")
    _power(axes[1], by_outputs, "outputs")
    axes[1].set_xlabel("outputs $m_l$")
    _circle(axes[2], ok)
    style.letter(axes)
    cell = records[0].cell
    fewest = min(
        len(group.stack("operator")) for _, group in ok.group("activation", "depth", "outputs")
    )
    note = f"m = {cell.m}, n = {cell.n}; bars: standard error, {fewest} or more networks a point; "
    style.footnote(figure, note + "brackets: 95 % bootstrap intervals of the exponents")
    return figure


def _shared(records: Records, fixed: str, vary: str) -> Any:
    """The value of `fixed` at which most values of `vary` were measured."""
    return max(records.values(fixed), key=lambda v: len(records.where(**{fixed: v}).values(vary)))


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
