"""Time the spectral laws and the matrix-free spectrum of the two-layer NTK.

`python benchmarks/spectra.py` takes about a minute; `--large` adds n = 10⁵, d = p = 316, whose
dense matrix would take 80 GB in float64 (minutes, below 2 GiB).
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

import ntk_eoc as ne
from ntk_eoc.spectra import lanczos, two_layer
from ntk_eoc.spectra.free_convolution import gram_law
from ntk_eoc.spectra.quadratic_scaling_law import quadratic_scaling_law


def median_seconds(run: Callable[[], Any], repeats: int = 5) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def time_laws() -> None:
    rows = {
        "500 atoms over four decades": np.geomspace(1e-2, 1e2, 500),
        "500 atoms, uniform quantiles": (np.arange(500) + 0.5) / 500 + 0.5,
    }
    for name, points in rows.items():
        mu = ne.SpectralLaw.from_atoms(points)

        def density(mu: Any = mu) -> Any:
            law = gram_law(mu, 0.5)
            return law.density(np.linspace(*law.bounds, 1000))

        print(f"law and density at 1,000 points, {name}: {median_seconds(density):.3f} s")
    for name in ("abs", "relu"):
        run = lambda name=name: quadratic_scaling_law(ne.activation(name), 0.5, 1.0).error  # noqa: E731
        print(f"quadratic_scaling_law({name}) with all its panels: {median_seconds(run, 3):.2f} s")
    for label, values in (("two values", [0.5, 1.5]), ("97 values", np.linspace(0.5, 1.5, 97))):
        start = time.perf_counter()
        law = quadratic_scaling_law(ne.activation("relu"), 0.5, 1.0, values)
        error, seconds = law.error, time.perf_counter() - start
        print(f"quadratic_scaling_law(relu), D of {label}: {seconds:.2f} s, error {error:.0e}")


def draw(n: int, d: int, p: int) -> two_layer.TwoLayer:
    keys = jax.random.split(jax.random.key(0), 2)
    x = two_layer.entries(keys[0], "gaussian", (n, d), "float32")
    return two_layer.two_layer(keys[1], ne.activation("abs"), x, jnp.ones(p, jnp.float32))


def time_operator(n: int, d: int, p: int) -> None:
    factors = draw(n, d, p)
    product = jax.jit(two_layer.product)
    v = jnp.ones(n, jnp.float32)
    # The plain product of the same shapes: X [n, d] times a d × p matrix, 2ndp flops.
    m = jnp.ones((d, p), jnp.float32)
    plain = jax.jit(lambda x, m: jnp.matmul(x, m, precision=Precision.HIGHEST))
    # One after the other in each round, so that both see the same machine.
    shares = []
    for _ in range(7):
        ours = median_seconds(lambda: product(v, factors), 1)
        theirs = median_seconds(lambda: plain(factors.x, m), 1)
        shares.append((4 * n * d * p / ours, 2 * n * d * p / theirs))
    ours, theirs = (statistics.median(s) for s in zip(*shares, strict=True))
    share = statistics.median(a / b for a, b in shares)
    print(
        f"operator, n = {n}, d = {d}, p = {p}: {ours / 1e9:.1f} GFlop/s,"
        f" a plain product {theirs / 1e9:.1f} GFlop/s, share {share:.0%}"
    )


def time_lanczos(n: int, d: int, p: int, steps: int) -> None:
    """One probe beside its products alone."""
    factors = draw(n, d, p)
    product, v = jax.jit(two_layer.product), jnp.ones(n, jnp.float32)
    rows: dict[str, Callable[[], Any]] = {
        "quadrature": lambda: lanczos.quadrature(
            two_layer.product, n, factors, steps=steps, probes=1, seed=0
        ),
        "products alone": lambda: [product(v, factors) for _ in range(steps)],
    }
    print(
        f"Lanczos, one probe, {steps} steps, n = {n}: "
        + ", ".join(f"{name} {median_seconds(run, 3):.2f} s" for name, run in rows.items())
    )


def time_large(n: int, d: int, p: int, steps: int, probes: int) -> None:
    start = time.perf_counter()
    factors = draw(n, d, p)
    rule = lanczos.quadrature(two_layer.product, n, factors, steps=steps, probes=probes, seed=1)
    seconds = time.perf_counter() - start
    law = quadratic_scaling_law(ne.activation("abs"), n / (d * p), p / d)
    edges = law.quantile(np.linspace(0, 1, 11))
    bars = lanczos.bin_masses(rule, np.r_[0.0, edges[1:-1], 1.5 * edges[-1]])
    off = np.max(np.abs(bars.mean - 0.1))
    print(
        f"Lanczos, n = {n}, d = {d}, p = {p}, {steps} steps, {probes} probes: {seconds:.0f} s,"
        f" peak {peak_gigabytes():.2f} GiB; ten bins of mass 0.1 off by at most {off:.4f}"
        f" (largest standard error {np.max(bars.error):.4f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="add n = 10⁵, d = p = 316")
    arguments = parser.parse_args()
    if arguments.large:  # first, so that its peak of memory is its own
        time_large(100_000, 316, 316, steps=40, probes=2)
    time_operator(20_000, 316, 316)
    time_lanczos(20_000, 128, 128, 40)
    time_laws()


if __name__ == "__main__":
    main()
