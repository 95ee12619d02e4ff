"""The card of an activation: its edge of chaos, class and limits, as text and as one page."""

import math
import time
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntk_eoc.activations import Activation, activation
from ntk_eoc.eoc import (
    Class,
    EdgeCurve,
    EdgeSummary,
    Init,
    activation_moments,
    is_linear,
    is_scale_invariant,
    summarise,
)
from ntk_eoc.kernels.infinite import nngp_infinite, ntk_infinite
from ntk_eoc.report import figures, style
from ntk_eoc.spectra.deep_limit import deep_offdiagonal

DEPTHS = (3, 10, 30, 100)


def describe(summary: EdgeSummary) -> str:
    """Return the text of the card."""
    lines = _about_activation(summary) + _about_edge(summary)
    if summary.point is None:
        return "\n".join([*lines, f"point           none: {summary.why}"])
    return "\n".join(lines + _about_point(summary))


def _about_activation(summary: EdgeSummary) -> list[str]:
    act, m = summary.activation, summary.moments
    parity = {1: "even", -1: "odd", 0: "neither even nor odd"}[summary.parity]
    kinks = f"kinks at {', '.join(f'{c:g}' for c in act.kinks)}" if act.kinks else "no kinks"
    lines = [f"activation      {act.name}: {summary.kind}, {parity}, {kinks}"]
    if act.constants:
        known = ", ".join(f"{letter} = {c:.6g}" for letter, c in act.constants.items())
        lines.append(f"constants       {known}")
    if m is not None:
        lines.append(f"E[φ(z)²]        {m.square[0]:.15g} ± {m.errors[0][0]:.0e}")
        lines.append(f"E[φ'(z)²]       {m.slope[0]:.15g} ± {m.errors[1][0]:.0e}")
    return lines


def _about_edge(summary: EdgeSummary) -> list[str]:
    curve = summary.curve
    if summary.kind == "scale-invariant":
        return ["edge of chaos   a line: the same σ_w, σ_b = 0, at every q"]
    searched = f"{curve.q[0]:g} to {curve.q[-1]:g}"
    if not curve.exists.any():
        return [f"edge of chaos   none with σ_b² >= 0 (searched q from {searched})"]
    q, b = curve.q[curve.exists], np.sqrt(np.maximum(curve.sigma_b2[curve.exists], 0))
    return [
        f"edge of chaos   q from {q[0]:.3g} to {q[-1]:.3g} (searched {searched}), "
        f"σ_b from {b.min():.3g} to {b.max():.3g}",
        *(f"χ_∥ = 1 at      {_told(point)}" for point in summary.special),
    ]


def _about_point(summary: EdgeSummary) -> list[str]:
    point, at, scales = summary.point, summary.at_point, summary.scales
    assert point is not None
    assert at is not None
    assert scales is not None
    chi, error = float(at.chi_parallel[0]), float(at.error[0])
    lines = [
        f"point           {_told(point)}",
        f"                ({summary.why}; error of σ_b² {error:.0e}; χ_⊥ = 1, χ_∥ = {chi:.12g})",
        f"depth scales    of the variance, 1/|ln|χ_∥||: {_layers(scales.variance)}; "
        f"of the correlation, 1/|ln χ_⊥|: {_layers(scales.correlation)}",
        f"deep limit      {_limit_words(summary, chi)}",
    ]
    if summary.parity == 1:
        lines.append("collisions      φ is even: x and −x collide after one layer, K∞ is singular")
    return lines


def _layers(scale: float) -> str:
    return "infinite" if math.isinf(scale) else f"{scale:.4g} layers"


def _told(init: Init) -> str:
    return f"σ_w = {init.sigma_w:.13g}, σ_b = {init.sigma_b:.13g}, q = {init.q:.13g}"


def _limit_words(summary: EdgeSummary, chi: float) -> str:
    if is_linear(summary.activation):
        return "none: a linear network's kernel is l times the inner product"
    if abs(chi) > 1 + 1e-9:
        return f"none: the variance q is unstable (χ_∥ = {chi:.4g} > 1)"
    common = Fraction(deep_offdiagonal(summary.kind == "smooth")).limit_denominator(4)
    return (
        f"K∞/(l q) → {1 - common} I + {common} 11ᵀ, "
        f"condition number → 1 + n/{(1 - common) / common}"
    )


def _circle(q: float, angles: np.ndarray) -> jax.Array:
    return jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], 1) * np.sqrt(2 * q))


def _draw_function(ax: Axes, act: Activation) -> None:
    s = jnp.linspace(-5.0, 5.0, 1001)
    for y, label, line in ((act(s), r"$\varphi$", "-"), (act.prime(s), r"$\varphi'$", "--")):
        ax.plot(s, y, line, label=label)
    ax.set(xlabel="$s$", title=act.name)
    low, high = np.quantile(np.asarray(act(s)), [0.02, 0.98])
    ax.set_ylim(min(low, -0.5) - 0.3, min(max(high, 1.3), 8.0))
    ax.legend()


