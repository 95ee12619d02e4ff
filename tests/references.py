"""Naive twins and independent oracles, written to be read, not to be fast."""

import mpmath
import numpy as np


def angle_mp(x, y):
    """Angle of two stored vectors, in mpmath's working precision."""
    x, y = [mpmath.mpf(float(v)) for v in x], [mpmath.mpf(float(v)) for v in y]
    nx, ny = mpmath.norm(x), mpmath.norm(y)
    difference = mpmath.norm([a / nx - b / ny for a, b in zip(x, y, strict=True)])
    total = mpmath.norm([a / nx + b / ny for a, b in zip(x, y, strict=True)])
    return 2 * mpmath.atan2(difference, total)


def kappa_mp(delta_phi, theta, depth):
    """κ_l(θ) by the definition of [S], in mpmath's working precision."""
    delta_phi, rho = mpmath.mpf(delta_phi), mpmath.cos(theta)
    kappa = rho
    for _ in range(depth - 1):
        angle = mpmath.acos(rho)
        slope = 1 - delta_phi * 2 / mpmath.pi * angle
        rho = rho + delta_phi * 2 / mpmath.pi * (mpmath.sin(angle) - angle * rho)
        kappa = slope * kappa + rho
    return kappa


def ntk_mp(delta_phi, x, y, depth):
    """K∞ of two stored vectors, in mpmath's working precision."""
    size = mpmath.norm([float(v) for v in x]) * mpmath.norm([float(v) for v in y]) / len(x)
    return size * kappa_mp(delta_phi, angle_mp(x, y), depth)


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
