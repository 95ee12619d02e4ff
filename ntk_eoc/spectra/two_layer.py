"""The two-layer NTK matrix of the quadratic scaling: drawn, dense, and as an operator.

The first layer's part is (1/d) X Xᵀ ⊙ (1/p) S Sᵀ = (1/dp) Y Yᵀ with S = φ'(XW/√d) D; row i of Y is
x_i ⊗ s_i (Y is the row-wise Khatri–Rao product of X and S), so that products need neither Y nor the
matrix. The output layer adds (1/p) H Hᵀ, H = φ(XW/√d), of rank p: `two_layer` draws the factors of
the first part alone, `whole` those of both, and every function here takes either.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float, Key

from ntk_eoc.activations import Activation
from ntk_eoc.checks import require, require_count, unknown_name
from ntk_eoc.spectra.densities import uniform
from ntk_eoc.spectra.laws import SpectralLaw, from_atoms

ENTRIES: dict[str, Callable[..., Array]] = {
    "gaussian": jax.random.normal,
    "rademacher": jax.random.rademacher,
    "uniform": lambda key, shape, dtype: jax.random.uniform(
        key, shape, dtype, -math.sqrt(3), math.sqrt(3)
    ),
}
"""The laws of the i.i.d. entries of X, all of mean 0 and variance 1."""

WEIGHTS: dict[str, Callable[[], SpectralLaw]] = {
    "identity": lambda: from_atoms([1.0]),
    "two_valued": lambda: from_atoms([0.5, 1.5]),
    "uniform": lambda: uniform(0.5, 1.5),
    "rademacher": lambda: from_atoms([-1.0, 1.0]),
    "split": lambda: from_atoms([1.0, math.sqrt(30.0)]),
}
"""The laws of the i.i.d. output weights on the diagonal of D."""


class TwoLayer(NamedTuple):
    """The factors of the matrix, and D.

    Attributes:
        x: X, [n, d].
        s: S = φ'(XW/√d) D, [n, p].
        d_values: The diagonal of D.
        hidden: H, what the output layer sees, [n, p]; [n, 0] where its term is left out.
    """

    x: Float[Array, "n d"]
    s: Float[Array, "n p"]
    d_values: Float[Array, "p"]
    hidden: Float[Array, "n h"]


def sizes(d: int, gamma1: float, gamma2: float) -> tuple[int, int]:
    """Return (n, p) with p/d nearest to γ₂ and n/(dp) nearest to γ₁."""
    d = require_count("d", d)
    p = max(1, round(gamma2 * d))
    return max(1, round(gamma1 * d * p)), p


def entries(key: Key[Array, ""], name: str, shape: tuple[int, int], dtype: str) -> Array:
    """Draw X with i.i.d. entries of the named law.

    Raises:
        ValueError: If the law is unknown.
    """
    if name not in ENTRIES:
        raise ValueError(unknown_name("entries", name, ENTRIES))
    return ENTRIES[name](key, shape, dtype).astype(dtype)


def output_weights(key: Key[Array, ""], name: str, p: int, dtype: str) -> Float[Array, "p"]:
    """Draw the diagonal of D, i.i.d. of the named law.

    Raises:
        ValueError: If the law is unknown.
    """
    if name not in WEIGHTS:
        raise ValueError(unknown_name("output_weights", name, WEIGHTS))
    law = WEIGHTS[name]()
    if law.points.size:
        return jax.random.choice(
            key, jnp.asarray(law.points, dtype), (p,), p=jnp.asarray(law.masses, dtype)
        )
    low, high = law.bounds
    return jax.random.uniform(key, (p,), dtype, low, high)


def even_weights(key: Key[Array, ""], name: str, p: int, dtype: str) -> Float[Array, "p"]:
    """Return the diagonal of D in the proportions of the named law, as exact as p allows.

    They are its quantiles at (j + ½)/p; the key is not used.

    Raises:
        ValueError: If the law is unknown.
    """
    if name not in WEIGHTS:
        raise ValueError(unknown_name("output_weights", name, WEIGHTS))
    return jnp.asarray(WEIGHTS[name]().quantile((np.arange(p) + 0.5) / p), dtype)


def _preactivations(
    key: Key[Array, ""], x: Float[Array, "n d"], d_values: Float[Array, "p"]
) -> Float[Array, "n p"]:
    """Draw W and return XW/√d."""
    d, p = x.shape[1], d_values.shape[0]
    w = jax.random.normal(key, (d, p), x.dtype)
    return jnp.matmul(x, w, precision=Precision.HIGHEST) / jnp.asarray(math.sqrt(d), x.dtype)


def two_layer(
    key: Key[Array, ""], act: Activation, x: Float[Array, "n d"], d_values: Float[Array, "p"]
) -> TwoLayer:
    """Draw W and return the factors of the first layer's part, (1/d) X Xᵀ ⊙ (1/p) S Sᵀ."""
    z = _preactivations(key, x, d_values)
    return TwoLayer(x, act.prime(z) * d_values[None, :], d_values, z[:, :0])


