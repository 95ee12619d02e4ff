"""What depth does to the limit kernel at the edge of chaos, for scale-invariant activations.

The cosine distance of two inputs after k layers is u_k = sin(θ_k/2) = √((1 − ρ_k)/2). The claims
and their proofs stand in `docs/spectrum.md`.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from ntk_eoc.checks import require, require_count
from ntk_eoc.eoc import Init, scale_invariant
from ntk_eoc.kernels.angles import Angles, safe_sqrt
from ntk_eoc.kernels.angular_recursion import angular_recursion
from ntk_eoc.kernels.infinite import ntk_infinite
from ntk_eoc.kernels.kappa_table import (
    SMALLEST_DELTA,
    SMALLEST_DEPTH,
    KappaTable,
    kappa_table,
    table_distance,
)
from ntk_eoc.kernels.matrix import paired
from ntk_eoc.kernels.pair_tiles import PairFunction, map_pairs


class Spectrum(NamedTuple):
    """Eigenvalues of the NTK matrix, with what makes it singular.

    Attributes:
        eigenvalues: Those of [K∞(x_i, x_j)/n], ascending. Every point that repeats an earlier one
            makes one of them exactly 0.
        coincident: Pairs i < j of points that no layer after the first can tell apart.
    """

    eigenvalues: Float[np.ndarray, "n"]
    coincident: Int[np.ndarray, "pairs 2"]


def _constant(init: Init) -> float:
    """Δ_φ of a scale-invariant initialisation without biases."""
    act = scale_invariant(init)
    if act is None:
        raise ValueError(f"`init` must be scale-invariant with `sigma_b` 0, got {init!r}.")
    return act.delta


def _distance_by_table(table: KappaTable, angles: Angles) -> Array:
    least, acute = jnp.minimum(angles.delta, angles.eta), angles.delta <= angles.eta
    return table_distance(table, least, acute)


@lru_cache(maxsize=64)
def _distance_by_recursion(delta_phi: float, depth: int) -> PairFunction:
    def distance(_: Array, angles: Angles) -> Array:
        return safe_sqrt(angular_recursion(delta_phi, angles.delta, angles.eta, depth).delta / 2)

    return distance


def cosine_distance(
    init: Init, x1: Num[Array, "n1 d"], x2: Num[Array, "n2 d"], layer: int
) -> Float[Array, "n1 n2"]:
    """Return u_k = √((1 − ρ_k)/2) of the activations after `layer` hidden layers (0: the inputs).

    Raises:
        ValueError: If layer < 0 or φ is not scale-invariant.
    """
    delta_phi, depth = _constant(init), require_count("layer", layer, least=0) + 1
    x1, x2 = paired(x1, x2)
    if depth < SMALLEST_DEPTH or delta_phi < SMALLEST_DELTA:
        # The inputs do not know φ.
        f = _distance_by_recursion(delta_phi if depth > 1 else 0.0, depth)
        return map_pairs(f, x1 is x2, jnp.zeros((), x1.dtype), x1, x2)
    table = kappa_table(delta_phi, depth, str(x1.dtype))
    table = KappaTable(*(jnp.asarray(a) for a in table))
    return map_pairs(_distance_by_table, x1 is x2, table, x1, x2)


def inverse_distance_kernel(
    init: Init, x1: Num[Array, "n1 d"], x2: Num[Array, "n2 d"], depth: int
) -> Float[Array, "n1 n2"]:
    """Return (‖x‖‖x'‖/d) (3π/16Δ_φ)/u_{l−1}, which K∞ − ‖x‖‖x'‖/8d approaches in depth.

    Where u_{l−1} = 0 it is K∞ itself, l‖x‖‖x'‖/d.

    Raises:
        ValueError: If depth < 1, or φ is not scale-invariant with Δ_φ > 0.

    Source: Claim (1) of [S]; `docs/spectrum.md`.
    """
    delta_phi = _constant(init)
    require(delta_phi > 0, "init", "of an activation with Δ_φ > 0", init)
    u = cosine_distance(init, x1, x2, require_count("depth", depth) - 1)
    norms = [jnp.sqrt(jnp.mean(jnp.square(x.astype(u.dtype)), axis=1)) for x in paired(x1, x2)]
    size = norms[0][:, None] * norms[1][None, :]
    apart = u > 0
    inverse = 3 * math.pi / (16 * delta_phi) / jnp.where(apart, u, jnp.ones_like(u))
    return size * jnp.where(apart, inverse, jnp.full_like(u, depth))


def depth_scale(delta_phi: float, u: float, depth: float) -> float:
    """Return τ = 4Δ_φ u l/(3π), through which alone depth enters for close pairs."""
    return 4 * delta_phi * u * depth / (3 * math.pi)


def scaling_function(
    tau: float | Float[np.ndarray, "..."],
) -> np.float64 | Float[np.ndarray, "..."]:
    """Return F(τ) = [(1 + τ) − (1 + τ)^{-3}]/(4τ), the limit of κ_l/l at fixed τ as u → 0."""
    tau = np.asarray(tau, np.float64)
    # Over τ, ((1 + τ)⁴ − 1)/τ is a polynomial: nothing cancels at small τ.
    return (4 + 6 * tau + 4 * tau**2 + tau**3) / (4 * (1 + tau) ** 3)


def deep_offdiagonal(smooth: bool = False) -> float:
    """Return lim K∞(x, x')/K∞(x, x) in depth: ¼ where φ' jumps, ⅓ for smooth φ."""
    return 1 / 3 if smooth else 1 / 4


def deep_condition(n: int, smooth: bool = False) -> float:
    """Return the condition number's limit in depth: 1 + n/3 where φ' jumps, 1 + n/2 else."""
    return 1 + require_count("n", n) / (2 if smooth else 3)


def _hidden_distance(init: Init, x: Num[Array, "n d"], depth: int) -> Float[np.ndarray, "n n"]:
    """Return the cosine distances after one layer, or of the inputs if the depth is 1.

    Two points that the first layer keeps apart stay apart in all later ones.
    """
    nonzero = np.asarray(jnp.any(x != 0, axis=1))
    require(bool(nonzero.all()), "x", "nonzero in every row", f"zeros in row {nonzero.argmin()}")
    return np.array(cosine_distance(init, x, x, min(1, require_count("depth", depth) - 1)))


def coincident_pairs(init: Init, x: Num[Array, "n d"], depth: int) -> Int[np.ndarray, "pairs 2"]:
    """Return the pairs i < j that make K∞ singular: at angle 0, and at angle π if φ is even.

    Inputs that are parallel up to their rounding count as parallel.

    Raises:
        ValueError: If depth < 1 or a row of x is zero.
    """
    return np.argwhere(np.triu(_hidden_distance(init, x, depth) == 0, 1))


def closest_pair(init: Init, x: Num[Array, "n d"], depth: int) -> tuple[int, int]:
    """Return the pair i < j with the smallest cosine distance after one layer.

    At depth 1, where there is no hidden layer, it is the distance of the inputs.

    Raises:
        ValueError: If depth < 1, there are fewer than two points, or a row of x is zero.
    """
    require(len(x) > 1, "x", "of at least two rows", len(x))
    distance = _hidden_distance(init, x, depth)
    np.fill_diagonal(distance, np.inf)
    i, j = np.unravel_index(np.argmin(distance), distance.shape)
    return int(min(i, j)), int(max(i, j))


def ntk_spectrum(init: Init, x: Num[Array, "n d"], depth: int) -> Spectrum:
    """Return the eigenvalues of the NTK matrix K∞/n and the pairs that make it singular.

    The absolute error of an eigenvalue is a few units in the last place of the largest one. Those
    that coincident points make zero are returned as 0, and not as noise of that size.

    Raises:
        ValueError: If depth < 1 or a row of x is zero.
    """
    x, _ = paired(x, x)
    pairs = coincident_pairs(init, x, depth)
    kernel = np.asarray(ntk_infinite(init, x, x, depth), np.float64)
    values = np.linalg.eigvalsh(kernel / len(kernel))
    values[: len(set(pairs[:, 1].tolist()))] = 0.0  # points that repeat an earlier one
    return Spectrum(values, pairs)
