"""The runner: a config and a folder in, every missing cell computed, whatever happens."""

import errno
import logging
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ntk_eoc.sweeps import cluster, dispatch, grid, shipped, trust
from ntk_eoc.sweeps import config as configs
from ntk_eoc.sweeps import experiment as experiments
from ntk_eoc.sweeps import folder as folders
from ntk_eoc.sweeps.code import Code, code_of
from ntk_eoc.sweeps.done import done
from ntk_eoc.sweeps.errors import StoppedError, UserError, WorkerDiedError
from ntk_eoc.sweeps.experiment import Experiment
from ntk_eoc.sweeps.grid import Planned
from ntk_eoc.sweeps.interrupt import interruptible
from ntk_eoc.sweeps.memory import host_memory
from ntk_eoc.sweeps.pool import InProcess, Pool, Processes
from ntk_eoc.sweeps.progress import Progress
from ntk_eoc.sweeps.store import Store
from ntk_eoc.sweeps.words import RETRIED
from ntk_eoc.sweeps.worker import Outcome, Setup, record_meta

LIMITS = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.EFBIG)
WORKER_BYTES = 0.3 * 2**30  # of one process with JAX, idle
log: logging.Logger = logging.getLogger("ntk_eoc.sweeps")


@dataclass(frozen=True)
class Options:
    """How to run a config, as the command line gives it.

    Attributes:
        config: The config's path.
        out: The run's folder; `out/<name of the config>` by default.
        overrides: `key=value` put over the config.
        workers: Spawned processes; 1 computes in this one.
        shard: "k/n": only this part of the cells.
        retry: Compute cells again that failed or ran out of memory.
        mix: Let records by other code, versions or platforms count as done.
        device: "cpu", "gpu" or None for what JAX prefers.
        memory: Bytes that the batches under way may need together, by the experiment's `memory`.
        cluster: "local" or "slurm": `workers` Dask workers in place of processes.
        scheduler: Address of a running Dask scheduler.
    """

    config: Path
    out: Path | None = None
    overrides: Sequence[str] = ()
    workers: int = 1
    shard: str | None = None
    retry: bool = False
    mix: bool = False
    device: str | None = None
    memory: float | None = None
    cluster: str | None = None
    scheduler: str | None = None

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.out or Path("out") / self.config.stem

    def command(self) -> str:
        """Return the command line that does this again."""
        words = ["ntk-eoc", "run", shipped.word(self.config), "--out", str(self.folder)]
        for override in self.overrides:
            words += ["--set", override]
        words += ["--workers", str(self.workers)] if self.workers > 1 else []
        words += ["--shard", self.shard] if self.shard else []
        words += ["--device", self.device] if self.device else []
        words += ["--memory", f"{self.memory / 2**30:g}"] if self.memory else []
        words += ["--cluster", self.cluster] if self.cluster else []
        words += ["--scheduler", self.scheduler] if self.scheduler else []
        words += ["--mix"] * self.mix
        return shlex.join(words)


@dataclass
class Summary:
    """What a sweep did: cells by status, and those done before it began."""

    folder: Path
    planned: int
    before: int
    counts: Counter[str] = field(default_factory=Counter)
    counts_before: Counter[str] = field(default_factory=Counter)

    @property
    def all_counts(self) -> Counter[str]:
        """All cells of the plan by status, whenever they were computed."""
        return self.counts + self.counts_before


def run(options: Options) -> Summary:
    """Run a config: check everything, then compute what is missing.

    Returns:
        What was done.

    Raises:
        UserError: Before anything is written, if the config, the flags or the folder are wrong.
        StoppedError: If the disk is full or workers cannot start; what is done is kept.
        KeyboardInterrupt: On Ctrl-C or SIGTERM; what is done is kept.
    """
    with interruptible():
        return _run(options)


def _run(options: Options) -> Summary:
    _check(options)
    config = configs.load(options.config, options.overrides)
    reference = experiments.resolve(config.experiment, options.config)
    base = shipped.base(options.config)
    trust.remember(reference, base)
    experiment = experiments.load(reference, base)
    planned = grid.plan(config, experiment, str(options.config))
    for named in trust.references(one.fields for one in planned):
        trust.remember(named, base)
    mine = grid.shard(planned, options.shard)
    folder = options.folder
    folders.check_writable(folder)
    before = folders.check_same_experiment(folder, experiment.name)

    code = code_of(reference, base, (one.fields for one in planned))
    provenance = _provenance(experiment)
    setup = Setup(
        experiment=reference,
        base=str(base),
        code=code,
        folder=str(folder.resolve()),
        device=options.device,
        provenance=provenance,
        retry=RETRIED if options.retry else (),
    )
    with _pool(setup, options, min(options.workers, max(len(mine), 1))) as pool:
        engines = folders.accept_engine(folder, before, pool.engine(), options.mix)
        run_ = folders.Run(
            name=experiment.name,
            experiment=_relative(reference, folder) if reference.endswith(".py") else reference,
            config=str(options.config),
            resolved=config.model_dump(mode="json"),
            ids=[one.id for one in planned],
            costs=[one.cost for one in planned],
            engines=engines,
            provenance=provenance | {"command": options.command()},
            base=_relative(str(base), folder),
            code=asdict(code),
            mix=options.mix,
        )
        try:
            records = Store(folder)
            records.create()
            folders.write(folder, run_)
            with log_file(folder):
                return _sweep(records, pool, mine, run_, options)
        except OSError as error:
            raise _stopped(error, folder) from error


def _sweep(
    records: Store, pool: Pool, mine: list[Planned], run_: folders.Run, options: Options
) -> Summary:
    retried = RETRIED if options.retry else ()
    records.clear_leftovers()
    before = done(records, mine, run_, retried)
    todo = [one for one in mine if one.id not in before]
    summary = Summary(options.folder, planned=len(mine), before=len(before))
    summary.counts_before.update(before.values())
    log.info("%s: %d cells, %d done before", options.command(), len(mine), len(before))
    give_up = partial(_give_up, records, pool, run_)
    memory = options.memory or host_memory()
    try:
        with Progress(len(mine), len(before), sum((one.cost for one in todo), 0.0)) as progress:
            for one, outcome in dispatch.compute(pool, todo, give_up, memory):
                summary.counts[outcome.status] += 1
                if outcome.message:
                    log.warning("cell %s %s: %s", one.id, outcome.status, outcome.message)
                progress.advance(one.cost)
    except StoppedError as error:
        log.info("stopped: %s", error)
        raise
    finally:
        log.info("ended: %s", dict(summary.counts))
        records.settle()
    return summary


def _give_up(records: Store, pool: Pool, run_: folders.Run, one: Planned) -> Outcome:
    """Record a cell that ended its worker each time."""
    message = f"ended its worker {dispatch.LIVES} times (out of memory, or a crash in native code)"
    meta = record_meta(one.id, one.fields, "failed", 0.0, message)
    about = {"experiment": run_.name, "engine": pool.engine(), "machine": {}}
    about["code"] = Code(**run_.code).of(one.fields)
    records.write(meta | about | {"provenance": run_.provenance}, {})
    return Outcome(one.id, "failed", 0.0, message)


@contextmanager
def _pool(setup: Setup, options: Options, workers: int) -> Iterator[Pool]:
    pool: Pool
    if options.cluster or options.scheduler:
        pool = cluster.connect(setup, options.cluster, options.scheduler, workers)
    elif options.workers == 1:
        pool = InProcess(setup)
    else:
        pool = Processes(setup, workers)
    finished = False
    try:
        yield pool
        finished = True
    except WorkerDiedError as error:
        raise StoppedError(str(error)) from None
    finally:
        pool.close(now=not finished)


@contextmanager
def log_file(folder: Path) -> Iterator[None]:
    """Log what this run does to a file of its own under `log/`."""
    (folder / "log").mkdir(exist_ok=True)
    begun = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    path = folder / "log" / f"{begun}-{os.uname().nodename}-{os.getpid()}.log"
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    level = log.level
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
        handler.close()


def _check(options: Options) -> None:
    if options.workers < 1:
        raise UserError(f"`--workers` must be >= 1, got {options.workers!r}.")
    most = max(1, int(host_memory() / WORKER_BYTES))
    if options.workers > most and not (options.scheduler or options.cluster == "slurm"):
        raise UserError(
            f"`--workers` must be <= {most} for the memory of this machine, as each takes about"
            f" {WORKER_BYTES / 2**30:.1f} GiB, got {options.workers:,}."
        )
    if options.memory is not None and not options.memory > 0:
        raise UserError(f"`--memory` must be > 0 GiB, got {options.memory / 2**30:g}.")
    if options.scheduler is not None and not options.scheduler.strip():
        raise UserError(f"`--scheduler` must be an address, got {options.scheduler!r}.")
    if options.cluster and options.scheduler:
        raise UserError(
            f"`--scheduler` must stand without `--cluster`, got {options.scheduler!r}"
            f" and {options.cluster!r}."
        )


def _provenance(experiment: Experiment) -> dict[str, Any]:
    home = str(experiment.source.parent)
    git = ["git", "-C", home, "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, timeout=10, check=True)
        commit = found.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = "unknown"
    return {
        "source": str(experiment.source),
        "sha256": experiment.sha256,
        "commit": commit,
        "argv": sys.argv,
    }


def _relative(path: str, folder: Path) -> str:
    """A path as seen from the run's folder, so that both may move together."""
    return os.path.relpath(path, folder.resolve())


def _stopped(error: OSError, folder: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoppedError(f"the disk of '{folder}' is full; every record already there is kept.")
    told = f"{error.strerror or error}" + (f", '{error.filename}'" if error.filename else "")
    if error.errno in LIMITS:
        return StoppedError(f"a limit of this machine is reached ({told}); what is done is kept.")
    return UserError(f"`out` must be a folder that can be written to, got '{folder}': {told}.")
