import dataclasses

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from plain_activations import without_closed_form

import ntk_eoc as ne
from ntk_eoc.activations import NAMED, activation
from ntk_eoc.eoc import Init
from ntk_eoc.kernels.dual_recursion import dual_recursion


def circle(angles, q=1.0):
    return jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], 1) * np.sqrt(2 * q))


ANGLES = np.array([0.0, 1e-6, 1e-3, 0.4, 1.7, 3.0, np.pi - 1e-4, np.pi])


@pytest.mark.parametrize(("name", "sigma_b"), [("relu", 0.0), ("erf", 0.2)])
def test_agrees_table_with_closed_form(name, sigma_b):
    x = circle(ANGLES, 0.8)
    closed, plain = (
        ne.ntk_infinite(Init(act, 1.4, sigma_b), x, x, 5)
        for act in (activation(name), without_closed_form(name))
    )
    np.testing.assert_allclose(plain, closed, rtol=1e-11, atol=1e-13)


def test_agrees_pairwise_quadrature_with_closed_form_at_any_norms():
    x = circle(ANGLES[1:6]) * jnp.asarray([[0.1], [0.5], [1.0], [1.7], [4.0]])
    for function in (ne.ntk_infinite, ne.nngp_infinite):
        closed, plain = (
            function(Init(act, 1.2, 0.3), x, x[:3], 3)
            for act in (activation("gelu"), without_closed_form("gelu"))
        )
        np.testing.assert_allclose(plain, closed, rtol=1e-9)


