"""Naive twins and independent oracles, written to be read, not to be fast."""

import jax
import mpmath
import numpy as np


def exact_mp(x):
    """The stored numbers themselves; mpmath's own are kept as they are."""
    return [v if isinstance(v, mpmath.mpf) else mpmath.mpf(float(v)) for v in x]


def angle_mp(x, y):
    """Angle of two stored vectors, in mpmath's working precision."""
    x, y = exact_mp(x), exact_mp(y)
    nx, ny = mpmath.norm(x), mpmath.norm(y)
    difference = mpmath.norm([a / nx - b / ny for a, b in zip(x, y, strict=True)])
    total = mpmath.norm([a / nx + b / ny for a, b in zip(x, y, strict=True)])
    return 2 * mpmath.atan2(difference, total)


def kappas_mp(delta_phi, theta, depths):
    """{l: κ_l(θ)} by the definition of [S], in mpmath's working precision."""
    delta_phi, rho = mpmath.mpf(delta_phi), mpmath.cos(theta)
    kappa, found = rho, {}
    for depth in range(1, max(depths) + 1):
        found[depth] = kappa
        angle = mpmath.acos(rho)
        slope = 1 - delta_phi * 2 / mpmath.pi * angle
        rho = rho + delta_phi * 2 / mpmath.pi * (mpmath.sin(angle) - angle * rho)
        kappa = slope * kappa + rho
    return {depth: found[depth] for depth in depths}


def ntks_mp(delta_phi, x, y, depths):
    """{l: K∞(x, y)} of two stored vectors, in mpmath's working precision."""
    size = mpmath.norm(exact_mp(x)) * mpmath.norm(exact_mp(y)) / len(x)
    kappas = kappas_mp(delta_phi, angle_mp(x, y), depths)
    return {depth: size * kappa for depth, kappa in kappas.items()}


def kinked_dual_mp(a, b):
    """Dual of a s + b|s|, a function of both variances and the covariance."""

    def dual(q1, q2, c):
        root = mpmath.sqrt(q1 * q2)
        theta = mpmath.acos(max(min(c / root, 1), -1))
        bent = mpmath.sin(theta) + (mpmath.pi / 2 - theta) * mpmath.cos(theta)
        return root * (
            mpmath.mpf(a) ** 2 * mpmath.cos(theta) + mpmath.mpf(b) ** 2 * 2 / mpmath.pi * bent
        )

    return dual


def gelu_dual_mp(q1, q2, c):
    """Dual of s Φ(s), by Stein's lemma twice."""
    noisy, p = (1 + q1) * (1 + q2), 1 / ((1 + q1) * (1 + q2))
    both = mpmath.mpf(1) / 4 + mpmath.asin(c / mpmath.sqrt(noisy)) / (2 * mpmath.pi)
    densities = 1 / (2 * mpmath.pi * mpmath.sqrt(noisy - c * c))
    return c * both + (q1 * q2 + c * c * (1 - q1 * q2) * p) * densities


def limit_mp(dual, w2, b2, x, y, depth):
    """K∞(x, y), E[φ'φ'] as the derivative of the dual by the covariance."""
    q1, q2, c = (
        sum(s * t for s, t in zip(*p, strict=True)) / len(x) for p in ((x, x), (y, y), (x, y))
    )
    kernel = c
    for _ in range(1, depth):
        step = c * mpmath.mpf(10) ** (-mpmath.mp.dps // 2)
        slope = (dual(q1, q2, c - step) - dual(q1, q2, c - 2 * step)) / step
        q1, q2, c = (w2 * dual(*of) + b2 for of in ((q1, q1, q1), (q2, q2, q2), (q1, q2, c)))
        kernel = w2 * slope * kernel + c
    return kernel


def mlp_forward(init, params, x):
    """z_l by the definition, one neuron sum at a time in numpy."""
    weights = [np.asarray(params["layers"][i]["weight"]) for i in range(len(params["layers"]))]
    x = np.asarray(x)
    for i, w in enumerate(weights):
        z = w @ x / np.sqrt(w.shape[1])
        if i > 0:
            z = init.sigma_w * z
            if init.sigma_b:
                z = z + init.sigma_b * np.asarray(params["layers"][i]["bias"])
        x = np.asarray(init.activation(z))
    return z


def ntk_finite_differences(f, params, x1, x2, step=1e-5):
    """K(θ) = J Jᵀ with J by central differences of every parameter, in numpy float64."""
    leaves, tree = jax.tree.flatten(params)
    flat = np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def evaluate(vector, x):
        parts = np.split(vector, ends)
        shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return np.asarray(f(jax.tree.unflatten(tree, shaped), x))

    def jacobian(x):
        columns = []
        for i in range(flat.size):
            shift = np.zeros_like(flat)
            shift[i] = step
            columns.append((evaluate(flat + shift, x) - evaluate(flat - shift, x)) / (2 * step))
        return np.stack(columns, axis=1)

    j1, j2 = [jacobian(x) for x in x1], [jacobian(x) for x in x2]
    return np.array([[a @ b.T for b in j2] for a in j1])
