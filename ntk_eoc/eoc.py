"""The edge of chaos: where a deep network neither forgets its inputs nor tears them apart.

Along the curve, by the fixed point q of the variance map (`docs/theory.md` §5),

    σ_w²(q) = 1/E[φ'(√q z)²],      σ_b²(q) = q − σ_w² E[φ(√q z)²] >= 0.
"""

import itertools
import math
from dataclasses import dataclass, fields
from functools import cache, partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc.activations import AbsLinear, Activation, activation
from ntk_eoc.checks import require, require_number
from ntk_eoc.gaussian import ActivationError, Panels, plan
from ntk_eoc.gaussian.panels import check_growth, check_slope, sample
from ntk_eoc.gaussian.rules import COARSE_1D, FINE_1D, moments
from ntk_eoc.gaussian.triples import in_float64

SMALLEST_Q, LARGEST_Q = 1e-4, 400.0  # the variances that are searched
_COUNT = 64  # variances evaluated at once, by one compiled function
_NEWTON = 50
_NOISE = 2e-14  # relative rounding of the moments; |σ_b²| below it counts as 0

Class = Literal["scale-invariant", "kinked", "smooth"]


@jax.tree_util.register_static
@dataclass(frozen=True)
class Init:
    """The initialisation of an MLP: z = σ_w W φ(z)/√m + σ_b β after a plain first layer.

    It may be built by hand, off the edge of chaos too.

    Attributes:
        activation: φ.
        sigma_w: σ_w > 0, standard deviation of √m times a weight, layers 2 … l.
        sigma_b: σ_b >= 0, standard deviation of a bias, layers 2 … l (0: no biases).
        q: ‖x‖²/m_0 of the inputs it is meant for, the fixed point of the variance map.
    """

    activation: Activation
    sigma_w: float
    sigma_b: float = 0.0
    q: float = 1.0

    def __post_init__(self) -> None:
        require(
            isinstance(self.activation, Activation),
            "activation",
            "an Activation (see ntk_eoc.activation)",
            self.activation,
        )
        for name in ("sigma_w", "q"):
            value = require_number(name, getattr(self, name))
            require(value > 0, name, "> 0", value)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "sigma_b", require_number("sigma_b", self.sigma_b, least=0.0))


@dataclass(frozen=True)
class EdgeCurve:
    """The edge of chaos by the fixed point q, NumPy arrays of one length.

    Attributes:
        q: Variances, ascending.
        sigma_w: σ_w(q).
        sigma_b2: σ_b²(q); negative where there is no edge with this q.
        chi_parallel: Slope of the variance map at q; its modulus is below 1 where q is stable.
        error: Estimate of the error of σ_b², below which it counts as 0.
        chi_error: Estimate of the error of χ_∥.
    """

    q: np.ndarray
    sigma_w: np.ndarray
    sigma_b2: np.ndarray
    chi_parallel: np.ndarray
    error: np.ndarray
    chi_error: np.ndarray

    @property
    def exists(self) -> np.ndarray:
        """Where σ_b² >= 0, up to its error."""
        return self.sigma_b2 >= -self.error


class Moments(NamedTuple):
    """Gaussian moments of φ at variances q, each with an error estimate, [t].

    Attributes:
        square: E[φ(√q z)²].
        slope: E[φ'(√q z)²].
        growth: The derivative of `square` by q, E[φ φ' z]/√q.
        errors: The three error estimates.
    """

    square: np.ndarray
    slope: np.ndarray
    growth: np.ndarray
    errors: tuple[np.ndarray, np.ndarray, np.ndarray]


@partial(jax.jit, static_argnums=(0, 1))
def _moments(act: Activation, panels: Panels, q: Float[Array, "t"]) -> tuple[Array, Array]:
    fine, coarse = (
        jax.vmap(lambda q, n=n: jnp.stack(moments(act, act.prime, panels, n, q)))(q)
        for n in (FINE_1D, COARSE_1D)
    )
    return fine.T, jnp.abs(fine - coarse).T + _NOISE / 4 * jnp.abs(fine).T


