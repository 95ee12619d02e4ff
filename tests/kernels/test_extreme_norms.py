"""K∞ of inputs of norms 1e-150 to 1e150: right within its error, or refused by name."""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from plain_activations import without_closed_form

import ntk_eoc as ne
from ntk_eoc.activations import duals
from ntk_eoc.gaussian import ActivationError
from ntk_eoc.kernels.closed_duals import turn

VARIANCES = [1e-290, 1e-30, 1e-3, 30.0, 1e4, 1e8, 1e30, 1e150]
DELTAS = [0.0, 1e-20, 1e-4, 4.9e-3, 0.3, 1.0, 1.7, 2.0]
ANGLE = 1e-3
PAIR = np.sqrt(2) * np.array([[1.0, 0.0], [np.cos(ANGLE), np.sin(ANGLE)]])


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def _erf(q1, q2, c):
    return 2 / mp.pi * mp.atan2(2 * c, mp.sqrt((1 + 2 * q1) * (1 + 2 * q2) - 4 * c * c))


def _erf_prime(q1, q2, c):
    return 4 / mp.pi / mp.sqrt((1 + 2 * q1) * (1 + 2 * q2) - 4 * c * c)


def _both(q1, q2, c):
    det = (1 + q1) * (1 + q2) - c * c
    return det, mp.mpf(1) / 4 + mp.atan2(c, mp.sqrt(det)) / (2 * mp.pi)


def _gelu(q1, q2, c):
    det, both = _both(q1, q2, c)
    rest = q1 * q2 + c * c * (1 - q1 * q2) / ((1 + q1) * (1 + q2))
    return rest / (2 * mp.pi * mp.sqrt(det)) + c * both


def _gelu_prime(q1, q2, c):
    det, both = _both(q1, q2, c)
    return both + c * (1 / (1 + q1) + 1 / (1 + q2) + 1 / det) / (2 * mp.pi * mp.sqrt(det))


def _abs_linear(a, b, q1, q2, c):
    root = mp.sqrt(q1 * q2)
    theta = mp.acos(c / root)
    return a * a * c + b * b * (c + 2 / mp.pi * (root * mp.sin(theta) - theta * c))


FORMS = {
    "relu": (
        functools.partial(duals.abs_linear, 0.5, 0.5),
        functools.partial(_abs_linear, 0.5, 0.5),
    ),
    "erf": (duals.erf, _erf),
    "erf_prime": (duals.erf_prime, _erf_prime),
    "gelu": (duals.gelu, _gelu),
    "gelu_prime": (duals.gelu_prime, _gelu_prime),
    "sin": (duals.sin, lambda q1, q2, c: mp.exp(-(q1 + q2) / 2) * mp.sinh(c)),
    "cos": (duals.cos, lambda q1, q2, c: mp.exp(-(q1 + q2) / 2) * mp.cosh(c)),
}


def exactly(form, q1, q2, delta):
    q1, q2 = mp.mpf(q1), mp.mpf(q2)
    return form(q1, q2, mp.sqrt(q1 * q2) * (1 - mp.mpf(delta)))


@pytest.mark.parametrize("name", FORMS)
def test_agrees_closed_forms_with_mpmath_at_any_variances(name):
    form, exact = FORMS[name]
    q1, q2, delta = (x.ravel() for x in np.meshgrid(VARIANCES, VARIANCES, DELTAS))
    found = form(*map(jnp.asarray, (q1, q2, delta)))
    with mp.workdps(320):
        own = {q: mp.sqrt(exactly(exact, q, q, 0.0)) for q in VARIANCES}
        for a, b, d, value in zip(q1, q2, delta, found, strict=True):
            off = abs(mp.mpf(float(value)) - exactly(exact, a, b, d))
            assert off <= 8e-16 * own[a] * own[b] + mp.mpf(1e-290), (a, b, d)


@pytest.mark.parametrize("name", ["relu", "erf", "gelu", "gelu integrated", "sin", "cos"])
def test_agrees_differences_of_closed_forms_with_mpmath_at_any_variances(name):
    """The dual at angle 0 less that at a small angle, relatively."""
    variances, deltas = VARIANCES[1:-1], [1e-25, 1e-8, 1e-4, 4.9e-3]
    q1, q2, delta = (x.ravel() for x in np.meshgrid(variances, variances, deltas))
    name, _, integrated = name.partition(" ")
    form = ne.activation(name).closed_form
    assert form is not None
    if integrated:  # as a user's own closed form is
        form = form._replace(turn=None)
    found = turn(form, *map(jnp.asarray, (q1, q2, delta, 2 - delta)))
    with mp.workdps(320):
        for a, b, d, value in zip(q1, q2, delta, found, strict=True):
            exact = exactly(FORMS[name][1], a, b, 0.0) - exactly(FORMS[name][1], a, b, d)
            off = abs(mp.mpf(float(value)) - exact)
            assert off <= 2e-14 * exact + mp.mpf(1e-290), (a, b, d)


