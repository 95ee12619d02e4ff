"""K(θ) of a fresh network, exact in law, without drawing a weight: `docs/theory.md` §3.3.

Given the Gram matrix of a layer's inputs its neurons are independent Gaussian vectors, and given
the forward pass so is the part of W_kᵀδ_k that the forward pass has not seen. Every layer is a sum
over independent neurons, drawn in blocks; only n × n matrices pass from layer to layer.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from ntk_eoc.eoc import Init
from ntk_eoc.kernels.blocks import MEMORY, Layer, Plan, draw_together, over_blocks, prepare
from ntk_eoc.kernels.grams import Root, gram_factor, gram_root, matmul, product, square


class Small(NamedTuple):
    """The Gaussians that all layers draw together; of η there is one for every column of δ."""

    neurons: Float[Array, "1 rows m"] | None  # of a layer of a single chunk
    bias: Float[Array, "q"] | None  # η of the bias coordinate, if there is one
    fresh: Float[Array, "fresh n nk"]  # of Ξᵀδ^ind, n × nk, one for each copy but the first


class Forward(NamedTuple):
    """What the forward pass leaves of a hidden layer; A = [σ_w φ(z)ᵀ/√m; σ_b] are its outputs."""

    key: Array
    covariance: Float[Array, "n n"]  # of z, which is also the kernel of the layer's inputs
    root: Root  # of the covariance
    cross: Float[Array, "n q"]  # Aᵀη, with the bias coordinate
    small: Small
    draws: Float[Array, "blocks rows b"] | None  # where they are stored


class Sums(NamedTuple):
    """Sums over the neurons of a layer in the backward pass."""

    gram: Float[Array, "q q"]  # δᵀδ
    seen: Float[Array, "n nk"]  # ξδ, of the first copy
    energy: Float[Array, ""]  # ‖Wᵀδ‖² of the layer above, of the first copy


def ntk_sampled(
    key: Array,
    init: Init,
    x: Float[ArrayLike, "n d"],
    widths: Sequence[int],
    *,
    memory: int = MEMORY,
    dtype: Any = None,
) -> Float[Array, "n n k k"]:
    """Draw the NTK of a freshly initialised MLP, exact in law at any width.

    K(x, x') = Σ_k (σ_b²[k>1] + x_{k−1}·x'_{k−1}/m_{k−1}) δ_kᵀδ'_k with all weights integrated out,
    in time O(Σ m_k n² k²). The data may have any norms and any rank.

    Args:
        key: A JAX random key; the draw is a function of it, of the shapes and of `dtype`.
        init: Activation and scales.
        x: Inputs.
        widths: (m_1, …, m_l), outputs k = m_l last.
        memory: Bytes of working memory of one draw. It sets the size of the blocks in which neurons
            are drawn, and whether the backward pass keeps their Gaussians or draws them again;
            the draw itself stays the same, up to rounding.
        dtype: Of the Gaussians; that of `x` unless given. Gram matrices, their square roots and K
            are float64 in any case.

    Returns:
        K[i, j, a, b] between output a at x_i and output b at x_j, in float64.

    Raises:
        TypeError, ValueError: If `widths` is empty or holds anything but positive integers, if `x`
            is not [n, d] with n, d >= 1, or if `memory` does not hold the n × n matrices.
        RuntimeError: If JAX's float64 is off.

    Source: `docs/theory.md` §3.3.
    """
    x, plan = prepare("ntk_sampled", init, x, widths, memory, dtype, copies=1)
    return _ntk_sampled(key, x, plan)


@partial(jax.jit, static_argnames="plan")
def _ntk_sampled(key: Array, x: Float[Array, "n d"], plan: Plan) -> Float[Array, "n n k k"]:
    return sample(key, x, plan)[0][0]


def sample(
    key: Array, x: Float[Array, "n d"], plan: Plan
) -> tuple[Float[Array, "copies n n k k"], Float[Array, "layers"]]:
    """Draw the kernels of every copy, and the energy ratios of layers 2 … l − 1.

    Copy 0 is K. The others are K^ind of `gradient_independence`: they see the same W_l and the same
    W̃ as K, and each its own Ξ in place of ξ.
    """
    x = x.astype(jnp.float64)
    covariance = product(x, x) / x.shape[1]
    identity = jnp.eye(plan.k, dtype=jnp.float64)
    if not plan.layers:
        return covariance[None, :, :, None, None] * identity[None, None, None], jnp.zeros(0)

    keys = jax.random.split(key, len(plan.layers) + 1)
    together = _draw_small(keys[-1], plan, x.shape[0])
    forward: list[Forward] = []
    for h, layer in enumerate(plan.layers[:-1]):
        done, covariance = _forward(keys[h], plan, layer, covariance, together[h])
        forward.append(done)
    root = gram_root(covariance)
    last, sums = _top(keys[-2], plan, plan.layers[-1], root, together[-1])
    kernels = last[None, :, :, None, None] * identity[None, None, None]
    kernels = kernels + _term(plan, covariance, sums)
    ratios = []
    for done, layer in zip(forward[::-1], plan.layers[-2::-1], strict=True):
        sums, ratio = _backward(plan, layer, done, root, sums)
        root = done.root
        kernels = kernels + _term(plan, done.covariance, sums)
        ratios.append(ratio)
    return kernels, jnp.array(ratios[::-1], dtype=jnp.float64)


def _draw_small(key: Array, plan: Plan, n: int) -> list[Small]:
    """Draw what is small of every hidden layer, all at once."""
    shapes = []
    for h, layer in enumerate(plan.layers):
        q = layer.rows - n if h < len(plan.layers) - 1 else 0
        neurons = (1, layer.rows, layer.m if layer.small else 0)
        shapes += [
            neurons,
            (q if plan.init.sigma_b else 0,),
            (plan.copies - 1, n, q // plan.copies),
        ]
    arrays = draw_together(key, shapes, plan.dtype)
    return [
        Small(
            neurons=arrays[3 * h] if layer.small else None,
            bias=arrays[3 * h + 1].astype(jnp.float64) if plan.init.sigma_b else None,
            fresh=arrays[3 * h + 2].astype(jnp.float64),
        )
        for h, layer in enumerate(plan.layers)
    ]


def _forward(
    key: Array, plan: Plan, layer: Layer, covariance: Float[Array, "n n"], small: Small
) -> tuple[Forward, Float[Array, "n n"]]:
    """Draw a layer's neurons: what the backward pass needs of it, and the next covariance."""
    n, root = covariance.shape[0], gram_root(covariance)

    def visit(draws: Array, real: Array | None) -> tuple[Array, Array]:
        _, out = _neurons(plan, layer, root, draws[:n], real)
        return square(out), product(out, draws[n:]).astype(jnp.float64)

    draws = small.neurons
    (gram, cross), kept = over_blocks(key, plan, layer, visit, keep=layer.stored, draws=draws)
    if small.bias is not None:
        sigma_b = plan.init.sigma_b
        gram, cross = gram + sigma_b**2, cross + sigma_b * small.bias[None, :]
    return Forward(key, covariance, root, cross, small, kept), gram


def _top(
    key: Array, plan: Plan, layer: Layer, root: Root, small: Small
) -> tuple[Float[Array, "n n"], Sums]:
    """Draw the last hidden layer, whose δ = σ_w φ'(z) ⊙ W_lᵀ/√m needs no second visit."""
    n = root.factor.shape[0]

    def visit(draws: Array, real: Array | None) -> tuple[Array, Array, Array]:
        slope, out = _neurons(plan, layer, root, draws[:n], real)
        delta = (slope[:, None, :] * draws[None, n:]).reshape(n * plan.k, -1)
        return square(out), square(delta), product(draws[:n], delta).astype(jnp.float64)

    (gram, delta_gram, seen), _ = over_blocks(key, plan, layer, visit, draws=small.neurons)
    delta_gram = jnp.tile(delta_gram, (plan.copies, plan.copies))
    return gram + plan.init.sigma_b**2, Sums(delta_gram, seen, jnp.zeros((), jnp.float64))


def _backward(
    plan: Plan, layer: Layer, done: Forward, above: Root, sums: Sums
) -> tuple[Sums, Float[Array, ""]]:
    """Pass δ through the weights above a layer: W_kᵀδ_k = Q(ξδ_k) + (I − QQᵀ) η C, CᵀC = δ_kᵀδ_k.

    Returns the layer's own sums, and the share of ‖W_kᵀδ_k‖² in the n directions of Q over
    rank/m, the share of a direction that knows nothing of Q.
    """
    n = above.factor.shape[0]
    spread = gram_factor(sums.gram)
    used = jnp.any(above.whiten != 0, axis=1).astype(jnp.float64)
    parts = [sums.seen] if plan.copies == 1 else [sums.seen, *_redrawn(done.small, sums)]
    seen = jnp.concatenate(parts, axis=1) * used[:, None]
    hidden = matmul(above.whiten, matmul(done.cross, spread))
    # In the basis of the outputs A rather than of Q = A Wᵀ.
    mix = matmul(above.whiten.T, seen - hidden)
    mixing = jnp.concatenate([mix, spread]).astype(plan.dtype)

    def visit(draws: Array, real: Array | None) -> Sums:
        slope, out = _neurons(plan, layer, done.root, draws[:n], real)
        back = product(mixing.T, jnp.concatenate([out, draws[n:]]).T)
        delta = slope[None, :, None, :] * back.reshape(plan.copies, n, plan.k, -1)
        first = delta[0].reshape(n * plan.k, -1)
        energy = jnp.sum(_only(real, back[: n * plan.k]) ** 2)
        return Sums(
            square(delta.reshape(-1, delta.shape[-1])),
            product(draws[:n], first).astype(jnp.float64),
            energy.astype(jnp.float64),
        )

    sums_here, _ = over_blocks(done.key, plan, layer, visit, draws=done.draws)
    energy = sums_here.energy
    if done.small.bias is not None:
        constant = jnp.full((1, n), plan.init.sigma_b, jnp.float64)
        from_bias = matmul(constant, mix) + matmul(done.small.bias[None, :], spread)
        energy = energy + jnp.sum(from_bias[0, : n * plan.k] ** 2)
    size = layer.m + (plan.init.sigma_b > 0)
    ratio = jnp.sum(seen[:, : n * plan.k] ** 2) / energy / (jnp.sum(used) / size)
    return sums_here, ratio


