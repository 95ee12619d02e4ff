"""What each panel of `ntk-eoc explore` shows: numbers to a figure, remembered for the next time.

All of it is small, so that a slider moved answers at once: a few points, one network.
"""

from collections.abc import Callable
from functools import lru_cache
from html import escape
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from ntk_eoc import data
from ntk_eoc.activations import Activation, abs_linear, activation
from ntk_eoc.eoc import Init, activation_class, edge_of_chaos, special_points
from ntk_eoc.finite_width.fluctuations import fluctuations
from ntk_eoc.kernels.infinite import nngp_infinite, ntk_infinite
from ntk_eoc.kernels.sampled import ntk_sampled
from ntk_eoc.layer_widths import widths
from ntk_eoc.report import style, vector
from ntk_eoc.spectra.quadratic_scaling_law import quadratic_scaling_law

POINTS = 8
ANGLES = np.linspace(0.02, np.pi - 0.02, 60)
DEPTHS = (2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233)
_remembered = lru_cache(maxsize=256)


@_remembered
def chosen(name: str, a: float, b: float) -> Activation:
    """Return the activation: a s + b|s| if the name is empty, else by name or `FILE.py:NAME`."""
    return activation(name) if name else abs_linear(a, b, f"{a:g} s + {b:g}|s|")


@_remembered
def point(act: Activation) -> Init:
    """Return the activation's edge of chaos where χ_∥ = 1 too, and at q = 1 where it is not."""
    points = special_points(act)
    return points[0] if points else edge_of_chaos(act, q=1.0)


@_remembered
def points(init: Init, name: str) -> Any:
    """Return the first points of a data set at the norm of the edge, [n, d]."""
    return data.normalise(data.load(name, POINTS).x, init)


def _on_a_circle(init: Init) -> tuple[Any, Any]:
    """One point of the plane, and others at `ANGLES` to it, at the norm of the edge."""
    others = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
    radius = np.sqrt(2 * init.q)
    return jnp.asarray([[radius, 0.0]]), jnp.asarray(radius * others)


def edge_words(init: Init) -> str:
    """Return the edge's numbers and class in a line."""
    kind = activation_class(init.activation)
    return f"σ_w = {init.sigma_w:.4f}, σ_b = {init.sigma_b:.4f}, q = {init.q:.4f}; {kind}"


@_remembered
def activation_figure(init: Init) -> Figure:
    """φ, and the line of slope 1."""
    s = np.linspace(-4, 4, 400)
    figure, ax = _panel("s", "φ(s)")
    ax.plot(s, np.asarray(init.activation(jnp.asarray(s))))
    ax.plot(s, s, **style.GUIDE)
    return figure


@_remembered
def angle_figure(init: Init, depth: int) -> Figure:
    """The cosine after one layer, and K∞/K∞(x, x) at the depth, against the angle."""
    one, others = _on_a_circle(init)
    figure, ax = _panel("angle in degrees", "")
    own = float(ntk_infinite(init, one, one, depth)[0, 0])
    degrees = np.degrees(ANGLES)
    ax.plot(degrees, np.cos(ANGLES), **style.GUIDE, label="cosine of the inputs")
    ax.plot(degrees, nngp_infinite(init, one, others, 2)[0] / init.q, label="after one layer")
    ax.plot(
        degrees, ntk_infinite(init, one, others, depth)[0] / own, label=f"K∞/K∞(x,x), l={depth}"
    )
    ax.legend()
    return figure


@_remembered
def condition_figure(init: Init, name: str) -> Figure:
    """The condition number of K∞ of the points against depth."""
    x = points(init, name)
    spectra = [np.linalg.eigvalsh(ntk_infinite(init, x, x, depth)) for depth in DEPTHS]
    figure, ax = _panel("depth l", "condition number of K∞")
    ax.loglog(DEPTHS, [s[-1] / s[0] for s in spectra], "o-")
    deep = 1 + POINTS / (2 if activation_class(init.activation) == "smooth" else 3)
    ax.axhline(deep, **style.GUIDE, label="deep limit")
    ax.legend()
    return figure


@_remembered
def _law(init: Init, name: str, depth: int) -> Any:
    return fluctuations(init, points(init, name), depth)


@_remembered
def width_figure(init: Init, name: str, depth: int, m: int, schedule: str) -> Figure:
    """The predicted √E‖K(θ) − K∞‖²_F/‖K∞‖_F against width, and the width that 5 % needs."""
    law = _law(init, name, depth)
    size = np.linalg.norm(law.limit) / len(law.limit)
    ms = np.unique(np.geomspace(8, 8192, 11).round().astype(int))
    found = [law.frobenius(widths(schedule, int(one), depth)).value / size for one in (*ms, m)]
    needed = int(np.ceil(m * (found[-1] / 0.05) ** 2))
    figure, ax = _panel("width m", "relative error, Frobenius")
    ax.loglog(ms, found[:-1])
    ax.plot([m], found[-1:], "o", label=f"m = {m}: {found[-1]:.1%}")
    ax.axhline(0.05, **style.GUIDE, label=f"5 % needs m = {needed:,}")
    ax.legend()
    return figure


@_remembered
def network_figure(init: Init, name: str, depth: int, m: int, schedule: str, seed: int) -> Figure:
    """The kernel of one drawn network beside its limit, a mark an entry."""
    x = points(init, name)
    limit = np.asarray(ntk_infinite(init, x, x, depth))
    sizes = widths(schedule, m, depth)
    network = np.asarray(ntk_sampled(jax.random.key(seed), init, x, sizes))[:, :, 0, 0]
    figure, ax = _panel("entry of K∞", "entry of K(θ)")
    ax.plot(limit.ravel(), network.ravel(), ".")
    ends = [min(limit.min(), network.min()), max(limit.max(), network.max())]
    ax.plot(ends, ends, **style.GUIDE)
    return figure


@_remembered
def law_figure(act: Activation, gamma1: float, gamma2: float) -> Figure:
    """The law of the two-layer NTK's eigenvalues when all sizes grow together."""
    law = quadratic_scaling_law(act, gamma1=gamma1, gamma2=gamma2)
    figure, ax = _panel("eigenvalue", "density")
    for low, high in law.support:
        t = low + (high - low) * np.sin(np.linspace(1e-3, np.pi / 2 - 1e-3, 200)) ** 2
        ax.plot(t, law.density(t), color=style.COLORS[0])
    for place, mass in law.atoms:
        ax.plot([place], [0], "v", clip_on=False, label=f"mass {mass:.3f} at {place:.3g}")
    if law.atoms:
        ax.legend()
    return figure


@_remembered
def html(title: str, make: Callable[..., Figure], *arguments: Any) -> str:
    """Return a panel as HTML: its title and what it shows, or why it shows nothing."""
    try:
        content = vector.html(make(*arguments), make.__name__)
    except (ValueError, TypeError) as error:
        content = f"<p>{escape(str(error))}</p>"
    paper = "background:#fff;color:#111;padding:.5rem;margin:0;border-radius:6px"
    head = f"<figcaption><strong>{escape(title)}</strong></figcaption>"
    return f'<figure style="{paper}">{head}{content}</figure>'


def _panel(x: str, y: str) -> tuple[Figure, Any]:
    """An empty figure of a panel's size; not of pyplot, which would keep it."""
    with style.context():
        figure = Figure(figsize=(4.2, 2.7), layout="constrained")
        ax = figure.subplots()
        ax.set(xlabel=x, ylabel=y)
    return figure, ax
