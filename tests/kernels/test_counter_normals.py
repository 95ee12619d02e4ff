"""Gaussians by counter: the generator of `jax.random`, the normal law, and no memory of blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats

from ntk_eoc.kernels.counter_normals import fold, normals, stream_key, threefry

DTYPES = ["float32", "float64"]


def test_exact_the_words_are_those_of_jax():
    rng = np.random.default_rng(0)
    key, count = (rng.integers(0, 2**32, size, dtype=np.uint32) for size in (2, 2000))
    first, second = threefry(
        tuple(jnp.asarray(key)), (jnp.asarray(count[:1000]), jnp.asarray(count[1000:]))
    )
    expected = threefry_2x32(jnp.asarray(key), jnp.asarray(count))
    np.testing.assert_array_equal(np.concatenate([first, second]), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 4, 5])
def test_exact_a_draw_is_that_of_its_row_and_neuron(key, dtype, rows):
    words = stream_key(key)
    whole = np.asarray(normals(words, 6, 0, 40, dtype))
    assert whole.dtype == dtype
    np.testing.assert_array_equal(normals(words, rows, 13, 20, dtype), whole[:rows, 13:33])
    late = normals(words, rows, jnp.uint32(2**31), 20, dtype)
    assert not np.any(np.asarray(late) == whole[:rows, :20])


@pytest.mark.parametrize("dtype", DTYPES)
def test_within_error_standard_normal_and_independent(key, dtype):
    a, b = (np.asarray(normals(fold(stream_key(key), 7, s), 4, 0, 50_000, dtype)) for s in (0, 1))
    rows = np.concatenate([a, b]).astype(float)
    assert np.isfinite(rows).all()
    assert min(stats.kstest(row, "norm").pvalue for row in rows) > 0.01 / 8
    # Rows, squares of rows and neighbours: 50,000 products of standard normals each.
    for left, right in ((rows, rows), (rows[:, 1:], rows[:, :-1]), (rows**2 - 1, rows**2 - 1)):
        products = left @ right.T / rows.shape[1]
        scale = np.mean((left * right) ** 2) if left.shape != rows.shape else 4.0
        off = products[~np.eye(8, dtype=bool)] * rows.shape[1] ** 0.5
        assert np.abs(off).max() < 4.5 * max(1.0, scale**0.5)


def test_exact_the_extremes_are_finite_and_symmetric():
    from ntk_eoc.kernels import counter_normals as module

    ends = jnp.array([0x7FFFFFFF, 0x80000000], jnp.uint32)
    low = jnp.array([0xFFFFFFFF, 0], jnp.uint32)
    for u in (module._uniform32(ends), module._uniform64(ends, low)):
        assert float(u[0]) == -float(u[1]) == 1 - float(jnp.finfo(u.dtype).epsneg)
        assert np.isfinite(np.asarray(module._normal(u))).all()


def test_exact_a_key_of_any_kind(key):
    words = stream_key(jax.random.key(3, impl="rbg"))
    assert (words.dtype, words.shape) == (jnp.uint64, ())


def test_exact_streams_are_those_of_their_numbers(key):
    """All keys of a network in one call: its words are those of Threefry, the first on top."""
    words = stream_key(key)
    several = fold(words, jnp.arange(3)[None, :], jnp.arange(2)[:, None])
    expected = np.asarray(jax.random.bits(key, (2,), jnp.uint32))
    assert int(words) == (int(expected[0]) << 32) + int(expected[1])
    for second in range(2):
        for first in range(3):
            assert int(several[second, first]) == int(fold(words, first, second))
            count = jnp.array([first, second], jnp.uint32)
            a, b = threefry_2x32(jnp.asarray(expected), count)
            assert int(several[second, first]) == (int(a) << 32) + int(b)
