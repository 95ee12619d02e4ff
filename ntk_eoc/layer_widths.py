"""Widths of hidden layers by the name of a schedule."""

from ntk_eoc.checks import require, require_count, unknown_name

DEEPEST = 1_000_000

POWERS = {"constant": 0, "linear": 1, "quadratic": 2, "cubic": 3}
"""p of m_k = k^p m."""

WORDS = {"constant": "m", "linear": "k m", "quadratic": "k² m", "cubic": "k³ m"}
"""m_k, written."""


def widths(schedule: str, m: int, depth: int, outputs: int = 1) -> tuple[int, ...]:
    """Return the widths (m_1, …, m_l) of an MLP.

    Args:
        schedule: "quadratic" (m_k = k² m, the schedule of [C]), "linear" (k m), "constant" (m)
            or "cubic" (k³ m), for the hidden layers k = 1 … l − 1.
        m: Width of the first hidden layer.
        depth: Number l of weight layers.
        outputs: m_l.

    Raises:
        ValueError: If the schedule is unknown, a number is not a positive integer, or there would
            be more than a million layers.
    """
    if schedule not in POWERS:
        raise ValueError(unknown_name("schedule", schedule, POWERS))
    m, depth = require_count("m", m), require_count("depth", depth)
    require(depth <= DEEPEST, "depth", f"<= {DEEPEST:,} for a network", depth)
    hidden = (k ** POWERS[schedule] * m for k in range(1, depth))
    return (*hidden, require_count("outputs", outputs))
