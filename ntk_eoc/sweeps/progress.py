"""Progress on a terminal: cells done, rate, time left. Silent elsewhere."""

import logging
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from ntk_eoc.sweeps.duration import duration, time_left

LOG_EVERY = 30.0  # seconds
log = logging.getLogger("ntk_eoc.sweeps")


class Progress:
    """A bar on standard error; the time left follows from the cost of the finished cells."""

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
        self._start = self._logged = time.monotonic()
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
        """Count one more cell; the log file hears of it now and then."""
        self._finished += 1
        self._spent += cost
        now = time.monotonic()
        rate = f"{self._finished / (now - self._start):.3g}/s"
        left = f"{duration(time_left(now - self._start, self._spent, self._cost))} left"
        self._bar.update(self._task, advance=1, rate=rate, left=left)
        if now - self._logged >= LOG_EVERY:
            self._logged = now
            log.info("%d cells done in this run, %s, %s", self._finished, rate, left)
