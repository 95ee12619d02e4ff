"""Square roots of Gram matrices of any rank."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_eoc.kernels.grams import gram_factor, gram_root

EPS = np.finfo(float).eps


def vectors(m, n, seed=0):
    """n vectors of R^m along the columns, one of them repeated, one reversed, norms unequal."""
    a = np.random.default_rng(seed).normal(size=(m, n)) * np.logspace(-3, 3, n)[None, :]
    if n > 3:
        a[:, 2], a[:, 3] = a[:, 0], -2 * a[:, 1]
    return a


@pytest.mark.parametrize(("m", "n"), [(40, 1), (40, 2), (40, 6), (3, 6), (1, 4)])
def test_exact_root_and_basis_of_any_rank(m, n):
    a = vectors(m, n)
    root = gram_root(jnp.asarray(a.T @ a))
    rank = np.linalg.matrix_rank(a / np.linalg.norm(a, axis=0, keepdims=True))
    size = np.outer(np.linalg.norm(a, axis=0), np.linalg.norm(a, axis=0))
    assert np.abs(root.factor.T @ root.factor - a.T @ a).max() / size.max() < 10 * n * EPS
    q = a @ np.asarray(root.whiten).T
    # The basis loses what the angles between the vectors lose: 1e-10 allows for 1e-6.
    np.testing.assert_allclose(q.T @ q, np.diag(np.arange(n) < rank).astype(float), atol=1e-10)
    np.testing.assert_allclose(
        q @ root.factor / size.max() ** 0.5, a / size.max() ** 0.5, atol=1e-10
    )
    np.testing.assert_array_equal(gram_factor(jnp.asarray(a.T @ a)), root.factor)


def test_exact_zero_vectors_are_of_rank_zero():
    root = gram_root(jnp.zeros((3, 3)))
    assert not np.any(root.factor)
    assert not np.any(root.whiten)


def test_exact_parallel_below_the_cutoff_and_not_above():
    for angle, rank in ((3e-6, 2), (3e-7, 1)):
        a = np.array([[1.0, np.cos(angle)], [0.0, np.sin(angle)]])
        assert np.any(np.asarray(gram_root(jnp.asarray(a.T @ a)).factor), axis=1).sum() == rank


def test_agrees_with_cholesky_through_the_gram_matrix_in_a_batch():
    a = np.random.default_rng(1).normal(size=(50, 9, 5))
    gram = np.einsum("smi,smj->sij", a, a)
    factor = np.asarray(jax.vmap(gram_factor)(jnp.asarray(gram)))
    lower = np.linalg.cholesky(gram)
    # Two square roots of one matrix differ by a rotation: R L⁻ᵀ is orthogonal.
    rotation = factor @ np.linalg.inv(lower).transpose(0, 2, 1)
    identity = np.broadcast_to(np.eye(5), rotation.shape)
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), identity, atol=1e-10)
