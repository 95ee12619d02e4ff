"""Cells computed by Dask workers: on this machine, as Slurm jobs, or wherever a scheduler is.

Needs the extra `cluster`. Records are written inside the task, into the run's folder, which
every worker has to see under the same path.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Collection
from concurrent.futures import CancelledError, Future, wait
from typing import Any

from ntk_eoc.sweeps import worker
from ntk_eoc.sweeps.errors import StoppedError, UserError, WorkerDiedError
from ntk_eoc.sweeps.pool import Pool
from ntk_eoc.sweeps.worker import Outcome, Setup

AHEAD = 2  # cells a worker holds, so that it never waits for the next
RECOUNT = 2.0  # seconds between two counts of the workers, which come and go
PATIENCE = 30.0  # seconds that a scheduler may take to answer, or to find its first worker


def connect(setup: Setup, kind: str | None, scheduler: str | None, workers: int) -> Pool:
    """Return a pool of Dask workers.

    Args:
        setup: What the workers compute.
        kind: "local" or "slurm": start `workers` workers.
        scheduler: Address of a running scheduler, in place of `kind`.
        workers: How many to start.

    Raises:
        UserError: If the extra is not installed or the scheduler does not answer.
    """
    try:
        import dask
        from distributed import Client
    except ImportError:
        raise UserError(
            "`--cluster` must have the extra: pip install 'ntk-eoc[cluster]', got none."
        ) from None
    # The runner counts the deaths of a cell's workers itself.
    # The variables that Dask would set for its workers change bits, and stay set in this process.
    dask.config.set(
        {
            "distributed.scheduler.allowed-failures": 0,
            "distributed.nanny.pre-spawn-environ": {},
        }
    )
    before = set(os.environ)
    cluster = None if scheduler else _start(kind, workers)
    try:
        if scheduler:
            _check_answer(scheduler)
        client = Client(scheduler or cluster, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # of TLS without its certificates
        raise UserError(
            f"`--scheduler` must be the address of a running Dask scheduler, got {scheduler!r}"
            f" ({' '.join(str(error).split())})."
        ) from None
    # Jobs of a queue may wait for hours; workers of a running scheduler are there or are not.
    return DaskPool(setup, client, cluster, None if kind == "slurm" else PATIENCE, before)


def _check_answer(scheduler: str) -> None:
    """See that a scheduler answers at an address; `OSError` if it is silent.

    A client of one that accepts and never says a word would wait for ever.
    """
    from distributed.comm import connect as reach
    from distributed.utils import LoopRunner, sync

    async def ask() -> None:
        comm = await asyncio.wait_for(reach(scheduler, timeout=PATIENCE), PATIENCE)
        comm.abort()

    runner = LoopRunner()
    runner.start()
    try:
        sync(runner.loop, ask, callback_timeout=2 * PATIENCE)
    except TimeoutError:
        raise OSError(f"no answer in {PATIENCE:.0f} s") from None
    finally:
        runner.stop()


def _start(kind: str | None, workers: int) -> Any:
    if kind == "local":
        from distributed import LocalCluster

        return LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0"
        )
    import dask
    from dask_jobqueue import SLURMCluster

    try:
        extra = dask.config.get("jobqueue.slurm.worker-extra-args", None) or []
        cluster = SLURMCluster(worker_extra_args=[*extra, "--nthreads", "1"])
    except (ValueError, OSError) as error:
        raise UserError(
            f"`--cluster slurm` must find its jobs described in dask's jobqueue.yaml, got: {error}"
        ) from None
    cluster.scale(jobs=workers)
    return cluster


class DaskPool:
    """Computes cells as tasks of a Dask client."""

    def __init__(
        self,
        setup: Setup,
        client: Any,
        cluster: Any,
        patience: float | None = None,
        variables: Collection[str] = (),
    ) -> None:
        self._setup = setup
        self._variables = variables or set(os.environ)
        self._patience = patience
        self._lost: float | None = None
        self._client = client
        self._cluster = cluster
        self._executor = client.get_executor(pure=False, retries=0)
        self._engine: dict[str, Any] | None = None
        self._slots = 1
        self._counted = 0.0

    @property
    def slots(self) -> int:
        """How many cells may be handed out: some more than there are workers now."""
        if time.monotonic() - self._counted > RECOUNT:
            self._slots = max(1, AHEAD * self._workers())
            self._counted = time.monotonic()
        return self._slots

    def engine(self) -> dict[str, Any]:
        """Wait for the first worker and return its engine.

        Raises:
            StoppedError: If there is none in `PATIENCE` seconds.
        """
        if self._engine is None:
            try:
                self._client.wait_for_workers(1, timeout=self._patience)
            except TimeoutError:
                raise StoppedError(
                    f"the scheduler has no worker after {self._patience:.0f} s: start some"
                    " (`dask worker ADDRESS`) and run it again."
                ) from None
            asked = self._executor.submit(worker.engine_anywhere, self._setup)
            while not wait([asked], timeout=RECOUNT).done:
                self.check()
            try:
                self._engine = self.result(asked)
            except WorkerDiedError:
                raise StoppedError("a Dask worker cannot start; its log says why.") from None
        return self._engine

    def check(self) -> None:
        """Raise `StoppedError` if the scheduler, or every worker, has been away for too long."""
        gone = self._client.status != "running" or not self._workers()
        now = time.monotonic()
        self._lost = (self._lost or now) if gone else None
        if self._patience and self._lost is not None and now - self._lost > self._patience:
            raise StoppedError(
                f"the Dask scheduler or all its workers have been away for {self._patience:.0f} s;"
                " what is done is kept: run it again once they are back."
            )

    def _workers(self) -> int:
        try:
            ask = self._client.scheduler.ncores
            return sum(self._client.sync(ask, callback_timeout=self._patience).values())
        except Exception:  # of any kind: the scheduler does not answer
            return 0

    def submit(self, id_: str, fields: dict[str, Any]) -> Future[Outcome]:
        """Hand a cell to the scheduler."""
        return self._executor.submit(worker.compute_anywhere, self._setup, id_, fields)

    def result(self, future: Future[Any]) -> Any:
        """Return the outcome."""
        from distributed import KilledWorker

        try:
            return future.result()
        except (StoppedError, UserError, OSError):  # of ours
            raise
        except KilledWorker:
            raise WorkerDiedError from None
        except CancelledError:
            raise StoppedError(
                "the Dask scheduler is gone; what is done is kept: run it again."
            ) from None
        except Exception as error:  # it could not even unpack the cell, say
            told = " ".join(f"{type(error).__name__}: {error}".split())
            raise StoppedError(
                f"a Dask worker cannot compute here ({told}): it must have this package, in the"
                " same version."
            ) from None

    def close(self, now: bool) -> None:
        """Leave the scheduler; end the workers that were started here."""
        leaving = threading.Thread(target=self._leave, args=(now,), daemon=True)
        leaving.start()
        leaving.join(PATIENCE)  # a scheduler may have stopped answering
        for name in set(os.environ).difference(self._variables):
            del os.environ[name]  # Dask's own, for the processes that it started

    def _leave(self, now: bool) -> None:
        with contextlib.suppress(Exception):  # of a scheduler that is gone
            self._executor.shutdown(wait=not now)  # not waiting cancels what is under way
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()
