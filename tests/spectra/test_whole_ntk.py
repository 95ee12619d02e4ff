"""The whole two-layer NTK, the laws it is not, and the edges and transforms of its law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import ntk_eoc as ne
from ntk_eoc.spectra import covariance_transform, two_layer
from ntk_eoc.spectra.control_laws import control_laws
from ntk_eoc.spectra.output_outliers import whole_outliers
from ntk_eoc.spectra.quadratic_scaling_law import coefficients, quadratic_scaling_law

ABS, GELU = map(ne.activation, ("abs", "gelu"))
LINEAR = ne.Activation("s²/2", lambda s: s * s / 2, derivative=lambda s: s)


def test_agrees_the_whole_ntk_with_the_jacobian_of_the_network(key):
    n, d, p = 7, 5, 4
    factors = two_layer.draw(
        key, GELU, (n, d, p), weights_name="two_valued", factors=two_layer.whole
    )
    # the weights drawn again, from the same keys
    w = jax.random.normal(jax.random.split(key, 3)[1], (d, p), jnp.float64)

    def network(weights, x):
        hidden, out = weights
        return jnp.sum(out * GELU(x @ hidden / np.sqrt(d))) / np.sqrt(p)

    rows = [
        jnp.concatenate([g.ravel() for g in jax.grad(network)((w, factors.d_values), x)])
        for x in factors.x
    ]
    jacobian = jnp.stack(rows)
    kernel = two_layer.matrix(factors)
    np.testing.assert_allclose(kernel, jacobian @ jacobian.T, rtol=1e-10, atol=1e-12)
    v = jnp.arange(float(n))
    np.testing.assert_allclose(two_layer.product(v, factors), kernel @ v, rtol=1e-10)


def test_exact_the_whole_ntk_and_its_companion_have_the_same_eigenvalues(key):
    factors = two_layer.draw(key, ABS, (40, 4, 3), factors=two_layer.whole)
    dense = np.linalg.eigvalsh(two_layer.matrix(factors))
    np.testing.assert_allclose(two_layer.eigenvalues(factors), dense, atol=1e-12)
    first = factors._replace(hidden=factors.hidden[:, :0])
    plain = two_layer.draw(key, ABS, (40, 4, 3))
    np.testing.assert_array_equal(two_layer.matrix(first), two_layer.matrix(plain))


def test_exact_even_weights_are_in_the_proportions_of_their_law(key):
    values = two_layer.even_weights(key, "split", 10, "float64")
    np.testing.assert_allclose(values, np.repeat([1.0, np.sqrt(30.0)], 5), rtol=1e-12)
    with pytest.raises(ValueError, match="`output_weights` must be one of"):
        two_layer.even_weights(key, "one", 3, "float64")


@pytest.mark.parametrize(("act", "more"), [(ABS, 0), (GELU, 1)])
def test_agrees_the_outliers_of_the_output_layer_in_number_and_place(key, act, more):
    d = 28
    n, p = two_layer.sizes(d, 0.5, 1.0)
    predicted = whole_outliers(act, n, d, p)
    assert len(predicted) == p + more * d
    factors = two_layer.draw(key, act, (n, d, p), factors=two_layer.whole)
    values = two_layer.eigenvalues(factors)
    found = values[n - len(predicted) :]
    # leading order in d: a tenth or so of the middle ones, and of the one at n (E φ)²
    assert np.median(np.abs(found / predicted - 1)) < 0.15
    assert abs(found[-1] / predicted[-1] - 1) < 0.15


@pytest.mark.parametrize("weights", [[1.0, 2.0]])
def test_exact_controls_share_the_moments_that_they_should(weights):
    gamma1, gamma2 = 0.5, 2.0
    law = quadratic_scaling_law(LINEAR, gamma1, gamma2, weights)
    controls = control_laws(LINEAR, gamma1, gamma2, weights)
    coefs = coefficients(LINEAR)
    squares = np.square(np.atleast_1d(weights or 1.0))
    mean = (coefs.nu2 + coefs.c1**2) * squares.mean()
    np.testing.assert_allclose([controls.matched.moment(k) for k in (1, 2)],
                               [law.moment(k) for k in (1, 2)], rtol=1e-7)  # fmt: skip
    for one in controls:
        np.testing.assert_allclose(one.moment(1), mean, rtol=0.05)  # one of them is drawn
    second = (law.moment(2) - mean**2) / gamma1  # of μ
    np.testing.assert_allclose(controls.textbook.moment(2), second + gamma1 * mean**2, rtol=1e-3)


def companion(t, gamma2, z):
    """The transform of W̃W̃ᵀ/d, D² of the two values t, off its support: the root of a cubic."""
    (a, b), found = t, []
    for point in z:
        left = np.polymul([point, 1], np.polymul([a, 1], [b, 1]))  # (1 + z m)(1 + a m)(1 + b m)
        right = gamma2 / 2 * np.array([2 * a * b, a + b, 0])
        roots = np.roots(np.polysub(left, right))
        found.append(roots[np.argmax(roots.imag)])
    return np.array(found)


def singular_nodes(t, gamma2, count=80):
    """Nodes and weights for the law of the nonzero eigenvalues, and the ends of its bands."""
    (a, b), g = t, gamma2 / 2
    one, two = np.polymul([a, 1], [a, 1]), np.polymul([b, 1], [b, 1])  # where dz/dm = 0
    rest = np.polyadd(np.polymul([g * a * a, 0, 0], two), np.polymul([g * b * b, 0, 0], one))
    m = np.roots(np.polysub(np.polymul(one, two), rest))
    m = m[np.abs(m.imag) < 1e-9].real
    ends = np.sort(-1 / m + g * (a / (1 + a * m) + b / (1 + b * m))).reshape(-1, 2)
    angles = (np.arange(count) + 0.5) * np.pi / count
    nodes = np.concatenate([(lo + hi) / 2 + (hi - lo) / 2 * np.cos(angles) for lo, hi in ends])
    jacobians = np.concatenate([(hi - lo) / 2 * np.sin(angles) * np.pi / count for lo, hi in ends])
    density = companion(t, gamma2, nodes + 1e-14j).imag / np.pi / gamma2
    return nodes, density * jacobians, ends


@pytest.mark.parametrize("gamma1", [1.0, 2.0])
def test_exact_edges_of_a_split_support(gamma1):
    """φ' = s, D² = 1 or 30, γ₂ = ½: from the cubic of the singular values, by extrema of z(u)."""
    gamma2, t = 0.5, (1.0, 30.0)
    nodes, weights, ends = singular_nodes(t, gamma2)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-10)

    def single(u):
        return (companion(t, gamma2, u + 1e-12j).real + (1 - gamma2) / u) / gamma2

    def place(u):
        pairs = weights @ single(u - nodes)
        whole = gamma2 / 2 * (pairs - 1 / u) + (1 - gamma2) * single(np.array([u]))[0]
        return u * (gamma1 - 1 - u * whole)

    def least(sign, low, high):
        options = {"bounds": (low, high), "method": "bounded", "options": {"xatol": 1e-9}}
        return float(minimize_scalar(lambda u: sign * place(u), **options).fun)

    (lowest, low), (high, top) = ends
    middle = low + high / 2
    # Where s + s' ends the density of μ ends flat: the edge is there, or at an extremum beyond.
    found = (
        -least(-1, 1e-9, lowest * (1 - 1e-9)),
        min(least(1, 2 * low, middle), place(2 * low)),
        -least(-1, middle, high * (1 - 1e-9)),
        min(least(1, 2 * top, 12 * top), place(2 * top)),
    )
    law = quadratic_scaling_law(LINEAR, gamma1, gamma2, two_layer.WEIGHTS["split"]())
    assert len(law.support) == 2
    np.testing.assert_allclose(np.ravel(law.support), found, rtol=1e-8)


