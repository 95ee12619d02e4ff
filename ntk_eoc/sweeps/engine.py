"""What decides a record's bits besides its cell and its code: libraries, platform, precision."""

import hashlib
import importlib.metadata
import os
import platform
import socket
from pathlib import Path
from typing import Any

import numpy as np

import ntk_eoc
from ntk_eoc.sweeps.errors import UserError

PRECISION = "highest"


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
