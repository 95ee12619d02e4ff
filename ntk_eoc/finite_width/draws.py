"""Gaussian matrices with the covariance of K(θ) − K∞, from neurons, and what they say of norms.

Given neurons with influences c_i, the matrix Σ_i ε_i (c_i − E c)/√N with Gaussian ε_i is Gaussian
with their covariance: no n² × n² matrix is formed.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc.checks import require_count
from ntk_eoc.eoc import Init
from ntk_eoc.finite_width.fluctuations import Fluctuations, hidden_widths
from ntk_eoc.finite_width.influences import Layer, smooth_influence
from ntk_eoc.finite_width.neurons import neuron_lattice, neuron_values, spread_normals
from ntk_eoc.kernels.grams import gram_root

BATCH = 2**27  # bytes of matrices that are drawn at once


def draw(
    f: Fluctuations, key: Array, widths: Sequence[int], count: int
) -> Float[np.ndarray, "count n n k k"]:
    """Draw Gaussian matrices with the covariance of K(θ) − K∞, not divided by n.

    Args:
        f: The law.
        key: A JAX random key.
        widths: (m_1, …, m_l), outputs last.
        count: How many.
    """
    count, inverse = require_count("count", count), 1 / hidden_widths(f, widths)
    n, k = len(f.limit), f.outputs
    total = np.zeros((count, n, n, k, k))
    for j, weight in enumerate(inverse):
        total += weight**0.5 * layer_draw(f, key, j, count)
    return total


def layer_draw(
    f: Fluctuations, key: Array, j: int, count: int
) -> Float[np.ndarray, "count n n k k"]:
    """Draw √m_j times what hidden layer of index j adds; a function of the key and j.

    Every draw uses the neurons of one shift of the lattice, shifts being dealt out evenly and at
    random: its covariance is right on average, and each shift's is nearly right.
    """
    n, k = len(f.limit), f.outputs
    points, shifts = neuron_lattice(f.neurons, n * (1 + k), f.seed + 1, j)
    order_key, weights_key = jax.random.split(jax.random.fold_in(key, j))
    rounds = -(-count // len(shifts))
    part = Layer(*(jnp.asarray(a) for a in f.parts[j]))
    drawn = _weighted(f.init, k, rounds, part, points, shifts, weights_key)
    order = jax.random.permutation(order_key, rounds * len(shifts))[:count]
    return np.asarray(drawn)[np.asarray(order)]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _weighted(
    init: Init,
    k: int,
    rounds: int,
    part: Layer,
    points: Float[Array, "N dims"],
    shifts: Float[Array, "r dims"],
    key: Array,
) -> Float[Array, "draws n n k k"]:
    n = len(part.signal)
    root = gram_root(jnp.asarray(part.signal)).factor
    same = jnp.eye(k, dtype=jnp.float64)[None, None, None]

    def one(inputs: tuple[Array, Array]) -> Array:
        shift, key = inputs
        normals = spread_normals(points, shift)
        u, v = neuron_values(init, part.covariance, normals[:, :n])
        signals = jnp.matmul(
            normals[:, n:].reshape(-1, k, n), root, precision=jax.lax.Precision.HIGHEST
        )
        pushed = v[:, None, :] * signals
        influence = (smooth_influence(part, u) - part.center[None])[..., None, None] * same
        products = (
            pushed.transpose(0, 2, 1)[:, :, None, :, None]
            * pushed.transpose(0, 2, 1)[:, None, :, None, :]
        )
        influence = influence + part.kernel[None, :, :, None, None] * products
        weights = jax.random.normal(key, (rounds, len(points)), jnp.float64) / len(points) ** 0.5
        flat = influence.reshape(len(points), -1)
        return jnp.matmul(weights, flat, precision=jax.lax.Precision.HIGHEST)

    drawn = jax.lax.map(one, (shifts, jax.random.split(key, len(shifts))))
    return drawn.reshape(-1, n, n, k, k)


class Norms(NamedTuple):
    """What draws of the papers' matrix K/n have, one number a draw.

    Attributes:
        operator: ‖K − K∞‖.
        frobenius: ‖K − K∞‖_F.
        largest: Largest absolute entry of K − K∞, not divided by n.
        smallest: λ_min of K.
    """

    operator: Float[np.ndarray, "count"]
    frobenius: Float[np.ndarray, "count"]
    largest: Float[np.ndarray, "count"]
    smallest: Float[np.ndarray, "count"]


def norms(f: Fluctuations, key: Array, widths: Sequence[int], count: int) -> Norms:
    """Draw matrices and return their norms; `estimates.mean` and `.quantile` summarise them.

    Args:
        f: The law.
        key: A JAX random key.
        widths: (m_1, …, m_l), outputs last.
        count: How many draws.
    """
    count = require_count("count", count)
    size = 8 * (len(f.limit) * f.outputs) ** 2
    batch = max(1, BATCH // size)
    starts = range(0, count, batch)
    keys = jax.random.split(key, len(starts))
    found = [
        matrix_norms(draw(f, one, widths, min(batch, count - start)), f.limit)
        for one, start in zip(keys, starts, strict=True)
    ]
    return Norms(*(np.concatenate(column) for column in zip(*found, strict=True)))


def as_matrices(kernels: Float[np.ndarray, "c n n k k"]) -> Float[np.ndarray, "c nk nk"]:
    """Return the papers' matrices of many kernels, divided by n."""
    count, n, _, k, _ = kernels.shape
    return kernels.transpose(0, 1, 3, 2, 4).reshape(count, n * k, n * k) / n


def matrix_norms(
    gaps: Float[np.ndarray, "count n n k k"], limit: Float[np.ndarray, "n n"]
) -> Norms:
    """Return the norms of kernels' distances from K∞, drawn or measured."""
    n, k = gaps.shape[1], gaps.shape[3]
    matrices = as_matrices(gaps)
    eigenvalues = np.linalg.eigvalsh(matrices)
    whole = matrices + np.kron(limit, np.eye(k))[None] / n
    return Norms(
        operator=np.abs(eigenvalues[:, [0, -1]]).max(axis=1),
        frobenius=np.sqrt((eigenvalues**2).sum(axis=1)),
        largest=np.abs(gaps).max(axis=(1, 2, 3, 4)),
        smallest=np.linalg.eigvalsh(whole)[:, 0],
    )