def _draw_variance(ax: Axes, act: Activation, init: Init, largest: float) -> None:
    q = np.linspace(0.02 * init.q, min(2.5 * init.q, largest), 64)
    image = init.sigma_w**2 * activation_moments(act, q).square + init.sigma_b**2
    ax.plot(q, image, label="variance map")
    ax.plot(q, q, **style.GUIDE)
    ax.plot([init.q], [init.q], "o", color="k", label="fixed point $q$")
    ax.set(xlabel="$q_k$", ylabel="$q_{k+1}$")
    ax.legend()


def _draw_cosine(ax: Axes, init: Init) -> None:
    angles = np.linspace(0, np.pi, 121)
    covariance = nngp_infinite(init, _circle(init.q, angles[:1]), _circle(init.q, angles), 2)
    rho = np.cos(angles)
    ax.plot(rho, np.asarray(covariance)[0] / init.q, label="cosine map")
    ax.plot(rho, rho, **style.GUIDE)
    ax.set(xlabel=r"$\rho_k$", ylabel=r"$\rho_{k+1}$")
    ax.legend()


def _draw_curve(ax: Axes, curve: EdgeCurve, init: Init | None, act: Activation) -> None:
    there = curve.exists
    if is_scale_invariant(act, curve) or not there.any():
        ax.plot(curve.q, curve.sigma_b2, label=r"$\sigma_b^2(q)$")
        ax.axhline(0, **style.GUIDE)
        note = (
            r"edge: $\sigma_b=0$ at every $q$"
            if there.any()
            else r"no edge with $\sigma_b^2\geq 0$"
        )
        ax.set(xlabel="$q$", ylabel=r"$\sigma_b^2$", xscale="log", title=note)
        if there.any():
            ax.set_ylim(-1, 1)
        return
    most = max(25.0, curve.q[there][0] * 4)
    there = there & (curve.q <= most)
    ax.plot(curve.sigma_w[there], np.sqrt(np.maximum(curve.sigma_b2[there], 0)), label="edge")
    if init is not None:
        ax.plot([init.sigma_w], [init.sigma_b], "o", color="k", label=f"$q={init.q:.3g}$")
    ax.set(xlabel=r"$\sigma_w$", ylabel=r"$\sigma_b$", title=f"edge of chaos, $q\\leq {most:.3g}$")
    ax.legend()


def _draw_kernel(ax: Axes, init: Init, kind: Class) -> None:
    angles = np.concatenate([[0.0], np.geomspace(1e-3, np.pi, 160)])
    x = _circle(init.q, angles)
    for depth, line in zip(DEPTHS, style.LINES, strict=True):
        kernel = np.asarray(ntk_infinite(init, x[:1], x, depth))[0]
        ax.plot(angles, kernel / kernel[0], linestyle=line, label=f"$l={depth}$")
    ax.axhline(deep_offdiagonal(kind == "smooth"), **style.GUIDE)
    ax.set(xlabel=r"angle $\theta$", ylabel=r"$K_\infty(\theta)/K_\infty(0)$")
    ax.legend()


def draw(summary: EdgeSummary) -> Figure:
    """Draw φ and φ', the variance and cosine maps, the edge of chaos, and K∞ against the angle."""
    act, init, curve = summary.activation, summary.point, summary.curve
    figure, axes = style.panels(3, rows=2)
    _draw_function(axes[0, 0], act)
    _draw_curve(axes[1, 0], curve, init, act)
    if init is None:
        for ax in (axes[0, 1], axes[0, 2], axes[1, 1], axes[1, 2]):
            ax.axis("off")
        return figure
    _draw_variance(axes[0, 1], act, init, float(curve.q[-1]))
    _draw_cosine(axes[0, 2], init)
    _draw_kernel(axes[1, 1], init, summary.kind)
    axes[1, 2].axis("off")
    text = f"$\\sigma_w={init.sigma_w:.6g}$\n$\\sigma_b={init.sigma_b:.6g}$\n$q={init.q:.6g}$\n"
    axes[1, 2].text(0.05, 0.5, text + summary.kind, va="center", fontsize=9)
    return figure


def main(
    name: str, sigma_b: float | None = None, q: float | None = None, out: Path | None = None
) -> list[Path]:
    """Print the card of an activation and write its figure; return the figure's paths.

    Args:
        name: A named activation, or `FILE.py:NAME`, or `package.module:NAME`.
        sigma_b: The point of the curve to show, as of `edge_of_chaos`.
        q: The same; the one point with χ_∥ = 1, if neither is given.
        out: Folder of the figure; the current one unless given.

    Raises:
        ValueError: If the activation cannot be used or the point asked for does not exist; the
            message says what to do. Nothing is written then.
    """
    start = time.perf_counter()
    act = activation(name)
    summary = summarise(act, sigma_b, q)
    print(describe(summary))
    with style.context():
        asked = {"sigma_b": sigma_b, "q": q}
        words = [f"{letter}{value:.12g}" for letter, value in asked.items() if value is not None]
        stem = "_".join(["eoc", act.name, *words])
        paths = figures.save(draw(summary), (out or Path()) / stem)
    for path in paths:
        print(f"figure          {path}")
    print(f"time            {time.perf_counter() - start:.1f} s")
    return paths
