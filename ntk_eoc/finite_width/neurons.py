"""Neurons of a layer, spread evenly: z ~ N(0, Σ) by randomly shifted lattice rules.

A lattice {i g/N + shift}, i < N, folded by the tent transform and sent through the inverse of the
normal distribution function, integrates better than N independent neurons. Every random shift gives
an unbiased estimate, so that several tell the error (L'Ecuyer & Lemieux, 2000).
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc.eoc import Init
from ntk_eoc.kernels.grams import gram_root

SHIFTS = 32
ERRORS = 5.0
FEW = 2048


@cache
def lattice(count: int, dims: int) -> Float[np.ndarray, "count dims"]:
    """Return a rank-1 lattice of `count` points, a prime, built one dimension at a time.

    Each next entry of the generator minimises the mean square error over periodic functions of
    smoothness 1 with product weights 1/j², by one circular convolution (Nuyens & Cools, 2006).
    """
    powers = _powers(count)
    x = powers / count
    kernel = 2 * np.pi**2 * (x * x - x + 1 / 6)
    transformed = np.fft.rfft(kernel)
    weights, generator = np.ones(count - 1), np.ones(dims, dtype=np.int64)
    for j in range(dims):
        # ω at g^(a − b), b running over the points in the order of falling powers.
        errors = np.fft.irfft(np.fft.rfft(weights) * transformed, count - 1)
        best = 0 if j == 0 else int(np.argmin(errors))
        generator[j] = powers[best]
        weights = weights * (1 + kernel[(best - np.arange(count - 1)) % (count - 1)] / (j + 1) ** 2)
    points = np.arange(count, dtype=np.int64)[:, None] * generator[None, :]
    return (points % count) / count


def _powers(prime: int) -> np.ndarray:
    """All powers of the smallest primitive root, modulo the prime."""
    for root in range(1, prime):
        powers = np.ones(prime - 1, dtype=np.int64)
        for i in range(1, prime - 1):
            powers[i] = powers[i - 1] * root % prime
            if powers[i] == 1:
                break
        if prime == 2 or len(np.unique(powers)) == prime - 1:
            return powers
    raise AssertionError(prime)


def largest_prime(most: int) -> int:
    """Return the largest prime <= `most`."""
    while most > 2 and any(most % d == 0 for d in range(2, int(most**0.5) + 1)):
        most -= 1
    return max(most, 2)


def spread_normals(points: Float[Array, "N dims"], shift: Float[Array, "dims"]) -> Array:
    """Return standard normals [N, dims] from lattice points and a shift uniform in [0, 1)^dims."""
    moved = jnp.mod(points + shift[None, :], 1.0)
    # Folded, and kept off 0 and 1 by half the resolution of the sum.
    folded = jnp.clip(1 - jnp.abs(2 * moved - 1), 2.0**-53, 1 - 2.0**-53)
    return jax.scipy.special.ndtri(folded)


def neuron_values(
    init: Init, covariance: Float[Array | np.ndarray, "n n"], normals: Float[Array, "N n"]
) -> tuple[Float[Array, "N n"], Float[Array, "N n"]]:
    """Return φ̂ and φ̂' of neurons z ~ N(0, Σ)."""
    root = gram_root(jnp.asarray(covariance)).factor
    z = jnp.matmul(normals, root, precision=jax.lax.Precision.HIGHEST)
    return init.sigma_w * init.activation(z), init.sigma_w * init.activation.prime(z)


def stated_error(samples: Float[np.ndarray, "r *a"], neurons: int) -> Float[np.ndarray, "*a"]:
    """Return the error that is stated of a mean over the shifts; 0 of one exact number.

    It is `ERRORS` standard errors, and more where a shift has few neurons: their means are skewed,
    so that 32 of them may hold none of the rare large ones.
    """
    count = len(samples)
    if count == 1:
        return np.zeros(samples.shape[1:])
    factor = ERRORS * max(1.0, FEW / neurons) ** 0.5
    return np.asarray(factor * samples.std(axis=0, ddof=1) / count**0.5)


def neuron_lattice(count: int, dims: int, seed: int, j: int) -> tuple[Array, Array]:
    """Return lattice points [N, dims] and random shifts, N times their number about `count`."""
    points = lattice(largest_prime(count // SHIFTS), dims)
    key = jax.random.fold_in(jax.random.key(seed), j)
    return jnp.asarray(points), jax.random.uniform(key, (SHIFTS, dims), jnp.float64)
