"""The forward pass of a fresh network, exact in law, without drawing a weight.

Given the Gram matrix of a layer's inputs its neurons are independent Gaussian vectors; only n × n
matrices pass from layer to layer (`docs/theory.md` §3.3).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float

from ntk_eoc.eoc import Init
from ntk_eoc.kernels.blocks import (
    MEMORY,
    Ensemble,
    Ensembles,
    Network,
    Plan,
    Run,
    knowing_its_batch,
    over_blocks,
    start_run,
)
from ntk_eoc.kernels.counter_normals import Key, stream_key
from ntk_eoc.kernels.grams import Root, gram_root, product, square


def nngp_sampled(
    key: Array,
    init: Init,
    x: Float[ArrayLike, "n d"],
    widths: Sequence[int],
    *,
    memory: int = MEMORY,
    dtype: Any = None,
) -> Float[Array, "layers n n"]:
    """Draw the Gram matrices of every hidden layer of a fresh MLP, exact in law at any width.

    Σ_{k+1}(x, x') = σ_w² φ(z_k)·φ(z'_k)/m_k + σ_b² for k = 1 … l − 1: given layer k, the covariance
    of the preactivations of layer k + 1, whose limit is `nngp_infinite` at depth k + 1. It takes
    time O(Σ m_k n²) and draws no weight. The same key and arguments give the network of
    `ntk_sampled`.

    Arguments and errors are those of `ntk_sampled`; the outputs m_l are not looked at.

    Returns:
        The matrices [l − 1, n, n], in float64.

    Source: `docs/theory.md` §3.3.
    """
    ensemble = nngp_ensemble(init, x, widths, memory=memory, dtype=dtype)
    return draw_nngp(key, ensemble)[: len(widths) - 1]


nngp_ensemble = Ensembles("nngp_sampled", copies=0)
"""What `draw_nngp` draws from."""


@jax.jit
def draw_nngp(key: Array, ensemble: Ensemble) -> Float[Array, "capacity n n"]:
    """Draw `nngp_sampled` of a network of the ensemble, whose widths and depth are data here.

    The matrices past its l − 1 hidden layers are 0.
    """
    draw = knowing_its_batch(partial(_grams, ensemble.plan))
    return draw(stream_key(key), ensemble.x, ensemble.network)


def _grams(
    plan: Plan, batch: int, key: Key, x: Array, network: Network
) -> Float[Array, "capacity n n"]:
    n, run = x.shape[0], start_run(plan, batch, key, network)

    def layer(h: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        covariance, grams = carry
        root = gram_root(covariance)

        def visit(xi: Array, real: Array) -> Array:
            return square(neurons(run, h, root, xi, real)[1])

        gram = over_blocks(run, h, n, n, visit) + network.sigma_b**2
        return gram, lax.dynamic_update_index_in_dim(grams, gram, h, 0)

    start = jnp.zeros((network.widths.shape[0], n, n), jnp.float64)
    none = jnp.zeros_like(network.hidden)
    return lax.fori_loop(none, network.hidden, layer, (input_covariance(x), start))[1]


def input_covariance(x: Float[Array, "n d"]) -> Float[Array, "n n"]:
    """XXᵀ/d, the covariance of the first preactivations."""
    x = x.astype(jnp.float64)
    return product(x, x) / x.shape[1]


def neurons(
    run: Run, h: Array, root: Root, xi: Float[Array, "n b"], real: Bool[Array, "1 b"]
) -> tuple[Float[Array, "n b"], Float[Array, "n b"]]:
    """Return σ_w φ'(z)/√m and σ_w φ(z)/√m for z = Rᵀξ; zero at neurons that only fill a block."""
    act, scale = run.plan.activation, run.scales[h]
    z = lax.dot_general(
        root.factor.astype(run.plan.dtype), xi, (((0,), (0,)), ((), ())), lax.Precision.HIGHEST
    )
    return jnp.where(real, scale * act.prime(z), 0), jnp.where(real, scale * act(z), 0)
