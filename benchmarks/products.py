"""K∞ by its products: one product beside its bare tiles, ridge regression, density by Lanczos.

    python benchmarks/products.py [product] [ridge] [density] [workers]

"product": K∞ V at n = 60,000, d = 784, depth 10, ReLU, float32, 10 vectors, beside what its tiles
cannot avoid: one n × d × n product, one elementwise arccos, one product with V, on one triangle;
and the peak memory. "ridge": 20,000 points to 1e-6, and 5,000 beside the dense solution.
"density": shares of eigenvalues at n = 5,000 beside the dense ones. "workers": peak memory of two
Dask workers that store K∞, beside one tile of it and their limit. All four unless named.
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import ntk_eoc as ne
from ntk_eoc.kernels.kernel_operator import TILE, product
from ntk_eoc.spectra import lanczos
from ntk_eoc.training.ridge import ridge_regression

HIGHEST = lax.Precision.HIGHEST


def clocked(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """A value, the seconds on the clock and those of all cores."""
    clock, cores = time.perf_counter(), time.process_time()
    value = jax.block_until_ready(run())
    return value, time.perf_counter() - clock, time.process_time() - cores


@jax.jit
def bare_tiles(x: jax.Array, v: jax.Array) -> jax.Array:
    """Per tile of a triangle a product with d, an arccos and two products with V."""
    count = x.shape[0] // TILE

    def row(i: jax.Array, out: jax.Array) -> jax.Array:
        left = lax.dynamic_slice_in_dim(x, i * TILE, TILE)
        own = lax.dynamic_slice_in_dim(v, i * TILE, TILE)

        def tile(j: jax.Array, out: jax.Array) -> jax.Array:
            right = lax.dynamic_slice_in_dim(x, j * TILE, TILE)
            values = jnp.arccos(jnp.matmul(left, right.T, precision=HIGHEST))
            down = jnp.matmul(values.T, own, precision=HIGHEST)
            across = jnp.matmul(
                values, lax.dynamic_slice_in_dim(v, j * TILE, TILE), precision=HIGHEST
            )
            return out.at[j].add(down).at[i].add(across)

        return lax.fori_loop(0, i + 1, tile, out)

    return lax.fori_loop(0, count, row, jnp.zeros((count, TILE, v.shape[1]), x.dtype))


def one_product(n: int = 60_000, d: int = 784, depth: int = 10) -> None:
    rows = np.random.default_rng(0).standard_normal((n, d), np.float32)
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    x, v = jnp.asarray(rows), jnp.ones((n, 10), "float32")
    operator = ne.kernel_operator("relu", x, depth)
    small = ne.kernel_operator("relu", x[: 2 * TILE], depth)
    jax.block_until_ready((product(v[: 2 * TILE], small), bare_tiles(x[: 2 * TILE], v[: 2 * TILE])))
    _, clock, cores = clocked(lambda: product(v, operator))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    _, bare_clock, bare_cores = clocked(lambda: bare_tiles(x, v))
    print(f"K V, n = {n}, d = {d}, depth {depth}, float32, 10 vectors:")
    print(f"  {clock:.0f} s, {cores:.0f} s of all cores")
    print(f"  bare tiles {bare_clock:.0f} s, {bare_cores:.0f} s of all cores")
    print(f"  ratio {clock / bare_clock:.2f}, of all cores {cores / bare_cores:.2f}")
    print(f"  peak memory before the bare tiles {peak:.2f} GiB (both compile within)")


def targets(n: int, d: int, dtype: Any) -> tuple[jax.Array, np.ndarray]:
    """Points of a sphere, and a function of them with noise."""
    x = jax.random.normal(jax.random.key(1), (n, d), dtype)
    y = np.sin(2 * np.asarray(x)[:, 0]) + 0.1 * np.random.default_rng(2).standard_normal(n)
    return jnp.asarray(ne.normalise(x, ne.edge_of_chaos("relu"))), y


def ridge() -> None:
    x, y = targets(5000, 16, "float64")
    operator = ne.kernel_operator("relu", x, 5)
    found, clock, cores = clocked(lambda: ridge_regression(operator, y, 1.0, tolerance=1e-10))
    dense, dense_clock, dense_cores = clocked(
        lambda: np.linalg.solve(np.asarray(ne.ntk_infinite("relu", x, x, 5)) + np.eye(5000), y)
    )
    gap = np.linalg.norm(found.coefficients - dense) / np.linalg.norm(dense)
    print(
        f"ridge 1, n = 5,000, float64: {found.iterations} products, {clock:.0f} s, {cores:.0f} s of"
        f" all cores (dense {dense_clock:.0f} s, {dense_cores:.0f} s);"
        f"\n  ‖α − α dense‖/‖α dense‖ = {gap:.1e}, residual {found.residual.max():.1e}"
    )
    x, y = targets(20_000, 16, "float32")
    operator = ne.kernel_operator("relu", x, 5)
    found, clock, cores = clocked(lambda: ridge_regression(operator, y, 1.0, rank=400))
    print(
        f"ridge 1, n = 20,000, float32: {found.iterations} products, {clock:.0f} s,"
        f" {cores:.0f} s of all cores; residual {found.residual.max():.1e}"
    )


def density(n: int = 5000, steps: int = 60, probes: int = 10) -> None:
    x, _ = targets(n, 16, "float64")
    operator = ne.kernel_operator("relu", x, 5)
    found, clock, cores = clocked(
        lambda: lanczos.quadrature(
            product, n, operator, steps=steps, probes=probes, seed=0, batch=probes
        )
    )
    values, dense_clock, dense_cores = clocked(
        lambda: np.linalg.eigvalsh(np.asarray(ne.ntk_infinite("relu", x, x, 5)))
    )
    levels = np.linspace(0.05, 0.95, 19)
    bars = lanczos.cdf(found, np.quantile(values, levels))
    top = lanczos.extremes(product, n, operator, steps=steps, seed=1, dtype=np.float64)
    print(
        f"density, n = {n}, {steps} steps, {probes} probes: {clock:.0f} s, {cores:.0f} s of all"
        f" cores (dense {dense_clock:.0f} s, {dense_cores:.0f} s)"
        f"\n  largest |share − dense| at 19 quantiles {np.abs(bars.mean - levels).max():.4f},"
        f" largest error bar {bars.error.max():.4f}"
        f"\n  λ_max/dense − 1 = {top.largest / values[-1] - 1:.1e} (bound {top.largest_error:.1e});"
        f" λ_min {values[0]:.4f}, least Ritz value {top.least:.4f} (bound {top.least_error:.1e})"
    )


def peak_memory() -> float:
    """The peak of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def workers() -> None:
    """At 95 % of its limit Dask stops a worker, at 80 % it pauses it."""
    from distributed import Client, LocalCluster

    print("φ, dtype, rows of a tile: its MiB | limit, MiB | peaks, MiB | grown by, tiles")
    for name, dtype, chunks in (
        ("relu", "float64", 2048),
        ("relu", "float32", 4096),
        ("erf", "float64", 4096),
        ("tanh", "float64", 2048),
    ):
        tile = chunks**2 * np.dtype(dtype).itemsize / 2**20
        limit = 1024 + 20 * tile
        x = np.random.default_rng(0).standard_normal((3 * chunks, 16)).astype(dtype)
        with (
            tempfile.TemporaryDirectory() as folder,
            LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                memory_limit=f"{limit:.0f}MiB",
                dashboard_address=None,
            ) as cluster,
            Client(cluster) as client,
        ):
            init = ne.Init(ne.activation(name), 1.5, 0.1)
            small = ne.dask_kernel(init, x[:64], 5, chunks=16)
            client.compute(small).result()
            start, pids = client.run(peak_memory), client.run(os.getpid)
            ne.store_kernel(ne.dask_kernel(init, x, 5, chunks=chunks), f"{folder}/kernel.zarr")
            peaks = client.run(peak_memory)
            kept = pids == client.run(os.getpid)
        both = ", ".join(f"{peaks[w]:.0f}" for w in peaks)
        grown = ", ".join(f"{(peaks[w] - start.get(w, 0)) / tile:.1f}" for w in peaks)
        word = "" if kept else "; a worker was stopped"
        row = f"{name}, {dtype}, {chunks}: {tile:.0f} | {limit:.0f} | {both} | {grown}{word}"
        print(row, flush=True)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    parts = {"product": one_product, "ridge": ridge, "density": density, "workers": workers}
    for name in [word for word in sys.argv[1:] if word in parts] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
