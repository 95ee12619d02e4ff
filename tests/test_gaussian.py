import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import reference_gaussian as reference
from plain_activations import without_closed_form

from ntk_eoc.activations import NAMED, Activation, activation
from ntk_eoc.gaussian import ActivationError, dual, dual_prime, gaussian_mean, plan
from ntk_eoc.gaussian.triples import MANY, Triples, integrate_all

CLOSED = ["abs", "relu", "leaky_relu", "erf", "gelu", "sin", "cos", "exp", "quadratic"]


def delta_of(angle):
    return float(2 * np.sin(angle / 2) ** 2)


def check_against_reference(name, triples, count=0):
    """Within 1e-12 of the scale, and an estimate that is no boast.

    The triples are repeated up to `count`: many are integrated by another rule.
    """
    act = without_closed_form(name)
    q1, q2, delta = np.resize(triples, (max(count, len(triples)), 3)).T
    for slope, integral in (
        (False, dual(act, q1, q2, delta)),
        (True, dual_prime(act, q1, q2, delta)),
    ):
        for i, triple in enumerate(triples):
            exact = reference.dual(name, *triple, slope)
            scale = mp.sqrt(
                reference.second_moment(name, triple[0], slope)
                * reference.second_moment(name, triple[1], slope)
            )
            error = float(abs(mp.mpf(float(integral.value[i])) - exact))
            assert error <= 1e-12 * float(scale), (name, slope, triple)
            assert error <= 10 * float(integral.error[i]), (name, slope, triple)


def of_two_bumps(c, w, q1, q2, delta):
    """E b(y₁) b(y₂) of b = e^{−(s−c)²/w²}, and S⁻¹(c, c) and S⁻¹, S = Cov y + w²/2."""
    wide = mp.mpf(w) ** 2 / 2
    across = (1 - mp.mpf(delta)) * mp.sqrt(q1) * mp.sqrt(q2)
    smoothed = mp.matrix([[q1 + wide, across], [across, q2 + wide]])
    inverse = smoothed**-1
    pull = inverse * mp.matrix([c, c])
    both = wide / mp.sqrt(mp.det(smoothed)) * mp.exp(-mp.mpf(c) * (pull[0] + pull[1]) / 2)
    return both, pull, inverse


def test_exact_slope_that_is_rounding_wherever_it_is_sampled():
    """φ = erf(k (s − c)): with a slope of width 1/k, no point of a range's search met it."""
    k, c, q1, q2, deltas = 25_000.0, -1.8384, 0.974, 1.315, [0.0, 0.0447, 1.0]
    act = Activation("step", lambda s: jax.scipy.special.erf(k * (s - c)))
    found = dual_prime(act, q1, q2, np.array(deltas))
    for value, claimed, delta in zip(*map(np.asarray, found), deltas, strict=True):
        with mp.workdps(40):
            exact = 4 * k**2 / mp.pi * of_two_bumps(c, 1 / k, q1, q2, delta)[0]
        assert abs(value - float(exact)) <= 10 * claimed <= 1e-7


@pytest.mark.parametrize(("c", "w"), [(1.522, 0.00353), (0.109, 0.00113), (-0.0012, 5e-6)])
def test_exact_bump_on_a_line_smoothed_on_its_own_scale(c, w):
    """φ = s + h e^{−(s−c)²/w²} in closed form, where √q₂ sin θ is 0 to 10 times w.

    What the inner integral leaves of the bump is wider than the bump and than the smoothing. A
    bump that few points hit must not make φ odd.
    """
    h, q1, q2 = 0.387, 24.3, 16.3
    act = Activation("bump", lambda s: s + h * jnp.exp(-(((s - c) / w) ** 2)))
    deltas = [delta_of(spread * w / q2**0.5) for spread in (0, 0.1, 0.7, 1, 2, 10)]
    found = dual_prime(act, q1, q2, np.array(deltas))
    scale = 1 + h**2 / w / 30  # of E φ'(√q z)²
    for value, claimed, delta in zip(*map(np.asarray, found), deltas, strict=True):
        with mp.workdps(40):
            both, pull, inverse = of_two_bumps(c, w, q1, q2, delta)
            both *= h**2 * (pull[0] * pull[1] - inverse[0, 1])
            alone = [h * w * c * mp.exp(-(mp.mpf(c) ** 2) / d) * 2 / d ** mp.mpf(1.5)
                     for d in (mp.mpf(w) ** 2 + 2 * q for q in (q1, q2))]  # fmt: skip
            error = abs(mp.mpf(float(value)) - (1 + sum(alone) + both))
        assert error <= min(10 * float(claimed), 5e-12 * scale)


@pytest.mark.parametrize("name", ["hard_tanh", "tanh"])
def test_agrees_dual_with_mpmath(name):
    check_against_reference(name, [(1.0, 1.0, delta_of(1.0)), (25.0, 0.3, delta_of(1e-3))])


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", reference.NAMES)
def test_agrees_dual_with_mpmath_on_the_grid(name):
    angles = (1e-6, 1e-3, 0.3, 1.5, 3.0, float(np.pi - 1e-6))
    variances = ((0.01, 0.01), (1.0, 1.0), (0.01, 25.0), (2.0, 9.0), (25.0, 25.0))
    triples = [(*qs, delta_of(t)) for qs in variances for t in angles]
    for count in (0, MANY):
        check_against_reference(name, triples, count)


