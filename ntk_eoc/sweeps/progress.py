"""Progress: a bar on a terminal, now and then a plain line elsewhere, the same in the log."""

import logging
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from ntk_eoc.sweeps.duration import duration, time_left

SAY_EVERY = 30.0  # seconds
log: logging.Logger = logging.getLogger("ntk_eoc.sweeps")


class Progress:
    """A bar or lines on standard error; the time left follows from the cost of finished cells.

    A sweep that is done within `SAY_EVERY` seconds writes no line.
    """

    def __init__(self, cells: int, done: int, cost: float) -> None:
        console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("cells"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("cells", total=cells, completed=done, rate="", left="")
        self._lines = not console.is_terminal
        self._start = self._said = time.monotonic()
        self._cells, self._done = cells, done
        self._finished, self._cost, self._spent = 0, cost, 0.0

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, cost: float) -> None:
        """Count one more cell."""
        self._finished += 1
        self._spent += cost
        now = time.monotonic()
        rate = f"{self._finished / (now - self._start):.3g}/s"
        left = f"{duration(time_left(now - self._start, self._spent, self._cost))} left"
        self._bar.update(self._task, advance=1, rate=rate, left=left)
        if now - self._said >= SAY_EVERY:
            self._said = now
            self._say(f"{self._done + self._finished} of {self._cells} cells, {rate}, {left}")

    def _say(self, line: str) -> None:
        log.info(line)
        if self._lines:
            print(line, file=sys.stderr, flush=True)
