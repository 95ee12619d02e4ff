"""Cells handed to a pool, longest first, within the memory there is; deaths counted."""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait

from ntk_eoc.sweeps import interrupt
from ntk_eoc.sweeps.errors import WorkerDiedError
from ntk_eoc.sweeps.grid import Planned
from ntk_eoc.sweeps.pool import Pool
from ntk_eoc.sweeps.worker import Outcome

LOOK_AGAIN = 0.5  # seconds before asking again for cells that other runs have claimed
LOOK_UP = 5.0  # seconds without a result after which the pool is looked at
LIVES = 2  # a cell that ends its worker this often is recorded as failed
log: logging.Logger = logging.getLogger("ntk_eoc.sweeps")


def compute(
    pool: Pool, todo: list[Planned], give_up: Callable[[Planned], Outcome], memory: float
) -> Iterator[tuple[Planned, Outcome]]:
    """Compute the cells in about this order and yield each one's outcome as it comes.

    A cell waits while the batches under way leave too little of `memory` for its own; alone it
    always runs.
    """
    waiting = deque(todo)
    elsewhere: list[Planned] = []
    running: dict[Future[Outcome], Planned] = {}
    deaths: Counter[str] = Counter()
    while waiting or running or elsewhere:
        interrupt.check()
        if elsewhere and not waiting and not running:  # nothing is left but others' cells
            time.sleep(LOOK_AGAIN)
            waiting.extend(elsewhere)
            elsewhere.clear()
        while waiting and len(running) < pool.slots:
            free = memory - sum(one.memory for one in running.values())
            one = next((one for one in waiting if one.memory <= free or not running), None)
            if one is None:
                break
            waiting.remove(one)
            running[pool.submit(one.id, one.fields)] = one
        finished = wait(running, timeout=LOOK_UP, return_when=FIRST_COMPLETED).done
        if not finished:
            pool.check()
        for future in finished:
            one = running.pop(future)
            try:
                outcome = pool.result(future)
            except WorkerDiedError:
                deaths[one.id] += 1
                log.warning("cell %s ended its worker (%d)", one.id, deaths[one.id])
                if deaths[one.id] < LIVES:
                    waiting.appendleft(one)
                else:
                    yield one, give_up(one)
                continue
            if outcome.status == "claimed elsewhere":
                elsewhere.append(one)
                continue
            yield one, outcome
