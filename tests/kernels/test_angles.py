"""Angles of inputs at any norms and any ratio of them, against 60 digits."""

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc.kernels.angles import all_angles


def exact_delta(x: np.ndarray, y: np.ndarray) -> mpmath.mpf:
    """1 − cos θ of the given floats."""
    with mpmath.workdps(60):
        x, y = ([mpmath.mpf(float(a)) for a in v] for v in (x, y))
        return 1 - mpmath.fdot(x, y) / mpmath.sqrt(mpmath.fdot(x, x) * mpmath.fdot(y, y))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_agrees_angles_with_60_digits_at_any_ratio_of_norms(dtype):
    rng = np.random.default_rng(3)
    u, v = np.linalg.qr(rng.normal(size=(12, 2)))[0].T
    far = 1e30 if dtype == "float32" else 1e140
    x, y, right = [], [], []
    for theta in (0.05, 1e-3, 1e-5):
        for ratio in (1, 3, 1e4, 1e6, 1e9, far):
            x.append((u / np.sqrt(ratio)).astype(dtype))
            y.append(((np.cos(theta) * u + np.sin(theta) * v) * np.sqrt(ratio)).astype(dtype))
            right.append(float(exact_delta(x[-1], y[-1])))
    x, y = jnp.asarray(np.stack(x)), jnp.asarray(np.stack(y))
    near, opposite = all_angles(x, y).delta.diagonal(), all_angles(x, -y).eta.diagonal()
    rtol = 8 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(near, right, rtol=rtol)
    np.testing.assert_array_equal(opposite, near)
    np.testing.assert_allclose(all_angles(y, x).delta.diagonal(), near, rtol=rtol)


@pytest.mark.parametrize("size", [1e-17, 1e-10, 1e-3, 1.0, 3e9, 1e17])
def test_exact_kernels_in_float32_at_extreme_norms(size):
    init, x = ne.edge_of_chaos("relu"), jnp.full((1, 3), size, jnp.float32)
    x = x.at[0, 1:].set(0)
    right = float(x[0, 0]) ** 2 / 3
    for depth in (1, 2, 4):
        found = ne.ntk_infinite(init, x, x, depth)
        np.testing.assert_allclose(found, [[depth * right]], rtol=1e-6)
        found = ne.nngp_infinite(init, x, x, depth)
        np.testing.assert_allclose(found, [[right]], rtol=1e-6)


def test_exact_clusters_at_mixed_norms_stay_positive_in_float32():
    rng = np.random.default_rng(4)
    x = np.repeat(rng.normal(size=(4, 20)), 5, 0) + 1e-3 * rng.normal(size=(20, 20))
    x = (x * 10 ** rng.uniform(-3, 3, (20, 1))).astype("float32")
    kernel = np.array(ne.ntk_infinite("relu", x, x, 5), float)
    kernel /= np.sqrt(np.outer(kernel.diagonal(), kernel.diagonal()))
    x = x.astype(float)
    right = np.array(ne.ntk_infinite("relu", x, x, 5))
    right /= np.sqrt(np.outer(right.diagonal(), right.diagonal()))
    least, truth = np.linalg.eigvalsh(kernel)[0], np.linalg.eigvalsh(right)[0]
    np.testing.assert_allclose(least, truth, rtol=0.02)
