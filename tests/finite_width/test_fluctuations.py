"""The law of K(θ) − K∞ against naive twins, closed forms and published numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_finite_width import influences, with_pairs

import ntk_eoc as ne
from ntk_eoc.finite_width import closed_forms, draws
from ntk_eoc.finite_width.dual_derivatives import expand_duals
from ntk_eoc.finite_width.influences import mean_square
from ntk_eoc.finite_width.limit_path import limit_path
from ntk_eoc.finite_width.mean_shift import mean_shift_parts
from ntk_eoc.finite_width.neuron_moments import neuron_moments
from ntk_eoc.finite_width.neurons import ERRORS, neuron_lattice
from ntk_eoc.finite_width.pair_moments import orthant_moments, sampled_moments

RELU = ne.edge_of_chaos("relu")
TANH = ne.Init(ne.activation("tanh"), 1.3, 0.5)
INITS = {"relu": RELU, "tanh": TANH, "gelu": ne.Init(ne.activation("gelu"), 1.4, 0.1)}


def inputs(n=3, d=4, seed=1):
    """Inputs of unequal norms."""
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("name", INITS)
def test_agrees_with_independent_neurons_of_the_definition(name):
    init, x, depth = INITS[name], inputs(), 3
    f = ne.fluctuations(init, x, depth)
    count = 40_000
    for j in (1, 2):
        widths = [10**12, 10**12, 1]  # the other layer's part is gone
        widths[j - 1] = 1
        c = influences(np.random.default_rng(j), init, x, j, depth, count).reshape(count, -1)
        c = c - c.mean(axis=0)
        products = c[:, :, None] * c[:, None, :]
        error = np.hypot(
            products.std(axis=0) / count**0.5,
            f.covariance_error(widths).reshape(products.shape[1:]) / ERRORS,
        )
        gap = f.covariance(widths).reshape(error.shape) - products.mean(axis=0)
        # 4.5 standard errors: 2 · 3 · 45 different entries.
        assert (np.abs(gap) < 4.5 * error).all()


def test_exact_the_cross_term_is_seen():
    """Without Cov(φ̂², φ̂_s² b²) the same comparison fails."""
    x, count = inputs(), 40_000
    f = ne.fluctuations(RELU, x, 3)
    c = influences(np.random.default_rng(0), RELU, x, 1, 3, count, cross_term=False)
    c = c.reshape(count, -1) - c.reshape(count, -1).mean(axis=0)
    variance, error = (c**2).mean(axis=0), (c**2).std(axis=0) / count**0.5
    gap = f.covariance((1, 10**12, 1)).reshape(9, 9).diagonal() - variance
    assert np.abs(gap / error).max() > 6


@pytest.mark.parametrize("name", ["relu", "abs", "leaky_relu", "identity"])
def test_exact_one_input(name):
    act, depth = ne.activation(name), 9
    x = np.array([[0.3, -1.2, 2.0]])
    f = ne.fluctuations(ne.edge_of_chaos(act), x, depth)
    scale = ((x**2).sum() / 3) ** 2
    shares = closed_forms.one_input_shares(act, depth)
    np.testing.assert_allclose(f.layers / scale, shares, rtol=1e-10)


@pytest.mark.parametrize("name", ["gelu", "erf", "cos"])
def test_exact_series_differentiate_as_the_closed_form_does(name):
    """Derivatives of T and D by (q₁, q₂, s) from power series, without the formula of φ's dual."""
    act = ne.activation(name)
    bare = ne.Activation("bare", act.fn, (), act.derivative)
    rng = np.random.default_rng(0)
    q1, q2 = rng.uniform(0.3, 4, (2, 30))
    q2[:10] = q1[:10]
    delta = np.array([1e-6, 0.01, 2 - 1e-6, *rng.uniform(0, 2, 27)])
    pairs = (expand_duals(ne.Init(one, 1.3), q1, q2, delta) for one in (act, bare))
    for exact, found in zip(*pairs, strict=True):
        for ours, theirs in zip(found, exact, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("name", INITS)
def test_exact_frobenius_is_the_trace_of_the_covariance(name, outputs):
    x, widths = with_pairs(), (30, 50, outputs)
    f = ne.fluctuations(INITS[name], x, 3, outputs)
    n = len(x)
    total = 0.0
    for entries, count in (((0, 0, 0, 0), outputs), ((0, 1, 0, 1), outputs * (outputs - 1))):
        if count:
            c = f.covariance(widths, entries).reshape(n * n, n * n)
            total += count * c.trace() / n**2
    value, error = f.frobenius(widths)
    # The same neurons; for a s + b|s| frobenius is exact, and the covariance to some 1/1000.
    assert abs(total**0.5 - value) < max(3 * error, 4e-3 * value)


def test_exact_duplicate_and_reversed_inputs():
    x = with_pairs()
    for init in (ne.edge_of_chaos("abs"), TANH, RELU):
        c = ne.fluctuations(init, x, 4).covariance((10, 20, 30, 1))
        # The twin 4 of input 0 fluctuates with it.
        np.testing.assert_allclose(c[4, 4, 4, 4], c[0, 0, 0, 0], rtol=1e-9)
        np.testing.assert_allclose(c[0, 4, 0, 4], c[0, 0, 0, 0], rtol=1e-6)
        np.testing.assert_allclose(c[0, 1, 4, 1], c[0, 1, 0, 1], rtol=1e-9)
        assert np.isfinite(c).all()
    even = ne.fluctuations(ne.edge_of_chaos("abs"), x, 4).covariance((10, 20, 30, 1))
    # |s| sees x and −x alike from the second layer on; K_1(x, −x) is −K_1(x, x).
    np.testing.assert_allclose(even[3, 3, 1, 1], even[1, 1, 1, 1], rtol=1e-9)


def test_exact_orthant_moments_are_those_of_neurons():
    x = inputs(4)
    init = ne.Init(ne.abs_linear(0.7, -0.4), 1.2)
    path = limit_path(init, x, 2)
    exact = orthant_moments(init.activation, init.sigma_w, path.q[0], path.delta[0])
    points, shifts = neuron_lattice(2**17, 4, 0, 0)
    drawn = sampled_moments(init, jnp.asarray(path.covariance[0]), points, shifts)
    for one, many in zip(exact, drawn, strict=True):
        many = np.asarray(many)
        error = many.std(axis=0, ddof=1) / len(shifts) ** 0.5
        assert (np.abs(one[0] - many.mean(axis=0)) < 6 * error + 1e-12).all()  # t, 31 degrees


def test_exact_one_output_has_the_law_of_each_of_several():
    for init in (RELU, TANH):
        one, three = (ne.fluctuations(init, with_pairs(), 4, k, neurons=2**10) for k in (1, 3))
        law = three.covariance((8, 9, 10, 3), (2, 2, 2, 2))
        np.testing.assert_array_equal(one.covariance((8, 9, 10, 1)), law)


def test_exact_second_moment_of_an_influence():
    """`mean_square`, put together from pair moments, is the diagonal of the covariance."""
    x, depth = with_pairs(), 4
    f = ne.fluctuations(TANH, x, depth)
    path = limit_path(TANH, x, depth)
    for j, part in enumerate(f.parts):
        moments, gaps = neuron_moments(TANH, path, j, f.neurons, f.seed)
        square = mean_square(part, moments, gaps).mean(axis=0)
        diagonal = f._covariances[0][j, 0].diagonal().reshape(square.shape)
        np.testing.assert_allclose(square, diagonal, rtol=1e-8)


def test_within_error_draws_have_the_covariance():
    x, widths, count = inputs(), (20, 30, 2), 4000
    f = ne.fluctuations(RELU, x, 3, 2)
    drawn = f.draw(jax.random.key(1), widths, count)
    assert drawn.shape == (count, 3, 3, 2, 2)
    for a, b, c, d in ((0, 0, 0, 0), (0, 0, 1, 1), (0, 1, 0, 1), (0, 1, 1, 0)):
        products = drawn[:, :, :, None, None, a, b] * drawn[:, None, None, :, :, c, d]
        error = (
            products.std(axis=0) / count**0.5 + f.covariance_error(widths, (a, b, c, d)) / ERRORS
        )
        gap = products.mean(axis=0) - f.covariance(widths, (a, b, c, d))
        assert (np.abs(gap) < 4.5 * error).all()  # some 100 different entries
    again = f.draw(jax.random.key(1), widths, count)
    np.testing.assert_array_equal(again, drawn)


def test_within_error_norms_of_draws():
    x, widths = inputs(4), (200, 300, 1)
    f = ne.fluctuations(TANH, x, 3)
    found = draws.norms(f, jax.random.key(0), widths, 4000)
    value, _ = f.frobenius(widths)
    squares = found.frobenius**2
    assert abs(squares.mean() - value**2) < 4 * squares.std() / 4000**0.5 + 4e-3 * value**2
    assert (found.operator <= found.frobenius * (1 + 1e-12)).all()
    assert (found.operator * 4 >= found.largest / 4).all()
    smallest = np.linalg.eigvalsh(f.limit / 4)[0]
    assert (np.abs(found.smallest - smallest) <= found.operator * (1 + 1e-9)).all()


KINDS = {
    "tanh": TANH,
    "gelu": INITS["gelu"],
    "kinks": ne.Init(ne.activation("hard_tanh"), 1.3, 0.3),
    "steep": ne.Init(ne.Activation("steep", lambda s: s * jax.nn.sigmoid(20 * s)), 1.4, 0.1),
}


@pytest.mark.slow
@pytest.mark.parametrize("neurons", [256, 1024, 4096])
@pytest.mark.parametrize("name", KINDS)
def test_within_error_the_stated_error_holds(name, neurons):
    """Never less than half the true one, against 64 times the neurons."""
    init, x = KINDS[name], with_pairs()
    many = ne.fluctuations(init, x, 4, neurons=64 * neurons, seed=1000)
    shifts = mean_shift_parts(init, x, x, 4, (1, 1, 1, 1), neurons=64 * neurons, seed=1000)
    for seed in range(30):
        few = ne.fluctuations(init, x, 4, neurons=neurons, seed=seed)
        for widths in ((10, 10, 10, 1), (1, 10**6, 10**6, 1), (10**6, 10**6, 1, 1)):
            (value, error), (truth, _) = few.frobenius(widths), many.frobenius(widths)
            assert abs(value - truth) < 2 * error, (seed, widths)
        found = mean_shift_parts(init, x, x, 4, (1, 1, 1, 1), neurons=neurons, seed=seed)
        gap = found.forward + found.backward - shifts.forward - shifts.backward
        assert (np.abs(gap) < 2 * found.error).all(), seed
        if seed < 3:
            gap = few.covariance((1, 1, 1, 1)) - many.covariance((1, 1, 1, 1))
            assert (np.abs(gap) < 2 * few.covariance_error((1, 1, 1, 1))).all(), seed


def at_angle(theta):
    """Two inputs of one norm."""
    x, side = np.array([1.2, -0.4, 1.1]), np.array([1.1, 0.0, -1.2])
    side *= np.linalg.norm(x) / np.linalg.norm(side)
    return np.stack([x, np.cos(theta) * x + np.sin(theta) * side])


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_exact_small_angles(name):
    """A kink's derivatives by the angle grow like 1/θ³; the law nears that of θ = 0 like θ."""
    init, widths = ne.edge_of_chaos(name), (1, 1, 1, 1)
    pairs = [at_angle(theta) for theta in (0.0, 1e-6, 1e-5, 1e-4)]
    frobenius = [ne.fluctuations(init, pair, 4).frobenius(widths).value for pair in pairs]
    shifts = [ne.mean_shift(init, pair, pair, 4, widths)[0, 1] for pair in pairs]
    for law in (frobenius, shifts):
        gaps = np.array(law[1:]) - law[0]
        np.testing.assert_allclose(gaps[:2] / gaps[2], [0.01, 0.1], rtol=0.01)


@pytest.mark.slow
def test_within_error_small_angles_without_a_closed_form():
    """Equal inputs and inputs at θ = 10⁻⁶ differ by less than the neurons' error."""
    same, near = (
        mean_shift_parts(KINDS["kinks"], pair, pair, 4, (1, 1, 1, 1))
        for pair in (at_angle(0.0), at_angle(1e-6))
    )
    gap = same.forward + same.backward - near.forward - near.backward
    assert (np.abs(gap) < near.error).all()


def test_exact_a_small_scale_is_a_scale():
    """K is homogeneous in x for a scale-invariant φ; and a zero input has no part in it."""
    x = np.concatenate([inputs(), np.zeros((1, 4))])
    law, small = (ne.fluctuations(RELU, c * x, 3).layers for c in (1.0, 1e-20))
    np.testing.assert_allclose(small, 1e-80 * law, rtol=1e-9)
    few = ne.fluctuations(RELU, inputs(), 3).layers
    np.testing.assert_allclose(law, few * (3 / 4) ** 2, rtol=1e-12)


def test_exact_published_tensors_of_one_input_at_depth_200():
    """Critical ReLU: V = 5 L, A = (7/12) L³, B = L³/6, A + 2B = (11/12) L³; K there is half ours.

    arXiv:2508.11522. B is the covariance of K_ab with itself, A that of K_aa with K_bb.
    """
    depth = 200
    x = np.array([[1.0, 1.0]])
    f = ne.fluctuations(RELU, x, depth, 2)
    widths = (*(1,) * (depth - 1), 2)
    at = {
        entries: float(f.covariance(widths, entries)[0, 0, 0, 0]) / 4 / depth**3
        for entries in ((0, 0, 0, 0), (0, 0, 1, 1), (0, 1, 0, 1))
    }
    np.testing.assert_allclose(at[0, 0, 1, 1], 7 / 12, rtol=0.02)
    np.testing.assert_allclose(at[0, 1, 0, 1], 1 / 6, rtol=0.02)
    np.testing.assert_allclose(at[0, 0, 0, 0], 11 / 12, rtol=0.02)
    moments = orthant_moments(RELU.activation, RELU.sigma_w, np.ones(1), np.zeros((1, 1)))
    np.testing.assert_allclose(moments.u4[0, 0] - 1, 5, rtol=1e-12)  # V, a layer


def test_exact_one_layer_has_no_fluctuations():
    f = ne.fluctuations(RELU, inputs(), 1, 2)
    assert f.layers.size == 0
    assert f.frobenius((2,)) == (0.0, 0.0)
    assert not f.covariance((2,)).any()
    assert not f.draw(jax.random.key(0), (2,), 3).any()


def test_exact_a_linear_network_fluctuates_too():
    x = inputs()
    f = ne.fluctuations(ne.edge_of_chaos("identity"), x, 2)
    # K = x·x'(|w|² + |W|²-like sums): Var of K_11 from φ̂² and b² is 2 + 2, times K_1².
    variance = f.covariance((1, 1))[0, 0, 0, 0]
    np.testing.assert_allclose(variance, 4 * (x[0] @ x[0] / 4) ** 2, rtol=5e-3)


def test_exact_bad_input_is_refused():
    x = inputs()
    with pytest.raises(ValueError, match=r"`depth` must be >= 1, got 0"):
        ne.fluctuations(RELU, x, 0)
    with pytest.raises(ValueError, match=r"`x` must be \[n, d\] with n, d >= 1, got \(0, 4\)"):
        ne.fluctuations(RELU, x[:0], 2)
    with pytest.raises(ValueError, match="`x` must be finite"):
        ne.fluctuations(RELU, x * np.nan, 2)
    f = ne.fluctuations(RELU, x, 2)
    with pytest.raises(ValueError, match=r"`widths` must be \(m_1, …, m_l\) with l = 2"):
        f.frobenius((3, 3, 1))
    with pytest.raises(ValueError, match=r"`widths\[-1\]` must be the 1 outputs, got 2"):
        f.frobenius((3, 2))
    with pytest.raises(ValueError, match=r"`widths\[0\]` must be < 2⁶³, got 'more'"):
        f.frobenius((10**400, 1))
    with pytest.raises(ValueError, match=r"`entries` must be outputs < 1"):
        f.covariance((3, 1), (0, 0, 1, 1))
    with pytest.raises(ValueError, match=r"`x` must be of ‖x‖²/d <= 1e\+24"):
        ne.fluctuations(RELU, 1e13 * x, 2)
    with pytest.raises(ValueError, match="`seed` must be >= 0, got -1"):
        ne.fluctuations(TANH, x, 2, seed=-1)
    with pytest.raises(ValueError, match="`neurons` must be more, or ‖x‖²/d smaller: layer 1 has"):
        ne.fluctuations(TANH, 1e8 * x, 2)


def test_exact_float64_is_asked_for():
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(RuntimeError, match="`fluctuations` needs float64"):
            ne.fluctuations(RELU, inputs(), 2)
    finally:
        jax.config.update("jax_enable_x64", True)