def kernels(init, x, mode, depth=3):
    """K∞ by one of the ways it is asked for."""
    if mode == "eager":
        return ne.ntk_infinite(init, x, x, depth)
    if mode == "jit":
        return jax.jit(lambda x: ne.ntk_infinite(init, x, x, depth))(x)
    assert mode == "with_error"
    found = ne.ntk_infinite_with_error(init, x, x, depth)
    # Of parallel inputs of other norms the error is known to √ε only.
    assert bool((found.error <= 3e-8 * np.abs(found.value)).all())
    return found.value


@pytest.mark.parametrize("mode", ["eager", "jit", "with_error"])
@pytest.mark.parametrize("size", [1e15, 1e150])
def test_scales_gelu_becomes_relu_at_large_norms(size, mode):
    """Their kernels differ by a part 1/√q."""
    x = jnp.asarray(size * np.array([[1.0], [1.0], [1e-3]]) * PAIR[[0, 1, 1]])
    gelu, relu = (ne.Init(ne.activation(name), 1.2, 0.1) for name in ("gelu", "relu"))
    np.testing.assert_allclose(
        kernels(gelu, x, mode), kernels(relu, x, "eager"), rtol=1e-11, atol=0
    )


@pytest.mark.parametrize("mode", ["eager", "jit"])
def test_scales_gelu_becomes_relu_in_float32(mode):
    x = jnp.asarray(1e15 * PAIR, jnp.float32)
    gelu, relu = (ne.Init(ne.activation(name), 1.2, 0.1) for name in ("gelu", "relu"))
    np.testing.assert_allclose(kernels(gelu, x, mode), kernels(relu, x, "eager"), rtol=1e-5)


THREE = np.concatenate([PAIR, -PAIR[:1]])  # parallel, antiparallel and at a small angle
gradients = jax.value_and_grad(
    lambda x, act: ne.ntk_infinite(ne.Init(act, 1.2, 0.1), x, x, 3).sum()
)


@pytest.mark.parametrize("size", [1e7, 1e15])
def test_scales_gradients_of_gelu_become_those_of_relu(size):
    """They differ by a part 1/√q, on the diagonal too."""
    x = jnp.asarray(size * THREE)
    one, two = (gradients(x, ne.activation(name)) for name in ("gelu", "relu"))
    np.testing.assert_allclose(one[0], two[0], rtol=1 / size + 1e-13)
    off = np.abs(one[1] - two[1]).max() / jnp.abs(two[1]).max()
    assert off <= 1 / size + 1e-13


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e7, 1e15])
def test_scales_gradients_by_quadrature_become_those_of_relu(size):
    """They differ by a part 1/√q, and the rules lose a part of ε √q."""
    x = jnp.asarray(size * THREE)
    one, two = (gradients(x, a) for a in (without_closed_form("silu"), ne.activation("relu")))
    np.testing.assert_allclose(one[0], two[0], rtol=2 / size + 1e-13)
    off = np.abs(one[1] - two[1]).max() / jnp.abs(two[1]).max()
    assert off <= 1 / size + 2e-16 * size


@pytest.mark.parametrize("size", [1.0, 1e7, 1e15])
@pytest.mark.parametrize("name", ["erf", "gelu"])
def test_agrees_growth_with_all_norms_with_mpmath(name, size):
    """The sum of the limit, and its derivative by the logarithm of one factor of all inputs."""
    w2, b2 = mp.mpf(1.2) ** 2, mp.mpf(0.1) ** 2
    form, prime = FORMS[name][1], FORMS[f"{name}_prime"][1]

    def total(log):
        with mp.workdps(60):
            x, found = [[mp.exp(log) * mp.mpf(a) for a in row] for row in size * THREE], 0
            for y in x:
                for z in x:
                    q1, q2, c = (mp.fdot(a, b) / 2 for a, b in ((y, y), (z, z), (y, z)))
                    kernel = c
                    for _ in range(2):
                        slope = prime(q1, q2, c)
                        q1, q2, c = (
                            w2 * form(*of) + b2 for of in ((q1, q1, q1), (q2, q2, q2), (q1, q2, c))
                        )
                        kernel = w2 * slope * kernel + c
                    found += kernel
            return found

    x = jnp.asarray(size * THREE)
    value, slope = gradients(x, ne.activation(name))
    with mp.workdps(60):
        step = mp.mpf("1e-20")
        growth = (total(step) - total(-step)) / (2 * step)
        np.testing.assert_allclose(float(value), float(total(mp.mpf(0))), rtol=1e-12)
        np.testing.assert_allclose(float((slope * x).sum()), float(growth), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "size"),
    [slow("gelu", 1e15), slow("silu", 1e15), slow("softplus", 1e15), slow("elu", 1e15)],
)
def test_scales_by_quadrature_becomes_relu_at_large_norms(name, size):
    x = jnp.asarray(size * PAIR)
    init, relu = ne.Init(without_closed_form(name), 1.2), ne.Init(ne.activation("relu"), 1.2)
    found, exact = ne.ntk_infinite_with_error(init, x, x, 3), ne.ntk_infinite(relu, x, x, 3)
    assert (np.abs(found.value - exact) <= 10 * found.error + 1e-12 * exact).all()
    assert (found.error <= 1e-6 * exact).all()


