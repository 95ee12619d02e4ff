"""K(θ) by its definition, J Jᵀ, for any f(params, x): the reference."""

import math
from collections.abc import Callable
from functools import partial, reduce
from operator import add
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Num

from ntk_eoc.checks import require
from ntk_eoc.kernels.matrix import paired_of_any_shape

Function = Callable[[Any, Array], Array]

DEFAULT_MEMORY = 2**30


def _jacobian(f: Function, params: Any, x: Array) -> Any:
    """df/dparams at one input, by whichever mode needs fewer passes: a tree of [k, …]."""

    def vector(params: Any, x: Array) -> Array:
        return f(params, x).reshape(-1)  # a scalar is one output

    outputs = math.prod(jax.eval_shape(f, params, x).shape)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    mode = jax.jacrev if outputs <= parameters else jax.jacfwd
    return mode(vector)(params, x)


def _contract(j1: Any, j2: Any) -> Array:
    """Σ_p J1[i, a, p] J2[j, b, p] over all leaves, [n1, n2, k, k]."""

    def leaf(a: Array, b: Array) -> Array:
        a, b = a.reshape(*a.shape[:2], -1), b.reshape(*b.shape[:2], -1)
        return jnp.einsum("iap,jbp->ijab", a, b, precision=lax.Precision.HIGHEST)

    return reduce(add, jax.tree.leaves(jax.tree.map(leaf, j1, j2)))


def _blocks(x: Array, size: int) -> Array:
    """X in blocks of `size` inputs, the last padded with its own: [blocks, size, …]."""
    count = -(-x.shape[0] // size)
    rows = jnp.arange(count * size) % x.shape[0]
    return x[rows].reshape(count, size, *x.shape[1:])


def in_blocks(
    features: Callable[[Array], Any],
    contract: Callable[[Any, Any], Array],
    x1: Array,
    x2: Array,
    size: int,
) -> Float[Array, "n1 n2 k k"]:
    """Return contract(features(x1), features(x2)) of `size` inputs a side at a time.

    What is kept of x2 is made again for every block of x1.
    """

    def row(block1: Array) -> Array:
        one = features(block1)
        return lax.map(lambda block2: contract(one, features(block2)), _blocks(x2, size))

    tiles = lax.map(row, _blocks(x1, size))  # [blocks1, blocks2, size, size, k, k]
    rows, cols, k = tiles.shape[0] * size, tiles.shape[1] * size, tiles.shape[-1]
    kernel = tiles.swapaxes(1, 2).reshape(rows, cols, k, k)
    return kernel[: x1.shape[0], : x2.shape[0]]


@partial(jax.jit, static_argnames=("f", "size"))
def _ntk(f: Function, params: Any, x1: Array, x2: Array, size: int) -> Array:
    jacobians = jax.vmap(partial(_jacobian, f), (None, 0))
    return in_blocks(partial(jacobians, params), _contract, x1, x2, size)


def require_floating(params: Any) -> None:
    """Raise a ValueError that names the first leaf of `params` that has no derivative."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = jnp.result_type(leaf)
        name = "params" + jax.tree_util.keystr(path)
        allowed = "real floating-point numbers (what is not trained belongs into f's closure)"
        require(jnp.issubdtype(dtype, jnp.floating), name, allowed, dtype)


def ntk_jacobian(
    f: Function,
    params: Any,
    x1: Num[ArrayLike, "n1 *d"],
    x2: Num[ArrayLike, "n2 *d"],
    *,
    memory: int = DEFAULT_MEMORY,
) -> Float[Array, "n1 n2 k k"]:
    """Return K(θ)(x, x') = J(x) J(x')ᵀ, J = ∂f/∂params, for any differentiable f.

    Jacobians are formed for blocks of inputs, by reverse mode unless there are fewer parameters
    than outputs, and dropped once contracted; small blocks cost repeated passes over x2.

    Args:
        f: Pure function (params, x) -> [k] of one input, or -> a scalar, which counts as k = 1.
            The same object again compiles nothing anew.
        params: Any tree of arrays.
        x1: Inputs, [n1, d], or images [n1, height, width, channels], or of any shape [n1, …].
        x2: Inputs of the same shape but for their number.
        memory: Bytes the Jacobians may take at a time.

    Returns:
        K(θ) in the dtype of f's derivatives.

    Raises:
        ValueError: If the inputs do not fit together, a leaf of `params` is not of real
            floating-point numbers, f returns neither a vector nor a scalar, or the memory does not
            hold the Jacobians of two inputs.

    Source: `docs/theory.md` §3.1.
    """
    x1, x2 = paired_of_any_shape(x1, x2)
    require_floating(params)
    out = jax.eval_shape(f, params, x1[0])
    require(len(out.shape) <= 1, "f", "a function (params, x) -> [k] or a scalar", out.shape)
    # Reverse mode holds a vector product and its copy for each row; twice the Jacobian is safe.
    each = 2 * math.prod(out.shape) * sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    require(memory >= 2 * each, "memory", f">= {2 * each} bytes for two Jacobians", memory)
    return _ntk(f, params, x1, x2, min(memory // (2 * each), max(x1.shape[0], x2.shape[0])))
