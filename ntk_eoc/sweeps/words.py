"""What is said of a sweep and of its records in a line, safe to print on any terminal."""

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ntk_eoc.sweeps.records import Records
    from ntk_eoc.sweeps.runner import Summary

RETRIED = ("out-of-memory", "failed")  # by --retry
BAD = (*RETRIED, "non-finite")


def plain(text: str, keep: str = "\n") -> str:
    """Return a text whose control characters are escaped, but for those to keep."""
    return "".join(c if c.isprintable() or c in keep else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def one_line(error: BaseException) -> str:
    """Return what an exception says, in one line."""
    return " ".join(str(error).split())


def told(summary: "Summary") -> str:
    """Say what a sweep did."""
    now = _listed(summary.counts)
    bad = _listed(Counter({k: n for k, n in summary.counts_before.items() if k != "ok"}))
    before = f"{summary.before} done before" + (f" ({bad})" if bad else "")
    return f"{summary.folder}: {summary.planned} cells, {before}, now {now or 'nothing to do'}."


def bad(summary: "Summary") -> str:
    """Say what makes a sweep's exit code 1: cells that failed or lacked memory, or none is ok."""
    counts = summary.all_counts
    without = Counter({status: counts[status] for status in BAD if counts[status]})
    again = any(without[status] for status in RETRIED)
    if not again and (counts["ok"] or not without):
        return ""
    hint = ", computed again by the same command with --retry" if again else ""
    return f"{_listed(without)}: ntk-eoc status {summary.folder}{hint}."


def gaps(records: "Records") -> str:
    """Say which cells figures do not show, and which of those shown are by other code."""
    counts = Counter(record.status for record in records.bad)
    counts.update({"missing": records.missing})
    listed = [f"{count} {status}" for status, count in counts.items() if count]
    listed += [records.mixture] if records.mixture else []
    return f"of {len(records) + records.missing} cells: {', '.join(listed)}" if listed else ""


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
