"""Cells computed by Dask workers: on this machine, as Slurm jobs, or wherever a scheduler is.

Needs the extra `cluster`. Records are written inside the task, into the run's folder, which
every worker has to see under the same path.
"""

import time
from concurrent.futures import Future
from typing import Any

from ntk_eoc.sweeps import worker
from ntk_eoc.sweeps.errors import UserError, WorkerDiedError
from ntk_eoc.sweeps.pool import Pool
from ntk_eoc.sweeps.worker import Outcome, Setup

AHEAD = 2  # cells a worker holds, so that it never waits for the next
RECOUNT = 2.0  # seconds between two counts of the workers, which come and go


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
    dask.config.set({"distributed.scheduler.allowed-failures": 0})
    cluster = None if scheduler else _start(kind, workers)
    try:
        client = Client(scheduler or cluster, timeout=20, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"`--scheduler` must be the address of a running Dask scheduler, got {scheduler!r}"
            f" ({' '.join(str(error).split())})."
        ) from None
    return DaskPool(setup, client, cluster)


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

    def __init__(self, setup: Setup, client: Any, cluster: Any) -> None:
        self._setup = setup
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
            self._slots = max(1, AHEAD * sum(self._client.nthreads().values()))
            self._counted = time.monotonic()
        return self._slots

    def engine(self) -> dict[str, Any]:
        """Wait for the first worker and return its engine."""
        if self._engine is None:
            self._engine = self._client.submit(
                worker.engine_anywhere, self._setup, pure=False
            ).result()
        return self._engine

    def submit(self, id_: str, fields: dict[str, Any]) -> Future[Outcome]:
        """Hand a cell to the scheduler."""
        return self._executor.submit(worker.compute_anywhere, self._setup, id_, fields)

    def result(self, future: Future[Outcome]) -> Outcome:
        """Return the outcome."""
        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker:
            raise WorkerDiedError from None

    def close(self, now: bool) -> None:
        """Leave the scheduler; end the workers that were started here."""
        self._executor.shutdown(wait=not now)  # not waiting cancels what is under way
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()
