"""The law of K(θ) − K∞ by the definition: naive twins, one pair and one neuron at a time."""

from functools import partial

import numpy as np

from ntk_eoc import gaussian

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def with_pairs():
    """Inputs of unequal norms, a pair at angle 0.01, an antipodal pair and a duplicate."""
    x = np.random.default_rng(3).normal(size=(2, 4))
    side = np.linalg.svd(x[:1])[2][1] * np.linalg.norm(x[0])
    return np.stack([x[0], x[1], np.cos(0.01) * x[0] + np.sin(0.01) * side, -x[1], x[0]])


def duals(init, q1, q2, s):
    """T and D at (q₁, q₂, s): by Gauss and Hermite, or in closed form where φ has a kink."""
    act = init.activation
    if act.kinks:
        delta = np.clip(1 - s / np.sqrt(q1 * q2), 0.0, 2.0)
        faces = (gaussian.dual, gaussian.dual_prime)
        return tuple(init.sigma_w**2 * float(f(act, q1, q2, delta).value) for f in faces)
    z1 = np.sqrt(q1) * NODES
    z2 = s / q1 * z1[:, None] + np.sqrt(max(q2 - s * s / q1, 0.0)) * NODES[None, :]
    values = [np.asarray(f(z)) for z in (z1, z2) for f in (act, act.prime)]
    weights = np.outer(WEIGHTS, WEIGHTS)
    return tuple(
        init.sigma_w**2 * float((weights * a[:, None] * b).sum())
        for a, b in (values[::2], values[1::2])
    )


def step(init, state):
    """(q₁, q₂, s, K) one layer on."""
    q1, q2, s, kernel = state
    t, d = duals(init, q1, q2, s)
    b2 = init.sigma_b**2
    squares = [duals(init, q, q, q)[0] + b2 for q in (q1, q2)]
    return np.array([*squares, t + b2, d * kernel + t + b2])


def state_after(init, x, y, layers):
    """(q₁, q₂, s, K) of a pair of inputs at layer `layers`."""
    state = np.array([x @ x, y @ y, x @ y, x @ y]) / len(x)
    for _ in range(layers - 1):
        state = step(init, state)
    return state


def rest(init, state, layers):
    """K∞ as a function of the state, `layers` layers before the end."""
    for _ in range(layers):
        state = step(init, state)
    return state[3]


def gradient(f, state, size=1e-4):
    """Central differences by (q₁, q₂, s, K)."""
    slopes = []
    for i in range(4):
        shift = np.zeros(4)
        shift[i] = size
        slopes.append((f(state + shift) - f(state - shift)) / (2 * size))
    return np.array(slopes)


def hessian(f, state, size=1e-3):
    """Central differences of central differences."""
    columns = []
    for i in range(4):
        shift = np.zeros(4)
        shift[i] = size
        up, down = (gradient(f, state + sign * shift, size) for sign in (1, -1))
        columns.append((up - down) / (2 * size))
    return np.array(columns)


def neurons(rng, init, x, j, depth, count):
    """φ̂, φ̂' and b of `count` independent neurons of hidden layer j, all inputs, one output."""
    n = len(x)
    covariance, signal = np.empty((n, n)), np.ones((n, n))
    for i in range(n):
        for p in range(n):
            state = state_after(init, x[i], x[p], j)
            covariance[i, p] = state[2]
            for _ in range(j + 1, depth):
                state = step(init, state)
                signal[i, p] *= duals(init, *state[:3])[1]

    def gauss(matrix):
        values, vectors = np.linalg.eigh(matrix)
        return rng.normal(size=(count, n)) @ (vectors * np.sqrt(np.maximum(values, 0))).T

    z = gauss(covariance)
    act = init.activation
    return init.sigma_w * np.asarray(act(z)), init.sigma_w * np.asarray(act.prime(z)), gauss(signal)


