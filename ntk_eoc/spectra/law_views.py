"""A law of eigenvalues as a line of text and as a picture."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ntk_eoc.spectra.laws import SpectralLaw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 4  # atoms, or intervals, that a line names
PLACES = 400  # of the density in each piece


def told(law: SpectralLaw) -> str:
    """Say in a line what a law is: mean, support, atoms, and its status unless that is "ok"."""
    parts = [f"mean {law.mean:.4g}"]
    if law.support:
        parts.append("density on " + _some([f"[{a:.4g}, {b:.4g}]" for a, b in law.support]))
    if law.atoms:
        parts.append("atoms " + _some([f"{mass:.4g} at {t:.4g}" for t, mass in law.atoms]))
    parts += [law.status] if law.status != "ok" else []
    return f"{type(law).__name__}({'; '.join(parts)})"


def _some(words: list[str]) -> str:
    more = [f"and {len(words) - MOST} more"] if len(words) > MOST else []
    return ", ".join(words[:MOST] + more)


def plot(law: SpectralLaw, ax: "Axes | None" = None, **line: Any) -> "Axes":
    """Draw the density, and each atom as an arrow at its place.

    An arrow is as high as its mass on the axis of the density; its label tells the mass.

    Args:
        law: The law.
        ax: Where to draw; new axes by default.
        **line: How to draw, as `Axes.plot` takes it: color, label, …

    Returns:
        The axes.
    """
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots()[1]
    label = line.pop("label", None)
    (first,) = ax.plot([], [], label=label, **line)
    look = {**line, "color": first.get_color()}
    near = (1 - np.cos(np.linspace(0, np.pi, PLACES + 2)[1:-1])) / 2  # dense towards the ends
    for a, b in law.pieces.tolist():
        t = a + (b - a) * near
        ax.plot(t, law.density(t), **look)
    for place, mass in law.atoms:
        arrow = {"arrowstyle": "-|>", "color": look["color"], "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", (place, mass), (place, 0.0), arrowprops=arrow)
        ax.annotate(f"{mass:.3g}", (place, mass), ha="center", va="bottom")
        ax.update_datalim([(place, 0.0), (place, 1.1 * mass)])
    ax.autoscale_view()
    ax.set(xlabel="eigenvalue", ylabel="density")
    return ax
