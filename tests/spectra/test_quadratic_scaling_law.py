"""The law of the quadratic scaling against dense matrices and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc.spectra import covariance_transform, lanczos, two_layer
from ntk_eoc.spectra.covariance_law import covariance_law, general_law
from ntk_eoc.spectra.densities import marchenko_pastur, uniform
from ntk_eoc.spectra.distances import kolmogorov, wasserstein
from ntk_eoc.spectra.free_convolution import free_multiplicative_convolution, gram_law
from ntk_eoc.spectra.gauss_rules import gauss_rule
from ntk_eoc.spectra.law_algebra import scaled
from ntk_eoc.spectra.laws import SpectralLaw, from_atoms
from ntk_eoc.spectra.quadratic_scaling_law import coefficients, outliers, quadratic_scaling_law

ABS, RELU = ne.activation("abs"), ne.activation("relu")
TANH = ne.Activation("tanh", jnp.tanh)
QUADRATIC = ne.Activation("quadratic", lambda s: s * s / 2)
ONE = from_atoms([1.0])
NU2, C1 = 0.3, 0.7


def apply(v, a):
    return jnp.matmul(a, v, precision="highest")


def dense_covariance(w, weights):
    """T as a matrix on vec(A), by its definition."""
    d, p = w.shape
    tilde = w * weights
    columns = []
    for i in range(d):
        for j in range(p):
            a = np.zeros((d, p))
            a[i, j] = 1
            mixed = (a @ tilde.T + tilde @ a.T) @ tilde
            columns.append((NU2 * a * weights**2 + C1**2 / d * mixed).ravel())
    return np.array(columns)


def eigenvalues_of(key, act, d, gamma1, gamma2, weights="identity", entries="gaussian"):
    n, p = two_layer.sizes(d, gamma1, gamma2)
    factors = two_layer.draw(key, act, (n, d, p), entries_name=entries, weights_name=weights)
    return two_layer.eigenvalues(factors), (n, d, p)


def test_exact_coefficients_of_kinked_and_smooth_activations():
    relu, absolute, quadratic = map(coefficients, (RELU, ABS, QUADRATIC))
    np.testing.assert_allclose(
        relu[:3], (0.5, 1 / np.sqrt(2 * np.pi), 0.25 - 1 / (2 * np.pi)), atol=1e-13
    )
    np.testing.assert_allclose(absolute[:3], (0, np.sqrt(2 / np.pi), 1 - 2 / np.pi), atol=1e-13)
    assert quadratic.nu2 == 0
    np.testing.assert_allclose(quadratic[:2], (0, 1), atol=1e-13)
    tanh = coefficients(TANH)
    assert abs(tanh.c1) < 1e-14
    assert max(c.error for c in (relu, absolute, quadratic, tanh)) < 1e-12


@pytest.mark.parametrize("shape", [(5, 7), (7, 5)])
def test_exact_finite_transform_is_that_of_the_dense_covariance(shape):
    rng = np.random.default_rng(3)
    w, weights = rng.normal(size=shape), rng.uniform(0.5, 1.5, shape[1])
    eigenvalues = np.linalg.eigvals(dense_covariance(w, weights))
    z = np.array([0.4 + 0.3j, 2 + 0.1j, -1 + 0.01j])
    exact = np.mean(1 / (eigenvalues - z[:, None]), axis=1)
    found = covariance_transform.finite(NU2, C1, w, weights, z)
    np.testing.assert_allclose(found, exact, rtol=1e-11)


@pytest.mark.parametrize("gamma2", [0.5, 1.0, 2.0])
def test_agrees_the_limit_transform_with_the_closed_form(gamma2):
    mu = covariance_law(NU2, C1, gamma2, ONE)
    # the last two are near the support, above it and beyond its end
    end = mu.bounds[1]
    z = np.array([0.4 + 0.3j, 2 + 0.1j, -1 + 0.5j, 1 + 0.01j, 1.001 * end + 1e-4j])
    value = covariance_transform.limit(NU2, C1, gamma2, gauss_rule(ONE, 5), z)
    np.testing.assert_allclose(value, mu.stieltjes(z), rtol=1e-10)
    highest = covariance_transform.highest_point(NU2, C1, gamma2, gauss_rule(ONE, 5))
    np.testing.assert_allclose(highest, end, rtol=1e-12)


def test_agrees_the_limit_transform_with_a_large_random_covariance():
    rng, p = np.random.default_rng(4), 120
    weights = np.repeat([0.5, 1.5], p // 2)
    z = np.array([1 + 1j, 3 + 0.7j])
    draws = [
        covariance_transform.finite(NU2, C1, rng.normal(size=(p, p)), weights, z) for _ in range(8)
    ]
    rule = gauss_rule(from_atoms([0.25, 2.25]), 5)
    limit = covariance_transform.limit(NU2, C1, 1.0, rule, z)
    error = np.std(draws, axis=0) / np.sqrt(len(draws))
    # beside the draws' own error a bias of order 1/p
    assert np.all(np.abs(np.mean(draws, axis=0) - limit) < 4 * error + 1 / p)


@pytest.mark.parametrize("gamma2", [0.5, 1.0, 2.0])
def test_agrees_any_weights_with_the_closed_form(gamma2):
    """D² = 1 through the construction for any D: density, rule, ends and error estimate."""
    exact, found = covariance_law(NU2, C1, gamma2, ONE), general_law(NU2, C1, gamma2, ONE)
    assert found.error < 1e-9
    for gamma1, tolerance in ((0.25, 1e-10), (1.0, 1e-8), (4.0, 1e-3)):
        law, other = gram_law(exact, gamma1), gram_law(found, gamma1)
        x = np.linspace(0, 1.02 * law.bounds[1], 300)
        error = np.max(np.abs(law.cdf(x) - other.cdf(x)))
        assert error < tolerance
        assert error < 10 * other.error
        np.testing.assert_allclose(other.bounds, law.bounds, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("weights", [[0.5, 1.5], [0.0, 1.0, 1.5], uniform(0.5, 1.5)])
def test_exact_any_weights_have_their_mass_and_mean(weights):
    law = quadratic_scaling_law(RELU, 0.5, 1.0, weights)
    second = {2: 1.25, 3: 3.25 / 3}.get(len(weights)) if isinstance(weights, list) else 13 / 12
    assert law.status == "ok"
    np.testing.assert_allclose(law.moment(0), 1, atol=1e-8)
    # E g² = ½; c_0² = ¼ of it belongs to the outliers
    np.testing.assert_allclose(law.moment(1), 0.25 * second, rtol=1e-8)
    assert len(law.support) == 1


def test_agrees_many_weights_with_their_gauss_rule():
    """97 values of D enter by a rule of 16 points, and are nearly a uniform law."""
    law = quadratic_scaling_law(ABS, 0.5, 1.0, 0.5 + (np.arange(97) + 0.5) / 97)
    uniform_law = quadratic_scaling_law(ABS, 0.5, 1.0, uniform(0.5, 1.5))
    assert law.status == "ok"
    # 97 midpoints have the moments of the uniform law but for 1/97² (Euler–Maclaurin)
    x = np.linspace(*law.bounds, 50)
    np.testing.assert_allclose(law.cdf(x), uniform_law.cdf(x), atol=1 / 97**2)


def finite_moments(nu2, c1, gamma2, d, rng):
    """tr T^k/(dp) for k = 1, 2, 3 of one drawn W at D = I, from the pairs of singular values."""
    w = rng.normal(size=(d, round(gamma2 * d)))
    s = np.linalg.svd(w, compute_uv=False) ** 2 / d
    r, p = len(s), w.shape[1]
    pairs = nu2 + c1**2 * np.add.outer(s, s)[np.triu_indices(r)]
    single = np.repeat(nu2 + c1**2 * s, d - r)
    values = np.concatenate([pairs, single])
    rest = d * p - len(values)
    return [(np.sum(values**k) + rest * nu2**k) / (d * p) for k in (1, 2, 3)]


@pytest.mark.parametrize("gamma2", [0.5, 1.0, 2.0])
def test_within_error_covariance_moments_extrapolated_in_d(gamma2):
    # At finite d the pairs a = b and the draw of W cost a bias of order 1/d; twice the moment at 2d
    # less that at d leaves order 1/d², 16/d² = 1.6e-4 of the moment being generous at k = 3.
    coefs = (0.36, 0.8)
    mu = covariance_law(*coefs, gamma2, ONE)
    rng = np.random.default_rng(5)
    draws = np.array(
        [
            2 * np.array(finite_moments(*coefs, gamma2, 320, rng))
            - np.array(finite_moments(*coefs, gamma2, 160, rng))
            for _ in range(6)
        ]
    )
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    limit = np.array([mu.moment(k) for k in (1, 2, 3)])
    assert (np.abs(draws.mean(axis=0) - limit) <= 4 * error + 16 / 320**2 * limit).all()


@pytest.mark.parametrize(
    ("act", "gamma1", "gamma2", "weights", "bound"),
    [
        (ABS, 0.5, 1.0, "rademacher", 0.04),
        (QUADRATIC, 2.0, 0.5, "identity", 0.04),
        (RELU, 0.5, 1.0, "identity", 0.05),
        (TANH, 0.25, 2.0, "uniform", 0.1),
    ],
)
def test_agrees_with_dense_eigenvalues(key, act, gamma1, gamma2, weights, bound):
    # d = 28: the distance falls like 1/d, to half of 0.02 and 0.05 at the size of the experiment
    values, (n, d, p) = eigenvalues_of(key, act, 28, gamma1, gamma2, weights)
    law_of_d = two_layer.WEIGHTS[weights]()
    law = quadratic_scaling_law(act, n / (d * p), p / d, law_of_d)
    bulk = values[: n - outliers(act, n, d, p, law_of_d).number]
    assert kolmogorov(law, bulk) < bound
    assert law.status == "ok"


def test_agrees_with_dense_eigenvalues_at_the_drawn_weights(key):
    # With 14 hidden units the share of D = 3/2 is off ½ by 0.13: the law of the D that was drawn.
    # φ'(w·x/√d) = w·x/√d has the mean square ‖w‖²/d, 1 ± 0.27, so a column's size tells its D.
    n, p = two_layer.sizes(28, 2.0, 0.5)
    factors = two_layer.draw(key, QUADRATIC, (n, 28, p), weights_name="two_valued")
    drawn = np.where(np.sqrt(np.mean(np.square(factors.s), axis=0)) > 1, 1.5, 0.5)
    law = quadratic_scaling_law(QUADRATIC, n / (28 * p), p / 28, drawn)
    assert kolmogorov(law, two_layer.eigenvalues(factors)) < 0.04


def test_agrees_the_spread_of_norms_is_most_of_the_distance(key):
    """At finite d the rows of Y have sizes: ‖x‖²/d is 1 ± √(2/d), and Var g(‖x‖ z/√d) with it."""
    d = 48
    values, (n, _, p) = eigenvalues_of(key, TANH, d, 0.5, 1.0)
    bulk = values[: n - d]
    plain = quadratic_scaling_law(TANH, n / (d * p), p / d)
    squares = np.random.default_rng(8).chisquare(d, 2000) / d
    z, w = np.polynomial.hermite_e.hermegauss(100)
    g = np.asarray(TANH.prime(np.sqrt(squares)[:, None] * z))
    w = w / w.sum()
    sizes = from_atoms(squares * ((g**2) @ w - (g @ w) ** 2))
    # d rows and d columns go with the outliers
    ratio = (n - d) / (d * p - d)
    sized = scaled(free_multiplicative_convolution(marchenko_pastur(ratio), sizes), 1 - 1 / p)
    assert kolmogorov(sized, bulk) < 0.6 * kolmogorov(plain, bulk)


def test_exact_the_transposed_term_matters_where_c1_does(key):
    values, (n, d, p) = eigenvalues_of(key, ABS, 32, 0.5, 1.0)
    coefs = coefficients(ABS)
    whole = quadratic_scaling_law(ABS, n / (d * p), p / d)
    # without A W̃ᵀ's transpose every pair would have ν² + c_1² s_a
    without = gram_law(scaled(marchenko_pastur(1.0), coefs.c1**2, coefs.nu2), 0.5)
    assert kolmogorov(without, values) > 2.5 * kolmogorov(whole, values)
    np.testing.assert_allclose(whole.moment(1), 1.0, rtol=1e-8)


def test_exact_relu_near_the_origin_is_finite():
    law = quadratic_scaling_law(RELU, 1.0, 2.0)
    x = np.geomspace(1e-12, 1e-2, 40) * law.bounds[1] + law.bounds[0]
    density = law.density(x)
    assert np.all(np.isfinite(density) & (density >= 0))


@pytest.mark.parametrize("weights", ["identity", "two_valued"])
def test_agrees_outliers_in_number_and_place(key, weights):
    n, p = two_layer.sizes(32, 0.5, 1.0)
    factors = two_layer.draw(key, RELU, (n, 32, p), weights_name=weights)
    values = two_layer.eigenvalues(factors)
    drawn = np.max(np.asarray(factors.s), axis=0)  # φ' of ReLU is 0 or 1
    cloud = outliers(RELU, n, 32, p, drawn)
    assert cloud.number == 32
    out, bulk = values[n - 32 :], values[n - 32 - 1]
    # The prediction is to leading order in d; by Weyl the rest moves them by less than the bulk's
    # own norm. The smallest is ReLU's isolated one, below the cloud.
    assert abs(out.mean() - cloud.centre) < bulk / 2
    assert abs(out[1] - cloud.low) < bulk
    assert abs(out[-1] - cloud.high) < bulk
    assert outliers(ABS, n, 32, p).number == 0


def test_exact_operator_and_companion_are_the_matrix(key):
    factors = two_layer.draw(key, RELU, (40, 5, 4), weights_name="uniform")
    v = jax.random.normal(key, (40,), jnp.float64)
    matrix = two_layer.matrix(factors)
    np.testing.assert_allclose(two_layer.product(v, factors), matrix @ v, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        two_layer.eigenvalues(factors), np.linalg.eigvalsh(matrix), atol=1e-12
    )


def test_within_error_lanczos_finds_the_eigenvalues_of_the_matrix(key):
    factors = two_layer.draw(key, ABS, (400, 24, 24), dtype="float32")
    values = two_layer.eigenvalues(factors)
    rule = lanczos.quadrature(two_layer.product, 400, factors, steps=60, probes=20, seed=1)
    t = np.quantile(values, [0.2, 0.4, 0.6, 0.8, 0.95])
    bars = lanczos.cdf(rule, t)
    # a Gauss rule of 60 nodes resolves the distribution function to about a step's half, 1/120
    assert np.all(np.abs(bars.mean - [0.2, 0.4, 0.6, 0.8, 0.95]) < 4 * bars.error + 1 / 120)
    np.testing.assert_allclose(np.sum(rule.weights, axis=1), 1, rtol=1e-12)
    # A probe has entries ±1: the first moment is exact, tr A/n, up to the off-diagonal part
    first = np.sum(rule.nodes * rule.weights, axis=1)
    assert abs(first.mean() - values.mean()) < 4 * np.std(first) / np.sqrt(20) + 1e-5


def test_exact_lanczos_with_all_steps_is_the_spectrum():
    rng = np.random.default_rng(6)
    a = rng.normal(size=(12, 12))
    a = jnp.asarray(a + a.T)
    rule = lanczos.quadrature(apply, 12, a, steps=50, probes=1, seed=0, dtype=np.float64)
    np.testing.assert_allclose(rule.nodes[0], np.linalg.eigvalsh(a), atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_lanczos_ends_where_there_are_no_more_eigenvalues(dtype):
    """With three different eigenvalues the rule has three nodes, whatever the number of steps."""
    values = np.repeat([1.0, 2.0, 5.0], [3, 4, 5])
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(12, 12)))[0]
    a = jnp.asarray(rotation * values @ rotation.T, dtype)
    rule = lanczos.quadrature(apply, 12, a, steps=8, probes=5, seed=0, dtype=dtype)
    atol = 12 * float(np.finfo(dtype).eps) * 5
    for nodes, weights in zip(*rule, strict=True):
        np.testing.assert_allclose(nodes[weights > 0], [1.0, 2.0, 5.0], atol=atol)


def test_exact_lanczos_of_the_identity_is_one_atom():
    rule = lanczos.quadrature(apply, 9, 2 * jnp.eye(9), steps=5, probes=2, seed=0)
    np.testing.assert_allclose(rule.nodes, 2, rtol=1e-6)
    np.testing.assert_allclose(rule.weights, np.eye(5)[[0, 0]], atol=1e-12)


def test_exact_distances_of_quantiles_are_small_and_of_shifts_known():
    law = uniform(0.0, 1.0)
    values = (np.arange(100) + 0.5) / 100
    np.testing.assert_allclose(kolmogorov(law, values), 0.005, atol=1e-9)
    np.testing.assert_allclose(wasserstein(law, values), 0, atol=1e-9)
    np.testing.assert_allclose(wasserstein(law, values + 0.25), 0.25, atol=1e-9)
    half = SpectralLaw.from_atoms([0.0, 1.0])
    np.testing.assert_allclose(kolmogorov(half, np.array([0.0, 0.0, 0.0, 1.0])), 0.25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quadratic_scaling_law(ABS, 0.0, 1.0), "`gamma1` must be > 0, got 0.0"),
        (lambda: quadratic_scaling_law(ABS, 0.5, -1.0), "`gamma2` must be > 0, got -1.0"),
        (
            lambda: quadratic_scaling_law(ABS, 0.5, 1.0, [1.0, np.nan]),
            "`output_weights` must be finite",
        ),
        (
            lambda: quadratic_scaling_law(ABS, 0.5, 1.0, [0.0]),
            "`output_weights` must be not all zero",
        ),
        (
            lambda: quadratic_scaling_law(ne.activation("identity"), 0.5, 1.0),
            "`act` must be an activation that is not linear",
        ),
        (
            lambda: quadratic_scaling_law(ne.Activation("step", jnp.sign, (0.0,)), 0.5, 1.0),
            "'step' must have a slope",
        ),
        (
            lambda: two_layer.entries(jax.random.key(0), "cauchy", (2, 2), "float32"),
            "`entries` must be one of",
        ),
        (
            lambda: two_layer.output_weights(jax.random.key(0), "one", 2, "float32"),
            "`output_weights` must be one of",
        ),
        (
            lambda: two_layer.eigenvalues(
                two_layer.draw(jax.random.key(0), ABS, (64, 9, 9)), memory=1e4
            ),
            "`n, d, p` must be small enough for 1.0e\\+04 bytes",
        ),
        (
            lambda: lanczos.quadrature(apply, 5, jnp.eye(5), steps=1, probes=1, seed=0),
            "`steps` must be >= 2",
        ),
    ],
)
def test_exact_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
