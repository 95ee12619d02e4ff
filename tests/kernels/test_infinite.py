import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import references
from hypothesis import given
from hypothesis import strategies as st

import ntk_eoc as ne

DEPTHS = (1, 2, 3, 10, 100, 1000)
ANGLES = {
    # angles and the relative error of the defect l − K that each dtype must keep
    np.float64: ((1e-8, 1e-5, 1e-2, 0.7, np.pi / 2, 2.5, np.pi - 1e-6, np.pi), 1e-12),
    np.float32: ((1e-4, 1e-2, 0.7, np.pi / 2, 2.5, np.pi - 1e-3, np.pi), 1e-4),
}


def init_of(delta_phi):
    return ne.edge_of_chaos(ne.abs_linear(np.sqrt(1 - delta_phi), np.sqrt(delta_phi)))


@pytest.mark.parametrize("delta_phi", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_agrees_with_60_digits_at_every_angle(delta_phi, dtype):
    angles, tolerance = ANGLES[dtype]
    init = init_of(delta_phi)
    frame, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(7, 2)))
    x = (np.sqrt(7) * frame[:, :1].T).astype(dtype)
    y = [np.sqrt(7) * (np.cos(t) * frame[:, 0] + np.sin(t) * frame[:, 1]) for t in angles]
    y = np.array(y).astype(dtype)
    kernels = {
        l: np.asarray(ne.ntk_infinite(init, jnp.asarray(x), jnp.asarray(y), l)) for l in DEPTHS
    }
    with mpmath.workdps(60):
        for j in range(len(angles)):
            truth = references.ntks_mp(init.activation.delta, x[0], y[j], DEPTHS)
            for depth in DEPTHS:
                assert kernels[depth].dtype == dtype
                error = abs(mpmath.mpf(float(kernels[depth][0, j])) - truth[depth])
                ulp = float(np.spacing(dtype(float(abs(truth[depth])))))
                assert error <= tolerance * abs(depth - truth[depth]) + 4 * ulp


@given(
    delta_phi=st.sampled_from([0.0, 0.3, 1.0]),
    theta=st.floats(0, np.pi),
    depth=st.sampled_from([1, 6]),
    scale=st.floats(0.01, 100),
)
def test_agrees_with_the_definition_at_any_norm(delta_phi, theta, depth, scale):
    init = init_of(delta_phi)
    x = jnp.array([[1.0, 0.0]])
    y = scale * jnp.array([[np.cos(theta), np.sin(theta)]])
    rho, kappa = np.cos(theta), np.cos(theta)
    for _ in range(depth - 1):
        angle = np.arccos(np.clip(rho, -1, 1))
        slope = 1 - init.activation.delta * 2 / np.pi * angle
        rho += init.activation.delta * 2 / np.pi * (np.sin(angle) - angle * rho)
        kappa = slope * kappa + rho
    # arccos loses half the digits near ρ = ±1: the naive recursion is good to 1e-7 only.
    np.testing.assert_allclose(
        ne.ntk_infinite(init, x, y, depth)[0, 0], scale / 2 * kappa, atol=1e-6 * depth * scale
    )
    covariance = ne.nngp_infinite(init, x, y, depth)[0, 0]
    np.testing.assert_allclose(covariance, scale / 2 * rho, atol=1e-7 * scale)


@pytest.mark.parametrize("name", ["relu", "abs", "leaky_relu", "identity"])
def test_exact_at_parallel_antiparallel_duplicate_and_zero_inputs(name):
    init = ne.edge_of_chaos(ne.activation(name))
    u = np.array([1.0, 2.0, 0.0, 4.0])
    x = jnp.array([u, 3 * u, -u, 0 * u, u])
    depth, size = 5, 21 / 4
    K = np.asarray(ne.ntk_infinite(init, x, x, depth))
    np.testing.assert_allclose(np.diag(K), depth * size * np.array([1, 9, 1, 0, 1]), rtol=4e-16)
    assert K[0, 1] == pytest.approx(3 * depth * size, rel=4e-16)
    assert K[0, 4] == K[0, 0]
    np.testing.assert_array_equal(K[3], 0.0)
    opposite = float(references.kappas_mp(init.activation.delta, mpmath.pi, [depth])[depth])
    assert K[0, 2] == pytest.approx(opposite * size, rel=1e-14)


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_exact_gradient_on_the_cone_is_that_of_the_norms(mode):
    init = ne.edge_of_chaos(ne.activation("relu"))
    u = jnp.array([1.0, 2.0, 0.5, 4.0])
    x = jnp.stack([u, 3 * u, -u, 0 * u, u, u + jnp.array([0.0, 1e-9, 0.0, 0.0])])
    gradient = mode(lambda x: ne.ntk_infinite(init, x, x, 6))(x)
    assert jnp.isfinite(gradient).all()
    np.testing.assert_allclose(gradient[0, 0, 0], 2 * 6 * u / 4, rtol=1e-14)


def test_agrees_gradient_with_differences():
    init = ne.edge_of_chaos(ne.activation("abs"))
    x = jax.random.normal(jax.random.key(0), (4, 5))
    direction = jax.random.normal(jax.random.key(1), (4, 5))

    def along(t):
        return ne.ntk_infinite(init, x + t * direction, x, 7)

    _, slope = jax.jvp(along, (0.0,), (1.0,))
    h = 1e-5
    # central differences: h² times a third derivative of order depth³, and rounding/h
    np.testing.assert_allclose(slope, (along(h) - along(-h)) / (2 * h), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("sigma_w", "depth"), [(0.7, 4), (1.9, 6)])
def test_exact_off_the_edge_without_bias_only_the_scale_changes(sigma_w, depth):
    act = ne.activation("relu")
    x = jax.random.normal(jax.random.key(0), (5, 3))
    edge = ne.ntk_infinite(ne.edge_of_chaos(act), x, x, depth)
    off = ne.ntk_infinite(ne.Init(act, sigma_w), x, x, depth)
    np.testing.assert_allclose(off, (sigma_w**2 / 2) ** (depth - 1) * edge, rtol=1e-13)


def test_bad_input_is_refused():
    init = ne.edge_of_chaos(ne.activation("relu"))
    x = jnp.ones((2, 3))
    with pytest.raises(ValueError, match="`depth` must be >= 1, got 0"):
        ne.ntk_infinite(init, x, x, 0)
    # the run-time type checker of the tests speaks first here
    with pytest.raises((ValueError, TypeError), match="x2"):
        ne.ntk_infinite(init, x, jnp.ones((2, 4)), 2)
    with pytest.raises(ValueError, match="`x1` must be a matrix"):
        ne.ntk_infinite(init, jnp.ones((0, 3)), x, 2)
