"""Direct draws: every weight of many small networks, and what follows. The sampler's twins."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

QUICK = {"xla_backend_optimization_level": 0}


def direct_weights(seed, count, d, widths):
    """[(W_k, β_k)] of standard normals, `count` networks along the first axis."""
    rng = np.random.default_rng(seed)
    sizes = (d, *widths)
    return [
        (rng.normal(size=(count, m, sizes[k])), rng.normal(size=(count, m)))
        for k, m in enumerate(widths)
    ]


def direct_network(init, weights, x):
    """N(x) of one network at one input; x_k = σ_w φ(z_k), biases from the second layer on."""
    z = weights[0][0] @ x / jnp.sqrt(x.size)
    for w, bias in weights[1:]:
        z = init.sigma_w * (w @ init.activation.fn(z)) / jnp.sqrt(z.size) + init.sigma_b * bias
    return z


def direct_ntk(init, weights, x):
    """K(θ)[s, i, j, a, b] of many networks by their Jacobians."""

    def one(weights):
        jacobian = jax.vmap(jax.jacrev(partial(direct_network, init)), in_axes=(None, 0))
        leaves = jax.tree.leaves(jacobian(weights, x))
        flat = jnp.concatenate([j.reshape(x.shape[0], -1, j[0, 0].size) for j in leaves], axis=2)
        return jnp.einsum("iap,jbp->ijab", flat, flat)

    return np.asarray(jax.jit(jax.vmap(one), compiler_options=QUICK)(weights))


def direct_ntk_independent(init, weights, x, seed):
    """K^ind[s, i, j, a, b]: W_k (I − QQᵀ) + Ξ Qᵀ as explicit matrices, Q by the SVD."""
    rng = np.random.default_rng(seed)
    count, n, k = weights[0][0].shape[0], x.shape[0], weights[-1][0].shape[1]
    inputs, slopes = [np.broadcast_to(x.T / np.sqrt(x.shape[1]), (count, x.shape[1], n))], []
    for h, (w, bias) in enumerate(weights[:-1]):
        full = w if h == 0 else np.concatenate([w, bias[:, :, None]], axis=2)
        z = full @ inputs[-1]
        slopes.append(derivative(init.activation, z) * init.sigma_w / np.sqrt(w.shape[1]))
        out = np.asarray(init.activation.fn(jnp.asarray(z))) * init.sigma_w / np.sqrt(w.shape[1])
        inputs.append(np.concatenate([out, np.full((count, 1, n), init.sigma_b)], axis=1))
    delta = np.broadcast_to(np.eye(k)[:, None, :], (count, k, n, k))
    kernel = np.einsum("spi,spj,smia,smjb->sijab", inputs[-1], inputs[-1], delta, delta)
    for h in range(len(weights) - 1, 0, -1):
        w, bias = weights[h]
        full = np.concatenate([w, bias[:, :, None]], axis=2)
        if h < len(weights) - 1:
            u, s, _ = np.linalg.svd(inputs[h], full_matrices=False)
            q = u * (s > 1e-10)[:, None, :]
            xi = rng.normal(size=(count, w.shape[1], q.shape[2]))
            full = full + (xi - full @ q) @ q.transpose(0, 2, 1)
        back = np.einsum("smp,smia->spia", full, delta)[:, :-1]
        delta = slopes[h - 1][:, :, :, None] * back
        gram = np.einsum("spi,spj->sij", inputs[h - 1], inputs[h - 1])
        kernel = kernel + np.einsum("sij,smia,smjb->sijab", gram, delta, delta)
    return kernel


def derivative(activation, z):
    """φ'(z) by `jax.grad`, one number at a time."""
    return np.asarray(jax.vmap(jax.grad(activation.fn))(jnp.asarray(z).reshape(-1))).reshape(
        z.shape
    )
