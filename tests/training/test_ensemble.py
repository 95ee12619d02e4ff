"""Trained networks beside the limit: their spread, and the exponents of both gaps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import ntk_eoc as ne
from ntk_eoc.estimates import exponent
from ntk_eoc.network import draw_params
from ntk_eoc.training.modes import descent, eigenmodes, largest_stable_step
from ntk_eoc.training.predictions import ensemble_variance_test, predict_test
from ntk_eoc.training.trainer import Problem, squared_error, train

N, D = 5, 6
X = ne.data.load(f"sphere:{D}", 9).x
Y = np.sign(X[:N, 0])
MARKS = np.array([0, 1, 3, 10])


def kernel_of(init, kernel):
    return np.asarray(kernel(init, jnp.asarray(X), jnp.asarray(X), 2))


def rule_of(k):
    modes = eigenmodes(k[:N, :N] / N)
    rate = 0.4 * largest_stable_step(modes)
    return modes, rate, descent(rate, MARKS)


def trained(init, m, rate, seeds):
    """f_t on all points [s, t, n + q] and K(θ_0) of networks with one hidden layer."""
    single, _ = ne.functional(ne.MLP(init, D, (m, 1), rngs=nnx.Rngs(0)))
    f = jax.vmap(single, (None, 0))
    x = jnp.asarray(X)
    problem = Problem(f, x[:N], jnp.asarray(Y[:, None]), squared_error, optax.sgd(rate))

    def one(key):
        params = draw_params(key, init, D, (m, 1))
        _, outputs = train(problem, params, MARKS, key, lambda p: f(p, x)[:, 0])
        return outputs, ne.ntk_layerwise(init, params, x, x)[:, :, 0, 0]

    keys = jax.random.split(jax.random.key(m), seeds)
    return jax.device_get(jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=10))(keys))


@pytest.mark.slow
def test_within_error_mean_and_variance_of_500_networks_of_width_1024():
    init = ne.edge_of_chaos(ne.activation("relu"))
    k, nngp = (kernel_of(init, of) for of in (ne.ntk_infinite, ne.nngp_infinite))
    modes, rate, rule = rule_of(k)
    outputs = trained(init, 1024, rate, 500)[0][:, :, N:]
    cross = k[N:, :N] / N
    variance = ensemble_variance_test(
        modes, rule, cross, nngp[:N, :N], nngp[N:, :N], np.diag(nngp)[N:]
    )
    mean = predict_test(modes, rule, cross, Y, np.zeros(N), np.zeros(len(X) - N))
    assert (variance[-1] < 0.9 * variance[0]).all()
    assert (np.abs(outputs.mean(0) - mean) < 4 * np.sqrt(variance / 500)).all()
    spread = outputs.var(0, ddof=1)
    assert (np.abs(spread - variance) < 4 * variance * np.sqrt(2 / 499)).all()


@pytest.mark.slow
def test_scales_gap_to_the_limit_like_half_and_to_the_linearised_network_like_one():
    """Bands of the expectation −1/2 and, for a smooth φ, −1."""
    init = ne.edge_of_chaos(ne.activation("erf"), q=1.0)
    k, ms = kernel_of(init, ne.ntk_infinite), (64, 256, 1024)
    modes, rate, rule = rule_of(k)
    to_limit, to_own = [], []
    for m in ms:
        outputs, kernels = trained(init, m, rate, 100)
        gaps = []
        for f, own in zip(outputs, kernels, strict=True):
            start = f[0]
            predicted = [
                predict_test(which, rule, matrix[N:, :N] / N, Y, start[:N], start[N:])
                for which, matrix in ((modes, k), (eigenmodes(own[:N, :N] / N), own))
            ]
            gaps.append([np.sqrt(((f[:, N:] - p) ** 2).mean(1)).max() for p in predicted])
        to_limit.append(np.array(gaps)[:, 0])
        to_own.append(np.array(gaps)[:, 1])
    assert -0.65 < exponent(ms, to_limit).slope < -0.35
    assert -1.2 < exponent(ms, to_own).slope < -0.8
