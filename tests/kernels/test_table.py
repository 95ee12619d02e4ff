import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import references
from hypothesis import given
from hypothesis import strategies as st

import ntk_eoc as ne
from ntk_eoc.kernels import kappa_table, pair_tiles
from ntk_eoc.kernels.angles import all_angles
from ntk_eoc.kernels.angular_recursion import angular_recursion

ANGLES = np.concatenate([np.geomspace(1e-10, 1, 12), [1.5, np.pi / 2, 2, 3, np.pi - 1e-5, np.pi]])


def init_of(delta_phi):
    return ne.edge_of_chaos(ne.abs_linear(np.sqrt(1 - delta_phi), np.sqrt(delta_phi)))


def least_and_side(theta):
    acute = theta <= np.pi / 2
    return 2 * np.sin(np.where(acute, theta, np.pi - theta) / 2) ** 2, acute


@pytest.mark.parametrize(
    ("delta_phi", "depth"), [(1e-6, 3), (0.3, 100), (0.5, 3), (1 - 1e-9, 20), (1.0, 100)]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_agrees_table_with_60_digits(delta_phi, depth, dtype):
    angles = ANGLES if dtype == "float64" else ANGLES[ANGLES >= 1e-4]
    table = kappa_table.KappaTable(
        *(jnp.asarray(a) for a in kappa_table.kappa_table(delta_phi, depth, dtype))
    )
    least, acute = least_and_side(angles)
    least = least.astype(dtype)
    found = kappa_table.table_defect(table, jnp.asarray(least), jnp.asarray(acute))
    assert found.dtype == dtype
    tolerance = {"float64": 1e-12, "float32": 2e-5}[dtype]
    with mpmath.workdps(60):
        for j in range(len(angles)):
            half = mpmath.sqrt(mpmath.mpf(float(least[j])) / 2)
            theta = 2 * mpmath.asin(half)
            theta = theta if acute[j] else mpmath.pi - theta
            truth = depth - references.kappas_mp(delta_phi, theta, [depth])[depth]
            error = abs(mpmath.mpf(float(found[j])) - truth)
            # 4 ulp of K, and the cancellation of the truth itself at Δ_φ ≈ 1, θ = π
            ulp = float(np.spacing(np.dtype(dtype).type(depth - float(truth))))
            assert error <= tolerance * truth + 4 * abs(ulp) + mpmath.mpf(10) ** -50


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delta_phi", "depth"),
    [*((d, 10_000) for d in (0.1, 0.5, 1.0)), *((d, 100_000) for d in (1e-4, 0.1, 0.9, 1.0))],
)
def test_agrees_table_with_40_digits_in_the_deep(delta_phi, depth):
    angles = np.array([1e-10, 1e-6, 1e-4, 1e-2, 1.0, 2.5, np.pi])
    angles = angles if depth < 100_000 else angles[[0, 3, 5]]
    least, acute = least_and_side(angles)
    tolerances = {"float64": 1e-12, "float32": 2e-5} if depth < 100_000 else {"float64": 1e-12}
    for dtype, tolerance in tolerances.items():
        table = kappa_table.kappa_table(delta_phi, depth, dtype)
        table = kappa_table.KappaTable(*(jnp.asarray(a) for a in table))
        given_least = least.astype(dtype)
        found = kappa_table.table_defect(table, jnp.asarray(given_least), jnp.asarray(acute))
        with mpmath.workdps(40):
            for j in np.flatnonzero(angles >= (1e-4 if dtype == "float32" else 0)):
                theta = 2 * mpmath.asin(mpmath.sqrt(mpmath.mpf(float(given_least[j])) / 2))
                theta = theta if acute[j] else mpmath.pi - theta
                truth = depth - references.kappas_mp(delta_phi, theta, [depth])[depth]
                ulp = float(np.spacing(np.dtype(dtype).type(depth - float(truth))))
                assert abs(mpmath.mpf(float(found[j])) - truth) <= tolerance * truth + 4 * ulp


@given(
    delta_phi=st.floats(kappa_table.SMALLEST_DELTA, 1),
    theta=st.floats(1e-9, np.pi),
    depth=st.sampled_from([3, 17, 120]),
)
def test_agrees_table_with_the_recursion(delta_phi, theta, depth):
    least, acute = least_and_side(np.array([theta]))
    delta = jnp.asarray(np.where(acute, least, 2 - least))
    eta = jnp.asarray(np.where(acute, 2 - least, least))
    table = kappa_table.kappa_table(delta_phi, depth)
    table = kappa_table.KappaTable(*(jnp.asarray(a) for a in table))
    naive = angular_recursion(delta_phi, delta, eta, depth)
    least, acute = jnp.minimum(delta, eta), delta <= eta
    defect = kappa_table.table_defect(table, least, acute)
    distance = kappa_table.table_distance(table, least, acute)
    np.testing.assert_allclose(defect, naive.defect, rtol=1e-12)
    np.testing.assert_allclose(distance, jnp.sqrt(naive.delta / 2), rtol=1e-12, atol=1e-15)


