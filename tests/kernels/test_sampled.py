"""`ntk_sampled` has the law of direct draws, at any rank, in any blocks, over any batch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_sampled import direct_ntk, direct_weights
from two_samples import smallest_p

import ntk_eoc as ne
from ntk_eoc.eoc import Init
from ntk_eoc.kernels import blocks, forward_pass, sampled
from ntk_eoc.kernels.independent_gradient import gradient_independence_sampled
from ntk_eoc.sweeps.batches import map_batched

TANH = Init(ne.Activation("tanh", jnp.tanh), sigma_w=1.3, sigma_b=0.5)
RELU = ne.edge_of_chaos(ne.activation("relu"))
ABS = ne.edge_of_chaos(ne.activation("abs"))
INITS = {"relu": RELU, "abs": ABS, "tanh": TANH}


# Most of the time goes to compiling: for these sizes the quick compiler is quicker overall.
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def draw(init, x, widths, count, seed=11, jit=quick, **options):
    """`count` draws of the sampler as [count, n, n, k, k], in one batch."""
    keys = jax.random.split(jax.random.key(seed), count)
    return np.asarray(
        jit(jax.vmap(lambda key: ne.ntk_sampled(key, init, x, widths, **options)))(keys)
    )


def single(key, init, x, widths, **options):
    return np.asarray(quick(lambda key: ne.ntk_sampled(key, init, x, widths, **options))(key))


def inputs(n, d, seed=1):
    """Inputs of unequal norms."""
    return np.asarray(jax.random.normal(jax.random.key(seed), (n, d)))


def compare(name, n, widths, count, d=4):
    init, x = INITS[name], inputs(n, d)
    direct = direct_ntk(init, direct_weights(12, count, d, widths), x)
    return smallest_p(draw(init, x, widths, count), direct)


@pytest.mark.parametrize(
    ("name", "n", "widths"), [("abs", 2, (5, 30, 3)), ("tanh", 5, (3, 8, 2, 1))]
)
def test_within_error_law_is_that_of_direct_draws(name, n, widths):
    assert compare(name, n, widths, 6000) > 0.01


WIDTHS = {2: (9,), 3: (6, 4), 4: (8, 2, 30)}


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("name", INITS)
def test_within_error_law_of_every_shape(name, n, depth, outputs):
    # Bonferroni over these 54 cases, too.
    assert compare(name, n, (*WIDTHS[depth], outputs), 20_000) > 0.01 / 54


def test_exact_one_layer_is_deterministic(key):
    x = inputs(4, 3)
    kernel = ne.ntk_sampled(key, RELU, x, (2,))
    expected = np.einsum("ij,ab->ijab", x @ x.T / 3, np.eye(2))
    np.testing.assert_allclose(kernel, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_parallel_inputs_stay_parallel(key, dtype):
    """A repeated input and, for absolute value, a reversed one see the same network."""
    x = inputs(3, 4)
    x = np.concatenate([x, x[:1], -2 * x[1:2]])  # five points, in layers of rank 4, 3 and 3
    kernel = single(key, ABS, x, (3, 7, 2), dtype=dtype)
    assert kernel.dtype == np.float64
    eps = np.finfo(dtype).eps * 50 * np.abs(kernel).max()
    np.testing.assert_allclose(kernel[3], kernel[0], atol=eps)
    np.testing.assert_allclose(kernel[:, 3], kernel[:, 0], atol=eps)
    # |−2z| = 2|z|: every factor of every term of K doubles with the input.
    np.testing.assert_allclose(np.diagonal(kernel[4, 4]), 4 * np.diagonal(kernel[1, 1]), atol=eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_blocks_and_batches_change_rounding_only(key, monkeypatch, dtype):
    x, widths = inputs(5, 6), (301, 500, 40, 1)
    one = single(key, TANH, x, widths, dtype=dtype)
    batched = quick(jax.vmap(lambda key: ne.ntk_sampled(key, TANH, x, widths, dtype=dtype)))
    monkeypatch.setitem(blocks.LANES, "cpu", 2)
    three = np.asarray(batched(jax.random.split(key, 3)))
    found = [(single(jax.random.split(key, 3)[2], TANH, x, widths, dtype=dtype), three[2])]
    for length in (2**7, 2**20):
        monkeypatch.setitem(blocks.BLOCK, "cpu", length)
        found.append((single(key, TANH, x, widths, dtype=dtype), one))
    for kernel, expected in found:
        # Sums of 500 terms in another order, through five products: some hundreds of epsilons.
        atol = 300 * np.finfo(dtype).eps * expected.max()
        np.testing.assert_allclose(kernel, expected, rtol=0, atol=atol)


def test_exact_one_program_serves_all_widths_depths_and_scales(key):
    x, keys = inputs(2, 3), jax.random.split(key, 4)
    init = Init(ne.Activation("sine", jnp.sin), sigma_w=1.1)
    ne.ntk_sampled(key, init, x, (5, 1))
    jax.vmap(lambda key: ne.ntk_sampled(key, init, x, (5, 1)))(keys)
    ne.nngp_sampled(key, init, x, (5, 1))
    programs = sampled.draw_ntk._cache_size(), forward_pass.draw_nngp._cache_size()
    for other in (init, Init(init.activation, sigma_w=0.7, sigma_b=0.2)):
        for widths in ((700, 1), (5, 9, 200, 1), (3,) * 31 + (1,)):
            ne.ntk_sampled(key, other, x, widths)
            jax.vmap(lambda key, i=other, w=widths: ne.ntk_sampled(key, i, x, w))(keys)
            grams = ne.nngp_sampled(key, other, x, widths)
            assert grams.shape == (len(widths) - 1, 2, 2)
    after = sampled.draw_ntk._cache_size(), forward_pass.draw_nngp._cache_size()
    assert after == programs


def test_exact_a_role_encrypts_once(key):
    """XLA does not repeat the generator in every kernel that uses a draw, and compile it as often.

    Threefry rotates 20 times: for the keys of the layers, and for the bias and the neurons on the
    way up, at the top and on the way down.
    """
    ensemble = sampled.ntk_ensemble(RELU, inputs(4, 3).astype(np.float32), (5, 4, 1))
    leaves, tree = jax.tree.flatten(ensemble)
    draw = quick(lambda key, leaves: sampled.draw_ntk(key, tree.unflatten(leaves)))
    text = draw.lower(key, leaves).compile().as_text()
    assert text.count(" shift-left(") <= 20 * 5 + 20


@pytest.mark.timeout(60)  # the obvious sampler hangs in batches of 3,000 and more
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_within_error_law_and_mean_in_one_large_batch(dtype):
    """As a user would run it: 6,000 keys, in float32 too. E K(x, x) = l ‖x‖²/m_0 at any width."""
    x, widths, count = inputs(3, 4), (7, 3, 4, 1), 6000
    kernels = draw(RELU, x, widths, count, jit=jax.jit, dtype=dtype)
    assert smallest_p(kernels, direct_ntk(RELU, direct_weights(5, count, 4, widths), x)) > 0.01
    diagonal = kernels[..., 0, 0].diagonal(axis1=1, axis2=2)
    limit = 4 * (x**2).sum(axis=1) / 4
    error = diagonal.std(axis=0, ddof=1) / count**0.5
    assert np.all(np.abs(diagonal.mean(axis=0) - limit) < 4 * error)


def test_scales_like_one_over_the_root_of_the_width():
    x = inputs(4, 5)
    limit = np.asarray(ne.ntk_infinite(ABS, jnp.asarray(x), jnp.asarray(x), depth=3))
    error = [
        np.sqrt(np.mean((draw(ABS, x, (m, m, 1), 64)[..., 0, 0] - limit) ** 2)) for m in (100, 6400)
    ]
    slope = np.log(error[1] / error[0]) / np.log(64)
    assert -0.57 < slope < -0.43  # 64 draws: 0.02 of statistical error


def test_exact_independent_gradients_fail_the_test_of_the_law():
    """The same comparison tells the gradient-independent kernel from the true one."""
    x, widths, count = inputs(2, 4), (30, 2, 30, 1), 20_000
    keys = jax.random.split(jax.random.key(11), count)
    f = jax.vmap(lambda key: gradient_independence_sampled(key, TANH, x, widths))
    drawn = quick(f)(keys)
    direct = direct_ntk(TANH, direct_weights(12, count, 4, widths), x)
    assert smallest_p(np.asarray(drawn.kernel), direct) > 0.01
    assert smallest_p(np.asarray(drawn.independent), direct) < 1e-6


def test_exact_bad_input_is_refused(key):
    x = inputs(3, 4)
    with pytest.raises(ValueError, match=r"`len\(widths\)` must be >= 1, got 0"):
        ne.ntk_sampled(key, RELU, x, ())
    for bad in (0, -3):
        with pytest.raises(ValueError, match=rf"`widths\[1\]` must be >= 1, got {bad}"):
            ne.ntk_sampled(key, RELU, x, (4, bad, 1))
    with pytest.raises(ValueError, match=r"`x` must be \[n, d\] with n, d >= 1, got \(0, 4\)"):
        ne.ntk_sampled(key, RELU, x[:0], (4, 1))
    with pytest.raises(
        ValueError, match=r"`memory` must be >= \d+ bytes \(n = 3, k = 1\), got 1000"
    ):
        ne.ntk_sampled(key, RELU, x, (4, 1), memory=1000)
    with pytest.raises(ValueError, match="`dtype` must be float32 or float64, got 'float16'"):
        ne.ntk_sampled(key, RELU, x, (4, 1), dtype="float16")


def test_exact_the_library_asks_for_float64_and_leaves_it_alone(key):
    x = inputs(3, 4).astype(np.float32)
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(RuntimeError, match="`ntk_sampled` needs float64"):
            ne.ntk_sampled(key, RELU, x, (4, 1))
        assert not jax.config.jax_enable_x64
    finally:
        jax.config.update("jax_enable_x64", True)


def test_exact_cells_of_a_sweep_meet_one_program(key):
    """`map_batched` with the ensemble as data: the bits of `ntk_sampled`, compiled once."""
    x, keys, traces = inputs(3, 4), jax.random.split(key, 5), []

    def kernel(one, networks):
        traces.append(networks)
        return sampled.draw_ntk(one, networks)

    for init, widths in ((RELU, (5, 9, 2)), (RELU, (40, 2)), (RELU, (3, 4, 5, 6, 2))):
        drawn = map_batched(kernel, keys, 3, sampled.ntk_ensemble(init, x, widths))
        alone = jax.vmap(lambda one, w=widths: ne.ntk_sampled(one, RELU, x, w))(keys[:3])
        np.testing.assert_array_equal(drawn[:3], alone)
    assert len(traces) == 1
