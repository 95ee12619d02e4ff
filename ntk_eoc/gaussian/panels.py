"""Panels: where an activation must be cut so that a fixed rule integrates every piece of it.

A Gauss–Legendre rule is exact to rounding on a panel where φ is a polynomial of moderate degree to
rounding. `plan` finds the fewest such panels, once per activation, and refuses an activation
that no panel resolves: a kink that was not declared, a NaN, a growth without Gaussian moments.

What is resolved is judged at the nodes of a panel and at every point of a scan in it, whose points
are |s|/4,000 apart at s: a feature of φ or φ' wider than |s|/1,000 is seen, a narrower one may be
missed.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from jaxtyping import ArrayLike

from ntk_eoc.activations import Activation
from ntk_eoc.gaussian.evaluate import (
    TAIL,
    ActivationError,
    check_growth,
    evaluator,
    sample,
)
from ntk_eoc.gaussian.resolution import Resolution, resolution_of

GAUSS_PANEL = 3.6  # length of a panel on which 13 nodes resolve exp(−z²/2) to rounding
SHARED_Q = 25.0  # variances q <= SHARED_Q 4^k share their panels, k >= LOWEST
LOWEST = -6
LARGEST = 8  # the largest k that is tried where the variances are not known beforehand
SHORTEST = 2e-6  # a panel this short that is not resolved holds a kink
FARTHEST = 1e6  # ratio of the ends of a panel: beyond it, what happens near 0 is not seen
MOST_PANELS = 2000
MOST_SHARP = 16
MOST_HIDDEN = 8  # kinks found before the search ends


@dataclass(frozen=True)
class Panels:
    """The cuts of one activation on |s| <= reach. Hashable: a static argument of jit.

    Attributes:
        kinks: Cuts at which φ is not smooth, ascending.
        breaks: All cuts, the kinks among them, ascending.
        reach: Largest |s| covered.
        sharp: The kinks, and the steepest places between them, each with its extent, 0 of a kink:
            φ smoothed on any scale varies on that scale around what lies within the extent.
        gauss: Number of panels that resolve the Gaussian weight.
        span: |z| beyond which φ'(√q z) exp(−z²/4) is rounding at any of these variances.
        parity: +1 for even φ, −1 for odd φ, else 0.
        jumps: Whether φ' jumps at a kink: the kinked class of `docs/theory.md`.
        steps: The kinks at which φ itself jumps.
    """

    kinks: tuple[float, ...]
    breaks: tuple[float, ...]
    reach: float
    sharp: tuple[tuple[float, float], ...]
    gauss: int
    span: float
    parity: int
    jumps: bool
    steps: tuple[float, ...]

    def refined(self) -> "Panels":
        """Return the same cuts with every panel halved."""
        ends = np.array([-self.reach, *self.breaks, self.reach])
        breaks = np.sort(np.concatenate([self.breaks, (ends[1:] + ends[:-1]) / 2]))
        return replace(self, breaks=tuple(breaks.tolist()), gauss=2 * self.gauss)


def _longest(resolved: Resolution, a: float, b: float) -> float:
    """Return the end of the longest resolved panel that starts at a, at most b; a if there is none.

    Sixteen lengths are tried at once, three times.
    """
    shortest, longest = min(_shortest(a), b - a), b - a
    for _ in range(3):
        ends = a + np.geomspace(shortest, longest, 16)
        found = resolved.coefficients(a, ends)
        good = np.flatnonzero(resolved.at_nodes(a, ends, found))
        seen = (i for i in good[::-1] if resolved.in_between(a, ends[i], found[:, i]))
        last = int(next(seen, -1))
        if last == -1:
            return a
        if last == 15:
            return a + longest if longest < b - a else b
        shortest, longest = ends[last] - a, ends[last + 1] - a
    return a + shortest


def _shortest(a: float) -> float:
    """The length of a panel at a that holds a kink if it is not resolved."""
    return max(SHORTEST, 1e-9 * abs(a))


def _cuts(resolved: Resolution, a: float, b: float, hidden: list[float]) -> Iterator[float]:
    """Yield the inner cuts of [a, b]; add to `hidden` the kinks found inside."""
    while a < b and len(hidden) < MOST_HIDDEN:
        end = _longest(resolved, a, b)
        if end - a < _shortest(a) * 1.01 and end < b:
            hidden.append(_locate(a))
            end = min(hidden[-1] + 10 * _shortest(a), b)
        if end < b:
            yield end
        a = end


def _locate(a: float) -> float:
    """Return a point within the shortest length of the kink, rounded if that is near."""
    point = a + _shortest(a) / 2
    rounded = round(point, 4) + 0.0
    return rounded if abs(rounded - point) < 3 * SHORTEST else point


def _at_most(most: int, act: Activation, q: float, cuts: Iterable[float]) -> list[float]:
    """The cuts, if they are not too many."""
    found = list(itertools.islice(cuts, most + 1))
    if len(found) > most:
        raise ActivationError(
            f"activation {act.name!r} must vary less often to be integrated at q = {q:.4g}: it "
            f"takes more than {most} panels. Take a smaller q, or scale its input down."
        )
    return found


def _refuse_hidden(act: Activation, hidden: list[float]) -> None:
    for c in act.kinks:
        if any(abs(h - c) <= 30 * SHORTEST for h in hidden):
            raise ActivationError(
                f"activation {act.name!r} must be smooth up to each of its kinks, but is not at "
                f"s = {c:.6g}: its derivative is unbounded there, or another kink lies beside it. "
                f"Bound it nearby."
            )
    listed = ", ".join(f"{c:.6g}" for c in sorted({*act.kinks, *hidden}))
    found = ", ".join(f"{c:.6g}" for c in hidden)
    raise ActivationError(
        f"`kinks` must list every point where {act.name!r} is not smooth, but there is one "
        f"near s = {found}: write Activation({act.name!r}, fn, kinks=({listed},)), "
        f"or `{act.name}.kinks = ({listed},)` below a function in a file."
    )


def _jumps(act: Activation) -> tuple[tuple[float, ...], bool]:
    """The kinks at which φ jumps, and whether φ' jumps at one."""
    steps, kinked = [], False
    for c in act.kinks:
        step = 1e-9 * max(1.0, abs(c))
        ends = np.array([-step, step, -step / 8, step / 8]) + c
        values, slopes = (y.reshape(2, 2) for y in evaluator(act)(ends))
        gaps = np.abs(np.diff(values)[:, 0])
        if gaps.min() > 1e-7 * np.abs(values).max() and gaps[1] > gaps[0] / 2:
            steps.append(c)
        left, right = slopes[0]
        kinked |= abs(right - left) > 1e-6 * max(1.0, abs(left), abs(right))
    return tuple(steps), bool(kinked)


