"""Which of a plan's cells are done: what in the store counts, and what is set aside."""

import logging
from collections import Counter
from pathlib import Path

from ntk_eoc.sweeps import record_file
from ntk_eoc.sweeps.errors import DamagedError
from ntk_eoc.sweeps.folder import Run
from ntk_eoc.sweeps.grid import Planned
from ntk_eoc.sweeps.store import Store

log: logging.Logger = logging.getLogger("ntk_eoc.sweeps")


def done(
    records: Store, planned: list[Planned], run: Run, retried: tuple[str, ...]
) -> dict[str, str]:
    """Return the ids with a sound record that counts, and its status.

    Damaged files, and records by other engines or by other code, are set aside and told: one line
    a reason. Records of statuses to be retried stay until the new ones replace them.
    """
    entries = records.entries()
    found = {}
    damaged: Counter[str] = Counter()
    aside: Counter[str] = Counter()
    for one in planned:
        entry = entries.get(one.id)
        if entry is None or entry.status in retried:
            continue
        try:
            why = _objection(entry.path, run)
        except FileNotFoundError:  # another run has just set it aside
            continue
        except DamagedError as error:
            damaged[str(error)] += 1
            records.set_aside(entry.path, records.damaged)
            continue
        if why:
            aside[why] += 1
            records.set_aside(entry.path, records.aside)
        else:
            found[one.id] = entry.status
    for why, count in damaged.items():
        _tell(count, f"damaged ({why})", records.damaged, "")
    for why, count in aside.items():
        _tell(count, f"by {why}", records.aside, "; with --mix they would count")
    return found


def _tell(count: int, why: str, where: Path, hint: str) -> None:
    what = "record is" if count == 1 else "records are"
    log.warning("%d %s %s: set aside in '%s', computed again%s.", count, what, why, where, hint)


def _objection(path: Path, run: Run) -> str:
    """By what a record is that does not count; "" if it counts."""
    meta = record_file.read_meta(path)
    if not run.by_engine(meta):
        return f"another engine, {meta['engine']}"
    return "" if run.mix else run.of_code(meta)
