"""Panels: where an activation must be cut so that a fixed rule integrates every piece of it.

A Gauss–Legendre rule is exact to rounding on a panel where φ is a polynomial of moderate degree to
rounding. `plan` finds the fewest such panels, once per activation, and refuses an activation
that no panel resolves: a kink that was not declared, a NaN, a growth without Gaussian moments.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Bool

from ntk_eoc.activations import Activation

DEGREE = 24  # φ is resolved where its Chebyshev coefficients of this degree are rounding noise
GAUSS_PANEL = 3.6  # length of a panel on which 13 nodes resolve exp(−z²/2) to rounding
SHARED_Q = 25.0  # variances q <= SHARED_Q 4^k share their panels, k >= LOWEST
LOWEST = -6
SHORTEST = 2e-6  # a panel this short that is not resolved holds a kink
TAIL = 38.0  # exp(−z²/2) underflows beyond

_BLOCK = 512  # points per call of the compiled activation: one compilation serves all
# Chebyshev–Lobatto nodes, ends included: a kink just inside a panel cannot hide between nodes.
# They are drawn in by 1e-13, since at a declared kink φ' may be that of the other side.
_X = np.cos(np.pi * np.arange(DEGREE + 1) / DEGREE)
_ENDS = np.where(np.arange(DEGREE + 1) % DEGREE == 0, 0.5, 1.0)
_TO_COEFFICIENTS = (
    (2 / DEGREE)
    * np.cos(np.pi * np.outer(np.arange(DEGREE + 1), np.arange(DEGREE + 1)) / DEGREE)
    * _ENDS[:, None]
    * _ENDS
)


@dataclass(frozen=True)
class Panels:
    """The cuts of one activation on |s| <= reach. Hashable: a static argument of jit.

    Attributes:
        kinks: Cuts at which φ is not smooth, ascending.
        breaks: All cuts, the kinks among them, ascending.
        reach: Largest |s| covered.
        gauss: Number of panels that resolve the Gaussian weight.
        soft: Number of panels that resolve the weight and φ at any variance the reach allows.
        parity: +1 for even φ, −1 for odd φ, else 0.
        jumps: Whether φ' jumps at a kink: the kinked class of `docs/theory.md`.
    """

    kinks: tuple[float, ...]
    breaks: tuple[float, ...]
    reach: float
    gauss: int
    soft: int
    parity: int
    jumps: bool

    def refined(self) -> "Panels":
        """Return the same cuts with every panel halved."""
        ends = np.array([-self.reach, *self.breaks, self.reach])
        breaks = np.sort(np.concatenate([self.breaks, (ends[1:] + ends[:-1]) / 2]))
        return Panels(
            self.kinks,
            tuple(breaks.tolist()),
            self.reach,
            2 * self.gauss,
            2 * self.soft,
            self.parity,
            self.jumps,
        )


class ActivationError(ValueError):
    """An activation that cannot be integrated against a Gaussian, with what to do about it."""


Evaluator = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@cache
def _evaluator(act: Activation) -> Evaluator:
    """Return s -> (φ(s), φ'(s)) in float64 NumPy, with clear errors for what cannot be called."""

    def both(s: Array) -> tuple[Array, Array]:
        return act(s), act.prime(s)

    def checked(what: str, call: Callable[..., tuple], *args: Any) -> tuple:
        try:
            return call(*args)
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            raise ActivationError(
                f"activation {act.name!r} must be an elementwise JAX function of an array: use "
                f"jnp functions, and jnp.where instead of if ({what} raised "
                f"{type(error).__name__}: {reason})."
            ) from error

    compiled = jax.jit(both)

    def evaluate(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        blocks = -(-s.size // _BLOCK)
        padded = np.resize(s.ravel(), (blocks, _BLOCK)).astype(np.float64)
        with jax.ensure_compile_time_eval(), jax.enable_x64(True):
            pairs = [compiled(block) for block in padded]
        value, slope = (
            np.concatenate([np.asarray(y, np.float64) for y in ys])
            for ys in zip(*pairs, strict=True)
        )
        return value[: s.size].reshape(s.shape), slope[: s.size].reshape(s.shape)

    array = jax.ShapeDtypeStruct((2, 3), float)
    # φ itself before `both`, whose annotations refuse another shape in words of their own.
    shapes = checked("tracing it", lambda: (jax.eval_shape(act.fn, array),))
    if shapes[0].shape == (2, 3):
        shapes = checked("tracing it", lambda: jax.eval_shape(both, array))
    if any(y.shape != (2, 3) for y in shapes):
        raise ActivationError(
            f"activation {act.name!r} must be elementwise, but of an array of shape (2, 3) it made "
            f"one of shape {next(y.shape for y in shapes if y.shape != (2, 3))}."
        )
    s = np.linspace(-3, 3, _BLOCK)
    # Every second point at another place of the array, among other points.
    moved = np.where(np.arange(_BLOCK) % 2 == 0, s[::-1], 7.0)
    value, among = (checked("calling it", evaluate, x)[0] for x in (s, moved))
    if not np.allclose(value[::-1][::2], among[::2], rtol=1e-9, atol=1e-12, equal_nan=True):
        raise ActivationError(
            f"activation {act.name!r} must be elementwise, but its value at one point changes with "
            f"the other points of the array."
        )
    return evaluate


def _check_values(act: Activation, s: np.ndarray, value: np.ndarray, slope: np.ndarray) -> None:
    """Refuse NaN."""
    for what, y in (("", value), ("the derivative of ", slope)):
        bad = np.isnan(y)
        if bad.any():
            raise ActivationError(
                f"{what}activation {act.name!r} must be a number everywhere, got nan at "
                f"s = {s[bad][0]:.4g}. (Where jnp.where hides a branch, make the hidden branch "
                f"finite too.)"
            )


def sample(act: Activation) -> tuple[np.ndarray, np.ndarray]:
    """Return φ and φ' at 512 points of |s| <= 30, where both are finite.

    Raises:
        ActivationError: If φ is not elementwise, not a number somewhere, or constant.
    """
    s = np.linspace(-30, 30, _BLOCK)
    value, slope = _evaluator(act)(s)
    _check_values(act, s, value, slope)
    finite = np.isfinite(value) & np.isfinite(slope)
    value, slope = value[finite], slope[finite]
    if value.size == 0 or np.ptp(value) == 0:
        told = f"{value[0]:.4g}" if value.size else "infinite"
        raise ActivationError(
            f"activation {act.name!r} must not be constant, but is {told} at every |s| <= 30: "
            f"shift or scale it."
        )
    return value, slope


@cache  # asked at every point of an edge
def check_slope(act: Activation) -> None:
    """Refuse a step: it has moments, but no tangent kernel and no edge.

    Raises:
        ActivationError: If φ' is 0 wherever it is looked at.
    """
    if not sample(act)[1].any():
        raise ActivationError(
            f"activation {act.name!r} must have a slope, but its derivative is 0 wherever "
            f"it was looked at on |s| <= 30: smooth its steps, or scale it."
        )


def check_growth(act: Activation, q: float) -> tuple[float, float]:
    """Return the range of z that holds all of E[φ(√q z)²] but 1e-15 of it.

    Raises:
        ActivationError: If the mass does not decay: the moment does not exist.
    """
    z = np.linspace(-TAIL, TAIL, 1217)
    value, slope = _evaluator(act)(np.sqrt(q) * z)
    near = np.abs(z) < 10
    _check_values(act, np.sqrt(q) * z[near], value[near], slope[near])
    with np.errstate(divide="ignore"):
        size = np.nan_to_num(np.maximum(np.abs(value), np.abs(slope)), nan=0.0, posinf=np.inf)
        log_mass = 2 * np.log(size) - z**2 / 2
    if size[np.abs(z) < TAIL - 10].max() == 0:  # a dead zone wider than the weight
        return -TAIL / 4, TAIL / 4
    if np.isinf(size).any() and np.isfinite(size[[0, -1]]).all():
        raise ActivationError(
            f"activation {act.name!r} must be finite with its derivative, but one of them is "
            f"infinite at s = {np.sqrt(q) * z[np.isinf(size)][0]:.4g}: cut the pole off."
        )
    if not (np.isfinite(log_mass.max()) and abs(z[np.argmax(log_mass)]) < TAIL - 10):
        raise ActivationError(
            f"E[φ(√q z)²] must exist, but {act.name!r} grows too fast for it at q = {q:g}: "
            f"take a smaller q, scale its input down, or bound it (a clip far out changes nothing "
            f"else)."
        )
    mass = np.exp(log_mass - log_mass.max())
    kept = z[(mass / mass.sum() + np.exp(-(z**2) / 2) / 40) > 1e-15]
    return float(kept[0]), float(kept[-1])


@dataclass(frozen=True)
class _Resolution:
    """Tells whether φ and φ' are polynomials to rounding on panels."""

    evaluate: Evaluator
    grid: np.ndarray  # |s|, ascending
    largest: np.ndarray  # max |φ| on |s'| <= |s|
    steepest: np.ndarray  # max |φ'| there

    def __call__(self, a: float, b: np.ndarray) -> Bool[np.ndarray, "panels"]:
        """Whether the panels [a, b_i] are resolved; at most 16 of them."""
        ends = np.concatenate([b, np.full(16 - b.size, b[-1])])
        s = a + np.outer(ends - a, (_X * (1 - 1e-13) + 1) / 2)
        far = np.searchsorted(self.grid, np.maximum(abs(a), np.abs(ends))).clip(
            max=self.grid.size - 1
        )
        good = np.ones(16, bool)
        # φ is only computed to the rounding of s: for exp(s²) that is many units in its last place.
        noise = 4e-16 * self.grid[far] * self.steepest[far] / self.largest[far]
        for y, scale, tolerance in zip(
            self.evaluate(s), (self.largest, self.steepest), (5e-15, 1e-13), strict=True
        ):
            with np.errstate(over="ignore", invalid="ignore"):
                tail = np.abs((y @ _TO_COEFFICIENTS)[:, -4:]).max(1)
                good &= tail <= (tolerance + noise) * scale[far]
        return good[: b.size]


def _resolution(act: Activation, reach: float) -> _Resolution:
    evaluate = _evaluator(act)
    grid = np.concatenate([[0.0], np.geomspace(1e-4, reach, 2047)])
    value, slope = (np.stack(pair) for pair in zip(evaluate(grid), evaluate(-grid), strict=True))
    _check_values(act, np.stack([grid, -grid]), value, slope)
    running = [np.maximum.accumulate(np.abs(y).max(0)) + 1e-300 for y in (value, slope)]
    return _Resolution(evaluate, grid, *running)


def _longest(resolved: _Resolution, a: float, b: float) -> float:
    """Return the end of the longest resolved panel that starts at a, at most b; a if there is none.

    Sixteen lengths are tried at once, three times.
    """
    shortest, longest = min(SHORTEST, b - a), b - a
    for _ in range(3):
        lengths = np.geomspace(shortest, longest, 16)
        good = resolved(a, a + lengths)
        if good[-1]:
            return a + longest if longest < b - a else b
        if not good.any():
            return a
        last = int(np.flatnonzero(good)[-1])
        shortest, longest = lengths[last], lengths[last + 1]
    return a + shortest


def _cuts(resolved: _Resolution, a: float, b: float, hidden: list[float]) -> Iterator[float]:
    """Yield the inner cuts of [a, b]; add to `hidden` the kinks found inside."""
    while a < b and len(hidden) < 8:
        end = _longest(resolved, a, b)
        if end - a < SHORTEST * 1.01 and end < b:
            hidden.append(_locate(resolved, a))
            end = min(hidden[-1] + 10 * SHORTEST, b)
        if end < b:
            yield end
        a = end


def _locate(resolved: _Resolution, a: float) -> float:
    """Return a point within SHORTEST of the kink in [a, a + SHORTEST], rounded if that is near."""
    point = a + SHORTEST / 2
    rounded = round(point, 4) + 0.0
    return rounded if abs(rounded - point) < 3 * SHORTEST else point


def _jumps(act: Activation) -> bool:
    evaluate = _evaluator(act)
    for c in act.kinks:
        step = 1e-9 * max(1.0, abs(c))
        _, (left, right) = evaluate(np.array([c - step, c + step]))
        if abs(right - left) > 1e-6 * max(1.0, abs(left), abs(right)):
            return True
    return False


def _parity(act: Activation) -> int:
    s = np.linspace(0.037, 7.9, 64)
    plus, minus = (_evaluator(act)(x)[0] for x in (s, -s))
    size = 4e-16 * np.maximum(np.abs(plus), np.abs(minus))
    for sign in (-1, 1):
        if (np.abs(plus - sign * minus) <= size).all():
            return sign
    return 0


def _panel_counts(
    act: Activation, breaks: np.ndarray, reach: float, largest: float
) -> tuple[int, int]:
    """Return the counts of panels for the weight, and for weight and φ, at the worst variance."""
    gauss, soft = 1, 1.0
    ends = np.concatenate([[-reach], breaks, [reach]])
    for q in np.geomspace(1e-4 * largest, largest, 48):
        low, high = check_growth(act, q)
        gauss = max(gauss, math.ceil((high - low + 0.5) / GAUSS_PANEL))
        z = np.linspace(low, high, 2001)
        lengths = np.diff(ends)[np.searchsorted(breaks, np.sqrt(q) * z)] / np.sqrt(q)
        soft = max(soft, np.mean(1 / np.minimum(lengths, GAUSS_PANEL)) * (high - low))
    return gauss, max(gauss, math.ceil(soft))


def level(q: ArrayLike) -> np.ndarray:
    """Return the least k >= LOWEST with q <= SHARED_Q 4^k."""
    with np.errstate(divide="ignore"):
        power = np.ceil(np.log(np.asarray(q, np.float64) / SHARED_Q) / np.log(4.0))
    return np.asarray(np.maximum(power, LOWEST))


def plan(act: Activation, q: float = SHARED_Q) -> Panels:
    """Return the panels of an activation for variances up to q.

    Raises:
        ActivationError: If φ is not elementwise, not a number somewhere, constant, has a kink that
            `act.kinks` does not list, or has no Gaussian second moment at variance q.
    """
    return _plan(act, shared_variance(act, q))


def shared_variance(act: Activation, q: float) -> float:
    """Return the variance >= q for which panels are planned, the same for many q."""
    shared = float(SHARED_Q * 4.0 ** level(q))
    try:
        check_growth(act, shared)
    except ActivationError:  # there may be a moment at q, though
        return float(q)
    return shared


@cache
def _plan(act: Activation, q: float) -> Panels:
    sample(act)
    reach = math.sqrt(q) * max(abs(z) for z in check_growth(act, q))
    values = _evaluator(act)(np.array([-reach, reach]))
    while reach > 2 and not np.isfinite(values).all():  # exp(s²) is of use up to its overflow
        reach /= 2
        values = _evaluator(act)(np.array([-reach, reach]))
    resolved = _resolution(act, reach)
    kinks = tuple(c for c in act.kinks if abs(c) < reach)
    ends = (-reach, *kinks, reach)
    hidden: list[float] = []
    cuts = [cut for a, b in itertools.pairwise(ends) for cut in _cuts(resolved, a, b, hidden)]
    if hidden:
        listed = ", ".join(f"{c:.6g}" for c in sorted({*act.kinks, *hidden}))
        found = ", ".join(f"{c:.6g}" for c in hidden)
        raise ActivationError(
            f"`kinks` must list every point where {act.name!r} is not smooth, but there is one "
            f"near s = {found}: write Activation({act.name!r}, fn, kinks=({listed},))."
        )
    breaks = np.sort(np.array([*cuts, *kinks], float))
    gauss, soft = _panel_counts(act, breaks, reach, q)
    return Panels(kinks, tuple(breaks.tolist()), reach, gauss, soft, _parity(act), _jumps(act))
