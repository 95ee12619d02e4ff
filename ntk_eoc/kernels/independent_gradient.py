"""How far the backward pass is from independent of the forward pass ([C]; `docs/theory.md` §3).

K^ind back-propagates through W_k^ind = Ξ Qᵀ + W_k (I − QQᵀ), k = 2 … l − 1, with Ξ fresh and
Q spanning the inputs x_{k−1} of the layer: weights which the forward pass has not seen.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ntk_eoc.checks import require
from ntk_eoc.eoc import Init
from ntk_eoc.kernels.blocks import MEMORY, Ensemble, Ensembles, require_float64
from ntk_eoc.kernels.grams import gram_root, matmul, square
from ntk_eoc.kernels.sampled import sample


class GradientIndependence(NamedTuple):
    """K(θ) beside the same network's K^ind.

    Attributes:
        kernel: K(θ).
        independent: K^ind, with fresh Ξ and the W_k (I − QQᵀ) of K.
        redrawn: A second K^ind with another Ξ: its distance from `independent` is the noise of the
            redraw, which is also in the distance of `independent` from `kernel`.
        energy: Of layers 2 … l − 1: the share of ‖W_kᵀδ_k‖² in the span of the layer's inputs, over
            rank/m_{k−1}, the share of that span in all directions. 1 means independent.
    """

    kernel: Float[Array, "n n k k"]
    independent: Float[Array, "n n k k"]
    redrawn: Float[Array, "n n k k"]
    energy: Float[Array, "layers"]


def gradient_independence_sampled(
    key: Array,
    init: Init,
    x: Float[ArrayLike, "n d"],
    widths: Sequence[int],
    *,
    memory: int = MEMORY,
    dtype: Any = None,
) -> GradientIndependence:
    """Draw K(θ) and two K^ind of a fresh network, exact in law jointly, without its weights.

    Arguments and errors are those of `ntk_sampled`, and the law of `kernel` is that of its result;
    the three back-propagated signals are drawn together, from their joint Gram matrix.

    Source: `docs/theory.md` §3.
    """
    ensemble = gradient_independence_ensemble(init, x, widths, memory=memory, dtype=dtype)
    found = draw_gradient_independence(key, ensemble)
    return found._replace(energy=found.energy[: max(len(widths) - 2, 0)])


gradient_independence_ensemble = Ensembles("gradient_independence_sampled", copies=3)
"""What `draw_gradient_independence` draws from."""


@jax.jit
def draw_gradient_independence(key: Array, ensemble: Ensemble) -> GradientIndependence:
    """Draw `gradient_independence_sampled` of a network of the ensemble.

    The widths and the depth are data here, and so `energy` has zeros after its l − 2 layers.
    """
    kernels, energy = sample(key, ensemble)
    return GradientIndependence(kernels[0], kernels[1], kernels[2], energy)


def gradient_independence(
    key: Array, init: Init, params: Any, x: Float[ArrayLike, "n d"]
) -> GradientIndependence:
    """Return the same of an `MLP` from its weights, which it projects on the forward activations.

    Args:
        key: A JAX random key, for the two Ξ.
        init: Initialisation of the network.
        params: `functional(mlp)[1]`, as in `ntk_layerwise`; at least one layer.
        x: Inputs.

    Raises:
        ValueError: If `x` is not [n, d] with n >= 1 and the d of the first weight.
        RuntimeError: If JAX's float64 is off.

    Source: `docs/theory.md` §3.
    """
    require_float64("gradient_independence")
    layers = [params["layers"][i] for i in range(len(params["layers"]))]
    x = jnp.asarray(x)
    d = layers[0]["weight"].shape[1]
    require(x.ndim == 2 and x.shape[0] >= 1 and x.shape[1] == d, "x", f"[n, {d}], n >= 1", x.shape)
    weights = [layers[0]["weight"]]
    for layer in layers[1:]:
        bias = [layer["bias"][:, None]] if init.sigma_b else []
        weights.append(jnp.concatenate([layer["weight"], *bias], axis=1))
    return _from_weights(key, init, weights, x.astype(weights[0].dtype))


@jax.jit
def _from_weights(
    key: Array, init: Init, weights: list[Array], x: Float[Array, "n d"]
) -> GradientIndependence:
    """`weights` hold the biases as a last column, and `inputs` a last coordinate σ_b."""
    n, k = x.shape[0], weights[-1].shape[0]
    inputs, slopes = [x / x.shape[1] ** 0.5], []
    for w in weights[:-1]:
        z = matmul(inputs[-1], w.T)
        scale = init.sigma_w / z.shape[1] ** 0.5
        bias = [jnp.full((n, 1), init.sigma_b, z.dtype)] if init.sigma_b else []
        inputs.append(jnp.concatenate([scale * init.activation(z), *bias], axis=1))
        slopes.append(scale * init.activation.prime(z))

    delta = jnp.broadcast_to(jnp.eye(k, dtype=x.dtype)[None, None], (3, n, k, k))
    kernels = _kernels(inputs[-1], delta)
    energy = []
    for h in range(len(weights) - 1, 0, -1):
        back = matmul(delta.reshape(3 * n * k, -1), weights[h]).reshape(3, n * k, -1)
        if h < len(weights) - 1:
            back, ratio = _replace(jax.random.fold_in(key, h), inputs[h], delta, back)
            energy.append(ratio)
        back = back[:, :, : slopes[h - 1].shape[1]].reshape(3, n, k, -1)
        delta = slopes[h - 1][None, :, None] * back
        kernels = kernels + _kernels(inputs[h - 1], delta)
    kernel, independent, redrawn = kernels
    return GradientIndependence(
        kernel, independent, redrawn, jnp.array(energy[::-1], dtype=jnp.float64)
    )


def _replace(
    key: Array, inputs: Array, delta: Array, back: Float[Array, "3 nk m"]
) -> tuple[Float[Array, "3 nk m"], Float[Array, ""]]:
    """Put Ξᵀδ in the place of the Q-part of Wᵀδ for copies 1 and 2; the energy ratio of copy 0."""
    n, size = inputs.shape
    root = gram_root(square(inputs))
    q = matmul(inputs.T, root.whiten.T.astype(inputs.dtype))
    seen = matmul(back.reshape(-1, size), q).reshape(3, -1, n)
    xi = jax.random.normal(key, (2, delta.shape[-1], n), delta.dtype)
    fresh = jnp.stack([matmul(delta[1 + c].reshape(-1, delta.shape[-1]), xi[c]) for c in range(2)])
    change = jnp.concatenate([jnp.zeros_like(seen[:1]), fresh - seen[1:]])
    replaced = back + matmul(change.reshape(-1, n), q.T).reshape(back.shape)
    share = jnp.sum(seen[0].astype(jnp.float64) ** 2) / jnp.sum(back[0].astype(jnp.float64) ** 2)
    rank = jnp.sum(jnp.any(root.whiten != 0, axis=1).astype(jnp.float64))
    return replaced, share / (rank / size)


def _kernels(inputs: Array, delta: Float[Array, "3 n k m"]) -> Float[Array, "3 n n k k"]:
    """One layer's term of the three kernels."""
    _, n, k, _ = delta.shape
    grams = [square(d.reshape(n * k, -1)).reshape(n, k, n, k) for d in delta]
    terms = jnp.stack(grams).swapaxes(2, 3)
    return square(inputs)[None, :, :, None, None] * terms
