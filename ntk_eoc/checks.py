"""One grammar for bad input, "`depth` must be >= 1, got 0.", checked before tracing."""

import difflib
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any


def require(condition: bool, name: str, allowed: str, value: Any) -> None:
    """Raise `ValueError` "`name` must be <allowed>, got <value>." unless `condition` holds."""
    if not condition:
        raise ValueError(f"`{name}` must be {allowed}, got {value!r}.")


def require_count(name: str, value: Any, least: int = 1) -> int:
    """Return `value` as an int; an error unless it is an integer >= `least`."""
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be an integer >= {least}, got {value!r}.") from None
    require(not isinstance(value, bool) and count >= least, name, f">= {least}", value)
    return count


def require_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Return (m_1, …, m_l) as ints; an error unless there is one and all are positive."""
    try:
        every = tuple(widths)
    except TypeError:
        raise TypeError(
            f"`widths` must be a sequence (m_1, …, m_l) of integers, got {widths!r}."
        ) from None
    sizes = tuple(require_count(f"widths[{i}]", m) for i, m in enumerate(every))
    for i, m in enumerate(sizes):
        require(m < 2**63, f"widths[{i}]", "< 2⁶³", f"{m:.3g}" if m < 10**300 else "more")
    require_count("len(widths)", len(sizes))
    return sizes


def require_number(name: str, value: Any, least: float = -math.inf) -> float:
    """Return `value` as a float; an error unless it is a finite number >= `least`."""
    allowed = "a finite number" if least == -math.inf else f"a finite number >= {least:g}"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must be {allowed}, got {value!r}.") from None
    require(math.isfinite(number) and number >= least, name, allowed, value)
    return number


def unknown_name(what: str, name: Any, known: Iterable[str]) -> str:
    """The message for an unknown name: the nearest known one, then all of them."""
    known = sorted(known)
    lower = {word.lower(): word for word in reversed(known)}
    near = difflib.get_close_matches(str(name).lower(), lower, n=1)
    hint = f" Did you mean {lower[near[0]]!r}?" if near else ""
    if str(name).endswith(".py") and "FILE.py:NAME" in known:
        hint = f" Write {f'{name}:NAME'!r} for a function of that file."
    return f"`{what}` must be one of {', '.join(known)}, got {name!r}.{hint}"
