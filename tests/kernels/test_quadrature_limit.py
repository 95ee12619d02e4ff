"""K∞ by quadrature where it was, or could be, wrong: large q, narrow features, jumps, norms."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from plain_activations import without_closed_form

import ntk_eoc as ne
from ntk_eoc.gaussian import ActivationError, dual, expansion, gaussian_mean, plan, series
from ntk_eoc.kernels.dual_recursion import dual_recursion

SQUARE = jnp.asarray([[1.0, 1.0], [1.0, -1.0]])


@functools.cache  # programs are found by the function's identity
def bump(scale):
    return ne.Activation("bump", lambda s: jnp.exp(-scale * s * s))


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def mixed_inputs(n, decades=1.0, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(5)
    x[1], x[2], x[3] = x[0], -x[0], x[0] + 1e-3 * x[-1]
    return jnp.asarray(x * 10 ** rng.uniform(-decades / 2, decades / 2, (n, 1)))


@pytest.mark.parametrize(
    ("name", "sigma_b", "n", "depth"),
    [("gelu", 0.3, 5, 3), ("erf", 0.0, 5, 3), ("relu", 0.3, 5, 3),
     slow("gelu", 0.3, 12, 6), slow("erf", 0.0, 12, 6), slow("relu", 0.3, 12, 6)],
)  # fmt: skip
def test_agrees_mixed_norms_with_closed_forms_within_the_error(name, sigma_b, n, depth):
    x = mixed_inputs(n)
    init = ne.Init(without_closed_form(name), 1.3, sigma_b)
    found = ne.ntk_infinite_with_error(init, x, x, depth)
    exact = ne.ntk_infinite(ne.Init(ne.activation(name), 1.3, sigma_b), x, x, depth)
    error = np.abs(found.value - exact)
    np.testing.assert_allclose(found.value, exact, rtol=1e-10)
    assert (error <= 10 * found.error + 2e-15 * np.abs(exact)).all()
    np.testing.assert_array_equal(found.value, found.value.T)


@pytest.mark.parametrize("depth", [6, slow(50)])
def test_exact_parallel_rows_of_different_norms_under_a_kink(depth):
    """relu without its closed form keeps them parallel, to the last layer."""
    u = np.array([1.0, 2.0, 0.5, -1.0])
    x = jnp.asarray(np.stack([u, 3 * u, 0.01 * u, 100 * u]))
    found = ne.ntk_infinite(ne.Init(without_closed_form("relu"), 1.4), x, x, depth)
    exact = ne.ntk_infinite(ne.Init(ne.activation("relu"), 1.4), x, x, depth)
    np.testing.assert_allclose(found, exact, rtol=1e-11)


@pytest.mark.parametrize(
    ("norm", "traced"),
    [(60.0, False), (1e3, True),
     slow(1.0, False), slow(1.0, True), slow(60.0, True), slow(1e3, False)],
)  # fmt: skip
def test_agrees_large_variances_with_the_closed_form(norm, traced):
    x = mixed_inputs(4) * norm
    closed, plain = (
        ne.Init(act, 1.5, 0.1) for act in (ne.activation("erf"), without_closed_form("erf"))
    )
    kernel = jax.jit(lambda x: ne.ntk_infinite(plain, x, x, 3)) if traced else (
        lambda x: ne.ntk_infinite(plain, x, x, 3))  # fmt: skip
    np.testing.assert_allclose(kernel(x), ne.ntk_infinite(closed, x, x, 3), rtol=1e-8)


@pytest.mark.parametrize("depth", [5, slow(12)])
def test_agrees_growing_variances_with_the_closed_form(depth):
    x = mixed_inputs(4)[:3]
    closed, plain = (
        ne.Init(act, 2.0, 0.1) for act in (ne.activation("gelu"), without_closed_form("gelu"))
    )
    found = ne.ntk_infinite(plain, x, x, depth)
    np.testing.assert_allclose(found, ne.ntk_infinite(closed, x, x, depth), rtol=1e-9)


def test_exact_a_trace_says_nan_where_it_cannot_tell():
    """sin has no panels beyond the variances that were planned for."""
    act, x = without_closed_form("sin"), SQUARE * jnp.asarray([[300.0], [301.0]])
    found = jax.jit(lambda x: ne.ntk_infinite(ne.Init(act, 1.0, 0.1), x, x, 2))(x)
    exact = ne.ntk_infinite(ne.Init(ne.activation("sin"), 1.0, 0.1), x, x, 2)
    good = np.isfinite(found)
    np.testing.assert_allclose(np.asarray(found)[good], np.asarray(exact)[good], rtol=1e-6)
    assert not good.all()


@pytest.mark.parametrize("scale", [5.0, slow(50.0), 500.0])
def test_exact_narrow_bumps(scale):
    """E[exp(−c y²) exp(−c y'²)] = 1/√((1 + 2cq)² − 4c²q²ρ²)."""
    found = ne.nngp_infinite(ne.Init(bump(scale), 1.0), SQUARE, SQUARE, 2)
    exact = [[1 / np.sqrt(1 + 4 * scale), 1 / (1 + 2 * scale)]]
    np.testing.assert_allclose(found[:1], exact, rtol=1e-11)


def test_exact_bumps_too_narrow_for_the_estimate_are_refused():
    with pytest.raises(ActivationError, match="cannot be computed here"):
        ne.ntk_infinite(ne.Init(bump(2e4), 1.0), SQUARE, SQUARE, 2)


@pytest.mark.parametrize(("q", "delta"), [(12.0, 1e-6), (25.0, 0.3), (0.1, 1.0)])
def test_exact_duals_of_narrow_bumps(q, delta):
    found = dual(bump(5.0), np.full(1100, q), q, delta)
    exact = ((1 + 10 * q) ** 2 - (10 * q * (1 - delta)) ** 2) ** -0.5
    np.testing.assert_allclose(found.value, exact, rtol=1e-11)
    assert (np.abs(found.value - exact) <= 10 * found.error).all()


def test_exact_edges_of_activations_with_narrow_features():
    def bent(s):
        return s + jnp.exp(-50 * (s - 1) ** 2)

    narrow = ne.edge_of_chaos(ne.Activation("bent", bent), q=10.0)
    assert narrow.sigma_w == pytest.approx(0.6953, abs=5e-5)
    assert narrow.sigma_b == pytest.approx(2.2643, abs=5e-5)
    step = ne.edge_of_chaos(ne.Activation("s", lambda s: s * jax.nn.sigmoid(100 * s)), q=25.0)
    assert step.sigma_b == pytest.approx(0.0926, abs=5e-5)
    slope = 1600 * 25 * (1 + 80 * 25) ** -1.5  # E[φ'²] = 1600 E[y² exp(−40 y²)]
    assert ne.edge_of_chaos(bump(20.0), q=25.0).sigma_w == pytest.approx(slope**-0.5, rel=1e-10)


@pytest.mark.parametrize("q", [0.01, 25.0, 1e4])
def test_exact_gaussian_means_of_steep_functions(q):
    found = gaussian_mean(lambda s: jax.scipy.special.erf(100 * s) ** 2, q)
    exact = float(2 / mpmath.pi * mpmath.asin(2e4 * q / (1 + 2e4 * q)))
    assert abs(float(found.value) - exact) <= min(1e-12, 10 * float(found.error))


def hat(s):
    return jnp.maximum(0, 1 - 4 * jnp.abs(s - 1.3))


REFUSED = {
    "a jump": (lambda s: jnp.tanh(s) + (s > 0), (0.0,), "jumps at s = 0"),
    "a jump beside a kink": (lambda s: jnp.abs(s) + 0.1 * (s > 1), (0.0, 1.0), "jumps at s = 1"),
    "an undeclared jump": (lambda s: jnp.tanh(s) + (s > 0), (), r"near s = 0: write"),
    "stairs": (lambda s: jnp.floor(s) + 0.1 * s, (), "near s ="),
    "undeclared kinks": (hat, (), "1.05, 1.3, 1.55"),
    "an unbounded slope": (
        lambda s: s * jnp.log(jnp.abs(s) + (s == 0)), (0.0,), "derivative is unbounded",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("of", [ne.ntk_infinite, ne.nngp_infinite])
def test_exact_what_has_no_kernel_is_refused(what, of):
    fn, kinks, message = REFUSED[what]
    with pytest.raises(ActivationError, match=message):
        of(ne.Init(ne.Activation(what, fn, kinks), 1.0), SQUARE, SQUARE, 2)


@pytest.mark.parametrize("name", ["relu", "gelu", "erf", "cos"])
def test_agrees_series_with_closed_forms_within_the_error(name):
    act, plain = ne.activation(name), without_closed_form(name)
    panels, q = plan(plain, 4.0), np.geomspace(0.04, 4.0, 16)
    orders, found = expansion.expand(plain, panels, 128, q)
    known = (q, 1 / jnp.sqrt(1 + q), *found)
    one, two = (jax.tree.map(lambda x, k=k: jnp.expand_dims(x, k), known) for k in (-1, -2))
    one, two = (series.Rows(*x[:2], expansion.Expansion(*x[2:])) for x in (one, two))
    theta = np.linspace(0, np.pi / 2 if panels.parity else np.pi, 256).reshape(16, 16)
    delta = jnp.asarray(2 * np.sin(theta / 2) ** 2)
    values, errors = series.by_series(orders, one, two, delta, 2 - delta)
    q1, q2 = jnp.broadcast_arrays(q[:, None], q[None, :])
    exact = act.dual_prime(q1, q2, delta)
    assert (np.abs(values[1] - exact) <= 10 * errors[1]).all()
    w1, w2 = 1 / jnp.sqrt(1 + q1), 1 / jnp.sqrt(1 + q2)
    squares = (w1**2 * act.dual(q1, q1, 0 * q1) + w2**2 * act.dual(q2, q2, 0 * q2)) / 2
    gap = squares - w1 * w2 * act.dual(q1, q2, delta)
    assert (np.abs(values[0] - gap) <= 10 * errors[0] + 1e-15).all()


HALVES = {  # φ, its part without a_0 + a_1 s, and the orders of both
    "gelu": (
        lambda s: 0.5 * s * (1 + jax.scipy.special.erf(s / 2**0.5)), (),
        lambda s: 0.5 * s * jax.scipy.special.erf(s / 2**0.5), (0, 2),
    ),
    "silu": (lambda s: s * jax.nn.sigmoid(s), (), lambda s: 0.5 * s * jnp.tanh(s / 2), (0, 2)),
    "relu": (lambda s: jnp.maximum(s, 0), (0.0,), lambda s: 0.5 * jnp.abs(s), (0, 2)),
    "sigmoid": (jax.nn.sigmoid, (), lambda s: 0.5 * jnp.tanh(s / 2), (1, 2)),
    "elu": (jax.nn.elu, (0.0,), jax.nn.elu, (1, 1)),
    "tanh + 1e-6 s²": (
        lambda s: jnp.tanh(s) + 1e-6 * s * s, (), lambda s: jnp.tanh(s) + 1e-6 * s * s, (1, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HALVES)
def test_exact_series_have_the_orders_of_what_is_even_or_odd(name):
    """Beside a constant and a multiple of s: half the terms of each pair."""
    whole, kinks, part, expected = HALVES[name]
    whole, part = (ne.Activation(name, fn, kinks) for fn in (whole, part))
    panels, q = plan(whole, 4.0), np.geomspace(0.04, 4.0, 8)
    assert panels.parity == 0
    (orders, found), (others, rest) = (
        expansion.expand(act, plan(act, 4.0), 128, q) for act in (whole, part)
    )
    assert orders == others == expected
    scale = np.sqrt(found.square)[None]
    np.testing.assert_allclose(found.values / scale, rest.values / scale, rtol=0, atol=1e-14)
    gap = np.abs(found.rest - rest.rest) / found.square
    assert gap.max() < 1e-13


def test_within_error_float32_rows_of_one_norm_share_a_table():
    x = mixed_inputs(6, decades=0.0)
    init = ne.Init(without_closed_form("relu"), 1.3, 0.2)
    exact = ne.ntk_infinite(init, x.astype(jnp.float32).astype(jnp.float64), x, 4)
    found = ne.ntk_infinite(init, x.astype(jnp.float32), x.astype(jnp.float32), 4)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_scales_series_leave_few_pairs_of_a_smooth_activation():
    limit = dual_recursion(ne.Init(ne.activation("tanh"), 1.5, 0.1), *(mixed_inputs(16),) * 2, 3)
    assert float(jnp.max(limit.pairs.error / jnp.abs(limit.pairs.kernel))) < 1e-9