@pytest.mark.parametrize(
    "name",
    [n if n in ("abs", "gelu") else pytest.param(n, marks=pytest.mark.slow) for n in CLOSED],
)
def test_agrees_closed_form_with_quadrature(name):
    act, plain = activation(name), without_closed_form(name)
    rng = np.random.default_rng(1)
    q1, q2 = 10 ** rng.uniform(-2, 1.0, (2, 12))
    delta = 2 * np.sin(np.r_[1e-6, 1e-3, rng.uniform(0, np.pi, 8), np.pi - 1e-3, np.pi] / 2) ** 2
    for form in (dual, dual_prime):
        scale = np.sqrt(form(act, q1, q1, 0.0).value * form(act, q2, q2, 0.0).value)
        error = np.abs(form(act, q1, q2, delta).value - form(plain, q1, q2, delta).value)
        assert (error <= 1e-12 * scale).all(), form.__name__


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_exact_gap_keeps_its_digits_at_small_angles(name):
    """½E[(φ − φ)²] = ∫ of the derivative's dual over δ (Price), at angles down to 1e-6."""
    act = activation(name)
    theta = np.array([1e-6, 1e-4, 1e-2])
    x, w = np.polynomial.legendre.leggauss(20)
    t = theta[:, None] * (x + 1) / 2
    slopes = np.asarray(dual_prime(act, 2.0, 2.0, 2 * np.sin(t / 2) ** 2).value)
    exact = 2.0 * (theta / 2) * ((slopes * np.sin(t)) @ w)
    q, delta = np.full(3, 2.0), 2 * np.sin(theta / 2) ** 2
    found = integrate_all(act, "layer", Triples(q, q, delta, 2 - delta, *np.ones((2, 3))))
    # A difference of φ at arguments θ apart has a relative error of ulp/θ, averaged over nodes.
    np.testing.assert_allclose(found.value[0], exact, rtol=3e-11)
    assert (np.abs(found.value[0] - exact) <= 10 * found.error[0]).all()


@pytest.mark.parametrize(("name", "form"), [("relu", dual_prime), ("gelu", dual)])
def test_exact_derivatives_across_kinks(name, form):
    """Autodiff of the quadrature is the derivative of the closed form, jumps of φ' included."""
    act, plain = activation(name), without_closed_form(name)
    point = (0.7, 1.9, 0.4)
    tangent = (0.3, -0.5, 0.7)
    exact, found = (
        jax.jvp(lambda *x, phi=phi: form(phi, *x).value, point, tangent)[1] for phi in (act, plain)
    )
    np.testing.assert_allclose(found, exact, rtol=1e-9)


def test_exact_gaussian_mean():
    value, error = gaussian_mean(
        lambda s: jnp.where(s > 0.5, 1.0, 0.0), np.array([0.3, 4.0]), kinks=(0.5,)
    )
    exact = [float(mp.ncdf(-0.5 / mp.sqrt(q))) for q in (0.3, 4.0)]
    np.testing.assert_allclose(value, exact, rtol=1e-13)
    assert (np.abs(value - np.array(exact)) <= 10 * error).all()


def test_exact_duals_of_a_batch_do_not_depend_on_the_batch():
    act = without_closed_form("hard_tanh")
    q, delta = np.geomspace(0.1, 3, 5), np.linspace(0.01, 1.9, 5)
    together = dual(act, q, q[::-1], delta).value
    alone = [dual(act, q[i : i + 1], q[4 - i : 5 - i], delta[i : i + 1]).value[0] for i in (1, 4)]
    np.testing.assert_allclose(together[np.array([1, 4])], alone, rtol=1e-14)


@pytest.mark.parametrize("name", sorted(NAMED))
def test_exact_named_activations_declare_their_kinks(name):
    act = activation(name)
    if name == "identity":
        assert act.kinks == ()
    else:
        panels = plan(act)
        assert set(act.kinks) == set(panels.kinks)
    s = jnp.linspace(-7.3, 8.1, 41)
    slope = jax.vmap(jax.grad(lambda s: act(s)))(s)
    np.testing.assert_allclose(act.prime(s), slope, rtol=1e-12, atol=1e-14)


BAD = {
    "nan": (lambda s: jnp.log(s), (), "nan at s ="),
    "if": (lambda s: s if s > 0 else 0 * s, (), "jnp.where instead of if"),
    "cumsum": (lambda s: jnp.cumsum(s, -1), (), "changes with the other points"),
    "sum": (lambda s: jnp.sum(s), (), "must be (an )?elementwise"),
    "constant": (lambda s: 0 * s + 2, (), "must not be constant"),
    "fast": (lambda s: jnp.exp(s * s), (), "grows too fast"),
    "elu": (jax.nn.elu, (), r"kinks=\(0,\)"),
    "clip": (lambda s: jnp.clip(s, -1, 2.5), (-1.0,), r"near s = 2.5.*kinks=\(-1, 2.5,\)"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_exact_unfit_activations_are_refused(name):
    fn, kinks, message = BAD[name]
    with pytest.raises(ActivationError, match=message):
        dual(Activation(name, fn, kinks), 1.0, 1.0, 0.5)


@pytest.mark.parametrize("centre", [-0.2, 0.2])
def test_exact_what_lies_beyond_the_weight_is_said_to(centre):
    bump = Activation("bump", lambda s: jnp.exp(-5e5 * (s - centre) ** 2))
    with pytest.raises(ActivationError, match="must come from .*scale the inputs up"):
        dual(bump, 4e-5, 4e-5, 0.5)


def test_exact_bad_triples_are_refused():
    with pytest.raises(ValueError, match="`q1` must be > 0"):
        dual(activation("tanh"), 0.0, 1.0, 0.5)
    with pytest.raises(ValueError, match=r"`delta` must be in \[0, 2\]"):
        dual(activation("tanh"), 1.0, 1.0, 2.5)
