"""Chebyshev interpolation on [−1, 1]: nodes, coefficients, sums."""

from collections.abc import Sequence
from functools import cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


@cache
def nodes(n: int) -> np.ndarray:
    """Return the n Chebyshev–Gauss nodes, ascending."""
    return -np.cos(np.pi * (np.arange(n) + 0.5) / n)


@cache
def to_coefficients(n: int) -> np.ndarray:
    """Return the matrix [n, n] that makes coefficients of the values at `nodes`."""
    # Exact multiples of π/2n: at large n the cosine of a large argument loses digits.
    turns = np.outer(np.arange(n), 2 * np.arange(n)[::-1] + 1) % (4 * n)
    matrix = (2 / n) * np.cos(turns * (np.pi / (2 * n)))
    matrix[0] /= 2
    return matrix


def clenshaw(coefficients: Sequence[Array], x: Array) -> Array:
    """Return Σ_j c_j T_j(x), elementwise; each c_j broadcasts with x."""
    one, two = jnp.zeros_like(x), jnp.zeros_like(x)
    for c in reversed(coefficients[1:]):
        one, two = c + 2 * x * one - two, one
    return coefficients[0] + x * one - two
