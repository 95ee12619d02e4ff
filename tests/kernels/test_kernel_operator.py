"""Products of K∞ are those of the dense matrix, and so are the solutions made of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc.kernels import kernel_operator, pair_tiles
from ntk_eoc.kernels.kernel_operator import product
from ntk_eoc.spectra import lanczos
from ntk_eoc.training.ridge import ridge_regression

BIASED = ne.edge_of_chaos("erf", sigma_b=0.3)


@pytest.mark.parametrize(
    ("init", "one_norm"), [(ne.edge_of_chaos("relu"), False), (BIASED, False), (BIASED, True)]
)
def test_agrees_with_the_dense_matrix(init, one_norm):
    x = jax.random.normal(jax.random.key(0), (600, 9))
    x = jnp.asarray(ne.normalise(x, init)) if one_norm else x
    x, x_test, v = x[:590], x[590:], jax.random.normal(jax.random.key(1), (590, 2))
    operator = ne.kernel_operator(init, x, 4)
    dense, cross = ne.ntk_infinite(init, x, x, 4), ne.ntk_infinite(init, x_test, x, 4)
    scale = abs(dense).max()
    np.testing.assert_allclose(operator @ v, dense @ v, atol=1e-10 * 590 * scale)
    np.testing.assert_allclose(
        operator.aslinearoperator() @ np.asarray(v[:, 0]), dense @ v[:, 0], atol=1e-10 * 590 * scale
    )
    np.testing.assert_allclose(operator.diagonal(), jnp.diag(dense), atol=1e-10 * scale)
    np.testing.assert_allclose(
        operator.columns(np.array([3, 580])), dense[:, np.array([3, 580])], atol=1e-10 * scale
    )
    np.testing.assert_allclose(operator.rectangle(x_test, v), cross @ v, atol=1e-8 * scale)


def test_exact_copies_that_fill_a_tile_are_not_refined(monkeypatch):
    """They lie near-parallel to one another: half a tile of them took 60 sorts a product."""
    plain, found = pair_tiles._refine, []

    def counting(p, q, least, todo):
        jax.debug.callback(lambda some: found.append(int(some.sum())), todo)
        return plain(p, q, least, todo)

    monkeypatch.setattr(pair_tiles, "_refine", counting)
    monkeypatch.setattr(kernel_operator, "TILE", 17)
    x = jax.random.normal(jax.random.key(0), (35, 9))
    x_test = jnp.concatenate([x[:17], x[-1:]])
    operator = ne.kernel_operator("relu", x, 3)
    for what, (call, close) in {
        "product": (lambda: operator @ x, 0),
        "columns": (lambda: operator.columns(np.array([3, 34])), 0),
        "rectangle": (lambda: operator.rectangle(x_test, x), 18),  # one each, that are in X
    }.items():
        found.clear()
        jax.block_until_ready(call())
        jax.effects_barrier()
        assert found, what
        assert sum(found) == close, what


def test_agrees_ridge_with_the_dense_solution():
    init = ne.edge_of_chaos("relu")
    x = jax.random.normal(jax.random.key(0), (300, 9))
    y = np.asarray(jax.random.normal(jax.random.key(1), (300, 2)))
    found = ridge_regression(ne.kernel_operator(init, x, 4), y, 0.5, tolerance=1e-11, rank=50)
    matrix = np.asarray(ne.ntk_infinite(init, x, x, 4)) + 0.5 * np.eye(300)
    assert found.converged
    np.testing.assert_allclose(found.coefficients, np.linalg.solve(matrix, y), rtol=0, atol=1e-9)


def test_bad_input_is_refused():
    x = jax.random.normal(jax.random.key(0), (5, 3))
    with pytest.raises(ValueError, match="`x` must be of one norm for an activation without"):
        ne.kernel_operator(ne.Init(ne.Activation("mine", jnp.tanh), 1.2, 0.3), x, 3)
    with pytest.raises(ValueError, match=r"`v` must be \[5, c\]"):
        ne.kernel_operator("relu", x, 3) @ jnp.ones((4, 1))


def test_agrees_extreme_eigenvalues_and_density_with_the_dense_ones():
    x = jax.random.normal(jax.random.key(0), (300, 9))
    operator = ne.kernel_operator("relu", x, 3)
    values = np.linalg.eigvalsh(ne.ntk_infinite("relu", x, x, 3))
    found = lanczos.extremes(product, 300, operator, steps=40, seed=0, dtype=np.float64)
    assert found.largest == pytest.approx(values[-1], rel=1e-10)
    # The bound of an error that is an overestimate, and the side on which a Ritz value lies.
    assert found.least >= values[0]
    assert np.min(np.abs(values - found.least)) <= found.least_error
    arguments = {"steps": 40, "probes": 20, "seed": 0}
    rule = lanczos.quadrature(product, 300, operator, **arguments, batch=8)
    single = lanczos.quadrature(product, 300, operator, **arguments)
    np.testing.assert_allclose(rule.nodes[:, -1], single.nodes[:, -1], rtol=1e-5)
    np.testing.assert_allclose(rule.weights[:, -1], single.weights[:, -1], rtol=1e-4)
    bars = lanczos.cdf(rule, np.quantile(values, [0.3, 0.6, 0.9]))
    assert np.all(np.abs(bars.mean - [0.3, 0.6, 0.9]) < 4 * bars.error + 1 / 80)


@pytest.fixture(scope="module")
def operator_and_dense():
    x = jax.random.normal(jax.random.key(0), (60, 9))
    return ne.kernel_operator("relu", x, 3), np.asarray(ne.ntk_infinite("relu", x, x, 3))


def test_agrees_in_scipy(operator_and_dense):
    from scipy.sparse.linalg import cg, eigsh

    (A, dense), y = operator_and_dense, np.random.default_rng(0).standard_normal(60)
    largest = eigsh(A.aslinearoperator(), k=3, return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(largest), np.linalg.eigvalsh(dense)[-3:], rtol=1e-10)
    alpha, status = cg(A.aslinearoperator(), y, rtol=1e-10)
    assert status == 0
    assert np.linalg.norm(dense @ alpha - y) < 1e-9 * np.linalg.norm(y)


def test_agrees_in_matfree(operator_and_dense):
    from matfree import decomp, eig

    A, dense = operator_and_dense
    values, _ = eig.eigh_partial(decomp.tridiag_sym(30))(lambda v, A: A @ v, jnp.ones(60), A)
    np.testing.assert_allclose(np.max(values), np.linalg.eigvalsh(dense)[-1], rtol=1e-10)


def test_agrees_in_lineax(operator_and_dense):
    lx = pytest.importorskip("lineax")
    (A, dense), y = operator_and_dense, jax.random.normal(jax.random.key(2), (60,))
    operator = lx.FunctionLinearOperator(A.matvec, y, lx.positive_semidefinite_tag)
    alpha = lx.linear_solve(operator, y, lx.CG(rtol=1e-10, atol=1e-10, max_steps=1000)).value
    np.testing.assert_allclose(dense @ alpha, y, atol=1e-7)
