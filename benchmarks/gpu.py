"""The kernels and laws on whatever device JAX finds, beside that device's own rates.

Prints one table, medians over repeats. The shares are of the rates of plain float32 products at
full precision and of plain Gaussian draws, measured in the same run: 1 means that a job takes no
longer than the products (or draws) that it cannot do without. The sampler's products are float64.
`PYTHONPATH=. python benchmarks/gpu.py [--small] [--write]`; `--write` keeps the table of a CUDA
device under `benchmarks/results/`, named after it.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.lax import Precision

import ntk_eoc as ne
from ntk_eoc.spectra import two_layer
from ntk_eoc.spectra.quadratic_scaling_law import quadratic_scaling_law

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Sizes:
    """How large the jobs are: for a GPU, or `small` for a processor with few cores."""

    products: int = 8192
    draws: int = 2**28
    width: int = 8192
    points: tuple[int, ...] = (32, 128, 512)
    limit_points: int = 4096
    rows: int = 65536
    repeats: int = 7


SMALL = Sizes(
    products=1024,
    draws=2**22,
    width=1024,
    points=(32, 128),
    limit_points=256,
    rows=2048,
    repeats=3,
)


@dataclass(frozen=True)
class Job:
    """Something to time, with the products (flops) and Gaussians that it cannot do without."""

    name: str
    call: Callable[[], Any]
    flops: float = 0.0
    draws: float = 0.0


def seconds(job: Job, repeats: int) -> float:
    """Median time of a call, compiled before."""
    jax.block_until_ready(job.call())
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(job.call())
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def rates(sizes: Sizes) -> list[Job]:
    """The device's own: one product, and one array of Gaussians."""
    m = sizes.products
    a = jax.random.normal(jax.random.key(0), (m, m), jnp.float32)
    product = jax.jit(partial(jnp.matmul, precision=Precision.HIGHEST))
    normal = jax.jit(lambda key: jax.random.normal(key, (sizes.draws,), jnp.float32))
    return [
        Job(f"product {m}³", partial(product, a, a), flops=2.0 * m**3),
        Job(f"{sizes.draws:.1e} Gaussians", partial(normal, jax.random.key(1)), draws=sizes.draws),
    ]


def kernel_jobs(sizes: Sizes) -> list[Job]:
    """K(θ) of given weights, K(θ) drawn without weights, and the limit."""
    init = ne.edge_of_chaos(ne.activation("relu"))
    m = sizes.width
    widths = (m, m, m, 1)
    _, params = ne.functional(ne.MLP(init, m, widths, rngs=nnx.Rngs(0), dtype=jnp.float32))
    weights = sum(a * b for a, b in pairwise((m, *widths)))
    jobs = []
    for n in sizes.points:
        x = jax.random.normal(jax.random.key(n), (n, m), jnp.float32)
        # A product with each weight forward, one backward, and two Gram products a layer.
        layerwise = 2.0 * n * (2 * weights - m * m) + 2.0 * n * n * 7 * m
        jobs.append(
            Job(
                f"ntk_layerwise, {m}³, n = {n}",
                partial(ne.ntk_layerwise, init, params, x, x),
                flops=layerwise,
            )
        )
        # Forward z = Rᵀξ and its Gram matrix, backward Q(ξδ), ηC and the Gram matrix of δ.
        jobs.append(
            Job(
                f"ntk_sampled, {m}³, n = {n}",
                partial(ne.ntk_sampled, jax.random.key(0), init, x, widths),
                flops=3 * 10.0 * m * n * n,
                draws=2.0 * 3 * m * n,
            )
        )
    for depth in (10, 100):
        n, d = sizes.limit_points, 784
        x = jax.random.normal(jax.random.key(2), (n, d), jnp.float32)
        call = partial(ne.ntk_infinite, init, x, x, depth)
        jobs.append(Job(f"ntk_infinite, n = {n}, depth {depth}", call, flops=2.0 * n * n * d))
    return jobs


def spectral_jobs(sizes: Sizes) -> list[Job]:
    """Products with the two-layer matrix, none of it stored, and its limit law."""
    n = sizes.rows
    d = p = int(np.sqrt(2 * n))
    act = ne.activation("relu")
    x = jax.random.normal(jax.random.key(3), (n, d), jnp.float32)
    factors = two_layer.two_layer(jax.random.key(4), act, x, jnp.ones(p, jnp.float32))
    product = jax.jit(two_layer.product)
    v = jnp.ones(n, jnp.float32)

    def law() -> np.ndarray:
        found = quadratic_scaling_law(act, gamma1=0.5, gamma2=1.0)
        return found.density(np.linspace(*found.support[0], 200))

    return [
        Job(f"two-layer matrix · v, n = {n}", lambda: product(v, factors), flops=4.0 * n * d * p),
        Job("quadratic_scaling_law, 200 densities", law),
    ]


def table(sizes: Sizes) -> str:
    """Time every job and return the table."""
    own = rates(sizes)
    first = [seconds(job, sizes.repeats) for job in own]
    flop_rate, draw_rate = own[0].flops / first[0], own[1].draws / first[1]
    device = jax.devices()[0]
    lines = [
        f"{device.device_kind} ({device.platform}), jax {jax.__version__}, float32, full precision",
        f"{'job':40s} {'seconds':>10s}  {'GFLOP/s':>8s} {'share':>5s}"
        f" {'Gdraws/s':>8s} {'share':>5s}",
    ]
    for job in [*own, *kernel_jobs(sizes), *spectral_jobs(sizes)]:
        taken = seconds(job, sizes.repeats)
        products = job.flops / taken
        draws = job.draws / taken
        cells = [f"{products / 1e9:8.1f} {products / flop_rate:5.2f}" if job.flops else " " * 14]
        cells += [f"{draws / 1e9:8.3f} {draws / draw_rate:5.2f}" if job.draws else ""]
        lines.append(f"{job.name:40s} {taken:10.5f}  {' '.join(cells)}".rstrip())
    return "\n".join(lines)


def main() -> None:
    """Print the table; keep it where a CUDA device made it and `--write` is given."""
    jax.config.update("jax_enable_x64", True)  # the sampler's Gram matrices are float64
    jax.config.update("jax_default_matmul_precision", "highest")
    on_gpu = jax.default_backend() == "gpu"
    text = table(SMALL if "--small" in sys.argv or not on_gpu else Sizes())
    print(text)
    if "--write" in sys.argv and on_gpu:
        RESULTS.mkdir(exist_ok=True)
        name = jax.devices()[0].device_kind.lower().replace(" ", "_")
        (RESULTS / f"{name}.txt").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
