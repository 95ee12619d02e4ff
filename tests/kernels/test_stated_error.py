"""The stated error of K∞ covers the actual one at norms a decade apart, at any angle and depth.

The truth is the recursion by the dense rule of `reference_dense`, twice, with two numbers of nodes;
of erf it is the recursion of closed forms in mpmath, by which the dense rule is judged too.
"""

import functools

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import reference_dense
from scipy import special

import ntk_eoc as ne

SIGMA_W, SIGMA_B = 1.3, 0.3
NORMS = [(0.3, 3.0), (1.0, 3.0)]  # ‖x‖/√d of pairs
ANGLES = [1e-6, 1e-2, 1.2, np.pi]
DEPTHS = (2, 5, 10)
RULES = (14, 11)


def _normal(s):
    return np.exp(-s * s / 2) / np.sqrt(2 * np.pi)


def _bent(s):
    return jnp.where(s > -0.5, s, 0.2 * s - 0.4)


# φ, φ' and features of each, in NumPy.
TRUTHS = {
    "tanh": (np.tanh, lambda s: np.cosh(s) ** -2.0, [(0.0, 0.5)]),
    "gelu": (lambda s: s * special.ndtr(s), lambda s: special.ndtr(s) + s * _normal(s),
             [(0.0, 0.5)]),
    "erf": (special.erf, lambda s: 2 / np.sqrt(np.pi) * np.exp(-s * s), [(0.0, 0.5)]),
    "bent": (lambda s: np.where(s > -0.5, s, 0.2 * s - 0.4),
             lambda s: np.where(s >= -0.5, 1.0, 0.2), [(-0.5, 0.0)]),
}  # fmt: skip
ACTS = {name: ne.activation(name) for name in ("tanh", "gelu", "erf")}
ACTS["bent"] = ne.Activation("bent", _bent, kinks=(-0.5,))
ACTS |= {f"{name} by quadrature": ne.Activation(name, ACTS[name].fn) for name in ("gelu", "erf")}


@functools.cache
def dense(name, norms, angle):
    """K(x, x') at all depths, its scale, and what the two rules differ by."""
    start = (norms[0] ** 2, norms[1] ** 2, 2 * np.sin(angle / 2) ** 2)
    arguments = (*TRUTHS[name], SIGMA_W**2, SIGMA_B**2, start, max(DEPTHS))
    fine, rough = (list(reference_dense.kernels(*arguments, n)) for n in RULES)
    scale = np.array([abs(k.entries[1]) + np.sqrt(np.prod(k.variances)) for k in fine])
    values, others = (np.array([k.entries[1] for k in one]) for one in (fine, rough))
    return values, scale, np.abs(values - others)


def by_mpmath(norms, angle):
    """K(x, x') of erf at all depths, to 40 digits."""
    with mpmath.workdps(40):
        w2, b2 = mpmath.mpf(SIGMA_W) ** 2, mpmath.mpf(SIGMA_B) ** 2
        q1, q2 = (mpmath.mpf(r) ** 2 for r in norms)
        c = mpmath.sqrt(q1 * q2) * mpmath.cos(mpmath.mpf(float(angle)))
        k, found = c, [c]
        for _ in range(max(DEPTHS) - 1):
            square = (1 + 2 * q1) * (1 + 2 * q2)
            slope = 4 / mpmath.pi / mpmath.sqrt(square - 4 * c * c)
            c, q1, q2 = (
                w2 * 2 / mpmath.pi * mpmath.asin(2 * s / mpmath.sqrt(t)) + b2
                for s, t in ((c, square), (q1, (1 + 2 * q1) ** 2), (q2, (1 + 2 * q2) ** 2))
            )
            k = w2 * slope * k + c
            found.append(k)
        return np.array([float(one) for one in found])


@pytest.mark.slow
@pytest.mark.parametrize("norms", NORMS)
def test_exact_the_dense_rule_is_that_of_mpmath(norms):
    for angle in ANGLES:
        values, scale, doubt = dense("erf", norms, angle)
        assert (doubt < 1e-12 * scale).all()
        # Ten layers of sums in double precision.
        assert (np.abs(values - by_mpmath(norms, angle)) <= 4 * doubt + 2e-14 * scale).all()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ACTS)
def test_within_error_stated_at_mixed_norms(name):
    init, worst = ne.Init(ACTS[name], SIGMA_W, SIGMA_B), 0.0
    for norms in NORMS:
        at = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
        x1 = jnp.asarray([[norms[0] * 2**0.5, 0.0]])
        x2 = jnp.asarray(norms[1] * 2**0.5 * at)
        found = [ne.ntk_infinite_with_error(init, x1, x2, depth) for depth in DEPTHS]
        for i, angle in enumerate(ANGLES):
            truth, scale, doubt = dense(name.split()[0], norms, angle)
            if name.startswith("erf"):
                truth, doubt = by_mpmath(norms, angle), 0 * doubt
            for depth, (value, error) in zip(DEPTHS, found, strict=True):
                off = abs(float(value[0, i]) - truth[depth - 1])
                stated, left = float(error[0, i]), doubt[depth - 1]
                told = f"{name}, {norms}, {angle:.3g}, l = {depth}: {off:.1e}, {stated:.1e} stated"
                assert left <= 1e-11 * scale[depth - 1], told
                assert off <= 10 * stated + 4 * left, told
                worst = max(worst, off / stated)
    print(f"{name}: actual over stated error at most {worst:.2f}")
