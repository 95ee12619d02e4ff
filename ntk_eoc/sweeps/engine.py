"""What decides a record's bits besides its cell and its code: libraries, platform, precision."""

import contextlib
import ctypes
import hashlib
import importlib.metadata
import os
import platform
import re
import socket
import sys
from pathlib import Path
from typing import Any

import ntk_eoc
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.user_code import provenance

PRECISION = "highest"
SETTINGS: dict[
    str, Any
] = {  # what a variable or a file of the user's could change of JAX's numbers
    "jax_enable_x64": True,
    "jax_default_matmul_precision": PRECISION,
    "jax_threefry_partitionable": True,
    "jax_default_prng_impl": "threefry2x32",
    "jax_random_seed_offset": 0,
    "jax_numpy_dtype_promotion": "standard",
    "jax_disable_jit": False,
    "jax_disable_most_optimizations": False,
    "jax_softmax_custom_jvp": True,
}
LIBRARIES = ("jax", "jaxlib", "numpy", "scipy", "flax", "optax", "matfree")
# What cannot be set any more is told apart: variables of BLAS, its threads and the processor's
# features, and every one of JAX that is not known to leave numbers alone.
VARIABLES = re.compile(
    r"JAX_\w+|(OPENBLAS|GOTO|OMP|MKL|BLIS)_(DEFAULT_)?NUM_THREADS|VECLIB_MAXIMUM_THREADS"
    r"|OMP_(DYNAMIC|THREAD_LIMIT)|MKL_(CBWR|DYNAMIC|ENABLE_INSTRUCTIONS|DEBUG_CPU_TYPE)"
    r"|BLIS_ARCH_TYPE|KMP_DETERMINISTIC_REDUCTION|NPY_(DIS|EN)ABLE_CPU_FEATURES|GLIBC_TUNABLES"
    r"|NVIDIA_TF32_OVERRIDE|CUBLAS_WORKSPACE_CONFIG|TF_(XLA_FLAGS|ENABLE_ONEDNN_OPTS|CUDNN_\w+)"
)
HARMLESS = re.compile(
    r"JAX_(\w*(CACHE|LOG|TRACEBACK|DEBUG|CHECK|TIMEOUT|GUARD|VISIBLE_DEVICES)\w*|PLATFORM\w*"
    r"|DUMP_\w+|PPRINT_\w+|NUM_CPU_DEVICES|NUMPY_RANK_PROMOTION)"
)
WITHOUT_BITS = ("--xla_force_host_platform_device_count", "--xla_dump", "--xla_gpu_cuda_data_dir")
ISA = re.compile(r"avx\w*|fma|amx\w*|sse4_\d|sve\w*|asimd\w*|neon")


def set_up_jax(device: str | None) -> None:
    """Turn on float64, full-precision products and the rest of `SETTINGS`; choose the device."""
    import jax

    if device is not None:
        jax.config.update("jax_platforms", {"cpu": "cpu", "gpu": "cuda"}[device])
    set_numbers()
    try:
        jax.devices()
    except (RuntimeError, AssertionError):  # JAX 0.10 asserts that there is a backend
        asked = os.environ.get("JAX_PLATFORMS") if device is None else None
        got = f"JAX_PLATFORMS={asked}" if asked else repr(device)
        raise UserError(f"`--device` must be one that JAX finds here, got {got}.") from None


def set_numbers() -> None:
    """Give JAX every one of `SETTINGS` that its version has."""
    import jax

    held = jax.config.values
    for name, value in SETTINGS.items():
        if name in held and held[name] != value:  # of this version
            jax.config.update(name, value)


def compilation_cache() -> Path:
    """Return where compiled code is kept: apart for each kind of processor it was compiled for."""
    kind = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    return provenance.cache() / f"xla-{kind}"


def engine() -> dict[str, Any]:
    """Return what decides a record's bits besides its cell and its code.

    Versions of the libraries, the kind of device, the instructions and the number of the
    processors, the kernels of BLAS, and flags and variables that change numbers.
    """
    import jax

    flags = os.environ.get("XLA_FLAGS", "").split()
    return {
        "ntk_eoc": ntk_eoc.__version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
        "platform": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "matmul_precision": PRECISION,
        "isa": _isa(),
        "cpus": _cpus(),
        "blas": _blas(),
        "xla_flags": " ".join(sorted(f for f in flags if not f.startswith(WITHOUT_BITS))),
        "variables": _variables(),
    }


def same(held: dict[str, Any], other: dict[str, Any]) -> bool:
    """Say whether two engines give the same bits, as far as both are known.

    One of a version that kept less is the same if all that it kept is.
    """
    return all(held[name] == other[name] for name in held.keys() & other.keys())


def _variables() -> dict[str, str]:
    set_here = {name.upper() for name in SETTINGS}
    found = {
        name: value
        for name, value in sorted(os.environ.items())
        if VARIABLES.fullmatch(name) and not HARMLESS.fullmatch(name) and name not in set_here
    }
    return found | ({"PYTHONOPTIMIZE": str(sys.flags.optimize)} if sys.flags.optimize else {})


def _isa() -> str:
    words = set(ISA.findall(_processor()))
    return " ".join([platform.machine(), *sorted(words)])


def _cpus() -> int:
    """How many processors may be used: sums are split over as many threads."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    told = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return "\n".join(sorted(told))


def _blas() -> str:
    """The kernels that the loaded OpenBLAS libraries chose; "" if there is none, or no telling."""
    try:
        maps = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return ""
    found = set()
    for path in sorted({line.split()[-1] for line in maps if "openblas" in line.lower()}):
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(path)
            for name in ("scipy_openblas_get_corename64_", "scipy_openblas_get_corename",
                         "openblas_get_corename64_", "openblas_get_corename"):  # fmt: skip
                if hasattr(library, name):
                    core = getattr(library, name)
                    core.restype = ctypes.c_char_p
                    found.add(core().decode())
                    break
    return " ".join(sorted(found))


def machine() -> dict[str, Any]:
    """Return where this process computes; told in the record, but not told apart by it."""
    import jax

    return {
        "host": socket.gethostname(),
        "device": jax.devices()[0].device_kind,
        "devices": jax.local_device_count(),
        "python": platform.python_version(),
        "numpy": importlib.metadata.version("numpy"),
        "cpus": os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }
