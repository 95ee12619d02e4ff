"""K(θ) of a fresh network, exact in law, without drawing a weight: `docs/theory.md` §3.3.

Given the Gram matrix of a layer's inputs its neurons are independent Gaussian vectors, and given
the forward pass so is the part of W_kᵀδ_k that the forward pass has not seen. Every layer is a sum
over independent neurons, drawn in blocks, once on the way up and once more on the way down; only
n × n matrices pass from layer to layer.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from ntk_eoc.eoc import Init
from ntk_eoc.kernels.blocks import (
    BIAS,
    FRESH,
    MEMORY,
    Ensemble,
    Ensembles,
    Network,
    Plan,
    Run,
    columns,
    kept,
    knowing_its_batch,
    over_blocks,
    start_run,
)
from ntk_eoc.kernels.counter_normals import Key, normals, stream_key
from ntk_eoc.kernels.forward_pass import input_covariance, neurons
from ntk_eoc.kernels.grams import Root, gram_factor, gram_root, matmul, product, square


class Forward(NamedTuple):
    """What the forward pass leaves of a hidden layer; A = [σ_w φ(z)ᵀ/√m; σ_b] are its outputs."""

    covariance: Float[Array, "n n"]  # of z, which is also the kernel of the layer's inputs
    root: Root  # of the covariance
    cross: Float[Array, "n q"]  # Aᵀη, with the bias coordinate

    @classmethod
    def side_by_side(cls, columns: Float[Array, "n columns"]) -> "Forward":
        """Take the matrices apart that `jax.tree.leaves` gives in a row."""
        n = columns.shape[0]
        covariance, factor, whiten, cross = jnp.split(columns, (n, 2 * n, 3 * n), axis=1)
        return cls(covariance, Root(factor, whiten), cross)


class Sums(NamedTuple):
    """Sums over the neurons of a layer in the backward pass."""

    gram: Float[Array, "q q"]  # δᵀδ
    seen: Float[Array, "n nk"]  # ξδ, of the first copy
    energy: Float[Array, ""]  # ‖Wᵀδ‖² of the layer above, of the first copy; 0 if K is all


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
    in time O(Σ m_k n² k²). The data may have any norms and any rank. One program serves all widths,
    depths, σ_w and σ_b at equal n, d, k, dtype and activation: under `vmap` over keys too, but an
    outer `jit` that closes over the widths compiles for each anew; hand `draw_ntk` to it, and the
    `ntk_ensemble` as an argument.

    Args:
        key: A JAX random key; the draw is a function of it, of the shapes and of `dtype`.
        init: Activation and scales.
        x: Inputs.
        widths: (m_1, …, m_l), outputs k = m_l last.
        memory: Bytes of working memory of one draw. It bounds the blocks in which neurons are
            drawn; the draw itself stays the same, up to rounding.
        dtype: Of the Gaussians; that of `x` unless given. Gram matrices, their square roots and K
            are float64 in any case.

    Returns:
        K[i, j, a, b] between output a at x_i and output b at x_j, in float64.

    Raises:
        TypeError, ValueError: If `widths` is empty or holds anything but positive integers up to
            2³¹, if `x` is not [n, d] with n, d >= 1, or if `memory` does not hold the n × n
            matrices.
        RuntimeError: If JAX's float64 is off.

    Source: `docs/theory.md` §3.3.
    """
    return draw_ntk(key, ntk_ensemble(init, x, widths, memory=memory, dtype=dtype))


ntk_ensemble = Ensembles("ntk_sampled", copies=1)
"""What `draw_ntk` draws from."""


@jax.jit
def draw_ntk(key: Array, ensemble: Ensemble) -> Float[Array, "n n k k"]:
    """Draw `ntk_sampled` of a network of the ensemble, whose widths and depth are data here."""
    return sample(key, ensemble)[0][0]


def sample(
    key: Array, ensemble: Ensemble
) -> tuple[Float[Array, "copies n n k k"], Float[Array, "capacity"]]:
    """Draw the kernels of every copy, and the energy ratios of layers 2 … l − 1.

    Copy 0 is K. The others are K^ind of `gradient_independence`: they see the same W_l and the same
    W̃ as K, and each its own Ξ in place of ξ. Without hidden layers K is not random.
    """
    x, network, plan, linear = ensemble.x, ensemble.network, ensemble.plan, ensemble.linear
    if linear:
        identity = jnp.eye(plan.k, dtype=jnp.float64)
        kernel = input_covariance(x)[:, :, None, None] * identity[None, None]
        return jnp.broadcast_to(kernel, (plan.copies, *kernel.shape)), jnp.zeros(0, jnp.float64)
    return knowing_its_batch(partial(_sample, plan))(stream_key(key), x, network)


def _sample(
    plan: Plan, batch: int, key: Key, x: Array, network: Network
) -> tuple[Float[Array, "copies n n k k"], Float[Array, "capacity"]]:
    n, top, run = x.shape[0], network.hidden - 1, start_run(plan, batch, key, network)

    def forward(h: Array, carry: tuple[Array, Root, Array]) -> tuple[Array, Root, Array]:
        done, covariance = _forward(run, h, carry[0], h < top)
        side_by_side = jnp.concatenate(jax.tree.leaves(done), axis=1)
        stack = lax.dynamic_update_index_in_dim(carry[2], side_by_side, h, 0)
        return covariance, done.root, stack

    # The last hidden layer is there for its root alone: one more would be compiled once more.
    layers = network.widths.shape[0]
    stack = jnp.zeros((layers, n, 3 * n + columns(n, plan)), jnp.float64)
    none = Root(*jnp.zeros((2, n, n), jnp.float64))
    start = (input_covariance(x), none, stack)
    covariance, root, stack = lax.fori_loop(jnp.zeros_like(top), network.hidden, forward, start)

    last, sums = _top(run, top, root)
    identity = jnp.eye(plan.k, dtype=jnp.float64)
    kernels = last[None, :, None, :, None] * identity[None, None, :, None, :]
    kernels = kernels + _term(plan, covariance, sums)

    def backward(i: Array, carry: Any) -> Any:
        kernels, ratios, above, sums = carry
        h = top - 1 - i
        done = Forward.side_by_side(lax.dynamic_index_in_dim(stack, h, 0, keepdims=False))
        sums, ratio = _backward(run, h, done, above, sums)
        kernels = kernels + _term(plan, done.covariance, sums)
        return kernels, lax.dynamic_update_index_in_dim(ratios, ratio, h, 0), done.root, sums

    ratios = jnp.zeros(layers, jnp.float64)
    kernels, ratios, *_ = lax.fori_loop(
        jnp.zeros_like(top), top, backward, (kernels, ratios, root, sums)
    )
    return kernels.transpose(0, 1, 3, 2, 4), ratios


def _forward(
    run: Run, h: Array, covariance: Float[Array, "n n"], more: Array
) -> tuple[Forward, Float[Array, "n n"]]:
    """Draw a layer's neurons: what the backward pass needs of it, and the next covariance.

    If no `more` hidden layers follow, draw none of them, and return the same covariance.
    """
    n, root = covariance.shape[0], gram_root(covariance)
    q = columns(n, run.plan)

    def visit(draws: Array, real: Array) -> tuple[Array, Array]:
        _, out = neurons(run, h, root, draws[:n], real)
        return square(out), product(out, draws[n:]).astype(jnp.float64)

    gram, cross = over_blocks(run, h, n, n + q, visit, more)
    cross = cross + run.network.sigma_b * kept(more, partial(_bias, run, h, q))
    following = jnp.where(more, gram + run.network.sigma_b**2, covariance)
    return Forward(covariance, root, cross), following


def _top(run: Run, h: Array, root: Root) -> tuple[Float[Array, "n n"], Sums]:
    """Draw the last hidden layer, whose δ = σ_w φ'(z) ⊙ W_lᵀ/√m needs no second visit."""
    n, k, copies = root.factor.shape[0], run.plan.k, run.plan.copies

    def visit(draws: Array, real: Array) -> tuple[Array, Array, Array]:
        slope, out = neurons(run, h, root, draws[:n], real)
        delta = (slope[:, None, :] * draws[None, n:]).reshape(n * k, -1)
        return square(out), square(delta), product(draws[:n], delta).astype(jnp.float64)

    gram, delta_gram, seen = over_blocks(run, h, n, n + k, visit)
    sums = Sums(jnp.tile(delta_gram, (copies, copies)), seen, jnp.zeros((), jnp.float64))
    return gram + run.network.sigma_b**2, sums


def _backward(
    run: Run, h: Array, done: Forward, above: Root, sums: Sums
) -> tuple[Sums, Float[Array, ""]]:
    """Pass δ through the weights above a layer: W_kᵀδ_k = Q(ξδ_k) + (I − QQᵀ) η C, CᵀC = δ_kᵀδ_k.

    Returns the layer's own sums, and the share of ‖W_kᵀδ_k‖² in the n directions of Q over
    rank/m, the share of a direction that knows nothing of Q.
    """
    (n, nk), (_, _, copies, _, dtype) = sums.seen.shape, run.plan
    sigma_b, spread = run.network.sigma_b, gram_factor(sums.gram)
    used = jnp.any(above.whiten != 0, axis=1).astype(jnp.float64)
    seen = jnp.concatenate([sums.seen, *_redrawn(run, h, sums)], axis=1) * used[:, None]
    hidden = matmul(above.whiten, matmul(done.cross, spread))
    # In the basis of the outputs A rather than of Q = A Wᵀ.
    mix = matmul(above.whiten.T, seen - hidden)
    mixing = jnp.concatenate([mix, spread]).astype(dtype)

    def visit(draws: Array, real: Array) -> Sums:
        slope, out = neurons(run, h, done.root, draws[:n], real)
        back = product(mixing.T, jnp.concatenate([out, draws[n:]]).T)
        delta = slope[None, :, None, :] * back.reshape(copies, n, run.plan.k, -1)
        own = jnp.where(real, back[:nk], 0) if copies > 1 else jnp.zeros((), dtype)
        return Sums(
            square(delta.reshape(-1, delta.shape[-1])),
            product(draws[:n], delta[0].reshape(nk, -1)).astype(jnp.float64),
            jnp.sum(own**2).astype(jnp.float64),
        )

    here = over_blocks(run, h, n, n + len(spread), visit)
    from_bias = sigma_b * jnp.sum(mix, axis=0) + matmul(_bias(run, h, len(spread)), spread)[0]
    energy = here.energy + jnp.where(sigma_b > 0, jnp.sum(from_bias[:nk] ** 2), 0)
    size = run.network.widths[h] + (sigma_b > 0)
    return here, jnp.sum(seen[:, :nk] ** 2) / energy / (jnp.sum(used) / size)


def _bias(run: Run, h: Array, q: int) -> Float[Array, "1 q"]:
    """Draw η of the bias coordinate of a layer's outputs."""
    return normals(run.key(h, BIAS), 1, 0, q, run.plan.dtype).astype(jnp.float64)


def _redrawn(run: Run, h: Array, sums: Sums) -> list[Float[Array, "n nk"]]:
    """Draw Ξᵀδ^ind of every copy after the first: Gaussian, of covariance δ^indᵀδ^ind."""
    (n, nk), copies = sums.seen.shape, run.plan.copies
    if copies == 1:
        return []
    fresh = normals(run.key(h, FRESH), (copies - 1) * n, 0, nk, run.plan.dtype).astype(jnp.float64)
    grams = sums.gram.reshape(copies, nk, copies, nk)
    return [
        matmul(mine, gram_factor(grams[c, :, c]))
        for c, mine in enumerate(fresh.reshape(copies - 1, n, nk), start=1)
    ]


def _term(
    plan: Plan, covariance: Float[Array, "n n"], sums: Sums
) -> Float[Array, "copies n k n k"]:
    """(x_{k−1}·x'_{k−1}/m_{k−1} + σ_b²) δ_kᵀδ'_k of every copy."""
    n, c = covariance.shape[0], plan.copies
    blocks = sums.gram.reshape(c, n * plan.k, c, n * plan.k)
    own = jnp.stack([blocks[i, :, i] for i in range(c)]).reshape(c, n, plan.k, n, plan.k)
    return covariance[None, :, None, :, None] * own