def influences(rng, init, x, j, depth, count, cross_term=True):
    """c_j(x_i, x_p) of `count` neurons, [count, n, n]; without the b b' in the mean if told so.

    Without the cross term b is drawn afresh for the part with slopes, which then does not know
    the rest: a covariance that forgets Cov(φ̂², φ̂_s² b²).
    """
    n = len(x)
    u, v, b = neurons(rng, init, x, j, depth, count)
    w = v if cross_term else neurons(rng, init, x, j, depth, count)[1]
    c = np.empty((count, n, n))
    for i in range(n):
        for p in range(n):
            state = state_after(init, x[i], x[p], j + 1)
            f = partial(rest, init, layers=depth - j - 1)
            if i == p:  # the two inputs move together
                up, down = (f(state + sign * 1e-4) for sign in (1, -1))
                g1, g2, gs, gk = (up - down) / 2e-4, 0, 0, 0
            else:
                g1, g2, gs, gk = gradient(f, state)
            kernel = state_after(init, x[i], x[p], j)[3]
            c[:, i, p] = g1 * u[:, i] ** 2 + g2 * u[:, p] ** 2 + (gs + gk) * u[:, i] * u[:, p]
            c[:, i, p] += kernel * w[:, i] * w[:, p] * b[:, i] * b[:, p]
    return c


def shift_terms(rng, init, x, y, depth, count):
    """The two parts of m (E K − K∞) at constant width m, by neurons; [2] and standard errors."""
    parts, errors = np.zeros(2), np.zeros(2)
    z = np.zeros((2, 2))
    pair = np.stack([x, y])
    for j in range(depth - 2, 0, -1):
        z = correlation(init, state_after(init, x, y, j + 1), depth - j - 1, z)
        after = state_after(init, x, y, j + 1)
        kernel = state_after(init, x, y, j)[3]
        u, v, _ = neurons(rng, init, pair, j, depth, count)
        curve = hessian(lambda s, j=j: rest(init, s, depth - j - 1), after)
        steps = np.stack([u[:, 0] ** 2, u[:, 1] ** 2, u[:, 0] * u[:, 1]], axis=1)
        last = steps[:, 2] + kernel * v[:, 0] * v[:, 1]
        noise = np.concatenate([steps, last[:, None]], axis=1)
        noise -= noise.mean(axis=0)
        terms = (
            0.5 * np.einsum("ca,ab,cb->c", noise, curve, noise),
            kernel * v[:, 0] * v[:, 1] * np.einsum("ca,ab,cb->c", u, z, u),
        )
        for part, term in enumerate(terms):
            parts[part] += term.mean()
            errors[part] += term.var() / count
    return parts, np.sqrt(errors)


def correlation(init, state, layers_left, z, propagate=True):
    """Ẑ_j = B_{j+1} H_j + N_1 Ẑ_{j+1} N_2ᵀ at the state of layer j; no last term if told."""
    size, (q1, q2, s, _) = 1e-4, state

    def slopes(f):
        base = np.array([q1, q2, s])
        moves = np.eye(3) * size
        return np.array([(f(*(base + h)) - f(*(base - h))) / (2 * size) for h in moves])

    t = slopes(lambda *y: duals(init, *y)[0])
    d = slopes(lambda *y: duals(init, *y)[1])
    slope = duals(init, q1, q2, s)[1]
    square1, square2 = (slopes(lambda *y, i=i: duals(init, y[i], y[i], y[i])[0])[i] for i in (0, 1))
    signal, later = 1.0, np.array(state)
    for _ in range(layers_left - 1):
        later = step(init, later)
        signal *= duals(init, *later[:3])[1]
    h = np.array([[2 * d[0], d[2]], [d[2], 2 * d[1]]])
    n1 = np.array([[square1, 2 * t[0]], [0, slope]])
    n2 = np.array([[slope, 0], [2 * t[1], square2]])
    return signal * h + (n1 @ z @ n2.T if propagate else 0.0)
