"""K∞ of activations with kinks, or nearly, at angles near 0 and π, at any norms and with biases.

E[φ'φ'] moves with the angle there, so that a lost digit of 1 ± ρ is half a digit of K∞. The truth
is the recursion in mpmath, by duals in mpmath.
"""

import dataclasses

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from plain_activations import without_closed_form
from references import exact_mp, gelu_dual_mp, kinked_dual_mp, limit_mp

import ntk_eoc as ne

LEAKY = ne.abs_linear(0.55, 0.45, "leaky")
RATIOS = (1.0, 1 + 1e-14, 1 + 1e-7, 0.3, 7.0)  # ‖x'‖/‖x‖
ANGLES = {"float64": (1e-9, 2e-6, 1e-3, 0.3), "float32": (2e-5, 2e-4, 1e-2, 0.3)}
CASES = [(0.7, 0.0, 2), (0.7, 0.3, 2), (0.7, 0.3, 6), (300.0, 0.0, 6), (300.0, 0.3, 3)]


def _of_a_user(act):
    return dataclasses.replace(without_closed_form(act), dual=act.dual, dual_prime=act.dual_prime)


RELU, GELU = ne.activation("relu"), ne.activation("gelu")
ACTS = {  # φ, its dual in mpmath, and how many units of the dtype K∞ is right to
    "relu": (RELU, kinked_dual_mp(0.5, 0.5), 30),
    "leaky": (LEAKY, kinked_dual_mp(LEAKY.a, LEAKY.b), 30),
    "abs": (ne.activation("abs"), kinked_dual_mp(0.0, 1.0), 30),
    "gelu": (GELU, gelu_dual_mp, None),
    "relu of a user": (_of_a_user(RELU), kinked_dual_mp(0.5, 0.5), None),
    "leaky of a user": (_of_a_user(LEAKY), kinked_dual_mp(LEAKY.a, LEAKY.b), None),
    "relu by quadrature": (without_closed_form(RELU), kinked_dual_mp(0.5, 0.5), 100),
    "gelu by quadrature": (without_closed_form(GELU), gelu_dual_mp, 100),
}


def _pairs(size, dtype):
    """One input, and others at angles near 0 and π to it, of all ratios of norms."""
    x, other = np.array([1.0, 2.0, -0.5]), np.array([0.3, -0.2, -0.2])
    x *= size / np.linalg.norm(x)
    across = other - other @ x / (x @ x) * x
    across *= size / np.linalg.norm(across)
    near = np.array(ANGLES[dtype])
    sides = np.concatenate([np.stack([s * np.cos(near), np.sin(near)], 1) for s in (1, -1)])
    y = np.concatenate([r * (sides @ np.stack([x, across])) for r in RATIOS])
    return x[None].astype(dtype), y.astype(dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ACTS)
def test_within_error_stated_near_parallel_and_opposite_inputs(name, dtype):
    act, dual, units = ACTS[name]
    eps, worst = float(np.finfo(dtype).eps), 0.0
    for size, sigma_b, depth in CASES:
        x, y = _pairs(size, dtype)
        found = ne.ntk_infinite_with_error(
            ne.Init(act, 1.3, sigma_b), jnp.asarray(x), jnp.asarray(y), depth
        )
        with mpmath.workdps(80):
            w2, b2 = mpmath.mpf(1.3) ** 2, mpmath.mpf(sigma_b) ** 2
            for j, row in enumerate(y):
                one, two = exact_mp(x[0]), exact_mp(row)
                truth, own1, own2 = (
                    limit_mp(dual, w2, b2, *p, depth) for p in ((one, two), (one, one), (two, two))
                )
                off = float(abs(mpmath.mpf(float(found.value[0, j])) - truth))
                assert off <= 10 * float(found.error[0, j]), (size, sigma_b, depth, j)
                worst = max(worst, off / float(mpmath.sqrt(own1 * own2)))
    assert worst <= (units * eps if units else eps**0.5), worst / eps
