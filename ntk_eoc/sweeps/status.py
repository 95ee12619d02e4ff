"""What is in a run's folder, told without importing JAX or the experiment."""

import time
from collections import Counter
from pathlib import Path

from ntk_eoc.sweeps import folder as folders
from ntk_eoc.sweeps import record_file, store
from ntk_eoc.sweeps.duration import duration, time_left
from ntk_eoc.sweeps.errors import DamagedError
from ntk_eoc.sweeps.store import Entry, Store
from ntk_eoc.sweeps.words import plain

RECENT = 120.0  # seconds: a run that is silent for longer, and for 5 cells, counts as stopped


def describe(folder: Path, now: float | None = None) -> str:
    """Return the state of a run, some lines of text."""
    now = time.time() if now is None else now
    run = folders.read(folder)
    entries = Store(folder).entries()
    mine = [entries[id_] for id_ in run.ids if id_ in entries]
    counts = Counter(entry.status for entry in mine)
    missing = len(run.ids) - len(mine)
    lines = [plain(f"{run.resolved.get('title') or run.name}: {run.config}", keep="")]
    lines += [f"{counts[status]:8d} {status}" for status in store.STATUSES if counts[status]]
    lines += [f"{missing:8d} missing of {len(run.ids)}" + _left(run, entries, now)]
    others = len(entries) - len(mine)
    if others:
        lines += [f"{others:8d} of other configs, not counted"]
    edited = folders.edited(folder, run)
    lines += [plain(f"         {edited}", keep="")] if edited else []
    lines += _mixture(run, mine)
    lines += _reasons([entry for entry in mine if entry.status != "ok"])
    if missing:
        again = str(run.provenance.get("command", "ntk-eoc run"))
        lines += [f"to go on: {plain(again, keep='')}"]
    return "\n".join(lines)


def finished(folder: Path) -> bool:
    """Say whether every cell of the run has a record."""
    return set(folders.read(folder).ids) <= Store(folder).entries().keys()


def _left(run: folders.Run, entries: dict[str, Entry], now: float) -> str:
    """The time left, from when the last 200 records were written."""
    costs = dict(zip(run.ids, run.costs, strict=True))
    left = sum(cost for id_, cost in costs.items() if id_ not in entries)
    times = sorted((e.seconds, costs[e.id]) for e in entries.values() if e.id in costs)
    if left == 0 or len(times) < 2:
        return ""
    recent = times[-200:]
    seconds = recent[-1][0] - recent[0][0]
    if now - recent[-1][0] > max(RECENT, 5 * seconds / (len(recent) - 1)):
        return ", nothing written of late"
    spent = sum(cost for _, cost in recent[1:])
    return f", {duration(time_left(seconds, spent, spent + left))} left"


def _mixture(run: folders.Run, entries: list[Entry]) -> list[str]:
    """Records by other code or engines than the run's, and whether they count."""
    found: Counter[str] = Counter()
    for entry in entries:
        try:
            meta = record_file.peek(entry.path)
            engine = "" if run.by_engine(meta) else "another engine"
            found[engine or run.of_code(meta)] += 1
        except (DamagedError, OSError, LookupError, TypeError, AttributeError):
            continue  # `verify` tells of damage
    del found[""]
    counts = run.mix or not run.code
    note = "counted, too" if counts else "not counted; the next run computes them again"
    return [f"{n:8d} of these by {code}: {note}" for code, n in found.items()]


def _reasons(bad: list[Entry]) -> list[str]:
    reasons: Counter[str] = Counter()
    for entry in bad:
        try:
            meta = record_file.read_meta(entry.path)
        except (DamagedError, OSError) as error:
            reasons[f"{entry.path.name} is damaged: {error}"] += 1
        else:
            reasons[f"{entry.status}: {meta['message']}"] += 1
    return [f"  {count} × {plain(reason, keep='')}" for reason, count in reasons.most_common()]


def damaged(folder: Path) -> tuple[int, list[tuple[Path, str]]]:
    """Return how many records a folder holds, and the damaged ones with the reason."""
    folders.read(folder)
    found = []
    place = Store(folder)
    entries = place.entries()
    for entry in entries.values():
        try:
            place.read(entry)
        except (DamagedError, OSError) as error:
            found.append((entry.path, str(error)))
    return len(entries), found