@pytest.mark.parametrize("traced", [False, slow(True)])
@pytest.mark.parametrize("size", [1e-100, 1e-15])
def test_exact_tanh_is_the_identity_at_small_norms(size, traced):
    x = jnp.asarray(size * np.array([[1.0], [1.0], [1.0], [0.0]]) * PAIR[[0, 1, 1, 1]])
    of = functools.partial(ne.ntk_infinite, ne.Init(ne.activation("tanh"), 1.2), depth=3)
    found = jax.jit(lambda x: of(x, x))(x) if traced else of(x, x)
    np.testing.assert_allclose(found, 3 * 1.2**4 * np.asarray(x @ x.T) / 2, rtol=1e-12, atol=0)


def tanh_at_large_norms(q, angle):
    """K₂ of tanh and its diagonal: ∫sech⁴ = 4/3, ∫sech² = 2."""
    w2, density = 1.44, 1 / np.sqrt(2 * np.pi * q)
    diagonal = w2 * (4 / 3 * density * q + 1 - 2 * density)
    slope = 4 * density**2 / np.sin(angle)
    return w2 * (slope * q * np.cos(angle) + 2 / np.pi * np.arcsin(np.cos(angle))), diagonal


@pytest.mark.parametrize("size", [1e4, slow(1e8), slow(1e15)])
def test_within_error_erf_by_quadrature_at_large_norms(size):
    x = jnp.asarray(size * PAIR)
    found = ne.ntk_infinite_with_error(ne.Init(without_closed_form("erf"), 1.2), x, x, 2)
    q, w2 = mp.mpf(size) ** 2, mp.mpf(1.2) ** 2
    with mp.workdps(60):
        covariances = [q, q * mp.cos(mp.mpf(ANGLE))]
        diagonal, cross = (
            float(w2 * (_erf_prime(q, q, c) * c + _erf(q, q, c))) for c in covariances
        )
    exact = np.array([[diagonal, cross], [cross, diagonal]])
    assert (np.abs(found.value - exact) <= 10 * np.asarray(found.error) + 1e-12 * exact).all()
    # At 1e15 the entry off the diagonal is 1e-12 of the scale: lost, and said to be.
    small = np.asarray(found.error) <= 1e-6 * exact
    assert small.all() if size < 1e15 else np.diag(small).all() and not small[0, 1]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "second"), [(1e8, 1.0), (1e15, 1.0), (1e15, 1e-3), (1e150, 1.0)])
def test_within_error_tanh_at_large_norms(size, second):
    """Right within the error, however much is lost, and never without a word."""
    x = jnp.asarray(size * np.array([[1.0], [second]]) * PAIR)
    init = ne.Init(ne.activation("tanh"), 1.2)
    found = ne.ntk_infinite_with_error(init, x, x, 2)
    cross, diagonal = tanh_at_large_norms(size**2, ANGLE)
    other = tanh_at_large_norms((second * size) ** 2, ANGLE)[1]
    exact = np.array([[diagonal, cross], [cross, other]])
    allowed = 10 * np.asarray(found.error) + 1e-12 * exact
    assert (~np.isfinite(found.value) | (np.abs(found.value - exact) <= allowed)).all()
    np.testing.assert_allclose(np.diag(found.value), np.diag(exact), rtol=1e-7)