def _decades(reach: float) -> list[float]:
    """Cuts that keep the ratio of the ends of every panel of a large range within bounds."""
    count = math.ceil(math.log(max(reach, 1.0)) / math.log(FARTHEST))
    return [FARTHEST**k for k in range(1, count) if FARTHEST**k < reach]


@cache
def parity_of(act: Activation) -> int:
    """Return +1 for even φ, −1 for odd φ, else 0, as far as a scan of |s| <= 8 tells."""
    return resolution_of(act, 8.0).parity()


def _weight_panels(act: Activation, largest: float) -> tuple[int, float]:
    """Return the count of panels for the weight, and the span, at the worst variance."""
    gauss, span = 1, 0.0
    for q in np.geomspace(1e-4 * largest, largest, 48):
        low, high = check_growth(act, q)
        gauss = max(gauss, math.ceil((high - low + 0.5) / GAUSS_PANEL))
        span = max(span, _span(act, q))
    return gauss, math.ceil(2 * span) / 2


def _sharp(ends: np.ndarray, kinks: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
    """The kinks, and the middles of panels that are the least of several and far shorter than the
    largest of these; their extent reaches over the neighbours at most twice as long.
    """
    lengths, found = np.diff(ends), dict.fromkeys(kinks, 0.0)
    for i, length in enumerate(lengths):
        about = lengths[max(i - 6, 0) : i + 7]
        if length == about.min() and length < about.max() / 4:
            middle = float(ends[i] + ends[i + 1]) / 2
            if all(abs(middle - c) > 4 * length for c in found):
                longer = np.flatnonzero(lengths > 2 * length)
                low, high = (
                    longer[longer < i].max(initial=-1),
                    longer[longer > i].min(initial=lengths.size),
                )
                found[middle] = float(max(middle - ends[low + 1], ends[high] - middle))
    few = len(found) < len(kinks) + MOST_SHARP
    return tuple(sorted(found.items() if few else dict.fromkeys(kinks, 0.0).items()))


def _span(act: Activation, q: float) -> float:
    z = np.linspace(-TAIL, TAIL, 609)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value, slope = evaluator(act)(np.sqrt(q) * z)
        size = np.log(np.abs(value) + np.abs(slope)) - z**2 / 4
    size = np.where(np.isfinite(size), size, -np.inf)
    return float(np.abs(z[size > size.max() - 38]).max(initial=12.5))


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


@cache
def plan_for_any(act: Activation, q: float = SHARED_Q) -> Panels:
    """Return panels for variances up to q, and far beyond where that takes few panels more.

    For variances that are not known beforehand. A φ that levels off is served at any of them.
    """
    panels = plan(act, q)
    for k in range(LARGEST, 0, -2):
        try:
            wider = plan(act, q * 4.0**k)
        except ActivationError:
            continue
        if len(wider.breaks) <= 2 * len(panels.breaks) + 8:
            return wider
    return panels


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
    values = evaluator(act)(np.array([-reach, reach]))
    while reach > 2 and not np.isfinite(values).all():  # exp(s²) is of use up to its overflow
        reach /= 2
        values = evaluator(act)(np.array([-reach, reach]))
    resolved = resolution_of(act, reach)
    kinks, parity = tuple(c for c in act.kinks if abs(c) < reach), resolved.parity()
    decades = _decades(reach)
    inner = sorted({*kinks, *decades, *(-c for c in decades)})
    if parity:  # one side, and its mirror image
        inner = [c for c in inner if c > 0]
    ends = (0.0 if parity else -reach, *inner, reach)
    hidden: list[float] = []
    each = (_cuts(resolved, a, b, hidden) for a, b in itertools.pairwise(ends))
    cuts = _at_most(MOST_PANELS, act, q, itertools.chain.from_iterable(each))
    if hidden:
        _refuse_hidden(act, hidden)
    cuts += inner
    mirrored = [0.0, *(-cut for cut in cuts)] if parity else []
    breaks = tuple(sorted({*cuts, *mirrored, *kinks}))
    steps, jumps = _jumps(act)
    sharp = _sharp(np.array([-reach, *breaks, reach]), kinks)
    gauss, span = _weight_panels(act, q)
    return Panels(kinks, breaks, reach, sharp, gauss, span, parity, jumps, steps)
