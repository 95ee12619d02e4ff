"""K(θ) of any function of linear layers: Gram products of what enters a layer and what leaves it.

Of a weight W that is used as y_t = W x_t, at positions t (those of an image, or the places where it
is shared), with the cotangents g_t = ∂f/∂y_t, the derivative of output a is Σ_t g_t^a x_tᵀ, and

    K(x, x') = Σ_W Σ_{t,t'} (x_t · x'_t') g_t g'_t'ᵀ.

The uses are found by `uses.trace`, so that f may be written in any way and any library.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial, reduce
from operator import add
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Num

from ntk_eoc.checks import require
from ntk_eoc.kernels.jacobian import DEFAULT_MEMORY, Function, in_blocks, require_floating
from ntk_eoc.kernels.matrix import paired_of_any_shape
from ntk_eoc.kernels.uses import Traced, Use, trace, walk


class Factors(NamedTuple):
    """The derivative by a weight as a sum over positions: of output a, Σ_t x_t g_tᵀ.

    Attributes:
        inputs: x_t.
        cotangents: g_t.
    """

    inputs: Float[Array, "*n t i"]
    cotangents: Float[Array, "*n k t o"]

    @property
    def whole(self) -> Float[Array, "*n k p"]:
        """The derivative itself."""
        found = jnp.einsum("...ti,...kto->...kio", *self, precision=lax.Precision.HIGHEST)
        return found.reshape(*found.shape[:-2], -1)


Feature = Factors | Array  # of one parameter: as factors, or the derivative written out, [n, k, p]


def _factored(use: Use, operands: Sequence[Array], g: Array) -> tuple[Any, Factors] | None:
    """A product or a convolution with a weight whose elements were only moved, and how they were.

    Two uses of one weight may be added up if they agree in the latter.
    """
    views = [view for view in use.views if view is not None]
    if len(use.views) != 2 or len(views) != 1 or views[0].steps is None:
        return None
    view, side = views[0], use.views.index(views[0])
    how, params = use.equation.primitive.name, use.equation.params
    x = operands[0] * jnp.asarray(view.scale, operands[0].dtype)
    if how == "dot_general":
        contracted, batch = params["dimension_numbers"]
        if batch[side]:
            return None
        own, other = contracted[side], contracted[1 - side]
        pairs = sorted(zip(own, other, strict=True))
        x = jnp.moveaxis(x, [j for _, j in pairs], range(x.ndim - len(pairs), x.ndim))
        positions = x.shape[: x.ndim - len(pairs)]
        inputs = x.reshape(math.prod(positions), -1)
        g = g.reshape(
            g.shape[0], *((len(inputs), -1) if side == 1 else (-1, len(inputs)))
        )  # the free axes of the first operand come first
        cotangents = g if side == 1 else g.swapaxes(1, 2)
        return (view.steps, tuple(i for i, _ in pairs)), Factors(inputs, cotangents)
    if how == "conv_general_dilated" and side == 1:
        return _of_convolution(params, view, x, g)
    return None


def _of_convolution(params: Any, view: Any, x: Array, g: Array) -> tuple[Any, Factors] | None:
    """A convolution is a product with the patches of its input."""
    if params["feature_group_count"] > 1 or params["batch_group_count"] > 1:
        return None
    numbers = params["dimension_numbers"]
    window = [view.value.shape[i] for i in numbers.rhs_spec[2:]]
    names = ("window_strides", "padding", "lhs_dilation", "rhs_dilation")
    patches = lax.conv_general_dilated_patches(
        x,
        window,
        dimension_numbers=numbers,
        precision=lax.Precision.HIGHEST,
        **{name: params[name] for name in names},
    )
    channel = numbers.out_spec[1]
    inputs = jnp.moveaxis(patches, channel, -1)
    inputs = inputs.reshape(-1, inputs.shape[-1])
    cotangents = jnp.moveaxis(g, channel + 1, -1)
    cotangents = cotangents.reshape(g.shape[0], len(inputs), -1)
    return (view.steps, numbers.rhs_spec), Factors(inputs, cotangents)


def _written_out(
    leaf: int, leaves: Sequence[Array], use: Use, operands: Sequence[Array], g: Array
) -> Array:
    """The derivative by one parameter of what one use passes on, [k, p]."""

    def result(one: Array) -> Array:
        return use.apply([*leaves[:leaf], one, *leaves[leaf + 1 :]], operands)

    pull = jax.vjp(result, leaves[leaf])[1]
    return jax.vmap(lambda row: pull(row)[0])(g).reshape(g.shape[0], -1)


def _cheaper(factors: Factors, n: int) -> Feature:
    """As factors unless, for n inputs, the derivative itself takes fewer operations."""
    k, t, o = factors.cotangents.shape
    i = factors.inputs.shape[1]
    by_factors = t * t * (i + k * k * (o + 1))
    return factors if by_factors <= k * i * o * (k + 2 * t / n) else factors.whole


def _features(traced: Traced, n: int, params: Any, x: Array) -> list[Feature]:
    """The derivatives of all outputs at one input, a parameter each."""
    leaves = jax.tree.leaves(params)

    def run(shifts: list[Array]) -> tuple[Array, Any]:
        walked = walk(traced, leaves, x, shifts)
        uses.extend(walked.uses)
        return walked.out, walked.operands

    uses: list[Use] = []
    zeros = [jnp.zeros(shift.shape, shift.dtype) for shift in traced.shifts]
    out, pull, operands = jax.vjp(run, zeros, has_aux=True)
    cotangents = jax.vmap(lambda row: pull(row)[0])(jnp.eye(out.size, dtype=out.dtype))
    features: list[Feature] = []
    for leaf in range(len(leaves)):
        mine = [
            (use, met, g)
            for use, met, g in zip(uses, operands, cotangents, strict=True)
            if leaf in use.of
        ]
        found = [_factored(*one) for one in mine]
        if found and len({one and one[0] for one in found}) == 1 and found[0]:
            parts = [one[1] for one in found if one]
            inputs = jnp.concatenate([part.inputs for part in parts])
            gs = jnp.concatenate([part.cotangents for part in parts], axis=1)
            features.append(_cheaper(Factors(inputs, gs), n))
        elif mine:
            rows = [_written_out(leaf, leaves, *one) for one in mine]
            features.append(reduce(add, rows))
    return features


def _gram(a: Array, b: Array) -> Array:
    """Products over the last axis of both."""
    return jnp.tensordot(a, b, (-1, -1), precision=lax.Precision.HIGHEST)


def _term(one: Feature, two: Feature) -> Float[Array, "n1 n2 k k"]:
    """What one parameter adds to K."""
    if not isinstance(one, Factors) or not isinstance(two, Factors):
        assert not isinstance(one, Factors)
        assert not isinstance(two, Factors)
        return _gram(one, two).swapaxes(1, 2)
    if one.inputs.shape[1] == 1:  # one position: no sum is left
        forward = _gram(one.inputs[:, 0], two.inputs[:, 0])
        return forward[:, :, None, None] * _gram(
            one.cotangents[:, :, 0], two.cotangents[:, :, 0]
        ).swapaxes(1, 2)

    def row(mine: Factors) -> Array:
        forward = _gram(mine.inputs, two.inputs)  # [t, n2, t']
        backward = _gram(mine.cotangents, two.cotangents)  # [k, t, n2, k', t']
        return jnp.einsum("tju,atjbu->jab", forward, backward, precision=lax.Precision.HIGHEST)

    return lax.map(row, one)


def _contract(one: list[Feature], two: list[Feature]) -> Float[Array, "n1 n2 k k"]:
    return reduce(add, map(_term, one, two))


@partial(jax.jit, static_argnames=("f", "size", "same"))
def _ntk(f: Function, params: Any, x1: Array, x2: Array, size: int, same: bool) -> Array:
    n = min(x1.shape[0], x2.shape[0])
    features = jax.vmap(partial(_features, trace(f, params, x1[0]), n), (None, 0))
    if same and size >= n:
        found = features(params, x1)
        return _contract(found, found)
    return in_blocks(partial(features, params), _contract, x1, x2, size)


@lru_cache(maxsize=256)
def _kept_bytes(f: Function, tree: Any, leaves: tuple[Any, ...], x: Any, n: int) -> int:
    """Bytes that one input takes: what is kept of it, as much again on the way, for both sides."""
    params = jax.tree.unflatten(tree, leaves)
    out = jax.eval_shape(f, params, x)
    require(len(out.shape) <= 1, "model", "a function of one input -> [k] or a scalar", out.shape)
    kept = jax.eval_shape(partial(_features, trace(f, params, x), n), params, x)
    return 4 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept)) + 1


def structured(
    f: Callable[[Any, Array], Array],
    params: Any,
    x1: Num[ArrayLike, "n1 *d"],
    x2: Num[ArrayLike, "n2 *d"],
    *,
    memory: int = DEFAULT_MEMORY,
) -> Float[Array, "n1 n2 k k"]:
    """Return K(θ) of a function of linear layers, without a Jacobian of their weights.

    K(x, x') = Σ_W Σ_{t,t'} (x_t·x'_t') g_t g'_t'ᵀ with the inputs x_t and the output cotangents g_t
    of W at its positions t: one pass forward, one backward, two Gram products a layer. Where there
    are many positions, as in a convolution, and writing the derivative out takes fewer operations,
    it is. So are those by biases, scales, and weights that are themselves functions of parameters.

    Args:
        f: Pure function (params, x) -> [k] of one input, or -> a scalar, which counts as k = 1.
            Products, convolutions, sums and scalings by parameters may stand anywhere in it, in
            loops of known length too. The same object again compiles nothing anew.
        params: Any tree of arrays.
        x1: Inputs, [n1, d], or images [n1, height, width, channels], or of any shape [n1, …].
        x2: Inputs of the same shape but for their number.
        memory: Bytes that what is kept of the inputs may take at a time. Where it does not hold all
            of them they go in blocks, at the cost of repeated passes over x2.

    Returns:
        K(θ) in the dtype of f's derivatives; equal to `ntk_jacobian`.

    Raises:
        ValueError: If a parameter enters in another way, as in sin(θ x) or in a branch; the message
            names it. If the inputs do not fit together, f returns neither a vector nor a scalar, or
            the memory does not hold two inputs.

    Source: `docs/theory.md` §3.2.
    """
    x1, x2 = paired_of_any_shape(x1, x2)
    require_floating(params)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    leaves, tree = jax.tree.flatten(shapes)
    one = jax.ShapeDtypeStruct(x1.shape[1:], x1.dtype)
    each = _kept_bytes(f, tree, tuple(leaves), one, min(x1.shape[0], x2.shape[0]))
    require(memory >= 2 * each, "memory", f">= {2 * each} bytes for two inputs", memory)
    size = min(memory // each, max(x1.shape[0], x2.shape[0]))
    return _ntk(f, params, x1, x2, size, x1 is x2)