@in_float64
def activation_moments(act: Activation, q: np.ndarray, panels: Panels | None = None) -> Moments:
    """Return E[φ²], E[φ'²] and ∂E[φ²]/∂q at variances q.

    Raises:
        ActivationError: If φ cannot be integrated; the message says why and what to do.
    """
    q = np.atleast_1d(np.asarray(q, np.float64))
    panels = panels or plan(act, float(q.max()))
    padded = np.resize(q, (-(-q.size // _COUNT), _COUNT))
    pieces = [_moments(act, panels, jnp.asarray(row)) for row in padded]
    values, errors = (
        np.concatenate([np.asarray(p[i]) for p in pieces], 1)[:, : q.size] for i in (0, 1)
    )
    return Moments(values[0], values[1], values[2], (errors[0], errors[1], errors[2]))


def edge_curve(act: Activation, q: np.ndarray | None = None) -> EdgeCurve:
    """Return the edge of chaos σ_w(q), σ_b²(q), with χ_∥ along it.

    Args:
        act: φ.
        q: Variances; 192 between 1e-4 and the largest that has moments, at most 400, unless given.

    Raises:
        ActivationError: If φ cannot be integrated; the message says why and what to do.
    """
    check_slope(act)
    if q is None:
        return _whole_curve(act)
    q = np.atleast_1d(np.asarray(q, np.float64))
    m = activation_moments(act, q)
    with np.errstate(divide="ignore", invalid="ignore"):  # nan or infinite where φ is flat at q
        sigma_b2 = q - m.square / m.slope
        error = (m.errors[0] + m.errors[1] * m.square / m.slope) / m.slope + 4e-16 * q
        chi = m.growth / m.slope
        chi_error = (m.errors[2] + m.errors[1] * np.abs(chi)) / m.slope + 1e-15
        return EdgeCurve(q, m.slope**-0.5, sigma_b2, chi, error, chi_error)


@cache
def _whole_curve(act: Activation) -> EdgeCurve:
    curve = edge_curve(act, np.geomspace(SMALLEST_Q, _largest_variance(act), 3 * _COUNT))
    # Where φ is flat around 0, its slope has no mass to speak of at the smallest variances.
    seen = curve.sigma_w < 1e100
    return EdgeCurve(*(getattr(curve, field.name)[seen] for field in fields(curve)))


def _largest_variance(act: Activation) -> float:
    """The largest q <= LARGEST_Q with E[φ²] in the range of float64, by bisection."""
    check_growth(act, SMALLEST_Q)  # raises if not even that exists
    low, high = SMALLEST_Q, LARGEST_Q
    try:
        check_growth(act, high)
        return high
    except ActivationError:
        for _ in range(30):
            middle = math.sqrt(low * high)
            try:
                check_growth(act, middle)
                low = middle
            except ActivationError:
                high = middle
        return 0.98 * low


def _roots(act: Activation, curve: EdgeCurve, of: str, level: float) -> list[float]:
    """The variances where `sigma_b2` or `chi_parallel` crosses a level, to rounding.

    The curve brackets them; each bracket is cut in 63, again and again.
    """
    panels = plan(act, float(curve.q[-1]))
    # A crossing is one of values whose distance from the level is more than rounding.
    noise = curve.error if of == "sigma_b2" else curve.chi_error
    gap = getattr(curve, of) - level
    sign = np.where(np.abs(gap) <= noise, 0, np.sign(gap))
    roots = []
    seen = np.flatnonzero(sign)
    for i, j in itertools.pairwise(seen):
        if sign[i] == sign[j]:
            continue
        low, high = curve.q[i], curve.q[j]
        for _ in range(12):
            q = np.linspace(low, high, _COUNT)
            m = activation_moments(act, q, panels)
            values = q - m.square / m.slope if of == "sigma_b2" else m.growth / m.slope
            k = int(np.flatnonzero(np.sign(values - level) == sign[i])[-1])
            if k + 1 == _COUNT or high - low < 1e-15 * high:
                break
            low, high = q[k], q[k + 1]
        roots.append(float((low + high) / 2))
    return roots


def special_points(act: Activation, curve: EdgeCurve | None = None) -> list[Init]:
    """Return the points of the edge with χ_∥ = 1 too, q > 0 and σ_b² >= 0.

    For a scale-invariant φ that is the whole edge; its point q = 1 is returned.
    """
    if isinstance(act, AbsLinear) or is_scale_invariant(act, curve):
        return [_point(act, 1.0)]
    curve = curve or edge_curve(act)
    variances = _roots(act, curve, "chi_parallel", 1.0)
    return [_point(act, q) for q in variances if edge_curve(act, np.array([q])).exists[0]]


def is_scale_invariant(act: Activation, curve: EdgeCurve | None = None) -> bool:
    """Whether φ(c s) = c φ(s) for c > 0: then σ_b² = 0 and χ_∥ = 1 at every variance."""
    if isinstance(act, AbsLinear):
        return True
    curve = curve or edge_curve(act)
    flat = np.abs(curve.sigma_b2) <= curve.error
    return bool(flat.all()) and _is_marginal(curve)


def _is_marginal(curve: EdgeCurve) -> bool:
    """Whether χ_∥ = 1 all along the curve, as for max(s − 1, 0)."""
    return bool((np.abs(curve.chi_parallel - 1) <= 10 * curve.chi_error).all())


def _is_linear(act: Activation) -> bool:
    if isinstance(act, AbsLinear):
        return act.b == 0
    check_slope(act)
    _, slope = sample(act)
    return bool(np.ptp(slope) <= 1e-13 * np.abs(slope).max())


def _point(act: Activation, q: float) -> Init:
    """The point of the edge with fixed point q."""
    curve = edge_curve(act, np.array([q]))
    sigma_b2 = float(curve.sigma_b2[0])
    if not math.isfinite(sigma_b2):
        raise ValueError(
            f"`q` must be a variance at which {act.name!r} has a slope, but at q = {q:g} "
            f"E[φ'(√q z)²] is 0 to rounding: take a larger q."
        )
    if sigma_b2 < -float(curve.error[0]):
        raise ValueError(
            f"`q` must be a variance with σ_b² >= 0, but at q = {q:g} the edge of chaos of "
            f"{act.name!r} has σ_b² = {sigma_b2:.4g}. {_describe(act, edge_curve(act))}"
        )
    small = abs(sigma_b2) <= float(curve.error[0])
    return Init(act, float(curve.sigma_w[0]), 0.0 if small else math.sqrt(sigma_b2), q)


def _describe(act: Activation, curve: EdgeCurve) -> str:
    """One or two sentences on where the edge of `act` lies, for an error message."""
    there = curve.exists
    if not there.any():
        return (
            f"{act.name!r} has no edge of chaos with σ_b² >= 0 "
            f"(searched q from {curve.q[0]:g} to {curve.q[-1]:g}); shift or scale the activation."
        )
    q, sigma_b = curve.q[there], np.sqrt(np.maximum(curve.sigma_b2[there], 0))
    return (
        f"Its edge has q from {q[0]:.3g} to {q[-1]:.3g} and σ_b from {sigma_b.min():.3g} to "
        f"{sigma_b.max():.3g}: choose a point by q= or sigma_b=."
    )


def edge_of_chaos(
    act: Activation | str, *, sigma_b: float | None = None, q: float | None = None
) -> Init:
    """Return the initialisation at the edge of chaos of `act`.

    For φ(s) = a s + b|s|: σ_w² = 1/(a² + b²), σ_b = 0, at every input norm; q = 1. Otherwise the
    edge is a curve: give `sigma_b` or `q`, or take the point with χ_∥ = 1 where it is unique.
    Computed in float64, to about 1e-13.

    Args:
        act: φ, or its name.
        sigma_b: Standard deviation of the biases of the point wanted.
        q: Fixed point of the variance map of the point wanted.

    Raises:
        ActivationError: If φ cannot be integrated, or is linear.
        ValueError: If there is no such point, or more than one; the message says what there is.
    """
    if isinstance(act, str):
        act = activation(act)
    require(sigma_b is None or q is None, "sigma_b, q", "one of the two, not both", (sigma_b, q))
    if isinstance(act, AbsLinear):
        if sigma_b:
            raise ValueError(
                f"`sigma_b` must be 0 for the scale-invariant {act.name!r}, got {sigma_b!r}."
            )
        variance = 1.0 if q is None else require_number("q", q)
        return Init(act, sigma_w=1 / math.sqrt(act.second_moment), q=variance)
    if _is_linear(act):
        raise ActivationError(
            f"activation {act.name!r} must not be linear: a deep linear network has the kernel of "
            f"a shallow one. Take activation('identity') if that is what you want."
        )
    if q is not None:
        q = require_number("q", q)
        require(q > 0, "q", "> 0", q)
        return _point(act, q)
    curve = edge_curve(act)
    if is_scale_invariant(act, curve):
        require(not sigma_b, "sigma_b", f"0 for the scale-invariant {act.name!r}", sigma_b)
        return _point(act, 1.0)
    if sigma_b is not None:
        return _with_bias(act, curve, require_number("sigma_b", sigma_b, least=0))
    points = special_points(act, curve)
    if len(points) != 1:
        found = ", ".join(f"q = {p.q:.4g} (σ_b = {p.sigma_b:.4g})" for p in points)
        if points:
            why = f"several points with χ_∥ = 1: {found}"
        elif _is_marginal(curve):
            why = "χ_∥ = 1 at every one of its points"
        else:
            why = "no point with χ_∥ = 1 and q > 0"
        raise ValueError(f"The edge of chaos of {act.name!r} has {why}. {_describe(act, curve)}")
    return points[0]


def _with_bias(act: Activation, curve: EdgeCurve, sigma_b: float) -> Init:
    """The point of the curve with this σ_b; the stable one (|χ_∥| < 1) where there are more."""
    variances = _roots(act, curve, "sigma_b2", sigma_b**2)
    found = [(q, float(edge_curve(act, np.array([q])).chi_parallel[0])) for q in variances]
    stable = [q for q, chi in found if abs(chi) < 1] if len(found) > 1 else variances
    if len(stable) != 1:
        listed = ", ".join(f"q = {q:.6g} (χ_∥ = {chi:.4g})" for q, chi in found)
        why = f"more than one: {listed}; choose by q=" if found else "none"
        raise ValueError(
            f"`sigma_b` must belong to one point of the edge of chaos of {act.name!r}, but to "
            f"{sigma_b:g} there is {why}. {_describe(act, curve)}"
        )
    return Init(act, float(edge_curve(act, np.array(stable)).sigma_w[0]), sigma_b, stable[0])


@dataclass(frozen=True)
class DepthScales:
    """How many layers an initialisation remembers its inputs for.

    Attributes:
        q: Fixed point of the variance map.
        chi_parallel: χ_∥, slope of the variance map there.
        chi_perp: χ_⊥ = σ_w² E[φ'(√q z)²], slope of the cosine map at ρ = 1; 1 on the edge.
        variance: ξ_q = 1/|ln |χ_∥||: layers in which the distance to q changes e-fold.
        correlation: ξ_c = 1/|ln χ_⊥|: layers in which 1 − ρ shrinks e-fold (χ_⊥ < 1, order) or
            grows e-fold (χ_⊥ > 1, chaos); infinite on the edge.
    """

    q: float
    chi_parallel: float
    chi_perp: float
    variance: float
    correlation: float


def depth_scales(init: Init) -> DepthScales:
    """Return the depth scales of an initialisation, on the edge or off it (`docs/theory.md` §5).

    Raises:
        ActivationError: If φ cannot be integrated.
        ValueError: If Newton's method finds no fixed point q > 0 of the variance map near `init.q`.
    """
    w2, q = init.sigma_w**2, init.q
    for _ in range(_NEWTON):
        m = activation_moments(init.activation, np.array([q]))
        chi_parallel, chi_perp = w2 * float(m.growth[0]), w2 * float(m.slope[0])
        gap = w2 * float(m.square[0]) + init.sigma_b**2 - q
        if abs(gap) <= 1e-12 * q:
            scales = (_layers(abs(chi_parallel)), _layers(chi_perp))
            return DepthScales(q, chi_parallel, chi_perp, *scales)
        towards = q + gap / (1 - chi_parallel) if chi_parallel != 1 else math.nan
        if not 1e-3 * q < towards < 1e3 * q:
            break
        q = towards
    raise ValueError(
        f"`init` must have a fixed point q > 0 of its variance map near q = {init.q:g}, but "
        f"{init.activation.name!r} with σ_w = {init.sigma_w:g}, σ_b = {init.sigma_b:g} has none "
        f"there: take a smaller σ_w or another q."
    )


def _layers(chi: float) -> float:
    """1/|ln χ|; infinite at 1, to rounding."""
    return math.inf if abs(chi - 1) <= 1e-12 else 0.0 if chi == 0 else 1 / abs(math.log(chi))


def activation_class(act: Activation) -> Class:
    """Return the class that decides the deep limit at the edge.

    "scale-invariant" and "kinked" (φ' jumps): K∞/l tends to ¾ I + ¼ 11ᵀ (per unit of the
    diagonal's growth); "smooth" (it does not): to ⅔ I + ⅓ 11ᵀ.
    """
    if is_scale_invariant(act):
        return "scale-invariant"
    return "kinked" if plan(act, _largest_variance(act)).jumps else "smooth"