def test_exact_inputs_0_beside_others():
    """Where φ(0) = 0 without biases they stay 0; else they have a kernel."""
    x = jnp.asarray(np.concatenate([PAIR, np.zeros((2, 2))]))
    for act in (ne.activation("erf"), without_closed_form("erf")):
        found = ne.ntk_infinite_with_error(ne.Init(act, 1.4), x, x, 5)
        assert not np.asarray(found.value)[2:].any()
        assert not np.asarray(found.error)[2:].any()
        alone = ne.ntk_infinite(ne.Init(act, 1.4), x[:2], x[:2], 5)
        np.testing.assert_allclose(found.value[:2, :2], alone, rtol=1e-13)
    moved = ne.ntk_infinite(ne.Init(ne.activation("erf"), 1.4, 0.3), x, x, 5)
    assert (np.asarray(moved) > 0).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_exact_what_leaves_the_range_is_refused_or_nan(dtype):
    init = ne.Init(ne.activation("quadratic"), 1.0)
    x = jnp.asarray({jnp.float32: 1e12, jnp.float64: 1e100}[dtype] * PAIR, dtype)
    with pytest.raises(ActivationError, match="must stay in the range of float"):
        ne.ntk_infinite(init, x, x, 4)
    assert np.isnan(jax.jit(lambda x: ne.ntk_infinite(init, x, x, 4))(x)).all()


POWERS = {"squares": lambda s: s * s, "cubes": lambda s: s**3, "exp": lambda s: jnp.exp(s / 8)}


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("squares", 1e-100, "must lie in .1e-292, 1e.305. to be integrated, got 0: scale"),
        ("squares", 1e100, "must stay in the range of float64, but do not at q = 1e.200"),
        ("cubes", 1e60, "must stay in the range of float64, but do not at q = 1e.120"),
        ("cubes", 1e-60, "must lie in .1e-292, 1e.305. to be integrated, got 0: scale"),
        ("exp", 1e100, "must exist, but 'exp' grows too fast for it at q = 1e.200"),
        ("tanh", 1e-150, "must lie in .1e-292, 1e.305. to be integrated, got 1.44e-300: scale"),
        ("silu", 1e-150, "must lie in .1e-292, 1e.305. to be integrated, got 3.6e-301: scale"),
        ("erf", 1e-150, "of 'erf' must stay in the range of float64 in every layer"),
    ],
)
def test_exact_variances_that_no_float_holds_are_refused(name, size, reason):
    act = ne.Activation(name, POWERS[name]) if name in POWERS else ne.activation(name)
    x = jnp.asarray(size * PAIR)
    for limit in (ne.ntk_infinite, ne.nngp_infinite):
        with pytest.raises(ActivationError, match=reason):
            limit(ne.Init(act, 1.2), x, x, 3)


@pytest.mark.parametrize("name", ["erf", slow("tanh"), slow("silu"), slow("cubes")])
def test_exact_variances_that_no_float_holds_are_nan_under_a_trace(name):
    """Products that underflow once lost 3e-7 of the limit of silu there, without a word."""
    act = ne.Activation(name, POWERS[name]) if name in POWERS else ne.activation(name)
    x = jnp.asarray(1e-150 * PAIR)
    assert np.isnan(jax.jit(lambda x: ne.ntk_infinite(ne.Init(act, 1.2), x, x, 3))(x)).all()


HAT = ne.Activation("hat", lambda s: jnp.maximum(0, 1 - jnp.abs(s)), kinks=(-1.0, 0.0, 1.0))
LEVEL = {  # φ with φ(0) = 1, and φ'
    "cos": (ne.activation("cos"), mp.cos, mp.sin),
    "cos by quadrature": (without_closed_form("cos"), mp.cos, mp.sin),
    "hat": (HAT, lambda s: max(0, 1 - abs(s)), lambda s: mp.mpf(abs(s) < 1)),
}


@pytest.mark.parametrize("name", ["cos", slow("cos by quadrature"), slow("hat")])
def test_agrees_limit_at_vanishing_inputs_with_mpmath(name):
    """Where φ(0) = 1 all of them are as one: the second layer has the variance σ_w²."""
    act, value, slope = LEVEL[name]
    x, w2 = jnp.asarray(1e-150 * PAIR), mp.mpf(1.2) ** 2

    def mean(f):
        density = lambda s: mp.npdf(s, 0, mp.sqrt(w2)) * f(s) ** 2  # noqa: E731
        return mp.quad(density, [-12, -6, -3, -1, 0, 1, 3, 6, 12])

    exact = float(w2 * mean(slope) * w2 + w2 * mean(value))
    found = ne.ntk_infinite_with_error(ne.Init(act, 1.2), x, x, 3)
    np.testing.assert_allclose(found.value, exact, rtol=1e-12)
    assert (found.error <= 1e-12 * exact).all()


def test_exact_what_oscillates_too_often_is_refused():
    x = jnp.asarray(1e6 * PAIR)
    with pytest.raises(ActivationError, match="must vary less often to be integrated at q = "):
        ne.ntk_infinite(ne.Init(without_closed_form("sin"), 1.0), x, x, 2)