def whole(
    key: Key[Array, ""], act: Activation, x: Float[Array, "n d"], d_values: Float[Array, "p"]
) -> TwoLayer:
    """Draw W and return the factors of the whole NTK, with (1/p) H Hᵀ of the output layer."""
    z = _preactivations(key, x, d_values)
    return TwoLayer(x, act.prime(z) * d_values[None, :], d_values, act(z))


def matrix(factors: TwoLayer) -> Float[Array, "n n"]:
    """Return the dense NTK, n × n."""
    x, s, _, hidden = factors
    dp, p = (jnp.asarray(size, x.dtype) for size in (x.shape[1] * s.shape[1], s.shape[1]))
    inputs = jnp.matmul(x, x.T, precision=Precision.HIGHEST)
    first = inputs * jnp.matmul(s, s.T, precision=Precision.HIGHEST) / dp
    return first + jnp.matmul(hidden, hidden.T, precision=Precision.HIGHEST) / p


def companion(factors: TwoLayer) -> Float[Array, "c c"]:
    """Return ZᵀZ, Z = [Y/√(dp), H/√p], with the same nonzero eigenvalues as the NTK."""
    x, s, _, hidden = factors
    y = (x[:, :, None] * s[:, None, :]).reshape(x.shape[0], -1) / math.sqrt(x.shape[1])
    z = jnp.concatenate([y, hidden], axis=1) / math.sqrt(s.shape[1])
    return jnp.matmul(z.T, z, precision=Precision.HIGHEST)


def eigenvalues(factors: TwoLayer, memory: float = 4e9) -> Float[np.ndarray, "n"]:
    """Return all n eigenvalues of the NTK, ascending.

    They are those of the smaller of the NTK and of `companion`, with zeros added. Values below
    1e-10 of the largest (1e-6 in float32) are rounding noise and are returned as 0, so that an atom
    at 0 stands at 0.

    Args:
        factors: X, S and H.
        memory: Bytes that may be used; the decomposition needs about three matrices.

    Raises:
        ValueError: If the smaller side does not fit.
    """
    (n, d), p = factors.x.shape, factors.s.shape[1]
    columns = d * p + factors.hidden.shape[1]
    side = min(n, columns)
    needed = (3.0 * side * side + (n * columns if n > columns else 0)) * factors.x.dtype.itemsize
    require(
        needed <= memory,
        "n, d, p",
        f"small enough for {memory:.1e} bytes (use `lanczos.quadrature`)",
        f"({n}, {d}, {p}), which takes {needed:.1e}",
    )
    small = np.asarray(matrix(factors) if n <= columns else companion(factors), np.float64)
    values = np.linalg.eigvalsh(small)
    noise = 1e-10 if factors.x.dtype.itemsize == 8 else 1e-6
    values = np.where(values < noise * values[-1], 0.0, values)
    return np.concatenate([np.zeros(n - side), values])


def product(v: Float[Array, "n"], factors: TwoLayer) -> Float[Array, "n"]:
    """Return NTK v by Khatri–Rao products: Y M = rowsum((X M) ⊙ S), Yᵀv = Xᵀ diag(v) S.

    4 n d p flops and n (d + p) numbers of memory beside the factors.
    """
    x, s, _, hidden = factors
    dp, p = (jnp.asarray(size, x.dtype) for size in (x.shape[1] * s.shape[1], s.shape[1]))
    pulled = jnp.matmul(x.T, v[:, None] * s, precision=Precision.HIGHEST)
    first = jnp.sum(jnp.matmul(x, pulled, precision=Precision.HIGHEST) * s, axis=1) / dp
    out = jnp.matmul(hidden.T, v, precision=Precision.HIGHEST)
    return first + jnp.matmul(hidden, out, precision=Precision.HIGHEST) / p


def draw(
    key: Key[Array, ""],
    act: Activation,
    size: tuple[int, int, int],
    *,
    entries_name: str = "gaussian",
    weights_name: str = "identity",
    weights: Callable[..., Array] = output_weights,
    factors: Callable[..., TwoLayer] = two_layer,
    dtype: str = "float64",
) -> TwoLayer:
    """Draw X, W and D; `size` is (n, d, p).

    Args:
        key: Of all three.
        act: φ.
        size: (n, d, p).
        entries_name: Law of the entries of X, a key of `ENTRIES`.
        weights_name: Law of D, a key of `WEIGHTS`.
        weights: How D follows from its law: `output_weights` or `even_weights`.
        factors: What to draw: `two_layer` or `whole`.
        dtype: Of all arrays.
    """
    n, d, p = size
    for_x, for_w, for_d = jax.random.split(key, 3)
    x = entries(for_x, entries_name, (n, d), dtype)
    return factors(for_w, act, x, weights(for_d, weights_name, p, dtype))
