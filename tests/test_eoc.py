import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import reference_gaussian as reference

import ntk_eoc as ne
from ntk_eoc.activations import Activation, activation
from ntk_eoc.eoc import (
    activation_class,
    activation_moments,
    depth_scales,
    edge_curve,
    special_points,
)
from ntk_eoc.gaussian import ActivationError, plan

SLOW = pytest.mark.slow
MORE = ("erf", "gelu", "silu", "elu", "selu", "relu6", "sin", "quadratic")
BIASED = ["tanh", "hard_tanh", *(pytest.param(n, marks=SLOW) for n in MORE)]


@pytest.mark.parametrize("name", BIASED)
def test_agrees_edge_points_with_high_precision(name):
    """Found from no starting guess; mpmath is started at what was found, and may move away."""
    init = ne.edge_of_chaos(activation(name), sigma_b=0.3)
    q, sigma_w = reference.edge_point(name, 0.3, init.q)
    assert abs(init.q - q) <= 1e-10 * q
    assert abs(init.sigma_w - sigma_w) <= 1e-10 * sigma_w


@pytest.mark.parametrize("name", ["gelu", pytest.param("silu", marks=SLOW)])
def test_agrees_special_points_with_high_precision(name):
    init = ne.edge_of_chaos(activation(name))
    q = reference.special_point(name, init.q)
    assert abs(init.q - q) <= 1e-10 * q
    if name == "gelu":  # where χ_∥ = 1 is a quadratic equation in q
        assert init.q == pytest.approx((3 + math.sqrt(17)) / 2, rel=1e-12)


@pytest.mark.parametrize("c", [8.0, 12.0])
def test_exact_points_of_a_large_scale_of_its_own(c):
    """The edge of c φ(s/c) is that of φ with q times c²: here beyond the usual search to 400."""
    act, silu = Activation("wide", lambda s: c * jax.nn.silu(s / c)), activation("silu")
    for sigma_b in (None, 0.375):
        wide = ne.edge_of_chaos(act, sigma_b=None if sigma_b is None else c * sigma_b)
        init = ne.edge_of_chaos(silu, sigma_b=sigma_b)
        found = (wide.q / c**2, wide.sigma_w, wide.sigma_b / c)
        np.testing.assert_allclose(found, (init.q, init.sigma_w, init.sigma_b), rtol=1e-10)


def test_exact_edge_of_sin():
    """E sin² = (1 − e^{−2q})/2 and E cos² = (1 + e^{−2q})/2: σ_b² = q − tanh q."""
    curve = edge_curve(activation("sin"), np.array([0.01, 1.0, 9.0]))
    np.testing.assert_allclose(curve.sigma_w**-2, (1 + np.exp(-2 * curve.q)) / 2, rtol=1e-13)
    np.testing.assert_allclose(curve.sigma_b2, curve.q - np.tanh(curve.q), atol=1e-14)
    # χ_∥ is a difference of terms of order 1, so its error is absolute
    chi = 2 / (np.exp(2 * curve.q) + 1)
    np.testing.assert_allclose(curve.chi_parallel, chi, rtol=1e-12, atol=1e-15)


def test_exact_scale_invariant_function_of_a_user():
    act = Activation("mine", lambda s: jnp.where(s > 0, s, 0.2 * s), kinks=(0.0,))
    init = ne.edge_of_chaos(act)
    assert activation_class(act) == "scale-invariant"
    assert (init.sigma_b, init.q) == (0.0, 1.0)
    assert init.sigma_w == pytest.approx(math.sqrt(2 / 1.04), rel=1e-13)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("relu", "scale-invariant"), ("elu", "smooth"), ("selu", "kinked"), ("hard_tanh", "kinked")],
)
def test_exact_class_depends_on_jumps_of_the_slope(name, expected):
    assert activation_class(activation(name)) == expected


def test_exact_slope_of_the_variance_map_is_its_derivative():
    q, step = np.array([0.5]), 1e-4
    ends = [activation_moments(activation("gelu"), q + s).square for s in (step, -step)]
    slope = activation_moments(activation("gelu"), q).growth
    np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), slope, rtol=1e-7)


def test_exact_no_edge_is_an_answer():
    softplus = activation("softplus")
    assert not edge_curve(softplus).exists.any()
    assert special_points(softplus) == []
    with pytest.raises(ValueError, match="'softplus' has no edge of chaos with σ_b² >= 0"):
        ne.edge_of_chaos(softplus)


