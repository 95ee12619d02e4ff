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
    return _of_one_dtype(x1, x1 if same else x2)


def paired_of_any_shape(
    x1: Num[ArrayLike, "n1 *d"], x2: Num[ArrayLike, "n2 *d"]
) -> tuple[Float[Array, "n1 *d"], Float[Array, "n2 *d"]]:
    """Return both inputs as `paired` does, each input an array of any shape: images, say.

    Raises:
        ValueError: If one is empty, or the shapes of their inputs differ.
    """
    same = x1 is x2
    x1, x2 = jnp.asarray(x1), jnp.asarray(x2)
    for name, x in (("x1", x1), ("x2", x2)):
        require(x.ndim >= 1 and x.size > 0, name, "inputs [n, …], none of them empty", x.shape)
    require(x1.shape[1:] == x2.shape[1:], "x2", f"inputs {x1.shape[1:]} like `x1`", x2.shape)
    return _of_one_dtype(x1, x1 if same else x2)


def _of_one_dtype(x1: Array, x2: Array) -> tuple[Array, Array]:
    """Both inputs in the wider of their dtypes, float32 at least."""
    # By their dtypes: a weakly typed float64 would give way. Integers become the default float.
    dtype = jnp.result_type(x1.dtype, x2.dtype, 1.0)
    dtype = jnp.promote_types(dtype, jnp.float32)
    cast = x1.astype(dtype)
    return cast, cast if x1 is x2 else x2.astype(dtype)


def with_outputs(kernel: Float[ArrayLike, "n1 n2"], k: int) -> Float[Array, "n1 n2 k k"]:
    """Return K∞ ⊗ I_k as a kernel of k outputs."""
    require_count("k", k)
    kernel = jnp.asarray(kernel)
    return kernel[:, :, None, None] * jnp.eye(k, dtype=kernel.dtype)[None, None]


def ntk_matrix(kernel: Float[ArrayLike, "n1 n2 k k"]) -> Float[Array, "n1k n2k"]:
    """Return the papers' NTK matrix [K(x_i, x_j)/n2], row and column index i·k + output.

    The n2 points of the columns are the training points: K(X, X) is divided by n, and so is a
    rectangle K(x, X) between test points and training points, as predictions need it.

    Raises:
        ValueError: If the kernel is not [n1, n2, k, k].
    """
    kernel = jnp.asarray(kernel)
    shape = kernel.shape
    require(
        len(shape) == 4 and shape[2] == shape[3] and kernel.size > 0,
        "kernel",
        "[n1, n2, k, k] (see with_outputs)",
        shape,
    )
    n1, n2, k, _ = shape
    return kernel.transpose(0, 2, 1, 3).reshape(n1 * k, n2 * k) / n2
