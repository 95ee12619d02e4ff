"""Gram matrices in full precision, and their square roots at any rank.

The roots are plain loops without LAPACK, whose calls deadlock in large batches on a CPU
(`docs/theory.md` §8).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# Two vectors at an angle below 2⁻²⁰ ≈ 1e-6 count as parallel: float32 cannot tell them apart (the
# angle is 8 epsilons), and the rounding of a float64 Gram matrix, about n ε on the scale of the
# squares, stays below 2⁻⁴⁰ up to thousands of points.
CUTOFF = 2.0**-40


class Root(NamedTuple):
    """A square root of G = AᵀA and the way to the orthonormal basis Q behind it, A = Q R.

    Attributes:
        factor: R, with RᵀR = G; its rows past the rank are zero.
        whiten: W, with A Wᵀ = Q; its rows past the rank are zero, as are those columns of Q.
    """

    factor: Float[Array, "n n"]
    whiten: Float[Array, "n n"]


def gram_root(gram: Float[Array, "n n"]) -> Root:
    """Factor a positive semi-definite matrix by Cholesky elimination with pivoting.

    Row t of R is the next row of G less what rows 0 … t − 1 explain of it. Next is the first vector
    whose unexplained part is at least half of the largest (in squares, each relative to its own
    norm, so that inputs of any norms are alike): as stable as the largest, but rounding does not
    choose among repeated, reversed or fresh vectors. What is left of a vector below 2⁻²⁰ of its
    norm counts as explained.
    """
    return Root(*_eliminate(gram, jnp.eye(gram.shape[0], dtype=gram.dtype)))


def gram_factor(gram: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Return the factor of `gram_root` alone."""
    return _eliminate(gram, jnp.zeros((gram.shape[0], 0), gram.dtype))[0]


def _eliminate(
    gram: Float[Array, "n n"], right: Float[Array, "n e"]
) -> tuple[Float[Array, "n n"], Float[Array, "n e"]]:
    """Eliminate G and apply the same row operations to `right`: (R, W right)."""
    n = gram.shape[0]
    square_norm = lax.slice(gram.reshape(-1), (0,), (n * n,), (n + 1,))  # the diagonal
    norm = jnp.sqrt(square_norm)
    unit = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 0)
    cosines = gram * unit[:, None] * unit[None, :]
    table = jnp.concatenate([cosines, right * unit[:, None]], axis=1)

    def step(t: Array | int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        rows, left = carry
        p = jnp.argmax(left >= 0.5 * jnp.max(left))
        explained = jnp.matmul(rows[:, p], rows, precision=lax.Precision.HIGHEST)
        scale = jnp.where(left[p] > CUTOFF, lax.rsqrt(jnp.maximum(left[p], CUTOFF)), 0)
        row = (table[p] - explained) * scale
        left = jnp.where(jnp.arange(n) == p, 0, left - row[:n] ** 2)
        return lax.dynamic_update_index_in_dim(rows, row, t, 0), left

    start = (jnp.zeros_like(table), square_norm * unit * unit)
    rows, _ = lax.fori_loop(0, n, step, start)
    return rows[:, :n] * norm[None, :], rows[:, n:]


def matmul(a: Float[Array, "i j"], b: Float[Array, "j e"]) -> Float[Array, "i e"]:
    """A B."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def product(a: Float[Array, "i b"], b: Float[Array, "j b"]) -> Float[Array, "i j"]:
    """A Bᵀ."""
    return jnp.matmul(a, b.T, precision=lax.Precision.HIGHEST)


def square(a: Float[Array, "i b"]) -> Float[Array, "i i"]:
    """A Aᵀ in float64, so that points whose rows agree stay parallel to the last digit."""
    a = a.astype(jnp.float64)
    return product(a, a)
