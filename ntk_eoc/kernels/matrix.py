"""Kernels as matrices, and the shapes all kernels share."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Num

from ntk_eoc.checks import require, require_count


def paired(
    x1: Num[ArrayLike, "n1 d"], x2: Num[ArrayLike, "n2 d"]
) -> tuple[Float[Array, "n1 d"], Float[Array, "n2 d"]]:
    """Return both inputs as floating arrays of one dtype; the same object if they were one.

    Raises:
        ValueError: If one is not a matrix with at least one row and column, or d differs.
    """
    same = x1 is x2
    x1, x2 = jnp.asarray(x1), jnp.asarray(x2)
    for name, x in (("x1", x1), ("x2", x2)):
        require(x.ndim == 2 and x.size > 0, name, "a matrix [n, d] with n, d >= 1", x.shape)
    require(x1.shape[1] == x2.shape[1], "x2", f"of {x1.shape[1]} columns like `x1`", x2.shape)
    dtype = jnp.result_type(x1, x2, jnp.zeros((), jnp.float16).dtype)
    dtype = jnp.promote_types(dtype, jnp.float32)
    x1 = x1.astype(dtype)
    return x1, x1 if same else x2.astype(dtype)


def with_outputs(kernel: Float[ArrayLike, "n1 n2"], k: int) -> Float[Array, "n1 n2 k k"]:
    """Return K∞ ⊗ I_k as a kernel of k outputs."""
    require_count("k", k)
    kernel = jnp.asarray(kernel)
    return kernel[:, :, None, None] * jnp.eye(k, dtype=kernel.dtype)[None, None]


def ntk_matrix(kernel: Float[ArrayLike, "n n k k"]) -> Float[Array, "nk nk"]:
    """Return the papers' NTK matrix [K(x_i, x_j)/n], row and column index i·k + output.

    Raises:
        ValueError: If the kernel is not [n, n, k, k].
    """
    kernel = jnp.asarray(kernel)
    shape = kernel.shape
    require(
        len(shape) == 4 and shape[0] == shape[1] and shape[2] == shape[3],
        "kernel",
        "[n, n, k, k] (see with_outputs)",
        shape,
    )
    n, k = shape[0], shape[2]
    return kernel.transpose(0, 2, 1, 3).reshape(n * k, n * k) / n
