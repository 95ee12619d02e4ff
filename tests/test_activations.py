import pickle

import jax.numpy as jnp
import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc.activations.named import NAMED


@pytest.mark.parametrize(
    ("name", "delta", "kappa"),
    [("identity", 0, 1), ("relu", 0.5, np.sqrt(2)), ("abs", 1, 1)],
)
def test_exact_constants(name, delta, kappa):
    act = ne.activation(name)
    assert act.delta == pytest.approx(delta)
    assert act.kappa == pytest.approx(kappa)
    init = ne.edge_of_chaos(act)
    assert init.sigma_b == 0
    assert init.q == 1
    assert init.sigma_w**2 * act.second_moment == pytest.approx(1)


def test_exact_values_and_slopes():
    s = jnp.array([-2.0, -0.5, 0.0, 3.0])
    np.testing.assert_array_equal(ne.activation("relu")(s), jnp.maximum(s, 0))
    np.testing.assert_allclose(
        ne.activation("leaky_relu")(s), jnp.where(s > 0, s, 0.01 * s), atol=1e-16
    )
    np.testing.assert_array_equal(ne.activation("abs").prime(s), [-1, -1, 1, 1])
    own = ne.Activation("hard_tanh", lambda s: jnp.clip(s, -1, 1), kinks=(1.0, -1.0))
    assert own.kinks == (-1.0, 1.0)
    np.testing.assert_array_equal(own.prime(s), [0, 1, 1, 0])


def test_exact_equal_arguments_share_compiled_code():
    assert ne.abs_linear(0.5, 0.25) is ne.abs_linear(0.5, 0.25)
    assert ne.edge_of_chaos(ne.activation("relu")) == ne.edge_of_chaos(ne.activation("relu"))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="got 'rel'. Did you mean 'relu'"):
        ne.activation("rel")
    with pytest.raises(ValueError, match="`a, b` must be not both zero"):
        ne.abs_linear(0, 0)
    with pytest.raises(ValueError, match="`a` must be a finite number, got nan"):
        ne.abs_linear(np.nan, 0)
    with pytest.raises(ValueError, match="`sigma_w` must be > 0"):
        ne.Init(ne.activation("relu"), 0.0)
    with pytest.raises(ValueError, match="`sigma_b` must be a finite number >= 0"):
        ne.Init(ne.activation("relu"), 1.0, -0.1)


@pytest.mark.parametrize("name", sorted(NAMED))
def test_exact_named_activations_and_their_inits_pickle(name):
    act = ne.activation(name)
    init = ne.Init(act, 1.1, 0.1)
    assert pickle.loads(pickle.dumps(act)) == act
    assert pickle.loads(pickle.dumps(init)) == init
    bent = ne.abs_linear(0.3, 0.4)
    assert pickle.loads(pickle.dumps(bent)) is bent