def test_agrees_abs_linear_with_its_own_recursion_where_there_is_no_bias():
    relu = activation("relu")
    closed = dataclasses.replace(without_closed_form("relu"), dual=relu.dual,
                                 dual_prime=relu.dual_prime)  # fmt: skip
    x = circle(ANGLES) * jnp.asarray(np.linspace(0.3, 2.0, ANGLES.size)[:, None])
    np.testing.assert_allclose(
        ne.ntk_infinite(Init(closed, 1.3), x, x, 20),
        ne.ntk_infinite(Init(relu, 1.3), x, x, 20),
        rtol=1e-6,  # parallel inputs of different norms: half the digits of θ
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_exact_tiles_are_cut_from_one_kernel(dtype, monkeypatch):
    """Rows in several tiles, the last one padded, and an input that is 0 in every layer."""
    x = np.random.default_rng(0).normal(size=(75, 3)).astype(dtype)
    x[40] = 0
    x = jnp.asarray(x)
    init = Init(activation("erf"), 1.3)
    one = [f(init, x, y, 4) for f in (ne.ntk_infinite, ne.nngp_infinite) for y in (x, x[:70])]
    monkeypatch.setattr("ntk_eoc.kernels.dual_recursion.CLOSED_TILE", 32)
    many = [f(init, x, y, 4) for f in (ne.ntk_infinite, ne.nngp_infinite) for y in (x, x[:70])]
    for whole, cut in zip(one, many, strict=True):
        assert whole.dtype == cut.dtype == dtype
        rounding = 16 * float(np.finfo(dtype).eps) * float(np.abs(whole).max())
        np.testing.assert_allclose(cut, whole, rtol=0, atol=rounding)
        assert (cut[40] == 0).all()
        assert (np.delete(cut, 40, 0)[:, :40] != 0).all()
    for square in (one[0], one[2], many[0], many[2]):
        np.testing.assert_array_equal(square, square.T)


@pytest.mark.parametrize("sigma_b", [0.05, 0.7])
def test_agrees_near_parallel_inputs_of_different_norms_with_40_digits(sigma_b):
    """1 − ρ of relu with biases, where both terms of its difference are far larger than it."""
    init, layers = Init(activation("relu"), 1.3, sigma_b), 2
    inputs = np.array([[1.0, 0.0], [3.0, 3e-6], [0.2, 1e-4], [1.0001, 1e-3], [0.7, 0.4]])
    limit = dual_recursion(init, jnp.asarray(inputs[:1]), jnp.asarray(inputs), layers + 1)
    with mpmath.workdps(40):
        for i in range(1, len(inputs)):
            x, y = ([mpmath.mpf(float(v)) for v in row] for row in (inputs[0], inputs[i]))
            a, b = ((v[0] ** 2 + v[1] ** 2) / 2 for v in (x, y))
            c = (x[0] * y[0] + x[1] * y[1]) / 2
            w2, b2 = mpmath.mpf(1.3) ** 2 / 2, mpmath.mpf(sigma_b) ** 2
            for _ in range(layers):
                size = mpmath.sqrt(a * b)
                theta = mpmath.acos(c / size)
                turned = mpmath.sin(theta) + (mpmath.pi - theta) * mpmath.cos(theta)
                a, b, c = w2 * a + b2, w2 * b + b2, w2 * size * turned / mpmath.pi + b2
            exact = 1 - c / mpmath.sqrt(a * b)
            assert abs(mpmath.mpf(float(limit.pairs.delta[0, i])) - exact) <= 1e-13 * exact, i


@pytest.mark.parametrize(("name", "limit"), [("hard_tanh", 1 / 4), ("erf", 1 / 3)])
def test_scales_deep_ratio_of_off_diagonal_to_diagonal(name, limit):
    """At depth 10⁴ the ratio is within log(l)/l of ¼ where φ' jumps, of ⅓ where it does not."""
    init = ne.edge_of_chaos(activation(name), q=1.0)
    kernel = ne.ntk_infinite(init, *[circle(np.array([0.0, 1.0, 2.0]))] * 2, 10_000)
    assert float(kernel[0, 0]) == pytest.approx(10_000, rel=1e-9)
    assert np.abs(np.asarray(kernel[0, 1:]) / 10_000 - limit).max() < np.log(1e4) / 1e4


def test_exact_derivatives_through_jit():
    x = circle(np.array([0.3, 1.9]))
    init = Init(activation("erf"), 1.3, 0.2)
    f = jax.jit(lambda t: ne.ntk_infinite(init, x * t, x, 3)[0, 1])
    step = 1e-5
    slope = (f(1 + step) - f(1 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(f)(1.0), slope, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", sorted(NAMED))
def test_within_error_of_sampled_networks(name):
    """The mean of 2,000 networks at widths 256, 512, 1024, extrapolated in 1/m, is K∞.

    The fast growing ones take a smaller σ_w: at 1.2 the tails of their K(θ) are so heavy that a
    standard error of 2,000 draws says nothing.
    """
    act = activation(name)
    init = Init(act, 0.5 if name in ("exp", "quadratic") else 1.2, 0.3, 1.0)
    x = circle(np.array([0.0, 0.7, 2.5])) * jnp.asarray([[1.0], [1.0], [0.6]])
    inverse, means, errors = [], [], []
    for m in (256, 512, 1024):
        keys = jax.random.split(jax.random.key(m), 2000)
        draw = jax.jit(lambda key, m=m: ne.ntk_sampled(key, init, x, (m, m, 1))[:, :, 0, 0])
        k = np.asarray(jax.lax.map(draw, keys, batch_size=8))
        inverse.append(1 / m)
        means.append(k.mean(0))
        errors.append(k.std(0, ddof=1) / np.sqrt(len(k)))
    # Least squares of a + b/m with weights 1/error², entry by entry; a and its error.
    h, y, e = np.array(inverse)[:, None, None], np.array(means), np.array(errors)
    w = e**-2
    s0, s1, s2 = w.sum(0), (w * h).sum(0), (w * h * h).sum(0)
    determinant = s0 * s2 - s1**2
    a = (s2 * (w * y).sum(0) - s1 * (w * h * y).sum(0)) / determinant
    error = np.sqrt(s2 / determinant)
    limit = np.asarray(ne.ntk_infinite(init, x, x, 3))
    assert (np.abs(a - limit) <= 4 * error).all(), (name, (a - limit) / error)