def test_exact_series_and_finite_and_limit_transforms_agree():
    """S(z) has the transposed term: without it, or with it alone, the value is another."""
    rng, d, p, nu2, c1, z = np.random.default_rng(7), 50, 40, 0.3, 0.7, -1.0
    weights = np.repeat([1.0, 2.0], p // 2)
    draws = []
    for _ in range(6):
        w = rng.normal(size=(d, p))
        exact = covariance_transform.finite(nu2, c1, w, weights, np.array([z + 0j]))[0].real
        bare = covariance_transform.series(nu2, c1, w, weights, z, terms=0)
        draws.append((exact, covariance_transform.series(nu2, c1, w, weights, z), bare))
    exact, found, bare = np.mean(draws, axis=0)
    assert abs(found / exact - 1) < 0.5 / d  # O(1/d), from the odd powers
    assert abs(bare / exact - 1) > 2.5 / d
    assert abs((found - bare) / exact - 1) > 0.5
    rule = np.array([1.0, 4.0]), np.array([0.5, 0.5])
    limit = covariance_transform.limit(nu2, c1, p / d, rule, np.array([z + 1e-7j]))[0].real
    np.testing.assert_allclose(found, limit, rtol=0.5 / d)
    # first moment, from S(z) = −1/z − (mean)/z² − …
    far = -1e4
    mean = -far * (1 + far * covariance_transform.series(nu2, c1, w, weights, far))
    tilde = np.square(w * weights).sum() / (d * p)
    np.testing.assert_allclose(mean, nu2 * 2.5 + c1**2 * tilde, rtol=1e-2)