def _redrawn(small: Small, sums: Sums) -> list[Float[Array, "n nk"]]:
    """Draw Ξᵀδ^ind of every copy after the first: Gaussian, of covariance δ^indᵀδ^ind."""
    nk = sums.seen.shape[1]
    spans = [slice(c * nk, (c + 1) * nk) for c in range(1, len(small.fresh) + 1)]
    return [
        matmul(fresh, gram_factor(sums.gram[span, span]))
        for fresh, span in zip(small.fresh, spans, strict=True)
    ]


def _neurons(
    plan: Plan, layer: Layer, root: Root, xi: Float[Array, "n b"], real: Bool[Array, "b"] | None
) -> tuple[Float[Array, "n b"], Float[Array, "n b"]]:
    """Return σ_w φ'(z)/√m and σ_w φ(z)/√m for z = Rᵀξ; zero at neurons that only pad a block."""
    act, scale = plan.init.activation, plan.init.sigma_w / layer.m**0.5
    z = matmul(root.factor.T.astype(plan.dtype), xi)
    slope, out = scale * act.prime(z), scale * act(z)
    return _only(real, slope), _only(real, out)


def _only(real: Bool[Array, "b"] | None, a: Float[Array, "rows b"]) -> Float[Array, "rows b"]:
    return a if real is None else jnp.where(real[None, :], a, 0)


def _term(
    plan: Plan, covariance: Float[Array, "n n"], sums: Sums
) -> Float[Array, "copies n n k k"]:
    """(x_{k−1}·x'_{k−1}/m_{k−1} + σ_b²) δ_kᵀδ'_k of every copy."""
    n, c = covariance.shape[0], plan.copies
    blocks = sums.gram.reshape(c, n * plan.k, c, n * plan.k)
    own = jnp.stack([blocks[i, :, i] for i in range(c)]).reshape(c, n, plan.k, n, plan.k)
    return covariance[None, :, :, None, None] * own.transpose(0, 1, 3, 2, 4)
