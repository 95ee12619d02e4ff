"""How does ‖K(θ) − K∞‖ depend on depth, on the number of outputs and on the activation?

Question: at one m, widths k² m: the mean of ‖K(θ) − K∞‖ against l, against m_l, and along the
circle φ(s) = a s + b|s|, (a, b) = (cos t, sin t), through identity, leaky ReLU, ReLU and
absolute value.

Expectation: [C] bounds it by C (Δ_φ⁻² + √m_l l) κ_φ² m^{−1/2}: at most linear in l, √m_l in the
number of outputs, Δ_φ⁻² and κ_φ² in the activation.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from _cells import with_a_bound
from _fresh import Cell, cost, deviations, draws
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntk_eoc.estimates import Exponent, exponents, mean
from ntk_eoc.report import curves, style
from ntk_eoc.report.tables import Table
from ntk_eoc.spectra.deviation import bound_shape
from ntk_eoc.sweeps.records import Records

__all__ = ["Cell", "cost", "draw", "measure", "tables"]

REFERENCE = 45.0  # degrees: ReLU


def measure(cell: Cell) -> dict[str, Any]:
    """Draw networks and return their deviations from K∞, [s] each."""
    found = deviations(cell, draws(cell))
    return {"operator": found.operator, "max_entry": found.max_entry}


def _by_depth(records: Records) -> Records:
    named = _named(records)
    return named.where(outputs=named.values("outputs")[0])


def _by_outputs(records: Records) -> Records:
    named = _named(records)
    depths = {depth: named.where(depth=depth).values("outputs") for depth in named.values("depth")}
    return named.where(depth=max(depths, key=lambda depth: len(depths[depth])))


def _named(records: Records) -> Records:
    return Records([r for r in records if not r.cell.activation.startswith("angle:")])


def circle(records: Records) -> dict[float, Records]:
    """The records of each angle t in degrees, ascending."""
    names = [name for name in records.values("activation") if name.startswith("angle:")]
    by_angle = {float(name[6:]): records.where(activation=name) for name in names}
    return dict(sorted(by_angle.items()))


def circle_exponents(records: Records) -> dict[str, Exponent]:
    """Exponents of the mean error in Δ and κ together, over the circle of activations.

    The angles t and 90° − t share κ and differ in Δ, so the two can be told apart.
    """
    points = circle(records)
    acts = [with_a_bound(f"angle:{t:g}") for t in points]
    factors = {"Δ": [act.delta for act in acts], "κ": [act.kappa for act in acts]}
    return exponents(factors, [point.stack("operator") for point in points.values()])


def _by_layers(word: str, depths: Sequence[Any], draws: curves.Groups) -> str:
    return curves.fitted(word, [depth - 1 for depth in depths], draws)


def _circle(ax: Axes, records: Records) -> None:
    points = circle(records)
    angles, draws_ = list(points), [point.stack("operator") for point in points.values()]
    acts = [with_a_bound(f"angle:{t:g}") for t in angles]
    cell = next(iter(points.values()))[0].cell
    first = angles.index(REFERENCE) if REFERENCE in angles else 0
    by = {
        r"$\kappa$": [act.kappa for act in acts],
        r"$\kappa^2$": [act.kappa**2 for act in acts],
        "the whole bound": [bound_shape(act, cell.m, cell.depth) for act in acts],
    }
    for (label, shape), look in zip(by.items(), style.ramp(list(by)).values(), strict=True):
        scale = np.array(shape[first]) / np.array(shape) / draws_[first].mean()
        curves.bars(ax, angles, draws_, scale=scale, label=label, **look)
    style.log(ax.yaxis)
    ax.axhline(1, **style.GUIDE)
    ax.set(xlabel="angle $t$ of the activation", ylabel="error over …, 1 at ReLU")
    ax.set_title(r"only $\kappa$ shows, not $\Delta$")
    ax.set_xticks([0, 45, 90, 135], ["0°", "45°\nReLU", "90°\n|s|", "135°"])
    ax.legend(loc="lower right")


def draw(records: Records) -> Figure:
    """Draw the error per layer and per √outputs, and along the circle over parts of the bound."""
    figure, axes = style.panels(3, height=2.6)
    ok = records.ok
    error = r"\|K(\theta)-K_\infty\|"
    deep, many = _by_depth(ok), _by_outputs(ok)
    per_layer = lambda depth: 1 / (depth - 1)  # noqa: E731
    curves.by_activation(axes[0], deep, "depth", "operator", scale=per_layer, label=_by_layers)
    curves.by_activation(axes[1], many, "outputs", "operator", scale=lambda k: k**-0.5)
    axes[0].set(
        xlabel="depth $l$", ylabel=f"${error}\\,/\\,(l-1)$", title="at most linear in depth"
    )
    axes[1].set(xlabel="outputs $m_l$", ylabel=rf"${error}\,/\,\sqrt{{m_l}}$")
    axes[1].set_title(r"falling: slower than $\sqrt{m_l}$")
    for ax, at, of in (
        (axes[0], deep.values("depth"), "l-1"),
        (axes[1], many.values("outputs"), "m_l"),
    ):
        style.log_axes(ax, at, y=False)
        ax.set_ylim(0, None)
        ax.legend(loc="lower left", handlelength=1.2, title=f"exponent in ${of}$")
    _circle(axes[2], ok)
    cell = ok[0].cell
    fewest = curves.fewest(ok, "operator", "activation", "depth", "outputs")
    note = f"m = {cell.m}, n = {cell.n}; bars: 95 %, {fewest} or more networks a point"
    return style.finish(figure, axes, note, "brackets: 95 % intervals")


def tables(records: Records) -> dict[str, Table]:
    """The error per hidden layer, the exponents, and the error along the circle."""
    ok = records.ok
    depths, rows, fits = _by_depth(ok).values("depth"), [], []
    for name in _named(ok).values("activation"):
        own = _by_depth(ok).where(activation=name)
        _, errors = curves.groups(own, "depth", "operator")
        scaled = [mean(e / (l - 1)) for l, e in zip(depths, errors, strict=True)]  # noqa: E741
        rows.append((style.word(name), *scaled))
        outputs, by_outputs = curves.groups(
            _by_outputs(ok).where(activation=name), "outputs", "operator"
        )
        last = curves.fit_of(outputs[1:], by_outputs[1:])
        slopes = curves.fit_of([l - 1 for l in depths], errors), curves.fit_of(outputs, by_outputs)  # noqa: E741
        fits.append((style.word(name), *slopes, last))
    points = circle(ok)
    acts = [with_a_bound(f"angle:{t:g}") for t in points]
    along = [
        (f"{t:g}°", act.delta, act.kappa, mean(cells.stack("operator")))
        for (t, cells), act in zip(points.items(), acts, strict=True)
    ]
    found = {
        "depth": Table(("φ, ‖K − K∞‖/(l − 1)", *(f"l = {l}" for l in depths)), rows),  # noqa: E741
        "exponents": Table(
            ("φ", "exponent in l − 1", "in outputs", "in outputs, without the first"), fits
        ),
        "circle": Table(("t", "Δ", "κ", "‖K − K∞‖"), along),
    }
    if len(points) > 3:
        fit = circle_exponents(ok)
        found["regression"] = Table(("exponent in Δ", "exponent in κ"), [(fit["Δ"], fit["κ"])])
    return found


if __name__ == "__main__":
    from ntk_eoc.sweeps import script

    script.main(__file__)
