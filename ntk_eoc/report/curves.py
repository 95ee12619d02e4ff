"""What figures of random quantities share: 95 % bars, fitted exponents, guides, counts."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy.special import stdtrit

from ntk_eoc.estimates import Estimate, Exponent, Quantile, exponent, interval
from ntk_eoc.report import style
from ntk_eoc.sweeps.records import Records

Groups = Sequence[np.ndarray]


def groups(records: Records, x: str, what: str | Callable[[Records], np.ndarray]) -> Any:
    """Return the values of a field, and at each the draws of an array, [s] each.

    Args:
        records: Of one curve.
        x: A field of the cells.
        what: An array's name, or a function from the records at one x to draws.
    """
    xs = records.values(x)
    of = what if callable(what) else lambda cells: cells.stack(what)
    return xs, [of(records.where(**{x: value})) for value in xs]


def bars(ax: Axes, x: Any, draws: style.Values, *, scale: Any = 1.0, **look: Any) -> None:
    """Plot means of draws, or estimates, or quantiles, with their 95 % intervals.

    A mean of fewer draws than `estimates.FEWEST` has no interval, and its point no bar.

    Args:
        ax: Where.
        x: Abscissae.
        draws: At each x draws [s], an `Estimate` or a `Quantile`.
        scale: What to multiply with, at each x or at all.
        **look: As for `Axes.errorbar`.
    """
    middle, low, high = np.array([ends(d) for d in draws]).T * np.asarray(scale)
    below, above = np.maximum(middle - low, 0), np.maximum(high - middle, 0)
    spread = [np.where(np.isfinite(reach), reach, 0) for reach in (below, above)]
    ax.errorbar(x, middle, spread, **look)


def ends(found: Any) -> tuple[float, float, float]:
    """Return a value and its 95 % interval: of draws, of an `Estimate` or of a `Quantile`."""
    if isinstance(found, Estimate):
        reach = found.error * stdtrit(max(found.draws - 1, 1), 0.975)
        return found.mean, found.mean - reach, found.mean + reach
    value, low, high, _ = found if isinstance(found, Quantile) else interval(found)
    return value, low, high


def told(fit: Exponent, of: str = "") -> str:
    """Return "−0.51 [−0.56, −0.46]", after `of` if there is one."""
    text = f"{fit.slope:.2f}"
    if math.isfinite(fit.low) and math.isfinite(fit.high):
        text += f" [{fit.low:.2f}, {fit.high:.2f}]"
    return f"{of} {text}".strip().replace("-", "−")


def fitted(label: str, x: style.Values, draws: Groups) -> str:
    """Return a curve's label with its exponent and the exponent's 95 % interval."""
    fit = fit_of(x, draws)
    return label if fit is None else f"{label}: {told(fit)}"


def fit_of(x: style.Values, draws: Groups) -> Exponent | None:
    """Return the exponent of positive means; None where there are not two of them."""
    if len(set(x)) < 2 or any(np.mean(one) <= 0 for one in draws):
        return None
    return exponent(x, draws)


def by_activation(
    ax: Axes,
    records: Records,
    x: str,
    what: str | Callable[[Records], np.ndarray],
    *,
    label: Callable[[str, style.Values, Groups], str] | None = fitted,
    scale: Callable[[np.ndarray], Any] = lambda x: 1.0,
    shift: float = 0.0,
    **look: Any,
) -> None:
    """Plot a curve an activation: means against a field of the cells, with 95 % bars.

    Args:
        ax: Where.
        records: Of all curves.
        x: Field of the abscissae.
        what: An array's name, or a function from the records at one x to draws.
        label: From (the activation's word, x, draws) to the curve's label; with the fitted exponent
            unless given; None leaves it out.
        scale: From x to what the means are multiplied with.
        shift: Moves a curve aside by this part of x, and each further one by as much again.
        **look: As for `Axes.errorbar`, over the activation's own look.
    """
    for i, name in enumerate(records.values("activation")):
        xs, draws = groups(records.where(activation=name), x, what)
        words = label(style.word(name), xs, draws) if label else "_"
        own = {**style.activation_look(name), **look}
        at = np.array(xs, float)
        bars(ax, at * (1 + shift * i), draws, scale=scale(at), label=words, **own)


def plain(label: str, x: style.Values, draws: Groups) -> str:
    """Return a curve's label without its exponent."""
    return label


def guide(ax: Axes, x: style.Values, power: float, label: str, *, at: float | None = None) -> None:
    """Draw a power of x as a guide, below the curves of a logarithmic panel or through y = `at`
    at the first x.
    """
    ends = np.array([min(x), max(x)], float)
    shape = (ends / ends[0]) ** power
    if at is None:
        bottom, top = ax.get_ylim()
        at = bottom * (top / bottom) ** 0.04 / min(shape)
    ax.plot(ends, at * shape, **style.GUIDE, label=label)


def fewest(records: Records, what: str, *fields: str) -> int:
    """Return the least number of draws of an array over the points that the fields tell apart."""
    return min((len(cells.stack(what)) for _, cells in records.group(*fields)), default=0)


def alive(records: Records) -> np.ndarray:
    """Return which of the networks did not diverge, [s]."""
    return records.stack("diverged_at") < 0


def lost(records: Records) -> int:
    """Return how many networks diverged."""
    trained = [r.arrays["diverged_at"] for r in records if "diverged_at" in r.arrays]
    return int((np.concatenate(trained) >= 0).sum()) if trained else 0
