"""The limit kernel against depth: compile, table and run times, beside an arccos and a product.

    python benchmarks/infinite.py [n] [d] [memory] [plain]

Run time should not depend on depth, and stay within a few times one elementwise arccos over the
same n² entries plus one n × d × n product. "memory" takes n = 20,000 in tiles instead, with its
peak; "plain" activations without closed forms at norms over a decade, beside an erf a layer.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import ntk_eoc as ne
from ntk_eoc.kernels import kappa_table

DEPTHS = (10, 100, 1000, 10_000)
REPEATS = 7


def seconds(run: Callable[[], Any], repeats: int = REPEATS) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def table_seconds(delta_phi: float, depth: int) -> float:
    kappa_table._fit.cache_clear()
    kappa_table.kappa_table.cache_clear()
    return seconds(lambda: kappa_table.kappa_table(delta_phi, depth), 1)


def one_size(n: int, d: int, dtype: str) -> None:
    init = ne.edge_of_chaos(ne.activation("abs"))
    x = jax.random.normal(jax.random.key(0), (n, d), dtype)
    product = jax.jit(lambda x: jnp.matmul(x, x.T, precision="highest"))
    arccos = jax.jit(jnp.arccos)
    entries = jax.random.uniform(jax.random.key(1), (n, n), dtype, -1, 1)
    jax.block_until_ready((product(x), arccos(entries)))
    unit = seconds(lambda: product(x)) + seconds(lambda: arccos(entries))
    print(f"{dtype}, n = {n}, d = {d}: arccos + product {unit:.3f} s")
    print(f"{'depth':>7} {'table s':>8} {'compile s':>10} {'run s':>8} {'÷ unit':>7} {'÷ l=10':>7}")
    runs: list[float] = []
    for depth in DEPTHS:
        table = table_seconds(1.0, depth)
        run = partial(ne.ntk_infinite, init, x, x, depth)
        first = seconds(run, 1)
        runs.append(seconds(run))
        compile_time = max(first - runs[-1], 0.0)
        print(
            f"{depth:>7} {table:>8.2f} {compile_time:>10.2f} {runs[-1]:>8.3f}"
            f" {runs[-1] / unit:>7.2f} {runs[-1] / runs[0]:>7.2f}"
        )


def large(n: int = 20_000) -> None:
    init = ne.edge_of_chaos(ne.activation("abs"))
    x = jax.random.normal(jax.random.key(0), (n, 10), "float32")
    time_ = seconds(lambda: ne.ntk_infinite(init, x, x, 1000), 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"float32, n = {n}, depth 1000: {time_:.1f} s, peak memory {peak:.2f} GiB")


def cores(run: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Least seconds of all cores, which a busy neighbour disturbs less."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        jax.block_until_ready(run())
        times.append(time.process_time() - start)
    return min(times)


def plain(n: int = 1000, depth: int = 10) -> None:
    functions = {
        "tanh": jnp.tanh,
        "gelu": lambda s: 0.5 * s * (1 + jax.scipy.special.erf(s / 2**0.5)),
    }
    rows = jax.random.normal(jax.random.key(0), (n, 16), "float64")
    x = rows * jnp.logspace(-0.5, 0.5, n)[:, None]
    erf, entries = jax.jit(jax.scipy.special.erf), x @ x.T
    jax.block_until_ready(erf(entries))
    unit = depth * cores(lambda: erf(entries))
    print(f"float64, n = {n}, norms over a decade, depth {depth}: erf of n² a layer {unit:.3f} s")
    for name, function in functions.items():
        init = ne.Init(ne.Activation(f"plain {name}", function), 1.5, 0.1)
        first = cores(lambda init=init: ne.ntk_infinite(init, x, x, depth), 1)  # type: ignore[misc]
        again = cores(lambda init=init: ne.ntk_infinite(init, x, x, depth), 3)  # type: ignore[misc]
        print(f"  {name}: first {first:.1f} s, then {again:.2f} s, {again / unit:.1f} × the erf")


def main() -> None:
    words = sys.argv[1:]
    sizes = [int(word) for word in words if word.isdecimal()]
    n = sizes[0] if sizes else 2048
    jax.config.update("jax_enable_x64", True)
    if "memory" in words:
        large()
        return
    if "plain" in words:
        plain()
        return
    for d in sizes[1:] or (10, 784):
        for dtype in ("float32", "float64"):
            one_size(n, d, dtype)


if __name__ == "__main__":
    main()
