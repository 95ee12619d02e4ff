"""A worker: set JAX up, compute one cell, write its record. The same in every process."""

import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

import numpy as np

from ntk_eoc import user_code
from ntk_eoc.sweeps import experiment as experiments
from ntk_eoc.sweeps import interrupt
from ntk_eoc.sweeps.code import Code, difference, experiment_of
from ntk_eoc.sweeps.engine import engine, machine, set_numbers, set_up_jax
from ntk_eoc.sweeps.errors import CodeChangedError, UserError
from ntk_eoc.sweeps.store import STATUSES, Store
from ntk_eoc.user_code import provenance

LONGEST_LINE = 500  # characters of what an error says
log: logging.Logger = logging.getLogger("ntk_eoc.sweeps")


@dataclass(frozen=True)
class Setup:
    """All that a worker needs to know, as plain data for another process.

    Attributes:
        experiment: Resolved reference of the experiment.
        base: The folder that paths in cells are relative to, the config's.
        code: What the run's records are by.
        folder: The run's folder.
        device: "cpu", "gpu" or None for what JAX prefers.
        provenance: Goes into every record.
        retry: Statuses that do not count as done.
    """

    experiment: str
    base: str
    code: Code
    folder: str
    device: str | None
    provenance: dict[str, Any]
    retry: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: a record's status, "done already" or "claimed elsewhere"."""

    id: str
    status: str
    seconds: float
    message: str = ""


class Worker:
    """Computes cells of one experiment into one store.

    It refuses code other than the run's: what it loads is compared before and after it is loaded,
    and what is loaded later, with the cell that loads it.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.base: Path = Path(setup.base)
        set_up_jax(setup.device)
        self._check_code()
        self.experiment: experiments.Experiment = experiments.load(setup.experiment, self.base)
        self._check_code()
        self._modules = len(sys.modules)
        self.store: Store = Store(Path(setup.folder))
        self.about: dict[str, Any] = {
            "experiment": self.experiment.name,
            "engine": engine(),
            "machine": machine(),
            "provenance": setup.provenance,
        }

    def compute(self, id_: str, fields: dict[str, Any]) -> Outcome:
        """Compute one cell and write its record, unless it is there or claimed elsewhere.

        Raises:
            CodeChangedError: If the cell would be computed, or was, by code other than the run's.
        """
        if not self.store.claim(id_):
            return Outcome(id_, "claimed elsewhere", 0.0)
        try:
            if self._is_done(id_):
                return Outcome(id_, "done already", 0.0)
            return self._compute(id_, fields)
        finally:
            self.store.release(id_)

    def _is_done(self, id_: str) -> bool:
        return self.store.has(id_, tuple(s for s in STATUSES if s not in self.setup.retry))

    def _compute(self, id_: str, fields: dict[str, Any]) -> Outcome:
        start = time.perf_counter()
        arrays: dict[str, np.ndarray] = {}
        message = trace = ""
        self._check_files(fields)
        set_numbers()  # an earlier cell may have set others
        try:
            with user_code.relative_to(self.base):
                cell = self.experiment.cell.model_validate_json(json.dumps(fields))
                arrays = to_numpy(self.experiment.measure(cell))
            bad = [name for name, array in arrays.items() if not _is_finite(array)]
            status = "non-finite" if bad else "ok"
            message = f"not finite: {', '.join(bad)}" if bad else ""
        except CodeChangedError:
            raise
        except BaseException as error:  # `sys.exit` of the user's ends no sweep
            interrupt.check()
            full = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in _text(error)
            status = "out-of-memory" if full else "failed"
            message = _first_line(error)
            trace = traceback.format_exc()
        interrupt.check()  # an exception may have been swallowed
        seconds = time.perf_counter() - start
        self._check_files(fields)
        if len(sys.modules) != self._modules:  # `measure` imported some more
            self._check_code()
            self._modules = len(sys.modules)
        meta = record_meta(id_, fields, status, seconds, message) | self.about
        meta |= {"code": self.setup.code.of(fields)}
        meta |= {"traceback": trace} if trace else {}
        self.store.write(meta, arrays)
        return Outcome(id_, status, seconds, message)

    def _check_code(self) -> None:
        """Compare the files of the experiment and the package with what the run began with."""
        wanted = self.setup.code
        same = provenance.package_stamp() == wanted.stamp
        found = {
            "experiment": experiment_of(self.setup.experiment, self.base),
            "package": wanted.package if same else provenance.package_digest(),
            "files": {},
        }
        self._compare(found, wanted.of({}))

    def _check_files(self, fields: dict[str, Any]) -> None:
        """Compare the user's files that a cell names."""
        wanted = self.setup.code.of(fields)
        if wanted["files"]:
            with user_code.relative_to(self.base):
                try:
                    now = {text: user_code.fingerprint(text) for text in wanted["files"]}
                except (OSError, SyntaxError, ValueError):
                    now = {}
            self._compare(wanted | {"files": now}, wanted)

    def _compare(self, found: dict[str, Any], wanted: dict[str, Any]) -> None:
        differs = difference(found, wanted)
        if differs:
            raise CodeChangedError(
                f"a file was edited while the run used it, a worker found {differs};"
                " what is done is kept: run it again, for all records by one code."
            )


def record_meta(
    id_: str, fields: dict[str, Any], status: str, seconds: float, message: str
) -> dict[str, Any]:
    """Return the part of a record's metadata that is the cell's own."""
    return {
        "id": id_,
        "cell": fields,
        "status": status,
        "message": message,
        "seconds": seconds,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def to_numpy(measured: Any) -> dict[str, np.ndarray]:
    """Return what `measure` returned as NumPy arrays.

    Raises:
        TypeError: If it is no dict of arrays.
    """
    import jax

    if not isinstance(measured, dict) or not measured:
        raise TypeError(f"`measure` must return a dict of arrays, got {measured!r}.")
    for name, value in measured.items():
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(f"`{name}` must be an array with a number in each place, got a mask.")
    arrays = {name: np.asarray(value) for name, value in jax.device_get(measured).items()}
    for name, array in arrays.items():
        if not (isinstance(name, str) and name.isidentifier()):
            raise TypeError(f"`measure` must name its arrays with identifiers, got {name!r}.")
        if array.dtype.kind not in "biufcU":
            raise TypeError(f"`{name}` must be an array of numbers, got dtype {array.dtype}.")
    return arrays


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


def _text(error: BaseException) -> str:
    try:
        return str(error).strip()
    except Exception:  # of the user's own class
        return "<it cannot be printed>"


def _first_line(error: BaseException) -> str:
    lines = _text(error).splitlines()
    told = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return told if len(told) <= LONGEST_LINE else f"{told[:LONGEST_LINE]}…"


_worker: Worker | UserError | CodeChangedError | None = None  # one a process, or why there is none


def start(setup: Setup, gpu: str | None) -> None:
    """Make this process a worker: it leaves Ctrl-C to its parent and ends when that ends."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        _worker = Worker(setup)
    except (UserError, CodeChangedError) as error:
        _worker = error  # raised here it would only break the pool


def engine_here() -> dict[str, Any]:
    """`engine` of this process, or why it cannot be a worker."""
    _ready()
    return engine()


def compute(id_: str, fields: dict[str, Any]) -> Outcome:
    """`Worker.compute` of this process, or why it cannot be a worker."""
    return _ready().compute(id_, fields)


def _ready() -> Worker:
    if isinstance(_worker, Exception):
        raise _worker
    assert _worker is not None
    return _worker


def compute_anywhere(setup: Setup, id_: str, fields: dict[str, Any]) -> Outcome:
    """`Worker.compute` in a process of somebody else's, made a worker by the first cell."""
    return _worker_for(setup).compute(id_, fields)


def engine_anywhere(setup: Setup) -> dict[str, Any]:
    """`engine` of such a process."""
    _worker_for(setup)
    return engine()


def _worker_for(setup: Setup) -> Worker:
    global _worker
    if not isinstance(_worker, Worker) or _worker.setup != setup:
        _worker = Worker(setup)
    return _worker


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
