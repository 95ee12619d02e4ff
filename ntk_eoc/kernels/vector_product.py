"""Products of K(θ) with vectors, for any f: K(θ) v = J(x1) (J(x2)ᵀ v), and K(θ) is never formed."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Num

from ntk_eoc.checks import require, require_count
from ntk_eoc.kernels.jacobian import Function
from ntk_eoc.kernels.matrix import paired_of_any_shape


def _blocks(rows: Array, size: int) -> Array:
    """Rows in blocks of `size`, zeros after the last: [blocks, size, …]."""
    padding = [(0, -rows.shape[0] % size), *[(0, 0)] * (rows.ndim - 1)]
    return jnp.pad(rows, padding).reshape(-1, size, *rows.shape[1:])


@partial(jax.jit, static_argnames=("f", "size"))
def _product(f: Function, params: Any, x1: Array, x2: Array, v: Array, size: int) -> Array:
    def outputs(x: Array, params: Any) -> Array:
        return jax.vmap(lambda x: f(params, x).reshape(-1))(x)

    def pull(total: Any, block: tuple[Array, Array]) -> tuple[Any, None]:
        x, rows = block
        back = jax.vjp(partial(outputs, x), params)[1]
        found = jax.vmap(lambda column: back(column)[0], -1)(rows)
        return jax.tree.map(jnp.add, total, found), None

    def push(x: Array) -> Array:
        def one(direction: Any) -> Array:
            return jax.jvp(partial(outputs, x), (params,), (direction,))[1]

        return jax.vmap(one, out_axes=-1)(directions)

    count = v.shape[-1]
    start = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), params)
    directions = lax.scan(pull, start, (_blocks(x2, size), _blocks(v, size)))[0]
    found = lax.map(push, _blocks(x1, size))
    return found.reshape(-1, *found.shape[2:])[: x1.shape[0]]


def ntk_vector_product(
    f: Function,
    params: Any,
    x1: Num[ArrayLike, "n1 *d"],
    x2: Num[ArrayLike, "n2 *d"],
    v: Num[ArrayLike, "..."],
    *,
    batch: int = 128,
) -> Float[Array, "n1 k *c"]:
    """Return K(θ)(x1, x2) v = J(x1) J(x2)ᵀ v for any differentiable f.

    One pass backward over x2 in batches, whose results add up to a vector in parameter space, and
    one forward (`jvp`) over x1: time O(n1 + n2) passes for each column of v, memory O(p c) beside
    one batch, p the number of parameters. Divide by the n of the training points for the papers'
    matrix.

    Args:
        f: Pure function (params, x) -> [k] of one input, or -> a scalar, which counts as k = 1.
            The same object again compiles nothing anew.
        params: Any tree of floating arrays.
        x1: Inputs, [n1, d], or images [n1, height, width, channels], or of any shape [n1, …].
        x2: Inputs of the same shape but for their number.
        v: A vector [n2, k], or several, [n2, k, c].
        batch: Inputs that go through f at a time.

    Returns:
        K(θ) v in the dtype of f.

    Raises:
        ValueError: If the inputs do not fit together, v does not fit them, or f returns neither a
            vector nor a scalar.

    Source: `docs/theory.md` §3.1.
    """
    x1, x2 = paired_of_any_shape(x1, x2)
    out = jax.eval_shape(f, params, x1[0])
    require(len(out.shape) <= 1, "f", "a function (params, x) -> [k] or a scalar", out.shape)
    v, shape = jnp.asarray(v), (x2.shape[0], math.prod(out.shape))
    fits = v.shape[:2] == shape and v.ndim <= 3
    require(fits, "v", f"{[*shape]} or [{shape[0]}, {shape[1]}, c]", v.shape)
    size = min(require_count("batch", batch), max(x1.shape[0], x2.shape[0]))
    columns = v.reshape(*shape, -1).astype(out.dtype)
    found = _product(f, params, x1, x2, columns, size)
    return found.reshape(x1.shape[0], *v.shape[1:])
