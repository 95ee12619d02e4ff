"""Durations, as estimated and as people say them."""


def time_left(seconds: float, spent: float, cost: float) -> float:
    """Return the seconds left, when `spent` of `cost` took `seconds`; inf before the first."""
    return seconds * (cost - spent) / spent if spent > 0 else float("inf")


def duration(seconds: float) -> str:
    """Return a duration as people say it: 45 s, 12 min, 3.4 h, 2.1 d."""
    if seconds == float("inf"):
        return "?"
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.0f} s"
