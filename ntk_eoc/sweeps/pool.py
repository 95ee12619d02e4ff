"""Where cells are computed: in this process, or in spawned ones that are replaced when they die."""

import multiprocessing
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ntk_eoc.sweeps import worker
from ntk_eoc.sweeps.errors import WorkerDiedError
from ntk_eoc.sweeps.worker import Outcome, Setup

GRACE = 3.0  # seconds that processes have to end before they are killed
LEISURE = 10.0  # the same, where their work is done


@runtime_checkable
class Pool(Protocol):
    """What the runner asks of a place to compute."""

    @property
    def slots(self) -> int:
        """How many cells may be under way at once."""
        ...

    def engine(self) -> dict[str, Any]:
        """Wait until the processes are up and return their `worker.engine()`."""
        ...

    def submit(self, id_: str, fields: dict[str, Any]) -> Future[Outcome]:
        """Begin a cell in a free slot."""
        ...

    def result(self, future: Future[Outcome]) -> Outcome:
        """Return a finished future's outcome and free its slot; or raise `WorkerDiedError`."""
        ...

    def check(self) -> None:
        """Raise `StoppedError` if no result can come any more."""
        ...

    def close(self, now: bool) -> None:
        """End the processes, `now` without waiting for the cells under way."""
        ...


class InProcess:
    """Computes each cell at once, in this process."""

    slots = 1

    def __init__(self, setup: Setup) -> None:
        self._worker = worker.Worker(setup)

    def engine(self) -> dict[str, Any]:
        """Return this process's engine."""
        return worker.engine()

    def submit(self, id_: str, fields: dict[str, Any]) -> Future[Outcome]:
        """Compute the cell; the future is finished."""
        future: Future[Outcome] = Future()
        try:
            future.set_result(self._worker.compute(id_, fields))
        except Exception as error:  # the disk is full, say: `result` raises it
            future.set_exception(error)
        return future

    def result(self, future: Future[Outcome]) -> Outcome:
        """Return the outcome."""
        return future.result()

    def check(self) -> None:
        """Nothing to lose."""

    def close(self, now: bool) -> None:
        """Nothing to end."""


class Processes:
    """N spawned processes, each an executor of its own, so that a death has one suspect.

    Spawned, for a forked process hangs once JAX has run in its parent.
    """

    def __init__(self, setup: Setup, slots: int) -> None:
        self.slots = slots
        self._setup = setup
        self._gpu_of: dict[ProcessPoolExecutor, str | None] = {}
        self._gpus = [] if setup.device == "cpu" else gpus()
        self._started = 0
        self._free = [self._executor() for _ in range(slots)]
        self._busy: dict[Future[Outcome], ProcessPoolExecutor] = {}
        self._engine: dict[str, Any] | None = None

    def _executor(self, gpu: str | None = None) -> ProcessPoolExecutor:
        if self._gpus and gpu is None:  # one GPU a worker, in turn
            gpu = self._gpus[self._started % len(self._gpus)]
            self._started += 1
        executor = ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=worker.start,
            initargs=(self._setup, gpu),
        )
        self._gpu_of[executor] = gpu
        return executor

    def _replace(self, executor: ProcessPoolExecutor) -> ProcessPoolExecutor:
        executor.shutdown()
        return self._executor(self._gpu_of.pop(executor))

    def engine(self) -> dict[str, Any]:
        """Start every process, once, and return the first one's engine."""
        if self._engine is None:
            started = [executor.submit(worker.engine_here) for executor in self._free]
            try:
                self._engine = [future.result() for future in started].pop()
            except BrokenProcessPool:
                raise WorkerDiedError("a worker cannot start; its message is above.") from None
        return self._engine

    def submit(self, id_: str, fields: dict[str, Any]) -> Future[Outcome]:
        """Begin a cell in a free process."""
        executor = self._free.pop()
        try:
            future = executor.submit(worker.compute, id_, fields)
        except BrokenProcessPool:  # it died idle
            executor = self._replace(executor)
            future = executor.submit(worker.compute, id_, fields)
        self._busy[future] = executor
        return future

    def result(self, future: Future[Outcome]) -> Outcome:
        """Return the outcome; a dead process is replaced."""
        executor = self._busy.pop(future)
        try:
            outcome = future.result()
        except BrokenProcessPool:
            executor = self._replace(executor)
            raise WorkerDiedError from None
        finally:
            self._free.append(executor)
        return outcome

    def check(self) -> None:
        """A dead process breaks its future."""

    def close(self, now: bool) -> None:
        """End the processes; records are written whole or not at all, so `now` is safe."""
        ended = []
        for executor in (*self._free, *self._busy.values()):
            ended += list((executor._processes or {}).values())
            executor.shutdown(wait=False, cancel_futures=True)
        for process in ended:
            if now:
                process.terminate()
        limit = time.monotonic() + (GRACE if now else LEISURE)
        for process in ended:  # native code may hear no signal, threads of a cell's may never end
            process.join(max(0.0, limit - time.monotonic()))
            if process.is_alive():
                process.kill()


def gpus() -> list[str]:
    """Return the GPUs that this process may see, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    return [str(index) for index in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
