"""Random activations: a finite number is right within ten times its error, all else is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_activations
import reference_dense

import ntk_eoc as ne
from ntk_eoc.gaussian import ActivationError, dual, dual_prime

COUNT, TOGETHER = 300, 10
BLOCK = 2**13  # arguments of φ that the reference asks for at once
RULES = (14, 11)  # nodes a panel of the dense rule, and of the one that tells its error


@functools.lru_cache(maxsize=2)
def functions_of(act):
    """φ and φ' of NumPy arrays of any shape, each compiled once."""
    return tuple(functools.partial(in_blocks, jax.jit(f)) for f in (act, act.prime))


def in_blocks(f, s):
    """F of an array, by blocks of one shape."""
    flat = np.ravel(s)
    whole = np.pad(flat, (0, -flat.size % BLOCK)).reshape(-1, BLOCK)
    values = [np.asarray(f(block)) for block in whole]
    return np.concatenate(values)[: flat.size].reshape(np.shape(s))


def check_kernel(case, rng, traced):
    """K∞ of two inputs of equal or mixed norms against the recursion by the dense rule."""
    depth = int(rng.integers(2, 4))
    ratio = 1.0 if rng.random() < 0.4 else float(np.exp(rng.uniform(-1, 1)))
    angle = float(rng.choice([1e-3, 0.05, 0.7, 1.5, 2.4, 3.1]))
    norms = np.sqrt(np.array([case.q, case.q * ratio])[:, None] * 2)
    x = jnp.asarray(norms * np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]]))
    init = ne.Init(case.act, float(rng.uniform(0.7, 1.4)), float(rng.choice([0.0, 0.3])))
    of = functools.partial(ne.ntk_infinite_with_error, init, depth=depth)
    found = jax.jit(lambda x: of(x, x))(x) if traced else of(x, x)
    value, error = (np.asarray(y)[np.array([0, 0, 1]), np.array([0, 1, 1])] for y in found)
    if not np.isfinite(value).any():
        return "nan", 0.0
    start = (case.q, case.q * ratio, 2 * np.sin(angle / 2) ** 2)
    arguments = (case.features, init.sigma_w**2, init.sigma_b**2, start, depth)
    exact, rough = (reference_dense.kernel(*functions_of(case.act), *arguments, n) for n in RULES)
    doubt = np.abs(exact.entries - rough.entries)
    scale = np.abs(exact.entries) + np.sqrt(np.prod(exact.variances))
    return compare(value, error, exact.entries, doubt, scale)


def check_dual(case, rng, count):
    """The dual and that of φ' at few or many triples against the dense rule."""
    q1, q2 = case.q, case.q * float(np.exp(rng.uniform(-1, 1)))
    delta = float(2 * np.sin(rng.choice([1e-6, 1e-3, 0.3, 1.4, 3.0, np.pi]) / 2) ** 2)
    results = []
    for form, f in zip((dual, dual_prime), functions_of(case.act), strict=True):
        found = form(case.act, np.full(count, q1), q2, delta)
        value, error = (np.asarray(x)[[0, -1]] for x in found)
        exact, rough = (
            reference_dense.bivariate(
                lambda a, b, f=f: (f(a) * f(b),), case.features, q1, q2, delta, n
            )
            for n in RULES
        )
        squares = [
            reference_dense.moments(lambda y, f=f: (f(y) ** 2,), case.features, q, RULES[0])
            for q in (q1, q2)
        ]
        results.append(
            compare(value, error, exact, np.abs(exact - rough), np.sqrt(squares[0] * squares[1]))
        )
    return max(results, key=lambda r: (r[0] == "wrong", r[1]))


def compare(value, error, exact, doubt, scale):
    """What the numbers are worth, and the largest error relative to what was allowed."""
    if (doubt > 1e-9 * scale).any():
        return "no reference", 0.0
    allowed = 10 * error + 4 * doubt + 2e-14 * scale
    good = ~np.isfinite(value) | (np.abs(value - exact) <= allowed)
    ratio = float(np.nanmax(np.abs(value - exact) / allowed))
    return ("right" if good.all() else "wrong"), ratio


CHECKS = {
    "eager": lambda case, rng: check_kernel(case, rng, False),
    "traced": lambda case, rng: check_kernel(case, rng, True),
    "few": lambda case, rng: check_dual(case, rng, 3),
    "many": lambda case, rng: check_dual(case, rng, 1100),
}


def outcome(seed, what):
    """The worth of the numbers of one activation, "refused" where there are none."""
    case, rng = random_activations.case(seed), np.random.default_rng([seed, len(what)])
    try:
        return case, *CHECKS[what](case, rng)
    except ActivationError as error:
        return case, "refused", str(error)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("start", range(0, COUNT, TOGETHER))
def test_within_error_random_activations_or_refused(start):
    """Each activation by two of the four checks, all four over the families in turn."""
    seen = []
    for seed in range(start, start + TOGETHER):
        for what in list(CHECKS)[(seed // 9) % 2 :: 2]:
            case, worth, told = outcome(seed, what)
            assert worth != "wrong", (seed, what, case.family, told)
            if case.family in ("piecewise", "plain"):
                assert worth != "refused", (seed, what, told)
            seen.append(worth)
        jax.clear_caches()
    assert seen.count("right") >= TOGETHER // 2, seen
    assert seen.count("no reference") <= TOGETHER // 2, seen
