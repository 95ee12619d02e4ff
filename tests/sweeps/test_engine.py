"""What changes a record's bits besides its cell and its code is set, or told apart."""

import os
import subprocess
import sys

import pytest
from small_sweep import CONFIG, ENVIRONMENT, arrays_of, command

from ntk_eoc.sweeps import engine
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.records import load
from ntk_eoc.sweeps.runner import Options, run

SET = {
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_RANDOM_SEED_OFFSET": "7",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
    "JAX_ENABLE_X64": "0",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
}
TOLD = {
    "XLA_FLAGS": "--xla_cpu_enable_fast_math=true",
    "OPENBLAS_NUM_THREADS": "1",
    "NPY_DISABLE_CPU_FEATURES": "AVX512F",
    "MKL_CBWR": "COMPATIBLE",
    "GOTO_NUM_THREADS": "1",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2",
    "JAX_HIGH_DYNAMIC_RANGE_GUMBEL": "1",
    "JAX_COMPILER_ENABLE_REMAT_PASS": "0",
}
HARMLESS = {
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": "/tmp",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_LOG_COMPILES": "0",
    "JAX_TRACEBACK_FILTERING": "off",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "OMP_PROC_BIND": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


def test_exact_variables_of_jax_change_no_draw(tmp_path):
    """All of them at once, in a process of its own."""
    point = ("fixed.by=jax", "grid.size=[5]", "dtype=float64")
    run(Options(CONFIG, tmp_path / "plain", overrides=point))
    sets = [word for value in point for word in ("--set", value)]
    words = command("run", CONFIG, "--out", tmp_path / "set", *sets)
    subprocess.run(words, env=ENVIRONMENT | SET, check=True, capture_output=True)
    assert arrays_of(tmp_path / "set") == arrays_of(tmp_path / "plain")


def engine_under(**variables: str) -> dict:
    code = "from ntk_eoc.sweeps.engine import *; set_up_jax('cpu'); print(repr(engine()))"
    out = subprocess.run(
        [sys.executable, "-c", code],
        env=ENVIRONMENT | variables,
        check=True,
        capture_output=True,
        text=True,
    )
    return eval(out.stdout.splitlines()[-1])


def test_exact_what_cannot_be_set_is_told_apart():
    plain = engine_under(XLA_FLAGS="")
    several = engine_under(**TOLD)
    assert several["xla_flags"] == TOLD["XLA_FLAGS"]
    assert several["variables"] == {n: v for n, v in TOLD.items() if n != "XLA_FLAGS"}
    assert not engine.same(plain, several)
    assert {"numpy", "scipy", "jaxlib", "isa", "blas", "device", "cpus"} <= plain.keys()
    assert {"python", "flax", "optax", "matfree"} <= plain.keys()
    assert plain["cpus"] == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        ("--xla_force_host_platform_device_count=4", ""),
        ("--xla_dump_to=/tmp/x --b=1", "--b=1"),
        ("--b=1   --a=2", "--a=2 --b=1"),
    ],
)
def test_exact_flags_without_bits_do_not_count(monkeypatch, flags, kept):
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert engine.engine()["xla_flags"] == kept


def test_exact_variables_without_bits_do_not_count(monkeypatch):
    before = engine.engine()["variables"]
    for name, value in (HARMLESS | SET).items():
        monkeypatch.setenv(name, value)
    assert engine.engine()["variables"] == before


def test_exact_assertions_that_do_not_run_are_told_apart():
    code = "from ntk_eoc.sweeps.engine import engine; print(engine()['variables'])"
    words = [sys.executable, "-O", "-c", code]
    told = subprocess.run(words, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    assert eval(told.stdout)["PYTHONOPTIMIZE"] == "1"


@pytest.mark.parametrize("name", ["xla_flags", "isa", "cpus", "blas", "numpy", "flax", "python"])
def test_exact_a_folder_is_not_continued_elsewhere(tmp_path, monkeypatch, name):
    from ntk_eoc.sweeps import worker

    run(Options(CONFIG, tmp_path, overrides=("seeds=4",)))
    other = worker.engine() | {name: "another"}
    monkeypatch.setattr(worker, "engine", lambda: other)
    with pytest.raises(UserError, match=f"results by {name} another, got "):
        run(Options(CONFIG, tmp_path, overrides=("seeds=8",)))
    assert run(Options(CONFIG, tmp_path, overrides=("seeds=8",), mix=True)).before == 3


def test_exact_an_engine_that_kept_less_is_the_same_as_far_as_it_goes(tmp_path, monkeypatch):
    from ntk_eoc.sweeps import worker

    now = worker.engine()
    old = {name: now[name] for name in ("ntk_eoc", "jax", "jaxlib", "platform", "matmul_precision")}
    assert engine.same(old, now)
    assert not engine.same(old | {"jax": "0.9.9"}, now)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "engine", lambda: old)
        run(Options(CONFIG, tmp_path, overrides=("seeds=4",)))
    assert len(load(tmp_path)[0]) == 3
    assert run(Options(CONFIG, tmp_path, overrides=("seeds=8",))).before == 3
    assert len(load(tmp_path)[0]) == 6
