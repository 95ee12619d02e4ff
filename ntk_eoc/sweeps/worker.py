"""A worker: set JAX up, compute one cell, write its record. The same in every process."""

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import signal
import socket
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

import numpy as np

import ntk_eoc
from ntk_eoc.sweeps import experiment as experiments
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.store import STATUSES, Store

PRECISION = "highest"
log = logging.getLogger("ntk_eoc.sweeps")


@dataclass(frozen=True)
class Setup:
    """All that a worker needs to know, as plain data for another process.

    Attributes:
        experiment: Resolved reference of the experiment.
        folder: The run's folder.
        device: "cpu", "gpu" or None for what JAX prefers.
        provenance: Goes into every record.
        retry: Statuses that do not count as done.
    """

    experiment: str
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


def set_up_jax(device: str | None) -> None:
    """Turn on float64 and full-precision products; choose the device."""
    import jax

    if device is not None:
        jax.config.update("jax_platforms", {"cpu": "cpu", "gpu": "cuda"}[device])
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", PRECISION)
    try:
        jax.devices()
    except (RuntimeError, AssertionError):  # JAX 0.10 asserts that there is a backend
        raise UserError(f"`--device` must be one that JAX finds here, got {device!r}.") from None


def compilation_cache() -> Path:
    """Return where compiled code is kept: apart for each kind of processor it was compiled for."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    kind = hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]
    return Path(home) / "ntk_eoc" / f"xla-{kind}"


def engine() -> dict[str, Any]:
    """Return what decides a record's bits besides its cell: versions, platform, precision."""
    import jax

    return {
        "ntk_eoc": ntk_eoc.__version__,
        "jax": importlib.metadata.version("jax"),
        "jaxlib": importlib.metadata.version("jaxlib"),
        "platform": jax.default_backend(),
        "matmul_precision": PRECISION,
    }


def machine() -> dict[str, Any]:
    """Return where this process computes; told in the record, but not told apart by it."""
    import jax

    return {
        "host": socket.gethostname(),
        "device": jax.devices()[0].device_kind,
        "devices": jax.local_device_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cpus": os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


class Worker:
    """Computes cells of one experiment into one store."""

    def __init__(self, setup: Setup) -> None:
        set_up_jax(setup.device)
        self.experiment = experiments.load(setup.experiment)
        self.store = Store(Path(setup.folder))
        self.setup = setup
        self.about = {
            "experiment": self.experiment.name,
            "engine": engine(),
            "machine": machine(),
            "provenance": setup.provenance,
        }

    def compute(self, id_: str, fields: dict[str, Any]) -> Outcome:
        """Compute one cell and write its record, unless it is there or claimed elsewhere."""
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
        try:
            cell = self.experiment.cell.model_validate_json(json.dumps(fields))
            arrays = to_numpy(self.experiment.measure(cell))
            bad = [name for name, array in arrays.items() if not _is_finite(array)]
            status = "non-finite" if bad else "ok"
            message = f"not finite: {', '.join(bad)}" if bad else ""
        except Exception as error:
            full = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
            status = "out-of-memory" if full else "failed"
            message = _first_line(error)
            trace = traceback.format_exc()
        seconds = time.perf_counter() - start
        meta = record_meta(id_, fields, status, seconds, message) | self.about
        meta |= {"traceback": trace} if trace else {}
        self.store.write(meta, arrays)
        return Outcome(id_, status, seconds, message)


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
    arrays = {name: np.asarray(value) for name, value in jax.device_get(measured).items()}
    for name, array in arrays.items():
        if not (isinstance(name, str) and name.isidentifier()):
            raise TypeError(f"`measure` must name its arrays with identifiers, got {name!r}.")
        if array.dtype.kind not in "biufcU":
            raise TypeError(f"`{name}` must be an array of numbers, got dtype {array.dtype}.")
    return arrays


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


_worker: Worker | UserError | None = None  # one a process, or why there is none


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
    except UserError as error:
        _worker = error  # raised here it would only break the pool


def engine_here() -> dict[str, Any]:
    """`engine` of this process, or why it cannot be a worker."""
    if isinstance(_worker, UserError):
        raise _worker
    return engine()


def compute(id_: str, fields: dict[str, Any]) -> Outcome:
    """`Worker.compute` of this process."""
    assert isinstance(_worker, Worker)
    return _worker.compute(id_, fields)


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