def adversarial(kind, rng, n, d):
    x = rng.standard_normal((n, d))
    if kind == "near":
        x = x[:1] + 1e-5 * x
    elif kind == "clusters":
        x = x[np.arange(n) % 3] + 1e-3 * x
    elif kind == "opposite":
        x = np.concatenate([x[: n // 2], -x[: n // 2] + 1e-6 * x[n // 2 :]])
    elif kind == "duplicates":
        x[n // 2 :] = 3 * x[: n - n // 2]
    elif kind == "positive":
        x = np.abs(x)
    return x


KINDS = ("sphere", "near", "clusters", "opposite", "duplicates", "positive")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_agrees_tiles_with_stable_differences_for_all_pairs(kind, dtype, monkeypatch):
    # Small tiles and chunks, so that every edge is met: overlapping last tiles, padded chunks.
    monkeypatch.setattr(pair_tiles, "TILE", 16)
    monkeypatch.setattr(pair_tiles, "CHUNK", 8)
    x = jnp.asarray(adversarial(kind, np.random.default_rng(1), 42, 21), dtype)
    init, depth = ne.edge_of_chaos(ne.activation("relu")), 30
    K = np.asarray(pair_tiles._tiled(lambda _, a: a.delta, True, (), x, x))
    naive = np.array(all_angles(x, x).delta)
    np.fill_diagonal(naive, 0.0)
    np.testing.assert_array_equal(K, K.T)
    # Twice the relative error that δ may have for the kernel's own tolerance.
    np.testing.assert_allclose(K, naive, rtol={np.float64: 1e-12, np.float32: 2e-5}[dtype])
    kernel = np.asarray(ne.ntk_infinite(init, x, x, depth))
    np.testing.assert_array_equal(kernel, kernel.T)
    other = np.asarray(pair_tiles._tiled(lambda _, a: a.delta, False, (), x[:37], x))
    np.testing.assert_allclose(other, naive[:37], rtol=4e-5, atol=1e-13)


@pytest.mark.parametrize("seed", range(50))
def test_exact_positive_semidefinite_to_rounding(seed):
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    x = adversarial(kind, rng, 24, int(rng.integers(2, 9)))
    x = jnp.asarray(np.pad(x, ((0, 0), (0, 8 - x.shape[1]))))  # one shape, one compiled program
    act = ne.activation(("relu", "abs")[seed % 2])
    K = np.asarray(ne.ntk_infinite(ne.edge_of_chaos(act), x, x, (3, 100)[seed // 2 % 2]))
    np.testing.assert_array_equal(K, K.T)
    values = np.linalg.eigvalsh(K)
    assert values[0] >= -len(K) * np.finfo(float).eps * values[-1]


DEEP = pytest.param(10_000, marks=pytest.mark.slow)


@pytest.mark.parametrize("depth", [50, DEEP])
@pytest.mark.parametrize("theta", [1e-6, 1e-3, 0.7, 2.5])
def test_agrees_gradient_with_60_digits(theta, depth):
    init = ne.edge_of_chaos(ne.activation("relu"))
    x = np.array([1.0, 0.3, -0.5])
    y = x * np.cos(theta) + np.linalg.norm(x) * np.sin(theta) * np.array([0.0, 5, 3]) / np.sqrt(34)
    found = jax.grad(lambda x: ne.ntk_infinite(init, x[None], jnp.asarray(y)[None], depth)[0, 0])(
        jnp.asarray(x)
    )
    with mpmath.workdps(60):
        for i in range(3):

            def along(t, i=i):
                moved = [mpmath.mpf(float(v)) for v in x]
                moved[i] += t
                return references.ntks_mp(init.activation.delta, moved, y, [depth])[depth]

            h = mpmath.mpf(10) ** -20
            slope = (along(h) - along(-h)) / (2 * h)
            assert abs(mpmath.mpf(float(found[i])) - slope) <= 1e-9 * abs(slope)


def test_bad_table_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="`delta_phi` must be in"):
        kappa_table.kappa_table(1e-9, 5)
    with pytest.raises(ValueError, match="`depth` must be >= 3, got 2"):
        kappa_table.kappa_table(1.0, 2)
    monkeypatch.setitem(kappa_table.TOLERANCE, "float64", 1e-18)
    with pytest.raises(ArithmeticError, match="misses its tolerance"):
        kappa_table.kappa_table(0.123, 5)