def test_exact_what_there_is_is_listed():
    tanh = activation("tanh")
    with pytest.raises(
        ValueError, match=r"no point with χ_∥ = 1 and q > 0.*q from .*by `q`, as 1, or by `sigma_b`"
    ):
        ne.edge_of_chaos(tanh)
    with pytest.raises(ValueError, match="`sigma_b` must belong to one point"):
        ne.edge_of_chaos(tanh, sigma_b=1000.0)
    with pytest.raises(ValueError, match="`sigma_b, q` must be one of the two"):
        ne.edge_of_chaos(tanh, sigma_b=0.1, q=1.0)
    with pytest.raises(ValueError, match="`sigma_b` must be 0 for the scale-invariant 'relu'"):
        ne.edge_of_chaos(activation("relu"), sigma_b=0.1)
    with pytest.raises(ActivationError, match="must not be linear"):
        ne.edge_of_chaos(Activation("line", lambda s: 2 * s + 1))


def test_exact_edge_of_a_slope_within_a_thousandth():
    """φ' = 1000 on |s| < 1/1000: E[φ'²] = 10⁶ P(|√q z| < 1/1000)."""
    steep = Activation("steep", lambda s: jnp.clip(1000 * s, -1, 1), (-1e-3, 1e-3))
    exact = (1e6 * math.erf(1e-3 / math.sqrt(2))) ** -0.5
    assert ne.edge_of_chaos(steep, q=1.0).sigma_w == pytest.approx(exact, rel=1e-10)


def test_exact_stairs_on_a_line_are_not_linear():
    with pytest.raises(ActivationError, match="near s ="):
        ne.edge_of_chaos(Activation("stairs", lambda s: jnp.floor(s) + 0.1 * s))


def test_exact_moments_that_no_panel_resolves_are_refused():
    waves = Activation("waves", lambda s: jnp.cos(40 * s))
    with pytest.raises(ActivationError, match="at q = 400 their error is"):
        activation_moments(waves, np.array([400.0]), plan(waves, 0.005))


def test_exact_edge_of_a_dead_zone():
    """sign(s) max(|s| − 1, 0), with t = 1/√q: σ_w² = 1/P(|z| > t), σ_b² = q t (h − t), χ_∥ = 1."""
    act = Activation("shrink", lambda s: s - jnp.clip(s, -1, 1), kinks=(-1.0, 1.0))
    curve = edge_curve(act)
    assert curve.q[0] < 0.01
    assert curve.q[-1] == 400
    assert (np.abs(curve.chi_parallel - 1) <= 10 * curve.chi_error).all()
    np.testing.assert_allclose(curve.chi_parallel[curve.q > 0.01], 1, rtol=1e-12)
    for q in (0.05, 1.0, 30.0):
        point = ne.edge_of_chaos(act, q=q)
        t = 1 / mpmath.sqrt(q)
        tail = mpmath.erfc(t / mpmath.sqrt(2)) / 2
        hazard = mpmath.npdf(t) / tail
        assert point.sigma_w**2 == pytest.approx(float(1 / (2 * tail)), rel=1e-12)
        assert point.sigma_b**2 == pytest.approx(float(q * t * (hazard - t)), rel=1e-10)
    with pytest.raises(ValueError, match="has χ_∥ = 1 at every one of its points.*or by `sigma_b`"):
        ne.edge_of_chaos(act)
    with pytest.raises(ValueError, match="`q` must be a variance at which 'shrink' has a slope"):
        ne.edge_of_chaos(act, q=1e-4)


@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(1.0, 0.3), (2.0, 0.3)])
def test_exact_depth_scales_of_sin_off_the_edge(sigma_w, sigma_b):
    """E sin² = (1 − e^{−2q})/2: χ_∥ = σ_w² e^{−2q}, χ_⊥ = σ_w² (1 + e^{−2q})/2."""
    scales = depth_scales(ne.Init(activation("sin"), sigma_w, sigma_b, 1.0))
    decay = math.exp(-2 * scales.q)
    assert scales.q == pytest.approx(sigma_w**2 * (1 - decay) / 2 + sigma_b**2, rel=1e-11)
    assert scales.chi_parallel == pytest.approx(sigma_w**2 * decay, rel=1e-11)
    assert scales.chi_perp == pytest.approx(sigma_w**2 * (1 + decay) / 2, rel=1e-11)
    assert scales.variance == pytest.approx(1 / abs(math.log(scales.chi_parallel)))
    assert scales.correlation == pytest.approx(1 / abs(math.log(scales.chi_perp)))


def test_exact_depth_scales_on_the_edge_and_without_a_fixed_point():
    edge = depth_scales(ne.edge_of_chaos("relu"))
    assert (edge.variance, edge.correlation) == (math.inf, math.inf)
    with pytest.raises(ValueError, match="`init` must have a fixed point"):
        depth_scales(ne.Init(activation("relu"), 2.0, 0.1))
