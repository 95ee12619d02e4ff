"""K(θ) of an MLP layer by layer: two Gram products each, no Jacobian."""

from functools import reduce
from operator import add
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Num

from ntk_eoc.checks import require
from ntk_eoc.eoc import Init
from ntk_eoc.kernels.matrix import paired

Signals = list[tuple[Array, Array]]


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _signals(init: Init, weights: list[Array], biases: list[Array | None], x: Array) -> Signals:
    """Both factors of every layer: x_{k−1}/√m_{k−1} [n, m_{k−1}] and B_k [n, k, m_k]."""
    act, depth = init.activation, len(weights)
    n, outputs = x.shape[0], weights[-1].shape[0]
    inputs, slopes = [x.astype(weights[0].dtype) / x.shape[1] ** 0.5], []
    for i in range(depth - 1):
        z = _matmul(inputs[i], weights[i].T)
        if i > 0:
            z = init.sigma_w * z
        bias = biases[i]
        if bias is not None:
            z = z + init.sigma_b * bias[None]
        inputs.append(act(z) / z.shape[1] ** 0.5)
        slopes.append(act.prime(z) * (init.sigma_w / z.shape[1] ** 0.5))

    eye = jnp.eye(outputs, dtype=weights[0].dtype)
    backward = [jnp.broadcast_to(eye[None], (n, outputs, outputs))]
    for i in reversed(range(depth - 1)):
        if i == depth - 2:  # B_l = I: its product with W_l is W_l itself, for every input
            pulled = jnp.broadcast_to(weights[-1][None], (n, *weights[-1].shape))
        else:
            flat = backward[0].reshape(n * outputs, -1)
            pulled = _matmul(flat, weights[i + 1]).reshape(n, outputs, -1)
        backward.insert(0, pulled * slopes[i][:, None])
    return list(zip(inputs, backward, strict=True))


def _contract(init: Init, signals1: Signals, signals2: Signals) -> Array:
    """Σ_k (σ_w²[k>1] x_{k−1}·x'_{k−1}/m_{k−1} + σ_b²[k>1]) B_k B'_kᵀ, with σ_w where it belongs."""
    terms = []
    for i, ((x1, b1), (x2, b2)) in enumerate(zip(signals1, signals2, strict=True)):
        forward = _matmul(x1, x2.T)
        if i > 0:
            forward = init.sigma_w**2 * forward + init.sigma_b**2
        (n1, k, _), n2 = b1.shape, b2.shape[0]
        if i == len(signals1) - 1:
            backward = jnp.eye(k, dtype=b1.dtype)[None, None]
        else:
            product = _matmul(b1.reshape(n1 * k, -1), b2.reshape(n2 * k, -1).T)
            backward = product.reshape(n1, k, n2, k).swapaxes(1, 2)
        terms.append(forward[:, :, None, None] * backward)
    return reduce(add, terms)


def _layers(init: Init, params: Any) -> tuple[list[Array], list[Array | None]]:
    layers = [params["layers"][i] for i in range(len(params["layers"]))]
    return [layer["weight"] for layer in layers], [layer.get("bias") for layer in layers]


@jax.jit
def _ntk(init: Init, params: Any, x1: Array, x2: Array) -> Array:
    layers = _layers(init, params)
    return _contract(init, _signals(init, *layers, x1), _signals(init, *layers, x2))


@jax.jit
def _ntk_same(init: Init, params: Any, x: Array) -> Array:
    signals = _signals(init, *_layers(init, params), x)
    return _contract(init, signals, signals)


def ntk_layerwise(
    init: Init, params: Any, x1: Num[ArrayLike, "n1 d"], x2: Num[ArrayLike, "n2 d"]
) -> Float[Array, "n1 n2 k k"]:
    """Return K(θ) of an `MLP` without forming a Jacobian.

    K(x, x') = Σ_k (σ_b²[k>1] + x_{k−1}·x'_{k−1}/m_{k−1}) B_kᵀB'_k, the x_k scaled by σ_w, with the
    back-propagated matrices B_l = I, B_k = σ_w φ'(z_k) ⊙ W_{k+1}ᵀ B_{k+1}/√m_k. Cost: one product
    with W_k forward, one backward, two Gram products a layer; both passes once if x1 is x2.
    Memory: O(Σ_k m_k n k) beside the parameters.

    Args:
        init: Initialisation of the network; supplies φ, φ', σ_w, σ_b.
        params: `functional(mlp)[1]`: `params["layers"][i]["weight"]`, of shape (m_{i+1}, m_i), and
            where there are biases `"bias"`, of shape (m_{i+1},).
        x1: Inputs.
        x2: Inputs.

    Returns:
        K(θ) in the dtype of the parameters.

    Raises:
        ValueError: If the inputs do not fit together or to the first weight matrix.

    Source: `docs/theory.md` §3.2.
    """
    same = x1 is x2
    x1, x2 = paired(x1, x2)
    d = params["layers"][0]["weight"].shape[-1]
    require(x1.shape[1] == d, "x1", f"of {d} columns like the first weight", x1.shape)
    return _ntk_same(init, params, x1) if same else _ntk(init, params, x1, x2)
